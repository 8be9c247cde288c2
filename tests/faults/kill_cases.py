"""Kills at exact points of the protocol: who signals what and when, and what must hold afterwards.

The emulator runs in the test's process and signals the command from the very exchange that the
point names. The source is made so that the number of calls is known: forty objects of two streams,
interleaved, ten of them once more with a later value, and one record that must be rejected.
"""

from __future__ import annotations

import base64
import json
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from target_segment_objects.emulator import Emulator, InjectedFault
from tests.builders import rejects_in
from tests.running import KEY, lines, record, schema, state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.faults.fork_server import Child, ForkServer

__all__ = ["KILLS", "POINTS", "SOURCE", "Kill", "Point", "Source", "Story", "tell"]

_PATIENCE = 2_000  # hundredths of a second that only a failing test waits for

At = Literal["arrival", "body", "applied", "answered"]


@dataclass(frozen=True)
class Kill:
    """How the command is stopped.

    Attributes:
        name: as it stands in a case's id.
        numbers: signals, sent at once.
        codes: exit statuses that say that it was stopped so; of two signals that come together
            the system decides which is the first.
        again: they are sent until the command has ended.
    """

    name: str
    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    again: bool = False

    @property
    def clean(self) -> bool:
        """Whether what was read before it is delivered."""
        return min(self.codes) > 0 and not self.again

    def strike(self, child: Child) -> None:
        """Send the signals; of one that must end at once, see the end."""
        child.kill(*self.numbers)
        if not self.clean:
            # Signals that come together are one, so the second may have to be sent again.
            for _ in range(_PATIENCE):
                if child.ended.wait(0.01):
                    break
                if self.again:
                    child.kill(*self.numbers)


_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
KILLS = (
    Kill("kill", (signal.SIGKILL,), (-signal.SIGKILL,)),
    Kill("term", (signal.SIGTERM,), (_TERMINATED,)),
    Kill("int", (signal.SIGINT,), (_INTERRUPTED,)),
    Kill("int-term", (signal.SIGINT, signal.SIGTERM), (_INTERRUPTED, _TERMINATED)),
    Kill("term-twice", (signal.SIGTERM,), (_TERMINATED,), again=True),
)


_RECORDS = 51


@dataclass(frozen=True)
class Point:
    """Where the command is in the protocol when it is stopped.

    Attributes:
        name: as it stands in a case's id.
        method: `set` or `bulk`.
        call: the API's call; with none, the point is a printed state.
        number: the how manyth of it, or the state's position.
        at: where in its exchange.
        fed: how many records it was given.
        closed: whether its input has ended before.
        more: settings.
    """

    name: str
    method: Literal["set", "bulk"]
    call: str = ""
    number: int = 1
    at: At = "arrival"
    fed: int = _RECORDS
    closed: bool = False
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def at_the_end(self) -> bool:
        """Whether all is done when the command is stopped: it may as well end by itself."""
        answered_last = self.at == "answered" and self.call in {"set", "finish"}
        return self.closed and (not self.call or answered_last)

    def fault(self, kill: Kill, child: Child) -> InjectedFault:
        """Strike in the exchange; what an unclean stop cuts off before it is handled never is."""
        lost: dict[str, Any] = {}
        if not kill.clean and self.at == "arrival":
            lost = {"cut": "before"}
        elif not kill.clean and self.at == "body":
            lost = {"status": 500}
        return InjectedFault(
            call=self.call,
            first=self.number,
            at=self.at,
            callback=lambda _: kill.strike(child),
            **lost,
        )


_AT: tuple[At, ...] = ("arrival", "body", "applied", "answered")


def _exchange(name: str, method: Literal["set", "bulk"], call: str, **more: Any) -> list[Point]:
    return [Point(f"{name}-{at}", method, call, at=at, **more) for at in _AT]


_SMALL = {"part_size_bytes": 640}
_SESSIONS = {**_SMALL, "spool_max_bytes": 200}
_LIVELY = {**_SMALL, "keep_alive_seconds": 0.03}
POINTS = (
    Point("set-before-first-request", "set", number=0, fed=5),
    *_exchange("set-first", "set", "set"),
    *_exchange("set-middle", "set", "set", number=3),
    *_exchange("set-last", "set", "set", number=5),
    *_exchange("set-after-input", "set", "set", number=5, closed=True),
    Point("set-idle", "set", number=_RECORDS),
    Point("set-end", "set", number=_RECORDS, closed=True),
    Point("bulk-before-first-request", "bulk", number=0, fed=0),
    *_exchange("start", "bulk", "start", more=_SMALL),
    *_exchange("upload-first", "bulk", "upload", more=_SMALL),
    *_exchange("upload-later", "bulk", "upload", number=3, more=_SMALL),
    *_exchange("upload-after-input", "bulk", "upload", number=4, closed=True, more=_SMALL),
    *_exchange("keep-alive", "bulk", "keep-alive", more=_LIVELY),
    *_exchange("start-again", "bulk", "start", number=2, more=_SESSIONS),
    *_exchange("finish-first", "bulk", "finish", more=_SESSIONS),
    *_exchange("finish-after-input", "bulk", "finish", closed=True, more=_SMALL),
    Point("bulk-end", "bulk", number=_RECORDS, closed=True, more=_SMALL),
)


