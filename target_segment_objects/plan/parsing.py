"""A record as the tap wrote it becomes values, with every digit of its numbers.

The rule that it guards: reading loses nothing. Integers are `int` at any size, other numbers stay
the token that the tap wrote, and what JSON does not have (`NaN`) is told apart.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Raw

from target_segment_objects.errors import Fault, RejectedRecordError
from target_segment_objects.plan import values
from target_segment_objects.plan.conversion import FAULTS

__all__ = ["parse_record", "whole_record"]

_parse = msgspec.json.Decoder(float_hook=Raw).decode


def _parse_integer(digits: str) -> int | Raw:
    """Python makes no `int` of more than 4,300 digits, so that it cannot be kept busy by one."""
    return int(digits) if len(digits) < values.LONGEST_INT else Raw(digits)


_parse_oddities = json.JSONDecoder(
    parse_float=Raw, parse_int=_parse_integer, parse_constant=values.NonFinite
).decode


def parse_record(raw: bytes) -> dict[str, Any]:
    """A record's values: integers as `int`, other numbers as `Raw`, NaN and such as `NonFinite`.

    Of a key that stands twice in an object the last one wins.

    Raises:
        RejectedRecordError: when it is not an object, not UTF-8, or not JSON.
    """
    try:
        record = _parse(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # what msgspec refuses, Python may read
        try:
            record = _parse_oddities(raw.decode())
        except UnicodeDecodeError:
            raise whole_record("unicode") from None
        except ValueError:
            raise whole_record("json") from None
    if type(record) is not dict:
        raise whole_record("record")
    return record


def whole_record(code: str) -> RejectedRecordError:
    """The reject of a record for one fault that is the whole record's."""
    return RejectedRecordError([Fault((), code, FAULTS[code])])
