"""The retry policy: what is retried, how long it waits, and when it gives up."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.client.outcomes import Failure, FailureKind, Response
from target_segment_objects.client.retry import (
    Action,
    RetryPolicy,
    decide,
    retry_after_seconds,
)

NOW = 1_700_000_000.0


def _response(status: int = 503, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=b"")


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 502, 503, 504, 507, 599])
def test_temporary_failures_are_retried(status: int) -> None:
    """408, 410, 429, 460 and 5xx are retried."""
    assert decide(_response(status)).action is Action.RETRY


@pytest.mark.parametrize("status", [501, 505, 511, 101, 300, 301, 302, 303, 304, 307, 308, 600])
def test_permanent_failures_are_fatal(status: int) -> None:
    """501, 505, 511, redirects and unknown classes of status are not retried."""
    assert decide(_response(status)).action is Action.FATAL


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_is_an_action_of_its_own(status: int) -> None:
    """401 and 403 are about the key."""
    assert decide(_response(status), refusals={400}).action is Action.AUTHENTICATION


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 411, 413, 415, 418, 422, 431, 499])
def test_other_4xx_are_refusals(status: int) -> None:
    """A 4xx that is not retried is a refusal."""
    assert decide(_response(status)).action is Action.REFUSED


def test_a_call_can_treat_410_as_a_refusal() -> None:
    """A status that the call names as a refusal is not retried."""
    assert decide(_response(410)).action is Action.RETRY
    assert decide(_response(410), refusals={400, 404, 410}).action is Action.REFUSED


@pytest.mark.parametrize("kind", list(FailureKind))
def test_all_but_three_kinds_of_failure_are_retried(kind: FailureKind) -> None:
    """No response is retried, unless TLS or the proxy refused, or the caller aborted."""
    fatal = {FailureKind.TLS, FailureKind.PROXY_REFUSED, FailureKind.ABORTED}
    expected = Action.FATAL if kind in fatal else Action.RETRY
    assert decide(Failure(kind, "why")).action is expected
    assert decide(Failure(kind, "why")).reason == "why"


@given(st.integers(100, 999))
def test_every_status_has_an_action_and_a_reason(status: int) -> None:
    """The decision is total, and only 2xx is done."""
    decision = decide(_response(status))
    assert (decision.action is Action.DONE) == (200 <= status <= 299)
    assert decision.reason


def test_waits_double_up_to_the_cap() -> None:
    """From 0.5 s to at most 60 s, with the highest jitter."""
    waits = [RetryPolicy().wait_after(attempt, jitter=1.0) for attempt in range(1, 11)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_is_full(attempts: int, jitter: float) -> None:
    """A wait is between 0 and the doubled wait, after any number of attempts."""
    policy = RetryPolicy()
    whole = policy.wait_after(attempts, jitter=1.0)
    assert policy.wait_after(attempts, jitter=jitter) == pytest.approx(jitter * whole)
    assert whole <= policy.max_wait


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0, 1e9))
def test_retry_after_is_waited_for_up_to_its_cap(
    attempts: int, jitter: float, asked: float
) -> None:
    """A wait is never shorter than `Retry-After`, up to 300 s of it."""
    wait = RetryPolicy().wait_after(attempts, jitter=jitter, retry_after=asked)
    assert min(asked, 300) <= wait <= max(300, 60)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("999999999", 999_999_999.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW + 90), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("١٢", None),
        ("1" * 400, None),
        ("Fri, 99 Foo 2023 99:99:99 GMT", None),
        ("Fri, 31 Dec 0000 23:59:59 GMT", 0.0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    """Seconds or an HTTP date; a value that cannot be read is ignored."""
    assert retry_after_seconds(_response(retry_after=value), now=NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_fails(value: str) -> None:
    """For any value of the header, the result is `None` or a number from 0."""
    seconds = retry_after_seconds(_response(retry_after=value), now=NOW)
    assert seconds is None or seconds >= 0


def test_the_budget_ends_retries_after_three_attempts() -> None:
    """The budget is for the waits between attempts; three attempts are always made."""
    policy = RetryPolicy(budget_seconds=10)
    assert not policy.ends(2, waited=9.0, wait=300.0)
    assert not policy.ends(3, waited=9.0, wait=1.0)
    assert policy.ends(3, waited=9.0, wait=1.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_wait": -1.0},
        {"max_wait": float("inf")},
        {"budget_seconds": float("nan")},
        {"retry_after_cap": -0.1},
        {"min_attempts": 0},
    ],
)
def test_an_endless_policy_is_refused(wrong: dict[str, float]) -> None:
    """Negative and endless waits raise an error at once."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)  # type: ignore[arg-type]
