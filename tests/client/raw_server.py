"""A server that sends any bytes, for responses that the emulator does not give.

Each connection is handled by a function that gets the socket and may do as it likes; what it
raises because the client hung up is expected.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["RawServer", "answer", "answering", "read_request"]


class RawServer:
    """Listens on loopback in a `with` block; `requests` are those that `read_request` has read.

    Args:
        handle: serves one connection.
        tls: speak TLS with this context.
    """

    def __init__(
        self, handle: Callable[[RawServer, socket.socket], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self._handle = handle
        self._tls = tls
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        """The base address."""
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def __enter__(self) -> Self:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening, and wait until every connection has ended."""
        self.stopping.set()
        # Closing the socket does not wake the thread that accepts.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._tls is None:
                self._handle(self, connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._handle(self, secure)


def read_request(server: RawServer, connection: socket.socket) -> bytes:
    """Read and record one request with its body; empty when the client closed the connection."""
    got = b""
    while b"\r\n\r\n" not in got:
        block = connection.recv(65536)
        if not block:
            return b""
        got += block
    head, _, body = got.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        block = connection.recv(65536)
        if not block:
            return b""
        body += block
    server.requests.append(head + b"\r\n\r\n" + body)
    return server.requests[-1]


def answer(status: int = 200, body: bytes = b"{}", headers: bytes = b"") -> bytes:
    """The bytes of a complete response."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %d X\r\n%b%b\r\n%b" % (status, length, headers, body)


def answering(*answers: bytes) -> Callable[[RawServer, socket.socket], None]:
    """Answer the first request with the first response, and so on; then repeat the last one.

    The connection ends after every response.
    """

    def handle(server: RawServer, connection: socket.socket) -> None:
        if read_request(server, connection):
            connection.sendall(answers[min(len(server.requests), len(answers)) - 1])

    return handle
