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

_LONG: Final = b"0" * 16
"""So many digits and points may be more than 15 digits."""
_SAMPLE: Final = b"0" * 4
_MINUS: Final = re.compile(rb"-[0-9]{3}").search
_TINY_LOWER: Final = re.compile(rb"e-[0-9]{3}").search
_TINY_UPPER: Final = re.compile(rb"E-[0-9]{3}").search
_TINY: Final = b"e-000"
"""With such an exponent a number may be nearer to 0 than any double but 0."""


def may_have_inexact_numbers(block: bytes) -> bool:
    """Whether any line of a block may have such a number: quick, and true too often."""
    # A run of 16 digits covers four of every fourth byte, so sampling those is enough.
    if _SAMPLE in block[::4].translate(CHARACTER_CLASSES) and _LONG in block.translate(
        CHARACTER_CLASSES
    ):
        return True
    # A pattern that begins with one character is found as fast as that character.
    return bool(_MINUS(block) and (_TINY_LOWER(block) or _TINY_UPPER(block)))


def lines_with_inexact_numbers(lines: Iterable[bytes]) -> list[int]:
    """The indexes of the lines that have such a number outside of strings."""
    return [
        index
        for index, line in enumerate(lines)
        if (_LONG in (shapes := line.translate(CHARACTER_CLASSES)) or _TINY in shapes)
        and not all(map(_is_exact_as_double, _words(line, shapes)))
    ]


def _words(line: bytes, shapes: bytes) -> Iterator[bytes]:
    """What looks like such a number: the translated text has blanks around each number."""
    for sign in (_LONG, _TINY):
        at = shapes.find(sign)
        while at >= 0:
            start = shapes.rfind(b" ", 0, at) + 1
            end = shapes.find(b" ", at)
            end = len(line) if end < 0 else end
            if line[start - 1 : start] != b'"' and line[end : end + 1] != b'"':
                yield line[start:end]
            at = shapes.find(sign, end)


def _is_exact_as_double(word: bytes) -> bool:
    """Whether a number is the same as a double; a word that is no number stands in a string."""
    try:
        return type(as_number(Raw(word))) is float
    except ValueError:
        return True
