"""Where objects end up, merged by id: the last value of a property stays, whatever came between.

`Store` is what the emulator asks of a store; `MemoryStore` is the one for tests, `Warehouse` the
one in DuckDB. A store is called by one thread at a time, but for `changes`, `sizes` and `newest`,
which others may call beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from target_segment_objects.emulator.rules.columns import (
    ColumnType,
    Scalar,
    Typed,
    fit,
    shown,
    type_of,
)
from target_segment_objects.emulator.rules.names import column_name, table_name
from target_segment_objects.emulator.rules.parts import part_lines
from target_segment_objects.emulator.rules.requests import Rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from target_segment_objects.emulator.rules.parts import PartFile

Row = dict[str, Typed | Scalar]

_TOUCHED = 500


class Update(NamedTuple):
    """Properties to merge into one object, named as they were sent."""

    collection: str
    id: str
    properties: Mapping[str, Scalar]


class TablePreview(NamedTuple):
    """The objects of a table that were touched last, the newest first, as text."""

    columns: list[tuple[str, str]]
    """Name and type, `id` first."""
    rows: list[list[str | None]]
    """A text a column, None where there is no value."""
    lost: dict[str, int]
    """How many values a column could not hold; empty where the store does not count them."""


class Store(Protocol):
    """What the emulator needs of a store."""

    @property
    def changes(self) -> int:
        """A number that grows with every change of what `sizes` and `newest` return."""

    def sizes(self) -> dict[str, int]:
        """Return the number of objects of each table."""

    def newest(self, table: str, rows: int, columns: int, chars: int) -> TablePreview | None:
        """Return at most so many rows and columns, each text cut; None for an unknown table."""

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates, in order; they may wait in memory until `flush`."""

    def load(self, part: PartFile) -> None:
        """Merge a checked part's objects, in order."""

    def flush(self) -> None:
        """Write out what waits in memory."""

    def names(self) -> list[str]:
        """Return the tables' names, in order of first arrival."""

    def rows(self, table: str) -> list[Row]:
        """Return a table's rows in order of first arrival, empty for an unknown table."""

    def lost(self) -> dict[tuple[str, str], int]:
        """Count, by table and column or property, the values that no column could hold."""

    def close(self) -> None:
        """Flush, and let go of everything."""


class MemoryStore:
    """Objects in dictionaries, with every value ever applied to them."""

    def __init__(self) -> None:
        """Start empty."""
        self._rows: dict[str, dict[str, Row]] = {}
        self._types: dict[str, dict[str, ColumnType]] = {}
        self._history: dict[str, dict[str, list[Mapping[str, Scalar]]]] = {}
        self._touched: dict[str, deque[str]] = {}
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
            # Of two names that become one column only the last value is seen.
            columns = {column_name(name): value for name, value in properties.items()}
            columns.pop(None, None)
            row.update(columns)  # type: ignore[arg-type]
            if not columns.keys() <= types.keys():
                for column, value in columns.items():
                    if column is not None and column not in types and value is not None:
                        types[column] = type_of(value)
            self._touched.setdefault(table, deque(maxlen=_TOUCHED)).append(identifier)
            history = self._history.setdefault(table, {})
            history.setdefault(identifier, []).append(properties)

    def load(self, part: PartFile) -> None:
        """Merge a checked part's objects, in order."""
        rules = Rules(collection_digits=True)
        with part.path.open("rb") as file:
            for line in part_lines(file, gzipped=part.gzipped):
                item = rules.read_line(line)
                self.apply([Update(item.collection, item.id, item.properties)])

    def flush(self) -> None:
        """Do nothing: nothing waits."""

    def names(self) -> list[str]:
        """Return the tables' names, in order of first arrival."""
        return list(self._rows)

    def rows(self, table: str) -> list[Row]:
        """Return the merged objects with their values as sent; a cleared one is None."""
        return [dict(row) for row in self._rows.get(table, {}).values()]

    def typed_rows(self, table: str) -> list[Row]:
        """Return the rows as a warehouse shows them: every column, its type the first value's."""
        types = self._types.get(table, {})
        return [
            {"id": row["id"]}
            | {column: fit(row.get(column), kind) for column, kind in types.items()}  # type: ignore[arg-type]
            for row in self._rows.get(table, {}).values()
        ]

    def sizes(self) -> dict[str, int]:
        """Return the number of objects of each table."""
        with self._lock:
            return {table: len(rows) for table, rows in self._rows.items()}

    def newest(self, table: str, rows: int, columns: int, chars: int) -> TablePreview | None:
        """Return at most so many rows and columns, each text cut; None for an unknown table."""
        with self._lock:
            objects = self._rows.get(table)
            if objects is None:
                return None
            # One object that is updated again and again leaves room for those before it.
            touched = dict.fromkeys(reversed(self._touched[table]))
            touched.update(dict.fromkeys(islice(reversed(objects), rows)))
            kinds = dict(islice(self._types[table].items(), columns))
            found = [
                [
                    identifier[:chars],
                    *(
                        shown(fit(objects[identifier].get(column), kind), chars)  # type: ignore[arg-type]
                        for column, kind in kinds.items()
                    ),
                ]
                for identifier in islice(touched, rows)
            ]
        named = [("id", ColumnType.VARCHAR), *kinds.items()]
        return TablePreview([(name, kind.value) for name, kind in named], found, {})

    def history(self, table: str, identifier: str) -> list[dict[str, Scalar]]:
        """Return the properties applied to one object, as sent, in order of application."""
        return [dict(update) for update in self._history.get(table, {}).get(identifier, [])]

    def lost(self) -> dict[tuple[str, str], int]:
        """Count the values that no column could hold."""
        lost: dict[tuple[str, str], int] = {}
        for table, objects in self._history.items():
            types = self._types[table]
            for updates in objects.values():
                for name, value in (pair for update in updates for pair in update.items()):
                    column = column_name(name)
                    if value is None or (column and fit(value, types[column]) is not None):
                        continue
                    place = (table, column or name)
                    lost[place] = lost.get(place, 0) + 1
        return lost

    def close(self) -> None:
        """Do nothing: rows stay readable after the emulator has stopped."""
