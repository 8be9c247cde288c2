"""A block of lines, with the indexes of the lines that must not be decoded by the fast path."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from target_segment_objects.fastpath.exact_numbers import (
    lines_with_inexact_numbers,
    may_have_inexact_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_LINE_BYTES", "LineBlock", "may_be_deeper"]

MAX_LINE_BYTES: Final = 40_000
"""Longer lines take the general path. A value grows less than sixfold when it is encoded, so the
object of a shorter line stays below 400 KB."""
_NUL: Final = b"\\u0000"
_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NO_BRACES: Final = bytes(code for code in range(256) if code not in b'[]{}"')


class LineBlock:
    """Whole lines of input. What must be known about them is determined when it is needed, once.

    Args:
        content: the lines with their breaks.
        lines: the lines without.
    """

    def __init__(self, content: bytes, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self._content = content
        self._excluded: dict[tuple[bool, bool], list[int]] = {}

    def excluded(
        self, *, must_scan_numbers: bool, must_verify_text: bool, max_depth: int
    ) -> list[int]:
        """The indexes of lines that must not be decoded, in order.

        Args:
            must_scan_numbers: see `CompiledStream`.
            must_verify_text: see `CompiledStream`.
            max_depth: objects and arrays inside each other that a line may have; the same in each
                call.
        """
        flags = must_scan_numbers, must_verify_text
        if (known := self._excluded.get(flags)) is not None:
            return known
        indexes = self.oversized | self.with_nul
        if must_scan_numbers:
            indexes = indexes | self.inexact
        if must_verify_text:
            indexes = indexes | self.unverified(max_depth)
        return self._excluded.setdefault(flags, sorted(indexes))

    @cached_property
    def oversized(self) -> set[int]:
        """The indexes of lines whose objects might be too large."""
        if len(self._content) <= MAX_LINE_BYTES or max(map(len, self.lines)) <= MAX_LINE_BYTES:
            return set()
        return {index for index, line in enumerate(self.lines) if len(line) > MAX_LINE_BYTES}

    @cached_property
    def with_nul(self) -> set[int]:
        """The indexes of lines that may have the character U+0000, which is counted."""
        # A single character is found much faster, and most blocks have none.
        if b"\\" not in self._content or _NUL not in self._content:
            return set()
        return {index for index, line in enumerate(self.lines) if _NUL in line}

    @cached_property
    def inexact(self) -> set[int]:
        """The indexes of lines with a number that a double may not represent."""
        if not may_have_inexact_numbers(self._content):
            return set()
        return set(lines_with_inexact_numbers(self.lines))

    def unverified(self, max_depth: int) -> set[int]:
        """The indexes of lines that may be too deep, or are not UTF-8."""
        indexes = {
            index
            for index, line in enumerate(self.lines)
            if line.count(b"{") + line.count(b"[") > max_depth and may_be_deeper(line, max_depth)
        }
        if not _is_utf8(self._content):
            indexes.update(index for index, line in enumerate(self.lines) if not _is_utf8(line))
        return indexes


def may_be_deeper(line: bytes, max_depth: int) -> bool:
    """Whether a line has more objects and arrays inside each other than `max_depth`.

    Exact for JSON; of other text the answer may be yes although it is not so.
    """
    if b"\\" in line:
        line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Removing two adjacent quotes does not change which braces are in strings.
    braces = line.translate(_BRACES, _NO_BRACES).replace(b'""', b"")
    if b'"' in braces:
        braces = b"".join(braces.split(b'"')[::2])
    for _ in range(max_depth):  # remove the innermost pairs
        if not braces:
            return False
        braces = braces.replace(b"{}", b"")
    return bool(braces)


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or text.decode() is not None
    except UnicodeDecodeError:
        return False
