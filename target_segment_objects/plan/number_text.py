"""What the text of numbers looks like: found without reading them.

The rule that it guards: a number that no double can hold is never passed over.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["PICTURE", "may_be_infinite"]

PICTURE: Final = bytes(
    {**dict.fromkeys(b"0123456789.", b"0"), **dict.fromkeys(b"eE", b"e"), 43: b"+", 45: b"-"}.get(
        code, b" "
    )[0]
    for code in range(256)
)
"""The picture of a text: what numbers are made of, and blanks for all the rest."""
_LARGE_LOWER: Final = re.compile(rb"e[+0-9][0-9]{2}").search
_LARGE_UPPER: Final = re.compile(rb"E[+0-9][0-9]{2}").search
_HUGE: Final = b"0" * 200
"""With an exponent of two digits at most, a number needs more than this to be infinite."""


def may_be_infinite(text: bytes) -> bool:
    """Whether JSON text may have a number beyond the doubles: quick, and true too often."""
    if _LARGE_LOWER(text) or _LARGE_UPPER(text):
        return True
    # Of so many digits in a row, one is at every place of that distance.
    return b"0" in text[:: len(_HUGE)].translate(PICTURE) and _HUGE in text.translate(PICTURE)
