"""The cases of the wire matrix: each fault at each point, temporary or permanent.

The expected results come from the documentation (docs/recovery.md, docs/wire.md) and not from the
package: a table by status, and the computation of waits.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.running import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "BUDGET",
    "CASES",
    "EPOCH",
    "Case",
    "FaultPoint",
    "Reaction",
    "WireFault",
]

EPOCH = 1_700_000_000.0
"""The time at the start of a case."""
BUDGET = 5.0
"""`retry_seconds` of every case."""

_FIRST_WAIT, _LONGEST_WAIT, _LEAST_ATTEMPTS, _MOST_ASKED = 0.5, 60.0, 3, 300.0


class Reaction(Enum):
    """How the target reacts to a fault."""

    ACCEPTED = "not a fault here: the response is accepted"
    RETRIED = "the request is retried within the budget"
    HALVED = "the call is halved until the bad object is alone in one"
    SPLIT = "the part is halved until the bad object is alone in one"
    REPLACED = "a new session with all parts; a second refusal of the same part ends the run"
    KEY = "the run ends at once, with advice to check the key"
    END = "the run ends at once"


_SESSION_CALLS = ("upload", "finish", "keep-alive")
_BY_STATUS: Mapping[int, Reaction] = {
    **dict.fromkeys((401, 403), Reaction.KEY),
    **dict.fromkeys((301, 302, 303, 307, 308, 400, 404, 413, 501, 505, 511), Reaction.END),
    **dict.fromkeys((408, 410, 429, 460, 500, 502, 503, 504), Reaction.RETRIED),
}
_BY_CALL: Mapping[tuple[str, int], Reaction] = {
    ("set", 400): Reaction.HALVED,
    ("set", 413): Reaction.HALVED,
    ("upload", 413): Reaction.SPLIT,
    **{(call, status): Reaction.REPLACED for call in _SESSION_CALLS for status in (400, 404, 410)},
}


@dataclass(frozen=True)
class WireFault:
    """A fault.

    Attributes:
        name: its name in a case's id.
        script: the fields of `emulator.InjectedFault`.
        lost: no complete response arrives.
        expires: the session has expired.
        applied: the emulator has applied the request.
        refuses: connections are refused.
        slow: the response arrives after the deadline.
        holds: the response is withheld.
        variant: similar to another fault, so that it is not tested at every point.
        asks: the seconds that `Retry-After` names; `until`: or the time, after `EPOCH`.
    """

    name: str
    script: Mapping[str, Any] = field(default_factory=dict)
    lost: bool = False
    expires: bool = False
    applied: bool = False
    refuses: bool = False
    slow: bool = False
    holds: bool = False
    variant: bool = False
    asks: float = 0.0
    until: float = 0.0

    @property
    def status(self) -> int:
        """The status of the response; 0 without one."""
        status: int = self.script.get("status", 0)
        return status

    def reaction(self, call: str) -> Reaction:
        """Return how the target reacts to it."""
        if self.expires:
            return Reaction.REPLACED
        if self.lost:
            return Reaction.RETRIED
        if 200 <= self.status < 300:
            return Reaction.RETRIED if call in {"start", "upload"} else Reaction.ACCEPTED
        return _BY_CALL.get((call, self.status), _BY_STATUS[self.status])

    def waits(self) -> list[float]:
        """Return the waits between attempts if the fault stays, with the highest random numbers."""
        waits: list[float] = []
        while True:
            asked = self.asks or max(0.0, self.until - sum(waits))
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** len(waits))
            wait = max(wait, min(asked, _MOST_ASKED))
            if len(waits) + 1 >= _LEAST_ATTEMPTS and sum(waits) + wait > BUDGET:
                return waits
            waits.append(wait)


@dataclass(frozen=True)
class FaultPoint:
    """The point at which a fault hits.

    Attributes:
        name: its name in a case's id.
        call: the API's call.
        first: the number of the call.
        settings: settings over those of every case.
        before: the last state that is printed if the run ends here; -1 if that is not exact.
    """

    name: str
    call: str
    first: int = 1
    settings: Mapping[str, object] = field(default_factory=dict)
    before: int = 0

    @property
    def in_turn(self) -> bool:
        """Whether requests are sent one at a time, so that attempts can be counted."""
        return self.name not in {"set-crowd", "keep-alive"}


_ONE = {"method": "set", "max_concurrency": 1}
_MANY = {"method": "set", "max_concurrency": 4}
_BULK = {"method": "bulk", "part_size_bytes": 320, "checkpoint_seconds": 0, "max_concurrency": 2}
_SESSIONS = _BULK | {"spool_max_bytes": 1}

FAULT_POINTS = (
    FaultPoint("set-first", "set", 1, _ONE),
    FaultPoint("set-middle", "set", 2, _ONE, before=10),
    FaultPoint("set-last", "set", 3, _ONE, before=20),
    FaultPoint("set-crowd", "set", 3, _MANY, before=-1),
    FaultPoint("start", "start", 1, _BULK),
    FaultPoint("upload-first", "upload", 1, _BULK),
    FaultPoint("upload-later", "upload", 3, _BULK),
    FaultPoint("keep-alive", "keep-alive", 1, _BULK | {"keep_alive_seconds": 0.01}),
    FaultPoint("finish", "finish", 1, _BULK),
    FaultPoint("next-start", "start", 2, _SESSIONS, before=-1),
    FaultPoint("next-finish", "finish", 2, _SESSIONS, before=-1),
)

_HTML = b"<html><body><h1>It works!</h1></body></html>"
_SECRETS = b" ".join(
    (KEY.encode(), base64.b64encode(KEY.encode()), base64.b64encode(f"{KEY}:".encode()))
)


def _status(status: int, name: str = "", **script: Any) -> WireFault:
    if 300 <= status <= 399:
        script.setdefault("headers", {"Location": "/v1/elsewhere"})
    return WireFault(name or str(status), {"status": status, **script}, variant=bool(name))


def _asking(status: int, how: str, header: str, **fields: float) -> WireFault:
    script = {"status": status, "headers": {"Retry-After": header}}
    variant = how != "seconds"
    return WireFault(f"{status}-{how}", script, variant=variant, **fields)  # type: ignore[arg-type]


def _lost(name: str, *, applied: bool = False, **script: Any) -> WireFault:
    return WireFault(name, script, lost=True, applied=applied)


def _unreadable(name: str, body: bytes) -> WireFault:
    script = {"status": 200, "body": body, "applied": True}
    return WireFault(f"200-{name}", script, applied=True, variant=name != "no-id")


def _faults() -> Iterator[WireFault]:
    yield WireFault("refused", {"cut": "before"}, lost=True, refuses=True)
    for how in ("cut", "reset"):
        for where in ("before", "in", "after"):
            script = {"cut": where, "reset": how == "reset"}
            yield _lost(f"{how}-{where}", applied=where == "after", **script)
    yield WireFault("timeout", {"before": True}, lost=True, slow=True, holds=True)
    yield WireFault("timeout-applied", lost=True, applied=True, slow=True, holds=True)
    yield WireFault("drip", {"drip": 0.05}, lost=True, applied=True, slow=True)
    yield _lost("head-one-line", applied=True, truncate=-100)
    yield _lost("head-without-end", applied=True, truncate=-2)
    yield _lost("body-none", applied=True, truncate=0)
    yield _lost("body-half", applied=True, truncate=1)
    yield _lost("garbage", applied=True, garbage=b"\x00\xff\x16\x03\x01 no HTTP\r\n\r\n")
    yield _lost("garbage-status", applied=True, garbage=b"HTTP/1.1 twohundred OK\r\n\r\n")
    yield _lost("garbage-text", status=500, garbage=b"go away\n")
    yield WireFault("expired", {"expire": True}, expires=True)
    for status in _BY_STATUS:
        yield _status(status)
    for status in (500, 504):
        yield WireFault(f"{status}-applied", {"status": status, "applied": True}, applied=True)
    date = formatdate(EPOCH + 3, usegmt=True)
    past = formatdate(EPOCH - 3600, usegmt=True)
    for status in (429, 503):
        yield _asking(status, "seconds", "2", asks=2.0)
        yield _asking(status, "date", date, until=3.0)
        yield _asking(status, "past", past)
        yield _asking(status, "absurd", "99999999999", asks=99999999999.0)
        yield _asking(status, "unreadable", "soon")
    yield _asking(408, "seconds", "2", asks=2.0)
    for status in (400, 403, 503):
        yield _status(status, f"{status}-html", body=_HTML)
        yield _status(status, f"{status}-empty", body=b"")
        yield _status(status, f"{status}-echo", body=b"you sent " + _SECRETS)
    yield _unreadable("empty", b"")
    yield _unreadable("html", _HTML)
    yield _unreadable("no-id", b"{}")
    yield _unreadable("number", b'{"sync_id": 7, "part_id": 7}')
    yield _unreadable("blank", b'{"sync_id": "", "part_id": ""}')
    yield _unreadable("climbing", b'{"sync_id": "..", "part_id": ".."}')
    yield _unreadable("half", b'{"sync_id": "a", "part_id"')


@dataclass(frozen=True)
class Case:
    """A fault at a point.

    Attributes:
        heals: it hits `hits` times; otherwise every time from there on.
    """

    fault: WireFault
    point: FaultPoint
    heals: bool

    @property
    def id(self) -> str:
        """A unique name."""
        return f"{self.fault.name}-{self.point.name}-{'heals' if self.heals else 'stays'}"

    @property
    def reaction(self) -> Reaction:
        """How the target reacts to it."""
        return self.fault.reaction(self.point.call)

    @property
    def hits(self) -> int | None:
        """How often it hits; `None` for every time."""
        if not self.heals:
            return None
        # With a short deadline, a busy machine may be late by itself once more.
        return 2 if self.reaction is Reaction.RETRIED and not self.fault.slow else 1

    @property
    def code(self) -> int:
        """The expected exit status."""
        if self.point.call == "keep-alive" or self.reaction is Reaction.ACCEPTED:
            return 0
        if self.reaction in {Reaction.KEY, Reaction.END}:
            return 1
        return 0 if self.heals else 1

    @property
    def leaves_open(self) -> bool:
        """Whether the fault prevents the target from ending every session at Segment."""
        if self.point.call == "start":
            return self.fault.applied and self.reaction is Reaction.RETRIED
        if self.reaction is Reaction.RETRIED and (
            "headers" in self.fault.script or self.fault.status == 429
        ):
            return True  # Segment asks for a longer wait than the budget
        refused = self.fault.refuses and not self.heals
        return self.point.call == "finish" or self.reaction is Reaction.REPLACED or refused


_OF_VARIANTS = {"set-middle", "start", "upload-later", "finish"}


def _makes_sense(fault: WireFault, point: FaultPoint, *, heals: bool) -> bool:
    if fault.variant and point.name not in _OF_VARIANTS:
        return False
    if fault.script.get("cut") == "in" and point.call in {"start", "keep-alive"}:
        return False  # these have no body
    if fault.expires and point.call in {"set", "start"}:
        return False  # there is no session yet
    if fault.refuses and point.call == "keep-alive" and not heals:
        return False  # the uploads need connections too, and may not get any
    # If every keep-alive ends the session, it may or may not be finished first.
    return not (fault.expires and point.call == "keep-alive" and not heals)


CASES = [
    Case(fault, point, heals)
    for fault in _faults()
    for point in FAULT_POINTS
    for heals in (True, False)
    if _makes_sense(fault, point, heals=heals)
]
