"""A preview for a person to read: at most 120 columns wide, and of bounded length.

It shows what stands in the JSON object of a preview and nothing else; what is cut off there is to
be had with `--json`.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["lines"]

_WIDTH: Final = 120
_COLLECTIONS: Final = 30
_COLUMNS: Final = 40
_ROWS: Final = 30
_NAME: Final = 28
_PLACE: Final = 24
_VALUE: Final = 24
_SENTENCE: Final = 100

_HAPPENS: Final[Mapping[str, str]] = {
    "coerced": "made to fit the schema's type",
    "mismatched": "not of the schema's type, sent",
    "date_normalized": "date gets a `T` or an offset",
    "invalid_date": "no RFC 3339 date, sent as text",
    "long_string": "cut at 512 in most warehouses",
    "hashed_id": "id over 100 characters, hashed",
    "dropped": "32 KB or more, dropped",
    "truncated": "32 KB or more, cut",
    "nulled": "not finite, sent as null",
    "nul_character": "U+0000, refused by warehouses",
}

_Cell = str | int


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a preview."""
    yield _counts(document)
    collections = document["collections"]
    for collection in collections[:_COLLECTIONS]:
        yield ""
        yield from _collection(collection)
    yield from _more(len(collections) - _COLLECTIONS, "collections")
    yield from _rejects(document)
    yield from _errors(document)
    yield from _section("Warnings", document["warnings"])
    yield ""
    yield _verdict(document)


def _counts(document: Mapping[str, Any]) -> str:
    told = [
        f"{_number(document['records'], 'record')} read",
        f"{_number(document['objects'], 'object')} would be sent",
        f"{document['rejected']:,} rejected",
    ]
    if document["filtered"]:
        told.append(f"{document['filtered']:,} filtered out by stream maps")
    if document["not_checked"]:
        told.append(f"{document['not_checked']:,} not checked (invalid SCHEMA)")
    return ", ".join(told)


def _collection(collection: Mapping[str, Any]) -> Iterator[str]:
    streams = ", ".join(_cut(each["stream"], _NAME) for each in collection["streams"][:_ROWS])
    yield _cut(f"{collection['collection']}  from stream {streams}", _WIDTH)
    for stream in collection["streams"][:_ROWS]:
        yield f"  id: {_identity(stream)}"
    columns = collection["columns"]
    marked = {word: sum(word in _marks(each) for each in columns) for word in _MARKS}
    told = [f"{count} {word}" for word, count in marked.items() if count]
    yield (
        f"  {_number(collection['objects'], 'object')}, {_number(len(columns), 'column')}"
        f"{': ' if told else ''}{', '.join(told)}"
    )
    has_values = any("example" in each for each in columns)
    rows: list[list[_Cell]] = [
        ["column", "type", "values", "nulls", *(["example"] if has_values else []), "from", ""]
    ]
    for each in columns[:_COLUMNS]:
        path = ".".join(each["path"])
        rows.append(
            [
                _cut(each["name"], _NAME),
                each["type"] or "?",
                each["values"],
                each["nulls"],
                *([_cut(each.get("example", ""), _VALUE)] if has_values else []),
                _cut(path, _PLACE) if path != each["name"] else "",
                ", ".join(_marks(each)),
            ]
        )
    yield from _table(rows, "  ")
    yield from _more(len(columns) - _COLUMNS, "columns", "  ")
    yield from _happens(collection)


def _identity(stream: Mapping[str, Any]) -> str:
    if not stream["keys"]:
        return "the hash of the whole record, since the stream has no key properties"
    keys = _cut(", ".join(stream["keys"]), _SENTENCE)
    left_out = " (no property of its own: the table has it)" if stream["omitted_key"] else ""
    return f"{keys}{left_out}"


_MARKS: Final = ("renamed", "flattened", "JSON text", "undeclared")


def _marks(column: Mapping[str, Any]) -> list[str]:
    marks = (
        column["renamed"],
        column["flattened"],
        column["json_text"],
        column["schema"] is None,
    )
    return [word for word, marked in zip(_MARKS, marks, strict=True) if marked]


