"""The listening socket, and a thread for each connection; `stop` ends all of them."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKLOG = 128


class Server:
    """Listens as soon as it is created; serves connections between `start` and `stop`."""

    def __init__(self, host: str, port: int, serve: Callable[[socket.socket, str], None]) -> None:
        """Listen on `host` and `port`, 0 for a free one; `OSError` when it cannot."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._serve = serve
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._stopping = False
        self._acceptor = threading.Thread(target=self._accept, name="segment-emulator", daemon=True)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def start(self) -> None:
        """Start to accept connections."""
        self._acceptor.start()

    def stop(self) -> None:
        """Close every connection and wait for every thread."""
        self._stopping = True
        self._wake_writer.send(b"x")
        if self._acceptor.is_alive():
            self._acceptor.join()
        self._listener.close()
        self._wake_writer.close()
        self._wake_reader.close()
        with self._lock:
            connections = list(self._connections.items())
        for _, connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread, _ in connections:
            if thread is not threading.current_thread():
                thread.join()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while not self._stopping:
                selector.select()
                if not self._stopping:
                    self._accept_waiting()

    def _accept_waiting(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:
            return
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(
            target=self._run,
            args=(connection, address[0]),
            name="segment-emulator-connection",
            # A test that does not stop its emulator must not hang when it ends.
            daemon=True,
        )
        with self._lock:
            self._connections[thread] = connection
        try:
            thread.start()
        except RuntimeError:  # no more threads can be started: the client may try again
            with self._lock:
                del self._connections[thread]
            connection.close()

    def _run(self, connection: socket.socket, client: str) -> None:
        try:
            self._serve(connection, client)
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)
