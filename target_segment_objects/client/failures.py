"""Classifies what `requests` and the layers below it raise, as one closed list of failures.

The texts are ours: those of the libraries can contain an address with a proxy's password, and their
exceptions carry the whole request, `Authorization` included.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
from typing import TYPE_CHECKING

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

# What OpenSSL raises for a peer that went away: a broken connection, not a wrong certificate.
_TLS_HANG_UPS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
# `http.client` has the status of a refused CONNECT only in the text of an OSError.
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")
_BY_CAUSE = (
    ((TimeoutError, ReadTimeoutError), FailureKind.TIMEOUT, "timed out"),
    ((IncompleteRead, http.client.IncompleteRead), FailureKind.CUT, "the response was cut short"),
    ((DecodeError,), FailureKind.CUT, "the response could not be decoded"),
    (
        (http.client.RemoteDisconnected,),
        FailureKind.RESET,
        "the connection was closed without a response",
    ),
    ((http.client.BadStatusLine,), FailureKind.RESET, "the response was not HTTP"),
)


def classify_failure(error: BaseException, quote: Callable[[str], str]) -> Failure:
    """The failure that an error of an exchange means.

    Args:
        error: raised by `requests`, `urllib3`, `http.client` or the system.
        quote: sanitizes a text of theirs for a message.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, (*_TLS_HANG_UPS, TimeoutError)
        ):
            return Failure(FailureKind.TLS, f"TLS failed: {_tls_reason(cause, quote)}")
    for cause in causes:
        tunnel = _TUNNEL_STATUS.search(str(cause)) if isinstance(cause, OSError) else None
        if tunnel:
            status = int(tunnel[1])
            refused = 400 <= status <= 499  # noqa: PLR2004 - the 4xx class
            kind = FailureKind.PROXY_REFUSED if refused else FailureKind.PROXY
            return Failure(kind, f"the proxy answered {status} to CONNECT")
    by_proxy = _has(causes, ProxyError)
    if _has(causes, NameResolutionError, socket.gaierror):
        whose = "the proxy's" if by_proxy else "the"
        kind = FailureKind.PROXY if by_proxy else FailureKind.NAME
        return Failure(kind, f"{whose} host name could not be resolved")
    if _has(causes, NewConnectionError, ConnectionRefusedError):
        where = " to the proxy" if by_proxy else ""
        kind = FailureKind.PROXY if by_proxy else FailureKind.CONNECT
        return Failure(kind, f"could not connect{where}: {_system_reason(causes)}")
    for kinds, kind, reason in _BY_CAUSE:
        if _has(causes, *kinds):
            return Failure(kind, reason)
    return Failure(FailureKind.RESET, f"the connection broke: {_system_reason(causes)}")


def _has(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all errors inside it, once: by `from`, by `reason`, by its arguments."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        cause = pending.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args)
        pending.extend(error for error in inner if isinstance(error, BaseException))


def _tls_reason(error: ssl.SSLError, quote: Callable[[str], str]) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate was not accepted ({quote(error.verify_message)})"
    return (error.reason or "no common protocol").replace("_", " ").lower()


def _system_reason(causes: list[BaseException]) -> str:
    """The system's text for the first error number among the causes."""
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return type(causes[-1]).__name__
