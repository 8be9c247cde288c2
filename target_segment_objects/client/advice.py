"""What to say of a call that failed: its causes, each once with its count, and what helps.

The rule that it guards: the advice fits the cause. Waiting seldom helps where a name cannot be
resolved, and another address seldom where a server is busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from target_segment_objects.client.outcomes import Failure, FailureKind, Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.client.transport import Transport
    from target_segment_objects.errors import Attempt

__all__ = ["SESSION_REFUSED", "STOPPED", "Destination", "advise", "causes_of"]

SESSION_REFUSED: Final = "The session may have expired; else it refuses what it was sent"
STOPPED: Final = (
    "It was stopped before Segment had answered, which may have taken the data all the same: run "
    "it again, since what is sent twice is merged by id"
)

_CAUSES_SHOWN: Final = 3
_LATER: Final = (
    "Run it again later, or raise `retry_seconds`: what was sent before is merged by id, so "
    "sending it again is safe"
)
_MORE_TIME: Final = (
    "Raise `{}`, which ended every attempt, and run it again: what was sent before is merged by id"
)
_LOST: Final = (
    "Run it again: what was sent before is merged by id. If it happens again, check what stands in "
    "between (a proxy, a firewall)"
)
_FEWER: Final = "Segment asks for fewer requests: {}run it again later, or raise `retry_seconds`"
_KEY: Final = "Segment does not take this key here: check `write_key` and {}"
_NO_API: Final = (
    "This may not be Segment's API: check {}, and what stands in between (a proxy, a login page)"
)
_AS_IT_IS: Final = "Sending it again would not change it"
_WRONG_ADDRESS: Final = "The address comes from {}: check it for a mistake, then {}"
_NO_WAY: Final = "The address comes from {}: check {}, and set `proxy` if this machine needs one"
_PROXY: Final = "The proxy comes from {}: check its address, and that it reaches {}"
_PROXY_REFUSED: Final = "The proxy comes from {}: check its address, user and password"
_TLS: Final = "Check {}this machine's clock and the TLS roots (`ca_bundle`)"

_UNFOUND: Final[Mapping[FailureKind, tuple[str, str]]] = {
    FailureKind.NAME: ("this machine's network and DNS",) * 2,
    FailureKind.CONNECT: (
        "this machine's network and firewall",
        "that its server runs and the firewall lets requests out",
    ),
    FailureKind.TIMEOUT: ("this machine's network and firewall",) * 2,
}
"""Nothing was found at an address: what to check for one of Segment's own, and for another."""


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
    slow: str = "",
) -> str:
    """What to do about a call that ended with this outcome, in a sentence.

    Args:
        outcome: of the last attempt.
        destination: where it went.
        call: the API's name of the call.
        refused: whether the API refused the request itself, and not the key or the address.
        slow: the setting whose time-out ended every attempt, if one did.
    """
    if isinstance(outcome, Failure):
        return _of_failure(outcome, destination, slow)
    status, setting = outcome.status, f"`{destination.setting}`"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _KEY.format(setting)
    if refused:
        return _AS_IT_IS
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _FEWER.format("lower `max_concurrency`, " if call == "set" else "")
    fatal = {501, 505, 511}
    if status in {408, 410, 460} or (500 <= status <= 599 and status not in fatal):  # noqa: PLR2004
        return _LATER
    return _NO_API.format(setting)


def _of_failure(failure: Failure, destination: Destination, slow: str) -> str:
    kind, setting = failure.kind, f"`{destination.setting}`"
    segments_own = destination.setting == "region"
    if slow:
        return _MORE_TIME.format(slow)
    if kind is FailureKind.ABORTED:
        return STOPPED
    if kind is FailureKind.TLS:
        return _TLS.format("" if segments_own else f"{setting}, ")
    if kind is FailureKind.PROXY_REFUSED:
        return _PROXY_REFUSED.format(f"`{destination.proxy}`")
    if kind is FailureKind.PROXY or (
        destination.proxy and kind in _UNFOUND and not failure.too_short
    ):
        return _PROXY.format(f"`{destination.proxy}`", destination.host)
    if kind not in _UNFOUND or failure.too_short:
        return _LOST
    of_segments_own, of_another = _UNFOUND[kind]
    if segments_own:
        return _NO_WAY.format(setting, of_segments_own)
    return _WRONG_ADDRESS.format(setting, of_another)


def causes_of(attempts: Sequence[Attempt], *details: str) -> str:
    """What the attempts came to, each cause once with its count.

    Args:
        attempts: all of them, the last one last.
        details: more of what is known, to stand with the number of attempts.
    """
    if not attempts:
        return "nothing was sent"
    counts: dict[str, int] = {}
    for attempt in attempts:
        cause = str(attempt)
        counts[cause] = counts.pop(cause, 0) + 1  # the newest one last
    count = len(attempts)
    causes = list(counts)
    if len(counts) > 1:
        causes = [f"{cause}, {_times(number)}" for cause, number in counts.items()]
    shown = "; then ".join(causes[-_CAUSES_SHOWN:])
    known = [f"{count} attempts in {attempts[-1].after:.1f} s"] if count > 1 else []
    beside = "; ".join([*known, *filter(None, details)])
    return f"{shown} ({beside})" if beside else shown


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
