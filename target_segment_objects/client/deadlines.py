"""A deadline that holds for a whole exchange, whatever the pace of the other side.

A socket's timeout is per read, so an answer that drips a byte a second takes for ever. Here a
thread shuts the exchange's sockets down when its deadline passes, which ends every read, write and
handshake on them at once, and a name that is still being resolved is not waited for any longer.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Deadline", "Deadlines"]


class Deadline:
    """The end of one exchange.

    Attributes:
        cut: whether its sockets were shut down, so that nothing read since then counts.
        body_sent: whether the last request on it went out whole.
        missing: what it waits for before the request can go out, for the message; empty once it
            can.
    """

    def __init__(self, at: float) -> None:
        self.at = at
        self.cut = False
        self.body_sent = True
        self.missing = ""
        self._lock = threading.Lock()
        self._guards: list[socket.socket] = []
        self._told: list[Callable[[], None]] = []

    @property
    def remaining(self) -> float:
        """Seconds left, never 0 or less: a socket would read that as not waiting at all."""
        return max(self.at - time.monotonic(), 0.001)

    def guard(self, descriptor: int) -> None:
        """Have the socket of this descriptor shut down at the deadline.

        Through a duplicate, since TLS takes the descriptor over in the middle of a handshake, and
        `http.client` gives a connection up while its answer is still being read.

        Raises:
            TimeoutError: the deadline has passed already.
        """
        with self._lock:
            if self.cut:
                raise TimeoutError("the deadline has passed")
            self._guards.append(socket.socket(fileno=os.dup(descriptor)))

    def when_shut(self, tell: Callable[[], None]) -> None:
        """Call this when the deadline passes; at once when it has. It returns at once itself."""
        with self._lock:
            if not self.cut:
                self._told.append(tell)
                return
        tell()

    def shut(self) -> None:
        """Shut all its sockets down, end its other waits, and refuse to guard another socket."""
        with self._lock:
            self.cut = True
            for tell in self._told:
                tell()
            for guard in self._guards:
                # The other side may have been first.
                with suppress(OSError):
                    guard.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Let go of the sockets; the exchange is over."""
        with self._lock:
            for guard in self._guards:
                guard.close()
            self._guards.clear()
            self._told.clear()


class Deadlines:
    """The thread that keeps the deadlines of one transport's exchanges, started when first needed.

    It tells real time and no injected clock: the sockets live in real time.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Deadline] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False
        self.aborted = False

    @contextmanager
    def within(self, seconds: float) -> Iterator[Deadline]:
        """A deadline so many seconds from now, kept until the block ends.

        Raises:
            ThreadError: there is no thread to keep it.
        """
        deadline = Deadline(time.monotonic() + seconds)
        with self._changed:
            if self._thread is None:
                self._thread = start_thread(self._keep, "segment-deadlines")
            if self.aborted:
                deadline.shut()
            self._running.add(deadline)
            if deadline.at < self._wakes_at:
                self._changed.notify()
        try:
            yield deadline
        finally:
            with self._changed:
                self._running.discard(deadline)
            deadline.release()

    def abort(self) -> None:
        """Shut down every exchange that runs, and each that would start."""
        with self._changed:
            self.aborted = True
            for deadline in self._running:
                deadline.shut()

    def close(self) -> None:
        """Abort, and end the thread."""
        self.abort()
        with self._changed:
            self._closed = True
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _keep(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for deadline in [each for each in self._running if each.at <= now]:
                    deadline.shut()
                    self._running.discard(deadline)
                self._wakes_at = min((each.at for each in self._running), default=float("inf"))
                left = self._wakes_at - now
                self._changed.wait(left if left < threading.TIMEOUT_MAX else None)
