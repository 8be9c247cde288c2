"""Compiles a column and the options into a converter: a function from a value to a scalar.

Invariant: what the options decide is decided once per column, not once per value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from msgspec import UNSET, Raw, UnsetType

from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import WAREHOUSE_STRING_LENGTH
from target_segment_objects.plan import values
from target_segment_objects.plan.conversion_counts import ConversionCode, ConversionCounts
from target_segment_objects.plan.number_text import may_be_infinite
from target_segment_objects.plan.values import NO_MATCH, NoMatch, NonFinite, Scalar

if TYPE_CHECKING:
    from target_segment_objects.plan.options import PlanOptions
    from target_segment_objects.plan.schemas import Column, ColumnKind

__all__ = [
    "OMIT",
    "Convert",
    "Converters",
    "UnsendableValue",
    "first_match",
    "is_plain_string",
    "matcher_and_coercer",
    "plain_types",
]


class UnsendableValue(Exception):  # noqa: N818  caught by the plan, never seen by a caller
    """A value cannot be sent. The paths of its faults begin at the value."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults)
        self.faults = faults


OMIT: Final = UNSET
"""What a converter returns for a value that becomes no property."""

Convert = Callable[[Any], Scalar | UnsetType]
_Match = Callable[[Any], Scalar | NoMatch]


class Converters:
    """The converters of a plan, one for all columns of the same kind and types.

    Args:
        options: the plan's options.
        counts: where converters count; the caller sets its `name` before it calls one.
    """

    def __init__(self, options: PlanOptions, counts: ConversionCounts) -> None:
        self._options = options
        self._counts = counts
        self._by_kind: dict[tuple[ColumnKind, frozenset[str]], Convert] = {}

    def for_column(self, column: Column) -> Convert:
        """Return the converter of a column.

        It takes a value as `parse_record` returns it, and raises `UnsendableValue`.
        """
        kind = column.kind, column.types
        if kind not in self._by_kind:
            self._by_kind[kind] = self._compile(column)
        return self._by_kind[kind]

    def _compile(self, column: Column) -> Convert:
        options, counts = self._options, self._counts
        match, coerce, mismatch = self._matcher_and_coercer(column)
        is_date = column.kind == "date"
        null = None if options.nulls == "send" else OMIT
        rejects_nested = options.nested == "reject"
        value_bytes = options.limits.value_bytes

        def convert(value: Any) -> Scalar | UnsetType:
            if value is None:
                return null
            kind = type(value)
            if (kind is Raw or kind is NonFinite) and not values.is_finite(value):
                if options.non_finite_numbers == "reject":
                    raise UnsendableValue(Fault((), FaultCode.NON_FINITE))
                counts.count(ConversionCode.NON_FINITE_NULLED)
                return null
            if rejects_nested and (kind is dict or kind is list):
                raise UnsendableValue(Fault((), FaultCode.NESTED))
            scalar = match(value)
            if scalar is NO_MATCH:
                scalar = coerce(value)
                counts.count(mismatch)
            elif is_date:
                scalar = self._normalize_date(value)
            if (type(scalar) is str and not is_plain_string(scalar)) or (
                type(scalar) is Raw and len(bytes(scalar)) >= value_bytes
            ):
                return self._check_size(scalar)
            return scalar  # type: ignore[return-value]

        return convert

    def _matcher_and_coercer(self, column: Column) -> tuple[_Match, _Match, ConversionCode]:
        """As `matcher_and_coercer`, with the conversion of a value that does not match."""
        match, coerce = matcher_and_coercer(column, self._to_json_text)
        if self._options.type_mismatches == "send":
            coerce = first_match(values.any_scalar, self._to_json_text)
            return match, coerce, ConversionCode.MISMATCHED
        if self._options.type_mismatches == "reject":
            coerce = _never
        return match, first_match(coerce, _reject_type), ConversionCode.COERCED

    def _normalize_date(self, value: str) -> str:
        text, is_date = values.normalize_datetime(value)
        if not is_date:
            self._counts.count(ConversionCode.INVALID_DATE)
        elif text != value:
            self._counts.count(ConversionCode.DATE_NORMALIZED)
        return text

    def _to_json_text(self, value: Any) -> str:
        """The JSON text of a value, in which numbers at any depth may not be finite."""
        try:
            text = values.json_text(value)
        except (UnicodeEncodeError, TypeError):  # a lone surrogate or a NonFinite inside
            text = ""
        if text and not may_be_infinite(text.encode()):
            return text
        paths: list[tuple[str, ...]] = []
        finite = values.without_non_finite(value, (), paths)
        faults = []
        if self._options.non_finite_numbers == "reject":
            faults = [Fault(path, FaultCode.NON_FINITE) for path in paths]
        try:
            text = values.json_text(finite)
        except UnicodeEncodeError:
            faults.append(Fault((), FaultCode.INVALID_TEXT))
        if faults:
            raise UnsendableValue(*faults)
        if paths:
            self._counts.count(ConversionCode.NON_FINITE_NULLED, len(paths))
        return text

    def _check_size(self, scalar: str | Raw) -> Scalar | UnsetType:
        """Check a string that is not plain, or the long token of a number."""
        options, count = self._options, self._counts.count
        value_bytes = options.limits.value_bytes
        try:
            encoded = scalar.encode() if isinstance(scalar, str) else bytes(scalar)
        except UnicodeEncodeError:
            raise UnsendableValue(Fault((), FaultCode.INVALID_TEXT)) from None
        if len(encoded) >= value_bytes:
            if options.oversized_values == "drop":
                count(ConversionCode.DROPPED)
                return OMIT
            if options.oversized_values == "reject" or type(scalar) is Raw:
                raise UnsendableValue(Fault((), FaultCode.VALUE_TOO_LARGE))
            count(ConversionCode.TRUNCATED)
            scalar = encoded[: value_bytes - 1].decode(errors="ignore")
        if type(scalar) is str:
            if len(scalar) > WAREHOUSE_STRING_LENGTH:
                count(ConversionCode.LONG_STRING)
            if "\0" in scalar:
                count(ConversionCode.NUL_CHARACTER)
        return scalar


