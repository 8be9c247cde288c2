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
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["Token", "is_value", "plain_number", "to_sdk_values"]


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


def to_sdk_values(value: Any, number: Callable[[str], object] = Token) -> Any:
    """Return a parsed value as the SDK's reader does, with containers copied; NaN becomes a float.

    Args:
        value: the parsed value.
        number: makes a number with a fraction or an exponent from its JSON text. If it raises
            `InvalidOperation`, the text is kept.
    """
    kind = type(value)
    if kind is Raw:
        try:
            return number(bytes(value).decode())
        except InvalidOperation:  # an exponent beyond `Decimal`'s range
            return value
    if kind is dict:
        return {
            name: part if type(part) in _PLAIN else to_sdk_values(part, number)
            for name, part in value.items()
        }
    if kind is list:
        return [to_sdk_values(part, number) for part in value]
    if kind is NonFinite:
        return float(value.token)
    return value


def plain_number(token: str) -> Decimal | float:
    """Return the number of a token, for a library that accepts no subclass of `Decimal`."""
    try:
        return Decimal(token)
    except InvalidOperation:  # an exponent beyond its range
        double = float(token)
        return double if math.isinf(double) else to_decimal(token)


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
