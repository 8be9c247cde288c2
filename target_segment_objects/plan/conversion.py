"""Compiles a column and the options into a converter: a function from a value to a scalar.

Invariant: what the options decide is decided once per column, not once per value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

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


class _Omit:
    """The type of `OMIT`."""

    def __repr__(self) -> str:
        return "OMIT"


OMIT: Final = _Omit()
"""What a converter returns for a value that becomes no property."""

Convert = Callable[[Any], "Scalar | _Omit"]
_Match = Callable[[Any], "Scalar | NoMatch"]


class Converters:
    """The converters of a plan, one for all columns of the same kind and types.

    Args:
        options: the plan's options.
        counts: where converters count; the caller sets its `name` before it calls one.
    """

    def __init__(self, options: PlanOptions, counts: ConversionCounts) -> None:
        self._options = options
        self._counts = counts
        self._by_kind: dict[tuple[ColumnKind, frozenset[str]] | None, Convert] = {}

    def for_column(self, column: Column | None) -> Convert:
        """Return the converter of a column; `None` stands for an undeclared property.

        It takes a value as `parse_record` returns it, and raises `UnsendableValue`.
        """
        kind = (column.kind, column.types) if column is not None else None
        if kind not in self._by_kind:
            self._by_kind[kind] = compile_converter(column, self._options, self._counts)
        return self._by_kind[kind]


def compile_converter(
    column: Column | None, options: PlanOptions, counts: ConversionCounts
) -> Convert:
    """Compile a converter; see `Converters.for_column`."""
    check_size = _size_checker(options, counts)
    to_json_text = _json_text_converter(options, counts)
    match_or_coerce = _match_or_coerce(column, options, to_json_text, counts)
    null: Scalar | _Omit = None if options.nulls == "send" else OMIT
    rejects_nested = options.nested == "reject"
    nulls_non_finite = options.non_finite_numbers == "null"
    value_bytes = options.limits.value_bytes

    def convert(value: Any) -> Scalar | _Omit:
        if value is None:
            return null
        kind = type(value)
        if kind is Raw or kind is NonFinite:
            if not values.is_finite(value):
                if nulls_non_finite:
                    counts.count(ConversionCode.NON_FINITE_NULLED)
                    return null
                raise UnsendableValue(Fault((), FaultCode.NON_FINITE))
        elif rejects_nested and (kind is dict or kind is list):
            raise UnsendableValue(Fault((), FaultCode.NESTED))
        scalar = match_or_coerce(value)
        if type(scalar) is str:
            if not is_plain_string(scalar):
                return check_size(scalar)
        elif type(scalar) is Raw and len(bytes(scalar)) >= value_bytes:
            return check_size(scalar)
        return scalar  # type: ignore[return-value]

    return convert


_PLAIN: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "boolean": frozenset({bool}),
    "untyped": frozenset({str, int, bool}),
    "union_with_string": frozenset({str, int, bool}),
}


def plain_types(column: Column, options: PlanOptions) -> frozenset[type]:
    """The types whose values a column's converter returns unchanged; of strings, plain ones."""
    return _plain_types(column.kind, options.nulls == "send")


@lru_cache
def _plain_types(kind: ColumnKind, with_null: bool) -> frozenset[type]:  # noqa: FBT001  private
    plain = _PLAIN.get(kind, frozenset())
    return plain | {type(None)} if with_null else plain


def is_plain_string(text: str) -> bool:
    """Whether a string needs no check: neither of its length nor of its characters."""
    return len(text) <= WAREHOUSE_STRING_LENGTH and text.isascii() and "\0" not in text


def _match_or_coerce(
    column: Column | None, options: PlanOptions, to_json_text: _Match, counts: ConversionCounts
) -> _Match:
    """Take a value that matches the column; treat others as `type_mismatches` says."""
    match, coerce = matcher_and_coercer(column, to_json_text)
    code = ConversionCode.COERCED
    if options.type_mismatches == "send":
        code = ConversionCode.MISMATCHED
        coerce = first_match(values.any_scalar, to_json_text)
    elif options.type_mismatches == "reject":
        coerce = _never

    def match_or_coerce(value: Any) -> Scalar | NoMatch:
        scalar = match(value)
        if scalar is not NO_MATCH:
            return scalar
        scalar = coerce(value)
        if scalar is NO_MATCH:
            raise UnsendableValue(Fault((), FaultCode.TYPE))
        counts.count(code)
        return scalar

    is_date = column is not None and column.kind == "date"
    return _date_normalizer(match_or_coerce, counts) if is_date else match_or_coerce


def _never(_: Any) -> NoMatch:
    return NO_MATCH


