"""Writes the properties of an object: a function per declared property, and one for all others.

Invariant: an object has the properties that `docs/names-ids-values.md`, "Which properties an object
has", lists.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.plan import naming, values
from target_segment_objects.plan.conversion import (
    OMIT,
    Converters,
    UnsendableValue,
    is_plain_string,
    plain_types,
)
from target_segment_objects.plan.conversion_counts import UNDECLARED, ConversionCounts
from target_segment_objects.plan.schemas import UNTYPED, plain_column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_segment_objects.plan.column_table import ColumnTable, PlannedColumn
    from target_segment_objects.plan.conversion import Convert
    from target_segment_objects.plan.options import PlanOptions
    from target_segment_objects.plan.schemas import Column

    Writer = Callable[[Any, "ObjectBuilder"], None]
    Path = tuple[str, ...]

__all__ = ["ObjectBuilder", "PropertyWriters"]

_ABSENT: Final = object()
"""Stands for the value of a property that a record does not have."""

_MAX_CACHED_NAMES: Final = 10_000
"""Names of undeclared properties that are cached. Objects used as maps may have any number."""


class ObjectBuilder:
    """The object that is being made of one record.

    Attributes:
        properties: name → scalar, in the order in which they are sent.
        faults: the faults of the record so far.
        undeclared: name → path of the undeclared properties.
        has_undeclared_inside: whether an object inside the record has undeclared properties.
    """

    __slots__ = ("faults", "has_undeclared_inside", "properties", "undeclared")

    def __init__(self) -> None:
        self.properties: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.undeclared: dict[str, Path] = {}
        self.has_undeclared_inside = False


class PropertyWriters:
    """Writes the properties of records into objects.

    Attributes:
        counts: the conversions of the current record.
    """

    def __init__(self, table: ColumnTable, options: PlanOptions) -> None:
        self.counts = ConversionCounts()
        self._converters = Converters(options, self.counts)
        self._table = table
        self._options = options
        self._seen: set[str] = set()
        self._writers = [
            (name, self._writer((name,), column))
            for name, column in table.declared.items()
            if name != table.omitted_key
        ]

    def write(self, record: dict[str, Any], builder: ObjectBuilder) -> None:
        """Add the declared properties in the schema's order, then all others in the record's."""
        seen = int(self._table.omitted_key in record)
        for name, write in self._writers:
            value = record.get(name, _ABSENT)
            if value is not _ABSENT:
                seen += 1
                write(value, builder)
        if builder.has_undeclared_inside or len(record) != seen:
            self._write_undeclared(record, self._table.declared, builder, ())
        if not builder.properties and not builder.faults:
            self._write_key_alone(record, builder)

    def new_columns(self, builder: ObjectBuilder) -> Mapping[str, Path]:
        """The paths, by name, of undeclared properties that no object before this one had.

        After a great many names, new ones are no longer returned, so that memory is bounded.
        """
        if len(self._seen) >= _MAX_CACHED_NAMES:
            return {}
        new = {
            name: path
            for name, path in builder.undeclared.items()
            if name not in self._seen and name in builder.properties
        }
        self._seen |= new.keys()
        return new

    def _writer(self, path: Path, column: Column) -> Writer:
        row = self._table.by_path.get(path)
        return self._object_writer(path, column) if row is None else self._leaf_writer(row)

    def _leaf_writer(self, row: PlannedColumn) -> Writer:
        path, name, column = row.path, row.name, row.column
        convert = self._converters.for_column(column)
        plain = plain_types(column, self._options)
        is_number = column.kind == "number"

        def write(value: Any, builder: ObjectBuilder) -> None:
            kind = type(value)
            if kind in plain and (kind is not str or is_plain_string(value)):
                builder.properties[name] = value
                return
            if (
                is_number
                and kind is Raw
                and (double := values.exact_double(bytes(value))) is not None
            ):
                builder.properties[name] = double
                return
            scalar = self._convert(convert, name, path, value, builder)
            if scalar is not OMIT:
                builder.properties[name] = scalar

        return write

    def _convert(
        self, convert: Convert, name: str, path: Path, value: Any, builder: ObjectBuilder
    ) -> object:
        """Convert a value; add its faults, and return `OMIT`, if it cannot be sent."""
        self.counts.name, self.counts.path = name, path
        try:
            return convert(value)
        except UnsendableValue as error:
            builder.faults += [fault.below(path) for fault in error.faults]
            return OMIT

    def _write_key_alone(self, record: dict[str, Any], builder: ObjectBuilder) -> None:
        """Send the omitted key as `id` when the object would otherwise have no property."""
        key = self._table.omitted_key
        if key is None or key not in record:
            return
        column = self._table.declared.get(key, UNTYPED)
        if column.kind == "object":
            column = plain_column("json", column.types)
        convert = self._converters.for_column(column)
        scalar = self._convert(convert, "id", (key,), record[key], builder)
        if scalar is not OMIT:
            builder.properties["id"] = scalar

    def _object_writer(self, path: Path, column: Column) -> Writer:
        """The writer of an object that is flattened. Its properties are null if it is missing."""
        writers = [
            (name, self._writer((*path, name), inner)) for name, inner in column.properties.items()
        ]
        declared = column.properties.keys()
        name_alone = naming.property_name(path, self._options.flattening)
        convert = self._converters.for_column(column)

        def write(value: Any, builder: ObjectBuilder) -> None:
            if type(value) is dict:
                for name, write_inner in writers:  # what is missing in it is null
                    write_inner(value.get(name), builder)
                if not value.keys() <= declared:
                    builder.has_undeclared_inside = True
                return
            if value is not None:  # no object: a property of its own
                scalar = self._convert(convert, name_alone, path, value, builder)
                is_mismatch = Fault(path, FaultCode.TYPE) in builder.faults
                if not is_mismatch and values.is_finite(value):  # not finite: as a null object
                    self._add_undeclared(builder, path, name_alone, scalar)
            for _, write_inner in writers:
                write_inner(None, builder)

        return write

    def _write_undeclared(
        self,
        record: dict[str, Any],
        declared: Mapping[str, Column],
        builder: ObjectBuilder,
        at: Path,
    ) -> None:
        for name, value in record.items():
            if not at and name == self._table.omitted_key:
                continue
            path = (*at, name)
            column = declared.get(name)
            if column is None:
                self._write_undeclared_value(path, value, builder)
            elif type(value) is dict and path not in self._table.by_path:  # it is flattened
                self._write_undeclared(value, column.properties, builder, path)

    def _write_undeclared_value(self, path: Path, value: Any, builder: ObjectBuilder) -> None:
        """Add an undeclared property. An object is sent whole, as JSON text."""
        name: str | None = None
        try:
            name = _undeclared_name(path, self._options.flattening)
        except UnicodeEncodeError:
            builder.faults.append(Fault(path, FaultCode.INVALID_TEXT))
        convert = self._converters.for_column(UNTYPED)
        scalar = self._convert(convert, UNDECLARED, path, value, builder)
        if name is not None:
            self._add_undeclared(builder, path, name, scalar)

    def _add_undeclared(
        self, builder: ObjectBuilder, path: Path, name: str, scalar: object
    ) -> None:
        if not name:
            builder.faults.append(Fault(path, FaultCode.NO_NAME))
        elif (row := self._table.by_name.get(name)) is not None:
            other = (".".join(row.path),)
            builder.faults.append(Fault(path, FaultCode.NAME_CLASH, "with", other))
        elif name in builder.undeclared:
            builder.faults.append(Fault(path, FaultCode.NAME_CLASH))
        else:
            builder.undeclared[name] = path
            if scalar is not OMIT:
                builder.properties[name] = scalar


@lru_cache(_MAX_CACHED_NAMES)
def _undeclared_name(path: Path, flattening: naming.Flattening | None) -> str:
    """The name of an undeclared property.

    Raises:
        UnicodeEncodeError: if the path has a lone surrogate.
    """
    "".join(path).encode()
    return naming.property_name(path, flattening)