_PLAIN: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "boolean": frozenset({bool}),
    "untyped": frozenset({str, int, bool}),
    "union_with_string": frozenset({str, int, bool}),
}


def plain_types(column: Column, options: PlanOptions) -> frozenset[type]:
    """The types whose values a column's converter returns unchanged; of strings, plain ones."""
    plain = _PLAIN.get(column.kind, frozenset())
    return plain | {type(None)} if options.nulls == "send" else plain


def is_plain_string(text: str) -> bool:
    """Whether a string needs no check: neither of its length nor of its characters."""
    return len(text) <= WAREHOUSE_STRING_LENGTH and text.isascii() and "\0" not in text


def _never(_: Any) -> NoMatch:
    return NO_MATCH


def _reject_type(_: Any) -> NoReturn:
    raise UnsendableValue(Fault((), FaultCode.TYPE))


def first_match(first: _Match, second: _Match) -> _Match:
    """The function that tries two functions, one after the other."""

    def match(value: Any) -> Scalar | NoMatch:
        scalar = first(value)
        return scalar if scalar is not NO_MATCH else second(value)

    return match


_SCALARS: Final[Mapping[str, tuple[_Match, _Match]]] = {
    "boolean": (values.as_boolean, values.coerce_boolean),
    "integer": (values.as_integer, values.coerce_integer),
    "number": (values.as_number, values.coerce_number),
}
"""By type, in a union the last one first: every integer is a number, too."""


def matcher_and_coercer(column: Column, to_json_text: _Match) -> tuple[_Match, _Match]:
    """What a column takes unchanged, and what can be converted to it without loss."""

    def container(value: Any) -> Scalar | NoMatch:
        return to_json_text(value) if type(value) in (dict, list) else NO_MATCH

    takes_containers = not column.types.isdisjoint({"object", "array"})
    match column.kind:
        case "object":  # what comes here is no object
            return _never, to_json_text
        case "json":
            return container, to_json_text
        case "string" | "date":
            return values.as_string, first_match(container, values.coerce_string)
        case "union_with_string" if not takes_containers:
            return values.any_scalar, container
        case "untyped" | "union_with_string":
            return first_match(values.any_scalar, container), _never
        case kind if kind in _SCALARS:
            return _SCALARS[kind]
    match: _Match = container if takes_containers else _never
    coerce: _Match = to_json_text if takes_containers else _never
    for scalar_type, (match_scalar, coerce_scalar) in _SCALARS.items():
        if scalar_type in column.types:
            match = first_match(match_scalar, match)
            coerce = first_match(coerce_scalar, coerce)
    return match, coerce
