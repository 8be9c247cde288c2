"""Runs the target in this process against an emulator with a fault, and checks what always holds.

Waits take no time, since the test provides the client's clock. Only deadlines of sockets are real,
so cases without a response have short ones.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import os
import select
import threading
import traceback
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from target_segment_objects.errors import SegmentObjectsError
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.builders import PATIENCE
from tests.faults.instant_clock import InstantClock
from tests.faults.wire_cases import BUDGET
from tests.running import KEY, lines, record, schema, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from target_segment_objects.emulator import Emulator

__all__ = ["Outcome", "Source", "in_order", "run"]

_SECRETS = (
    KEY,
    base64.b64encode(KEY.encode()).decode().rstrip("="),
    base64.b64encode(f"{KEY}:".encode()).decode().rstrip("="),
)


@dataclass(frozen=True)
class Source:
    """Numbered records of a few objects, with states in between.

    Attributes:
        records: how many records.
        objects: how many objects they belong to, in turn.
        state_every: a state follows after this many records.
    """

    records: int = 25
    objects: int = 10
    state_every: int = 10

    def values(self, position: int) -> dict[str, object]:
        """Return the record at a position: a number, and one of two alternating properties."""
        name = "second" if position // self.objects % 2 else "first"
        return {"id": str(position % self.objects), "n": position, name: position}

    @property
    def states(self) -> list[int]:
        """The positions of the states."""
        return [
            position
            for position in range(1, self.records + 1)
            if position % self.state_every == 0 or position == self.records
        ]

    def written(self, after: int = 0) -> Iterator[bytes]:
        """Yield the tap's lines, from the state at `after` on."""
        yield lines(
            schema("rooms", id="string", n="integer", first="integer", second="integer"),
        )
        states = set(self.states)
        for position in range(after + 1, self.records + 1):
            yield lines(record("rooms", **self.values(position)))
            if position in states:
                yield lines(state({"position": position}))

    def rows(self, until: int | None = None) -> dict[str, dict[str, Any]]:
        """Return every object after the records up to a position."""
        rows: dict[str, dict[str, Any]] = {}
        for position in range(1, (self.records if until is None else until) + 1):
            values = self.values(position)
            rows.setdefault(str(values["id"]), {}).update(values)
        return rows

    def numbers(self, identifier: str) -> list[int]:
        """Return the numbers of one object, in order."""
        every = range(1, self.records + 1)
        return [number for number in every if str(number % self.objects) == identifier]


class _Tap:
    """Returns one line per read, and may pause after a state."""

    def __init__(self, written: Iterator[bytes], pause: Callable[[], None] | None) -> None:
        self._written = written
        self._pause = pause
        self._given = b""

    def read(self, _size: int = -1) -> bytes:
        before, self._given = self._given, next(self._written, b"")
        if self._pause is not None and self._given and b'"STATE"' in before:
            self._pause()
        return self._given


class _Printed(io.BytesIO):
    """Stdout; a callback sees each text before it is written."""

    def __init__(self, look: Callable[[bytes], None]) -> None:
        super().__init__()
        self._look = look

    def write(self, data: Any) -> int:
        self._look(bytes(data))
        return super().write(data)


class _LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, entry: logging.LogRecord) -> None:
        self.lines.append(self.format(entry))


@dataclass
class Outcome:
    """The results of a run.

    Attributes:
        error: the error that ended it; `None` for exit 0.
        states: the positions of the printed states.
        output: stdout, the log, and the error with its causes.
    """

    error: SegmentObjectsError | None = None
    states: list[int] = field(default_factory=list)
    output: str = ""

    @property
    def last(self) -> int:
        """The position of the last state printed, 0 without one."""
        return self.states[-1] if self.states else 0


