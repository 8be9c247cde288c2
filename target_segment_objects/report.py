"""What a run did: counts by stream, and every warning once.

The rule that it guards: nothing that happened to a value is silent, and nothing is told once a
record.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from target_segment_objects.errors import one_line
from target_segment_objects.plan import Notes

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from target_segment_objects.errors import RejectedRecordError

__all__ = ["Report"]

_REMARKS: Final[Mapping[str, str]] = {
    "coerced": "were not of the type that the schema says, and were made so without loss "
    "(see `type_mismatches`)",
    "dated": "were dates with a blank or without an offset, and were sent with `T` and `Z`",
    "undated": "are no RFC 3339 dates, and were sent as the text that they are",
    "long_string": "have more than 512 characters, where most warehouses cut a string",
    "hashed_id": "make ids of more than 100 characters, whose SHA-256 is the id (see `long_ids`)",
    "dropped": "have 32 KB or more, and were left out (see `oversized_values`)",
    "truncated": "have 32 KB or more, and were cut (see `oversized_values`)",
    "nulled": "were not finite numbers, and were sent as null (see `non_finite_numbers`)",
}
_PROPERTIES_TOLD: Final = 5
_MOST_WARNINGS: Final = 1_000
"""Names of properties without end make warnings without end."""


class Report:
    """Counts and warnings of one run.

    Args:
        logger: where warnings go as they happen, and the summary at the end.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._records: Counter[tuple[str, str]] = Counter()
        self._rejected: Counter[str] = Counter()
        self._summarized = False
        self._refused = False
        self._notes: dict[str, Notes] = {}
        self._warned: set[str] = set()

    def warn(self, sentence: str) -> None:
        """Tell the user, unless the very same was told before."""
        sentence = one_line(sentence)
        if sentence not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(sentence)
            self._logger.warning("%s", sentence)

    def count(self, stream: str, collection: str, records: int = 1) -> None:
        """Records of a stream became objects of a collection."""
        self._records[stream, collection] += records

    def reject(self, error: RejectedRecordError) -> None:
        """A record became no object, or one that Segment refused."""
        self._refused = self._refused or any(fault.code == "refused" for fault in error.faults)
        self._rejected[error.stream] += 1
        for fault in error.faults:
            told = ".".join(fault.path) or "the record"
            self.warn(f"stream {error.stream!r} has rejected records: {told}: {fault.message}")

    def remember(self, stream: str, notes: Notes) -> None:
        """Add what a plan noted about a stream's values."""
        self._notes.setdefault(stream, Notes()).update(notes)

    def summarize(self, *, delivered: bool) -> None:
        """Log what became of values, and one line a stream. Again, it does nothing.

        Args:
            delivered: whether all that became an object was delivered; else only what was read
                is known.
        """
        heading = "Records delivered" if delivered and not self._refused else "Records read"
        if self._summarized:
            return
        self._summarized = True
        for stream, notes in self._notes.items():
            for code, remark in _REMARKS.items():
                found = {name: count for (what, name), count in notes.items() if what == code}
                if found:
                    self._logger.warning(
                        "Values %s: stream=%s values=%d properties=%s",
                        remark,
                        stream,
                        sum(found.values()),
                        _listed(found),
                    )
        for stream, count in self._rejected.items():
            self._logger.warning("Records rejected: stream=%s records=%d", stream, count)
        for (stream, collection), count in self._records.items():
            self._logger.info(
                "%s: stream=%s collection=%s records=%d", heading, stream, collection, count
            )


def _listed(found: Mapping[str, int]) -> str:
    names = sorted(found, key=lambda name: -found[name])
    more = len(names) - _PROPERTIES_TOLD
    return one_line(",".join(names[:_PROPERTIES_TOLD])) + (f" and {more} more" if more > 0 else "")
