"""A declared column and the options become one closure: value → scalar, or why it cannot be.

The rule that it guards: what the options decide is decided here, once a column, not once a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.objects import MAX_VALUE_BYTES, WAREHOUSE_STRING_LENGTH
from target_segment_objects.plan import values
from target_segment_objects.plan.conversion_counts import ConversionCode, ConversionCounts
from target_segment_objects.plan.number_text import may_be_infinite
from target_segment_objects.plan.values import NO_MATCH, NoMatch, NonFinite, Scalar

if TYPE_CHECKING:
    from target_segment_objects.plan.options import PlanOptions
    from target_segment_objects.plan.schemas import Column, Kind

__all__ = [
    "FAULTS",
    "OMIT",
    "Convert",
    "Converters",
    "UnsendableValue",
    "is_plain_string",
    "plain_types",
]


FAULTS: Final[Mapping[str, str]] = {
    "record": "the record is not an object",
    "json": "the record is not JSON",
    "unicode": "holds a lone surrogate or bytes that are not UTF-8; no warehouse can store that",
    "name": "its name has no letter or digit, so that it cannot name a column; "
    "rename it with `stream_maps`",
    "clash": "another property has the same name in Segment; rename one of them with "
    "`stream_maps`, or set `nested` to `json` for properties of objects",
    "nested": "an object or array, and `nested` is `reject`",
    "type": "not of the type that the schema says, and not converted to it; see `type_mismatches`",
    "non_finite": "NaN or infinite; see `non_finite_numbers`",
    "value_too_large": "has 32 KB or more, the API's limit for a value; see `oversized_values`",
    "key_missing": "the key property is missing; choose keys that every record has in "
    "`__key_properties__` of `stream_maps`",
    "expression": "its expression in `stream_maps` fails on this record",
    "key_empty": "the key property is null, empty or not finite",
    "key_type": "the key property is not of the type that the schema says",
    "long_id": "the id has more than 100 characters; see `long_ids`",
    "empty": "nothing to send: an object needs at least one property",
    "object_too_large": "the object has more than 400 KB, the API's limit for one object; leave "
    "properties out with `stream_maps`",
    "refused": "Segment refused the object",
    "schema": "breaks the stream's JSON Schema, and `validate_records` is on",
}
"""Every code of a `Fault`, with what it tells the user."""


class UnsendableValue(Exception):  # noqa: N818  caught by the plan, never seen by a caller
    """A value cannot be sent: the code of each fault, and where inside the value it is."""

    def __init__(self, *faults: tuple[str, tuple[str, ...]]) -> None:
        super().__init__(faults)
        self.faults = faults


class _Omit:
    """The type of `OMIT`."""

    def __repr__(self) -> str:
        return "OMIT"


OMIT: Final = _Omit()
"""The answer for a value that leaves no property."""

Convert = Callable[[Any], "Scalar | _Omit"]
_Match = Callable[[Any], "Scalar | NoMatch"]


class Converters:
    """The converters of a plan: one for all columns of a kind, since a stream has many.

    Args:
        options: what they decide.
        counts: what they note, of the property that it names.
    """

    def __init__(self, options: PlanOptions, counts: ConversionCounts) -> None:
        self._options = options
        self._counts = counts
        self._of: dict[tuple[Kind, frozenset[str]] | None, Convert] = {}

    def of(self, column: Column | None) -> Convert:
        """The function that makes a column's values fit to send; `None` is an undeclared property.

        Its argument is a value as `plan.parse_record` gives it. It raises `UnsendableValue`.
        """
        kind = (column.kind, column.types) if column is not None else None
        if kind not in self._of:
            self._of[kind] = compile_converter(column, self._options, self._counts)
        return self._of[kind]


def compile_converter(
    column: Column | None, options: PlanOptions, counts: ConversionCounts
) -> Convert:
    """A converter, as `Converters.of` gives it."""
    sized = _size_checker(options, counts)
    text = _json_text_converter(options, counts)
    fit = _match_or_coerce(column, options, text, counts)
    null: Scalar | _Omit = None if options.nulls == "send" else OMIT
    refuse_nested = options.nested == "reject"
    null_non_finite = options.non_finite_numbers == "null"

    def convert(value: Any) -> Scalar | _Omit:
        if value is None:
            return null
        kind = type(value)
        if kind is Raw or kind is NonFinite:
            if not values.is_finite(value):
                if null_non_finite:
                    counts.count(ConversionCode.NON_FINITE_NULLED)
                    return null
                raise UnsendableValue(("non_finite", ()))
        elif refuse_nested and (kind is dict or kind is list):
            raise UnsendableValue(("nested", ()))
        scalar = fit(value)
        if type(scalar) is str:
            if not is_plain_string(scalar):
                return sized(scalar)
        elif type(scalar) is Raw and len(bytes(scalar)) >= MAX_VALUE_BYTES:
            return sized(scalar)
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
    """Types whose values a column's converter answers as they are, plain strings only."""
    return _plain_types(column.kind, options.nulls == "send")


@lru_cache
def _plain_types(kind: Kind, with_null: bool) -> frozenset[type]:  # noqa: FBT001  private
    plain = _PLAIN.get(kind, frozenset())
    return plain | {type(None)} if with_null else plain


def is_plain_string(text: str) -> bool:
    """Whether a string has nothing to look at: neither its length nor what its characters are."""
    return len(text) <= WAREHOUSE_STRING_LENGTH and text.isascii() and "\0" not in text


