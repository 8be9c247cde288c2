"""Parses a record into the values that the plan encodes.

Invariant: parsing loses nothing. Integers are `int`, other numbers stay the token that the tap
wrote, and `NaN` and infinities, which JSON lacks, have a type of their own.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Raw

from target_segment_objects.errors import RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.plan import values

__all__ = ["from_python", "parse_record"]

_parse = msgspec.json.Decoder(float_hook=Raw).decode


def _parse_integer(digits: str) -> int | Raw:
    """Python refuses to convert more than 4,300 digits, since that takes too long."""
    return int(digits) if len(digits) < values.MAX_INT_DIGITS else Raw(digits)


_parse_leniently = json.JSONDecoder(
    parse_float=Raw, parse_int=_parse_integer, parse_constant=values.NonFinite
).decode


def parse_record(raw: bytes) -> dict[str, Any]:
    """Parse a record: integers become `int`, other numbers `Raw`, `NaN` and such `NonFinite`.

    An integer of 4,000 digits or more is `Raw`, too, if the strict parser refused the record.

    Of duplicate keys in an object, the last one wins.

    Raises:
        RejectedRecordError: if it is not an object, not UTF-8, or not JSON.
    """
    try:
        record = _parse(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # Python's `json` accepts NaN and infinities
        try:
            record = _parse_leniently(raw.decode())
        except UnicodeDecodeError:
            raise RejectedRecordError([Fault((), FaultCode.INVALID_TEXT)]) from None
        except ValueError:
            raise RejectedRecordError([Fault((), FaultCode.INVALID_JSON)]) from None
    if type(record) is not dict:
        raise RejectedRecordError([Fault((), FaultCode.NOT_AN_OBJECT)])
    return record


_NON_FINITE: Final[Mapping[str, values.NonFinite]] = {
    "nan": values.NonFinite("NaN"),
    "inf": values.NonFinite("Infinity"),
    "-inf": values.NonFinite("-Infinity"),
}
_UNCHANGED: Final = frozenset({str, int, bool, type(None), Raw, values.NonFinite})


def from_python(value: Any) -> Any:
    """Convert Python values to those that `parse_record` returns; dates become ISO 8601.

    Raises:
        TypeError: for a value of a type that a record cannot hold.
    """
    if type(value) in _UNCHANGED:
        return value
    if isinstance(value, Mapping):
        return {
            str(name): part if type(part) in _UNCHANGED else from_python(part)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [from_python(part) for part in value]
    if isinstance(value, Decimal) and value.is_finite():
        return Raw(str(value))
    if isinstance(value, float | Decimal):
        token = repr(float(value))
        return _NON_FINITE.get(token) or Raw(token)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    msg = f"a record cannot hold a value of type {type(value).__name__}"
    raise TypeError(msg)
