"""What a preview counts beside objects: records, conversions, rejects, and errors of a run.

Invariant: memory is bounded by the shape of the input, not by its length. Values of records are not
kept, unless examples were asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from target_segment_objects.commands.preview.examples import example_at
from target_segment_objects.errors import InputError, MissingSchemaError, one_line
from target_segment_objects.reporting import Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.commands.preview.delivery import PreviewDelivery
    from target_segment_objects.errors import RejectedRecordError, SegmentObjectsError
    from target_segment_objects.input import Message
    from target_segment_objects.plan import ConversionCode, EncodedRecord, StreamPlan
    from target_segment_objects.source import SourceRecord

__all__ = ["PreviewReport"]

_MAX_KINDS: Final = 1_000
"""Kinds of rejects and of errors that are listed; all of them are counted."""
_SILENT: Final = logging.getLogger(__name__)
"""Warnings are part of the preview and are not logged."""
_SILENT.setLevel(logging.CRITICAL + 1)

K = TypeVar("K")


@dataclass
class _TapStreamCounts:
    """The records of one stream of the tap."""

    records: int = 0
    rejected: int = 0
    filtered: int = 0
    not_checked: int = 0


@dataclass
class _Occurrences:
    """A conversion, a reject or an error of one kind: how many there are, and the first one."""

    count: int = 0
    line: int = 0
    path: tuple[str, ...] = ()
    message: str = ""
    example: str | None = None

    def document(self) -> dict[str, object]:
        """The members that conversions and rejects share."""
        example = {} if self.example is None else {"example": self.example}
        return {"path": self.path, "count": self.count, "line": self.line, **example}


class _Kinds(dict[K, _Occurrences]):
    """The occurrences of each kind of reject or error, up to a limit.

    Attributes:
        beyond_limit: how many there are of kinds beyond the limit.
    """

    beyond_limit = 0

    def count(self, kind: K, line: int) -> _Occurrences | None:
        """Count one, and return its kind; `None` when there are too many kinds."""
        if kind not in self and len(self) >= _MAX_KINDS:
            self.beyond_limit += 1
            return None
        occurrences = self.setdefault(kind, _Occurrences(line=line))
        occurrences.count += 1
        return occurrences


class PreviewReport(Report):
    """Hears what the target does, and takes the errors that would end a run.

    Args:
        delivery: is told which plans there are.
        with_examples: whether to keep an example value of each kind of conversion and reject.
    """

    def __init__(self, delivery: PreviewDelivery, *, with_examples: bool) -> None:
        super().__init__(_SILENT)
        self._delivery = delivery
        self._with_examples = with_examples
        self._latest: SourceRecord | None = None
        self._streams: dict[str, _TapStreamCounts] = {}
        self._conversions: dict[str, dict[tuple[str, ConversionCode, str], _Occurrences]] = {}
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
        self._delivery.declare(plan)

    def encoded(self, plan: StreamPlan, encoded: EncodedRecord, record: SourceRecord) -> None:
        """A record became an object, which is delivered next."""
        super().encoded(plan, encoded, record)
        if encoded.new_columns:
            self._delivery.add_paths(plan.collection, encoded.new_columns)
        if record is not self._latest:  # stream maps may make several objects of one record
            self._latest = record
            self._stream(record.source.stream).records += 1
        if not encoded.conversions:
            return
        conversions = self._conversions.setdefault(plan.collection, {})
        for (code, name), count in encoded.conversions.items():
            occurrences = conversions.setdefault((plan.stream, code, name), _Occurrences())
            if not occurrences.count:
                occurrences.path = encoded.conversions.paths[code, name]
                occurrences.line = record.line
                occurrences.example = self._example(record, occurrences.path)
            occurrences.count += count

    def filter(self, record: SourceRecord, *, is_removed: bool) -> None:
        """Stream maps leave nothing of a record."""
        del is_removed
        counts = self._stream(record.source.stream)
        counts.records += 1
        counts.filtered += 1

    def add_reject(self, error: RejectedRecordError, record: SourceRecord) -> None:
        """A record cannot become an object."""
        stream = record.source.stream
        counts = self._stream(stream)
        counts.records += 1
        counts.rejected += 1
        for fault in error.faults:
            reject = self._rejects.count((stream, fault.code, fault.path), record.line)
            if reject is not None and reject.count == 1:
                reject.path, reject.message = fault.path, fault.message
                reject.example = self._example(record, fault.path)

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
                    self._stream(stream).records += 1
                    self._stream(stream).not_checked += 1
                return
        self.count_error(error, line)

    def count_error(self, error: SegmentObjectsError, line: int) -> None:
        """Count an error; those that differ in their position alone are one kind."""
        sentence = error.sentence if isinstance(error, InputError) else str(error)
        self._errors.count(one_line(sentence), line)

    def document(self, *, is_stopped: bool, is_complete: bool, max_rejects: int) -> dict[str, Any]:
        """The preview as a JSON object, described in `docs/preview.md`.

        Args:
            is_stopped: whether a signal ended the reading.
            is_complete: whether the input was read to its end.
            max_rejects: how many rejects a run tolerates, -1 for any number.
        """
        streams = self._streams.values()
        collections = self._delivery.documents()
        for name, collection in collections.items():
            collection["conversions"] = [
                {"stream": stream, "code": code, "property": name, **occurrences.document()}
                for (stream, code, name), occurrences in self._conversions.get(name, {}).items()
            ]
        return {
            "would_fail": self.would_fail,
            "complete": is_complete,
            "stopped": is_stopped,
            "records": sum(counts.records for counts in streams),
            "objects": sum(collection["objects"] for collection in collections.values()),
            "rejected": sum(counts.rejected for counts in streams),
            "max_rejects": max_rejects,
            "filtered": sum(counts.filtered for counts in streams),
            "not_checked": sum(counts.not_checked for counts in streams),
            "streams": [
                {"stream": stream, **vars(counts)} for stream, counts in self._streams.items()
            ],
            "collections": list(collections.values()),
            "rejects": [
                {"stream": stream, "code": code, "message": reject.message, **reject.document()}
                for (stream, code, _), reject in self._rejects.items()
            ],
            "rejects_beyond_limit": self._rejects.beyond_limit,
            "errors": [
                {"message": sentence, "count": error.count, "line": error.line}
                for sentence, error in self._errors.items()
            ],
            "errors_beyond_limit": self._errors.beyond_limit,
            "warnings": list(self.warnings),
        }

    def _stream(self, stream: str) -> _TapStreamCounts:
        return self._streams.setdefault(stream, _TapStreamCounts())

    def _example(self, record: SourceRecord, path: tuple[str, ...]) -> str | None:
        return example_at(record.raw, path) if self._with_examples and path else None
