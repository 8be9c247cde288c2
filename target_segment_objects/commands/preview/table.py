"""Renders a preview as text: at most 120 columns wide, and of bounded length.

It shows the JSON document of a preview and nothing else; `--json` has what is cut off here.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.errors import one_line
from target_segment_objects.reporting import CONVERSION_REMARKS, text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["lines"]

_WIDTH: Final = 120
_MAX_COLLECTIONS: Final = 30
_MAX_COLUMNS: Final = 40
_MAX_ROWS: Final = 30
_NAME_WIDTH: Final = 28
_PATH_WIDTH: Final = 24
_EXAMPLE_WIDTH: Final = 24
_KEYS_WIDTH: Final = 100
_INCOMPATIBLE: Final = "incompatible"

_MARKS: Final = {
    "renamed": "renamed",
    "flattened": "flattened",
    "json_text": "JSON text",
    "undeclared": "undeclared",
}
_NUMBERS: Final = frozenset({"values", "nulls", "faults", "line"})

_Cell = str | int


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a preview."""
    yield _totals(document)
    collections = document["collections"]
    for collection in collections[:_MAX_COLLECTIONS]:
        yield ""
        yield from _collection(collection)
    yield from _more(len(collections) - _MAX_COLLECTIONS, "collections")
    yield from _section("Conversions", _conversion_sentences(collections[:_MAX_COLLECTIONS]))
    yield from _rejects(document)
    yield from _errors(document)
    yield from _section("Warnings", document["warnings"])
    yield ""
    yield _verdict(document)


def _totals(document: Mapping[str, Any]) -> str:
    totals = [
        f"{_number(document['records'], 'record')} read",
        f"{_number(document['objects'], 'object')} would be sent",
        f"{document['rejected']:,} rejected",
    ]
    if document["filtered"]:
        totals.append(f"{document['filtered']:,} filtered out by stream maps")
    if document["not_checked"]:
        totals.append(f"{document['not_checked']:,} not checked (invalid SCHEMA)")
    return ", ".join(totals)


def _collection(collection: Mapping[str, Any]) -> Iterator[str]:
    streams, columns = collection["streams"][:_MAX_ROWS], collection["columns"]
    names = ", ".join(_cut(stream["stream"], _NAME_WIDTH) for stream in streams)
    yield _cut(f"{collection['collection']}  from stream {names}", _WIDTH)
    for stream in streams:
        yield f"  id: {_identity(stream)}"
    marks = [mark for column in columns for mark in _marks(column)]
    counts = ", ".join(f"{marks.count(mark)} {mark}" for mark in _MARKS.values() if mark in marks)
    yield (
        f"  {_number(collection['objects'], 'object')}, {_number(len(columns), 'column')}"
        f"{': ' if counts else ''}{counts}"
    )
    yield from _table(
        [
            {
                "column": _cut(column["name"], _NAME_WIDTH),
                "type": column["type"] or "?",
                "values": column["values"],
                "nulls": column["nulls"],
                "example": _cut(column.get("example", ""), _EXAMPLE_WIDTH),
                "from": _from(column),
                "": ", ".join(_marks(column)),
            }
            for column in columns[:_MAX_COLUMNS]
        ]
    )
    yield from _more(len(columns) - _MAX_COLUMNS, "columns", "  ")
    yield from _conversions(collection)


def _identity(stream: Mapping[str, Any]) -> str:
    if not stream["keys"]:
        return "the hash of the whole record, since the stream has no key properties"
    keys = _cut(", ".join(stream["keys"]), _KEYS_WIDTH)
    return f"{keys}{' (sent as the id only)' if stream['omitted_key'] else ''}"


def _marks(column: Mapping[str, Any]) -> list[str]:
    is_marked = {**column, "undeclared": column["schema"] is None}
    return [mark for name, mark in _MARKS.items() if is_marked[name]]


def _from(column: Mapping[str, Any]) -> str:
    path = ".".join(column["path"])
    return "" if path == column["name"] else _cut(path, _PATH_WIDTH)


def _conversions(collection: Mapping[str, Any]) -> Iterator[str]:
    """What happens to values of a collection on their way, and in the warehouse."""
    rows: list[dict[str, _Cell]] = [
        {
            "values": conversion["count"],
            "conversion": conversion["code"],
            **_first(conversion, conversion["property"]),
        }
        for conversion in collection["conversions"]
    ]
    rows += [
        {
            "values": column["incompatible"],
            "conversion": f"{_INCOMPATIBLE} with {column['type']}",
            **_first({"path": column["path"], "line": column["incompatible_line"]}, column["name"]),
        }
        for column in collection["columns"]
        if column["incompatible"]
    ]
    if rows:
        yield ""
        yield from _top(rows, "values")


