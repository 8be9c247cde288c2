"""SIGINT and SIGTERM: they stop the run, which then has a deadline for delivery.

Invariant: a signal may interrupt the program between any two instructions, so the handler does
nothing. Python writes the signal's number to a pipe (`set_wakeup_fd`), which a thread of ours
reads. (Python runs handlers on the main thread only, and may wake it once for two signals that
arrive at another thread.) SIGINT and SIGTERM together are one request to stop, since Meltano sends
both for one Ctrl-C; the same signal twice ends the process at once.
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

__all__ = ["SignalWatcher"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_BLOCK: Final = 512
_FAILURE_STATUS: Final = 1
_GRACE_SECONDS: Final = 5.0
"""How long an aborted run may take to end by itself."""
_BEFORE_EXIT_SECONDS: Final = 1.0
_SIGNAL_STATUS: Final = 128
"""A signal's exit status in a shell is this plus the signal's number."""


class SignalWatcher:
    """Stops a run at the first signal, aborts it after a time, and then ends the process.

    Args:
        stop: called on a thread at the first signal.
        abort: called on a thread when the stop has taken `seconds`: all waits must end now.
        seconds: how long a stop may take.
        before_exit: called on a thread, with the exit status, before it ends a process that does
            not end by itself.
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
        return _SIGNAL_STATUS + self._received[0] if self._received else None

    def install(self) -> None:
        """Handle SIGINT and SIGTERM from here on. On the main thread only.

        Raises:
            ThreadError: the thread cannot be started; it is closed, and the signals are unchanged.
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
        """Ignore further signals, and end the thread. Further calls do nothing."""
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
        """After `close`, restore the previous handlers, for a program that continues."""
        for number, handler in self._before.items():
            if handler is not None:  # not installed by Python
                signal.signal(number, handler)
        self._before.clear()

    def _exit(self, status: int) -> None:
        if self._before_exit is not None:
            # It may block for the same reason as the run, for example a log that nobody reads.
            thread = threading.Thread(target=self._before_exit, args=(status,), daemon=True)
            with contextlib.suppress(RuntimeError):  # the system may have no more threads
                thread.start()
                thread.join(_BEFORE_EXIT_SECONDS)
        os._exit(status)

    def _watch(self) -> None:
        """Read the numbers of signals, until the pipe is closed."""
        reads = self._reads
        deadline: float | None = None
        aborted = False
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([reads], [], [], left)
            if not ready:
                if aborted:  # it is not the delivery that hangs, but a write to stdout, for example
                    self._exit(_FAILURE_STATUS)
                aborted = True
                deadline = time.monotonic() + _GRACE_SECONDS
                self._abort()
                continue
            numbers = os.read(reads, _BLOCK)
            if not numbers:
                return
            for number in numbers:
                if number not in _SIGNALS:
                    continue  # of another handler
                if number in self._received:
                    self._exit(_SIGNAL_STATUS + number)
                self._received.append(number)
                if len(self._received) == 1:
                    deadline = time.monotonic() + self._seconds
                    self._stop()


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: without a handler, the system would end the process."""
