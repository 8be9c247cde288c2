"""What a preview counts: objects, records, conversions, rejects, and errors of a run.

Invariant: memory is bounded by the shape of the input, not by its length. Values of records are not
kept, unless examples were asked for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from target_segment_objects.commands.preview.collection import PreviewCollection
from target_segment_objects.commands.preview.examples import encodable, example_at
from target_segment_objects.errors import InputError, MissingSchemaError, one_line
from target_segment_objects.reporting import Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.errors import RejectedRecordError, SegmentObjectsError
    from target_segment_objects.input import Message
    from target_segment_objects.plan import EncodedRecord, StreamPlan
    from target_segment_objects.source import SourceRecord

__all__ = ["PreviewReport"]

_MAX_KINDS: Final = 1_000
"""Kinds of rejects and of errors that are listed; all of them are counted."""
_RESULTS: Final = ("records", "rejected", "filtered", "not_checked")
"""What is counted of each stream of the tap; every record counts as the first."""
_SILENT: Final = logging.getLogger(__name__)
"""Warnings are part of the preview and are not logged."""
_SILENT.setLevel(logging.CRITICAL + 1)

K = TypeVar("K")


class _Kinds(dict[K, dict[str, Any]]):
    """A row of the JSON document for each kind of reject or error, up to a limit.

    Attributes:
        beyond_limit: how many there are of kinds beyond the limit.
    """

    beyond_limit = 0

    def count(self, kind: K, row: dict[str, Any]) -> None:
        """Count one; `row` is that of a new kind."""
        if kind in self or len(self) < _MAX_KINDS:
            self.setdefault(kind, row)["count"] += 1
        else:
            self.beyond_limit += 1


class PreviewReport(Report):
    """Counts what the target does, and takes the errors that would end a run.

    Args:
        with_examples: whether to keep an example value of each column, conversion and reject.
    """

    def __init__(self, *, with_examples: bool) -> None:
        super().__init__(_SILENT)
        self._with_examples = with_examples
        self._latest: SourceRecord | None = None
        self._streams: dict[str, dict[str, int]] = {}
        self._collections: dict[str, PreviewCollection] = {}
        self._rejects = _Kinds[tuple[str, str, tuple[str, ...]]]()
        self._errors = _Kinds[str]()
        self._invalid_streams: set[str] = set()

    @property
    def would_fail(self) -> bool:
        """Whether a run would reject a record or end with an error."""
        return bool(self._rejects or self._errors)

    def add_plan(self, plan: StreamPlan, expressions: Iterable[str] = ()) -> None:
        """A stream was planned."""
        super().add_plan(plan, expressions)
        collection = PreviewCollection(self._with_examples)
        self._collections.setdefault(plan.collection, collection).add_plan(plan)

    def encoded(self, plan: StreamPlan, encoded: EncodedRecord, record: SourceRecord) -> None:
        """A record became an object."""
        super().encoded(plan, encoded, record)
        collection = self._collections[plan.collection]
        collection.add_object(encoded, record.line)
        if record is not self._latest:  # stream maps may make several objects of one record
            self._latest = record
            self._count(record.source.stream)
        for (code, name), count in encoded.conversions.items():
            kind = (plan.stream, code, name)
            if kind not in collection.conversions:
                row = {"stream": plan.stream, "code": code, "property": name}
                row |= self._first(record, encoded.conversions.paths[code, name])
                collection.conversions[kind] = row
            collection.conversions[kind]["count"] += count

    def filter(self, record: SourceRecord, *, is_removed: bool) -> None:
        """Stream maps leave nothing of a record."""
        del is_removed
        self._count(record.source.stream, "filtered")

    def add_reject(self, error: RejectedRecordError, record: SourceRecord) -> None:
        """A record cannot become an object."""
        stream = record.source.stream
        self._count(stream, "rejected")
        for fault in error.faults:
            row = {"stream": stream, "code": fault.code, "message": fault.message}
            row |= self._first(record, fault.path)
            self._rejects.count((stream, fault.code, fault.path), row)

    def on_line_error(self, error: SegmentObjectsError, message: Message | None, line: int) -> None:
        """Count an error that would end a run.

        Messages of a stream whose SCHEMA is wrong are not errors of their own.
        """
        if message is not None and isinstance(message.stream, str):
            stream = message.stream
            if message.type == "SCHEMA":
                self._invalid_streams.add(stream)
            elif isinstance(error, MissingSchemaError) and stream in self._invalid_streams:
                if message.type == "RECORD":
                    self._count(stream, "not_checked")
                return
        self.count_error(error, line)

    def count_error(self, error: SegmentObjectsError, line: int) -> None:
        """Count an error; those that differ in their position alone are one kind."""
        sentence = one_line(error.sentence if isinstance(error, InputError) else str(error))
        self._errors.count(sentence, {"message": sentence, "count": 0, "line": line})

    def document(self, *, is_stopped: bool, is_complete: bool, max_rejects: int) -> dict[str, Any]:
        """The preview as a JSON object, described in `docs/preview.md`.

        Args:
            is_stopped: whether a signal ended the reading.
            is_complete: whether the input was read to its end.
            max_rejects: how many rejects a run tolerates, -1 for any number.
        """
        collections = [counts.document(name) for name, counts in self._collections.items()]
        streams = self._streams.values()
        document = {
            "would_fail": self.would_fail,
            "complete": is_complete,
            "stopped": is_stopped,
            **{result: sum(counts[result] for counts in streams) for result in _RESULTS},
            "objects": sum(collection["objects"] for collection in collections),
            "max_rejects": max_rejects,
            "streams": [{"stream": stream, **counts} for stream, counts in self._streams.items()],
            "collections": collections,
            "rejects": list(self._rejects.values()),
            "rejects_beyond_limit": self._rejects.beyond_limit,
            "errors": list(self._errors.values()),
            "errors_beyond_limit": self._errors.beyond_limit,
            "warnings": list(self.warnings),
        }
        return encodable(msgspec.to_builtins(document))  # type: ignore[no-any-return]

    def _count(self, stream: str, *results: str) -> None:
        counts = self._streams.setdefault(stream, dict.fromkeys(_RESULTS, 0))
        for result in ("records", *results):
            counts[result] += 1

    def _first(self, record: SourceRecord, path: tuple[str, ...]) -> dict[str, Any]:
        """The fields of a new row: where it occurred first, and how often, which is counted."""
        row: dict[str, Any] = {"path": path, "count": 0, "line": record.line}
        example = example_at(record.raw, path) if self._with_examples and path else None
        return row if example is None else {**row, "example": example}
