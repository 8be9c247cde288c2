"""Kills at exact points of the protocol: the cases, and what must hold after each.

The emulator runs in the test's process and sends the signal from the request that the point names.
The number of calls is known from the source: forty objects of two streams, interleaved, ten of them
again with a later value, and one record that must be rejected.
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

_PATIENCE = 2_000  # hundredths of a second; only a failing test waits that long

At = Literal["arrival", "body", "applied", "answered"]


@dataclass(frozen=True)
class Kill:
    """How the command is stopped.

    Attributes:
        name: its name in a case's id.
        numbers: the signals, sent together.
        codes: the expected exit statuses; if two signals arrive together, the system decides which
            is first.
        again: send them until the command has ended.
    """

    name: str
    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    again: bool = False

    @property
    def clean(self) -> bool:
        """Whether records that were read before it are delivered."""
        return min(self.codes) > 0 and not self.again

    def strike(self, child: Child) -> None:
        """Send the signals; if the command must end at once, wait for that."""
        child.kill(*self.numbers)
        if not self.clean:
            # Python may see signals that arrive together as one, so the second is sent again.
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
    """The command's position in the protocol when it is stopped.

    Attributes:
        name: its name in a case's id.
        method: `set` or `bulk`.
        call: the API's call; if empty, the point is a printed state.
        number: the number of the call, or the state's position.
        at: the point within the request.
        fed: how many records the command was given.
        closed: whether its input has ended.
        more: further settings.
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
        """Whether all is done when the command is stopped, so that it may end by itself first."""
        answered_last = self.at == "answered" and self.call in {"set", "finish"}
        return self.closed and (not self.call or answered_last)

    def fault(self, kill: Kill, child: Child) -> InjectedFault:
        """Return the fault that stops the command; what an unclean stop cuts is not applied."""
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
    """The records, and what must be delivered.

    Attributes:
        records: in order; a record's position starts at 1.
        rejected: the position of the record that must be rejected.
        names: the names of the objects.
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
        """Return what a tap writes from the state after `after` records until record `until`."""
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
        """Return the positions of all states up to `until`."""
        return [position for position in (*range(0, _RECORDS, 10), _RECORDS) if position <= until]

    def missing(
        self, turns: Mapping[str, list[int]], until: int = _RECORDS, after: int = 0
    ) -> list[int]:
        """Return the positions whose value, or a later one of the object, has not arrived."""
        return [
            position
            for position, message in enumerate(self.records[:until], start=1)
            if position > after
            and position != self.rejected
            and max(turns.get(message["record"]["name"], [-1])) < message["record"]["turn"]
        ]

    def delivered(self, turns: Mapping[str, list[int]]) -> int:
        """Return the last position before which all has arrived; at least 1."""
        missing = self.missing(turns)
        return max(1, missing[0] - 1) if missing else _RECORDS


SOURCE = Source()


@dataclass
class Story:
    """The results of a run.

    Attributes:
        after: the position of the state at its start.
        code: exit status.
        positions: the positions of the printed states.
        stderr: stderr.
        turns: the values that were applied to each object, in order.
        sessions: the states of the bulk sessions.
        refused: calls that broke a rule of the API.
        peak: most requests at once.
        rejects: the number of rejects in the dead letter; each has its schema, however the run
            ended.
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
        """The position at which the next run starts."""
        return self.positions[-1] if self.positions else self.after

    def check(self) -> None:
        """Check what holds after every run, however it ended (docs/testing.md)."""
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
        server: the server that forks it.
        folder: the folder of its files; the dead letter is kept between runs.
        point: its settings, and the point at which it is stopped.
        kill: how it is stopped; without it, the run continues from `after` to the end of the
            source.
        after: the position of the state at its start.
        then: further effects of the emulator from the stopped request on.
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
    # The emulator has stopped: requests in flight have arrived, or never will.
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
