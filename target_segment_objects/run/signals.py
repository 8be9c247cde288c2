"""SIGINT and SIGTERM: how they reach the run, and the deadline that a stop leaves for delivery.

The rule that it guards: a signal may interrupt any thread between any two instructions, so nothing
is done there. The interpreter's own handler writes the signal's number to a pipe (`set_wakeup_fd`),
in whichever thread the system picks, and a thread of ours reads it: the main one may sleep through
two signals at once, when both interrupt another thread. Two different signals are one request to
stop (Meltano makes both of one Ctrl-C); the same one a second time ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.errors import ThreadError
from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from typing_extensions import Self

__all__ = ["SignalWatcher", "StopEvent"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_BLOCK: Final = 512
_FAILED: Final = 1
_GRACE_SECONDS: Final = 5.0
"""What a run that has expired gets to end by itself."""
_LAST_WORDS_SECONDS: Final = 1.0
_SIGNALLED: Final = 128
"""A shell's exit status of a process that a signal ended is this and the signal's number."""


class StopEvent(threading.Event):
    """Ends waits: all of them when it is set, and after a stop those that would outlast it."""

    def __init__(self) -> None:
        super().__init__()
        self._deadline = float("inf")
        self._changed = threading.Event()

    def set_deadline(self, deadline: float) -> None:
        """A stop leaves time until then, on the monotonic clock: longer waits end at once."""
        self._deadline = deadline
        self._changed.set()

    def set(self) -> None:
        """End every wait."""
        super().set()
        self._changed.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds; true, and at once, when there is no use in it any more."""
        if timeout is None:
            return super().wait()
        end = time.monotonic() + timeout
        if not self._changed.wait(timeout):
            return False
        if end > self._deadline:
            return True
        return super().wait(max(0.0, end - time.monotonic()))


class SignalWatcher:
    """Turns signals into a stop, and a stop that takes too long into its end.

    Args:
        stop: called on a thread at the first signal.
        expire: called on a thread when the stop has lasted `seconds`: what still waits must end.
        seconds: what a stop leaves for delivery.
        before_exit: called on a thread, with the exit status, before a process that does not end by
            itself is ended.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        abort: Callable[[], None],
        seconds: float,
        *,
        before_exit: Callable[[int], None] | None = None,
    ) -> None:
        self._before_exit = before_exit
        self._stop = stop
        self._abort = abort
        self._seconds = seconds
        self._received: list[int] = []
        self._before: dict[int, Any] = {}
        self._reads, self._writes = os.pipe()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Install it, on the main thread: no other one can receive signals."""
        if threading.current_thread() is threading.main_thread():
            self.install()
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, and give the signals back."""
        self.close()
        self.restore()

    @property
    def exit_status(self) -> int | None:
        """130 or 143 after a stop, by the first signal; `None` when there was none."""
        return _SIGNALLED + self._received[0] if self._received else None

    def install(self) -> None:
        """Take SIGINT and SIGTERM over. On the main thread only.

        Raises:
            ThreadError: there is no thread to heed them; it is closed, and the signals are as
                they were.
        """
        os.set_blocking(self._writes, False)
        try:
            self._thread = start_thread(self._watch, "shutdown")
        except ThreadError:
            self.close()
            raise
        signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, _do_nothing)

    def close(self) -> None:
        """Let the signals do nothing more, and end the watch; those that came have been heeded.

        Again, it does nothing.
        """
        reads, writes, self._reads, self._writes = self._reads, self._writes, -1, -1
        if writes < 0:
            return
        thread = self._thread
        if thread is not None and thread.is_alive():
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
        os.close(writes)
        if thread is not None:
            thread.join()
        os.close(reads)

    def restore(self) -> None:
        """After `close`, give the signals back to whom they belonged: for a caller that goes on."""
        for number, handler in self._before.items():
            if handler is not None:  # else it was none of Python's
                signal.signal(number, handler)
        self._before.clear()

    def _exit(self, status: int) -> None:
        if self._before_exit is not None:
            # What holds the process may hold this up too: a log that nobody reads, say.
            words = threading.Thread(target=self._before_exit, args=(status,), daemon=True)
            with contextlib.suppress(RuntimeError):  # the system may have no more threads
                words.start()
                words.join(_LAST_WORDS_SECONDS)
        os._exit(status)

    def _watch(self) -> None:
        """Read the signals' numbers, until the pipe is closed."""
        reads = self._reads
        deadline: float | None = None
        expired = False
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([reads], [], [], left)
            if not ready:
                if expired:  # what still hangs is not the delivery: a write to stdout, say
                    self._exit(_FAILED)
                expired = True
                deadline = time.monotonic() + _GRACE_SECONDS
                self._abort()
                continue
            numbers = os.read(reads, _BLOCK)
            if not numbers:
                return
            for number in numbers:
                if number not in _SIGNALS:
                    continue  # of a handler that is not ours
                if number in self._received:
                    self._exit(_SIGNALLED + number)
                self._received.append(number)
                if len(self._received) == 1:
                    deadline = time.monotonic() + self._seconds
                    self._stop()


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler must be there, or the system would end the process."""
