"""Converts values to scalars that Segment accepts: two functions per kind of column.

Invariant: no conversion goes unnoticed. `as_…` returns a value that matches the column; `coerce_…`
returns one that can be converted to it without loss; both return `NO_MATCH` for any other value,
and the caller decides. Numbers with a point or an exponent, and very long integers, arrive as
`msgspec.Raw`, the token that the tap wrote, so that every digit is kept; integers arrive as `int`.
`docs/names-ids-values.md` has the exact rules.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import date
from decimal import MIN_ETINY, Decimal, InvalidOperation
from typing import Any, Final

import msgspec
from msgspec import Raw

__all__ = [
    "MAX_INT_DIGITS",
    "NO_MATCH",
    "NoMatch",
    "NonFinite",
    "Scalar",
    "any_scalar",
    "as_boolean",
    "as_integer",
    "as_number",
    "as_string",
    "canonical_number",
    "canonical_text",
    "coerce_boolean",
    "coerce_integer",
    "coerce_number",
    "coerce_string",
    "digest",
    "exact_double",
    "is_finite",
    "json_text",
    "normalize_datetime",
    "record_digest",
    "to_decimal",
    "without_non_finite",
]

Scalar = str | int | float | bool | Raw | None
"""What a property may hold. `Raw` is the token of a number, sent unchanged."""


class NonFinite:
    """`NaN`, `Infinity` or `-Infinity` in a record: Python taps write them, JSON lacks them."""

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token


class NoMatch:
    """The type of `NO_MATCH`."""


NO_MATCH: Final = NoMatch()
"""Returned for a value that does not match the column; `None` is a value."""

_INTEGER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NON_ZERO_DIGIT = re.compile(r"[-0.]*[1-9]")
_EXACT_INTEGER: Final = 2**53
_SAFE_TOKEN: Final = 15
"""Characters of a token, without exponent, up to which every double keeps all of its digits."""
MAX_INT_DIGITS: Final = 4000
"""Digits of an integer up to which it becomes an `int`. Python refuses more than 4,300."""


def is_finite(value: object) -> bool:
    """Whether a number can be sent: any integer, and a token whose size fits a double."""
    if type(value) is Raw:
        return _is_integer_token(token := bytes(value)) or math.isfinite(float(token))
    return type(value) is not NonFinite


def _is_integer_token(token: bytes) -> bool:
    return b"." not in token and b"e" not in token and b"E" not in token


def to_decimal(token: str) -> Decimal:
    """The number of a token, with all its digits.

    Exponents beyond the range of `Decimal` become 0 if all digits are 0, otherwise the `Decimal`
    that is nearest to 0.
    """
    try:
        return Decimal(token)
    except InvalidOperation:
        if not _NON_ZERO_DIGIT.match(token):
            return Decimal(0)
        return Decimal(f"{'-' * token.startswith('-')}1e{MIN_ETINY}")


def any_scalar(value: Any) -> Scalar | NoMatch:
    """Any scalar, unchanged; objects and arrays do not match."""
    kind = type(value)
    if kind is dict or kind is list:
        return NO_MATCH
    return value  # type: ignore[no-any-return]


def as_string(value: Any) -> Scalar | NoMatch:
    """A string."""
    return value if type(value) is str else NO_MATCH


def coerce_string(value: Any) -> Scalar | NoMatch:
    """A number as its token, a boolean as `true` or `false`, anything else as JSON text."""
    kind = type(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Raw:
        return number_token(value)
    return json_text(value)


def number_token(value: int | Raw) -> str:
    """The text of a number, as the tap wrote it."""
    return bytes(value).decode() if type(value) is Raw else str(value)


def as_integer(value: Any) -> Scalar | NoMatch:
    """An integer, with all its digits; a number with an integral value, as that integer."""
    kind = type(value)
    if kind is int:
        return value  # type: ignore[no-any-return]
    if kind is Raw:
        token = bytes(value)
        if _is_integer_token(token):
            return value  # type: ignore[no-any-return]
        number = to_decimal(token.decode())
        if number == number.to_integral_value():
            return int(number)
    return NO_MATCH


def coerce_integer(value: Any) -> Scalar | NoMatch:
    """The integer of a string like `42`, but not `042`, `+42` or `42.0`."""
    if type(value) is str and _INTEGER.fullmatch(value):
        return int(value) if len(value) < MAX_INT_DIGITS else Raw(value)
    return NO_MATCH


def exact_double(token: bytes) -> float | None:
    """The double of a token that is short enough to be exact; otherwise `None`."""
    if len(token) <= _SAFE_TOKEN and b"e" not in token and b"E" not in token:
        return float(token)
    return None


def as_number(value: Any) -> Scalar | NoMatch:
    """A number as a double, written with a point; its token if no double is equal to it.

    A column's type is that of the first value that Segment sees [doc], so `515` in a column of
    numbers must be `515.0`.
    """
    kind = type(value)
    if kind is Raw:
        token = bytes(value)
        if (short := exact_double(token)) is not None:
            return short
        double = float(token)
        if math.isfinite(double) and to_decimal(token.decode()) == Decimal(repr(double)):
            return double
        return value  # type: ignore[no-any-return]
    if kind is int:
        if -_EXACT_INTEGER <= value <= _EXACT_INTEGER:
            return float(value)
        try:
            double = float(value)
        except OverflowError:
            return value  # type: ignore[no-any-return]
        return double if Decimal(repr(double)) == value else value
    return NO_MATCH


def coerce_number(value: Any) -> Scalar | NoMatch:
    """The number of a string that is a finite JSON number, as `as_number` returns it."""
    if type(value) is str and _NUMBER.fullmatch(value) and is_finite(token := Raw(value)):
        return as_number(token)
    return NO_MATCH


def as_boolean(value: Any) -> Scalar | NoMatch:
    """A boolean."""
    return value if type(value) is bool else NO_MATCH


def coerce_boolean(value: Any) -> Scalar | NoMatch:
    """The boolean of a number equal to 0 or 1, or of the string `true` or `false`."""
    kind = type(value)
    if kind is str:
        return {"true": True, "false": False}.get(value, NO_MATCH)
    number = as_integer(value)
    return bool(number) if number in (0, 1) else NO_MATCH


_DATE = re.compile(
    r"(?P<date>(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d))"
    r"(?:(?P<blank>[Tt ])(?P<time>(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?)"
    r"(?P<offset>[Zz]|(?P<hours>[+-](?:[01]\d|2[0-3]))(?P<colon>:?)(?P<minutes>[0-5]\d)?)?)?",
    re.ASCII,
)


def normalize_datetime(value: str) -> tuple[str, bool]:
    """Normalize a date or date-time to RFC 3339.

    A space between date and time becomes `T`, a missing offset `Z`, and an offset without colon or
    minutes (`+0000`, `+00`) gets them.

    Returns:
        The text, unchanged if it is RFC 3339 already or no date at all, and whether it is a date.
    """
    match = _DATE.fullmatch(value)
    if match is None or (match["colon"] and not match["minutes"]):
        return value, False
    try:
        date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return value, False
    if match["time"] is None:
        return value, True
    blank = "T" if match["blank"] == " " else match["blank"]
    offset = match["offset"] or "Z"
    if match["hours"] is not None:
        offset = f"{match['hours']}:{match['minutes'] or '00'}"
    return f"{match['date']}{blank}{match['time']}{offset}", True


def _refuse(value: object) -> object:
    msg = f"a record cannot hold a value of type {type(value).__name__}"
    raise TypeError(msg)


_encode = msgspec.json.Encoder(enc_hook=_refuse).encode
_encode_sorted = msgspec.json.Encoder(enc_hook=_refuse, order="sorted").encode


def json_text(value: Any) -> str:
    """The JSON text of a value: compact, keys in their order, number tokens as the tap wrote them.

    Raises:
        UnicodeEncodeError: if it has a lone surrogate.
        TypeError: if it has a `NonFinite`.
    """
    return _encode(value).decode()


def without_non_finite(value: Any, at: tuple[str, ...], found: list[tuple[str, ...]]) -> Any:
    """A copy of a value with null for each non-finite number, `1e999` included.

    Args:
        value: a parsed value; the caller limits its depth.
        at: its path.
        found: takes the paths of these numbers.
    """
    kind = type(value)
    if kind is dict:
        return {key: without_non_finite(part, (*at, key), found) for key, part in value.items()}
    if kind is list:
        return [
            without_non_finite(part, (*at, str(index)), found) for index, part in enumerate(value)
        ]
    if (kind is Raw or kind is NonFinite) and not is_finite(value):
        found.append(at)
        return None
    return value


def canonical_number(value: float | Raw) -> str:
    """The text of a number in an id: one text for one number, however it was written."""
    if type(value) is float:
        value = Raw(repr(value))
    token = number_token(value)  # type: ignore[arg-type]
    number = to_decimal(token)
    if number == number.to_integral_value():
        return f"{number.to_integral_value():f}" if number else "0"
    double = float(number)
    if Decimal(repr(double)) == number:
        return repr(double)
    if number.adjusted() < -MAX_INT_DIGITS:  # in plain notation it could fill the memory
        return token
    return f"{number:f}".rstrip("0")


def canonical_text(value: Any) -> str:
    """The text of a value in an id: scalars in plain notation, objects and arrays as JSON text."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is float or kind is Raw:
        return canonical_number(value)
    return _encode_sorted(value).decode()


