"""The retry decision: what is tried again, how long is waited, when it ends."""

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


def _answer(status: int = 503, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=b"")


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 502, 503, 504, 507, 599])
def test_passing_trouble_is_retried(status: int) -> None:
    """408, 410, 429, 460 and 5xx are tried again."""
    assert decide(_answer(status)).action is Action.RETRY


@pytest.mark.parametrize("status", [501, 505, 511, 101, 300, 301, 302, 303, 304, 307, 308, 600])
def test_lasting_trouble_is_fatal(status: int) -> None:
    """501, 505, 511, redirects and statuses of no known class end it at once."""
    assert decide(_answer(status)).action is Action.FATAL


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_its_own_case(status: int) -> None:
    """401 and 403 are about the key."""
    assert decide(_answer(status), refusals={400}).action is Action.AUTHENTICATION


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 411, 413, 415, 418, 422, 431, 499])
def test_other_4xx_are_refusals(status: int) -> None:
    """A 4xx that is not in the list of retried ones is a refusal."""
    assert decide(_answer(status)).action is Action.REFUSED


def test_a_call_can_take_410_for_a_refusal() -> None:
    """What a call names as a refusal is none of the retried ones."""
    assert decide(_answer(410)).action is Action.RETRY
    assert decide(_answer(410), refusals={400, 404, 410}).action is Action.REFUSED


@pytest.mark.parametrize("kind", list(FailureKind))
def test_failures_are_retried_but_three(kind: FailureKind) -> None:
    """No answer is tried again, unless TLS or the proxy refuse, or the caller ended it."""
    fatal = {FailureKind.TLS, FailureKind.PROXY_REFUSED, FailureKind.ABORTED}
    expected = Action.FATAL if kind in fatal else Action.RETRY
    assert decide(Failure(kind, "why")).action is expected
    assert decide(Failure(kind, "why")).reason == "why"


@given(st.integers(100, 999))
def test_every_status_has_an_action_and_a_reason(status: int) -> None:
    """The decision is total, and 2xx alone is done."""
    decision = decide(_answer(status))
    assert (decision.action is Action.DONE) == (200 <= status <= 299)
    assert decision.reason


def test_waits_double_up_to_the_cap() -> None:
    """0.5 s, doubling, 60 s at most, the jitter at its highest."""
    waits = [RetryPolicy().wait_after(attempt, jitter=1.0) for attempt in range(1, 11)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_is_full(attempts: int, jitter: float) -> None:
    """A wait is anywhere from 0 to the doubled one, however many attempts there were."""
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
    """Seconds or an HTTP date; what cannot be read is as if it were not there."""
    assert retry_after_seconds(_answer(retry_after=value), now=NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_fails(value: str) -> None:
    """Whatever the header holds, the answer is a number from 0, or none."""
    seconds = retry_after_seconds(_answer(retry_after=value), now=NOW)
    assert seconds is None or seconds >= 0


def test_the_budget_ends_it_but_not_before_three_attempts() -> None:
    """The budget is of waiting between attempts; three are made whatever it says."""
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
def test_a_policy_without_end_is_refused(wrong: dict[str, float]) -> None:
    """Negative and endless waits are a caller's mistake, told at once."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)  # type: ignore[arg-type]
