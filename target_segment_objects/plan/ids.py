"""Computes an object's id from the key properties of its record.

Invariant: two keys never share an id, and one key never has two ids, whatever text the tap wrote it
as. `docs/names-ids-values.md`, "Ids", has the exact rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.plan import values
from target_segment_objects.plan.conversion import UnsendableValue, first_match, matcher_and_coercer
from target_segment_objects.plan.conversion_counts import ConversionCode, ConversionCounts
from target_segment_objects.plan.schemas import UNTYPED
from target_segment_objects.plan.values import NO_MATCH

if TYPE_CHECKING:
    from target_segment_objects.plan.column_table import ColumnTable
    from target_segment_objects.plan.options import PlanOptions
    from target_segment_objects.plan.schemas import Column

__all__ = ["IdentifyRecord", "compile_identifier", "join_key_texts"]

IdentifyRecord = Callable[[dict[str, Any], list[Fault]], str]
"""Returns a record's id, and adds its keys' faults to the list; with any, the id is meaningless."""

_MATCHING_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "date": (str,),
    "integer": (int, Raw),
    "number": (int, Raw),
    "boolean": (bool,),
}
"""By the kind of a column, the types of its values that need no conversion."""


def join_key_texts(texts: Iterable[str]) -> str:
    """The id of several keys, given as texts. Other texts have other ids."""
    return ":".join([text.replace("\\", "\\\\").replace(":", "\\:") for text in texts])


def compile_identifier(
    keys: Sequence[str], columns: ColumnTable, options: PlanOptions, counts: ConversionCounts
) -> IdentifyRecord:
    """Compile the function that returns a record's id.

    Args:
        keys: the key properties, at least one.
        columns: the column table.
        options: the plan's options.
        counts: where the function counts conversions.
    """
    key_names = ":".join(keys)
    declared = columns.declared
    omitted_key = columns.omitted_key or ""
    matching = _MATCHING_TYPES.get(declared.get(omitted_key, UNTYPED).kind)
    readers = [(key, _key_text(declared.get(key, UNTYPED), options)) for key in keys]
    is_single = len(readers) == 1
    keys_path = tuple(keys) if is_single else ()
    max_length = options.limits.id_characters
    sends_mismatches = options.type_mismatches == "send"
    mismatch = ConversionCode.MISMATCHED if sends_mismatches else ConversionCode.COERCED

    def identify(record: dict[str, Any], faults: list[Fault]) -> str:
        texts = []
        for key, read in readers:
            text = ""
            try:
                if key in record:
                    text = read(record[key])
                else:
                    faults.append(_missing_key(key, [*record, *declared]))
            except UnsendableValue as error:
                faults += [fault.below((key,)) for fault in error.faults]
            texts.append(text)
        if matching is not None and type(record.get(omitted_key)) not in matching:
            counts.name, counts.path = "id", keys_path
            if (mismatch, "id") not in counts:  # counted already if the key is the only property
                counts.count(mismatch)
        object_id = texts[0] if is_single else join_key_texts(texts)
        counts.name, counts.path = key_names, keys_path
        if len(object_id) <= max_length:
            if "\0" in object_id:
                counts.count(ConversionCode.NUL_CHARACTER)
        elif options.long_ids == "reject":
            faults.append(Fault((), FaultCode.LONG_ID))
        else:
            counts.count(ConversionCode.HASHED_ID)
            return values.digest(object_id.encode())
        return object_id

    return identify


def _missing_key(key: str, names: Iterable[str]) -> Fault:
    for name in names:
        if name != key and name.casefold() == key.casefold():
            return Fault((key,), FaultCode.KEY_MISSING, "other case", (name,))
    return Fault((key,), FaultCode.KEY_MISSING)


def _key_text(column: Column, options: PlanOptions) -> Callable[[Any], str]:
    """Compile the function from the value of a key to its text; it raises `UnsendableValue`."""
    match_or_coerce = first_match(*matcher_and_coercer(column, _keep_containers))
    sends_mismatches = options.type_mismatches == "send"
    rejects_nested = options.nested == "reject"
    rejects_non_finite = options.non_finite_numbers == "reject"

    def read(value: Any) -> str:
        if value is None or value == "" or not values.is_finite(value):
            raise UnsendableValue(Fault((), FaultCode.KEY_EMPTY))
        faults: list[Fault] = []
        if rejects_nested and type(value) in (dict, list):
            faults.append(Fault((), FaultCode.NESTED))
        text = ""
        try:
            key = match_or_coerce(value)
            if key is NO_MATCH and not sends_mismatches:
                faults.append(Fault((), FaultCode.KEY_TYPE))
            if not faults:
                paths: list[tuple[str, ...]] = []
                finite = values.without_non_finite(value if key is NO_MATCH else key, (), paths)
                faults += [
                    Fault(path, FaultCode.NON_FINITE) for path in paths if rejects_non_finite
                ]
                text = values.canonical_text(finite)
                text.isascii() or text.encode()
        except UnicodeEncodeError:
            faults.append(Fault((), FaultCode.INVALID_TEXT))
        if faults:
            raise UnsendableValue(*faults)
        return text

    return read


def _keep_containers(value: Any) -> Any:
    """An object or array unchanged, for its keys to be sorted; any other value as JSON text."""
    return value if type(value) in (dict, list) else values.json_text(value)