def digest(text: bytes) -> str:
    """The SHA-256 in hexadecimal: an id of 64 characters, the same in every run."""
    return hashlib.sha256(text).hexdigest()


def _token_of(value: object) -> object:
    if type(value) is NonFinite:
        return Raw(value.token)
    return _refuse(value)


_encode_canonical = msgspec.json.Encoder(enc_hook=_token_of, order="sorted").encode


def record_digest(record: dict[str, Any]) -> str:
    """The id of a record without keys: the hash of its canonical JSON, without `_sdc_…`.

    It never fails. A leading backslash makes the hash of text with lone surrogates distinct.
    """
    record = _without_metadata(record)
    try:
        return digest(_encode_canonical(record))
    except UnicodeEncodeError:  # a lone surrogate, which JSON can escape
        return digest(b"\\" + _encode_canonical(_escaped(record)))


def _without_metadata(record: dict[str, Any]) -> dict[str, Any]:
    if "_sdc_" not in "".join(record):
        return record
    return {key: value for key, value in record.items() if not key.startswith("_sdc_")}


def _escaped(value: Any) -> Any:
    """The value with lone surrogates escaped and backslashes doubled, so that none is lost."""
    kind = type(value)
    if kind is str:
        return value.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()
    if kind is dict:
        return {_escaped(name): _escaped(part) for name, part in value.items()}
    if kind is list:
        return [_escaped(part) for part in value]
    return value
