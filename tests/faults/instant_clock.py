"""A clock whose waits take no time, and a port that can be closed."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from target_segment_objects.client import Clock
from tests.faults.wire_cases import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.emulator import Emulator

__all__ = ["EmulatorPort", "InstantClock"]


class InstantClock:
    """A clock whose waits take no time; its random numbers are always the highest.

    Attributes:
        waits: the seconds of each wait, in order.
        on_wait: called after each wait, with the number of waits so far.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.on_wait: Callable[[int], None] | None = None
        self._lock = threading.Lock()

    def of(self, stop: threading.Event) -> Clock:
        """Return the client's clock; once `stop` is set, its waits report the caller's stop."""

        def wait(seconds: float) -> bool:
            if stop.is_set():
                return True
            with self._lock:
                self.waits.append(seconds)
                if self.on_wait is not None:
                    self.on_wait(len(self.waits))
            return stop.is_set()

        return Clock(
            now=lambda: EPOCH + sum(self.waits),
            monotonic=lambda: sum(self.waits),
            wait=wait,
            random=lambda: 1.0,
        )


class EmulatorPort:
    """The emulator's port, which can be closed so that connections are refused."""

    _lock = threading.Lock()

    def __init__(self) -> None:
        # Bound but not listening, so that no other process gets the port while it is closed.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]

    @classmethod
    def close(cls, segment: Emulator) -> None:
        """Refuse new connections; existing ones continue. If already closed, it does nothing.

        A second shutdown would persist: connections accepted after `open` would be closed at once.
        """
        assert segment._server is not None
        listener = segment._server._listener
        with cls._lock:
            if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listener.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def open(segment: Emulator) -> None:
        """Accept connections again."""
        assert segment._server is not None
        segment._server._listener.listen()

    def forget(self) -> None:
        """Release the port."""
        self._reserved.close()
