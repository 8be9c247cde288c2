"""Records as Python values, for the SDK's stream maps.

Invariant: a number that no map changes keeps every digit that the tap wrote.
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
"""Types whose values need no conversion."""


class Token(Decimal):
    """A number that keeps its JSON text: expressions use the number, otherwise the text is sent."""

    __slots__ = ("token",)
    token: str

    def __new__(cls, token: str) -> Self:
        """Create it from the JSON text of a number."""
        number = super().__new__(cls, token)
        number.token = token
        return number

    def __str__(self) -> str:
        return self.token


def to_sdk_values(value: Any) -> Any:
    """Return a parsed value as the SDK's reader does, with containers copied.

    Numbers with a fraction or an exponent become `Token`, which is a `Decimal`, and NaN a float.
    """
    kind = type(value)
    if kind is Raw:
        try:
            return Token(bytes(value).decode())
        except InvalidOperation:  # an exponent beyond `Decimal`'s range: kept as it is
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
"""Bits of an integer that Python surely converts to text."""
_VALUES: Final = (str, float, Decimal, dt.date, dt.time, Raw, type(None))


def is_value(value: Any) -> bool:
    """Whether the result of an expression can be sent: a function or bytes, for example, cannot."""
    if isinstance(value, int):
        return value.bit_length() <= _MAX_INT_BITS
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_value(part) for name, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_value, value))
    return isinstance(value, _VALUES)


def without_tokens(value: Any) -> Any:
    """Return the value with plain numbers, for a library that accepts no subclass of `Decimal`."""
    if type(value) is Token:
        return Decimal(value)
    if type(value) is Raw:  # an exponent beyond `Decimal`'s range
        double = float(bytes(value))
        return double if math.isinf(double) else to_decimal(bytes(value).decode())
    if isinstance(value, dict):
        return {name: without_tokens(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_tokens(part) for part in value]
    return value
