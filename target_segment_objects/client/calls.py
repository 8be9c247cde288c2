"""A call: attempts until one succeeds, or until the retry policy ends them.

This layer is between the transport, which sends once, and the two APIs, which know what a response
means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from target_segment_objects.client.advice import SESSION_REFUSED, STOPPED, advise, causes_of
from target_segment_objects.client.clock import Clock, StoppedError
from target_segment_objects.client.concurrency import ConcurrencyLimit
from target_segment_objects.client.outcomes import Failure, FailureKind, Response
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
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.client.advice import Destination
    from target_segment_objects.client.file_body import FileBody
    from target_segment_objects.client.transport import Transport

__all__ = ["ApiCall", "Caller", "Retry"]

_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
_MAX_ID_CHARACTERS = 256


@dataclass(frozen=True)
class ApiCall:
    """What a call sends, and where to.

    Attributes:
        name: the API's name of the call, like `set` or `upload`.
        path: the path after the base address.
        destination: the base address, and the settings that it comes from, for messages.
        headers: headers besides those that the transport sets.
        body: bytes, or a file.
        refusals: statuses that mean a refusal for this call and are not retried, with the error of
            each. Other refusals raise a plain `RefusedError`.
        id_name: the id that a 2xx response must contain; a response without it is retried as if it
            were lost. Empty when any 2xx response will do.
        collection: the collection of its objects; empty when there are several.
        urgent: whether the call may exceed the limit of concurrent requests.
    """

    name: str
    path: str
    destination: Destination
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileBody = field(default=b"", repr=False)
    refusals: Mapping[int, type[RefusedError]] = field(default_factory=dict)
    id_name: str = ""
    collection: str = ""
    urgent: bool = False


@dataclass(frozen=True)
class Retry:
    """An attempt of a call has failed, and another one follows after a wait.

    Attributes:
        attempt: the failed attempt.
        host: host and port of the destination.
        wait_seconds: time until the next attempt.
        left_seconds: how long the call will still wait, this wait included, before it gives up.
    """

    attempt: Attempt
    host: str
    wait_seconds: float
    left_seconds: float


def _do_nothing(_: object) -> None:
    pass


class Caller:
    """Makes calls over one transport, with retries. Both APIs take one; they may share it.

    Args:
        transport: sends each attempt.
        policy: when to try again.
        concurrency_limit: pass the same one to all callers of one write key; by default this caller
            has its own, of the transport's `max_concurrency`.
        clock: time, waiting and jitter.
        on_attempt: called after every request, on the thread that made it.
        on_retry: called before every wait for another attempt, on the thread that waits.
    """

    def __init__(  # noqa: PLR0913  all but the transport have a default
        self,
        transport: Transport,
        *,
        policy: RetryPolicy | None = None,
        concurrency_limit: ConcurrencyLimit | None = None,
        clock: Clock | None = None,
        on_attempt: Callable[[Attempt], None] = _do_nothing,
        on_retry: Callable[[Retry], None] = _do_nothing,
    ) -> None:
        self.transport = transport
        self.policy = policy or RetryPolicy()
        self.clock = clock or Clock()
        self.concurrency_limit = concurrency_limit or ConcurrencyLimit(
            transport.options.max_concurrency, clock=self.clock
        )
        self._on_attempt = on_attempt
        self._on_retry = on_retry

    @classmethod
    def of(cls, caller: Caller | Transport) -> Caller:
        """The caller itself, or one with all defaults over the transport."""
        return caller if isinstance(caller, Caller) else cls(caller)

    def without_retries(self) -> Caller:
        """A caller that makes one attempt per call, without callbacks, and shares the rest."""
        return Caller(
            self.transport,
            policy=RetryPolicy(budget_seconds=0.0, min_attempts=1),
            concurrency_limit=self.concurrency_limit,
            clock=self.clock,
        )

    def call(self, call: ApiCall) -> tuple[str, Attempt]:
        """Send a call until it succeeds or the policy ends the retries.

        Returns:
            The id that `call.id_name` asks for, empty when it asks for none; and the attempt that
            succeeded.

        Raises:
            AuthenticationError: 401 or 403, at once.
            RefusedError: any other status that a retry would not change, or the subclass in
                `call.refusals`; TLS failures and redirects too.
            UnavailableError: the retries ended, or the caller stopped.
            SpoolError: the file of the body cannot be read.
        """
        options, setting = self.transport.options, "request_timeout_seconds"
        timeout_seconds = options.timeout_seconds
        if call.name == "upload":
            setting, timeout_seconds = "upload_timeout_seconds", options.upload_timeout_seconds
        started = self.clock.monotonic()
        failed: list[Attempt] = []
        outcome: Response | Failure | None = None
        waited = last_wait = 0.0
        always_timed_out = True  # our own time-out has ended each attempt, after it had connected
        try:
            while True:
                with self.concurrency_limit.slot(urgent=call.urgent) as paused:
                    outcome = self.transport.exchange(
                        call.path,
                        headers=call.headers,
                        body=call.body,
                        timeout_seconds=timeout_seconds,
                    )
                # The first attempt waits for a slot, but not between attempts.
                since_last = last_wait + paused if failed else 0.0
                waited += since_last
                decision = decide(outcome, refusals=call.refusals)
                value = None
                if isinstance(outcome, Response) and decision.action is Action.DONE:
                    value = self._read_id(call, outcome)
                    if value is None:
                        decision = Decision(Action.RETRY, f"without a readable `{call.id_name}`")
                attempt = Attempt(
                    status=outcome.status if isinstance(outcome, Response) else None,
                    reason=decision.reason,
                    after=self.clock.monotonic() - started,
                    call=call.name,
                    collection=call.collection,
                    number=len(failed) + 1,
                    succeeded=value is not None,
                    request_id=outcome.request_id if isinstance(outcome, Response) else "",
                    bytes=len(call.body),
                    waited_seconds=since_last,
                )
                self._on_attempt(attempt)
                if value is not None:
                    return value, attempt
                failed.append(attempt)
                always_timed_out = (
                    always_timed_out
                    and isinstance(outcome, Failure)
                    and outcome.longer_timeout_may_help
                )
                if decision.action is not Action.RETRY:
                    raise _refusal(call, decision, outcome, failed)
                last_wait = self._wait(outcome, len(failed))
                ahead = max(last_wait, self.concurrency_limit.paused_for)
                if self.policy.ends(len(failed), waited=waited, wait=ahead):
                    advice = advise(
                        outcome,
                        call.destination,
                        call=call.name,
                        exhausted_timeout=setting if always_timed_out else "",
                    )
                    raise _error(UnavailableError, call, outcome, failed, advice)
                self._on_retry(
                    Retry(
                        attempt,
                        call.destination.host,
                        wait_seconds=ahead,
                        left_seconds=max(ahead, self.policy.budget_seconds - waited),
                    )
                )
                self.clock.pause(last_wait)
        except StoppedError:
            raise _error(UnavailableError, call, outcome, failed, STOPPED) from None

    def _read_id(self, call: ApiCall, response: Response) -> str | None:
        """The id of a response, empty when the call needs none; `None` when it cannot be read."""
        if not call.id_name:
            return ""
        try:
            value = msgspec.json.decode(response.body, type=dict[str, object]).get(call.id_name)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not isinstance(value, str) or not value.isprintable():
            return None
        if self.transport.is_secret_in(value):
            return None  # ids are logged, and this server echoes the write key
        # A segment of dots would climb up the path.
        return value if 1 <= len(value) <= _MAX_ID_CHARACTERS and value.strip(". ") else None

    def _wait(self, outcome: Response | Failure, attempts: int) -> float:
        """Seconds until the next attempt; a busy server pauses all requests as long."""
        status, asked = 0, None
        if isinstance(outcome, Response):
            status, asked = outcome.status, retry_after_seconds(outcome, now=self.clock.now())
        wait = self.policy.wait_after(attempts, jitter=self.clock.random(), retry_after=asked)
        if status == _TOO_MANY_REQUESTS or (status == _UNAVAILABLE and asked is not None):
            self.concurrency_limit.pause(wait)
        return wait


def _refusal(
    call: ApiCall, decision: Decision, outcome: Response | Failure, attempts: Sequence[Attempt]
) -> DeliveryError:
    """The error of a call that is not tried again."""
    kind: type[DeliveryError] = RefusedError
    if decision.action is Action.AUTHENTICATION:
        kind = AuthenticationError
    elif isinstance(outcome, Response):
        kind = call.refusals.get(outcome.status, RefusedError)
    elif outcome.kind is FailureKind.ABORTED:
        kind = UnavailableError
    if issubclass(kind, SessionRefusedError):
        advice = SESSION_REFUSED
    else:
        advice = advise(outcome, call.destination, call=call.name, refusals=call.refusals)
    return _error(kind, call, outcome, attempts, advice)


def _error(
    kind: type[DeliveryError],
    call: ApiCall,
    outcome: Response | Failure | None,
    attempts: Sequence[Attempt],
    advice: str,
) -> DeliveryError:
    status, excerpt = None, ""
    if isinstance(outcome, Response):
        status, excerpt = outcome.status, outcome.excerpt
    said = f"; the response says: {excerpt}" if excerpt else ""
    summary = f"{call.name} at {call.destination.host} failed: {causes_of(attempts)}{said}"
    return kind(
        f"{summary}. {advice}",
        call=call.name,
        status=status,
        excerpt=excerpt,
        attempts=attempts,
        summary=summary,
    )
