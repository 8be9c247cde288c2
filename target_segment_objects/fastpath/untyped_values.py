"""Checks and converts values that the struct types cannot validate: raw values and long strings.

The rule that it guards: a value comes out as its column's converter makes it. What is usual is made
here; the rest goes through that converter.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import MAX_VALUE_BYTES, WAREHOUSE_STRING_LENGTH
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
    Make = Callable[[bytes], Any]

__all__ = ["compile_value_checks"]

_TYPED: Final = frozenset({"integer", "number", "boolean"})
_DIGITS: Final = frozenset({b"-", *(b"%d" % digit for digit in range(10))})
_OPENING: Final = frozenset({b"{", b"["})

_parse = msgspec.json.Decoder(float_hook=Raw).decode
_encode = msgspec.json.Encoder().encode


def compile_value_checks(
    plan: StreamPlan, shape: StreamStructs, notes: ConversionCounts, *, allow_long_strings: bool
) -> list[ValueCheck]:
    """A function for each property that needs a check, which converts it in the record.

    Args:
        plan: what is compiled.
        shape: its structs.
        notes: where they count conversions.
        allow_long_strings: see `compile_stream`.

    Each raises `UnsendableValue`, or an error of msgspec's, for a record of the general path.
    """
    checks: list[ValueCheck] = []
    converters = Converters(plan.options, notes)
    for leaf in shape.leaves:
        kind = leaf.column.kind
        if kind in {"string", "date"}:
            if allow_long_strings:
                checks.append(_string_check(leaf, notes))
        elif kind not in _TYPED or (kind == "number" and not shape.has_doubles):
            make = _converter(leaf, converters, notes, shape.nothing)
            if kind == "number":
                make = _number(make)
            elif kind in {"json", "untyped"} and plan.options.nested != "reject":
                make = _container(make, leaf, notes)
            checks.append(_raw_check(leaf, make))
    return checks


def _string_check(leaf: Leaf, notes: ConversionCounts) -> ValueCheck:
    get = attrgetter(leaf.path)
    note = ConversionCode.LONG_STRING, leaf.name

    def check(record: Struct) -> None:
        text = get(record)
        if type(text) is str and len(text) > WAREHOUSE_STRING_LENGTH:
            size = len(text) if text.isascii() else len(text.encode())
            if size >= MAX_VALUE_BYTES:
                raise UnsendableValue(Fault((), FaultCode.VALUE_TOO_LARGE))
            notes[note] += 1

    return check


def _raw_check(leaf: Leaf, make: Make) -> ValueCheck:
    get = attrgetter(leaf.path)
    parent, _, name = leaf.path.rpartition(".")
    if not parent:

        def check(record: Struct) -> None:
            raw = get(record)
            if type(raw) is Raw:  # else it is not there
                setattr(record, name, make(bytes(raw)))

        return check
    parent_of = attrgetter(parent)

    def check_inside(record: Struct) -> None:
        holder = parent_of(record)
        raw = getattr(holder, name)
        if type(raw) is Raw:  # else it is not there, or in an object that is not
            setattr(holder, name, make(bytes(raw)))

    return check_inside


def _converter(leaf: Leaf, converters: Converters, notes: ConversionCounts, nothing: Any) -> Make:
    """The column's own converter, as on the general path."""
    convert, name = converters.for_column(leaf.column), leaf.name

    def make(text: bytes) -> Any:
        notes.name = name
        scalar = convert(_parse(text))
        return nothing if scalar is OMIT else scalar

    return make


def _number(otherwise: Make) -> Make:
    """The double of a short token; `-0` is an integer, and not the double of that name."""

    def make(text: bytes) -> Any:
        if text[:1] in _DIGITS and text != b"-0":
            double = exact_double(text)
            if double is not None:
                return double
        return otherwise(text)

    return make


def _container(otherwise: Make, leaf: Leaf, notes: ConversionCounts) -> Make:
    """An object or an array as JSON text."""
    note = ConversionCode.LONG_STRING, leaf.name

    def make(text: bytes) -> Any:
        if text[:1] not in _OPENING:
            return otherwise(text)
        told = _encode(_parse(text))
        if len(told) >= MAX_VALUE_BYTES or may_be_infinite(told):
            return otherwise(text)
        scalar = told.decode()
        if len(scalar) > WAREHOUSE_STRING_LENGTH:
            notes[note] += 1
        return scalar

    return make
