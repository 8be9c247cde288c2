"""Runs a command behind a pipe, and measures its time, CPU time, memory and output."""

from __future__ import annotations

import compileall
import importlib.util
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ROOT", "TARGET", "FailedRunError", "Ran", "measure", "tap", "warm_up"]

ROOT = Path(__file__).resolve().parents[1]

_SCRIPT = Path(sys.executable).with_name("target-segment-objects")
TARGET = (
    (str(_SCRIPT),) if _SCRIPT.exists() else (sys.executable, "-m", "target_segment_objects.target")
)
"""The installed command."""

_PATIENCE_SECONDS = 1_200
_KEPT = {"PYTHONHOME", "PYTHONPATH"}


class FailedRunError(Exception):
    """A command ended with an error; the text is the end of its log."""


class Ran(NamedTuple):
    """What a run used.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of its threads, user and system.
        peak_megabytes: the peak of resident memory.
        out: its stdout.
    """

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    out: bytes


def tap(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command that writes rows, and wait until its first bytes can be read."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout or -1, selectors.EVENT_READ)
        selector.select()
    return process


def measure(command: Sequence[str], feed: Sequence[str] = ()) -> Ran:
    """Run a command with the output of another one as its stdin.

    Args:
        command: the command that is measured.
        feed: the command that writes its input; empty for no input.

    Raises:
        FailedRunError: one of them does not exit with 0.
    """
    feeder = tap(feed) if feed else None
    reads, writes = os.pipe()
    launch = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(writes)]
    with tempfile.TemporaryFile() as log, os.fdopen(reads, "rb") as figures:
        process = subprocess.Popen(
            [*launch, *command],
            cwd=ROOT,
            env=_environment(),
            stdin=feeder.stdout if feeder else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=(writes,),
            start_new_session=True,
        )
        os.close(writes)
        if feeder and feeder.stdout:
            feeder.stdout.close()
        try:
            out, _ = process.communicate(timeout=_PATIENCE_SECONDS)
        except BaseException:  # the command is not this process's child: its session is killed
            os.killpg(process.pid, signal.SIGKILL)
            raise
        code, seconds, cpu_seconds, peak = (float(word) for word in figures.read().split())
        fed = feeder.wait() if feeder else 0
        if code or fed:
            log.seek(0)
            text = log.read().decode(errors="replace")[-2_000:]
            raise FailedRunError(f"{' '.join(command)} ended with {int(code)}: {text}")
    return Ran(seconds, cpu_seconds, peak, out)


def warm_up() -> None:
    """Compile what is measured, so that the first run need not."""
    package = importlib.util.find_spec("target_segment_objects")
    for folder in (package and package.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=1)
    compileall.compile_dir(ROOT / "benchmarks", quiet=1)


def _environment() -> dict[str, str]:
    """Return this process's environment, without settings and unusual options of Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TARGET_SEGMENT_OBJECTS_")
        and not name.lower().endswith("_proxy")
        and (not name.startswith("PYTHON") or name in _KEPT)
    }
