"""The store in memory, for tests: every value that was ever applied to an object is kept."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from target_segment_objects.emulator.rules.columns import (
    ColumnType,
    Scalar,
    as_text,
    column_type_of,
    fit,
)
from target_segment_objects.emulator.rules.names import column_name, table_name
from target_segment_objects.emulator.rules.parts import part_lines
from target_segment_objects.emulator.rules.requests import Rules
from target_segment_objects.emulator.store.contract import TablePreview, Update

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from target_segment_objects.emulator.rules.parts import PartFile
    from target_segment_objects.emulator.store.contract import Row

_RECENT_UPDATES = 500


class MemoryStore:
    """Objects in dictionaries, with every value ever applied to them."""

    def __init__(self) -> None:
        """Start empty."""
        self._rows: dict[str, dict[str, Row]] = {}
        self._types: dict[str, dict[str, ColumnType]] = {}
        self._history: dict[str, dict[str, list[Mapping[str, Scalar]]]] = {}
        self._recently_updated: dict[str, deque[str]] = {}
        self._lock = threading.Lock()
        self.changes = 0

    def apply(self, updates: Iterable[Update]) -> None:
        """Merge updates, in order."""
        with self._lock:
            self._merge(updates)
            self.changes += 1

    def _merge(self, updates: Iterable[Update]) -> None:
        for collection, identifier, properties in updates:
            table = table_name(collection)
            rows = self._rows.setdefault(table, {})
            types = self._types.setdefault(table, {})
            row = rows.setdefault(identifier, {"id": identifier})
            # If two names become the same column, the last value is kept.
            columns = {column_name(name): value for name, value in properties.items()}
            columns.pop(None, None)
            row.update(columns)  # type: ignore[arg-type]
            if not columns.keys() <= types.keys():
                for column, value in columns.items():
                    if column is not None and column not in types and value is not None:
                        types[column] = column_type_of(value)
            self._recently_updated.setdefault(table, deque(maxlen=_RECENT_UPDATES)).append(
                identifier
            )
            history = self._history.setdefault(table, {})
            history.setdefault(identifier, []).append(properties)

    def load(self, part: PartFile) -> None:
        """Merge a checked part's objects, in order."""
        rules = Rules(collection_digits=True)
        with part.path.open("rb") as file:
            for line in part_lines(file, gzipped=part.gzipped):
                item = rules.parse_part_line(line)
                self.apply([Update(item.collection, item.id, item.properties)])

    def flush(self) -> None:
        """Do nothing: updates are applied at once."""

    def table_names(self) -> list[str]:
        """Return the tables' names, in order of first arrival."""
        return list(self._rows)

    def rows(self, table: str) -> list[Row]:
        """Return the merged objects with their values as sent; a cleared value is None."""
        return [dict(row) for row in self._rows.get(table, {}).values()]

    def typed_rows(self, table: str) -> list[Row]:
        """Return the rows as a warehouse shows them: every column, typed by its first value."""
        types = self._types.get(table, {})
        return [
            {"id": row["id"]}
            | {column: fit(row.get(column), kind) for column, kind in types.items()}  # type: ignore[arg-type]
            for row in self._rows.get(table, {}).values()
        ]

    def object_counts(self) -> dict[str, int]:
        """Return the number of objects of each table."""
        with self._lock:
            return {table: len(rows) for table, rows in self._rows.items()}

    def preview(self, table: str, rows: int, columns: int, chars: int) -> TablePreview | None:
        """Return the rows that were updated last; see `Store.preview`."""
        with self._lock:
            objects = self._rows.get(table)
            if objects is None:
                return None
            # An object that is updated repeatedly is shown once, with others before it.
            newest = dict.fromkeys(reversed(self._recently_updated[table]))
            newest.update(dict.fromkeys(islice(reversed(objects), rows)))
            types = dict(islice(self._types[table].items(), columns))
            texts = [
                [
                    identifier[:chars],
                    *(
                        as_text(fit(objects[identifier].get(column), kind), chars)  # type: ignore[arg-type]
                        for column, kind in types.items()
                    ),
                ]
                for identifier in islice(newest, rows)
            ]
        columns_and_types = [("id", ColumnType.VARCHAR), *types.items()]
        return TablePreview([(name, kind.value) for name, kind in columns_and_types], texts, {})

    def history(self, table: str, identifier: str) -> list[dict[str, Scalar]]:
        """Return the properties applied to one object, as sent, in order of application."""
        return [dict(update) for update in self._history.get(table, {}).get(identifier, [])]

    def lost_values(self) -> dict[tuple[str, str], int]:
        """Count the values that no column could hold."""
        lost_values: dict[tuple[str, str], int] = {}
        for table, objects in self._history.items():
            types = self._types[table]
            for updates in objects.values():
                for name, value in (pair for update in updates for pair in update.items()):
                    column = column_name(name)
                    if value is None or (column and fit(value, types[column]) is not None):
                        continue
                    key = (table, column or name)
                    lost_values[key] = lost_values.get(key, 0) + 1
        return lost_values

    def close(self) -> None:
        """Do nothing: rows stay readable after the emulator has stopped."""
