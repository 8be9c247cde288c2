"""Why an answer was lost: what `requests` and the layers below it raise, as one closed list.

The words are our own. Theirs can hold an address with a proxy's password in it, and their
exceptions carry the whole request, `Authorization` included.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
from typing import TYPE_CHECKING

from requests.exceptions import InvalidURL
from urllib3.exceptions import (
    DecodeError,
    IncompleteRead,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from target_segment_objects.client.outcomes import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["classify_failure"]

# What OpenSSL calls a peer that went away: a broken connection, and no doubt about its identity.
_TLS_HANG_UPS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
# `http.client` tells the status of a refused CONNECT in the text of an OSError alone.
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")


def classify_failure(error: BaseException, quote: Callable[[str], str]) -> Failure:  # noqa: C901 - a table, row by row
    """Why there is no whole answer.

    Args:
        error: what the exchange raised: of `requests`, `urllib3`, `http.client` or the system.
        quote: makes a text of theirs one that may be shown.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, (*_TLS_HANG_UPS, TimeoutError)
        ):
            return Failure(FailureKind.TLS, f"TLS failed: {_tls_words(cause, quote)}")
    for cause in causes:
        tunnel = _TUNNEL_STATUS.search(str(cause)) if isinstance(cause, OSError) else None
        if tunnel:
            status = int(tunnel[1])
            refused = 400 <= status <= 499  # noqa: PLR2004 - the 4xx class
            kind = FailureKind.PROXY_REFUSED if refused else FailureKind.PROXY
            return Failure(kind, f"the proxy answered {status} to CONNECT")
    by_proxy = _is_one(causes, ProxyError)
    if _is_one(causes, NameResolutionError, socket.gaierror):
        whose = "the proxy's" if by_proxy else "the"
        kind = FailureKind.PROXY if by_proxy else FailureKind.NAME
        return Failure(kind, f"{whose} name could not be resolved")
    if _is_one(causes, NewConnectionError, ConnectionRefusedError):
        where = " to the proxy" if by_proxy else ""
        kind = FailureKind.PROXY if by_proxy else FailureKind.CONNECT
        return Failure(kind, f"no connection{where}: {_words(causes)}")
    if _is_one(causes, TimeoutError, ReadTimeoutError):
        return Failure(FailureKind.TIMEOUT, "timed out")
    if _is_one(causes, IncompleteRead, http.client.IncompleteRead):
        return Failure(FailureKind.CUT, "the answer was cut short")
    if _is_one(causes, DecodeError):
        return Failure(FailureKind.CUT, "the answer could not be decoded")
    if _is_one(causes, http.client.RemoteDisconnected):
        return Failure(FailureKind.RESET, "the connection was closed without an answer")
    if _is_one(causes, http.client.BadStatusLine):
        return Failure(FailureKind.RESET, "the answer was not HTTP")
    if _is_one(causes, InvalidURL):
        return Failure(FailureKind.CONNECT, "the address cannot be connected to")
    return Failure(FailureKind.RESET, f"the connection broke: {_words(causes)}")


def _is_one(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps, each once: by `from`, by `reason`, by its arguments."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        waiting.extend(one for one in inner if isinstance(one, BaseException))


def _tls_words(error: ssl.SSLError, quote: Callable[[str], str]) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate was not accepted ({quote(error.verify_message)})"
    return (error.reason or "no agreement").replace("_", " ").lower()


def _words(causes: list[BaseException]) -> str:
    """The system's words for the first error number found."""
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return type(causes[-1]).__name__
