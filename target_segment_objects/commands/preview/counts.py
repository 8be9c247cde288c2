"""What a preview has seen: collections with their columns, notes, rejects, errors, all counted.

The rule that it guards: memory is bounded by the shape of the input and not by its length, and
nothing of a record is kept but paths, unless values were asked for.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.errors import RejectedRecordError, one_line
from target_segment_objects.plan import (
    UNDECLARED,
    ConversionCode,
    ConversionCounts,
    NonFinite,
    json_text,
    normalize_datetime,
    parse_record,
    without_non_finite,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.objects import SegmentObject
    from target_segment_objects.plan import Conversions, PlannedColumn, StreamPlan
    from target_segment_objects.source import Origin

    Path = tuple[str, ...]

__all__ = ["PreviewCounts"]

_MOST_COLUMNS: Final = 2_000
"""Undeclared columns of a collection that are told apart: a map may have keys without end."""
_MOST_ROWS: Final = 1_000
"""Kinds of rejects, errors and warnings that are told apart, each; all of them are counted."""
_VALUE_SHOWN: Final = 60

_TYPE_OF: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    Raw: "number",
    str: "string",
}
_TYPE_OF_KIND: Final[Mapping[str, str]] = {
    "string": "string",
    "date": "timestamp",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "json": "string",
}
"""What a column becomes that has had no value yet, where the schema alone decides it."""

_PLACE: Final = re.compile(r"^line \d+: |,? at (line|column) \d+")


@dataclass
class _Column:
    """A column of a collection, as a warehouse would make it."""

    name: str
    path: Path
    kind: str | None = None
    type: str | None = None
    values: int = 0
    nulls: int = 0
    unfit: int = 0
    unfit_line: int = 0
    value: str | None = None

    def document(self) -> dict[str, object]:
        """As the JSON has it."""
        told: dict[str, object] = {
            "name": self.name,
            "path": _plain(self.path),
            "schema": self.kind,
            "type": self.type or _TYPE_OF_KIND.get(self.kind or ""),
            "renamed": bool(self.path) and "_".join(self.path) != self.name,
            "flattened": len(self.path) > 1,
            "json_text": self.kind == "json",
            "values": self.values,
            "nulls": self.nulls,
            "unfit": self.unfit,
        }
        if self.unfit:
            told["unfit_line"] = self.unfit_line
        if self.value is not None:
            told["value"] = self.value
        return told


@dataclass
class _Note:
    """Something that happened to values, without a reject."""

    count: int = 0
    path: Path = ()
    line: int = 0
    value: str | None = None


@dataclass
class _Collection:
    """What goes to one collection."""

    plans: dict[str, StreamPlan] = field(default_factory=dict)
    objects: int = 0
    columns: dict[str, _Column] = field(default_factory=dict)
    undeclared: int = 0
    lumped: int = 0
    notes: dict[tuple[str, str, str], _Note] = field(default_factory=dict)


@dataclass
class _Stream:
    """What the tap sent of one stream."""

    records: int = 0
    rejected: int = 0
    filtered: int = 0
    passed_over: int = 0


@dataclass
class _Row:
    """A reject or an error of one kind, wherever it came."""

    count: int = 0
    line: int = 0
    message: str = ""
    value: str | None = None


class PreviewCounts:
    """Counts what a run would send, and why it would not.

    Args:
        values: keep an example value, as JSON of at most 60 characters, for each column, note and
            reject.

    Attributes:
        stopped: whether a signal has ended the reading.
        cut: whether the reading ended at an error that nothing can be read behind.
        outcomes: how many objects and rejects there were.
        max_rejects: how many rejects a run tolerates, -1 for any number.
    """

    def __init__(self, *, values: bool) -> None:
        self.stopped = False
        self.cut = False
        self.outcomes = 0
        self.max_rejects = 0
        self._shows_values = values
        self._streams: dict[str, _Stream] = {}
        self._collections: dict[str, _Collection] = {}
        self._rejects: dict[tuple[str, str, Path], _Row] = {}
        self._errors: dict[str, _Row] = {}
        self._warnings: dict[str, None] = {}
        self._lumped: Counter[str] = Counter()

    @property
    def fails(self) -> bool:
        """Whether a run would lack a record, or end."""
        return bool(self._rejects or self._errors)

    # What the run tells.

    def plan(self, plan: StreamPlan) -> None:
        """A stream was planned."""
        collection = self._collections.setdefault(plan.collection, _Collection())
        collection.plans[plan.stream] = plan
        for planned in plan.columns:
            column = collection.columns.get(planned.name)
            if column is None or column.kind is None:
                collection.columns[planned.name] = _declared(planned, column)

    def read(self, stream: str, *, filtered: bool) -> None:
        """A record was read; whether stream maps left nothing of it."""
        counted = self._stream(stream)
        counted.records += 1
        counted.filtered += filtered

    def pass_over(self, stream: str) -> None:
        """A record could not be looked at, for its stream's SCHEMA is wrong."""
        counted = self._stream(stream)
        counted.records += 1
        counted.passed_over += 1

    def send(self, made: SegmentObject, origin: Origin) -> None:
        """A record has become an object."""
        self.outcomes += 1
        collection = self._collections[made.collection]
        collection.objects += 1
        columns = collection.columns
        for name, value in parse_record(made.properties).items():
            column = columns.get(name) or self._new_column(collection, name)
            if column is None:
                collection.lumped += 1
            elif value is None:
                column.nulls += 1
            else:
                column.values += 1
                self._type(column, value, origin.line)

    def reject(self, error: RejectedRecordError, origin: Origin) -> None:
        """A record cannot become an object."""
        self.outcomes += 1
        stream = origin.source.stream
        self._stream(stream).rejected += 1
        for fault in error.faults:
            row = self._row(self._rejects, (stream, fault.code, fault.path), "rejects")
            if row is None:
                continue
            row.count += 1
            if row.count == 1:
                row.line = origin.line
                row.message = fault.message
                row.value = self._example(origin.raw, fault.path)

    def note(self, plan: StreamPlan, notes: Conversions, origin: Origin) -> None:
        """Something happened to the values of a record that became an object of a plan."""
        of_collection = self._collections[plan.collection].notes
        for (code, name), count in notes.items():
            note = of_collection.setdefault((plan.stream, code, name), _Note())
            note.count += count
            if not note.line:
                note.path = _note_path(plan, notes, code, name)
                note.line = origin.line
                note.value = self._example(origin.raw, note.path)

    def warn(self, sentence: str) -> None:
        """Something that the user should hear of, once."""
        if len(self._warnings) < _MOST_ROWS:
            self._warnings.setdefault(one_line(sentence))

    def fail(self, error: Exception, line: int) -> None:
        """A run would end here."""
        sentence = one_line(_PLACE.sub("", str(error)))
        row = self._row(self._errors, sentence, "errors")
        if row is not None:
            row.count += 1
            row.line = row.line or line

    # What is told in the end.

    def document(self) -> dict[str, Any]:
        """All of it as a JSON object, whose shape is in `docs/preview.md`."""
        streams = self._streams.values()
        return {
            "fails": self.fails,
            "complete": not (self.stopped or self.cut),
            "stopped": self.stopped,
            "records": sum(each.records for each in streams),
            "objects": sum(each.objects for each in self._collections.values()),
            "rejected": sum(each.rejected for each in streams),
            "max_rejects": self.max_rejects,
            "filtered": sum(each.filtered for each in streams),
            "passed_over": sum(each.passed_over for each in streams),
            "streams": [
                {
                    "stream": _plain_text(stream),
                    "records": each.records,
                    "rejected": each.rejected,
                    "filtered": each.filtered,
                    "passed_over": each.passed_over,
                }
                for stream, each in self._streams.items()
            ],
            "collections": [
                _collection_document(name, each) for name, each in self._collections.items()
            ],
            "rejects": [
                {
                    "stream": _plain_text(stream),
                    "code": code,
                    "path": _plain(path),
                    "message": row.message,
                    "count": row.count,
                    "line": row.line,
                    **({} if row.value is None else {"value": row.value}),
                }
                for (stream, code, path), row in self._rejects.items()
            ],
            "more_rejects": self._lumped["rejects"],
            "errors": [
                {"message": sentence, "count": row.count, "line": row.line}
                for sentence, row in self._errors.items()
            ],
            "more_errors": self._lumped["errors"],
            "warnings": list(self._warnings),
        }

    def _stream(self, stream: str) -> _Stream:
        found = self._streams.get(stream)
        if found is None:
            found = self._streams[stream] = _Stream()
        return found

    def _row(self, rows: dict[Any, _Row], key: object, what: str) -> _Row | None:
        """The row of this kind; `None` when there are too many, and then it is counted."""
        row = rows.get(key)
        if row is None:
            if len(rows) >= _MOST_ROWS:
                self._lumped[what] += 1
                return None
            row = rows[key] = _Row()
        return row

    def _new_column(self, collection: _Collection, name: str) -> _Column | None:
        """A column that no schema lists; `None` when there are too many."""
        if collection.undeclared >= _MOST_COLUMNS:
            return None
        collection.undeclared += 1
        paths = (plan.path_of(name) for plan in collection.plans.values())
        column = _Column(name, next(filter(None, paths), ()))
        collection.columns[name] = column
        return column

    def _type(self, column: _Column, value: Any, line: int) -> None:
        """The first value gives a column its type; a later one may not fit it."""
        kind = _TYPE_OF[type(value)]
        if column.type is None:
            if kind == "string" and normalize_datetime(value) == (value, True):
                kind = "timestamp"
            column.type = kind
            if self._shows_values:
                column.value = _shown(value)
        elif kind != column.type and not _fits(column.type, kind, value):
            column.unfit_line = column.unfit_line or line
            column.unfit += 1

    def _example(self, raw: bytes, path: Path) -> str | None:
        """The value at a path of a record, when values are asked for and it is there."""
        if not (self._shows_values and path):
            return None
        try:
            found: Any = parse_record(raw)
        except RejectedRecordError:
            return None
        for part in path:
            if isinstance(found, dict) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return _shown(found)


