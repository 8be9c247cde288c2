"""SCHEMA, keys and options become a frozen `StreamPlan`; a RECORD an encoded object, or its faults.

The rule that it guards: what can be decided at SCHEMA is decided there, and a record either is sent
as the exact rules of `docs/names-ids-values.md` say, or is rejected with all its faults at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from target_segment_objects.errors import RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import MAX_OBJECT_BYTES, SegmentObject
from target_segment_objects.plan import naming, values
from target_segment_objects.plan.conversion import OMIT, UnsendableValue
from target_segment_objects.plan.ids import IdentifyRecord, compile_identifier
from target_segment_objects.plan.nulls import null_bytes
from target_segment_objects.plan.options import PlanOptions
from target_segment_objects.plan.parsing import from_python, parse_record
from target_segment_objects.plan.properties import ObjectBuilder, PlannedColumn, PropertyWriters
from target_segment_objects.plan.schemas import Column, plain_column, read_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from target_segment_objects.plan.conversion_counts import Conversions

    _Encode = Callable[[dict[str, Any], Callable[[], dict[str, Any]]], "EncodedRecord"]

__all__ = [
    "EncodedRecord",
    "PlannedColumn",
    "StreamPlan",
    "compile_plan",
]

_NEAR_THE_LIMIT: Final = MAX_OBJECT_BYTES - 2_000
"""Bytes of properties from which on the line is measured: id and collection have 1,200 at most."""


_DEFAULT_OPTIONS: Final = PlanOptions()
_NO_CONVERSIONS: Final[Conversions] = {}


class EncodedRecord(NamedTuple):
    """A record's object, and what happened to its values on the way.

    Attributes:
        object: the object.
        conversions: how often what happened; mostly nothing did.
        new_columns: properties that the schema does not list and no earlier record had.
    """

    object: SegmentObject
    conversions: Conversions = _NO_CONVERSIONS
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
    omitted_key: str | None
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

    def encode(self, record: Mapping[str, Any], *, original: bytes | None = None) -> EncodedRecord:
        """Encode a record, given as Python values.

        Args:
            record: a JSON object as `json.loads` makes it; it is not changed. Besides `str`, `int`,
                `float`, `bool`, `None`, `dict` and `list`, values may be `Decimal` (every digit is
                kept), `datetime`, `date` and `time` (as ISO 8601), and `tuple` (as a list).
            original: the record as JSON before it was changed, if it was: the hash of this text is
                the id of a stream without key properties.

        Returns:
            The object, what was done to its values, and which of its properties are new. The object
            has the `collection`, the `id`, and the `properties` as JSON in UTF-8.

        Raises:
            RejectedRecordError: if the record cannot be sent. It lists all faults of the record.
            TypeError: for a value of another type.
        """
        values_of_plan = from_python(record)
        if original is None:
            return self._encode(values_of_plan, lambda: values_of_plan)
        return self._encode(values_of_plan, lambda: parse_record(original))

    def encode_json(self, raw: bytes) -> EncodedRecord:
        """Encode a record, given as JSON in UTF-8: every digit of its numbers is kept.

        Returns: as `encode`.

        Raises:
            RejectedRecordError: if the record cannot be sent. It lists all faults of the record.
        """
        record = parse_record(raw)
        return self._encode(record, lambda: record)


def compile_plan(
    stream: str,
    schema: Mapping[str, Any],
    key_properties: Sequence[str] | None = None,
    options: PlanOptions = _DEFAULT_OPTIONS,
) -> StreamPlan:
    """Compile the plan of a stream: how its records become objects.

    Args:
        stream: the stream's name; the name of the collection is derived from it.
        schema: the JSON Schema of its records, with `properties`. It decides the names and types of
            the object's properties.
        key_properties: the names of the properties that identify a record; the object's id is made
            of their values. Without any, the id is a hash of the whole record.
        options: the settings that decide how records become objects.

    Returns:
        The plan. It may encode records in one thread at a time.

    Raises:
        SchemaError: if properties have no usable name or share one, or the schema lists no
            properties.
        ConfigurationError: if `options.collections` maps the stream to an invalid name.
    """
    keys = tuple(key_properties or ())
    collection = naming.collection_name(
        stream,
        collections=options.collections,
        pluralize=options.pluralize,
        allow_digits=options.allow_collection_digits,
    )
    columns = read_columns(schema, stream=stream, has_keys=bool(keys))
    writers = PropertyWriters(stream, columns, options, omitted_key=_omitted_key(keys))
    return StreamPlan(
        stream=stream,
        collection=collection,
        key_properties=keys,
        columns=tuple(writers.columns.values()),
        declared=columns,
        omitted_key=writers.omitted_key,
        options=options,
        warnings=tuple(_warnings(stream, collection, keys, writers)),
        path_of=writers.path_of,
        _encoder=partial(_encoder, collection, keys, columns, writers),
    )


def _omitted_key(keys: tuple[str, ...]) -> str | None:
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
    counts = writers.counts  # of one record at a time
    write_id_alone = _id_writer(writers)

    def encode(record: dict[str, Any], original: Callable[[], dict[str, Any]]) -> EncodedRecord:
        if counts:  # of a record that was rejected
            counts.reset()
        builder = ObjectBuilder()
        write(record, builder)
        if not builder.properties and not builder.faults:
            write_id_alone(record, builder)
        told = _digest(original()) if identify is None else identify(record, builder.faults)
        if not builder.properties and not builder.faults:
            builder.add_fault((), FaultCode.EMPTY)
        if not told and not builder.faults:
            builder.add_fault((), FaultCode.KEY_EMPTY)
        if builder.faults:
            raise RejectedRecordError(_each_once(builder.faults))
        made = SegmentObject(collection, told, _encode_properties(builder.properties))
        if len(made.properties) > _NEAR_THE_LIMIT and len(made.line_bytes()) > MAX_OBJECT_BYTES:
            raise _too_large(made)
        if counts or builder.undeclared:
            return EncodedRecord(
                made, counts.take() if counts else _NO_CONVERSIONS, writers.new_columns(builder)
            )
        return EncodedRecord(made)

    return encode


def _identifier(
    keys: tuple[str, ...], columns: Mapping[str, Column], writers: PropertyWriters
) -> IdentifyRecord | None:
    """What makes the id of keys, if there are any."""
    if not keys:
        return None
    return compile_identifier(keys, columns, writers.options, writers.counts, writers.omitted_key)


def _each_once(faults: Sequence[Fault]) -> list[Fault]:
    """Each fault once; a key that is not of its type is one fault, and not its property's too."""
    keys = {fault.path for fault in faults if fault.code == FaultCode.KEY_TYPE}
    return [
        fault
        for fault in dict.fromkeys(faults)
        if fault.code != FaultCode.TYPE or fault.path not in keys
    ]


