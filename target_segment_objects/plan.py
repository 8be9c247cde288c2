"""SCHEMA, keys and options become a frozen `StreamPlan`; a RECORD becomes an encoded object, or its faults.

The rule that it guards: what can be decided at SCHEMA is decided there, and a record either is sent as the exact rules of
`docs/names-ids-values.md` say, or is rejected with all of its faults at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Raw

from target_segment_objects import naming, values
from target_segment_objects.columns import FAULTS, OMIT, Notes, PlanOptions, Unfit, converter
from target_segment_objects.errors import Fault, RejectedRecordError, SchemaError
from target_segment_objects.ids import Identify, identifier
from target_segment_objects.objects import MAX_OBJECT_BYTES, MAX_PROPERTIES, SegmentObject
from target_segment_objects.schemas import Column, read_columns

__all__ = ["Notes", "PlanOptions", "PlannedColumn", "StreamPlan", "compile_plan", "parse_record"]

_Write = Callable[[Any, "_Row"], None]
_Path = tuple[str, ...]
_ABSENT: Final = object()


@dataclass(frozen=True)
class PlannedColumn:
    """A declared leaf: where it stands in the record, and the property that it becomes."""

    path: _Path
    name: str
    column: Column


@dataclass(frozen=True)
class StreamPlan:
    """All that a stream's SCHEMA decides: a value that can be printed and compared.

    Attributes:
        stream: the stream's name, after stream maps.
        collection: the collection that its records go to.
        key_properties: the properties that make the id; none: the record's hash does.
        columns: the declared leaves, in the schema's order.
        warnings: what the user should hear about this stream, once.
        notes: what happened to values on the way, counted as records are encoded.
    """

    stream: str
    collection: str
    key_properties: tuple[str, ...]
    columns: tuple[PlannedColumn, ...]
    warnings: tuple[str, ...]
    notes: Notes = field(repr=False, compare=False)
    _encode: Callable[[Any, Any], SegmentObject] = field(repr=False, compare=False)

    def encode(self, raw: bytes) -> SegmentObject:
        """The object of a record as the tap wrote it: JSON in UTF-8.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        record = parse_record(raw)
        return self._encode(record, record)

    def encode_mapped(self, record: dict[str, Any], original: dict[str, Any]) -> SegmentObject:
        """The object of a record that stream maps have changed.

        Args:
            record: values as `parse_record` gives them.
            original: the record as the tap wrote it, which a stream without keys is identified by.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        return self._encode(record, original)


_parse = msgspec.json.Decoder(float_hook=Raw).decode
_parse_oddities = json.JSONDecoder(
    parse_float=Raw,
    parse_int=lambda digits: int(digits) if len(digits) < values.LONGEST_INT else Raw(digits),
    parse_constant=values.NonFinite,
).decode


def parse_record(raw: bytes) -> dict[str, Any]:
    """A record's values: integers as `int`, other numbers as `Raw` tokens, NaN and its like as `NonFinite`.

    Raises:
        RejectedRecordError: when it is not an object, not UTF-8, or not JSON.
    """
    try:
        record = _parse(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # what msgspec refuses, Python may read
        try:
            record = _parse_oddities(raw.decode())
        except UnicodeDecodeError:
            raise _whole("unicode") from None
        except ValueError:
            raise _whole("json") from None
    if type(record) is not dict:
        raise _whole("record")
    return record


def _whole(code: str) -> RejectedRecordError:
    return RejectedRecordError([Fault((), code, FAULTS[code])])


class _Row:
    """One record on its way: its properties so far, and its faults."""

    __slots__ = ("faults", "more", "properties", "undeclared")

    def __init__(self) -> None:
        self.properties: dict[str, values.Scalar] = {}
        self.more = False
        self.faults: list[Fault] = []
        self.undeclared: set[str] = set()

    def fault(self, path: _Path, code: str) -> None:
        self.faults.append(Fault(path, code, FAULTS[code]))


def compile_plan(
    stream: str,
    schema: Mapping[str, Any],
    key_properties: Sequence[str] | None,
    options: PlanOptions,
) -> StreamPlan:
    """The plan of one SCHEMA message.

    Raises:
        SchemaError: when columns have no name, or share one, or the schema lists no properties.
        ConfigurationError: when `collections` maps the stream to an impossible name.
    """
    keys = tuple(key_properties or ())
    collection = naming.collection_name(
        stream,
        collections=options.collections,
        pluralize=options.pluralize,
        allow_digits=options.allow_collection_digits,
    )
    columns = read_columns(schema, stream=stream)
    compiler = _Compiler(stream, options, left_out=_left_out(keys))
    writes = [
        (name, compiler.write((name,), column))
        for name, column in columns.items()
        if name != compiler.left_out
    ]
    encode = _encoder(
        collection,
        writes,
        compiler,
        columns,
        identifier(keys, columns, options) if keys else None,
    )
    return StreamPlan(
        stream=stream,
        collection=collection,
        key_properties=keys,
        columns=tuple(compiler.columns.values()),
        warnings=tuple(_warnings(stream, collection, keys, compiler)),
        notes=compiler.notes,
        _encode=encode,
    )


def _left_out(keys: tuple[str, ...]) -> str | None:
    """The sole key that is the table's `id` already."""
    if len(keys) == 1 and naming.snake_case(naming.transliterate(keys[0])) == "id":
        return keys[0]
    return None


