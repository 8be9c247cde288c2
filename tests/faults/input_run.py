"""Feeds one unusual input to the target in this process, and records all results."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from target_segment_objects.errors import MessageError, RejectedRecordError, SegmentObjectsError
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.builders import rejects_in

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.emulator import Emulator

__all__ = ["AFTER", "BEFORE", "CANARY", "SCHEMA", "Outcome", "feed", "verdict_of"]

CANARY = "kanarienvogel"
"""A value in the tested lines, which must not occur in any output."""

SCHEMA = {
    "type": "SCHEMA",
    "stream": "rooms",
    "schema": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "name": {"type": ["string", "null"]},
            "beds": {"type": ["integer", "null"]},
            "price": {"type": ["number", "null"]},
            "open": {"type": ["boolean", "null"]},
            "built": {"type": ["string", "null"], "format": "date-time"},
            "at": {"type": "object", "properties": {"lat": {"type": "number"}}},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    },
    "key_properties": ["id"],
}
BEFORE = '{ "seen" : 1.0 }'
"""The value of the state before the tested lines, exactly as it must be printed."""
AFTER = '{ "seen" : 2.0 }'
"""The value of the state after them."""


class DeadRecord(msgspec.Struct):
    """The fields that a reject in the dead letter must have, for a reader and for `replay`."""

    stream: str
    line: int
    faults: list[dict[str, Any]]
    key_properties: list[str] | None
    schema: dict[str, Any]
    record: Any = msgspec.UNSET
    raw: str = ""


@dataclass(frozen=True)
class Outcome:
    """The results of one input.

    Attributes:
        error: the error that ended the run; `None` without one.
        states: the lines of stdout.
        log: all log lines, and the error's message.
        ids: the objects that arrived, by id.
        finishes: the bodies of the calls that finished a session.
        dead: the rejects of the dead letter.
    """

    error: SegmentObjectsError | None
    states: list[str]
    log: str
    ids: dict[str, dict[str, Any]]
    finishes: list[bytes]
    dead: list[DeadRecord]


class _LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, entry: logging.LogRecord) -> None:
        self.lines.append(self.format(entry))


@contextlib.contextmanager
def _logged(log_lines: _LogLines) -> Any:
    root = logging.getLogger()
    level = root.level
    root.addHandler(log_lines)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(log_lines)
        root.setLevel(level)


def feed(
    tested_lines: bytes, segment: Emulator, folder: Path, collection: str, config: dict[str, Any]
) -> Outcome:
    """Run a good record and its state, the tested lines, and another good record with its state.

    Args:
        tested_lines: the last one has no line break; the first one is line 4.
        segment: the emulator, which earlier runs may have used.
        folder: the folder of the dead letter.
        collection: a collection for the stream `rooms` that no other run uses.
        config: settings over the usual ones.

    Raises:
        Exception: a bug: any error that is not one of the target's own.
    """
    good = [{"type": "RECORD", "stream": "rooms", "record": {"id": name}} for name in ("a", "z")]
    lines = [
        json.dumps(SCHEMA).encode(),
        json.dumps(good[0]).encode(),
        b'{"type":"STATE","value":%b}' % BEFORE.encode(),
        tested_lines,
        json.dumps(good[1]).encode(),
        b'{"type":"STATE","value":%b}' % AFTER.encode(),
    ]
    dead = folder / "dead.jsonl"
    whole = {
        "write_key": "wk",
        "objects_url": segment.url,
        "bulk_url": segment.url,
        "collections": {"rooms": collection},
        "dead_letter_path": str(dead),
        **config,
    }
    log_lines = _LogLines()
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    error: SegmentObjectsError | None = None
    asked = len(segment.requests)
    with _logged(log_lines), contextlib.redirect_stdout(out):
        target = TargetSegmentObjects(config=whole)
        try:
            target.listen(io.BytesIO(b"\n".join(lines) + b"\n"))  # type: ignore[arg-type]
        except SegmentObjectsError as raised:
            error = raised
            log_lines.lines.append(str(raised))
    out.seek(0)
    return Outcome(
        error,
        out.read().splitlines(),
        "\n".join(log_lines.lines),
        {str(row["id"]): row for row in segment.rows(collection)},
        [call.body for call in segment.requests[asked:] if call.call == "finish"],
        [msgspec.convert(entry, DeadRecord) for entry in rejects_in(dead)] if dead.exists() else [],
    )


def verdict_of(outcome: Outcome) -> str:
    """Return the verdict on the tested lines, in a few words.

    `sent`: they created one more object; `passed`: they did not, and had no other effect; `reject
    CODE …`: they were rejected with these codes; `KIND @line`: an error ended the run, with the
    line that it names, if any.
    """
    error = outcome.error
    if error is not None and not isinstance(error, RejectedRecordError):
        kind = type(error).__name__.lstrip("_")
        return f"{kind} @{error.line}" if isinstance(error, MessageError) else kind
    if outcome.dead:
        faults = [fault["code"] for entry in outcome.dead for fault in entry.faults]
        return "reject " + " ".join(sorted(set(faults)))
    return "sent" if len(outcome.ids) > 2 else "passed"
