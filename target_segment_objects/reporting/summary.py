"""The numbers of a run as somebody reads them: rows, a table for a terminal, fields for a log.

The rule that it guards: what is not known is not shown as 0. By bulk, requests are the sessions',
and of a run that failed, what was not delivered is counted as such.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.reporting.counts import RunCounts, StreamCounts

__all__ = ["Row", "log_fields", "rows", "session_fields", "size", "table", "total"]


@dataclass(frozen=True)
class Row:
    """What is known of a collection; `None` is what cannot be known of it.

    Attributes:
        collection: its name.
        streams: the streams that go to it.
        read: records that came for it; the sum of the next five, but that of `sent` is of objects.
        sent: objects that Segment took.
        merged: records that were merged into another object of their id, and went with it.
        rejected: records that could not become objects, or that Segment refused.
        filtered: records that a stream map left out.
        undelivered: records of which nothing is known, since the run failed.
        coerced: values that were made to fit their type.
        over_512: values of more than 512 characters.
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
    over_512: int = 0
    bytes: int = 0
    requests: int | None = None
    retries: int | None = None
    wait_seconds: float | None = None


def rows(tally: RunCounts) -> list[Row]:
    """A row for each collection, in the order in which they came."""
    by_stream: dict[str, list[StreamCounts]] = {collection: [] for collection in tally.collections}
    for counts in list(tally.by_stream.values()):
        by_stream.setdefault(counts.collection, []).append(counts)
    return [_row(tally, collection, of) for collection, of in by_stream.items()]


def _row(tally: RunCounts, collection: str, by_stream: list[StreamCounts]) -> Row:
    became = tally.collection(collection)
    read = sum(counts.read for counts in by_stream)
    filtered = sum(counts.filtered for counts in by_stream)
    rejected = sum(counts.rejected for counts in by_stream) + became.refused
    by_calls = not tally.bulk.requests
    return Row(
        collection=collection,
        streams=tuple(counts.stream for counts in by_stream),
        read=read,
        sent=became.sent,
        merged=became.merged,
        rejected=rejected,
        filtered=filtered,
        undelivered=max(0, read - became.sent - became.merged - rejected - filtered),
        coerced=sum(counts.coerced for counts in by_stream),
        over_512=sum(counts.long_strings for counts in by_stream),
        bytes=became.bytes + became.traffic.bytes,
        requests=became.traffic.requests if by_calls else None,
        retries=became.traffic.retries if by_calls else None,
        wait_seconds=became.traffic.wait_seconds if by_calls else None,
    )


def total(of: Sequence[Row], name: str = "(all)") -> Row:
    """One row that is the sum of others."""
    sums: dict[str, int | float | None] = {}
    for each in fields(Row)[2:]:
        known = [value for row in of if (value := getattr(row, each.name)) is not None]
        sums[each.name] = sum(known) if known else None
    return Row(name, **{key: value for key, value in sums.items() if value is not None})  # type: ignore[arg-type]


def log_fields(row: Row) -> dict[str, object]:
    """What a log line says of a row, without what is not known."""
    known = {each.name: getattr(row, each.name) for each in fields(Row)}
    known["streams"] = ",".join(row.streams)
    return {name: value for name, value in known.items() if value is not None}


def session_fields(tally: RunCounts) -> dict[str, object]:
    """What a log line says of the bulk sessions; nothing when there was none."""
    bulk = tally.bulk
    if not bulk.requests:
        return {}
    return {
        "sessions": tally.bulk_sessions.opened,
        "parts": tally.bulk_sessions.parts,
        "bytes": bulk.bytes,
        "requests": bulk.requests,
        "retries": bulk.retries,
        "wait_seconds": bulk.wait_seconds,
    }


_HEADINGS: Final = {
    "collection": "collection",
    "read": "read",
    "sent": "sent",
    "merged": "merged",
    "rejected": "rejected",
    "filtered": "filtered",
    "undelivered": "undelivered",
    "coerced": "coerced",
    "over_512": "over 512",
    "bytes": "bytes",
    "requests": "requests",
    "retries": "retries",
    "wait_seconds": "wait",
}
_ONLY_IF_ANY: Final = ("filtered", "undelivered")
_IF_NARROW: Final = ("retries", "wait_seconds", "merged", "coerced", "over_512", "requests")
"""Columns that go, in this order, when the terminal is too narrow and there is nothing in them."""
_LEAST_NAME: Final = 12
_MOST_ROWS: Final = 40
_GAP: Final = "  "


def table(tally: RunCounts, width: int) -> str:
    """The rows as a table, its lines ended by breaks; empty when there are no rows.

    Args:
        tally: the numbers.
        width: characters of a line. A table that has more to say than fits is wider all the same.
    """
    all_of_them = rows(tally)
    if not all_of_them:
        return ""
    shown = sorted(all_of_them, key=lambda row: -row.read)[:_MOST_ROWS]
    shown = [row for row in all_of_them if row in shown]
    rest = [row for row in all_of_them if row not in shown]
    if rest:
        shown.append(total(rest, f"({len(rest)} more)"))
    if len(all_of_them) > 1:
        shown.append(total(all_of_them))
    lines = [{name: _cell(name, getattr(row, name)) for name in _HEADINGS} for row in shown]
    if tally.bulk.requests:
        lines.append({**dict.fromkeys(_HEADINGS, ""), **_session_cells(tally)})
    names = [
        name
        for name in _HEADINGS
        if name not in _ONLY_IF_ANY or any(_number(line, name) for line in lines)
    ]
    for name in _IF_NARROW:
        if _width(lines, names) <= width:
            break
        if not any(_number(line, name) for line in lines):
            names.remove(name)
    longest = max(_LEAST_NAME, width - _width(lines, names, without_name=True))
    for line in lines:
        name = line["collection"]
        line["collection"] = name if len(name) <= longest else name[: longest - 1] + "…"
    lines.insert(0, {name: _HEADINGS[name] for name in _HEADINGS})
    return "".join(_line(line, names, lines) + "\n" for line in lines)


def _session_cells(tally: RunCounts) -> dict[str, str]:
    found = session_fields(tally)
    cells = {
        name: _cell(name, found[name]) for name in ("bytes", "requests", "retries", "wait_seconds")
    }
    return {"collection": "(sessions)" if tally.bulk_sessions.opened > 1 else "(session)", **cells}


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if name == "bytes" and isinstance(value, int):
        return size(value)
    if isinstance(value, float):
        return f"{value:.1f} s"
    return f"{value:,}" if isinstance(value, int) else str(value)


def size(count: float) -> str:
    """A number of bytes, in three digits or so, with a unit of powers of 1000."""
    if count < 1000:  # noqa: PLR2004
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:  # noqa: PLR2004  else it would be shown as 1000
            return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"  # noqa: PLR2004
    return f"{count / 1000:,.1f} TB"


def _number(line: dict[str, str], name: str) -> bool:
    return line[name] not in {"", "0", "0.0 s"}


def _width(
    lines: Sequence[dict[str, str]], names: Sequence[str], *, without_name: bool = False
) -> int:
    widths = [
        max(len(_HEADINGS[name]), *(len(line[name]) for line in lines))
        for name in names
        if not (without_name and name == "collection")
    ]
    return sum(widths) + len(_GAP) * (len(names) - 1)


def _line(line: dict[str, str], names: Sequence[str], lines: Sequence[dict[str, str]]) -> str:
    cells = []
    for name in names:
        width = max(len(each[name]) for each in lines)
        cell = line[name]
        cells.append(cell.ljust(width) if name == "collection" else cell.rjust(width))
    return _GAP.join(cells).rstrip()
