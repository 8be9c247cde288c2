"""Column types: a column has the type of the first value seen [doc].

How a later value of another type is stored is documented for one case only: a float in an integer
column loses its fraction [doc]. The rest is this emulator's choice, described in docs/emulator.md:
numbers and booleans become text in a text column, integers become floats in a float column, and
any other value that does not fit becomes null and is counted.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum

import msgspec

Scalar = bool | int | float | str | Decimal | None
Typed = bool | int | float | str | datetime | None

TIMESTAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d)))?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_DATETIME = datetime(1, 1, 1, tzinfo=timezone.utc)
_LAST_DATETIME = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc)
_INT64 = range(-(2**63), 2**63)
_INT128 = range(-(2**127), 2**127)


class ColumnType(Enum):
    """The types of columns; the values are their names in DuckDB."""

    BOOLEAN = "BOOLEAN"
    BIGINT = "BIGINT"
    HUGEINT = "HUGEINT"
    DOUBLE = "DOUBLE"
    VARCHAR = "VARCHAR"
    TIMESTAMP = "TIMESTAMP WITH TIME ZONE"


def column_type_of(value: Scalar) -> ColumnType:
    """Return the type of a column whose first value is `value`, which is not None.

    Text that is a date or a date-time makes a timestamp column.

    An integer beyond 128 bits makes a text column, the only type that keeps its digits.
    """
    if isinstance(value, bool):
        return ColumnType.BOOLEAN
    if isinstance(value, int):
        if value in _INT64:
            return ColumnType.BIGINT
        return ColumnType.HUGEINT if value in _INT128 else ColumnType.VARCHAR
    if isinstance(value, float):
        return ColumnType.DOUBLE
    if isinstance(value, str) and parse_microseconds(value) is not None:
        return ColumnType.TIMESTAMP
    return ColumnType.VARCHAR


def fit(value: Scalar, column: ColumnType) -> Typed:
    """Return `value` as a column of that type holds it; None when it cannot."""
    if value is None or column is ColumnType.VARCHAR:
        return None if value is None else _text(value)
    if column is ColumnType.BOOLEAN:
        return value if isinstance(value, bool) else None
    if column is ColumnType.TIMESTAMP:
        instant = parse_microseconds(value) if isinstance(value, str) else None
        return None if instant is None else to_datetime(instant)
    if isinstance(value, (bool, str)):
        return None
    if column is ColumnType.DOUBLE:
        return _float(value)
    return _integer(value, _INT64 if column is ColumnType.BIGINT else _INT128)


def parse_microseconds(text: str) -> int | None:
    """Return an RFC 3339 date-time, or a date at midnight UTC, as microseconds since 1970.

    None for any other text. Digits beyond the microsecond are cut.
    """
    match = TIMESTAMP.fullmatch(text)
    if match is None or not text.isascii():
        return None
    year, month, day, hour, minute, second = (int(group or 0) for group in match.groups()[:6])
    try:
        instant = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    fraction, sign, hours, minutes = match.groups()[6:]
    micros = (instant - _EPOCH) // _MICROSECOND + int((fraction or "0").ljust(6, "0")[:6])
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * 60_000_000
    return micros + offset if sign == "-" else micros - offset


def to_datetime(micros: int) -> datetime:
    """Return microseconds since 1970 as an aware datetime, clamped to the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return _LAST_DATETIME if micros > 0 else _FIRST_DATETIME


def as_text(value: Typed, chars: int) -> str | None:
    """Return `value` as a warehouse's client shows it, cut after `chars` characters."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return None if value is None else _text(value)[:chars]


def _text(value: float | str | Decimal) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    return msgspec.json.encode(value).decode()


def _float(value: float | Decimal) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer(value: float | Decimal, bounds: range) -> int | None:
    number = int(value)
    return number if number in bounds else None
