"""The SQL that merges a part into tables, set by set and never row by row.

Each property is a column of JSON text: NULL if the property is missing, the text `null` if it is
null. The merge needs that difference: a missing property keeps the old value, a null clears it.

Table names are given in full, with database and schema, and columns of joined tables are prefixed
with their table: a collection may be called `lines`, `staged`, `main` or anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_segment_objects.emulator.rules.columns import TIMESTAMP, ColumnType
from target_segment_objects.emulator.rules.requests import MAX_OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TEXT = "json_extract_string({c}, '$')"
_FLOAT = "try_cast({c} AS DOUBLE)"
_WHOLE = (
    "CASE WHEN contains({c}, '.') OR contains({c}, 'e') OR contains({c}, 'E') "
    "THEN try_cast(trunc(try_cast({c} AS DOUBLE)) AS {type}) ELSE try_cast({c} AS {type}) END"
)
_CASTS = {
    ColumnType.BOOLEAN: "CASE {c} WHEN 'true' THEN true WHEN 'false' THEN false END",
    ColumnType.BIGINT: _WHOLE.replace("{type}", "BIGINT"),
    ColumnType.HUGEINT: _WHOLE.replace("{type}", "HUGEINT"),
    ColumnType.DOUBLE: f"CASE WHEN isfinite({_FLOAT}) THEN {_FLOAT} END",
    ColumnType.VARCHAR: _TEXT,
    ColumnType.TIMESTAMP: (
        f"CASE WHEN starts_with({{c}}, '\"') AND NOT starts_with({_TEXT}, '0000') "
        f"AND regexp_full_match({_TEXT}, {{pattern}}) THEN "
        f"try_cast(upper(regexp_replace({_TEXT}, '(\\.\\d{{{{6}}}})\\d+', '\\1')) "
        f"AS TIMESTAMPTZ) END"
    ),
}


LINES = 'temp.main."lines"'
"""Table: the lines of a part and their collections."""
STAGED = 'temp.main."staged"'
"""Table: the `id` and `c0`, `c1`, … of a slice's objects as JSON texts, in order."""
TYPED = 'temp.main."typed"'
"""Table: the same values with their columns' types, one row per id."""


@dataclass(frozen=True)
class TableColumn:
    """A column of a table, and the names of the properties that it holds in one part."""

    name: str
    property_names: tuple[str, ...]
    kind: ColumnType | None
    """None while the column has no value."""


