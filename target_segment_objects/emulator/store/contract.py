"""What the emulator needs of a store: objects merged by id, each property with its last value.

`MemoryStore` is the store for tests, `Warehouse` the one in DuckDB. One thread at a time calls a
store, except for `changes`, `object_counts` and `preview`, which other threads may call meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from target_segment_objects.emulator.rules.columns import Scalar, Typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.emulator.rules.parts import PartFile

Row = dict[str, Typed | Scalar]


class Update(NamedTuple):
    """Properties to merge into one object, with their names as sent."""

    collection: str
    id: str
    properties: Mapping[str, Scalar]


class TablePreview(NamedTuple):
    """The objects of a table that were updated last, newest first, as text."""

    columns: list[tuple[str, str]]
    """Names and types, `id` first."""
    rows: list[list[str | None]]
    """A text per column, None where there is no value."""
    lost_values: dict[str, int]
    """How many values a column could not hold; empty if the store does not count them."""


class Store(Protocol):
    """What the emulator needs of a store."""

    @property
    def changes(self) -> int:
        """A number that grows with every change of what `object_counts` and `preview` return."""

    def object_counts(self) -> dict[str, int]:
        """Return the number of objects of each table."""

    def preview(self, table: str, rows: int, columns: int, chars: int) -> TablePreview | None:
        """Return the rows that were updated last; None for an unknown table.

        At most `rows` rows and `columns` columns beside `id`, each text cut after `chars`
        characters.
        """

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates, in order; they may stay in memory until `flush`."""

    def load(self, part: PartFile) -> None:
        """Merge a checked part's objects, in order."""

    def flush(self) -> None:
        """Write the updates that are still in memory."""

    def table_names(self) -> list[str]:
        """Return the tables' names, in order of first arrival."""

    def rows(self, table: str) -> list[Row]:
        """Return a table's rows in order of first arrival, none for an unknown table."""

    def lost_values(self) -> dict[tuple[str, str], int]:
        """Count, by table and column or property, the values that no column could hold."""

    def close(self) -> None:
        """Flush, and release everything."""