class Source:
    """The records, and what they ask for.

    Attributes:
        records: in their order; a record's position is its place, from 1.
        rejected: the position of the one that must be rejected.
        names: of the objects.
    """

    rejected = 15

    def __init__(self) -> None:
        streams = ("rooms", "guests")
        objects = [(streams[n % 2], n // 2, 0) for n in range(40)]
        objects += [(streams[0], n, 1) for n in range(10)]
        self.records = [
            record(stream, id=number, turn=turn, name=f"{stream}-{number:02}")
            for stream, number, turn in objects
        ]
        self.names = {str(message["record"]["name"]) for message in self.records}
        self.records.insert(self.rejected - 1, record("rooms", id=None, turn=9, name="lost"))

    def fed(self, after: int = 0, until: int = _RECORDS) -> bytes:
        """What a tap writes from the state after `after` records on, until it has read `until`."""
        messages = [
            schema(stream, id="integer", turn="integer", name="string")
            for stream in ("rooms", "guests")
        ]
        messages.append(state({"position": after}))
        for position in range(after + 1, until + 1):
            messages.append(self.records[position - 1])
            if position in self.states(until):
                messages.append(state({"position": position}))
        return lines(*messages)

    def states(self, until: int = _RECORDS) -> list[int]:
        """The positions of all states among so many records."""
        return [position for position in (*range(0, _RECORDS, 10), _RECORDS) if position <= until]

    def missing(
        self, turns: Mapping[str, list[int]], until: int = _RECORDS, after: int = 0
    ) -> list[int]:
        """The positions in between whose object, or a later value of it, has not arrived."""
        return [
            position
            for position, message in enumerate(self.records[:until], start=1)
            if position > after
            and position != self.rejected
            and max(turns.get(message["record"]["name"], [-1])) < message["record"]["turn"]
        ]

    def delivered(self, turns: Mapping[str, list[int]]) -> int:
        """The position of the last record before which all have arrived; at least 1."""
        missing = self.missing(turns)
        return max(1, missing[0] - 1) if missing else _RECORDS


SOURCE = Source()


@dataclass
class Story:
    """What a run left behind.

    Attributes:
        after: the position of the state that it began with.
        code: exit status.
        positions: of the states that were printed.
        told: stderr.
        turns: by object, the values that were applied to it, in order.
        sessions: the states of the bulk sessions.
        refused: calls that broke a rule of the API.
        peak: requests at once.
        rejects: of the dead letter, in which each has its schema, however a run has ended.
    """

    after: int
    code: int
    positions: list[int]
    stderr: str
    turns: dict[str, list[int]]
    sessions: list[str]
    refused: list[str]
    peak: int
    rejects: int

    @property
    def position(self) -> int:
        """Where the next run begins."""
        return self.positions[-1] if self.positions else self.after

    def check(self) -> None:
        """What holds after every run, however it ended (docs/testing.md)."""
        assert self.positions == sorted({*self.positions} & {*SOURCE.states()}), self.stderr
        assert SOURCE.missing(self.turns, self.position, self.after) == []
        assert all(
            older < newer for turns in self.turns.values() for older, newer in pairwise(turns)
        )
        assert self.rejects >= (self.after < SOURCE.rejected <= self.position)
        assert self.refused == []
        assert self.peak <= 4
        assert "Traceback" not in self.stderr


def tell(  # noqa: PLR0913  the last three are one choice each
    server: ForkServer,
    folder: Path,
    point: Point,
    kill: Kill | None = None,
    *,
    after: int = 0,
    then: Mapping[str, Any] = MappingProxyType({}),
) -> Story:
    """Run the command once.

    Args:
        server: forks it.
        folder: holds its files; the dead letter stays from run to run.
        point: its settings, and where it is stopped.
        kill: how it is stopped; without it, the run goes from `after` to the end of the source.
        after: the position of the state that it begins with.
        then: what else the emulator does from the exchange on in which the command is stopped.
    """
    left = {name: folder / name for name in ("spool", "tmp")}
    for temporary in left.values():
        temporary.mkdir(exist_ok=True)
    dead_letter = folder / "dead.jsonl"
    with Emulator(write_key=KEY) as segment:
        config = {
            "write_key": KEY,
            "method": point.method,
            "objects_url": segment.url,
            "bulk_url": segment.url,
            "max_concurrency": 4,
            "max_rejects": -1,
            "dead_letter_path": str(dead_letter),
            "spool_dir": str(left["spool"]),
            "shutdown_seconds": 60,
            **point.more,
        }
        child = server.start(folder, config, {"TMPDIR": str(left["tmp"])})
        if kill is not None and point.call:
            segment.fault(point.fault(kill, child))
            if then:
                segment.fault(
                    InjectedFault(call=point.call, first=point.number, count=None, **then)
                )
        child.write(SOURCE.fed(after, _RECORDS if kill is None else point.fed))
        if kill is None or point.closed:
            child.close_stdin()
        if kill is not None and not point.call:
            child.wait_for(json.dumps({"position": point.number}).encode())
            kill.strike(child)
        code = child.status()
    # The emulator has stopped: what was on its way has arrived, or never will.
    assert [path for temporary in left.values() for path in temporary.iterdir()] == []
    kept = dead_letter.read_bytes() if dead_letter.exists() else b""
    for secret in (KEY, base64.b64encode(f"{KEY}:".encode()).decode()):
        assert secret.encode() not in bytes(child.out) + bytes(child.err) + kept
    return Story(
        after,
        code,
        [json.loads(line)["position"] for line in child.out.splitlines()],
        child.err.decode(),
        _turns(segment),
        [session.state for session in segment.sessions.values()],
        [call.reason for call in segment.refusals if call.reason != "an injected fault"],
        segment.in_flight_peak,
        len(rejects_in(dead_letter)) if kept else 0,
    )


def _turns(segment: Emulator) -> dict[str, list[int]]:
    turns: dict[str, list[int]] = defaultdict(list)
    for stream in ("rooms", "guests"):
        for row in segment.rows(stream):
            for update in segment.history(stream, str(row["id"])):
                turns[str(update["name"])].append(int(str(update["turn"])))
    return turns
