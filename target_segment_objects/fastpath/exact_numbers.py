"""Which lines have a number that a double may not keep: found in their text, before it is decoded.

The rule that it guards: no digit is lost. Fifteen digits fit into any double, and so does any
number that a double prints just so; a line with another one is doubtful, and takes the slow way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from target_segment_objects.plan import values
from target_segment_objects.plan.number_text import PICTURE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["doubtful_lines", "may_be_doubtful"]

_LONG: Final = b"0" * 16
"""So many digits and points may be more than 15 digits."""
_SAMPLE: Final = b"0" * 4
_MINUS: Final = re.compile(rb"-[0-9]{3}").search
_TINY_LOWER: Final = re.compile(rb"e-[0-9]{3}").search
_TINY_UPPER: Final = re.compile(rb"E-[0-9]{3}").search
_TINY: Final = b"e-000"
"""With such an exponent a number may be nearer to 0 than any double but 0."""


def may_be_doubtful(block: bytes) -> bool:
    """Whether any line of a block may have such a number: quick, and true too often."""
    # Of sixteen in a row, four are at every fourth place: a quarter of the work.
    if _SAMPLE in block[::4].translate(PICTURE) and _LONG in block.translate(PICTURE):
        return True
    # A pattern that begins with one character is found as fast as that character.
    return bool(_MINUS(block) and (_TINY_LOWER(block) or _TINY_UPPER(block)))


def doubtful_lines(lines: Iterable[bytes]) -> list[int]:
    """The places of the lines that have such a number outside of their strings."""
    return [
        place
        for place, line in enumerate(lines)
        if (_LONG in (shapes := line.translate(PICTURE)) or _TINY in shapes)
        and not all(map(_is_kept, _words(line, shapes)))
    ]


def _words(line: bytes, shapes: bytes) -> Iterator[bytes]:
    """What looks like such a number. A number stands alone in its picture, whole."""
    for sign in (_LONG, _TINY):
        at = shapes.find(sign)
        while at >= 0:
            start = shapes.rfind(b" ", 0, at) + 1
            end = shapes.find(b" ", at)
            end = len(line) if end < 0 else end
            if line[start - 1 : start] != b'"' and line[end : end + 1] != b'"':
                yield line[start:end]
            at = shapes.find(sign, end)


def _is_kept(word: bytes) -> bool:
    """Whether a number is the same as a double; a word that is no number stands in a string."""
    try:
        return type(values.as_number(Raw(word))) is float
    except ValueError:
        return True
