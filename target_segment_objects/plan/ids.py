"""Key properties become an object's id: one text for one key, however the tap wrote it.

The rule that it guards: two keys never share an id, and one key never has two; the exact text is in
`docs/names-ids-values.md`, "Ids".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import MAX_ID_LENGTH
from target_segment_objects.plan import values
from target_segment_objects.plan.conversion import UnsendableValue
from target_segment_objects.plan.conversion_counts import ConversionCode, ConversionCounts
from target_segment_objects.plan.values import NO_MATCH

if TYPE_CHECKING:
    from target_segment_objects.plan.options import PlanOptions
    from target_segment_objects.plan.schemas import Column

__all__ = ["IdentifyRecord", "compile_identifier", "join_key_texts"]

IdentifyRecord = Callable[[dict[str, Any], list[Fault]], str]
"""The record's id; the faults of its keys are added to the list, and then the id means nothing."""

_TYPE_OF: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "date": (str,),
    "integer": (int, Raw),
    "number": (int, Raw),
    "boolean": (bool,),
}
"""The types of a key that is as its column says, of columns that have one."""


def join_key_texts(parts: Iterable[str]) -> str:
    """The id of several keys' texts, which no others have."""
    return ":".join([part.replace("\\", "\\\\").replace(":", "\\:") for part in parts])


def compile_identifier(
    keys: Sequence[str],
    columns: Mapping[str, Column],
    options: PlanOptions,
    counts: ConversionCounts,
    omitted_key: str | None = None,
) -> IdentifyRecord:
    """The function that gives a record's id from its key properties, at least one.

    Args:
        keys: the key properties.
        columns: the declared columns.
        options: what is decided by settings.
        counts: where it is counted what happened to keys.
        omitted_key: the key that is no property: what happens to its value is counted here.
    """
    key_names = ":".join(keys)
    column = columns.get(omitted_key) if omitted_key is not None else None
    fits = _TYPE_OF.get(column.kind) if column is not None else None
    readers = [(key, _key_text(columns.get(key), options)) for key in keys]
    alone = len(readers) == 1
    is_sent_as_is = options.type_mismatches == "send"
    mismatch = ConversionCode.MISMATCHED if is_sent_as_is else ConversionCode.COERCED

    def identify(record: dict[str, Any], faults: list[Fault]) -> str:
        parts = []
        for key, read in readers:
            part = ""
            try:
                if key in record:
                    part = read(record[key])
                else:
                    faults.append(_missing_key(key, [*record, *columns]))
            except UnsendableValue as error:
                faults += [fault.below((key,)) for fault in error.faults]
            parts.append(part)
        if fits is not None and type(record.get(omitted_key or "")) not in fits:
            # Of a record with nothing but its key it was counted already.
            counts[mismatch, "id"] = 1
        told = parts[0] if alone else join_key_texts(parts)
        if len(told) > MAX_ID_LENGTH:
            if options.long_ids == "reject":
                faults.append(Fault((), FaultCode.LONG_ID))
            else:
                counts[ConversionCode.HASHED_ID, key_names] += 1
                return values.digest(told.encode())
        elif "\0" in told:
            counts[ConversionCode.NUL_CHARACTER, key_names] += 1
        return told

    return identify


def _missing_key(key: str, names: Iterable[str]) -> Fault:
    for name in names:
        if name != key and name.casefold() == key.casefold():
            return Fault((key,), FaultCode.KEY_MISSING, "other case", (name,))
    return Fault((key,), FaultCode.KEY_MISSING)


def _key_text(column: Column | None, options: PlanOptions) -> Callable[[Any], str]:
    """The function from one key's value to its text."""
    coerce = _coercion(column)
    as_it_comes = options.type_mismatches == "send"
    refuse_nested = options.nested == "reject"
    refuse_non_finite = options.non_finite_numbers == "reject"

    def read(value: Any) -> str:
        if value is None or value == "" or not values.is_finite(value):
            raise UnsendableValue(Fault((), FaultCode.KEY_EMPTY))
        faults: list[Fault] = []
        if refuse_nested and type(value) in (dict, list):
            faults.append(Fault((), FaultCode.NESTED))
        text = ""
        try:
            key = coerce(value)
            if key is NO_MATCH and not as_it_comes:
                faults.append(Fault((), FaultCode.KEY_TYPE))
            if not faults:
                key, found = _without_non_finite(value if key is NO_MATCH else key)
                faults += [Fault(path, FaultCode.NON_FINITE) for path in found if refuse_non_finite]
                text = values.canonical_text(key)
                text.isascii() or text.encode()
        except UnicodeEncodeError:
            faults.append(Fault((), FaultCode.INVALID_TEXT))
        if faults:
            raise UnsendableValue(*faults)
        return text

    return read


def _without_non_finite(key: Any) -> tuple[Any, list[tuple[str, ...]]]:
    """A container without its numbers that are not finite, and where they were."""
    if type(key) not in (dict, list):
        return key, []
    found: list[tuple[str, ...]] = []
    return values.without_non_finite(key, (), found), found


def _coercion(column: Column | None) -> Callable[[Any], Any]:
    """The key's value in its column's type; a container stays one, for its keys to be sorted."""
    kind = column.kind if column is not None else "untyped"
    types = column.types if column is not None else frozenset()
    if kind in {"untyped", "union_with_string"}:
        return lambda value: value
    if kind in {"string", "date"}:
        return _to_string
    if kind in {"json", "object"}:
        return _to_text
    if kind == "integer":
        return lambda value: _first_match(value, values.as_integer, values.coerce_integer)
    if kind == "number":
        return lambda value: _first_match(value, values.as_number, values.coerce_number)
    if kind == "boolean":
        return lambda value: _first_match(value, values.as_boolean, values.coerce_boolean)
    return _mixed(types)


def _first_match(value: Any, *coercions: Callable[[Any], Any]) -> Any:
    for coercion in coercions:
        if (fit := coercion(value)) is not NO_MATCH:
            return fit
    return NO_MATCH


def _to_string(value: Any) -> Any:
    return value if type(value) in (str, dict, list) else values.coerce_string(value)


def _to_text(value: Any) -> Any:
    return value if type(value) in (dict, list) else values.json_text(value)


def _mixed(types: frozenset[str]) -> Callable[[Any], Any]:
    takes: list[Callable[[Any], Any]] = []
    coerces: list[Callable[[Any], Any]] = []
    if "number" in types:
        takes.append(values.as_number)
        coerces.append(values.coerce_number)
    elif "integer" in types:
        takes.append(values.as_integer)
        coerces.append(values.coerce_integer)
    if "boolean" in types:
        takes.append(values.as_boolean)
        coerces.append(values.coerce_boolean)
    if types & {"object", "array"}:
        coerces.append(_to_text)
    return lambda value: _first_match(value, *takes, *coerces)