def _warnings(
    stream: str, collection: str, keys: tuple[str, ...], compiler: _Compiler
) -> Iterator[str]:
    if collection in naming.SEGMENT_TABLES:
        yield (
            f"stream {stream!r} goes to the collection {collection!r}, which is the name of a table of Segment's own events; "
            "rename it with `collections`"
        )
    if not keys:
        yield (
            f"stream {stream!r} has no key properties: each distinct record becomes an object of its own; "
            "give it keys with `stream_maps` and `__key_properties__`"
        )
    if len(compiler.columns) > MAX_PROPERTIES:
        yield (
            f"stream {stream!r} has {len(compiler.columns)} columns, more than the {MAX_PROPERTIES} that warehouses take well; "
            "drop some with `stream_maps`"
        )
    for name, planned in compiler.columns.items():
        if naming.is_warehouse_owned(planned.path):
            yield (
                f"stream {stream!r}: property {'.'.join(planned.path)!r} is sent as {name!r}, "
                "since the warehouse has a column of that name of its own"
            )


class _Compiler:
    """Makes one writing closure for each declared property, and one for all undeclared ones."""

    def __init__(self, stream: str, options: PlanOptions, left_out: str | None) -> None:
        self.stream = stream
        self.options = options
        self.left_out = left_out
        self._flatten = options.nested == "flatten"
        self.notes = Notes()
        self.columns: dict[str, PlannedColumn] = {}
        self._names: dict[_Path, str] = {}
        self._undeclared = converter(None, options, self.notes, "(undeclared)")

    def write(self, path: _Path, column: Column) -> _Write:
        """The closure for one declared property, whatever is below it."""
        if column.kind == "declared":
            if self._flatten:
                return self._branch(path, column)
            column = Column("text", column.types)
        return self._leaf(path, column, self._claim(path, column))

    def _claim(self, path: _Path, column: Column) -> str:
        name = naming.property_name(path)
        told = ".".join(path)
        if not name:
            raise SchemaError(
                f"stream {self.stream!r}: property {told!r} has no letter or digit to name a column by; rename it with `stream_maps`"
            )
        if (other := self.columns.get(name)) is not None:
            raise SchemaError(
                f"stream {self.stream!r}: properties {'.'.join(other.path)!r} and {told!r} would both be {name!r} in Segment, "
                "and one would overwrite the other; rename one of them with `stream_maps`"
            )
        self.columns[name] = PlannedColumn(path, name, column)
        return name

    def _leaf(self, path: _Path, column: Column, name: str) -> _Write:
        convert = converter(column, self.options, self.notes, name)

        def write(value: Any, row: _Row) -> None:
            if value is _ABSENT:  # missing in an object that is present
                value = None
            try:
                scalar = convert(value)
            except Unfit as unfit:
                for inner in unfit.paths:
                    row.fault(path + inner, unfit.code)
                return
            if scalar is not OMIT:
                row.properties[name] = scalar  # type: ignore[assignment]

        return write

    def _branch(self, path: _Path, column: Column) -> _Write:
        writes = [
            (name, self.write((*path, name), inner)) for name, inner in column.properties.items()
        ]
        known = column.properties.keys()
        own_name = naming.property_name(path)
        own = self._leaf(path, column, own_name)

        def write(value: Any, row: _Row) -> None:
            if type(value) is dict:
                for name, inner in writes:
                    inner(value.get(name, _ABSENT), row)
                row.more = row.more or not value.keys() <= known
                return
            if value is not None and value is not _ABSENT:
                if not own_name or own_name in self.columns:
                    row.fault(path, "clash" if own_name else "name")
                else:
                    row.undeclared.add(own_name)
                    own(value, row)
            for _, inner in writes:
                inner(None, row)

        return write

    def unlisted(
        self, record: dict[str, Any], columns: Mapping[str, Column], row: _Row, path: _Path = ()
    ) -> None:
        """Send all that the schema does not list, in the record's order."""
        for name, value in record.items():
            column = columns.get(name)
            if column is None:
                if path or name != self.left_out:
                    self.undeclared((*path, name), value, row)
            elif column.kind == "declared" and type(value) is dict and self._flatten:
                self.unlisted(value, column.properties, row, (*path, name))

    def undeclared(self, path: _Path, value: Any, row: _Row) -> None:
        """Send a property that the schema does not list."""
        if type(value) is dict and self._flatten:
            for name, part in value.items():
                self.undeclared((*path, name), part, row)
            return
        try:
            name = self._name(path)
        except UnicodeEncodeError:
            row.fault(path, "unicode")
            return
        if not name:
            row.fault(path, "name")
        elif name in self.columns or name in row.undeclared:
            row.fault(path, "clash")
        else:
            row.undeclared.add(name)
        try:
            scalar = self._undeclared(value)
        except Unfit as unfit:
            for inner in unfit.paths:
                row.fault(path + inner, unfit.code)
            return
        if scalar is not OMIT and name:
            row.properties.setdefault(name, scalar)  # type: ignore[arg-type]

    def _name(self, path: _Path) -> str:
        name = self._names.get(path)
        if name is None:
            "".join(path).encode()
            if len(self._names) >= _NAMES_KEPT:  # a map with keys without end
                self._names.clear()
            name = self._names[path] = naming.property_name(path)
        return name


