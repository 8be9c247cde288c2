"""The numbers of a run by collection: as rows, as fields of log lines, and as a table.

Invariant: a number that is not known is left out, and never shown as 0. By bulk, requests are
counted by session and not by collection; after a failed run, records that were not delivered are
counted as such.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Final

from target_segment_objects.reporting.table import byte_size, text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.reporting.counts import RunCounts, StreamCounts

__all__ = ["CollectionSummary", "log_fields", "session_fields", "summaries", "table", "total"]


@dataclass(frozen=True)
class CollectionSummary:
    """What is known of a collection; `None` is what cannot be known of it.

    Attributes:
        collection: its name.
        streams: the streams that go to it.
        read: records read for it, which are those sent, merged, rejected, filtered and undelivered;
            an object that was sent counts as one.
        sent: objects that Segment took.
        merged: records that were merged into another object of their id, and went with it.
        rejected: records that could not become objects, or that Segment refused.
        filtered: records that a stream map left out.
        undelivered: records of which nothing is known, since the run failed.
        coerced: values that were converted to their type.
        long_strings: values of more than 512 characters.
        bytes: by `set` of requests, by bulk of object lines before compression.
        requests, retries, wait_seconds: of its calls; by bulk these are the sessions'.
    """

    collection: str
    streams: tuple[str, ...] = ()
    read: int = 0
    sent: int = 0
    merged: int = 0
    rejected: int = 0
    filtered: int = 0
    undelivered: int = 0
    coerced: int = 0
    long_strings: int = 0
    bytes: int = 0
    requests: int | None = None
    retries: int | None = None
    wait_seconds: float | None = None


def summaries(counts: RunCounts) -> list[CollectionSummary]:
    """The summary of each collection, in the order in which they came."""
    by_collection: dict[str, list[StreamCounts]] = {name: [] for name in list(counts.collections)}
    for stream in list(counts.by_stream.values()):
        by_collection.setdefault(stream.collection, []).append(stream)
    return [_summary(counts, name, streams) for name, streams in by_collection.items()]


def _summary(counts: RunCounts, name: str, streams: list[StreamCounts]) -> CollectionSummary:
    delivered = counts.collection(name)
    read = sum(stream.read for stream in streams)
    filtered = sum(stream.filtered for stream in streams)
    rejected = sum(stream.rejected for stream in streams) + delivered.refused
    requests = delivered.requests if not counts.bulk.requests else None
    return CollectionSummary(
        collection=name,
        streams=tuple(stream.stream for stream in streams),
        read=read,
        sent=delivered.sent,
        merged=delivered.merged,
        rejected=rejected,
        filtered=filtered,
        undelivered=max(0, read - delivered.sent - delivered.merged - rejected - filtered),
        coerced=sum(stream.coerced for stream in streams),
        long_strings=sum(stream.long_strings for stream in streams),
        bytes=delivered.bytes + delivered.requests.bytes,
        requests=requests.requests if requests is not None else None,
        retries=requests.retries if requests is not None else None,
        wait_seconds=requests.wait_seconds if requests is not None else None,
    )


def total(of: Sequence[CollectionSummary], name: str = "(all)") -> CollectionSummary:
    """The sum of summaries, under this name."""
    sums: dict[str, int | float] = {}
    for field in fields(CollectionSummary)[2:]:
        known = [number for summary in of if (number := getattr(summary, field.name)) is not None]
        if known:
            sums[field.name] = sum(known)
    return CollectionSummary(name, **sums)  # type: ignore[arg-type]


def log_fields(summary: CollectionSummary) -> dict[str, object]:
    """What a log line says of a collection, without what is not known."""
    known = {**asdict(summary), "streams": ",".join(summary.streams)}
    return {name: value for name, value in known.items() if value is not None}


def session_fields(counts: RunCounts) -> dict[str, int | float]:
    """What a log line says of the bulk sessions; nothing when there was none."""
    if not counts.bulk.requests:
        return {}
    return {
        "sessions": counts.sessions.opened,
        "parts": counts.sessions.parts,
        "bytes": counts.bulk.bytes,
        "requests": counts.bulk.requests,
        "retries": counts.bulk.retries,
        "wait_seconds": counts.bulk.wait_seconds,
    }


_HEADINGS: Final = {
    field.name: field.name.removesuffix("_seconds").replace("_", " ")
    for field in fields(CollectionSummary)
    if field.name != "streams"
}
"""The columns, and what is written above them."""
_ONLY_IF_ANY: Final = ("filtered", "undelivered")
_ONLY_IF_WIDE: Final = (
    "retries",
    "wait_seconds",
    "merged",
    "coerced",
    "long_strings",
    "requests",
)
"""Columns that are left out, in this order, if the terminal is too narrow and they are empty."""
_MIN_NAME_WIDTH: Final = 12
_MAX_ROWS: Final = 40


def table(counts: RunCounts, width: int) -> str:
    """The collections as a table, its lines ended by breaks; empty when there are none.

    Args:
        counts: the numbers.
        width: characters of a line. A table that needs more is wider all the same.
    """
    everything = summaries(counts)
    if not everything:
        return ""
    by_records = sorted(everything, key=lambda summary: -summary.read)
    shown = [summary for summary in everything if summary in by_records[:_MAX_ROWS]]
    if rest := by_records[_MAX_ROWS:]:
        shown.append(total(rest, f"({len(rest)} more)"))
    if len(everything) > 1:
        shown.append(total(everything))
    rows = [{name: _cell(name, getattr(summary, name)) for name in _HEADINGS} for summary in shown]
    if sessions := session_fields(counts):
        name = "(sessions)" if counts.sessions.opened > 1 else "(session)"
        cells = {column: _cell(column, value) for column, value in sessions.items()}
        rows.append({**dict.fromkeys(_HEADINGS, ""), **cells, "collection": name})
    columns = [name for name in _HEADINGS if name not in _ONLY_IF_ANY or _has_any(rows, name)]

    def render() -> list[str]:
        cells = [{_HEADINGS[name]: row[name] for name in columns} for row in rows]
        return text_table(cells, left={"collection"})

    for name in _ONLY_IF_WIDE:
        if len(render()[0]) > width and not _has_any(rows, name):
            columns.remove(name)
    too_long = len(render()[0]) - width
    if too_long > 0:
        name_width = max(len("collection"), *(len(row["collection"]) for row in rows)) - too_long
        name_width = max(_MIN_NAME_WIDTH, name_width)
        for row in rows:
            name = row["collection"]
            row["collection"] = name if len(name) <= name_width else f"{name[: name_width - 1]}…"
    return "".join(f"{line}\n" for line in render())


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if name == "bytes" and isinstance(value, int):
        return byte_size(value)
    if isinstance(value, float):
        return f"{value:.1f} s"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _has_any(rows: Sequence[dict[str, str]], name: str) -> bool:
    return any(row[name] not in {"", "0", "0.0 s"} for row in rows)
