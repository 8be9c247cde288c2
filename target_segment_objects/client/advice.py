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
    from collections.abc import Mapping, Sequence

    from target_segment_objects.client.transport import Transport
    from target_segment_objects.errors import Attempt

__all__ = ["SESSION_REFUSED", "STOPPED", "Destination", "advise", "causes_of"]

SESSION_REFUSED: Final = "The session may have expired, or Segment refused what it was sent"
STOPPED: Final = (
    "The call was stopped before Segment responded, which may have taken the data: run again, "
    "which is safe since objects are merged by id"
)

_CAUSES_SHOWN: Final = 3
_LATER: Final = (
    "Run again later, or raise `retry_seconds`: sending the same objects again is safe, since they "
    "are merged by id"
)
_MORE_TIME: Final = (
    "Every attempt ended at `{}`: raise it and run again, which is safe since objects are merged "
    "by id"
)
_LOST: Final = (
    "Run again, which is safe since objects are merged by id. If it happens again, check proxies "
    "and firewalls in between"
)
_FEWER: Final = "Segment asks for fewer requests: {}run again later, or raise `retry_seconds`"
_KEY: Final = "Segment rejected this key: check `write_key` and {}"
_NO_API: Final = (
    "This may not be Segment's API: check {}, and any proxy or login page in front of it"
)
_REFUSED: Final = "Retrying will not help: Segment refused the request itself"
_WRONG_ADDRESS: Final = "Check {} for a mistake, and {}"
_UNREACHABLE: Final = (
    "The address comes from {}: check {}, and set `proxy` if this machine needs one"
)
_PROXY: Final = "Check the proxy's address in {}, and that the proxy can reach {}"
_PROXY_REFUSED: Final = "Check the proxy's address, user and password in {}"
_TLS: Final = "Check {}this machine's clock and the TLS roots (`ca_bundle`)"

_TO_CHECK: Final[Mapping[FailureKind, tuple[str, str]]] = {
    FailureKind.NAME: ("this machine's network and DNS",) * 2,
    FailureKind.CONNECT: (
        "this machine's network and firewall",
        "that its server is running and no firewall blocks it",
    ),
    FailureKind.TIMEOUT: ("this machine's network and firewall",) * 2,
}
"""What to check when a server cannot be reached: for one of Segment's own addresses, for others."""


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
    refused: bool = False,
    exhausted_timeout: str = "",
) -> str:
    """What to do about a failed call, as one or two sentences, without the last full stop.

    Args:
        outcome: the outcome of the last attempt.
        destination: where the call went.
        call: the API's name of the call.
        refused: whether the API refused the request itself; 401 and 403 are refusals of the key
            in any case.
        exhausted_timeout: the setting whose time-out ended every attempt, if one did.
    """
    if isinstance(outcome, Failure):
        return _advise_on_failure(outcome, destination, exhausted_timeout)
    status, setting = outcome.status, f"`{destination.setting}`"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _KEY.format(setting)
    if refused:
        return _REFUSED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _FEWER.format("lower `max_concurrency`, " if call == "set" else "")
    if decide(outcome).action is Action.RETRY:
        return _LATER
    return _NO_API.format(setting)


def _advise_on_failure(failure: Failure, destination: Destination, exhausted_timeout: str) -> str:
    kind, setting, proxy = failure.kind, f"`{destination.setting}`", f"`{destination.proxy}`"
    is_regional = destination.setting == "region"
    if exhausted_timeout:
        return _MORE_TIME.format(exhausted_timeout)
    if kind is FailureKind.ABORTED:
        return STOPPED
    if kind is FailureKind.TLS:
        return _TLS.format("" if is_regional else f"{setting}, ")
    if kind is FailureKind.PROXY_REFUSED:
        return _PROXY_REFUSED.format(proxy)
    is_unreachable = kind in _TO_CHECK and not failure.too_short
    if kind is FailureKind.PROXY or (destination.proxy and is_unreachable):
        return _PROXY.format(proxy, destination.host)
    if not is_unreachable:
        return _LOST
    of_segment, of_others = _TO_CHECK[kind]
    if is_regional:
        return _UNREACHABLE.format(setting, of_segment)
    return _WRONG_ADDRESS.format(setting, of_others)


def causes_of(attempts: Sequence[Attempt], *details: str) -> str:
    """The causes of failed attempts, each once with its count, the newest last.

    Args:
        attempts: all attempts, in order.
        details: what else is known, to stand beside the number of attempts.
    """
    if not attempts:
        return "nothing was sent"
    counts: dict[str, int] = {}
    for attempt in attempts:
        cause = str(attempt)
        counts[cause] = counts.pop(cause, 0) + 1  # moves it to the end
    causes = list(counts)
    if len(counts) > 1:
        causes = [f"{cause}, {_times(number)}" for cause, number in counts.items()]
    shown = "; then ".join(causes[-_CAUSES_SHOWN:])
    count = len(attempts)
    total = [f"{count} attempts in {attempts[-1].after:.1f} s"] if count > 1 else []
    beside = "; ".join([*total, *filter(None, details)])
    return f"{shown} ({beside})" if beside else shown


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
