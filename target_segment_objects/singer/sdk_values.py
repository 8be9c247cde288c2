"""Records on their way through the SDK's stream maps, which want Python's values, and back.

The rule that it guards: a value that no map touches comes back as the same number, digit for digit.
"""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.plan import MAX_INT_DIGITS, NonFinite, to_decimal

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Token", "is_value", "to_sdk_values", "without_tokens"]


_PLAIN: Final = frozenset({str, int, bool, type(None)})
"""Types whose values are the same on both sides."""


class Token(Decimal):
    """A number as the tap wrote it: an expression sees the number, untouched it stays the token."""

    __slots__ = ("token",)
    token: str

    def __new__(cls, token: str) -> Self:
        """Make it from JSON's text of a number."""
        number = super().__new__(cls, token)
        number.token = token
        return number

    def __str__(self) -> str:
        return self.token


def to_sdk_values(value: Any) -> Any:
    """A parsed value as the SDK's reader would give it: tokens as `Decimal`, containers copied."""
    kind = type(value)
    if kind is Raw:
        try:
            return Token(bytes(value).decode())
        except InvalidOperation:  # an exponent that no `Decimal` has: it passes by as it is
            return value
    if kind is dict:
        return {
            name: part if type(part) in _PLAIN else to_sdk_values(part)
            for name, part in value.items()
        }
    if kind is list:
        return [to_sdk_values(part) for part in value]
    if kind is NonFinite:
        return float(value.token)
    return value


_MAX_INT_BITS: Final = MAX_INT_DIGITS * 3
"""Bits of an integer that Python can surely write down."""
_VALUES: Final = (str, float, Decimal, dt.date, dt.time, Raw, type(None))


def is_value(value: Any) -> bool:
    """Whether what an expression gives is a value, and not a function, say, or bytes."""
    if isinstance(value, int):
        return value.bit_length() <= _MAX_INT_BITS
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_value(part) for name, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_value, value))
    return isinstance(value, _VALUES)


def without_tokens(value: Any) -> Any:
    """The same with plain numbers, for a library that takes `Decimal` and no class of it."""
    if type(value) is Token:
        return Decimal(value)
    if type(value) is Raw:  # an exponent that no `Decimal` has
        double = float(bytes(value))
        return double if math.isinf(double) else to_decimal(bytes(value).decode())
    if isinstance(value, dict):
        return {name: without_tokens(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_tokens(part) for part in value]
    return value
