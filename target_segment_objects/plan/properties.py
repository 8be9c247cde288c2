"""The properties of an object: a closure for each that the schema declares, one for all others.

The rule that it guards: the list of `docs/names-ids-values.md`, "Which properties an object has".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.errors import SchemaError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import MAX_PROPERTIES
from target_segment_objects.plan import naming, values
from target_segment_objects.plan.conversion import (
    OMIT,
    Converters,
    UnsendableValue,
    is_plain_string,
    plain_types,
)
from target_segment_objects.plan.conversion_counts import UNDECLARED, ConversionCounts
from target_segment_objects.plan.schemas import Column, plain_column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_segment_objects.plan.options import PlanOptions

    Writer = Callable[[Any, "ObjectBuilder"], None]
    Path = tuple[str, ...]

__all__ = ["ABSENT", "ObjectBuilder", "PlannedColumn", "PropertyWriters"]

ABSENT: Final = object()
"""The value of a property that a record does not have."""

_FLAT: Final = 2
"""Parts of two paths of which none is inside an object."""
_OR_WHOLE: Final = ", or set `nested` to `json`, so that objects stay whole"
_NAMES_KEPT: Final = 10_000
"""Names of undeclared properties that are remembered: a map may have keys without end."""


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A declared leaf: where it stands in the record, and the property that it becomes."""

    path: tuple[str, ...]
    name: str
    column: Column


class ObjectBuilder:
    """One record on its way: its properties so far, and its faults.

    Attributes:
        properties: name → scalar, in the order in which they are sent.
        faults: all that is wrong with the record.
        undeclared: names that properties which the schema does not list have taken.
        has_undeclared_inside: whether an object inside it has undeclared properties.
    """

    __slots__ = ("faults", "has_undeclared_inside", "properties", "undeclared")

    def __init__(self) -> None:
        self.properties: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.undeclared: set[str] = set()
        self.has_undeclared_inside = False

    def add_fault(self, path: Path, code: FaultCode) -> None:
        """Add a fault at this path."""
        self.faults.append(Fault(path, code))

    def add_clash(self, path: Path, other: Path) -> None:
        """Add the fault that the property at this path has the name of another one."""
        if other:
            self.faults.append(Fault(path, FaultCode.NAME_CLASH, "with", (".".join(other),)))
        else:
            self.faults.append(Fault(path, FaultCode.NAME_CLASH))

    def add_faults(self, path: Path, error: UnsendableValue) -> None:
        """Add the faults of the value at this path."""
        self.faults += [fault.below(path) for fault in error.faults]


