"""SCHEMA, keys and options become a frozen `StreamPlan`; a RECORD an encoded object, or its faults.

The rule that it guards: what can be decided at SCHEMA is decided there, and a record either is sent
as the exact rules of `docs/names-ids-values.md` say, or is rejected with all its faults at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from target_segment_objects.errors import Fault, RejectedRecordError
from target_segment_objects.objects import MAX_OBJECT_BYTES, SegmentObject
from target_segment_objects.plan import naming, values
from target_segment_objects.plan.conversion import FAULTS, OMIT, Notes, PlanOptions, Unfit
from target_segment_objects.plan.ids import Identify, identifier
from target_segment_objects.plan.nulls import bytes_of_nulls
from target_segment_objects.plan.parsing import parse_record
from target_segment_objects.plan.properties import PlannedColumn, PropertyWriters, Row
from target_segment_objects.plan.schemas import Column, plain_column, read_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    _Encode = Callable[[dict[str, Any], Callable[[], dict[str, Any]]], "Encoded"]

__all__ = [
    "Encoded",
    "NoteCounts",
    "Notes",
    "PlanOptions",
    "PlannedColumn",
    "StreamPlan",
    "compile_plan",
]

_NEAR_THE_LIMIT: Final = MAX_OBJECT_BYTES - 2_000
"""Bytes of properties from which on the line is measured: id and collection have 1,200 at most."""


NoteCounts = Mapping[tuple[str, str], int]
"""How often what happened to values: see `columns.Notes`."""
NO_NOTES: Final[NoteCounts] = {}


class Encoded(NamedTuple):
    """A record's object, and what happened to its values on the way.

    Attributes:
        object: the object.
        notes: how often what happened; mostly nothing did.
        new_columns: properties that the schema does not list and no earlier record had.
    """

    object: SegmentObject
    notes: NoteCounts = NO_NOTES
    new_columns: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StreamPlan:
    """All that a stream's SCHEMA decides: a value that can be printed and compared.

    Attributes:
        stream: the stream's name, after stream maps.
        collection: the collection that its records go to.
        key_properties: the properties that make the id; none: the record's hash does.
        columns: the declared leaves, in the schema's order.
        declared: the schema's columns as they are nested.
        left_out: the key that is the object's id, and no property.
        options: what it was compiled with.
        warnings: what the user should hear about this stream, once: kinds and sentences.
        path_of: tells where in a record a property of this name was found last: declared, or shown
            by the records so far; empty when that is not known.
    """

    stream: str
    collection: str
    key_properties: tuple[str, ...]
    columns: tuple[PlannedColumn, ...]
    declared: Mapping[str, Column] = field(repr=False)
    left_out: str | None
    options: PlanOptions = field(repr=False)
    warnings: tuple[tuple[str, str], ...]
    path_of: Callable[[str], tuple[str, ...]] = field(repr=False, compare=False)
    _encoder: Callable[[], _Encode] = field(repr=False, compare=False)

    @cached_property
    def _encode(self) -> _Encode:
        """Made for the first record that does not take the fast path: mostly none comes."""
        return self._encoder()

    @property
    def column_names(self) -> list[str]:
        """The names of the declared leaves."""
        return [planned.name for planned in self.columns]

    def encode(self, raw: bytes) -> Encoded:
        """The object of a record as the tap wrote it: JSON in UTF-8.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        record = parse_record(raw)
        return self._encode(record, lambda: record)

    def encode_mapped(self, record: dict[str, Any], raw: bytes) -> Encoded:
        """The object of a record that stream maps have changed.

        Args:
            record: values as `records.parse_record` gives them.
            raw: the record as the tap wrote it, which a stream without keys is identified by.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        return self._encode(record, lambda: parse_record(raw))


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
    columns = read_columns(schema, stream=stream, has_keys=bool(keys))
    writers = PropertyWriters(stream, columns, options, left_out=_left_out(keys))
    return StreamPlan(
        stream=stream,
        collection=collection,
        key_properties=keys,
        columns=tuple(writers.columns.values()),
        declared=columns,
        left_out=writers.left_out,
        options=options,
        warnings=tuple(_warnings(stream, collection, keys, writers)),
        path_of=writers.path_of,
        _encoder=partial(_encoder, collection, keys, columns, writers),
    )


def _left_out(keys: tuple[str, ...]) -> str | None:
    """The sole key that is the table's `id` already."""
    if len(keys) == 1 and naming.snake_case(naming.transliterate(keys[0])) == "id":
        return keys[0]
    return None


