"""How much of a stream's objects is nulls: a schema may declare far more than records have.

The rule that it guards: a look at a few objects, never at all of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["NullShare", "null_bytes"]

_AROUND: Final = len('"":null,')
_WORTH_A_REMARK: Final = 100_000
"""Bytes of nulls in a run below which nobody minds them."""

_read = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def null_bytes(properties: bytes) -> int:
    """How many bytes of an object's properties, as JSON, are properties that are null."""
    return sum(
        len(name.encode()) + _AROUND
        for name, raw in _read(properties).items()
        if bytes(raw) == b"null"
    )


class NullShare:
    """The bytes of a few objects of a stream, and how many of them are nulls."""

    def __init__(self) -> None:
        self._objects = 0
        self._bytes = 0
        self._nulls = 0

    def add(self, properties: bytes) -> None:
        """Look at an object."""
        self._objects += 1
        self._bytes += len(properties)
        self._nulls += null_bytes(properties)

    def remark(self, objects: int) -> str:
        """What to say if most of the bytes of so many objects are nulls; empty if not."""
        in_the_run = self._nulls * objects // self._objects
        if self._nulls * 2 <= self._bytes or in_the_run < _WORTH_A_REMARK:
            return ""
        return (
            f"share={self._nulls / self._bytes:.0%} object_bytes={self._bytes // self._objects}; "
            "the schema declares properties that most records lack, and each is sent as null; to "
            "leave them out, set `nulls` to `drop` (a value that was cleared then stays in Segment)"
        )
