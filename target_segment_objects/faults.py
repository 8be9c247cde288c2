"""Faults: a code and a path say why a record cannot be sent; this module makes the sentence.

Codes are written into the dead letter, the report and the preview's JSON. A fault never holds a
value of the record, so it may be logged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAULT_SENTENCES", "Fault", "FaultCode"]


class FaultCode(str, Enum):
    """The kinds of faults. A member equals its text."""

    NOT_AN_OBJECT = "record"
    INVALID_JSON = "json"
    INVALID_TEXT = "unicode"
    NO_NAME = "name"
    NAME_CLASH = "clash"
    NESTED = "nested"
    TYPE = "type"
    NON_FINITE = "non_finite"
    VALUE_TOO_LARGE = "value_too_large"
    KEY_MISSING = "key_missing"
    EXPRESSION = "expression"
    KEY_EMPTY = "key_empty"
    KEY_TYPE = "key_type"
    LONG_ID = "long_id"
    EMPTY = "empty"
    OBJECT_TOO_LARGE = "object_too_large"
    REFUSED = "refused"
    SCHEMA = "schema"

    __str__ = str.__str__


FAULT_SENTENCES: Final[Mapping[tuple[FaultCode, str], str]] = {
    (FaultCode.NOT_AN_OBJECT, ""): "the record is not an object",
    (FaultCode.INVALID_JSON, ""): "the record is not JSON",
    (FaultCode.INVALID_TEXT, ""): (
        "contains a lone surrogate or bytes that are not UTF-8; no warehouse can store that"
    ),
    (FaultCode.NO_NAME, ""): (
        "its name has no letter or digit, so it cannot name a column; rename it with `stream_maps`"
    ),
    (FaultCode.NAME_CLASH, ""): (
        "another property has the same name in Segment; rename one of them with "
        "`stream_maps`, or set `nested` to `json` for properties of objects"
    ),
    (FaultCode.NAME_CLASH, "with"): (
        "the property {0!r} has the same name in Segment; rename one of them with "
        "`stream_maps`, or set `nested` to `json` for properties of objects"
    ),
    (FaultCode.NESTED, ""): "an object or array, and `nested` is `reject`",
    (FaultCode.TYPE, ""): (
        "not of the type that the schema declares, and not converted to it; see `type_mismatches`"
    ),
    (FaultCode.NON_FINITE, ""): "NaN or infinite; see `non_finite_numbers`",
    (FaultCode.VALUE_TOO_LARGE, ""): (
        "has 32 KB or more, the API's limit for a value; see `oversized_values`"
    ),
    (FaultCode.KEY_MISSING, ""): (
        "the key property is missing; choose keys that every record has in "
        "`__key_properties__` of `stream_maps`"
    ),
    (FaultCode.KEY_MISSING, "other case"): (
        "the key property is missing; there is a property {0!r}, and names are case-sensitive: "
        "correct `key_properties` in the tap, or name it in `__key_properties__` of `stream_maps`"
    ),
    (FaultCode.EXPRESSION, ""): "its expression in `stream_maps` fails on this record",
    (FaultCode.EXPRESSION, "error"): (
        "its expression in `stream_maps`, `{0}`, fails on this record ({1}); change it so that it "
        "also works where a property is null or missing"
    ),
    (FaultCode.EXPRESSION, "missing"): (
        "its expression in `stream_maps`, `{0}`, fails on this record, which has no {1!r}; write "
        "`record.get({1!r})` if some records lack it"
    ),
    (FaultCode.EXPRESSION, "no value"): (
        "its expression in `stream_maps`, `{0}`, fails on this record, where its result is no "
        "value of a record ({1})"
    ),
    (FaultCode.KEY_EMPTY, ""): "the key property is null, empty or not finite",
    (FaultCode.KEY_TYPE, ""): "the key property is not of the type that the schema declares",
    (FaultCode.LONG_ID, ""): "the id has more than 100 characters; see `long_ids`",
    (FaultCode.EMPTY, ""): "nothing to send: an object needs at least one property",
    (FaultCode.OBJECT_TOO_LARGE, ""): (
        "the object has more than 400 KB, the API's limit for one object; leave properties out "
        "with `stream_maps`"
    ),
    (FaultCode.OBJECT_TOO_LARGE, "nulls"): (
        "the object has more than 400 KB, the API's limit for one object; more than half of "
        "it is nulls: set `nulls` to `drop`"
    ),
    (FaultCode.REFUSED, ""): "Segment refused the object",
    (FaultCode.REFUSED, "error"): "Segment refused the object: {0}",
    (FaultCode.REFUSED, "nulls"): (
        "Segment refused the object: {0}. It has nulls: if Segment takes none here, set `nulls` "
        "to `drop`"
    ),
    (FaultCode.REFUSED, "too large"): "Segment refused the object as too large: {0}",
    (FaultCode.SCHEMA, ""): "violates the stream's JSON Schema, and `validate_records` is on",
}
"""By code and case, the sentence that the user reads. `{0}` and `{1}` are the fault's details."""


@dataclass(frozen=True)
class Fault:
    """One reason why one record cannot be sent.

    Attributes:
        path: where in the record, from its top: property names, and indexes of arrays as text.
            Empty if the fault concerns the whole record.
        code: the kind of fault.
        case: which of the sentences of its code applies.
        details: what is put into that sentence: names, and Segment's own words.
    """

    path: tuple[str, ...]
    code: FaultCode
    case: str = ""
    details: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What is wrong, and which setting decides it."""
        return FAULT_SENTENCES[self.code, self.case].format(*self.details)

    def below(self, path: tuple[str, ...]) -> Fault:
        """Return the same fault, its path preceded by another."""
        return replace(self, path=path + self.path)

    def __str__(self) -> str:
        where = ".".join(self.path)
        return f"{where}: {self.message}" if where else self.message
