"""Connections that obey the deadline of the exchange that uses them, and tell a cut answer.

`urllib3`'s, with four things added: the deadline's guard on every socket, one bound for all of a
host's addresses, an end of life so that names are resolved again, and headers that must end.
"""

from __future__ import annotations

import errno
import http.client
import os
import selectors
import socket
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import urllib3
    from urllib3.poolmanager import PoolManager, ProxyManager

    from target_segment_objects.client.deadlines import Deadline
    from target_segment_objects.client.resolver import NameResolver

__all__ = ["DeadlineAdapter", "current_exchange"]

CONNECTION_SECONDS = 3600.0
"""A connection is used this long at most, so that long runs see a change of DNS [doc: daily]."""

_CONNECT_SECONDS = 10.0
# What `connect` says when it did not fail: done, or begun.
_CONNECTING = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}
# Lines of an answer's head, its interim answers included.
_MAX_HEAD_LINES = 2000
# An upload reads its file and fills the socket in pieces of this size.
_BLOCK_BYTES = 128 * 1024


class _CurrentExchange(threading.local):
    """The exchange that this thread makes; set by the transport before each one."""

    deadline: Deadline
    names: NameResolver


current_exchange = _CurrentExchange()


class _Lines:
    """The lines of an answer's head; remembers the last one."""

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
    """The answer behind all interim ones (1xx), whose headers must end in a blank line.

    `http.client` takes the end of the stream for one, and so an answer that was cut after its
    status line for a whole one.
    """

    def begin(self) -> None:
        if getattr(self, "headers", None) is not None:
            return
        file: Any = self.fp
        lines = _Lines(file)
        self.fp = lines  # type: ignore[assignment]
        try:
            super().begin()
            # `http.client` passes over 100 alone. 101 is no interim answer: what follows it is
            # another protocol.
            while 100 <= self.status <= 199 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:  # noqa: PLR2004
                self.headers = self.msg = None  # type: ignore[assignment]
                super().begin()
        finally:
            # Not when it was closed over an answer that is none.
            now: Any = self.fp
            if now is lines:
                self.fp = file
        if lines.last not in (b"\r\n", b"\n"):
            raise http.client.IncompleteRead(b"")
        # A malformed header is left out, and the answer counts. `urllib3` would log it as it came,
        # with whatever of our request a server echoes in it.
        self.headers.defects.clear()
        self.headers.set_payload("")


class _Deadlined:
    """What both kinds of connection add to `urllib3`'s."""

    _born = 0.0
    _gathered: list[bytes] | None = None

    def _new_conn(self: Any) -> socket.socket:
        """Connect within the deadline, address by address, and have the socket guarded."""
        deadline = current_exchange.deadline
        deadline.missing = "the name was not resolved"
        try:
            found = current_exchange.names.resolve(self._dns_host, self.port, deadline)
        except (OSError, UnicodeError) as error:
            raise NameResolutionError(self.host, self, _gaierror(error)) from error
        deadline.missing = "there was no connection"
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in found:
            try:
                sock: socket.socket = self._connect_to(family, kind, protocol, address)
            except OSError as error:
                failure = error
            else:
                sys.audit("http.client.connect", self, self.host, self.port)
                self._born = time.monotonic()
                deadline.missing = "the proxy or TLS did not let the request out"
                return sock
            if deadline.cut:
                break
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "connecting timed out") from failure
        raise NewConnectionError(self, "no connection") from failure

    def connect(self: Any) -> None:
        """Connect; from here on the request can go out."""
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
            begun = sock.connect_ex(address)
            if begun not in _CONNECTING:
                raise OSError(begun, os.strerror(begun))  # noqa: TRY301 - closed below
            # After connecting began: the system does not shut down what is no connection yet, and
            # a deadline that passed before would be forgotten.
            deadline.guard(sock.fileno())
            if begun:
                _wait_for_connection(sock, min(deadline.remaining, _CONNECT_SECONDS))
            # From here on the guard alone tells the time: it holds for an exchange and not for a
            # read, and a socket without a timeout asks the system half as often.
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        return sock

    @property
    def is_connected(self: Any) -> bool:
        """Whether the connection can serve one more request; not when it has grown old."""
        if time.monotonic() - self._born > CONNECTION_SECONDS:
            return False
        return bool(super().is_connected)  # type: ignore[misc]

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        """Send a request, and note whether all of it went out."""
        deadline = current_exchange.deadline
        if self.sock is not None:
            deadline.guard(self.sock.fileno())
        deadline.body_sent = False
        # A head and a body at hand go out together: one packet and one call of the system.
        self._gathered = [] if isinstance(kwargs.get("body"), bytes) else None
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            gathered, self._gathered = self._gathered, None
        if gathered:
            super().send(b"".join(gathered))  # type: ignore[misc]
        deadline.body_sent = True

    def send(self: Any, data: Any) -> None:
        """Send bytes, or keep them until the request is whole."""
        if self._gathered is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._gathered.append(data)