class PropertyWriters:
    """Writes a record's properties into a row.

    Names are taken at once. The closures are made for the first record that comes here: of most
    streams none does, and a tap may have thousands of streams.

    Attributes:
        columns: the declared leaves by the names of their properties, in the schema's order.
        left_out: the key that is the object's id, and no property.
        left_out_column: its column, if it is declared.
        counts: what happened to values on the way.
        converters: of its columns.

    Raises:
        SchemaError: when a declared leaf has no name, or that of another.
    """

    def __init__(
        self,
        stream: str,
        declared: Mapping[str, Column],
        options: PlanOptions,
        *,
        omitted_key: str | None,
    ) -> None:
        self.options = options
        self.counts = ConversionCounts()
        self.converters = Converters(options, self.counts)
        self.columns: dict[str, PlannedColumn] = {}
        self.omitted_key = omitted_key
        self.omitted_column = declared.get(omitted_key) if omitted_key is not None else None
        self._stream = stream
        self._declared = declared
        self._depth = options.flatten_depth
        self._seen: set[str] = set()
        self._names: dict[Path, str] = {}
        self._objects: dict[str, Path] = {}
        for name, column in declared.items():
            if name != omitted_key:
                self._reserve_names((name,), column)

    @cached_property
    def _writes(self) -> list[tuple[str, Writer]]:
        names = {planned.path: planned.name for planned in self.columns.values()}
        return [
            (name, self._writer((name,), column, names))
            for name, column in self._declared.items()
            if name != self.omitted_key
        ]

    def write(self, record: dict[str, Any], builder: ObjectBuilder) -> None:
        """Fill the row: declared leaves in the schema's order, then all others in the record's."""
        seen = int(self.omitted_key in record)
        for name, write in self._writes:
            value = record.get(name, ABSENT)
            if value is not ABSENT:
                seen += 1
                write(value, builder)
        if builder.has_undeclared_inside or len(record) != seen:
            self._write_undeclared(record, self._declared, builder, ())

    def new_columns(self, builder: ObjectBuilder) -> frozenset[str]:
        """The undeclared properties of a row that none before it had.

        After as many as a collection should have there are none more, so that memory is bounded.
        """
        if len(self._seen) > MAX_PROPERTIES:
            return frozenset()
        new = frozenset((builder.undeclared - self._seen) & builder.properties.keys())
        self._seen |= new
        return new

    def path_of(self, name: str) -> Path:
        """Where a property of this name was found last; empty when that is not known any more."""
        if (planned := self.columns.get(name)) is not None:
            return planned.path
        if name == "id" and self.omitted_key is not None:
            return (self.omitted_key,)
        if (path := self._objects.get(name)) is not None:
            return path
        newest_first = reversed(self._names.items())
        return next((path for path, found in newest_first if found == name), ())

    def _reserve_names(self, path: Path, column: Column) -> None:
        """Take the names of a declared property, whatever is below it."""
        if column.kind != "object":
            self._reserve_name(path, column)
        elif len(path) <= self._depth:
            for name, inner in column.properties.items():
                self._reserve_names((*path, name), inner)
            name = naming.property_name(path, self.options.flattening)
            self._objects.setdefault(name, path)
        else:
            self._reserve_name(path, plain_column("json", column.types))

    def _reserve_name(self, path: Path, column: Column) -> None:
        """Take the name of a declared leaf, which no other may have."""
        name = naming.property_name(path, self.options.flattening)
        told = ".".join(path)
        if not name:
            raise SchemaError(
                f"stream {self._stream!r}: property {told!r} has no letter or digit to name a "
                "column by; rename it with `stream_maps`"
            )
        if (other := self.columns.get(name)) is not None:
            raise SchemaError(
                f"stream {self._stream!r}: properties {'.'.join(other.path)!r} and {told!r} would "
                f"both be {name!r} in Segment, and one would overwrite the other; rename one of "
                f"them with `stream_maps`{_OR_WHOLE if len((*other.path, *path)) > _FLAT else ''}"
            )
        self.columns[name] = PlannedColumn(path, name, column)

    def _writer(self, path: Path, column: Column, names: Mapping[Path, str]) -> Writer:
        """The closure for one declared property, whatever is below it."""
        name = names.get(path)
        if name is None:
            return self._object_writer(path, column, names)
        return self._leaf_writer(path, self.columns[name].column, name)

    def _leaf_writer(self, path: Path, column: Column, name: str) -> Writer:
        convert = self.converters.for_column(column)
        counts = self.counts
        plain = plain_types(column, self.options)
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
            counts.name = name
            try:
                scalar = convert(value)
            except UnsendableValue as error:
                builder.add_faults(path, error)
            else:
                if scalar is not OMIT:
                    builder.properties[name] = scalar

        return write

    def _object_writer(self, path: Path, column: Column, names: Mapping[Path, str]) -> Writer:
        """A declared object: a closure for each of its leaves, which are null where it is not."""
        writes = [
            (name, self._writer((*path, name), inner, names))
            for name, inner in column.properties.items()
        ]
        known = column.properties.keys()
        write_instead = self._write_non_object(path, column)

        def write(value: Any, builder: ObjectBuilder) -> None:
            if type(value) is dict:
                # A leaf that is missing in an object that is present is null.
                for name, inner in writes:
                    inner(value.get(name), builder)
                builder.has_undeclared_inside = (
                    builder.has_undeclared_inside or not value.keys() <= known
                )
                return
            if value is not None:
                write_instead(value, builder)
            for _, inner in writes:
                inner(None, builder)

        return write

    def _write_non_object(self, path: Path, column: Column) -> Writer:
        """What is no object where one is declared becomes a property of the object's own name."""
        name = naming.property_name(path, self.options.flattening)
        convert = self.converters.for_column(column)

        def write(value: Any, builder: ObjectBuilder) -> None:
            scalar: object = OMIT
            self.counts.name = name
            try:
                scalar = convert(value)
            except UnsendableValue as error:
                builder.add_faults(path, error)
                if error.faults == (Fault((), FaultCode.TYPE),):
                    return
            if not values.is_finite(value):  # sent as null: a null object, and no property
                return
            if not name:
                builder.add_fault(path, FaultCode.NO_NAME)
            elif name in self.columns:
                builder.add_clash(path, self.columns[name].path)
            else:
                builder.undeclared.add(name)
                if scalar is not OMIT:
                    builder.properties[name] = scalar

        return write

    def _write_undeclared(
        self,
        record: dict[str, Any],
        declared: Mapping[str, Column],
        builder: ObjectBuilder,
        path: Path,
    ) -> None:
        for name, value in record.items():
            if not path and name == self.omitted_key:
                continue
            column = declared.get(name)
            if column is None:
                self._undeclared((*path, name), value, builder)
            elif column.kind == "object" and type(value) is dict and len(path) < self._depth:
                self._write_undeclared(value, column.properties, builder, (*path, name))

    def _undeclared(self, path: Path, value: Any, builder: ObjectBuilder) -> None:
        """A property of its own; an object is JSON text, whose parts cannot outlive each other."""
        try:
            name = self._name(path)
        except UnicodeEncodeError:
            builder.add_fault(path, FaultCode.INVALID_TEXT)
            name = None
        scalar: object = OMIT
        self.counts.name, self.counts.path = UNDECLARED, path
        try:
            scalar = self.converters.for_column(None)(value)
        except UnsendableValue as error:
            builder.add_faults(path, error)
        if name == "":
            builder.add_fault(path, FaultCode.NO_NAME)
        elif name is not None and (name in self.columns or name in builder.undeclared):
            builder.add_clash(path, self.columns[name].path if name in self.columns else ())
        elif name is not None:
            builder.undeclared.add(name)
            if scalar is not OMIT:
                builder.properties[name] = scalar

    def _name(self, path: Path) -> str:
        """The name of an undeclared property.

        Raises:
            UnicodeEncodeError: for a lone surrogate in it.
        """
        name = self._names.get(path)
        if name is None:
            "".join(path).encode()
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()
            name = self._names[path] = naming.property_name(path, self.options.flattening)
        return name
