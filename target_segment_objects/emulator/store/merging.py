"""Merges the objects of a part into the tables of a DuckDB file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from target_segment_objects.emulator.errors import WarehouseError
from target_segment_objects.emulator.rules.columns import ColumnType, column_type_of
from target_segment_objects.emulator.rules.names import column_name, table_name
from target_segment_objects.emulator.store import statements
from target_segment_objects.emulator.store.querying import execute
from target_segment_objects.emulator.store.statements import (
    STAGED,
    TYPED,
    TableColumn,
    literal,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from duckdb import DuckDBPyConnection

    from target_segment_objects.emulator.rules.parts import PartFile

_SLICE_BYTES = 128 * 1024 * 1024
_WIDE_COLUMNS = 200
_WIDE_SLICE_VALUES = 500_000
"""Most values of a slice with more columns than that: missing values take memory too."""
_MAX_AGGREGATES = 50
"""In one query."""
_MAX_ADDED_COLUMNS = 50
"""In one transaction."""
_OWN_COLUMNS = frozenset({"id", "received_at"})
_SCALAR = msgspec.json.Decoder(bool | int | float | str)
_Item = TypeVar("_Item")


class TableMerger:
    """The tables of a DuckDB file, into which parts are merged.

    Attributes:
        database: the name of the file's database.
        columns: the types of each table's columns, without `id` and `received_at`.
        lost_values: how many values no column could hold, by table and column or property.
        changes: how many slices have been merged.
    """

    def __init__(self, connection: DuckDBPyConnection, database: str) -> None:
        """Read which tables and columns the file has."""
        self._connection = connection
        self.database = database
        self.columns: dict[str, dict[str, ColumnType]] = {}
        self.lost_values: dict[tuple[str, str], int] = {}
        self.changes = 0
        types = {kind.value: kind for kind in ColumnType}
        rows = self._execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE "  # noqa: S608
            f"schema_name = 'main' AND database_name = {literal(self.database)} "
            "ORDER BY table_oid, column_index"
        )
        for table, name, type_name in rows:
            columns = self.columns.setdefault(table, {})
            if name not in _OWN_COLUMNS:
                columns[name] = types.get(type_name, ColumnType.VARCHAR)

    def full_name(self, table: str) -> str:
        """Return a table's name with its database and schema, which makes it unambiguous."""
        return f"{quoted(self.database)}.main.{quoted(table)}"

    def merge_part(self, part: PartFile) -> None:
        """Merge a part's objects in order, one transaction per slice.

        After an error, the slices before it stay merged. The part can be merged again, since
        objects merge by id.
        """
        tables: dict[str, list[str]] = {}
        for collection in part.properties:
            tables.setdefault(table_name(collection), []).append(collection)
        try:
            # Outside a transaction, since only committed rows are numbered from 0.
            for table, source in self._slices(part, tables):
                names = chain.from_iterable(part.properties[name] for name in tables[table])
                self._merge_slice(table, source, names)
        finally:
            # After a fatal error the database cannot drop it, and that error is raised.
            with suppress(WarehouseError):
                self._execute(f"DROP TABLE IF EXISTS {statements.LINES}")

    def _slices(self, part: PartFile, tables: dict[str, list[str]]) -> list[tuple[str, str]]:
        """Return, for each slice in order, its table and a table expression of its lines.

        A small part of one table is read from its file. The lines of any other part are stored in
        a temporary table first, so that memory does not grow with the part.
        """
        lines = statements.lines_expression(part.path, gzipped=part.gzipped)
        slices = -(-part.uncompressed_bytes // _SLICE_BYTES)
        most_columns = max(map(len, part.properties.values()), default=0)
        if most_columns > _WIDE_COLUMNS:
            slices = max(slices, -(-part.objects * most_columns // _WIDE_SLICE_VALUES))
        if slices == 1 and len(tables) == 1:
            return [(table, lines) for table in tables]
        self._execute(statements.create_lines_table(lines))
        step = -(-part.objects // slices)
        return [
            (table, statements.slice_of_lines(collections, start, start + step))
            for start in range(0, part.objects, step)
            for table, collections in tables.items()
        ]

    def _merge_slice(self, table: str, source: str, names: Iterable[str]) -> None:
        """Merge a slice in one transaction; the columns that it needs are added before it."""
        lost_values = dict(self.lost_values)
        is_new = table not in self.columns
        try:
            columns = self._stage(table, source, names)
            if not is_new:
                self._add_columns(table, columns)
            self._execute("BEGIN")
            if is_new:
                self._create(table, columns)
            self._merge(table, columns)
            self._execute("COMMIT")
            self.changes += 1
        except BaseException:
            self.lost_values = lost_values
            if is_new:
                self.columns.pop(table, None)
            # DuckDB may have rolled back by itself, and then these statements fail.
            for sql in ("ROLLBACK", *(f"DROP TABLE IF EXISTS {name}" for name in (TYPED, STAGED))):
                with suppress(WarehouseError):
                    self._execute(sql)
            raise

    def _stage(self, table: str, source: str, names: Iterable[str]) -> list[TableColumn]:
        """Fill `STAGED` with a slice's values, and return their columns, with types."""
        property_names: dict[str, list[str]] = {}
        unmapped: set[str] = set()
        for name in dict.fromkeys(names):
            column = column_name(name)
            if column is None:
                unmapped.add(name)
            property_names.setdefault(column or name, []).append(name)
        known = self.columns.get(table, {})
        columns = [
            TableColumn(name, tuple(properties), None if name in unmapped else known.get(name))
            for name, properties in property_names.items()
        ]
        self._execute(statements.stage(source, columns))
        return self._with_types(columns, unmapped)

    def _merge(self, table: str, columns: list[TableColumn]) -> None:
        ((has_repeated_ids,),) = self._execute(
            f"SELECT count(*) > count(DISTINCT id) FROM {STAGED}"  # noqa: S608
        )
        merged = (
            statements.merge_staged(len(columns))
            if has_repeated_ids
            else f"SELECT *, rowid AS n FROM {STAGED}"  # noqa: S608
        )
        self._execute(statements.type_staged(merged, columns))
        counts = self._aggregates(statements.count_lost, list(enumerate(columns)))
        for column, count in zip(columns, counts, strict=True):
            if count:
                key = (table, column.name)
                self.lost_values[key] = self.lost_values.get(key, 0) + count
        self._execute(statements.update_known(self.full_name(table), columns))
        self._execute(statements.insert_new(self.full_name(table), columns))
        self._execute(f"DROP TABLE {TYPED}")
        self._execute(f"DROP TABLE {STAGED}")

    def _with_types(self, columns: list[TableColumn], unmapped: set[str]) -> list[TableColumn]:
        """Return the columns; one without a type gets the type of its first value."""
        indexes = [
            index
            for index, column in enumerate(columns)
            if column.kind is None and column.name not in unmapped
        ]
        texts = self._aggregates(statements.first_values, indexes)
        typed = list(columns)
        for index, text in zip(indexes, texts, strict=True):
            if text is not None:
                typed[index] = replace(columns[index], kind=_type_of_json_text(text))
        return typed

    def _aggregates(
        self, query: Callable[[Sequence[_Item]], str], items: Sequence[_Item]
    ) -> list[Any]:
        """Return the single row of a query that has a filtered aggregate for each item.

        DuckDB's memory and time for such a query grow with the square of their number, so it is
        run for some items at a time.
        """
        values: list[Any] = []
        for start in range(0, len(items), _MAX_AGGREGATES):
            (row,) = self._execute(query(items[start : start + _MAX_AGGREGATES]))
            values += row
        return values

    def _create(self, table: str, columns: list[TableColumn]) -> None:
        types = {column.name: column.kind for column in columns if column.kind is not None}
        fields = "".join(f", {quoted(name)} {kind.value}" for name, kind in types.items())
        self._execute(
            f"CREATE TABLE {self.full_name(table)} "
            f"(id VARCHAR NOT NULL, received_at TIMESTAMPTZ{fields})"
        )
        self.columns[table] = types

    def _add_columns(self, table: str, columns: list[TableColumn]) -> None:
        """Add the columns that a table lacks, some per transaction.

        DuckDB keeps a version of the whole table for every added column until the commit.
        """
        known = self.columns[table]
        missing = [(c.name, c.kind) for c in columns if c.kind is not None and c.name not in known]
        for start in range(0, len(missing), _MAX_ADDED_COLUMNS):
            added = missing[start : start + _MAX_ADDED_COLUMNS]
            self._execute("BEGIN")
            for name, kind in added:
                self._execute(
                    f"ALTER TABLE {self.full_name(table)} ADD COLUMN {quoted(name)} {kind.value}"
                )
            self._execute("COMMIT")
            known.update(added)

    def _execute(self, sql: str) -> list[tuple[Any, ...]]:
        return execute(self._connection, sql)


def _type_of_json_text(text: str) -> ColumnType:
    try:
        return column_type_of(_SCALAR.decode(text))
    except msgspec.ValidationError:
        # An integer with more digits than Python parses.
        return ColumnType.VARCHAR
