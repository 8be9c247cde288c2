"""A declared column and the options become one closure: value → scalar, or why it cannot be.

The rule that it guards: what the options decide is decided here, once a column, not once a value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Raw

from target_segment_objects.objects import MAX_VALUE_BYTES, WAREHOUSE_STRING_LENGTH
from target_segment_objects.plan import values
from target_segment_objects.plan.number_text import may_be_infinite
from target_segment_objects.plan.values import MISFIT, NonFinite, Scalar

if TYPE_CHECKING:
    from target_segment_objects.plan.naming import Flattening
    from target_segment_objects.plan.schemas import Column, Kind

__all__ = [
    "FAULTS",
    "OMIT",
    "UNDECLARED",
    "Convert",
    "Converters",
    "Notes",
    "PlanOptions",
    "Unfit",
    "is_plain_string",
    "plain_types",
]


@dataclass(frozen=True)
class PlanOptions:
    """The settings that decide how a record becomes an object, by their users' names."""

    collections: Mapping[str, str] = field(default_factory=dict)
    pluralize: bool = True
    allow_collection_digits: bool = False
    nested: Literal["flatten", "json", "reject"] = "flatten"
    nulls: Literal["send", "drop"] = "send"
    non_finite_numbers: Literal["reject", "null"] = "reject"
    oversized_values: Literal["reject", "truncate", "drop"] = "reject"
    type_mismatches: Literal["coerce", "send", "reject"] = "coerce"
    long_ids: Literal["hash", "reject"] = "hash"
    flattening: Flattening | None = None

    @property
    def flatten_depth(self) -> float:
        """How many objects inside each other become properties: 0 for none, infinity for all."""
        if self.flattening is not None:
            return self.flattening.max_depth
        return math.inf if self.nested == "flatten" else 0


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


UNDECLARED: Final = "(undeclared)"
"""Stands in the notes for every property that the schema does not list."""


class Notes(Counter[tuple[str, str]]):
    """How often something worth a remark, but no reject, happened: (code, property) → count.

    Codes: `coerced`; `mismatched` (sent though not of the schema's type); `dated` (a `T` or an
    offset was added); `undated` (a date that does not parse); `long_string` (over 512 characters,
    which most warehouses cut); `dropped`; `truncated`; `nulled` (a number that is not finite);
    `nul` (a string holds the character U+0000, which most warehouses refuse); `hashed_id` (of its
    keys).

    Attributes:
        name: the property that is looked at now.
        path: where it is, if it is undeclared.
        undeclared: code → where the first undeclared property was that was noted so.
    """

    def __init__(self, *counts: Mapping[tuple[str, str], int]) -> None:
        self.name = ""
        self.path: tuple[str, ...] = ()
        self.undeclared: dict[str, tuple[str, ...]] = {}
        super().__init__(*counts)

    def take(self) -> Notes:
        """What was noted since the last time; from here on it is counted from nothing again."""
        taken = Notes(self)
        taken.undeclared = dict(self.undeclared)
        self.reset()
        return taken

    def reset(self) -> None:
        """Count from nothing again."""
        self.clear()
        self.undeclared.clear()

    def __missing__(self, key: tuple[str, str]) -> int:
        """Counting from nothing: the first note of its kind, and the only one that costs more."""
        code, name = key
        if name == UNDECLARED:
            self.undeclared[code] = self.path
        return 0


class Unfit(Exception):  # noqa: N818  caught by the plan, never seen by a caller
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
_Fit = Callable[[Any], "Scalar | values.Misfit"]


class Converters:
    """The converters of a plan: one for all columns of a kind, since a stream has many.

    Args:
        options: what they decide.
        notes: what they note, of the property that it names.
    """

    def __init__(self, options: PlanOptions, notes: Notes) -> None:
        self._options = options
        self._notes = notes
        self._of: dict[tuple[Kind, frozenset[str]] | None, Convert] = {}

    def of(self, column: Column | None) -> Convert:
        """The function that makes a column's values fit to send; `None` is an undeclared property.

        Its argument is a value as `plan.parse_record` gives it. It raises `Unfit`.
        """
        kind = (column.kind, column.types) if column is not None else None
        if kind not in self._of:
            self._of[kind] = converter(column, self._options, self._notes)
        return self._of[kind]


def converter(column: Column | None, options: PlanOptions, notes: Notes) -> Convert:
    """A converter, as `Converters.of` gives it."""
    sized = _sizer(options, notes)
    text = _texter(options, notes)
    fit = _fit(column, options, text, notes)
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
                    notes["nulled", notes.name] += 1
                    return null
                raise Unfit(("non_finite", ()))
        elif refuse_nested and (kind is dict or kind is list):
            raise Unfit(("nested", ()))
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
    "any": frozenset({str, int, bool}),
    "open": frozenset({str, int, bool}),
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


