"""Checks and converts values that the struct types cannot validate: raw values and long strings.

Invariant: a value becomes what its column's converter makes of it. Usual values are converted here;
the others are handed to that converter.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import WAREHOUSE_STRING_LENGTH
from target_segment_objects.plan import (
    OMIT,
    ConversionCode,
    ConversionCounts,
    Converters,
    UnsendableValue,
    exact_double,
    may_be_infinite,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Struct

    from target_segment_objects.fastpath.structs import Leaf, StreamStructs
    from target_segment_objects.plan import StreamPlan

    ValueCheck = Callable[[Struct], None]
    Convert = Callable[[bytes], Any]

__all__ = ["compile_value_checks"]

_NUMBER_STARTS: Final = frozenset({b"-", *(b"%d" % digit for digit in range(10))})
_CONTAINER_STARTS: Final = frozenset({b"{", b"["})

_parse = msgspec.json.Decoder(float_hook=Raw).decode
_encode = msgspec.json.Encoder().encode


def compile_value_checks(
    plan: StreamPlan, structs: StreamStructs, counts: ConversionCounts, *, allow_long_strings: bool
) -> list[ValueCheck]:
    """A function for each property that needs a check; it converts the value in the record.

    Args:
        plan: the plan of the stream.
        structs: its structs.
        counts: where the functions count conversions.
        allow_long_strings: see `compile_stream`.

    Each raises `UnsendableValue`, or an error of msgspec's, for a record of a fallback line.
    """
    checks: list[ValueCheck] = []
    converters = Converters(plan.options, counts)
    value_bytes = plan.options.limits.value_bytes
    for leaf in structs.leaves:
        kind = leaf.column.kind
        if leaf.is_raw:
            convert = _column_converter(leaf, converters, counts, structs.absent)
            if kind == "number":
                convert = _short_number_or(convert)
            elif kind in {"json", "untyped"} and plan.options.nested != "reject":
                convert = _container_or(convert, leaf, counts, value_bytes)
            checks.append(_raw_check(leaf, convert))
        elif allow_long_strings and kind in {"string", "date"}:
            checks.append(_string_check(leaf, counts, value_bytes))
    return checks


def _string_check(leaf: Leaf, counts: ConversionCounts, value_bytes: int) -> ValueCheck:
    get = attrgetter(leaf.path)
    conversion = ConversionCode.LONG_STRING, leaf.name

    def check(record: Struct) -> None:
        text = get(record)
        if type(text) is str and len(text) > WAREHOUSE_STRING_LENGTH:
            size = len(text) if text.isascii() else len(text.encode())
            if size >= value_bytes:
                raise UnsendableValue(Fault((), FaultCode.VALUE_TOO_LARGE))
            counts[conversion] += 1

    return check


def _raw_check(leaf: Leaf, convert: Convert) -> ValueCheck:
    parent, _, name = leaf.path.rpartition(".")
    parent_of = attrgetter(parent) if parent else None

    def check(record: Struct) -> None:
        holder = record if parent_of is None else parent_of(record)
        raw = getattr(holder, name)
        if type(raw) is Raw:  # else it is missing, or the object around it is
            setattr(holder, name, convert(bytes(raw)))

    return check


def _column_converter(
    leaf: Leaf, converters: Converters, counts: ConversionCounts, absent: Any
) -> Convert:
    """The column's own converter, as on the general path."""
    convert_value, name = converters.for_column(leaf.column), leaf.name

    def convert(token: bytes) -> Any:
        counts.name = name
        scalar = convert_value(_parse(token))
        return absent if scalar is OMIT else scalar

    return convert


def _short_number_or(convert_other: Convert) -> Convert:
    """Converts a short number to a double; not `-0`, since the integer becomes 0."""

    def convert(token: bytes) -> Any:
        if token[:1] in _NUMBER_STARTS and token != b"-0":
            double = exact_double(token)
            if double is not None:
                return double
        return convert_other(token)

    return convert


def _container_or(
    convert_other: Convert, leaf: Leaf, counts: ConversionCounts, value_bytes: int
) -> Convert:
    """Converts an object or an array to JSON text."""
    conversion = ConversionCode.LONG_STRING, leaf.name

    def convert(token: bytes) -> Any:
        if token[:1] not in _CONTAINER_STARTS:
            return convert_other(token)
        json_text = _encode(_parse(token))
        if len(json_text) >= value_bytes or may_be_infinite(json_text):
            return convert_other(token)
        text = json_text.decode()
        if len(text) > WAREHOUSE_STRING_LENGTH:
            counts[conversion] += 1
        return text

    return convert
