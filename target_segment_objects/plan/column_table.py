"""The column table of a stream: where values stand in a record, and the properties they become.

The general path, the fast path and the preview read this table; none of them derives a name or a
column again. To rename, remove or add a property, change its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from target_segment_objects.errors import SchemaError
from target_segment_objects.plan.naming import property_name
from target_segment_objects.plan.schemas import Column, plain_column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_objects.plan.options import PlanOptions

__all__ = ["ColumnTable", "PlannedColumn", "compile_columns"]


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A row of the column table: a declared value and the property that it becomes.

    Attributes:
        path: where the value stands in the record: property names from its top.
        name: the name of the property in Segment.
        column: kind and types of its values; they select its converter (`Converters.for_column`).
    """

    path: tuple[str, ...]
    name: str
    column: Column


@dataclass(frozen=True)
class ColumnTable:
    """The columns of a stream.

    Attributes:
        rows: the columns, in the schema's order.
        declared: the schema's columns as they are nested, the omitted key included.
        omitted_key: the key property that becomes the object's id and no property.
    """

    rows: tuple[PlannedColumn, ...]
    declared: Mapping[str, Column] = field(repr=False)
    omitted_key: str | None

    @cached_property
    def by_name(self) -> Mapping[str, PlannedColumn]:
        """The rows by the names of their properties."""
        return {row.name: row for row in self.rows}

    @cached_property
    def by_path(self) -> Mapping[tuple[str, ...], PlannedColumn]:
        """The rows by their paths."""
        return {row.path: row for row in self.rows}


def compile_columns(
    stream: str, declared: Mapping[str, Column], options: PlanOptions, *, omitted_key: str | None
) -> ColumnTable:
    """Name the declared columns of a stream.

    Args:
        stream: the stream's name, for errors.
        declared: its columns, as `read_columns` returns them.
        options: how names are made, and which objects are flattened.
        omitted_key: the key property that becomes no property.

    Raises:
        SchemaError: if a column has no usable name, or the name of another one.
    """
    rows: dict[str, PlannedColumn] = {}
    depth = options.flatten_depth

    def add(path: tuple[str, ...], column: Column) -> None:
        if column.kind == "object":
            if len(path) <= depth:
                for inner_name, inner in column.properties.items():
                    add((*path, inner_name), inner)
                return
            column = plain_column("json", column.types)
        name = property_name(path, options.flattening)
        if not name or name in rows:
            raise _name_error(stream, path, rows.get(name))
        rows[name] = PlannedColumn(path, name, column)

    for name, column in declared.items():
        if name != omitted_key:
            add((name,), column)
    return ColumnTable(tuple(rows.values()), declared, omitted_key)


def _name_error(stream: str, path: tuple[str, ...], other: PlannedColumn | None) -> SchemaError:
    name = ".".join(path)
    if other is None:
        return SchemaError(
            f"stream {stream!r}: property {name!r} has no letter or digit in its name, so it "
            "cannot name a column; rename it with `stream_maps`"
        )
    is_nested = len(path) > 1 or len(other.path) > 1
    alternative = ", or set `nested` to `json`, so that objects stay whole" if is_nested else ""
    return SchemaError(
        f"stream {stream!r}: properties {'.'.join(other.path)!r} and {name!r} would both be "
        f"{other.name!r} in Segment, and one would overwrite the other; rename one of them with "
        f"`stream_maps`{alternative}"
    )
