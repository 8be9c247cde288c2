"""Runs the target in tests: as a command, with all its input or an open stdin, or in this process.

A wait is for an event (a line, the end of a process); only a failing test reaches its time limit.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from target_segment_objects.singer.target import TargetSegmentObjects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "COMMAND",
    "KEY",
    "MEASURE",
    "WARNINGS_AS_ERRORS",
    "Process",
    "RunResult",
    "environment",
    "lines",
    "load",
    "record",
    "run",
    "schema",
    "start",
    "state",
]

KEY = "wk-7Hq2nVb9xTzLmR4s"
# Warnings are errors, except the SDK's notice that Python 3.10 has reached its end of life.
WARNINGS_AS_ERRORS = ("-W", "error", "-W", "ignore:Python 3.10")
COMMAND = (sys.executable, *WARNINGS_AS_ERRORS, "-m", "target_segment_objects.target")
# A process's peak memory includes that of its parent before `exec`, so a small process starts it.
MEASURE = """
import os, sys
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss, file=sys.stderr)
"""
ROOT = Path(__file__).resolve().parents[1]

_PATIENCE = 20.0  # seconds; only a failing test waits that long


def schema(stream: str, keys: list[str] | None = None, **properties: object) -> dict[str, Any]:
    """Return a SCHEMA; each property is a type's name or a whole schema."""
    whole = {
        name: {"type": [kind, "null"]} if isinstance(kind, str) else kind
        for name, kind in properties.items()
    }
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"type": "object", "properties": whole},
        "key_properties": ["id"] if keys is None else keys,
    }


def record(stream: str, **values: object) -> dict[str, Any]:
    """Return a RECORD."""
    return {"type": "RECORD", "stream": stream, "record": values}


def state(value: object) -> dict[str, Any]:
    """Return a STATE."""
    return {"type": "STATE", "value": value}


def lines(*messages: Mapping[str, Any] | str) -> bytes:
    """Return messages as a tap writes them; strings are written as they are."""
    texts = (message if isinstance(message, str) else json.dumps(message) for message in messages)
    return "".join(f"{text}\n" for text in texts).encode()


@dataclass
class RunResult:
    """The result of a finished run.

    Attributes:
        code: exit status.
        states: the lines of stdout.
        log: stderr, or what was logged.
    """

    code: int
    states: list[str]
    log: str

    @property
    def sentences(self) -> list[str]:
        """The error messages on stderr, without time and logger."""
        return [line.split("|", 3)[-1].strip() for line in self.log.splitlines() if "ERROR" in line]


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings of the target and without proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TARGET_SEGMENT_OBJECTS_") and not name.lower().endswith("_proxy")
    } | variables


def config_file(folder: Path, config: Mapping[str, Any], name: str = "config.json") -> str:
    """Write a configuration file and return its path."""
    path = folder / name
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def run(
    folder: Path,
    config: Mapping[str, Any] | None,
    fed: bytes = b"",
    *arguments: str,
    env: dict[str, str] | None = None,
) -> RunResult:
    """Run the command with all of its input, until it ends.

    Args:
        folder: its working directory; a configuration is written into it.
        config: the configuration; with `None`, there is no `--config`.
        fed: the input on stdin.
        arguments: further arguments.
        env: the environment variables.
    """
    given = [] if config is None else ["--config", config_file(folder, config)]
    ended = subprocess.run(
        [*COMMAND, *given, *arguments],
        input=fed,
        capture_output=True,
        check=False,
        cwd=folder,
        env=(env or environment()) | {"PYTHONPATH": _path(env)},
        timeout=60,
    )
    return RunResult(ended.returncode, ended.stdout.decode().splitlines(), ended.stderr.decode())


def _path(env: dict[str, str] | None) -> str:
    given = (env or {}).get("PYTHONPATH")
    return f"{given}{os.pathsep}{ROOT}" if given else str(ROOT)


@dataclass
class Process:
    """A running command with an open stdin."""

    process: subprocess.Popen[bytes]
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)

    def write(self, *messages: Mapping[str, Any] | str) -> None:
        """Write messages to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(lines(*messages))
        self.process.stdin.flush()

    def read_until(self, *, states: int = 0, logged: str = "", ended: bool = False) -> float:
        """Read until this many states are printed, this text is logged, or both pipes are closed.

        Returns:
            How many seconds that took.
        """
        began = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for pipe, got in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
                assert pipe is not None
                if not pipe.closed:
                    selector.register(pipe, selectors.EVENT_READ, (pipe, got))
            while selector.get_map():
                if not ended and self.out.count(b"\n") >= states and logged.encode() in self.err:
                    return time.monotonic() - began
                left = began + _PATIENCE - time.monotonic()
                assert left > 0, self.err.decode()
                for key, _ in selector.select(left):
                    block = os.read(key.fd, 65536)
                    pipe, got = key.data
                    got.extend(block)
                    if not block:
                        selector.unregister(pipe)
                        pipe.close()
        assert ended, self.err.decode()
        return time.monotonic() - began

    def end(self) -> RunResult:
        """Close its stdin if it is open, and wait until it ends."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.ended()

    def ended(self) -> RunResult:
        """Wait until it ends; its stdin stays open."""
        self.read_until(ended=True)
        code = self.process.wait(_PATIENCE)
        return RunResult(code, self.out.decode().splitlines(), self.err.decode())


@contextlib.contextmanager
def start(
    folder: Path, config: Mapping[str, Any], env: dict[str, str] | None = None
) -> Iterator[Process]:
    """Start the command with an open stdin; the end of the block kills it if still running."""
    with subprocess.Popen(
        [*COMMAND, "--config", config_file(folder, config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=(env or environment()) | {"PYTHONPATH": _path(env)},
    ) as process:
        try:
            yield Process(process)
        finally:
            process.kill()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


class _LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, entry: logging.LogRecord) -> None:
        self.lines.append(f"{entry.levelname} {entry.getMessage()}")


def load(config: Mapping[str, Any], fed: bytes) -> RunResult:
    """Run the target in this process until its input ends.

    Returns:
        Its states and what was logged; code 0.

    Raises:
        SegmentObjectsError: an error that would end the command.
    """
    log = _LogLines()
    loggers = [
        logging.getLogger(name) for name in ("target-segment-objects", "target_segment_objects")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(log)
        logger.setLevel(logging.INFO)
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out):
            target = TargetSegmentObjects(config=dict(config))
            target.listen(io.StringIO(fed.decode()))
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(log)
            logger.setLevel(level)
    out.seek(0)
    return RunResult(0, out.read().splitlines(), "\n".join(log.lines))