class _Connection(_Deadlined, HTTPConnection):
    """Plain http: loopback, or a network that the user trusts."""

    response_class = _WholeHead


class _SecureConnection(_Deadlined, HTTPSConnection):
    """https."""

    response_class = _WholeHead


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class PreparedEndpoint:
    """Where requests go, found once for all of them: what `requests` works out for each anew.

    Args:
        pool: connections to the host, or to the proxy before it.
        target: goes before each path in the request's line.
        headers: of every request, `Authorization` included.
    """

    def __init__(self, pool: HTTPConnectionPool, target: str, headers: Mapping[str, str]) -> None:
        self._pool = pool
        self._target = target
        self._headers = headers

    @contextmanager
    def post(
        self, path: str, headers: Mapping[str, str], body: Any
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send once, within the current deadline; its answer's body is read in the block.

        Raises:
            HTTPError: of `urllib3`'s, or `OSError` or `http.client.HTTPException`.
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
            # A connection whose answer was read to its end is back in the pool already.
            response.close()
            response.release_conn()

    def close(self) -> None:
        """Close the connections that wait for a request; `requests` leaves that to chance."""
        self._pool.close()


class DeadlineAdapter(HTTPAdapter):
    """`requests`' adapter over these connections: it never tries again on its own."""

    def prepare_endpoint(self, session: requests.Session, url: str) -> PreparedEndpoint:
        """How the session's POST requests to this address travel: signed, by proxy, with TLS roots.

        Args:
            session: whose `auth`, `headers`, `proxies` and `verify` hold.
            url: a base address without a slash at its end.

        Raises:
            RequestException: the address cannot be used.
        """
        prepared = session.prepare_request(requests.Request("POST", f"{url}/"))
        verify: Any = session.verify
        pool: Any = self.get_connection_with_tls_context(prepared, verify, session.proxies)
        self.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
        headers = {n: v for n, v in prepared.headers.items() if n != "Content-Length"}
        target = self.request_url(prepared, session.proxies).removesuffix("/")
        return PreparedEndpoint(pool, target, headers)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - the signature is requests'
        **pool_kwargs: Any,
    ) -> None:
        """Make the pool of direct connections."""
        super().init_poolmanager(
            connections, maxsize, block=block, blocksize=_BLOCK_BYTES, **pool_kwargs
        )
        _use_our_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> ProxyManager:
        """Make the pool of connections through a proxy."""
        manager: ProxyManager = super().proxy_manager_for(
            proxy, blocksize=_BLOCK_BYTES, **proxy_kwargs
        )
        _use_our_pools(manager)
        return manager


def _use_our_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def _wait_for_connection(sock: socket.socket, seconds: float) -> None:
    """Wait until a connection that has begun is there.

    Raises:
        OSError: it failed; `TimeoutError` when it took longer.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_WRITE)
        if not selector.select(seconds):
            raise TimeoutError("connecting timed out")
    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        raise OSError(failed, os.strerror(failed))


def _gaierror(error: OSError | UnicodeError) -> socket.gaierror:
    return error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
