"""Finds numbers in JSON text without parsing it.

Invariant: a number beyond the range of a double is never missed.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CHARACTER_CLASSES", "may_be_infinite"]

CHARACTER_CLASSES: Final = bytes(
    {**dict.fromkeys(b"0123456789.", b"0"), **dict.fromkeys(b"eE", b"e"), 43: b"+", 45: b"-"}.get(
        code, b" "
    )[0]
    for code in range(256)
)
"""A translation table: digits and `.` become `0`, `e` and `E` become `e`, other bytes blanks."""
_LARGE_LOWER: Final = re.compile(rb"e[+0-9][0-9]{2}").search
_LARGE_UPPER: Final = re.compile(rb"E[+0-9][0-9]{2}").search
_HUGE: Final = b"0" * 200
"""A number with an exponent of at most two digits needs more digits than this to be infinite."""


def may_be_infinite(text: bytes) -> bool:
    """Whether JSON text may have a number beyond the range of a double; it may also have none."""
    if _LARGE_LOWER(text) or _LARGE_UPPER(text):
        return True
    # A run of 200 digits always covers one of every 200th byte, so sampling those is enough.
    return b"0" in text[:: len(_HUGE)].translate(CHARACTER_CLASSES) and _HUGE in text.translate(
        CHARACTER_CLASSES
    )
