"""The outcome of one exchange: a complete response, or a failure of one of a closed list of kinds.

A response that was cut short is a failure. Neither class shows a secret in its `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Failure", "FailureKind", "Response"]


class FailureKind(Enum):
    """Why there is no complete response. A closed list."""

    NAME = "name"
    """The host's name could not be resolved."""
    CONNECT = "connect"
    """The host could not be connected to: refused, unreachable."""
    RESET = "reset"
    """The connection broke before the first line of the response."""
    CUT = "cut"
    """The response began and was cut short, or cannot be decoded."""
    TIMEOUT = "timeout"
    """The deadline of the exchange passed, or that of connecting."""
    PROXY = "proxy"
    """The proxy could not be reached, or could not reach Segment."""
    PROXY_REFUSED = "proxy refused"
    """The proxy refused to let the request through (a 4xx to CONNECT)."""
    TLS = "tls"
    """The server's certificate was not accepted, or there is no common TLS protocol."""
    ABORTED = "aborted"
    """The caller aborted the transport."""


@dataclass(frozen=True)
class Failure:
    """There is no complete response.

    Attributes:
        kind: one of a closed list.
        reason: what happened, in a few words without secrets.
        longer_timeout_may_help: whether our own time-out ended the exchange after the connection
            was ready.
    """

    kind: FailureKind
    reason: str
    longer_timeout_may_help: bool = False


@dataclass(frozen=True)
class Response:
    """A complete response, whatever its status.

    Attributes:
        status: the HTTP status.
        headers: names in lower case.
        body: decoded, its first 64 KiB.
        request_id: the server's id of the request, for its support; empty when it sent none.
        excerpt: at most 200 printable characters of the body, for messages; a write key that a
            server echoes in it is redacted.
        location: where a redirect points, sanitized like the excerpt; host and path alone.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    request_id: str = ""
    excerpt: str = ""
    location: str = ""