def _too_large(obj: SegmentObject) -> RejectedRecordError:
    mostly_nulls = null_bytes(obj.properties) * 2 > len(obj.properties)
    case = "nulls" if mostly_nulls else ""
    return RejectedRecordError([Fault((), FaultCode.OBJECT_TOO_LARGE, case)])


def _digest(original: dict[str, Any]) -> str:
    """The id of a record without keys: of any, since a stream map may drop what is wrong in it."""
    try:
        return values.record_digest(original)
    except UnicodeEncodeError:  # a lone surrogate, which JSON can escape
        return values.escaped_digest(original)


def _id_writer(writers: PropertyWriters) -> Callable[[dict[str, Any], ObjectBuilder], None]:
    """Never an empty `properties`: a record with nothing but its key keeps the key."""
    omitted_key = writers.omitted_key
    column = writers.omitted_column
    if column is not None and column.kind == "object":  # whole, since its leaves are left out too
        column = plain_column("json", column.types)
    convert = writers.converters.for_column(column)

    def write_id_alone(record: dict[str, Any], builder: ObjectBuilder) -> None:
        if omitted_key is None or omitted_key not in record:
            return
        writers.counts.name = "id"
        try:
            scalar = convert(record[omitted_key])
        except UnsendableValue as error:
            builder.add_faults((omitted_key,), error)
        else:
            if scalar is not OMIT:
                builder.properties["id"] = scalar

    return write_id_alone