def _conversion_sentences(collections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each kind of conversion in the tables, and what to do about it."""
    codes = {
        conversion["code"] for collection in collections for conversion in collection["conversions"]
    }
    sentences = [
        f"{code}: {remark}; {advice}"
        for code, (remark, advice) in CONVERSION_REMARKS.items()
        if code in codes
    ]
    if any(
        column["incompatible"] for collection in collections for column in collection["columns"]
    ):
        sentences.append(
            f"{_INCOMPATIBLE}: Values that do not fit their column, whose type is that of its "
            "first value; a warehouse may change or lose them: correct them in the tap"
        )
    return sentences


def _rejects(document: Mapping[str, Any]) -> Iterator[str]:
    rejects = document["rejects"]
    if not rejects:
        return
    yield ""
    yield "Would be rejected"
    yield from _top(
        [
            {
                "faults": reject["count"],
                "code": reject["code"],
                "stream": _cut(reject["stream"], _NAME_WIDTH),
                **_first(reject, "the record"),
            }
            for reject in rejects
        ],
        "faults",
    )
    if document["rejects_beyond_limit"]:
        yield f"  … and {document['rejects_beyond_limit']:,} faults of more kinds"
    messages: dict[str, str] = {}
    for reject in rejects:
        messages.setdefault(reject["code"], reject["message"])
    for code, message in messages.items():
        yield from _wrapped(f"{code}: {message}")


def _errors(document: Mapping[str, Any]) -> Iterator[str]:
    errors = document["errors"]
    sentences = [
        f"line {error['line']}"
        + (f" and {error['count'] - 1:,} more" if error["count"] > 1 else "")
        + f": {error['message']}"
        for error in errors
    ]
    yield from _section("Fatal errors", sentences)
    if document["errors_beyond_limit"]:
        yield f"  … and {document['errors_beyond_limit']:,} errors of more kinds"


def _verdict(document: Mapping[str, Any]) -> str:
    ending = ""
    if document["stopped"]:
        ending = "The preview was stopped before the end of the input. "
    elif not document["complete"]:
        ending = "The rest of the input was not read. "
    if document["errors"]:
        return f"{ending}A run of this input would fail."
    if not document["rejects"]:
        return f"{ending}No record would be rejected."
    limit = document["max_rejects"]
    if 0 <= limit < document["rejected"]:
        return f"{ending}A run of this input would fail: `max_rejects` is {limit:,}."
    return f"{ending}A run of this input would drop {_number(document['rejected'], 'record')}."


def _section(heading: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield ""
        yield heading
        for sentence in sentences[:_MAX_ROWS]:
            yield from _wrapped(sentence)
        yield from _more(len(sentences) - _MAX_ROWS, "of these", "  ")


def _more(count: int, what: str, indent: str = "") -> Iterator[str]:
    if count > 0:
        yield f"{indent}… and {count:,} more {what} (see `--json`)"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _first(row: Mapping[str, Any], name: str) -> dict[str, _Cell]:
    """The cells of the first occurrence; the name is for a row without a path."""
    return {
        "first at": _cut(".".join(row["path"]) or name, _NAME_WIDTH),
        "line": row["line"],
        "example": _cut(row.get("example", ""), _EXAMPLE_WIDTH),
    }


def _top(rows: list[dict[str, _Cell]], by: str) -> Iterator[str]:
    """The table of the rows with the highest counts."""
    rows.sort(key=lambda row: -int(row[by]))
    yield from _table(rows[:_MAX_ROWS])
    yield from _more(len(rows) - _MAX_ROWS, "kinds", "  ")


def _table(rows: Sequence[Mapping[str, _Cell]]) -> Iterator[str]:
    """An indented table; a column without any content is left out."""
    headings = [name for name in (rows[0] if rows else ()) if any(row[name] != "" for row in rows)]
    texts = [
        {name: f"{row[name]:,}" if name in _NUMBERS else str(row[name]) for name in headings}
        for row in rows
    ]
    for line in text_table(texts, left={*headings} - _NUMBERS) if texts else ():
        yield _cut(f"  {line}", _WIDTH)


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _cut(text: str, characters: int) -> str:
    shown = one_line(text)
    return shown if len(shown) <= characters else f"{shown[: characters - 1]}…"