def _warnings(
    stream: str, collection: str, keys: tuple[str, ...], writers: PropertyWriters
) -> Iterator[tuple[str, str]]:
    if collection in naming.SEGMENT_TABLES:
        sentence = (
            f"stream {stream!r} goes to the collection {collection!r}, which is the name of a "
            "table of Segment's own events; rename it with `collections`"
        )
        yield "collection name", sentence
    if not keys:
        sentence = (
            f"stream {stream!r} has no key properties: each distinct record becomes an object of "
            "its own; give it keys with `stream_maps` and `__key_properties__`"
        )
        yield "no keys", sentence
    owned = {
        ".".join(planned.path): name
        for name, planned in writers.columns.items()
        if naming.is_warehouse_owned(name)
    }
    if owned:
        renamed = ", ".join(f"{path!r} as {name!r}" for path, name in owned.items())
        sentence = (
            f"stream {stream!r}: properties are renamed, since the warehouse has columns of those "
            f"names of its own: {renamed}; for other names, rename them with `stream_maps`"
        )
        yield "property name", sentence


_encode_properties = msgspec.json.Encoder().encode


def _encoder(
    collection: str,
    keys: tuple[str, ...],
    columns: Mapping[str, Column],
    writers: PropertyWriters,
) -> _Encode:
    """The function from a record, and the record as it was before stream maps, to its object."""
    identify = _identifier(keys, columns, writers)
    write = writers.write
    notes = writers.notes  # of one record at a time
    write_id_alone = _id_writer(writers)

    def encode(record: dict[str, Any], original: Callable[[], dict[str, Any]]) -> Encoded:
        if notes:  # of a record that was rejected
            notes.reset()
        row = Row()
        write(record, row)
        if not row.properties and not row.faults:
            write_id_alone(record, row)
        told = _digest(original()) if identify is None else identify(record, row.faults)
        if not row.properties and not row.faults:
            row.fault((), "empty")
        if not told and not row.faults:
            row.fault((), "key_empty")
        if row.faults:
            raise RejectedRecordError(_each_once(row.faults))
        made = SegmentObject(collection, told, _encode_properties(row.properties))
        if len(made.properties) > _NEAR_THE_LIMIT and len(made.line_bytes()) > MAX_OBJECT_BYTES:
            raise _too_large(made)
        if notes or row.undeclared:
            return Encoded(made, notes.take() if notes else NO_NOTES, writers.new_columns(row))
        return Encoded(made)

    return encode


def _identifier(
    keys: tuple[str, ...], columns: Mapping[str, Column], writers: PropertyWriters
) -> Identify | None:
    """What makes the id of keys, if there are any."""
    if not keys:
        return None
    return identifier(keys, columns, writers.options, writers.notes, writers.left_out)


def _each_once(faults: Sequence[Fault]) -> list[Fault]:
    """Each fault once; a key that is not of its type is one fault, and not its property's too."""
    keys = {fault.path for fault in faults if fault.code == "key_type"}
    return [
        fault for fault in dict.fromkeys(faults) if fault.code != "type" or fault.path not in keys
    ]


def _too_large(made: SegmentObject) -> RejectedRecordError:
    """What to do about it is known where most of the object is nulls."""
    message = FAULTS["object_too_large"]
    if bytes_of_nulls(made.properties) * 2 > len(made.properties):
        message = message.partition(";")[0] + (
            "; most of it is nulls of properties that the record lacks: set `nulls` to `drop`"
        )
    return RejectedRecordError([Fault((), "object_too_large", message)])


def _digest(original: dict[str, Any]) -> str:
    """The id of a record without keys: of any, since a stream map may drop what is wrong in it."""
    try:
        return values.record_digest(original)
    except UnicodeEncodeError:  # a lone surrogate, which JSON can escape
        return values.escaped_digest(original)


def _id_writer(writers: PropertyWriters) -> Callable[[dict[str, Any], Row], None]:
    """Never an empty `properties`: a record with nothing but its key keeps the key."""
    left_out = writers.left_out
    column = writers.left_out_column
    if column is not None and column.kind == "declared":  # whole, since its leaves are left out too
        column = plain_column("text", column.types)
    convert = writers.converters.of(column)

    def write_id_alone(record: dict[str, Any], row: Row) -> None:
        if left_out is None or left_out not in record:
            return
        writers.notes.name = "id"
        try:
            scalar = convert(record[left_out])
        except Unfit as unfit:
            row.unfit((left_out,), unfit)
        else:
            if scalar is not OMIT:
                row.properties["id"] = scalar

    return write_id_alone
