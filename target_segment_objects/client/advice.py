"""The message of a failed call: its causes, each once with its count, and advice.

The advice fits the last cause: if a name cannot be resolved, waiting seldom helps; if a server is
busy, changing the address seldom helps.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from target_segment_objects.client.outcomes import Failure, FailureKind, Response
from target_segment_objects.client.retry import Action, decide

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from target_segment_objects.client.transport import Transport
    from target_segment_objects.errors import Attempt

__all__ = ["SESSION_REFUSED", "STOPPED", "Destination", "advise", "causes_of"]

SESSION_REFUSED: Final = "The session may have expired, or Segment refused what it was sent"
STOPPED: Final = (
    "The call was stopped before Segment responded, which may have taken the data: run again, "
    "which is safe since objects are merged by id"
)

_CAUSES_SHOWN: Final = 3
_UNKNOWN_CALL: Final = frozenset({404, 405})
"""Statuses of a server that does not know the call, unless the call has a meaning for them."""
_UNREACHABLE: Final = frozenset({FailureKind.NAME, FailureKind.CONNECT, FailureKind.TIMEOUT})


@dataclass(frozen=True)
class Destination:
    """Where calls go, and which settings say so.

    Attributes:
        host: host and port of the base address.
        setting: the setting that gives the address; `region` for one of Segment's own.
        proxy: the setting or the variable that names the proxy; empty without one.
    """

    host: str
    setting: str
    proxy: str = ""

    @classmethod
    def of(cls, transport: Transport, setting: str, by_region: Mapping[str, str]) -> Destination:
        """The destination of a transport.

        Args:
            transport: sends the calls.
            setting: the setting that gives the address, unless `region` does.
            by_region: the addresses that `region` stands for.
        """
        is_regional = transport.url in by_region.values()
        return cls(transport.host, "region" if is_regional else setting, transport.proxy_setting)


def advise(
    outcome: Response | Failure,
    destination: Destination,
    *,
    call: str,
    refusals: Collection[int] = (),
    exhausted_timeout: str = "",
) -> str:
    """What to do about a failed call, as one or two sentences, without the last full stop.

    Args:
        outcome: the outcome of the last attempt.
        destination: where the call went.
        call: the API's name of the call.
        refusals: statuses that mean a refusal for this call.
        exhausted_timeout: the setting whose time-out ended every attempt, if one did.
    """
    if isinstance(outcome, Failure):
        return _advise_on_failure(outcome, destination, exhausted_timeout)
    status, action = outcome.status, decide(outcome, refusals=refusals).action
    if action is Action.AUTHENTICATION:
        return f"Segment rejected this key: check `write_key` and `{destination.setting}`"
    if action is Action.REFUSED and (status in refusals or status not in _UNKNOWN_CALL):
        return "Retrying will not help: Segment refused the request itself"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        lower = "lower `max_concurrency`, " if call == "set" else ""
        return f"Segment asks for fewer requests: {lower}run again later, or raise `retry_seconds`"
    if action is Action.RETRY:
        return (
            "Run again later, or raise `retry_seconds`: sending the same objects again is safe, "
            "since they are merged by id"
        )
    return (
        f"This may not be Segment's API: check `{destination.setting}`, and any proxy or login "
        "page in front of it"
    )


def _advise_on_failure(failure: Failure, destination: Destination, exhausted_timeout: str) -> str:
    kind, setting, proxy = failure.kind, f"`{destination.setting}`", f"`{destination.proxy}`"
    is_regional = destination.setting == "region"
    if exhausted_timeout:
        return (
            f"Every attempt ended at `{exhausted_timeout}`: raise it and run again, which is safe "
            "since objects are merged by id"
        )
    if kind is FailureKind.ABORTED:
        return STOPPED
    if kind is FailureKind.TLS:
        address = "" if is_regional else f"{setting}, "
        return f"Check {address}this machine's clock and the TLS roots (`ca_bundle`)"
    if kind is FailureKind.PROXY_REFUSED:
        return f"Check the proxy's address, user and password in {proxy}"
    is_unreachable = kind in _UNREACHABLE and not failure.longer_timeout_may_help
    if kind is FailureKind.PROXY or (destination.proxy and is_unreachable):
        return (
            f"Check the proxy's address in {proxy}, and that the proxy can reach {destination.host}"
        )
    if not is_unreachable:
        return (
            "Run again, which is safe since objects are merged by id. If it happens again, check "
            "the proxies and firewalls between this machine and the server"
        )
    network = f"this machine's network and {'DNS' if kind is FailureKind.NAME else 'firewall'}"
    if is_regional:
        return (
            f"The address comes from {setting}: check {network}, and set `proxy` if this machine "
            "needs one"
        )
    if kind is FailureKind.CONNECT:
        network = "that its server is running and no firewall blocks it"
    return f"Check {setting} for a mistake, and {network}"


def causes_of(attempts: Sequence[Attempt]) -> str:
    """The causes of failed attempts, each once with its count, the newest last.

    In parentheses follow the number of attempts, if there were several, and the request id of the
    last one, if the server sent one.
    """
    if not attempts:
        return "nothing was sent"
    counts: dict[str, int] = {}
    for attempt in attempts:
        cause = str(attempt)
        counts[cause] = counts.pop(cause, 0) + 1  # moves it to the end
    causes = list(counts)
    if len(counts) > 1:
        causes = [
            f"{cause}, {'once' if number == 1 else f'{number} times'}"
            for cause, number in counts.items()
        ]
    shown = "; then ".join(causes[-_CAUSES_SHOWN:])
    last, details = attempts[-1], []
    if len(attempts) > 1:
        details.append(f"{len(attempts)} attempts in {last.after:.1f} s")
    if last.request_id:
        details.append(f"request id {last.request_id}")
    return f"{shown} ({'; '.join(details)})" if details else shown
