"""What one exchange comes to: a whole answer, or a failure of one of a closed list of kinds.

An answer is complete or it is lost: whatever was cut short is a failure. Neither holds a secret
in its `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Failure", "FailureKind", "Response"]


class FailureKind(Enum):
    """Why there is no whole answer. A closed list."""

    NAME = "name"
    """The host's name could not be resolved."""
    CONNECT = "connect"
    """No connection: refused, unreachable."""
    RESET = "reset"
    """The connection broke before the answer's first line."""
    CUT = "cut"
    """The answer began and was cut short, or cannot be decoded."""
    TIMEOUT = "timeout"
    """The deadline of the exchange passed, or that of connecting."""
    PROXY = "proxy"
    """The proxy could not be reached, or could not reach Segment."""
    PROXY_REFUSED = "proxy refused"
    """The proxy refused to let the request through (a 4xx to CONNECT)."""
    TLS = "tls"
    """The server's identity could not be checked, or TLS could not be agreed on."""
    ABORTED = "aborted"
    """The caller aborted the transport."""


@dataclass(frozen=True)
class Failure:
    """There is no whole answer.

    Attributes:
        kind: one of a closed list.
        reason: what happened, in a few words without secrets.
        too_short: whether the request was on its way when our own time for it ran out, so that
            more time could have helped.
    """

    kind: FailureKind
    reason: str
    too_short: bool = False


@dataclass(frozen=True)
class Response:
    """A whole answer, whatever its status.

    Attributes:
        status: the HTTP status.
        headers: names in lower case.
        body: decoded, its first 64 KiB.
        request_id: what the server calls this request, for its support; empty when it says nothing.
        excerpt: at most 200 printable characters of the body, for messages; the write key that a
            server might echo is blotted out.
        location: where a redirect points, cleaned like the excerpt; host and path alone.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    request_id: str = ""
    excerpt: str = ""
    location: str = ""

    def header(self, name: str) -> str:
        """The value of a header, empty when there is none."""
        return self.headers.get(name.lower(), "")
