"""Counts of the conversions that values went through on their way into an object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["UNDECLARED", "ConversionCode", "ConversionCounts", "Conversions"]

UNDECLARED: Final = "(undeclared)"
"""The property name under which conversions of undeclared properties are counted."""


class ConversionCode(str, Enum):
    """What was done to a value, or found in it, without rejecting its record.

    A member equals its text, which the preview's JSON shows.
    """

    COERCED = "coerced"
    """Converted to the type that the schema declares."""
    MISMATCHED = "mismatched"
    """Sent although it is not of the type that the schema declares."""
    DATE_NORMALIZED = "date_normalized"
    """A date that was rewritten as RFC 3339."""
    INVALID_DATE = "invalid_date"
    """The value of a date column that is not a date, sent as a string."""
    LONG_STRING = "long_string"
    """A string of more than 512 characters, where most warehouses cut it."""
    NUL_CHARACTER = "nul_character"
    """A string with the character U+0000, which most warehouses refuse."""
    HASHED_ID = "hashed_id"
    """An id of more than 100 characters, replaced by its hash."""
    DROPPED = "dropped"
    """A value of 32 KB or more, not sent."""
    TRUNCATED = "truncated"
    """A value of 32 KB or more, cut."""
    NON_FINITE_NULLED = "nulled"
    """A number that is not finite, replaced by null."""

    __str__ = str.__str__


Conversions = Mapping[tuple[ConversionCode, str], int]
"""How often which conversion happened: (code, property) → count."""


class ConversionCounts(Counter[tuple[ConversionCode, str]]):
    """Counts conversions by code and property.

    Attributes:
        name: the property that is being converted; `UNDECLARED` if the schema does not declare it.
        path: its path in the record; empty if an id of several keys is made.
        paths: by (code, property), the path of the first conversion.
    """

    def __init__(self, *counts: Conversions) -> None:
        self.name = ""
        self.path: tuple[str, ...] = ()
        self.paths: dict[tuple[ConversionCode, str], tuple[str, ...]] = {}
        super().__init__(*counts)

    def count(self, code: ConversionCode, values: int = 1) -> None:
        """Count a conversion of the current property."""
        self[code, self.name] += values
        self.paths.setdefault((code, self.name), self.path)

    def take(self) -> ConversionCounts:
        """Return a copy of the counts, and reset them."""
        taken = ConversionCounts(self)
        taken.paths, self.paths = self.paths, {}
        self.clear()
        return taken