_NAMES_KEPT: Final = 10_000
_encode_properties = msgspec.json.Encoder().encode


def _encoder(
    collection: str,
    writes: list[tuple[str, _Write]],
    compiler: _Compiler,
    columns: Mapping[str, Column],
    identify: Identify | None,
) -> Callable[[Any, Any], SegmentObject]:
    left_out = compiler.left_out
    left_out_column = columns.get(left_out) if left_out is not None else None
    send_id = converter(left_out_column, compiler.options, compiler.notes, "id")

    def encode(record: dict[str, Any], original: dict[str, Any]) -> SegmentObject:
        row = _Row()
        told = _digest(original) if identify is None else identify(record, row.faults)
        seen = 0
        for name, write in writes:
            value = record.get(name, _ABSENT)
            if value is not _ABSENT:
                seen += 1
                write(value, row)
        seen += left_out in record
        if row.more or len(record) != seen:
            compiler.unlisted(record, columns, row)
        if not row.properties and not row.faults:
            _send_id_alone(record, row, told)
        if not told and not row.faults:
            row.fault((), "unicode")
        if row.faults:
            raise RejectedRecordError(list(dict.fromkeys(row.faults)))
        made = SegmentObject(collection, told, _encode_properties(row.properties))
        if len(made.properties) > _NEAR_THE_LIMIT and len(made.line_bytes()) > MAX_OBJECT_BYTES:
            raise _whole("object_too_large")
        return made

    def _send_id_alone(record: dict[str, Any], row: _Row, told: str) -> None:
        """Never an empty `properties`: a record with nothing but its key keeps the key."""
        if left_out is None:
            row.fault((), "empty")
            return
        try:
            scalar = send_id(record[left_out])
        except Unfit as unfit:
            for inner in unfit.paths:
                row.fault((left_out, *inner), unfit.code)
            return
        row.properties["id"] = told if scalar is OMIT else scalar  # type: ignore[assignment]

    return encode


def _digest(original: dict[str, Any]) -> str:
    """The id of a record without keys; none when a lone surrogate is in it, which is a fault of its own."""
    try:
        return values.record_digest(original)
    except UnicodeEncodeError:
        return ""


_NEAR_THE_LIMIT: Final = MAX_OBJECT_BYTES - 2_000
