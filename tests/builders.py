"""Objects, clocks and threads that the tests share."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from target_segment_objects.objects import ObjectLine, SegmentObject
from target_segment_objects.source import SourceRecord, SourceStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.errors import RejectedRecordError

PATIENCE = 10.0
"""Seconds after which a test that waits for an event fails; a passing test never waits so long."""


def room(identifier: str, collection: str = "rooms", **properties: Any) -> SegmentObject:
    """Return an object of the collection `rooms`."""
    return SegmentObject(collection, identifier, json.dumps(properties).encode())


def large_room(identifier: str, mark: str, kilobytes: int = 240) -> SegmentObject:
    """Return an object of about this many KB; the names of its properties start with `mark`."""
    values = {
        f"{mark}_{'abcdefghijklmnop'[index]}": "x" * 30_000 for index in range(kilobytes // 30)
    }
    return room(identifier, **values)


ROOMS = SourceStream("rooms", b'{"properties":{"id":{"type":"string"}}}', ["id"])
"""The SCHEMA of `origin`."""


def origin(line: int = 1) -> SourceRecord:
    """Return a record of `rooms` at this line as the source of an object."""
    return SourceRecord(ROOMS, b'{"id":"%d"}' % line, line)


def rejects_in(path: Path) -> list[dict[str, Any]]:
    """Return the rejects of a dead letter, with the schemas that their lines refer to.

    Raises:
        KeyError: when no line before it holds that schema.
    """
    schemas: dict[tuple[str, int], dict[str, Any]] = {}
    found = []
    for line in path.read_bytes().split(b"\n"):
        entry = json.loads(line) if line.strip() else {}
        if entry.get("stage") == "schema":
            schemas[entry["run_id"], entry["schema_id"]] = entry
        elif entry.get("stage") == "record":
            declared = schemas[entry["run_id"], entry.pop("schema_id")]
            assert declared["stream"] == entry["stream"]
            found.append(entry | {name: declared[name] for name in ("key_properties", "schema")})
        elif entry:
            found.append(entry)
    return found


def block(
    first: int, *objects: SegmentObject
) -> tuple[list[ObjectLine], int, Callable[[int], SourceRecord]]:
    """Return a delivery's arguments: objects, one per record, from this position and line on."""
    return [*map(ObjectLine.from_object, objects)], first, lambda index: origin(first + index)


class Refusals:
    """Collects the objects that Segment refuses; more than `tolerated` raise an error.

    Attributes:
        lines: the lines of the records of each refused object.
        messages: the error message of each.
    """

    def __init__(self, tolerated: int = 1_000_000) -> None:
        self._tolerated = tolerated
        self.lines: list[list[int]] = []
        self.messages: list[str] = []

    def __call__(self, error: RejectedRecordError, origins: list[SourceRecord], /) -> None:
        """Record a refused object."""
        self.lines.append([source.line for source in origins])
        self.messages.append(str(error))
        if len(self.lines) > self._tolerated:
            raise error


class ManualClock:
    """A monotonic clock; a test sets its time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class WakeCounter:
    """Counts how often a delivery's threads wake the reader, and waits for the next time."""

    def __init__(self) -> None:
        self._rung = threading.Semaphore(0)

    def __call__(self) -> None:
        """Count a wake-up."""
        self._rung.release()

    def wait(self, times: int = 1) -> None:
        """Wait until it was called `times` times since the last wait."""
        for _ in range(times):
            assert self._rung.acquire(timeout=PATIENCE), "the delivery did not wake its reader"


class BackgroundCall:
    """Calls a function on a thread; `join` returns its result or raises its error."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self._thread.start()

    def _run(self, function: Any, args: tuple[Any, ...]) -> None:
        try:
            self._result = function(*args)
        except BaseException as error:  # noqa: BLE001  raised by `join`
            self._error = error

    def join(self) -> Any:
        """Wait until the function has returned."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the function did not return"
        if self._error is not None:
            raise self._error
        return self._result