def _match_or_coerce(
    column: Column | None, options: PlanOptions, text: _Match, counts: ConversionCounts
) -> _Match:
    """What the column takes as it is, then what `type_mismatches` makes of the rest."""
    takes, coerces = _matcher_and_coercer(column, text)
    code = (
        ConversionCode.MISMATCHED if options.type_mismatches == "send" else ConversionCode.COERCED
    )
    if options.type_mismatches == "coerce":
        otherwise = coerces
    elif options.type_mismatches == "send":
        otherwise = _first_match(values.any_scalar, text)
    else:
        otherwise = _never

    def fit(value: Any) -> Scalar | NoMatch:
        scalar = takes(value)
        if scalar is not NO_MATCH:
            return scalar
        scalar = otherwise(value)
        if scalar is NO_MATCH:
            raise UnsendableValue(("type", ()))
        counts.count(code)
        return scalar

    return fit if column is None or column.kind != "date" else _date_normalizer(fit, counts)


def _never(_: Any) -> NoMatch:
    return NO_MATCH


def _first_match(first: _Match, second: _Match) -> _Match:
    def fit(value: Any) -> Scalar | NoMatch:
        scalar = first(value)
        return scalar if scalar is not NO_MATCH else second(value)

    return fit


def _only_containers(text: _Match) -> _Match:
    return lambda value: text(value) if type(value) in (dict, list) else NO_MATCH


def _matcher_and_coercer(column: Column | None, text: _Match) -> tuple[_Match, _Match]:
    """What a column takes as it is, and what it can coerce."""
    kind = column.kind if column is not None else "untyped"
    contained = _only_containers(text)
    if kind == "untyped":
        return _first_match(values.any_scalar, contained), _never
    if kind == "object":  # what is not an object where one is declared: nothing fits
        return _never, text
    if kind == "json":
        return contained, text
    if kind in {"string", "date"}:
        return values.as_string, _first_match(contained, values.coerce_string)
    if kind == "integer":
        return values.as_integer, values.coerce_integer
    if kind == "number":
        return values.as_number, values.coerce_number
    if kind == "boolean":
        return values.as_boolean, values.coerce_boolean
    types = column.types if column is not None else frozenset()
    nested = bool(types & {"object", "array"})
    if kind == "union_with_string":
        return (
            (_first_match(values.any_scalar, contained), _never)
            if nested
            else (values.any_scalar, contained)
        )
    return _mixed(types, text if nested else _never, contained if nested else _never)


def _mixed(types: frozenset[str], text: _Match, contained: _Match) -> tuple[_Match, _Match]:
    takes, coerces = contained, text
    if "boolean" in types:
        takes = _first_match(values.as_boolean, takes)
        coerces = _first_match(values.coerce_boolean, coerces)
    if "number" in types:
        takes = _first_match(values.as_number, takes)
        coerces = _first_match(values.coerce_number, coerces)
    elif "integer" in types:
        takes = _first_match(values.as_integer, takes)
        coerces = _first_match(values.coerce_integer, coerces)
    return takes, coerces


def _date_normalizer(fit: _Match, counts: ConversionCounts) -> _Match:
    def dated(value: Any) -> Scalar | NoMatch:
        scalar = fit(value)
        if type(value) is not str:
            return scalar
        normal, real = values.normalize_datetime(value)
        if not real:
            counts.count(ConversionCode.INVALID_DATE)
        elif normal != value:
            counts.count(ConversionCode.DATE_NORMALIZED)
        return normal

    return dated


def _json_text_converter(options: PlanOptions, counts: ConversionCounts) -> _Match:
    """JSON text, with the non-finite numbers inside looked after."""
    refuse = options.non_finite_numbers == "reject"

    def text(value: Any) -> Scalar:
        try:
            told = values.json_text(value)
        except (UnicodeEncodeError, TypeError):  # a lone surrogate or a NonFinite inside
            return look_closely(value)
        return look_closely(value) if may_be_infinite(told.encode()) else told

    def look_closely(value: Any) -> Scalar:
        found: list[tuple[str, ...]] = []
        clean = values.without_non_finite(value, (), found)
        faults = [("non_finite", path) for path in found] if refuse else []
        told = ""
        try:
            told = values.json_text(clean)
        except UnicodeEncodeError:
            faults.append(("unicode", ()))
        if faults:
            raise UnsendableValue(*faults)
        if found:
            counts.count(ConversionCode.NON_FINITE_NULLED, len(found))
        return told

    return text


def _size_checker(
    options: PlanOptions, counts: ConversionCounts
) -> Callable[[str | Raw], Scalar | _Omit]:
    """Strings that are not plain, and huge tokens: encodable, and below 32 KB?"""

    def sized(scalar: str | Raw) -> Scalar | _Omit:
        try:
            encoded = scalar.encode() if isinstance(scalar, str) else bytes(scalar)
        except UnicodeEncodeError:
            raise UnsendableValue(("unicode", ())) from None
        if len(encoded) >= MAX_VALUE_BYTES:
            if options.oversized_values == "drop":
                counts.count(ConversionCode.DROPPED)
                return OMIT
            if options.oversized_values == "reject" or type(scalar) is Raw:
                raise UnsendableValue(("value_too_large", ()))
            counts.count(ConversionCode.TRUNCATED)
            scalar = encoded[: MAX_VALUE_BYTES - 1].decode(errors="ignore")
        if type(scalar) is str:
            if len(scalar) > WAREHOUSE_STRING_LENGTH:
                counts.count(ConversionCode.LONG_STRING)
            if "\0" in scalar:
                counts.count(ConversionCode.NUL_CHARACTER)
        return scalar

    return sized
