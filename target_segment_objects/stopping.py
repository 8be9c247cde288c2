"""How waits are ended: a pipe for the wait for input, and an event for all others."""

from __future__ import annotations

import contextlib
import os
import threading
import time

__all__ = ["StopEvent", "WakeupPipe"]


class WakeupPipe:
    """The stop flag, and the pipe that ends a wait. Any thread may use it, after `close` too."""

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._reads = self._writes = -1

    def open(self) -> None:
        """Create the pipe, unless it is open."""
        if self._reads < 0:
            self._reads, self._writes = os.pipe()
            os.set_blocking(self._reads, False)
            os.set_blocking(self._writes, False)

    def fileno(self) -> int:
        """The end to wait for."""
        return self._reads

    def set(self) -> None:
        """End the reader's present wait, or its next one."""
        with self._lock:  # a closed descriptor's number may already belong to another file
            if self._writes >= 0:
                # A full pipe wakes the reader as well.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._writes, b"\0")

    def stop(self) -> None:
        """Ask the reader to read no more."""
        self.stopped = True
        self.set()

    def clear(self) -> None:
        """Undo `set`."""
        with self._lock, contextlib.suppress(BlockingIOError):
            while self._reads >= 0 and os.read(self._reads, 4096):
                pass

    def close(self) -> None:
        """Close the pipe. Later calls do nothing."""
        with self._lock:
            reads, writes, self._reads, self._writes = self._reads, self._writes, -1, -1
            if reads >= 0:
                os.close(reads)
                os.close(writes)


class StopEvent(threading.Event):
    """Ends all waits when it is set; with a deadline, those that would last beyond it."""

    def __init__(self) -> None:
        super().__init__()
        self._deadline = float("inf")
        self._changed = threading.Event()

    def set_deadline(self, deadline: float) -> None:
        """End waits that would last beyond this time of the monotonic clock."""
        self._deadline = deadline
        self._changed.set()

    def set(self) -> None:
        """End every wait."""
        super().set()
        self._changed.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait; return true, at once, if it is set or the wait would last beyond the deadline."""
        if timeout is None:
            return super().wait()
        end = time.monotonic() + timeout
        if not self._changed.wait(timeout):
            return False
        if end > self._deadline:
            return True
        return super().wait(max(0.0, end - time.monotonic()))