def _happens(collection: Mapping[str, Any]) -> Iterator[str]:
    """What happens to values of a collection on their way, and in the warehouse."""
    notes = collection["conversions"]
    has_values = any("example" in note for note in notes)
    found: list[list[_Cell]] = [
        [
            note["count"],
            _HAPPENS[note["code"]],
            _cut(".".join(note["path"]) or note["property"], _PLACE + 8),
            note["line"],
            *([_cut(note.get("example", ""), _VALUE)] if has_values else []),
        ]
        for note in notes
    ]
    found += [
        [
            each["incompatible"],
            f"does not fit the column's {each['type']}",
            _cut(".".join(each["path"]) or each["name"], _PLACE + 8),
            each["incompatible_line"],
            *([""] if has_values else []),
        ]
        for each in collection["columns"]
        if each["incompatible"]
    ]
    if found:
        found.sort(key=lambda row: -int(row[0]))
        head: list[_Cell] = ["values", "what happens to them", "for example at", "line"]
        yield ""
        yield from _table(
            [[*head, *(["value"] if has_values else [])], *found[:_ROWS]],
            "  ",
        )
        yield from _more(len(found) - _ROWS, "kinds", "  ")


def _rejects(document: Mapping[str, Any]) -> Iterator[str]:
    rejects = sorted(document["rejects"], key=lambda row: -row["count"])
    if not rejects:
        return
    yield ""
    yield "Would be rejected"
    has_values = any("example" in row for row in rejects)
    head: list[_Cell] = [
        "faults",
        "code",
        "stream",
        "at",
        "line",
        *(["value"] if has_values else []),
    ]
    rows: list[list[_Cell]] = [
        [
            row["count"],
            row["code"],
            _cut(row["stream"], _NAME),
            _cut(".".join(row["path"]) or "the record", _PLACE),
            row["line"],
            *([_cut(row.get("example", ""), _VALUE)] if has_values else []),
        ]
        for row in rejects[:_ROWS]
    ]
    yield from _table([head, *rows], "  ")
    yield from _more(len(rejects) - _ROWS, "kinds", "  ")
    yield from _more(document["rejects_beyond_limit"], "faults at other places", "  ")
    for code in dict.fromkeys(row["code"] for row in rejects):
        message = next(row["message"] for row in rejects if row["code"] == code)
        yield from _wrapped(f"{code}: {message}")


def _errors(document: Mapping[str, Any]) -> Iterator[str]:
    errors = document["errors"]
    told = [
        f"line {each['line']}"
        + (f" and {each['count'] - 1:,} more" if each["count"] > 1 else "")
        + f": {each['message']}"
        for each in errors[:_ROWS]
    ]
    yield from _section("Would end a run", told)
    yield from _more(len(errors) - _ROWS + document["errors_beyond_limit"], "errors", "  ")


def _verdict(document: Mapping[str, Any]) -> str:
    if document["stopped"]:
        ending = "It was stopped before the end of the input. "
    elif not document["complete"]:
        ending = "The rest of the input was not read. "
    else:
        ending = ""
    if document["errors"]:
        return f"{ending}A run of this input would fail."
    if document["rejects"]:
        most = document["max_rejects"]
        if 0 <= most < document["rejected"]:
            return f"{ending}A run of this input would fail: `max_rejects` is {most:,}."
        return f"{ending}A run of this input would lack {_number(document['rejected'], 'record')}."
    return f"{ending}Nothing would be rejected."


def _section(heading: str, told: Sequence[str]) -> Iterator[str]:
    if told:
        yield ""
        yield heading
        for sentence in told[:_ROWS]:
            yield from _wrapped(sentence)
        yield from _more(len(told) - _ROWS, "more", "  ")


def _more(count: int, what: str, indent: str = "") -> Iterator[str]:
    if count > 0:
        yield f"{indent}… and {count:,} {what} more; `--json` has them"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _table(rows: Sequence[Sequence[_Cell]], indent: str) -> Iterator[str]:
    """Aligned columns: numbers to the right."""
    told = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    right = [any(isinstance(cell, int) for cell in column) for column in zip(*rows, strict=True)]
    for row in told:
        cells = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        yield _cut(f"{indent}{'  '.join(cells)}".rstrip(), _WIDTH)


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _cut(text: str, characters: int) -> str:
    shown = one_line(text)
    return shown if len(shown) <= characters else f"{shown[: characters - 1]}…"
