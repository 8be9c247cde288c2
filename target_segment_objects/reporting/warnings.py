"""What a run did: its numbers, every warning once, and the report that comes of them.

The rule that it guards: nothing that happened to a value is silent, and nothing is told once a
record: a kind of thing is told once for each stream, and counted at the end.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from target_segment_objects.errors import one_line
from target_segment_objects.objects import API_LIMITS, ApiLimits
from target_segment_objects.plan import ConversionCounts, NullShare, property_name
from target_segment_objects.reporting.counts import RunCounts
from target_segment_objects.reporting.remarks import (
    CONVERSION_REMARKS,
    EXPRESSION_ADVICE,
    REJECT_ADVICE,
)
from target_segment_objects.reporting.summary import log_fields, session_fields, summaries

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Mapping

    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.plan import Conversions, EncodedRecord, StreamPlan
    from target_segment_objects.source import SourceRecord

__all__ = ["Report"]

_MEASURED_EACH: Final = 256
"""Of so many objects of a stream, one is looked at for its share of nulls."""
_PROPERTIES_TOLD: Final = 5
_REASONS_TOLD: Final = 5
_MOST_OF_A_KIND: Final = 1_000
"""Warnings of a kind, one a stream, that are told one by one; the rest is counted."""


class Report:
    """Counts and warnings of one run.

    Args:
        logger: where warnings go as they happen, and the summary at the end.
        limits: what the API takes.

    Attributes:
        counts: the numbers.
        warnings: what was warned of, in its order.
        has_dead_letter: whether rejects are kept in a file.
        tolerates_rejects: whether the run goes on after one; if not, it is the run's error.
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
        self._notes: dict[str, ConversionCounts] = {}
        self._nulls: dict[str, NullShare] = {}
        self._removed: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()
        self._summarized = False

    # While the run goes on.

    def warn(self, sentence: str, kind: str = "configuration") -> None:
        """Tell the user, unless the very same was told before.

        Args:
            sentence: what happened, where, and what to do.
            kind: what kind of thing it is. So many of one kind are told, and none of another is
                left out for them.
        """
        sentence = one_line(sentence)
        if sentence in self.warnings:
            return
        self._kinds[kind] += 1
        if self._kinds[kind] <= _MOST_OF_A_KIND:
            self.warnings[sentence] = None
            self._logger.warning("%s", sentence)

    def add_plan(self, plan: StreamPlan, expressions: Iterable[str] = ()) -> None:
        """A stream was planned.

        Args:
            plan: its plan.
            expressions: the properties that expressions of stream maps make.
        """
        self.counts.stream(plan.stream, plan.collection)
        for kind, sentence in plan.warnings:
            self.warn(sentence, kind)
        self.add_columns(plan.collection, plan.columns.by_name)
        names = {property_name((name,), plan.options.flattening) for name in expressions}
        self._expressions.setdefault(plan.stream, set()).update(names)

    def add_columns(self, collection: str, names: Iterable[str]) -> None:
        """A collection has these columns, by its schemas or by what records have shown."""
        known = self._columns.setdefault(collection, set())
        if len(known) > self._max_columns:
            return  # that was told, and there may be no end of them
        known.update(names)
        if len(known) > self._max_columns:
            self.warn(
                f"collection {collection!r} has more than {self._max_columns} columns, declared or "
                "shown by records, which is more than warehouses take well; drop some with "
                "`stream_maps`, or deselect them in the tap",
                "columns",
            )

    def count_objects(self, stream: str, collection: str, records: int = 1) -> bool:
        """Count records that became objects; return whether to `measure_nulls` of one of them."""
        counts = self.counts.stream(stream, collection)
        before, counts.encoded = counts.encoded, counts.encoded + records
        return not before or before // _MEASURED_EACH != counts.encoded // _MEASURED_EACH

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
        """A message of an unknown type is ignored: told once a type, and counted."""
        self._ignored[kind] += 1
        if self._ignored[kind] == 1:
            self.warn(sentence, "unknown message")

    def measure_nulls(self, stream: str, properties: bytes) -> None:
        """Look at one of many objects of a stream: how much of it is nulls."""
        self._nulls.setdefault(stream, NullShare()).add(properties)

    def add_reject(self, error: RejectedRecordError, _origin: SourceRecord) -> None:
        """A record became no object, or one that Segment refused."""
        self.counts.rejects += 1
        whose = f"collection={error.collection}" if error.collection else f"stream={error.stream}"
        codes = self._rejected.setdefault(one_line(whose), Counter())
        for fault in {fault.code: fault for fault in reversed(error.faults)}.values():
            codes[fault.code] += 1
            if codes[fault.code] == 1 and self.tolerates_rejects:
                self.warn(f"{error.whose} has rejected records: {fault}", f"reject: {fault.code}")
        codes[_RECORDS] += 1

    def add_conversions(self, stream: str, collection: str, notes: Conversions) -> None:
        """Add what happened to a stream's values."""
        counts = self.counts.stream(stream, collection)
        totals = self._notes.setdefault(stream, ConversionCounts())
        for note, count in notes.items():
            totals[note] += count
            if note[0] == "coerced":
                counts.coerced += count
            elif note[0] == "long_string":
                counts.long_strings += count

    # At the end.

    def log_summary(self, *, with_collections: bool = True, ending: str = "done") -> None:
        """Log what became of values, and one line a collection. Again, it does nothing.

        Args:
            with_collections: whether to log collections too; false where the user sees a table of
                them.
            ending: how the run has ended: `done`, `failed` or `stopped`.
        """
        if self._summarized:
            return
        self._summarized = True
        self._tell_values()
        if self.tolerates_rejects or self.counts.rejects > 1:
            for stream, codes in self._rejected.items():
                self._tell_rejects(stream, codes)
        for kind, count in self._kinds.items():
            if count > _MOST_OF_A_KIND:
                self._conclude(
                    f"Warnings left out: kind={kind} count={count - _MOST_OF_A_KIND}; they are "
                    "like those above, of other streams"
                )
        for stream, count in self._removed.items():
            self._logger.info(
                "Stream removed by `stream_maps`: stream=%s records=%d", one_line(stream), count
            )
        for kind, count in self._ignored.items():
            self._logger.info("Messages ignored: type=%s messages=%d", kind, count)
        if with_collections:
            self._tell_collections(ending)

    def _tell_values(self) -> None:
        for stream, notes in self._notes.items():
            self._tell_notes(stream, notes)
        for stream, share in self._nulls.items():
            if remark := share.warning(self.counts.encoded_of(stream)):
                self._conclude(f"Objects mostly of nulls: stream={one_line(stream)} {remark}")

    def _tell_notes(self, stream: str, notes: ConversionCounts) -> None:
        expressions = self._expressions.get(stream, set())
        for code, (remark, advice) in CONVERSION_REMARKS.items():
            found = {name: count for (kind, name), count in notes.items() if kind == code}
            if code == "coerced":
                own = {name: count for name, count in found.items() if name in expressions}
                if own:
                    self._tell_note(remark, stream, own, EXPRESSION_ADVICE)
                found = {name: count for name, count in found.items() if name not in own}
            if found:
                self._tell_note(remark, stream, found, advice)

    def _tell_note(self, remark: str, stream: str, found: Mapping[str, int], advice: str) -> None:
        self._conclude(
            f"{remark}: stream={one_line(stream)} values={sum(found.values())} "
            f"properties={_listed(found)}; {advice}"
        )

    def _tell_rejects(self, stream: str, codes: Counter[str]) -> None:
        reasons = [(code, count) for code, count in codes.most_common() if code != _RECORDS]
        listed = ",".join(f"{code}:{count}" for code, count in reasons[:_REASONS_TOLD])
        more = len(reasons) - _REASONS_TOLD
        listed += f" and {more} more" if more > 0 else ""
        advice = REJECT_ADVICE.get(reasons[0][0], REJECT_ADVICE[""])
        if self.has_dead_letter:
            advice += ", then send them with `segment-objects replay` from `dead_letter_path`"
        self._conclude(
            f"Records rejected: {stream} records={codes[_RECORDS]} reasons={listed}; {advice}"
        )

    def _tell_collections(self, ending: str) -> None:
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

    def _conclude(self, sentence: str) -> None:
        sentence = one_line(sentence)
        self.warnings[sentence] = None
        self._logger.warning("%s", sentence)


_RECORDS: Final = ""
"""Beside the codes of faults: the records that had any."""
_ENDINGS: Final = {
    "done": "done",
    "failed": "when the run failed",
    "stopped": "when the run was stopped",
}


def _pairs(fields: Mapping[str, object]) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def _shown(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else one_line(str(value))


def _listed(found: Mapping[str, int]) -> str:
    names = sorted(found, key=lambda name: -found[name])
    more = len(names) - _PROPERTIES_TOLD
    return one_line(",".join(names[:_PROPERTIES_TOLD])) + (f" and {more} more" if more > 0 else "")
