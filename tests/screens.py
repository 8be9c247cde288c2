"""Runs the command on a pseudo-terminal and reads what a user would see.

A wait is for something on the screen or for the end; only a failing test reaches its time limit.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyte

from tests.running import COMMAND, ROOT, config_file, environment, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["TerminalProcess", "watch"]

_PATIENCE = 20.0  # seconds; only a failing test waits that long

# Runs before the command: makes its stderr the controlling terminal, so that keys reach it.
_CONTROLLING_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass
class TerminalProcess:
    """A running command with an open stdin, and with stderr on a terminal.

    Attributes:
        process: the command.
        master: the other end of the terminal.
        screen: the screen, and the lines that have scrolled off.
        raw: all bytes that were written to the terminal.
        out: stdout, if it is not the terminal.
    """

    process: subprocess.Popen[bytes]
    master: int
    screen: pyte.HistoryScreen
    raw: bytearray = field(default_factory=bytearray)
    out: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        """Connect the screen."""
        self._stream = pyte.ByteStream(self.screen)

    @property
    def shown(self) -> list[str]:
        """The lines that have scrolled off and those on the screen, without empty last lines."""
        width = self.screen.columns
        past = ["".join(line[at].data for at in range(width)) for line in self.screen.history.top]
        shown = [line.rstrip() for line in [*past, *self.screen.display]]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def write(self, *messages: Mapping[str, Any] | str) -> None:
        """Write messages to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(lines(*messages))
        self.process.stdin.flush()

    def type(self, keys: bytes) -> None:
        """Type at the terminal."""
        os.write(self.master, keys)

    def read_until(self, seen: Callable[[list[str]], object]) -> None:
        """Read until the screen satisfies a condition."""
        self._read(lambda: bool(seen(self.shown)))
        assert seen(self.shown), self.shown

    def end(self) -> int:
        """Close its stdin if it is open, wait until it ends, and return its exit status."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.ended()

    def ended(self) -> int:
        """Wait until it ends, with its stdin open, and return its exit status."""
        self._read(lambda: False)
        return self.process.wait(_PATIENCE)

    def _read(self, is_enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.master, selectors.EVENT_READ)
            out = self.process.stdout
            if out is not None and not out.closed:
                selector.register(out, selectors.EVENT_READ)
            while selector.get_map() and not is_enough():
                left = deadline - time.monotonic()
                assert left > 0, self.shown
                for key, _ in selector.select(left):
                    self._take(selector, key)

    def _take(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        try:
            block = os.read(key.fd, 65536)
        except OSError:  # no process has the terminal open any more
            block = b""
        if not block:
            selector.unregister(key.fileobj)
            if key.fileobj is self.process.stdout:
                self.process.stdout.close()
        elif key.fd == self.master:
            self.raw += block
            self._stream.feed(block)
        else:
            self.out += block


@contextlib.contextmanager
def watch(
    folder: Path,
    config: Mapping[str, Any],
    *,
    columns: int = 160,
    stdout_too: bool = False,
    **variables: str,
) -> Iterator[TerminalProcess]:
    """Start the command on a terminal; it is killed at the end of the block if still running.

    Args:
        folder: its working directory.
        config: its configuration.
        columns: the terminal's width; with 0, the terminal does not report a width, and has 80
            columns.
        stdout_too: whether stdout is the terminal too; otherwise it is a pipe.
        variables: environment variables.
    """
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    prefix = [sys.executable, "-c", _CONTROLLING_TERMINAL]
    given = environment(**({"TERM": "xterm", "PYTHONPATH": str(ROOT)} | variables))
    given.pop("TQDM_DISABLE" if "TQDM_DISABLE" not in variables else "", None)
    try:
        with subprocess.Popen(
            [*prefix, *COMMAND, "--config", config_file(folder, config)],
            stdin=subprocess.PIPE,
            stdout=slave if stdout_too else subprocess.PIPE,
            stderr=slave,
            cwd=folder,
            env=given,
            start_new_session=True,
        ) as process:
            os.close(slave)
            slave = -1
            screen = pyte.HistoryScreen(columns or 80, 40, history=1000, ratio=1.0)
            try:
                yield TerminalProcess(process, master, screen)
            finally:
                process.kill()
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)