def run(  # noqa: PLR0913  each is the case's to choose
    segment: Emulator,
    source: Source,
    config: Mapping[str, object],
    spool: Path,
    *,
    clock: InstantClock | None = None,
    after: int = 0,
    in_turn: bool = False,
) -> Outcome:
    """Run the target once, and check what holds after every run.

    Args:
        segment: the emulator to which it delivers.
        source: what it reads.
        config: settings over those of every run.
        spool: an empty folder.
        clock: records its waits.
        after: the position of the state at which it continues.
        in_turn: the tap waits at each state but the last for the outcome of a call.
    """
    outcome = Outcome()

    def look(printed: bytes) -> None:
        """Check a state at the moment when it is printed."""
        position = json.loads(printed)["position"]
        assert position in source.states
        assert position > outcome.last
        rows = {str(row["id"]): row for row in segment.rows("rooms")}
        for identifier, row in source.rows(position).items():
            assert all(rows[identifier].get(name, 0) >= row[name] for name in row if name != "id")
        outcome.states.append(position)

    threads = _threads()
    settings = {
        "write_key": KEY,
        "objects_url": segment.url,
        "bulk_url": segment.url,
        "retry_seconds": BUDGET,
        "spool_dir": str(spool),
    }
    log_lines = _LogLines()
    root = logging.getLogger()
    level = root.level
    root.addHandler(log_lines)
    root.setLevel(logging.DEBUG)
    out = io.TextIOWrapper(_Printed(look), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out):
            target = TargetSegmentObjects(config=settings | dict(config))
            target.run.make_clock = (clock or InstantClock()).of
            # Print every state as soon as it is durable, not one per second.
            target.run._checkpoint._interval_seconds = 0.0
            tap = _Tap(
                source.written(after), partial(_wait_for_outcome, target) if in_turn else None
            )
            try:
                target.listen(cast("Any", tap))
            except SegmentObjectsError as error:
                outcome.error = error
                log_lines.lines += traceback.format_exception(error)
            finally:
                target.run.close()
    finally:
        root.removeHandler(log_lines)
        root.setLevel(level)
    out.seek(0)
    outcome.output = "\n".join((out.read(), *log_lines.lines))
    _check(segment, source, outcome)
    assert _threads() == threads
    assert _spools(spool) == []
    assert list(spool.iterdir()) == []
    return outcome


def _wait_for_outcome(target: TargetSegmentObjects) -> None:
    """Wait until the delivery has reported an outcome."""
    ready, _, _ = select.select([target.run.wake_up], [], [], PATIENCE)
    assert ready, "the delivery told no outcome"
    target.run.wake_up.clear()


def _check(segment: Emulator, source: Source, outcome: Outcome) -> None:
    """Check the API's limits, the secret, and that exit 0 means that all was delivered."""
    bodies = [request.body for request in segment.requests]
    for secret in (*_SECRETS, f"{KEY}:"):
        assert secret not in outcome.output
        assert not any(secret.encode() in body for body in bodies)
    assert not any(request.call == "other" for request in segment.requests)
    for request in segment.requests:
        if request.call == "set" and request.body:
            call = json.loads(request.body)
            ids = [item["id"] for item in call["objects"]]
            assert call["collection"] == "rooms"
            assert 1 <= len(ids) <= 10
            assert len(ids) == len(set(ids))
    if outcome.error is None:
        assert outcome.last == source.records
        assert {row["id"]: row for row in segment.rows("rooms")} == source.rows()


def in_order(segment: Emulator, source: Source, *, merged: bool) -> None:
    """Check that each object's history is its records in order, or a complete replay of them.

    Args:
        segment: the emulator that has applied them.
        source: what was sent.
        merged: records of one object that wait together become one call.
    """
    for number in range(source.objects):
        identifier = str(number)
        numbers = source.numbers(identifier)
        history = [int(str(update["n"])) for update in segment.history("rooms", identifier)]
        assert set(history) <= set(numbers)
        if merged:
            assert history == sorted(history)
            continue
        reached = 0
        for before, now in pairwise([0, *history]):
            if now <= before:
                assert before >= reached, "a replay ended before what it replays"
                reached = before
            else:
                at = numbers.index(before) if before else -1
                assert now == numbers[at + 1], "a record was left out"
        assert not history or history[-1] >= reached


def _threads() -> set[str]:
    """Return the names of all threads except the emulator's."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("segment-emulator")}


def _spools(folder: Path) -> list[str]:
    """Return the descriptors of files in the folder, including files without a name."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(descriptor.readlink()))
    return [link for link in found if link.startswith(f"{folder}{os.sep}")]
