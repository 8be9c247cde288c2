"""The store in DuckDB: a table per collection, typed columns, parts loaded by DuckDB itself.

DuckDB runs a few hundred small upserts a second. So the objects of `set` calls are collected in
memory as the lines of a part and merged as any part is: within a second, before a query, and on
stop.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from target_segment_objects.emulator.errors import WarehouseError
from target_segment_objects.emulator.rules.columns import ColumnType, as_text, to_datetime
from target_segment_objects.emulator.rules.parts import PartFile
from target_segment_objects.emulator.store.contract import TablePreview
from target_segment_objects.emulator.store.merging import TableMerger
from target_segment_objects.emulator.store.querying import connect, execute, run_query
from target_segment_objects.emulator.store.statements import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from target_segment_objects.emulator.store.contract import Row, Update

_MAX_PENDING_BYTES = 32 * 1024 * 1024
_THREADS = 2


class Warehouse:
    """A DuckDB file, locked for other processes until `close`."""

    def __init__(self, path: Path, folder: Path, memory_limit: str) -> None:
        """Open or create the file at `path`; temporary files go to `folder`.

        `MissingExtraError`, `WarehouseLockedError` and `WarehouseError` as for `connect`.
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
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._pending_lines: list[bytes] = []
        self._pending_bytes = 0
        self._pending_names: dict[str, dict[str, None]] = {}
        # A second connection reads committed data while the first one is busy.
        self._view = self._connection.cursor()
        self._view_lock = threading.Lock()
        self._read("SET TimeZone = 'UTC'")
        execute(self._connection, "SET TimeZone = 'UTC'")
        ((database,),) = execute(self._connection, "SELECT current_database()")
        # Statements give the full names of tables. Without the file's schema in the search path,
        # a macro in the file cannot replace one of DuckDB's functions.
        execute(self._connection, "SET search_path = 'system.main'")
        self._tables = TableMerger(self._connection, database)

    @property
    def changes(self) -> int:
        """A number that grows with every change of what `object_counts` and `preview` return."""
        return self._tables.changes

    def apply(self, updates: Sequence[Update]) -> None:
        """Collect updates; they are merged by `flush`, and here when they exceed 32 MiB."""
        for collection, identifier, properties in updates:
            line = self._encoder.encode(
                {"id": identifier, "collection": collection, "properties": properties}
            )
            self._pending_lines.append(line)
            self._pending_bytes += len(line) + 1
            names = self._pending_names.setdefault(collection, {})
            if not properties.keys() <= names.keys():
                names.update(dict.fromkeys(properties))
        if self._pending_bytes > _MAX_PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Merge the collected updates into their tables."""
        if not self._pending_lines:
            return
        path = self._folder / "pending.ndjson"
        try:
            path.write_bytes(b"\n".join(self._pending_lines))
        except OSError as error:
            reason = error.strerror or error
            raise WarehouseError(f"The temporary file {path} cannot be written: {reason}") from None
        properties = {collection: list(names) for collection, names in self._pending_names.items()}
        size = self._pending_bytes
        self.load(PartFile("", path, False, len(self._pending_lines), size, size, properties))
        self._pending_lines.clear()
        self._pending_bytes = 0
        self._pending_names.clear()
        path.unlink()

    def load(self, part: PartFile) -> None:
        """Merge a checked part's objects, in order; after an error it can be loaded again."""
        self._tables.merge_part(part)

    def table_names(self) -> list[str]:
        """Return the tables' names, in order of first arrival."""
        return list(self._tables.columns)

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table with all its columns, in order of first arrival."""
        columns = self._tables.columns.get(table)
        if columns is None:
            return []
        timestamp = ColumnType.TIMESTAMP
        fields = ["id"] + [
            f"epoch_us({quoted(name)})" if kind is timestamp else quoted(name)
            for name, kind in columns.items()
        ]
        # Rows come in the order of storage. `ORDER BY rowid` could mean a property's column.
        values = execute(
            self._connection,
            f"SELECT {', '.join(fields)} FROM {self._tables.full_name(table)}",  # noqa: S608
        )
        rows: list[Row] = [dict(zip(("id", *columns), row, strict=True)) for row in values]
        for name in (name for name, kind in columns.items() if kind is timestamp):
            for row in rows:
                value = row[name]
                row[name] = to_datetime(value) if isinstance(value, int) else None
        return rows

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query; `WarehouseError` when it fails."""
        with self._view_lock:
            columns, rows = run_query(self._view, sql)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def object_counts(self) -> dict[str, int]:
        """Return the number of objects of each table, from the catalogue: no table is read."""
        rows = self._read(
            "SELECT table_name, estimated_size FROM duckdb_tables() WHERE schema_name = 'main' "  # noqa: S608
            f"AND database_name = {literal(self._tables.database)} ORDER BY table_oid"
        )
        return dict(rows)

    def preview(self, table: str, rows: int, columns: int, chars: int) -> TablePreview | None:
        """Return the newest rows; `rows`, `columns` and `chars` are maximums, see `Store.preview`.

        DuckDB skips the blocks whose `received_at` is older than the newest rows.
        """
        names_and_types = self._read(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' "  # noqa: S608
            f"AND database_name = {literal(self._tables.database)} "
            f"AND table_name = {literal(table)} ORDER BY column_index"
        )
        if not names_and_types:
            return None
        names = {name for name, _ in names_and_types}
        order = ["received_at DESC"] if "received_at" in names else []
        order += ["rowid DESC"] if "rowid" not in names else []
        shown = [pair for pair in names_and_types if pair[0] != "received_at"][: columns + 1]
        timestamp = ColumnType.TIMESTAMP.value
        fields = [
            f"epoch_us({quoted(name)})"
            if type_name == timestamp
            else f"left(CAST({quoted(name)} AS VARCHAR), {chars})"
            for name, type_name in shown
        ]
        newest = self._read(
            f"SELECT {', '.join(fields)} FROM {self._tables.full_name(table)} "  # noqa: S608
            f"ORDER BY {', '.join(order)} LIMIT {rows}"
        )
        texts = [
            [
                as_text(to_datetime(value), chars) if isinstance(value, int) else value
                for value in row
            ]
            for row in newest
        ]
        # A copy, because the other thread may be counting.
        counts = self._tables.lost_values.copy()
        lost_values = {name: count for (owner, name), count in counts.items() if owner == table}
        return TablePreview(shown, texts, lost_values)

    def lost_values(self) -> dict[tuple[str, str], int]:
        """Count the values that no column could hold.

        A value that was overwritten within its slice is not counted.
        """
        return dict(self._tables.lost_values)

    def close(self) -> None:
        """Flush, and close the file."""
        try:
            self.flush()
        finally:
            self._view.close()
            self._connection.close()

    def _read(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query on the second connection, whatever the first one is doing."""
        with self._view_lock:
            return execute(self._view, sql)
