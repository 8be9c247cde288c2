"""A deadline for a whole exchange, however slow the other side is.

A socket's timeout is per read, so a response that sends a byte a second never times out. Here, a
thread shuts down the exchange's sockets when the deadline passes, which ends every read, write and
handshake on them at once. It also ends the wait for a name to be resolved.
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
        cut: whether the deadline has passed and the sockets were shut down.
        body_sent: whether the last request was sent completely.
        missing: what the exchange waits for before it can send the request, for the message; empty
            once it can.
    """

    def __init__(self, at: float) -> None:
        self.at = at
        self.cut = False
        self.body_sent = True
        self.missing = ""
        self._lock = threading.Lock()
        self._guards: list[socket.socket] = []
        self._on_cut: list[Callable[[], None]] = []

    @property
    def remaining(self) -> float:
        """Seconds left, always above 0, which a socket would take as not to wait at all."""
        return max(self.at - time.monotonic(), 0.001)

    def guard(self, descriptor: int) -> None:
        """Shut down the socket of this descriptor when the deadline passes.

        By a duplicate, since TLS takes over the descriptor during the handshake, and `http.client`
        drops a connection while its response is still being read.

        Raises:
            TimeoutError: the deadline has passed already.
        """
        with self._lock:
            if self.cut:
                raise TimeoutError("the deadline has passed")
            self._guards.append(socket.socket(fileno=os.dup(descriptor)))

    def when_cut(self, callback: Callable[[], None]) -> None:
        """Call this when the deadline passes; at once when it has passed. It must not block."""
        with self._lock:
            if not self.cut:
                self._on_cut.append(callback)
                return
        callback()

    def cut_off(self) -> None:
        """Shut down all sockets, end other waits, and refuse to guard another socket."""
        with self._lock:
            self.cut = True
            for callback in self._on_cut:
                callback()
            for guard in self._guards:
                # The other side may have closed it already.
                with suppress(OSError):
                    guard.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Release the sockets: the exchange has ended."""
        with self._lock:
            for guard in self._guards:
                guard.close()
            self._guards.clear()
            self._on_cut.clear()


class Deadlines:
    """The deadlines of one transport's exchanges, and the thread that enforces them.

    The thread starts when it is first needed. It uses real time and no injected clock, since the
    sockets do.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Deadline] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None
        self.aborted = False

    @contextmanager
    def within(self, seconds: float) -> Iterator[Deadline]:
        """A deadline this many seconds from now, enforced until the block ends.

        Raises:
            ThreadError: the system cannot start the thread.
        """
        deadline = Deadline(time.monotonic() + seconds)
        with self._changed:
            if self.aborted:
                deadline.cut_off()
            elif self._thread is None:
                self._thread = start_thread(self._enforce, "segment-deadlines")
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
        """Fail every exchange, those in flight and later ones, and end the thread."""
        with self._changed:
            self.aborted = True
            for deadline in self._running:
                deadline.cut_off()
            self._changed.notify()

    def close(self) -> None:
        """Abort, and wait for the end of the thread."""
        self.abort()
        if self._thread is not None:
            self._thread.join()

    def _enforce(self) -> None:
        with self._changed:
            while not self.aborted:
                now = time.monotonic()
                for deadline in [deadline for deadline in self._running if deadline.at <= now]:
                    deadline.cut_off()
                    self._running.discard(deadline)
                self._wakes_at = min(
                    (deadline.at for deadline in self._running), default=float("inf")
                )
                left = self._wakes_at - now
                self._changed.wait(left if left < threading.TIMEOUT_MAX else None)
