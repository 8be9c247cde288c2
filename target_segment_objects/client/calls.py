"""A call: exchanges through the gate until one counts, or until the policy ends them.

Between the transport, which sends once, and the two APIs, which know what an answer means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from target_segment_objects.client.advice import SESSION_REFUSED, STOPPED, Origin, advise, causes_of
from target_segment_objects.client.answers import Answer, Failure, FailureKind
from target_segment_objects.client.clock import Clock, StoppedError
from target_segment_objects.client.gate import Gate
from target_segment_objects.client.retry import (
    Action,
    Decision,
    RetryPolicy,
    decide,
    retry_after_seconds,
)
from target_segment_objects.errors import (
    Attempt,
    AuthenticationError,
    DeliveryError,
    RefusedError,
    SessionRefusedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from target_segment_objects.client.transport import FileBody, Transport

__all__ = ["Caller", "Exchange", "Receipt", "Request", "Retry"]

T = TypeVar("T")

_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
_UNKNOWN_CALL = frozenset({404, 405})
"""What a server says that does not know the call, unless the call has a meaning for it."""


@dataclass(frozen=True)
class Request:
    """What a call sends.

    Attributes:
        call: the API's name of it, like `set` or `upload`.
        path: from the base address on.
        headers: besides those that the transport sets.
        body: bytes, or a file.
        timeout_seconds: total deadline of each exchange.
        refusals: statuses that mean a refusal here, never retried, and the error of each. Other
            refusals are a plain `RefusedError`.
        collection: the one that it is about; empty when it is about several.
        urgent: whether it must not wait until another request has ended.
    """

    call: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileBody = field(default=b"", repr=False)
    timeout_seconds: float = 60.0
    refusals: Mapping[int, type[RefusedError]] = field(default_factory=dict)
    collection: str = ""
    urgent: bool = False

    @property
    def timeout_setting(self) -> str:
        """The setting that `timeout_seconds` comes from."""
        return "upload_timeout_seconds" if self.call == "upload" else "request_timeout_seconds"


@dataclass(frozen=True)
class Receipt:
    """A call that Segment answered 2xx: it took what was sent, and says no more than that.

    Attributes:
        call: the API's name of it, like `set` or `upload`.
        status: the answer's status.
        request_id: what the server calls the request that counted; empty when it says nothing.
        attempts: requests that it took, at least 1.
        bytes: length of the body, sent once an attempt.
        waited_seconds: spent waiting between attempts.
        seconds: from the first attempt's start to the last one's end.
    """

    call: str
    status: int
    request_id: str
    attempts: int
    bytes: int
    waited_seconds: float
    seconds: float


@dataclass(frozen=True)
class Exchange:
    """One request that went out, whatever became of it: an attempt of a call.

    Attributes:
        call: the API's name of it, like `set` or `upload`.
        collection: the one that it is about; empty when it is about several.
        attempt: which attempt of its call it is, from 1.
        counted: whether its answer ended the call well.
        status: the answer's status; `None` when no whole answer came.
        reason: what happened, in a few words without secrets.
        request_id: what the server calls the request; empty when it says nothing.
        bytes: length of the body.
        waited_seconds: spent waiting since the attempt before.
    """

    call: str
    collection: str
    attempt: int
    counted: bool
    status: int | None
    reason: str
    request_id: str
    bytes: int
    waited_seconds: float


@dataclass(frozen=True)
class Retry:
    """An attempt of a call has failed, and another one comes after a wait.

    Attributes:
        call: the API's name of it, like `set` or `upload`.
        collection: the one that it is about; empty when it is about several.
        host: host and port that it goes to.
        attempt: which attempt has failed, from 1.
        cause: what happened, in a few words without secrets.
        wait_seconds: until the next attempt.
        left_seconds: how long the call goes on waiting, that wait included, before it gives up.
    """

    call: str
    collection: str
    host: str
    attempt: int
    cause: str
    wait_seconds: float
    left_seconds: float


class Caller:
    """Makes calls over one transport.

    Args:
        transport: sends each attempt.
        setting: the setting that names the transport's address, for messages.
        segments_own: addresses that `region` stands for instead.
        policy: when to try again.
        gate: shared by all callers of one write key; one of its own otherwise.
        clock: time, waiting and dice.
        on_receipt: told of every call that succeeded, on the thread that made it.
        on_exchange: told of every request when it has ended, on the thread that made it.
        on_retry: told before every wait for another attempt, on the thread that waits.
    """

    def __init__(  # noqa: PLR0913  each has a default, and is the caller's to choose
        self,
        transport: Transport,
        *,
        setting: str,
        segments_own: Collection[str],
        policy: RetryPolicy | None = None,
        gate: Gate | None = None,
        clock: Clock | None = None,
        on_receipt: Callable[[Receipt], None] | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        self.transport = transport
        self.origin = Origin(
            transport.host,
            "region" if transport.url in segments_own else setting,
            transport.proxy_setting,
        )
        self.policy = policy if policy is not None else RetryPolicy()
        self.clock = clock if clock is not None else Clock()
        own = transport.options.max_concurrency
        self.gate = gate if gate is not None else Gate(own, clock=self.clock)
        self._on_receipt = on_receipt
        self._on_exchange = on_exchange
        self._on_retry = on_retry

    def call(
        self, request: Request, read: Callable[[Answer], T | None], *, wanted: str = "body"
    ) -> tuple[T, Receipt]:
        """Send until an answer counts.

        Args:
            request: what to send.
            read: makes a 2xx answer's meaning; `None` when it cannot be read, which counts as an
                answer that was lost.
            wanted: what `read` looks for, for the message.

        Raises:
            AuthenticationError: 401 or 403, at once.
            RefusedError: any other status that another try would not change, or its subclass in
                `request.refusals`; TLS failures and redirects too.
            UnavailableError: the retries ended, or the caller stopped.
            SpoolError: the file of the body cannot be read.
        """
        started = self.clock.monotonic()
        attempts: list[Attempt] = []
        waited = paused = 0.0
        too_short = True  # every attempt ended by our own time-out, while it was on its way
        while True:
            outcome, held = self._exchange(request, attempts)
            # The first attempt's place in the queue is no wait between attempts.
            since = paused + held if attempts else 0.0
            waited += since
            decision = decide(outcome, refusals=request.refusals)
            seconds = self.clock.monotonic() - started
            value = None
            if isinstance(outcome, Answer) and decision.action is Action.DONE:
                value = read(outcome)
                if value is None:
                    decision = Decision(Action.RETRY, f"without a readable `{wanted}`")
            self._tell(request, outcome, decision, len(attempts) + 1, since)
            if isinstance(outcome, Answer) and value is not None:
                return value, self._receipt(request, outcome, len(attempts) + 1, waited, seconds)
            attempts.append(Attempt(_status(outcome), decision.reason, seconds))
            too_short = too_short and isinstance(outcome, Failure) and outcome.too_short
            if decision.action is not Action.RETRY:
                raise self._refusal(request, decision, outcome, attempts)
            wait = self._wait(outcome, len(attempts))
            ahead = max(wait, self.gate.held_for)
            if self.policy.ends(len(attempts), waited=waited, wait=ahead):
                slow = request.timeout_setting if too_short else ""
                advice = advise(outcome, self.origin, call=request.call, slow=slow)
                raise self._error(UnavailableError, request, outcome, attempts, advice)
            self._tell_of_retry(request, attempts, ahead, waited)
            try:
                self.clock.pause(wait)
            except StoppedError:
                raise self._error(UnavailableError, request, outcome, attempts, STOPPED) from None
            paused = wait

    def _exchange(
        self, request: Request, attempts: Sequence[Attempt]
    ) -> tuple[Answer | Failure, float]:
        try:
            with self.gate.passing(urgent=request.urgent) as held:
                outcome = self.transport.exchange(
                    request.path,
                    headers=request.headers,
                    body=request.body,
                    timeout_seconds=request.timeout_seconds,
                )
        except StoppedError:
            raise self._error(UnavailableError, request, None, attempts, STOPPED) from None
        return outcome, held

    def _wait(self, outcome: Answer | Failure, attempts: int) -> float:
        """Seconds until the next attempt; a busy server holds back the whole gate as long."""
        asked = None
        if isinstance(outcome, Answer):
            asked = retry_after_seconds(outcome, now=self.clock.now())
        wait = self.policy.wait_after(attempts, dice=self.clock.random(), retry_after=asked)
        status = _status(outcome)
        if status == _TOO_MANY_REQUESTS or (status == _UNAVAILABLE and asked is not None):
            self.gate.hold(wait)
        return wait

    def _tell(
        self,
        request: Request,
        outcome: Answer | Failure,
        decision: Decision,
        attempt: int,
        waited: float,
    ) -> None:
        if self._on_exchange is None:
            return
        self._on_exchange(
            Exchange(
                call=request.call,
                collection=request.collection,
                attempt=attempt,
                counted=decision.action is Action.DONE,
                status=_status(outcome),
                reason=decision.reason,
                request_id=outcome.request_id if isinstance(outcome, Answer) else "",
                bytes=len(request.body),
                waited_seconds=waited,
            )
        )

    def _tell_of_retry(
        self, request: Request, attempts: Sequence[Attempt], wait: float, waited: float
    ) -> None:
        if self._on_retry is None:
            return
        self._on_retry(
            Retry(
                call=request.call,
                collection=request.collection,
                host=self.origin.host,
                attempt=len(attempts),
                cause=str(attempts[-1]),
                wait_seconds=wait,
                left_seconds=max(wait, self.policy.budget_seconds - waited),
            )
        )

    def _receipt(
        self, request: Request, answer: Answer, attempts: int, waited: float, seconds: float
    ) -> Receipt:
        receipt = Receipt(
            call=request.call,
            status=answer.status,
            request_id=answer.request_id,
            attempts=attempts,
            bytes=len(request.body),
            waited_seconds=waited,
            seconds=seconds,
        )
        if self._on_receipt is not None:
            self._on_receipt(receipt)
        return receipt

    def _refusal(
        self,
        request: Request,
        decision: Decision,
        outcome: Answer | Failure,
        attempts: Sequence[Attempt],
    ) -> DeliveryError:
        status = _status(outcome)
        refused = decision.action is Action.REFUSED and (
            status in request.refusals or status not in _UNKNOWN_CALL
        )
        advice = advise(outcome, self.origin, call=request.call, refused=refused)
        kind: type[DeliveryError]
        if decision.action is Action.AUTHENTICATION:
            kind = AuthenticationError
        elif isinstance(outcome, Failure):
            kind = UnavailableError if outcome.kind is FailureKind.ABORTED else RefusedError
        else:
            kind = request.refusals.get(outcome.status, RefusedError)
        if issubclass(kind, SessionRefusedError):
            advice = SESSION_REFUSED
        return self._error(kind, request, outcome, attempts, advice)

    def _error(
        self,
        kind: type[DeliveryError],
        request: Request,
        outcome: Answer | Failure | None,
        attempts: Sequence[Attempt],
        advice: str,
    ) -> DeliveryError:
        answer = outcome if isinstance(outcome, Answer) else None
        excerpt = answer.excerpt if answer is not None else ""
        named = f"request id {answer.request_id}" if answer and answer.request_id else ""
        said = f"; it said: {excerpt}" if excerpt else ""
        where = f"{request.call} at {self.transport.host} failed"
        summary = f"{where}: {causes_of(attempts, named)}{said}"
        return kind(
            f"{summary}. {advice}",
            call=request.call,
            status=_status(outcome),
            excerpt=excerpt,
            attempts=attempts,
            summary=summary,
        )


def _status(outcome: Answer | Failure | None) -> int | None:
    return outcome.status if isinstance(outcome, Answer) else None
