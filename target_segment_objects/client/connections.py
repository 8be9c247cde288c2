"""Connections that obey the deadline of their exchange and detect responses that were cut short.

They add four things to those of `urllib3`: the deadline guards every socket, it bounds all attempts
to connect to the addresses of a host, a connection has a maximum age so that names are resolved
again, and the headers of a response must be complete.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import wait_for_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import requests
    import urllib3
    from urllib3.connectionpool import HTTPConnectionPool

    from target_segment_objects.client.deadlines import Deadline
    from target_segment_objects.client.resolver import NameResolver

__all__ = ["PreparedEndpoint", "current_exchange"]

CONNECTION_SECONDS = 3600.0
"""Maximum age of a connection, so that long runs notice a change of DNS [doc: daily]."""

_CONNECT_SECONDS = 10.0
# What `connect` returns when it did not fail: done, or in progress.
_CONNECTING = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}
# Lines of a response's head, with those of its interim responses.
_MAX_HEAD_LINES = 2000
# An upload reads its file and fills the socket in pieces of this size.
_BLOCK_BYTES = 128 * 1024


class _CurrentExchange(threading.local):
    """The exchange that this thread makes; set by the transport before each one."""

    deadline: Deadline
    resolver: NameResolver


current_exchange = _CurrentExchange()


class _Lines:
    """The lines of a response's head; keeps the last one."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._count = 0
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self._count += 1
        if self._count > _MAX_HEAD_LINES:
            raise http.client.IncompleteRead(b"")
        self.last = self._file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _WholeHead(http.client.HTTPResponse):
    """The response after all interim ones (1xx); its headers must end with a blank line.

    `http.client` takes the end of the stream for that line, so that a response that was cut after
    its status line would be complete.
    """

    def begin(self) -> None:
        if getattr(self, "headers", None) is not None:
            return
        file: Any = self.fp
        lines = _Lines(file)
        self.fp = lines  # type: ignore[assignment]
        try:
            super().begin()
            # `http.client` only skips 100. After 101, another protocol follows: it is final.
            while 100 <= self.status <= 199 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:  # noqa: PLR2004
                self.headers = self.msg = None  # type: ignore[assignment]
                super().begin()
        finally:
            # It is None when the response was not HTTP and the connection was closed.
            current: Any = self.fp
            if current is lines:
                self.fp = file
        if lines.last not in (b"\r\n", b"\n"):
            raise http.client.IncompleteRead(b"")
        # Malformed headers are ignored. `urllib3` would log them as they came, with whatever of our
        # request a server echoes in them.
        self.headers.defects.clear()
        self.headers.set_payload("")


class _Deadlined:
    """What both kinds of connection add to those of `urllib3`."""

    _connected_at = 0.0
    _buffered: list[bytes] | None = None

    def _new_conn(self: Any) -> socket.socket:
        """Connect within the deadline, address by address; the deadline guards the socket."""
        deadline = current_exchange.deadline
        deadline.missing = "the host name was not resolved"
        try:
            addresses = current_exchange.resolver.resolve(self._dns_host, self.port, deadline)
        except (OSError, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
        deadline.missing = "there was no connection"
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                sock: socket.socket = self._connect_to(family, kind, protocol, address)
            except OSError as error:
                failure = error
            else:
                sys.audit("http.client.connect", self, self.host, self.port)
                self._connected_at = time.monotonic()
                deadline.missing = "the proxy or TLS was not ready"
                return sock
            if deadline.cut:
                break
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "connecting timed out") from failure
        raise NewConnectionError(self, "no connection") from failure

    def connect(self: Any) -> None:
        """Connect; from then on the request can be sent."""
        super().connect()  # type: ignore[misc]
        current_exchange.deadline.missing = ""

    def _connect_to(
        self: Any, family: int, kind: int, protocol: int, address: tuple[Any, ...]
    ) -> socket.socket:
        deadline = current_exchange.deadline
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code in _CONNECTING:
                # Only now: the system does not shut down a socket that has not begun to connect,
                # so a deadline that passed before would have no effect.
                deadline.guard(sock.fileno())
                if code and not wait_for_write(sock, min(deadline.remaining, _CONNECT_SECONDS)):
                    raise TimeoutError("connecting timed out")  # noqa: TRY301 - closed below
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))  # noqa: TRY301 - closed below
            # From here on only the guard keeps the time: it holds for the whole exchange, and a
            # socket without a timeout makes half as many system calls.
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        return sock

    @property
    def is_connected(self: Any) -> bool:
        """Whether the connection can be used for another request; not when it is too old."""
        if time.monotonic() - self._connected_at > CONNECTION_SECONDS:
            return False
        return bool(super().is_connected)  # type: ignore[misc]

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        """Send a request, and record whether all of it was sent."""
        deadline = current_exchange.deadline
        if self.sock is not None:
            deadline.guard(self.sock.fileno())
        deadline.body_sent = False
        # A head and a body in memory are sent together: one packet and one system call.
        self._buffered = [] if isinstance(kwargs.get("body"), bytes) else None
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            buffered, self._buffered = self._buffered, None
        if buffered:
            super().send(b"".join(buffered))  # type: ignore[misc]
        deadline.body_sent = True

    def send(self: Any, data: Any) -> None:
        """Send bytes, or buffer them until the request is complete."""
        if self._buffered is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._buffered.append(data)


class _Connection(_Deadlined, HTTPConnection):
    """Plain http: loopback, or a network that the user trusts."""

    response_class = _WholeHead


class _SecureConnection(_Deadlined, HTTPSConnection):
    """https."""

    response_class = _WholeHead


class PreparedEndpoint:
    """What `requests` works out anew for every request, prepared once: pool, target and headers.

    Args:
        request: a POST to the base address and a slash, with all headers that the requests share.
        verify: the TLS roots, as `requests` takes them.
        proxy: the address of the proxy, if there is one.
        max_connections: connections that are kept open.

    Raises:
        RequestException: the address cannot be used.
    """

    def __init__(
        self,
        request: requests.PreparedRequest,
        *,
        verify: str | bool,
        proxy: str | None,
        max_connections: int,
    ) -> None:
        proxies = {"http": proxy, "https": proxy} if proxy else {}
        adapter = HTTPAdapter(pool_maxsize=max_connections)
        pool: Any = adapter.get_connection_with_tls_context(request, verify, proxies)
        adapter.cert_verify(pool, request.url, verify, None)  # type: ignore[no-untyped-call]
        pool.ConnectionCls = _SecureConnection if pool.scheme == "https" else _Connection
        pool.conn_kw["blocksize"] = _BLOCK_BYTES
        self._pool: HTTPConnectionPool = pool
        self._target = adapter.request_url(request, proxies).removesuffix("/")
        self._headers = {
            name: value for name, value in request.headers.items() if name != "Content-Length"
        }

    @contextmanager
    def post(
        self, path: str, headers: Mapping[str, str], body: Any
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send once, within the current deadline; the response is read in the `with` block.

        Raises:
            HTTPError: of `urllib3`; or `OSError` or `http.client.HTTPException`.
        """
        length = {} if isinstance(body, bytes) else {"Content-Length": str(len(body))}
        response = self._pool.urlopen(
            "POST",
            f"{self._target}{path}",
            body=body or None,
            headers={**self._headers, **headers, **length},
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=None,
            preload_content=False,
            decode_content=False,
        )
        try:
            yield response
        finally:
            # A connection whose response was read to its end is in the pool again already.
            response.close()
            response.release_conn()

    def close(self) -> None:
        """Close the idle connections, which `requests` leaves to the garbage collector."""
        self._pool.close()
