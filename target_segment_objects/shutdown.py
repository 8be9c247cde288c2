"""SIGINT and SIGTERM: what a handler may do, and the deadline that a stop leaves for delivery.

The rule that it guards: a handler can run between any two instructions, so it sets a flag and
writes bytes, and nothing else. Two different signals are one request to stop (Meltano makes both of
one Ctrl-C); the same one a second time ends the process at once.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Shutdown"]

_SIGNALLED: Final = 128
"""A shell's exit status of a process that a signal ended is this and the signal's number."""


class Shutdown:
    """Turns signals into a stop, and a stop that takes too long into its end.

    Args:
        stop: called in the handler at the first signal: sets flags and writes to pipes, no more.
        expire: called on a thread when the stop has lasted `seconds`: what still waits must end.
        seconds: what a stop leaves for delivery.
    """

    def __init__(
        self, stop: Callable[[], None], expire: Callable[[], None], seconds: float
    ) -> None:
        self._stop = stop
        self._expire = expire
        self._seconds = seconds
        self._received: list[int] = []
        self._reads, self._writes = os.pipe()
        self._watch = threading.Thread(target=self._watch_deadline, name="shutdown", daemon=True)

    @property
    def exit_status(self) -> int | None:
        """130 or 143 after a stop, by the first signal; `None` when there was none."""
        return _SIGNALLED + self._received[0] if self._received else None

    def install(self) -> None:
        """Take SIGINT and SIGTERM over. On the main thread only."""
        self._watch.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def close(self) -> None:
        """Let the signals do nothing more, and end the watch."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        os.close(self._writes)
        self._watch.join()
        os.close(self._reads)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number in self._received:
            os._exit(_SIGNALLED + number)
        self._received.append(number)
        if len(self._received) == 1:
            os.write(self._writes, b"\0")
            self._stop()

    def _watch_deadline(self) -> None:
        if not os.read(self._reads, 1):
            return  # closed: the run ended by itself
        ended, _, _ = select.select([self._reads], [], [], self._seconds)
        if not ended:
            self._expire()
