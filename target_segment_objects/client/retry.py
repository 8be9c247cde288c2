"""Whether to try again, and how long to wait: pure decisions over the outcome of one exchange."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING

from target_segment_objects.client.outcomes import Failure, FailureKind, Response

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Action", "Decision", "RetryPolicy", "decide", "retry_after_seconds"]

_RETRIED_STATUSES = frozenset({408, 410, 429, 460})
_AUTHENTICATION_STATUSES = frozenset({401, 403})
_FATAL_STATUSES = {
    501: "the server does not know this call",
    505: "the server does not support this version of HTTP",
    511: "the network requires a login",
}
_FATAL_FAILURES = frozenset({FailureKind.TLS, FailureKind.PROXY_REFUSED, FailureKind.ABORTED})
# Statuses of load balancers that `http.HTTPStatus` does not know.
_PHRASES = {460: "Client Closed Connection"}
_DELAY_SECONDS = re.compile(r"\d{1,18}(\.\d+)?", re.ASCII)
# More doublings change nothing, and a float overflows at 1,024 of them.
_MAX_DOUBLINGS = 63


class Action(Enum):
    """What to do about the outcome of an exchange. A closed list."""

    DONE = "done"
    """The response was 2xx."""
    RETRY = "retry"
    """Send the same bytes again, after a wait."""
    REFUSED = "refused"
    """Segment refused the request itself; the call decides what that means."""
    AUTHENTICATION = "authentication"
    """Segment rejected the write key."""
    FATAL = "fatal"
    """Neither a retry nor another request can help."""


@dataclass(frozen=True)
class Decision:
    """An action, and why.

    Attributes:
        action: what to do.
        reason: what happened, in a few words without secrets.
    """

    action: Action
    reason: str


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a call is tried.

    Attributes:
        first_wait: seconds of the first wait at most; doubled for every later one.
        max_wait: seconds of a wait without `Retry-After` at most.
        budget_seconds: seconds that a call may wait in all between its attempts.
        min_attempts: attempts that are made whatever the budget is, at least 1.
        retry_after_cap: seconds of a `Retry-After` that are waited at most.

    Raises:
        ValueError: a number is negative or not finite, or `min_attempts` is below 1.
    """

    first_wait: float = 0.5
    max_wait: float = 60.0
    budget_seconds: float = 600.0
    min_attempts: int = 3
    retry_after_cap: float = 300.0

    def __post_init__(self) -> None:
        """Refuse numbers that would make a wait negative or endless."""
        for name in ("first_wait", "max_wait", "budget_seconds", "retry_after_cap"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is a finite number of seconds from 0, not {value}")
        if self.min_attempts < 1:
            raise ValueError(f"min_attempts is at least 1, not {self.min_attempts}")

    def wait_after(
        self, attempts: int, *, jitter: float, retry_after: float | None = None
    ) -> float:
        """Seconds to wait after an attempt: doubled each time with full jitter, or as asked for.

        Args:
            attempts: attempts so far, at least 1.
            jitter: a number from 0 up to 1.
            retry_after: seconds that the response asked for; `None` when it did not.
        """
        doublings = min(attempts - 1, _MAX_DOUBLINGS)
        jittered = jitter * min(self.max_wait, self.first_wait * 2.0**doublings)
        if retry_after is None:
            return jittered
        return max(jittered, min(retry_after, self.retry_after_cap))

    def ends(self, attempts: int, *, waited: float, wait: float) -> bool:
        """Whether to give up, rather than wait once more.

        Args:
            attempts: attempts so far.
            waited: seconds waited so far.
            wait: seconds of the next wait.
        """
        exceeds = waited + wait > self.budget_seconds or not self.budget_seconds
        return attempts >= self.min_attempts and exceeds


def decide(outcome: Response | Failure, *, refusals: Collection[int] = ()) -> Decision:
    """What to do after one exchange.

    Args:
        outcome: a complete response, or why there is none.
        refusals: statuses that mean a refusal for this call, and a retry for others.
    """
    if isinstance(outcome, Failure):
        fatal = outcome.kind in _FATAL_FAILURES
        return Decision(Action.FATAL if fatal else Action.RETRY, outcome.reason)
    status = outcome.status
    return Decision(_action(status, refusals), _FATAL_STATUSES.get(status) or _reason(outcome))


def retry_after_seconds(response: Response, *, now: float) -> float | None:
    """Seconds that a response asks to wait by `Retry-After`, in either of its two forms.

    Args:
        response: any response.
        now: seconds since 1970, to compare a date with.

    Returns:
        Seconds, 0 for a date in the past; `None` without the header, or when it cannot be read.
    """
    value = response.headers.get("retry-after", "").strip()
    if _DELAY_SECONDS.fullmatch(value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        # "-0000": the time is UTC, the sender's zone unknown (RFC 5322, 3.3).
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, date.timestamp() - now)


def _action(status: int, refusals: Collection[int]) -> Action:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Action.DONE
    if status in _AUTHENTICATION_STATUSES:
        return Action.AUTHENTICATION
    if status in refusals:
        return Action.REFUSED
    if status in _FATAL_STATUSES:
        return Action.FATAL
    if status in _RETRIED_STATUSES or 500 <= status <= 599:  # noqa: PLR2004 - the 5xx class
        return Action.RETRY
    if 400 <= status <= 499:  # noqa: PLR2004 - the 4xx class
        return Action.REFUSED
    return Action.FATAL


def _reason(response: Response) -> str:
    if 300 <= response.status <= 399:  # noqa: PLR2004 - the 3xx class
        target = response.location
        return f"a redirect{f' to {target}' if target else ''}, which is not followed"
    try:
        return HTTPStatus(response.status).phrase
    except ValueError:
        return _PHRASES.get(response.status, "an unknown status")