def quoted(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string; old versions of DuckDB end a statement at a NUL in it."""
    return "('" + text.replace("'", "''").replace("\0", "' || chr(0) || '") + "')"


def lines_expression(path: Path, *, gzipped: bool) -> str:
    """Return a table expression with a column `line`: the lines of a checked part.

    The delimiter is a control character, which valid JSON cannot contain, so that lines stay whole.
    """
    compression = "gzip" if gzipped else "none"
    return (
        f"read_csv({_quoted_path(str(path))}, columns = {{'line': 'VARCHAR'}}, "
        f"auto_detect = false, header = false, delim = '\x01', quote = '', escape = '', "
        f"new_line = '\\n', "
        f"max_line_size = {MAX_OBJECT_BYTES + 4096}, compression = '{compression}')"
    )


def create_lines_table(lines: str) -> str:
    """Return the statement that creates `LINES`."""
    collection = "json_extract_string(line, '/collection')"
    return f"CREATE TEMP TABLE {LINES} AS SELECT {collection} AS collection, line FROM {lines}"  # noqa: S608


def slice_of_lines(collections: Sequence[str], start: int, end: int) -> str:
    """Return a table expression of the lines of some collections between two line numbers."""
    listed = ", ".join(literal(collection) for collection in collections)
    return (
        f"(SELECT line FROM {LINES} WHERE collection IN ({listed}) "  # noqa: S608
        f"AND rowid >= {start} AND rowid < {end})"
    )


def stage(source: str, columns: Sequence[TableColumn]) -> str:
    """Return the statement that creates `STAGED`."""
    pointers = ["/id"]
    fields = ["json_extract_string(texts[1], '$') AS id"]
    for index, column in enumerate(columns):
        if len(column.property_names) == 1:
            pointers.append(f"/properties/{_pointer(column.property_names[0])}")
            fields.append(f"texts[{len(pointers)}] AS c{index}")
        else:
            fields.append(f"{_last_of(column.property_names)} AS c{index}")
    paths = ", ".join(literal(pointer) for pointer in pointers)
    return (
        f"CREATE TEMP TABLE {STAGED} AS SELECT {', '.join(fields)} FROM "  # noqa: S608
        f"(SELECT line, json_extract(line, [{paths}])::VARCHAR[] AS texts FROM {source})"
    )


def merge_staged(count: int) -> str:
    """Return the query for one row per id, with the last value of each property that was sent."""
    fields = [f"arg_max(c{index}, rowid) AS c{index}" for index in range(count)]
    return f"SELECT {', '.join(['id', 'min(rowid) AS n', *fields])} FROM {STAGED} GROUP BY id"  # noqa: S608


def first_values(indexes: Sequence[int]) -> str:
    """Return the query for the first value, as JSON text, of the columns with these indexes."""
    fields = [f"arg_min(c{index}, rowid) FILTER (WHERE c{index} <> 'null')" for index in indexes]
    return f"SELECT {', '.join(fields)} FROM {STAGED}"  # noqa: S608


def type_staged(merged: str, columns: Sequence[TableColumn]) -> str:
    """Return the statement that creates `TYPED`.

    `s0`, `s1`, … are 0 for a missing property, 1 for a null one and 2 for a value.
    """
    fields = ["id", "n"]
    for index, column in enumerate(columns):
        if column.kind is not None:
            cast = _CASTS[column.kind].format(c=f"c{index}", pattern=literal(TIMESTAMP.pattern))
            fields.append(f"{cast} AS c{index}")
        fields.append(
            f"CASE WHEN c{index} IS NULL THEN 0 WHEN c{index} = 'null' THEN 1 ELSE 2 END"
            f"::UTINYINT AS s{index}"
        )
    return f"CREATE TEMP TABLE {TYPED} AS SELECT {', '.join(fields)} FROM ({merged})"  # noqa: S608


def count_lost(columns: Sequence[tuple[int, TableColumn]]) -> str:
    """Return the query that counts, for each column, the values that it could not hold."""
    fields = [
        f"count(*) FILTER (WHERE s{index} = 2"
        + (f" AND c{index} IS NULL)" if column.kind is not None else ")")
        for index, column in columns
    ]
    return f"SELECT {', '.join(fields)} FROM {TYPED}"  # noqa: S608


def update_known(table: str, columns: Sequence[TableColumn]) -> str:
    """Return the statement that merges `TYPED` into the rows that `table`, a full name, has."""
    changes = ["received_at = now()"]
    for index, column in enumerate(columns):
        if column.kind is not None:
            name = quoted(column.name)
            changes.append(
                f"{name} = CASE WHEN new.s{index} > 0 THEN new.c{index} ELSE old.{name} END"
            )
    return (
        f"UPDATE {table} AS old SET {', '.join(changes)} FROM {TYPED} AS new "  # noqa: S608
        f"WHERE old.id = new.id"
    )


def insert_new(table: str, columns: Sequence[TableColumn]) -> str:
    """Return the statement that adds the rows of `TYPED` whose ids are new, in order."""
    typed = [(index, column) for index, column in enumerate(columns) if column.kind is not None]
    names = ["id", "received_at", *(quoted(column.name) for _, column in typed)]
    values = ["new.id", "now()", *(f"new.c{index}" for index, _ in typed)]
    return (
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "  # noqa: S608
        f"FROM {TYPED} AS new "
        f"WHERE new.id NOT IN (SELECT old.id FROM {table} AS old) ORDER BY new.n"
    )


def _quoted_path(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _last_of(names: Sequence[str]) -> str:
    """Return the expression for whichever of several properties comes last in its object."""
    listed = ", ".join(literal(name) for name in names)
    last = f"list_filter(json_keys(line, '/properties'), lambda k: k IN ({listed}))[-1]"
    pointer = f"replace(replace({last}, '~', '~0'), '/', '~1')"
    return f"json_extract(line, '/properties/' || {pointer})::VARCHAR"
