"""Finds lines with numbers that a double may not represent, in their text, before it is decoded.

Invariant: no digit is lost. A double keeps any number of up to 15 digits, and any number that it
prints unchanged. A line with another number is inexact: the general path takes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from target_segment_objects.plan import CHARACTER_CLASSES, as_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["lines_with_inexact_numbers", "may_have_inexact_numbers"]

# Of text that is translated to character classes.
_16_DIGITS: Final = b"0" * 16
"""Digits and points: these may be more than 15 digits."""
_4_DIGITS: Final = b"0" * 4
_NEG_EXPONENT_3: Final = b"e-000"
"""Beyond -99 a number may be so small that the nearest double is 0."""

# Of the text itself. A pattern that begins with one character is found as fast as that character.
_MINUS_3_DIGITS: Final = re.compile(rb"-[0-9]{3}").search
_LOWER_NEG_EXPONENT_3: Final = re.compile(rb"e-[0-9]{3}").search
_UPPER_NEG_EXPONENT_3: Final = re.compile(rb"E-[0-9]{3}").search


def may_have_inexact_numbers(block: bytes) -> bool:
    """Whether any line of a block may have such a number. Quick; true more often than necessary."""
    # A run of 16 digits covers four of every fourth byte, so sampling those is enough.
    return (
        _4_DIGITS in block[::4].translate(CHARACTER_CLASSES)
        and _16_DIGITS in block.translate(CHARACTER_CLASSES)
    ) or bool(
        _MINUS_3_DIGITS(block) and (_LOWER_NEG_EXPONENT_3(block) or _UPPER_NEG_EXPONENT_3(block))
    )


def lines_with_inexact_numbers(lines: Iterable[bytes]) -> list[int]:
    """The indexes of the lines that have such a number outside of strings."""
    return [
        index
        for index, line in enumerate(lines)
        if (
            _16_DIGITS in (classes := line.translate(CHARACTER_CLASSES))
            or _NEG_EXPONENT_3 in classes
        )
        and not all(map(_is_exact_as_double, _long_numbers(line, classes)))
    ]


def _long_numbers(line: bytes, classes: bytes) -> Iterator[bytes]:
    """What may be such a number: the character classes have blanks around each number."""
    for pattern in (_16_DIGITS, _NEG_EXPONENT_3):
        at = classes.find(pattern)
        while at >= 0:
            start = classes.rfind(b" ", 0, at) + 1
            end = classes.find(b" ", at)
            end = len(line) if end < 0 else end
            if line[start - 1 : start] != b'"' and line[end : end + 1] != b'"':
                yield line[start:end]
            at = classes.find(pattern, end)


def _is_exact_as_double(token: bytes) -> bool:
    """Whether a number is the same as a double; true for text in a string that is no number."""
    try:
        return type(as_number(Raw(token))) is float
    except ValueError:
        return True
