"""What a run did: its numbers, every warning once, and the report that comes of them.

The rule that it guards: nothing that happened to a value is silent, and nothing is told once a
record.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from target_segment_objects.errors import one_line
from target_segment_objects.plan import Notes
from target_segment_objects.summary import log_fields, rows, session_fields
from target_segment_objects.tally import Tally

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.plan import NoteCounts

__all__ = ["Report"]

_REMARKS: Final[Mapping[str, tuple[str, str]]] = {
    "coerced": (
        "were not of the type that the schema says, and were made so without loss",
        "mend the schema in the tap, or see `type_mismatches`",
    ),
    "dated": (
        "were dates with a blank or without an offset, and were sent with `T` and `Z`",
        "if they are not in UTC, let the tap write the offset",
    ),
    "undated": (
        "are no RFC 3339 dates, and were sent as the text that they are",
        "for a column of dates, mend them in the tap or with `stream_maps`",
    ),
    "long_string": (
        "have more than 512 characters, where most warehouses cut a string",
        "shorten them with `stream_maps`, or see to it that your warehouse takes them",
    ),
    "hashed_id": (
        "make ids of more than 100 characters, whose SHA-256 is the id",
        "choose shorter keys with `stream_maps`, or see `long_ids`",
    ),
    "dropped": (
        "have 32 KB or more, and were left out",
        "shorten them with `stream_maps`, or see `oversized_values`",
    ),
    "truncated": (
        "have 32 KB or more, and were cut",
        "shorten them with `stream_maps`, or see `oversized_values`",
    ),
    "nulled": (
        "were not finite numbers, and were sent as null",
        "mend them in the tap, or see `non_finite_numbers`",
    ),
}
"""Of each kind of note: what happened to values, and what to do about it."""
_PROPERTIES_TOLD: Final = 5
_MOST_WARNINGS: Final = 1_000
"""Names of properties without end make warnings without end."""


class Report:
    """Counts and warnings of one run.

    Args:
        logger: where warnings go as they happen, and the summary at the end.

    Attributes:
        tally: the numbers.
        warnings: what was warned of, in its order.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.tally = Tally()
        self.warnings: dict[str, None] = {}
        self._logger = logger
        self._rejected: Counter[str] = Counter()
        self._summarized = False
        self._notes: dict[str, Notes] = {}

    def warn(self, sentence: str) -> None:
        """Tell the user, unless the very same was told before."""
        sentence = one_line(sentence)
        if sentence not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            self.warnings[sentence] = None
            self._logger.warning("%s", sentence)

    def count(self, stream: str, collection: str, records: int = 1) -> None:
        """Records of a stream became objects of a collection."""
        self.tally.way(stream, collection).made += records

    def reject(self, error: RejectedRecordError) -> None:
        """A record became no object, or one that Segment refused."""
        self._rejected[error.stream] += 1
        self.tally.rejects += 1
        for fault in error.faults:
            told = ".".join(fault.path) or "the record"
            self.warn(f"stream {error.stream!r} has rejected records: {told}: {fault.message}")

    def remember(self, stream: str, collection: str, notes: NoteCounts) -> None:
        """Add what happened to a stream's values."""
        way = self.tally.way(stream, collection)
        totals = self._notes.setdefault(stream, Notes())
        for note, count in notes.items():
            totals[note] += count
            if note[0] == "coerced":
                way.coerced += count
            elif note[0] == "long_string":
                way.long_strings += count

    def summarize(self, *, in_lines: bool = True) -> None:
        """Log what became of values, and one line a collection. Again, it does nothing.

        Args:
            in_lines: whether to log collections too; not where the user sees a table of them.
        """
        if self._summarized:
            return
        self._summarized = True
        for stream, notes in self._notes.items():
            for code, (remark, advice) in _REMARKS.items():
                found = {name: count for (what, name), count in notes.items() if what == code}
                if found:
                    self._conclude(
                        f"Values {remark}: stream={one_line(stream)} values={sum(found.values())} "
                        f"properties={_listed(found)}; {advice}"
                    )
        for stream, count in self._rejected.items():
            self._conclude(
                f"Records rejected: stream={one_line(stream)} records={count}; mend them in the "
                "tap, or in `dead_letter_path` and send them with `segment-objects replay`"
            )
        if in_lines:
            for row in rows(self.tally):
                fields = log_fields(row)
                self._logger.info(
                    "Collection done: %s",
                    _pairs(fields),
                    extra={"stream_name": fields["streams"], **fields},
                )
            if sessions := session_fields(self.tally):
                self._logger.info("Bulk sessions done: %s", _pairs(sessions), extra=sessions)

    def _conclude(self, sentence: str) -> None:
        sentence = one_line(sentence)
        self.warnings[sentence] = None
        self._logger.warning("%s", sentence)


def _pairs(fields: Mapping[str, object]) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def _shown(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else one_line(str(value))


def _listed(found: Mapping[str, int]) -> str:
    names = sorted(found, key=lambda name: -found[name])
    more = len(names) - _PROPERTIES_TOLD
    return one_line(",".join(names[:_PROPERTIES_TOLD])) + (f" and {more} more" if more > 0 else "")
