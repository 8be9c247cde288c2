"""The warnings of a run, and the summary at its end.

Invariant: every change to a value is reported, but never once per record: the first of its kind in
a stream is a warning, and the summary has the counts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from target_segment_objects.errors import one_line
from target_segment_objects.objects import API_LIMITS, ApiLimits
from target_segment_objects.plan import ConversionCode, NullShare, property_name
from target_segment_objects.reporting.counts import RunCounts
from target_segment_objects.reporting.remarks import (
    CONVERSION_REMARKS,
    EXPRESSION_ADVICE,
    REJECT_ADVICE,
)
from target_segment_objects.reporting.summary import log_fields, session_fields, summaries

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Mapping, Sequence

    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.plan import Conversions, EncodedRecord, StreamPlan
    from target_segment_objects.source import SourceRecord

__all__ = ["Report"]

_MEASURED_INTERVAL: Final = 256
"""One of so many objects of a stream is measured for its share of nulls."""
_MAX_LISTED: Final = 5
"""Properties or reasons that a sentence lists."""
_MAX_OF_A_KIND: Final = 1_000
"""Warnings of a kind, one a stream, that are logged; the others are counted."""


class Report:
    """Counts and warnings of one run.

    Args:
        logger: where warnings go as they happen, and the summary at the end.
        limits: what the API takes.

    Attributes:
        counts: the numbers.
        warnings: the sentences that were logged, in their order.
        has_dead_letter: whether rejects are kept in a file.
        tolerates_rejects: whether the run goes on after a reject; if not, it is the run's error.
    """

    def __init__(self, logger: logging.Logger, limits: ApiLimits = API_LIMITS) -> None:
        self.counts = RunCounts()
        self.warnings: dict[str, None] = {}
        self.has_dead_letter = False
        self.tolerates_rejects = True
        self._logger = logger
        self._max_columns = limits.properties
        self._kinds: Counter[str] = Counter()
        self._columns: dict[str, set[str]] = {}
        self._expressions: dict[str, set[str]] = {}
        self._rejected: dict[str, Counter[str]] = {}
        self._conversion_totals: dict[str, Counter[tuple[ConversionCode, str]]] = {}
        self._nulls: dict[str, NullShare] = {}
        self._removed: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()
        self._summarized = False

    # While the run goes on.

    def warn(self, sentence: str, kind: str = "configuration") -> None:
        """Log a warning, unless the same one was logged before.

        Args:
            sentence: what happened, where, and what to do.
            kind: the kind of warning; the number of warnings of each kind is limited.
        """
        sentence = one_line(sentence)
        if sentence in self.warnings:
            return
        self._kinds[kind] += 1
        if self._kinds[kind] <= _MAX_OF_A_KIND:
            self._log_warning(sentence)

    def add_plan(self, plan: StreamPlan, expressions: Iterable[str] = ()) -> None:
        """A stream was planned.

        Args:
            plan: its plan.
            expressions: the properties that are made by expressions of stream maps.
        """
        self.counts.stream(plan.stream, plan.collection)
        for kind, sentence in plan.warnings:
            self.warn(sentence, kind)
        self.add_columns(plan.collection, plan.columns.by_name)
        names = {property_name((name,), plan.options.flattening) for name in expressions}
        self._expressions.setdefault(plan.stream, set()).update(names)

    def add_columns(self, collection: str, names: Iterable[str]) -> None:
        """A collection has these columns, declared or found in records."""
        known = self._columns.setdefault(collection, set())
        if len(known) > self._max_columns:
            return  # the warning was logged, and memory is bounded
        known.update(names)
        if len(known) > self._max_columns:
            self.warn(
                f"collection {collection!r} has more than {self._max_columns} columns, declared or "
                "found in records, which is more than many warehouses handle well; remove some "
                "with `stream_maps`, or deselect them in the tap",
                "columns",
            )

    def count_objects(self, stream: str, collection: str, records: int = 1) -> bool:
        """Count records that became objects; return whether to `measure_nulls` of one of them."""
        counts = self.counts.stream(stream, collection)
        before, counts.encoded = counts.encoded, counts.encoded + records
        return not before or before // _MEASURED_INTERVAL != counts.encoded // _MEASURED_INTERVAL

    def encoded(self, plan: StreamPlan, encoded: EncodedRecord, _origin: SourceRecord) -> None:
        """A record became an object of this plan, on the general path."""
        if self.count_objects(plan.stream, plan.collection):
            self.measure_nulls(plan.stream, encoded.object.properties)
        if encoded.new_columns:
            self.add_columns(plan.collection, encoded.new_columns)
        if encoded.conversions:
            self.add_conversions(plan.stream, plan.collection, encoded.conversions)

    def filter(self, record: SourceRecord, *, is_removed: bool) -> None:
        """Stream maps leave nothing of a record, or have removed the whole stream."""
        if is_removed:
            self._removed[record.source.stream] += 1

    def count_ignored(self, kind: str, sentence: str) -> None:
        """Count an ignored message of an unknown type; warn of the first of its type."""
        self._ignored[kind] += 1
        if self._ignored[kind] == 1:
            self.warn(sentence, "unknown message")

    def measure_nulls(self, stream: str, properties: bytes) -> None:
        """Measure how much of an object is nulls."""
        self._nulls.setdefault(stream, NullShare()).add(properties)

    def add_reject(self, error: RejectedRecordError, _origin: SourceRecord) -> None:
        """A record could not become an object, or Segment refused its object."""
        self.counts.rejects += 1
        source = f"collection={error.collection}" if error.collection else f"stream={error.stream}"
        codes = self._rejected.setdefault(one_line(source), Counter())
        for fault in {fault.code: fault for fault in reversed(error.faults)}.values():
            codes[fault.code] += 1
            if codes[fault.code] == 1 and self.tolerates_rejects:
                self.warn(f"{error.whose} has rejected records: {fault}", f"reject: {fault.code}")
        codes[_RECORDS] += 1

    def add_conversions(self, stream: str, collection: str, conversions: Conversions) -> None:
        """Add conversions of a stream's values."""
        counts = self.counts.stream(stream, collection)
        totals = self._conversion_totals.setdefault(stream, Counter())
        for (code, name), count in conversions.items():
            totals[code, name] += count
            if code is ConversionCode.COERCED:
                counts.coerced += count
            elif code is ConversionCode.LONG_STRING:
                counts.long_strings += count

    # At the end.

    def log_summary(self, *, with_collections: bool = True, ending: str = "done") -> None:
        """Log the conversions and rejects, and one line a collection. Again, it does nothing.

        Args:
            with_collections: whether to log collections too; false where the user sees a table of
                them.
            ending: how the run has ended: `done`, `failed` or `stopped`.
        """
        if self._summarized:
            return
        self._summarized = True
        self._warn_of_values()
        if self.tolerates_rejects or self.counts.rejects > 1:
            for source, codes in self._rejected.items():
                self._warn_of_rejects(source, codes)
        for kind, count in self._kinds.items():
            if count > _MAX_OF_A_KIND:
                self._log_warning(
                    f"Warnings omitted: kind={kind} count={count - _MAX_OF_A_KIND}; they are "
                    "like those above, for other streams"
                )
        for stream, count in self._removed.items():
            self._logger.info(
                "Stream removed by `stream_maps`: stream=%s records=%d", one_line(stream), count
            )
        for kind, count in self._ignored.items():
            self._logger.info("Messages ignored: type=%s messages=%d", kind, count)
        if with_collections:
            self._log_collections(ending)

    def _warn_of_values(self) -> None:
        for stream, conversions in self._conversion_totals.items():
            self._warn_of_conversions(stream, conversions)
        for stream, share in self._nulls.items():
            if warning := share.warning(self.counts.encoded_of(stream)):
                self._log_warning(
                    f"Objects that are mostly nulls: stream={one_line(stream)} {warning}"
                )

    def _warn_of_conversions(
        self, stream: str, conversions: Counter[tuple[ConversionCode, str]]
    ) -> None:
        expressions = self._expressions.get(stream, set())
        for code, (remark, advice) in CONVERSION_REMARKS.items():
            by_advice: dict[str, Counter[str]] = {EXPRESSION_ADVICE: Counter(), advice: Counter()}
            for (kind, name), count in conversions.items():
                if kind is code:
                    is_expression = code is ConversionCode.COERCED and name in expressions
                    by_advice[EXPRESSION_ADVICE if is_expression else advice][name] = count
            for sentence, values in by_advice.items():
                if values:
                    names = one_line(_listed([name for name, _ in values.most_common()]))
                    self._log_warning(
                        f"{remark}: stream={one_line(stream)} values={sum(values.values())} "
                        f"properties={names}; {sentence}"
                    )

    def _warn_of_rejects(self, source: str, codes: Counter[str]) -> None:
        records = codes.pop(_RECORDS)
        reasons = codes.most_common()
        advice = REJECT_ADVICE.get(reasons[0][0], REJECT_ADVICE[""])
        if self.has_dead_letter:
            advice += ", then send them with `segment-objects replay` from `dead_letter_path`"
        listed = _listed([f"{code}:{count}" for code, count in reasons])
        self._log_warning(
            f"Records rejected: {source} records={records} reasons={listed}; {advice}"
        )

    def _log_collections(self, ending: str) -> None:
        how = _ENDINGS[ending]
        for summary in summaries(self.counts):
            fields = log_fields(summary)
            self._logger.info(
                "Collection %s: %s",
                how,
                _pairs(fields),
                extra={"stream_name": fields["streams"], **fields},
            )
        if sessions := session_fields(self.counts):
            self._logger.info("Bulk sessions %s: %s", how, _pairs(sessions), extra=sessions)

    def _log_warning(self, sentence: str) -> None:
        sentence = one_line(sentence)
        self.warnings[sentence] = None
        self._logger.warning("%s", sentence)


_RECORDS: Final = ""
"""The key of the number of records, beside the codes of their faults."""
_ENDINGS: Final = {
    "done": "done",
    "failed": "when the run failed",
    "stopped": "when the run was stopped",
}


def _pairs(fields: Mapping[str, object]) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def _shown(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else one_line(str(value))


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MAX_LISTED
    return ",".join(texts[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