def first_match(first: _Match, second: _Match) -> _Match:
    """The function that tries two functions, one after the other."""

    def match(value: Any) -> Scalar | NoMatch:
        scalar = first(value)
        return scalar if scalar is not NO_MATCH else second(value)

    return match


def _only_containers(to_json_text: _Match) -> _Match:
    return lambda value: to_json_text(value) if type(value) in (dict, list) else NO_MATCH


def matcher_and_coercer(column: Column | None, to_json_text: _Match) -> tuple[_Match, _Match]:
    """What a column takes unchanged, and what can be converted to it without loss."""
    kind = column.kind if column is not None else "untyped"
    types = column.types if column is not None else frozenset()
    container = _only_containers(to_json_text)
    match kind:
        case "untyped":
            return first_match(values.any_scalar, container), _never
        case "object":  # what comes here is no object
            return _never, to_json_text
        case "json":
            return container, to_json_text
        case "string" | "date":
            return values.as_string, first_match(container, values.coerce_string)
        case "integer":
            return values.as_integer, values.coerce_integer
        case "number":
            return values.as_number, values.coerce_number
        case "boolean":
            return values.as_boolean, values.coerce_boolean
    takes_containers = bool(types & {"object", "array"})
    if kind == "union":
        return _union(types, *((container, to_json_text) if takes_containers else (_never, _never)))
    if takes_containers:
        return first_match(values.any_scalar, container), _never
    return values.any_scalar, container


def _union(types: frozenset[str], match: _Match, coerce: _Match) -> tuple[_Match, _Match]:
    if "boolean" in types:
        match = first_match(values.as_boolean, match)
        coerce = first_match(values.coerce_boolean, coerce)
    if "number" in types:
        match = first_match(values.as_number, match)
        coerce = first_match(values.coerce_number, coerce)
    elif "integer" in types:
        match = first_match(values.as_integer, match)
        coerce = first_match(values.coerce_integer, coerce)
    return match, coerce


def _date_normalizer(match: _Match, counts: ConversionCounts) -> _Match:
    def normalize(value: Any) -> Scalar | NoMatch:
        scalar = match(value)
        if type(value) is not str:
            return scalar
        text, is_date = values.normalize_datetime(value)
        if not is_date:
            counts.count(ConversionCode.INVALID_DATE)
        elif text != value:
            counts.count(ConversionCode.DATE_NORMALIZED)
        return text

    return normalize


def _json_text_converter(options: PlanOptions, counts: ConversionCounts) -> _Match:
    """The function from a value to its JSON text; it finds non-finite numbers at any depth."""
    rejects_non_finite = options.non_finite_numbers == "reject"

    def to_json_text(value: Any) -> Scalar:
        try:
            text = values.json_text(value)
        except (UnicodeEncodeError, TypeError):  # a lone surrogate or a NonFinite inside
            return check_and_convert(value)
        return check_and_convert(value) if may_be_infinite(text.encode()) else text

    def check_and_convert(value: Any) -> Scalar:
        paths: list[tuple[str, ...]] = []
        finite = values.without_non_finite(value, (), paths)
        faults = [Fault(path, FaultCode.NON_FINITE) for path in paths if rejects_non_finite]
        text = ""
        try:
            text = values.json_text(finite)
        except UnicodeEncodeError:
            faults.append(Fault((), FaultCode.INVALID_TEXT))
        if faults:
            raise UnsendableValue(*faults)
        if paths:
            counts.count(ConversionCode.NON_FINITE_NULLED, len(paths))
        return text

    return to_json_text


def _size_checker(
    options: PlanOptions, counts: ConversionCounts
) -> Callable[[str | Raw], Scalar | _Omit]:
    """The check of strings that are not plain, and of long number tokens."""
    value_bytes = options.limits.value_bytes

    def check_size(scalar: str | Raw) -> Scalar | _Omit:
        try:
            encoded = scalar.encode() if isinstance(scalar, str) else bytes(scalar)
        except UnicodeEncodeError:
            raise UnsendableValue(Fault((), FaultCode.INVALID_TEXT)) from None
        if len(encoded) >= value_bytes:
            if options.oversized_values == "drop":
                counts.count(ConversionCode.DROPPED)
                return OMIT
            if options.oversized_values == "reject" or type(scalar) is Raw:
                raise UnsendableValue(Fault((), FaultCode.VALUE_TOO_LARGE))
            counts.count(ConversionCode.TRUNCATED)
            scalar = encoded[: value_bytes - 1].decode(errors="ignore")
        if type(scalar) is str:
            if len(scalar) > WAREHOUSE_STRING_LENGTH:
                counts.count(ConversionCode.LONG_STRING)
            if "\0" in scalar:
                counts.count(ConversionCode.NUL_CHARACTER)
        return scalar

    return check_size