def _declared(planned: PlannedColumn, known: _Column | None) -> _Column:
    column = known or _Column(planned.name, planned.path)
    column.path = planned.path
    column.kind = planned.column.kind
    return column


def _fits(column: str, kind: str, value: Any) -> bool:
    """Whether a column takes a value of another kind whole."""
    if column == "timestamp":
        return kind == "string" and normalize_datetime(value) == (value, True)
    return column == "string" or (column == "number" and kind == "integer")


def _note_path(plan: StreamPlan, notes: Conversions, code: ConversionCode, name: str) -> Path:
    if code == "hashed_id":
        return plan.key_properties[:1] if len(plan.key_properties) == 1 else ()
    if name == UNDECLARED and isinstance(notes, ConversionCounts):
        return notes.undeclared.get(code, ())
    return plan.path_of(name)


def _collection_document(name: str, each: _Collection) -> dict[str, Any]:
    return {
        "collection": name,
        "streams": [
            {
                "stream": _plain_text(plan.stream),
                "id": "keys" if plan.key_properties else "hash of the record",
                "keys": _plain(plan.key_properties),
                "left_out": None if plan.omitted_key is None else _plain_text(plan.omitted_key),
            }
            for plan in each.plans.values()
        ],
        "objects": each.objects,
        "columns": [column.document() for column in each.columns.values()],
        "more_values": each.lumped,
        "notes": [
            {
                "stream": _plain_text(stream),
                "code": code,
                "property": _plain_text(prop),
                "path": _plain(note.path),
                "count": note.count,
                "line": note.line,
                **({} if note.value is None else {"value": note.value}),
            }
            for (stream, code, prop), note in each.notes.items()
        ],
    }


def _shown(value: Any) -> str:
    """A value as JSON that stays on its line, and is cut."""
    if isinstance(value, NonFinite):
        return str(value.token)
    finite = without_non_finite(value, (), [])
    try:
        told = json_text(finite)
    except UnicodeEncodeError:
        told = ascii(finite)
    return told if len(told) <= _VALUE_SHOWN else f"{told[: _VALUE_SHOWN - 1]}…"


def _plain(path: Sequence[str]) -> list[str]:
    return [_plain_text(part) for part in path]


def _plain_text(text: str) -> str:
    """A name that can be written: a lone surrogate in it is shown as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
