"""The store in DuckDB: a table a collection, typed columns, parts loaded by DuckDB itself.

DuckDB takes some hundred small upserts a second, so `set` calls gather in memory as the lines of a
part and go the way of all parts: within a second, before a query, and on stop.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from target_segment_objects.emulator.errors import WarehouseError
from target_segment_objects.emulator.rules.columns import ColumnType, moment, shown, type_of
from target_segment_objects.emulator.rules.names import column_name, table_name
from target_segment_objects.emulator.rules.parts import PartFile
from target_segment_objects.emulator.store import statements
from target_segment_objects.emulator.store.memory import TablePreview
from target_segment_objects.emulator.store.querying import connect, run_query
from target_segment_objects.emulator.store.statements import (
    STAGED,
    TYPED,
    TableColumn,
    literal,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from target_segment_objects.emulator.store.memory import Row, Update

_GATHERED_BYTES = 32 * 1024 * 1024
_SLICE_BYTES = 128 * 1024 * 1024
_THREADS = 2
_WIDE_COLUMNS = 200
_WIDE_SLICE_VALUES = 500_000
"""Of a slice with more columns than that: missing values take memory too."""
_AGGREGATES = 50
"""In one query."""
_OWN_COLUMNS = frozenset({"id", "received_at"})
_ADDED_COLUMNS = 50
"""In one transaction."""
_Asked = TypeVar("_Asked")
_SCALAR = msgspec.json.Decoder(bool | int | float | str)


class Warehouse:
    """A DuckDB file, locked for other processes until `close`."""

    def __init__(self, path: Path, folder: Path, memory_limit: str) -> None:
        """Open or make the file at `path`; spill and gather in `folder`.

        `MissingExtraError`, `WarehouseLockedError` and `WarehouseError` as `connect` has them.
        """
        self._folder = folder
        self._connection = connect(
            path,
            {
                "memory_limit": memory_limit,
                "threads": _THREADS,
                "temp_directory": str(folder / "spill"),
            },
        )
        ((self._database,),) = self._execute("SELECT current_database()")
        self._columns: dict[str, dict[str, ColumnType]] = {}
        self._lost: dict[tuple[str, str], int] = {}
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._gathered_names: dict[str, dict[str, None]] = {}
        # A connection of its own sees what is committed, whatever the other one is at.
        self._view = self._connection.cursor()
        self._view_lock = threading.Lock()
        self._look("SET TimeZone = 'UTC'")
        self._execute("SET TimeZone = 'UTC'")
        # The loader names tables in full; a function of its own has no macro of the file before it.
        self._execute("SET search_path = 'system.main'")
        self._read_columns()
        self.changes = 0

    def apply(self, updates: Sequence[Update]) -> None:
        """Gather updates; written out by `flush`, or here when they are over 32 MiB."""
        for collection, identifier, properties in updates:
            line = self._encoder.encode(
                {"id": identifier, "collection": collection, "properties": properties}
            )
            self._gathered.append(line)
            self._gathered_bytes += len(line) + 1
            names = self._gathered_names.setdefault(collection, {})
            if not properties.keys() <= names.keys():
                names.update(dict.fromkeys(properties))
        if self._gathered_bytes > _GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Merge the gathered updates into their tables."""
        if not self._gathered:
            return
        path = self._folder / "gathered.ndjson"
        try:
            path.write_bytes(b"\n".join(self._gathered))
        except OSError as error:
            reason = error.strerror or error
            raise WarehouseError(f"The temporary file {path} cannot be written: {reason}") from None
        names = {collection: list(found) for collection, found in self._gathered_names.items()}
        size = self._gathered_bytes
        part = PartFile("", path, False, len(self._gathered), size, size, names)
        self.load(part)
        self._gathered.clear()
        self._gathered_bytes = 0
        self._gathered_names.clear()
        path.unlink()

    def load(self, part: PartFile) -> None:
        """Merge a checked part's objects, in order, a slice a transaction.

        What is left when it fails is whole slices from the part's beginning; loading the part again
        is safe, since objects merge.
        """
        tables: dict[str, list[str]] = {}
        for collection in part.properties:
            tables.setdefault(table_name(collection), []).append(collection)
        try:
            # Outside a transaction: only committed rows are numbered from 0.
            for table, source in self._sources(part, tables):
                names = chain.from_iterable(part.properties[name] for name in tables[table])
                self._merge_whole(table, source, names)
        finally:
            # A database that has failed drops nothing; the failure itself is what is told.
            with suppress(WarehouseError):
                self._execute(f"DROP TABLE IF EXISTS {statements.LINES}")

    def names(self) -> list[str]:
        """Return the tables' names, in order of first arrival."""
        return list(self._columns)

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table with all its columns, in order of first arrival."""
        columns = self._columns.get(table)
        if columns is None:
            return []
        instant = ColumnType.TIMESTAMP
        fields = ["id"] + [
            f"epoch_us({quoted(name)})" if kind is instant else quoted(name)
            for name, kind in columns.items()
        ]
        # They come in the order of their storage. `ORDER BY rowid` could be a property's column.
        found = self._execute(f"SELECT {', '.join(fields)} FROM {self._named(table)}")  # noqa: S608
        rows: list[Row] = [dict(zip(("id", *columns), row, strict=True)) for row in found]
        for name in (name for name, kind in columns.items() if kind is instant):
            for row in rows:
                value = row[name]
                row[name] = moment(value) if isinstance(value, int) else None
        return rows

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query; `WarehouseError` when it fails."""
        with self._view_lock:
            columns, rows = run_query(self._view, sql)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def sizes(self) -> dict[str, int]:
        """Return the number of objects of each table, from the catalogue: no table is read."""
        found = self._look(
            "SELECT table_name, estimated_size FROM duckdb_tables() WHERE schema_name = 'main' "  # noqa: S608
            f"AND database_name = {literal(self._database)} ORDER BY table_oid"
        )
        return dict(found)

    def newest(self, table: str, rows: int, columns: int, chars: int) -> TablePreview | None:
        """Return at most so many rows and columns, each text cut; None for an unknown table.

        DuckDB passes over the blocks whose `received_at` is older than the newest rows.
        """
        found = self._look(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' "  # noqa: S608
            f"AND database_name = {literal(self._database)} AND table_name = {literal(table)} "
            "ORDER BY column_index"
        )
        if not found:
            return None
        order = ["received_at DESC"] if "received_at" in dict(found) else []
        order += ["rowid DESC"] if "rowid" not in dict(found) else []
        kinds = [pair for pair in found if pair[0] != "received_at"][: columns + 1]
        instant = ColumnType.TIMESTAMP.value
        fields = [
            f"epoch_us({quoted(name)})"
            if kind == instant
            else f"left(CAST({quoted(name)} AS VARCHAR), {chars})"
            for name, kind in kinds
        ]
        rows_found = self._look(
            f"SELECT {', '.join(fields)} FROM {self._named(table)} "  # noqa: S608
            f"ORDER BY {', '.join(order)} LIMIT {rows}"
        )
        texts = [
            [shown(moment(value), chars) if isinstance(value, int) else value for value in row]
            for row in rows_found
        ]
        # A copy: the other thread may be counting.
        counted = self._lost.copy()
        lost = {name: count for (place, name), count in counted.items() if place == table}
        return TablePreview(kinds, texts, lost)

    def lost(self) -> dict[tuple[str, str], int]:
        """Count the values that no column could hold, after merging those that came together."""
        return dict(self._lost)

    def close(self) -> None:
        """Flush, and let go of the file."""
        try:
            self.flush()
        finally:
            self._view.close()
            self._connection.close()

    def _sources(self, part: PartFile, tables: dict[str, list[str]]) -> list[tuple[str, str]]:
        """Return pairs of a table and an expression of its lines, slices in their order.

        A small part of one table is read as it is. Others are laid down once and then taken in
        slices, so that memory does not grow with the part.
        """
        lines = statements.read_lines(part.path, gzipped=part.gzipped)
        slices = -(-part.uncompressed_bytes // _SLICE_BYTES)
        widest = max(map(len, part.properties.values()), default=0)
        if widest > _WIDE_COLUMNS:
            slices = max(slices, -(-part.objects * widest // _WIDE_SLICE_VALUES))
        if slices == 1 and len(tables) == 1:
            return [(table, lines) for table in tables]
        self._execute(statements.lay_down(lines))
        step = -(-part.objects // slices)
        return [
            (table, statements.slice_of_lines(collections, start, start + step))
            for start in range(0, part.objects, step)
            for table, collections in tables.items()
        ]

    def _merge_whole(self, table: str, source: str, names: Iterable[str]) -> None:
        """Merge a slice, all of it or nothing; columns that it needs may be there before it."""
        lost = dict(self._lost)
        is_new = table not in self._columns
        try:
            columns = self._staged(table, source, names)
            if not is_new:
                self._add_columns(table, columns)
            self._execute("BEGIN")
            if is_new:
                self._create(table, columns)
            self._merge(table, columns)
            self._execute("COMMIT")
            self.changes += 1
        except BaseException:
            self._lost = lost
            if is_new:
                self._columns.pop(table, None)
            # What DuckDB has ended itself cannot be rolled back or dropped once more.
            for sql in ("ROLLBACK", *(f"DROP TABLE IF EXISTS {each}" for each in (TYPED, STAGED))):
                with suppress(WarehouseError):
                    self._execute(sql)
            raise

    def _staged(self, table: str, source: str, names: Iterable[str]) -> list[TableColumn]:
        """Lay a slice's values down in `STAGED`, and return their columns, typed."""
        sent_as: dict[str, list[str]] = {}
        homeless: set[str] = set()
        for name in dict.fromkeys(names):
            column = column_name(name)
            if column is None:
                homeless.add(name)
            sent_as.setdefault(column or name, []).append(name)
        known = self._columns.get(table, {})
        columns = [
            TableColumn(name, tuple(sent), None if name in homeless else known.get(name))
            for name, sent in sent_as.items()
        ]
        self._execute(statements.stage(source, columns))
        return self._with_types(columns, homeless)

    def _merge(self, table: str, columns: list[TableColumn]) -> None:
        ((repeated,),) = self._execute(
            f"SELECT count(*) > count(DISTINCT id) FROM {STAGED}"  # noqa: S608
        )
        merged = (
            statements.merge_staged(len(columns))
            if repeated
            else f"SELECT *, rowid AS n FROM {STAGED}"  # noqa: S608
        )
        self._execute(statements.type_staged(merged, columns))
        lost = self._values(statements.count_lost, list(enumerate(columns)))
        for merged_column, count in zip(columns, lost, strict=True):
            if count:
                place = (table, merged_column.name)
                self._lost[place] = self._lost.get(place, 0) + count
        self._execute(statements.update_known(self._named(table), columns))
        self._execute(statements.insert_new(self._named(table), columns))
        self._execute(f"DROP TABLE {TYPED}")
        self._execute(f"DROP TABLE {STAGED}")

    def _with_types(self, columns: list[TableColumn], homeless: set[str]) -> list[TableColumn]:
        """Return the columns, those without a type typed by their first value."""
        places = [
            place
            for place, column in enumerate(columns)
            if column.kind is None and column.name not in homeless
        ]
        texts = self._values(statements.first_values, places)
        typed = list(columns)
        for place, text in zip(places, texts, strict=True):
            if text is not None:
                typed[place] = replace(columns[place], kind=_type_of_text(text))
        return typed

    def _values(
        self, query: Callable[[Sequence[_Asked]], str], asked: Sequence[_Asked]
    ) -> list[Any]:
        """Return the one row of a query with a filtered aggregate for each that is asked for.

        DuckDB's memory and time for them grow with the square of their number.
        """
        values: list[Any] = []
        for start in range(0, len(asked), _AGGREGATES):
            (row,) = self._execute(query(asked[start : start + _AGGREGATES]))
            values += row
        return values

    def _create(self, table: str, columns: list[TableColumn]) -> None:
        kinds = {column.name: column.kind for column in columns if column.kind is not None}
        fields = "".join(f", {quoted(name)} {kind.value}" for name, kind in kinds.items())
        self._execute(
            f"CREATE TABLE {self._named(table)} "
            f"(id VARCHAR NOT NULL, received_at TIMESTAMPTZ{fields})"
        )
        self._columns[table] = kinds

    def _add_columns(self, table: str, columns: list[TableColumn]) -> None:
        """Add the columns that a table lacks, some in a transaction.

        DuckDB keeps a version of the whole table for every added column until the commit.
        """
        known = self._columns[table]
        new = [(c.name, c.kind) for c in columns if c.kind is not None and c.name not in known]
        for start in range(0, len(new), _ADDED_COLUMNS):
            added = new[start : start + _ADDED_COLUMNS]
            self._execute("BEGIN")
            for name, kind in added:
                self._execute(
                    f"ALTER TABLE {self._named(table)} ADD COLUMN {quoted(name)} {kind.value}"
                )
            self._execute("COMMIT")
            known.update(added)

    def _read_columns(self) -> None:
        kinds = {kind.value: kind for kind in ColumnType}
        found = self._execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE "  # noqa: S608
            f"schema_name = 'main' AND database_name = {literal(self._database)} "
            "ORDER BY table_oid, column_index"
        )
        for table, name, kind in found:
            columns = self._columns.setdefault(table, {})
            if name not in _OWN_COLUMNS:
                columns[name] = kinds.get(kind, ColumnType.VARCHAR)

    def _named(self, table: str) -> str:
        """Return a table's name in full, which no other table, column or schema can have."""
        return f"{quoted(self._database)}.main.{quoted(table)}"

    def _look(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query beside whatever the store does."""
        with self._view_lock:
            return self._run(self._view, sql)

    def _execute(self, sql: str) -> list[tuple[Any, ...]]:
        return self._run(self._connection, sql)

    @staticmethod
    def _run(connection: DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
        try:
            return connection.execute(sql).fetchall()
        except Exception as error:
            reason = str(error).partition("\n")[0][:500]
            raise WarehouseError(f"The warehouse failed: {reason}") from error


def _type_of_text(text: str) -> ColumnType:
    try:
        return type_of(_SCALAR.decode(text))
    except msgspec.ValidationError:
        # More digits than Python reads as a number.
        return ColumnType.VARCHAR