def _fit(column: Column | None, options: PlanOptions, text: _Fit, notes: Notes) -> _Fit:
    """What the column takes as it is, then what `type_mismatches` makes of the rest."""
    takes, coerces = _pair(column, text)
    note = "mismatched" if options.type_mismatches == "send" else "coerced"
    if options.type_mismatches == "coerce":
        otherwise = coerces
    elif options.type_mismatches == "send":
        otherwise = _either(values.as_open, text)
    else:
        otherwise = _nothing

    def fit(value: Any) -> Scalar | values.Misfit:
        scalar = takes(value)
        if scalar is not MISFIT:
            return scalar
        scalar = otherwise(value)
        if scalar is MISFIT:
            raise Unfit(("type", ()))
        notes[note, notes.name] += 1
        return scalar

    return fit if column is None or column.kind != "date" else _dated(fit, notes)


def _nothing(_: Any) -> values.Misfit:
    return MISFIT


def _either(first: _Fit, second: _Fit) -> _Fit:
    def fit(value: Any) -> Scalar | values.Misfit:
        scalar = first(value)
        return scalar if scalar is not MISFIT else second(value)

    return fit


def _containers(text: _Fit) -> _Fit:
    return lambda value: text(value) if type(value) in (dict, list) else MISFIT


def _pair(column: Column | None, text: _Fit) -> tuple[_Fit, _Fit]:
    """What a column takes as it is, and what it can coerce."""
    kind = column.kind if column is not None else "any"
    contained = _containers(text)
    if kind == "any":
        return _either(values.as_open, contained), _nothing
    if kind == "declared":  # what is not an object where one is declared: nothing fits
        return _nothing, text
    if kind == "text":
        return contained, text
    if kind in {"string", "date"}:
        return values.as_string, _either(contained, values.coerce_string)
    if kind == "integer":
        return values.as_integer, values.coerce_integer
    if kind == "number":
        return values.as_number, values.coerce_number
    if kind == "boolean":
        return values.as_boolean, values.coerce_boolean
    types = column.types if column is not None else frozenset()
    nested = bool(types & {"object", "array"})
    if kind == "open":
        return (
            (_either(values.as_open, contained), _nothing)
            if nested
            else (values.as_open, contained)
        )
    return _mixed(types, text if nested else _nothing, contained if nested else _nothing)


def _mixed(types: frozenset[str], text: _Fit, contained: _Fit) -> tuple[_Fit, _Fit]:
    takes, coerces = contained, text
    if "boolean" in types:
        takes = _either(values.as_boolean, takes)
        coerces = _either(values.coerce_boolean, coerces)
    if "number" in types:
        takes = _either(values.as_number, takes)
        coerces = _either(values.coerce_number, coerces)
    elif "integer" in types:
        takes = _either(values.as_integer, takes)
        coerces = _either(values.coerce_integer, coerces)
    return takes, coerces


def _dated(fit: _Fit, notes: Notes) -> _Fit:
    def dated(value: Any) -> Scalar | values.Misfit:
        scalar = fit(value)
        if type(value) is not str:
            return scalar
        normal, real = values.normal_date(value)
        if not real:
            notes["undated", notes.name] += 1
        elif normal != value:
            notes["dated", notes.name] += 1
        return normal

    return dated


def _texter(options: PlanOptions, notes: Notes) -> _Fit:
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
            raise Unfit(*faults)
        if found:
            notes["nulled", notes.name] += len(found)
        return told

    return text


def _sizer(options: PlanOptions, notes: Notes) -> Callable[[str | Raw], Scalar | _Omit]:
    """Strings that are not plain, and huge tokens: encodable, and below 32 KB?"""

    def sized(scalar: str | Raw) -> Scalar | _Omit:
        try:
            encoded = scalar.encode() if isinstance(scalar, str) else bytes(scalar)
        except UnicodeEncodeError:
            raise Unfit(("unicode", ())) from None
        if len(encoded) >= MAX_VALUE_BYTES:
            if options.oversized_values == "drop":
                notes["dropped", notes.name] += 1
                return OMIT
            if options.oversized_values == "reject" or type(scalar) is Raw:
                raise Unfit(("value_too_large", ()))
            notes["truncated", notes.name] += 1
            scalar = encoded[: MAX_VALUE_BYTES - 1].decode(errors="ignore")
        if type(scalar) is str:
            if len(scalar) > WAREHOUSE_STRING_LENGTH:
                notes["long_string", notes.name] += 1
            if "\0" in scalar:
                notes["nul", notes.name] += 1
        return scalar

    return sized
