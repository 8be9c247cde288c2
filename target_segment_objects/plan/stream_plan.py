"""Compiles a SCHEMA, its keys and the options into a `StreamPlan`, which encodes records.

Invariant: what can be decided at SCHEMA is decided there. A record is either sent as
`docs/names-ids-values.md` says, or rejected with all its faults at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from target_segment_objects.errors import RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import SegmentObject
from target_segment_objects.plan import naming, values
from target_segment_objects.plan.column_table import ColumnTable, compile_columns
from target_segment_objects.plan.conversion_counts import ConversionCounts
from target_segment_objects.plan.ids import compile_identifier
from target_segment_objects.plan.nulls import null_bytes
from target_segment_objects.plan.options import PlanOptions
from target_segment_objects.plan.parsing import from_python, parse_record
from target_segment_objects.plan.properties import ObjectBuilder, PropertyWriters
from target_segment_objects.plan.schemas import read_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    _Encode = Callable[[dict[str, Any], bytes | None], "EncodedRecord"]

__all__ = ["EncodedRecord", "StreamPlan", "compile_plan"]

_MAX_HEAD_BYTES: Final = 2_000
"""More than id and collection add to the bytes of the properties, which is 1,200 at most."""
_DEFAULT_OPTIONS: Final = PlanOptions()
_NO_CONVERSIONS: Final = ConversionCounts()
_NO_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {}


class EncodedRecord(NamedTuple):
    """The object of a record.

    Attributes:
        object: the object, with `collection`, `id`, and `properties` as JSON.
        conversions: how often which conversion was applied to its values; usually empty.
        new_columns: paths, by name, of undeclared properties that no earlier object had.
    """

    object: SegmentObject
    conversions: ConversionCounts = _NO_CONVERSIONS
    new_columns: Mapping[str, tuple[str, ...]] = _NO_COLUMNS


@dataclass(frozen=True)
class StreamPlan:
    """Everything that a stream's SCHEMA decides. Plans can be compared, printed and pickled.

    Attributes:
        stream: the stream's name, after stream maps.
        collection: the collection that its objects go to.
        key_properties: the properties that make the id; without any, a hash of the record does.
        columns: the column table.
        options: what the plan was compiled with.
        warnings: warnings about the stream: pairs of a kind and a sentence.
    """

    stream: str
    collection: str
    key_properties: tuple[str, ...]
    columns: ColumnTable
    options: PlanOptions = field(repr=False)
    warnings: tuple[tuple[str, str], ...]

    @cached_property
    def _encode(self) -> _Encode:
        """Compiled when first needed: most streams have only records of the fast path."""
        return _encoder(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_encode"}

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
            ValueError: for an integer of more than 4,300 digits.
        """
        return self._encode(from_python(record), original)

    def encode_json(self, raw: bytes) -> EncodedRecord:
        """Encode a record, given as JSON in UTF-8: every digit of its numbers is kept.

        Returns: as `encode`.

        Raises:
            RejectedRecordError: if the record cannot be sent. It lists all faults of the record.
        """
        return self._encode(parse_record(raw), None)


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
    collection = naming.collection_name(stream, options)
    declared = read_columns(schema, stream=stream, has_keys=bool(keys))
    # The only key becomes no property if its column would be the table's `id` column.
    is_id = len(keys) == 1 and naming.snake_case(naming.transliterate(keys[0])) == "id"
    columns = compile_columns(stream, declared, options, omitted_key=keys[0] if is_id else None)
    return StreamPlan(
        stream=stream,
        collection=collection,
        key_properties=keys,
        columns=columns,
        options=options,
        warnings=tuple(_warnings(stream, collection, keys, columns)),
    )


def _warnings(
    stream: str, collection: str, keys: tuple[str, ...], columns: ColumnTable
) -> Iterator[tuple[str, str]]:
    if collection in naming.SEGMENT_TABLES:
        sentence = (
            f"stream {stream!r} goes to the collection {collection!r}, which is also "
            "a table of Segment's own events; rename it with `collections`"
        )
        yield "collection name", sentence
    if not keys:
        sentence = (
            f"stream {stream!r} has no key properties: each distinct record becomes a separate "
            "object; set keys with `stream_maps` and `__key_properties__`"
        )
        yield "no keys", sentence
    renamed = ", ".join(
        f"{'.'.join(row.path)!r} as {row.name!r}"
        for row in columns.rows
        if row.name.endswith("_")  # only such names do
    )
    if renamed:
        sentence = (
            f"stream {stream!r}: properties are renamed, since the warehouse reserves their names: "
            f"{renamed}; to choose other names, rename them with `stream_maps`"
        )
        yield "property name", sentence


_encode_properties = msgspec.json.Encoder().encode


def _encoder(plan: StreamPlan) -> _Encode:
    """Compile the function from a record, and its JSON before stream maps, to its object."""
    collection, columns, options = plan.collection, plan.columns, plan.options
    writers = PropertyWriters(columns, options)
    write, counts = writers.write, writers.counts
    keys = plan.key_properties
    identify = compile_identifier(keys, columns, options, counts) if keys else None
    max_bytes = options.limits.object_bytes
    measured_from = max_bytes - _MAX_HEAD_BYTES

    def encode(record: dict[str, Any], original: bytes | None) -> EncodedRecord:
        if counts:  # left by a record that was rejected
            counts.take()
        builder = ObjectBuilder()
        write(record, builder)
        if identify is not None:
            object_id = identify(record, builder.faults)
        else:
            object_id = values.record_digest(record if original is None else parse_record(original))
        if not builder.properties and not builder.faults:
            builder.faults.append(Fault((), FaultCode.EMPTY))
        if not object_id and not builder.faults:
            builder.faults.append(Fault((), FaultCode.KEY_EMPTY))
        if builder.faults:
            raise RejectedRecordError(_without_repetitions(builder.faults))
        obj = SegmentObject(collection, object_id, _encode_properties(builder.properties))
        if len(obj.properties) > measured_from and len(obj.line_bytes()) > max_bytes:
            raise _too_large(obj)
        if counts or builder.undeclared:
            conversions = counts.take() if counts else _NO_CONVERSIONS
            return EncodedRecord(obj, conversions, writers.new_columns(builder))
        return EncodedRecord(obj)

    return encode


def _without_repetitions(faults: Sequence[Fault]) -> list[Fault]:
    """Each fault once; for a key of the wrong type, only the key's fault, not the property's."""
    keys = {fault.path for fault in faults if fault.code == FaultCode.KEY_TYPE}
    unique = dict.fromkeys(faults)
    return [fault for fault in unique if fault.code != FaultCode.TYPE or fault.path not in keys]


def _too_large(obj: SegmentObject) -> RejectedRecordError:
    mostly_nulls = null_bytes(obj.properties) * 2 > len(obj.properties)
    case = "nulls" if mostly_nulls else ""
    return RejectedRecordError([Fault((), FaultCode.OBJECT_TOO_LARGE, case)])
