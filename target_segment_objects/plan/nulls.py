"""Estimates the share of nulls in a stream's objects: a schema may declare more than records have.

Only a few objects of a stream are measured.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["NullShare", "null_bytes"]

_EXTRA_BYTES: Final = len('"":null,')
_MIN_NULL_BYTES: Final = 100_000
"""Bytes of nulls in a run below which there is no warning."""

_read = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def null_bytes(properties: bytes) -> int:
    """The bytes of the null properties in an object's properties, given as JSON."""
    return sum(
        len(name.encode()) + _EXTRA_BYTES
        for name, raw in _read(properties).items()
        if bytes(raw) == b"null"
    )


class NullShare:
    """Measures some objects of a stream: their bytes, and the bytes of nulls among them."""

    def __init__(self) -> None:
        self._objects = 0
        self._bytes = 0
        self._nulls = 0

    def add(self, properties: bytes) -> None:
        """Measure the properties of an object."""
        self._objects += 1
        self._bytes += len(properties)
        self._nulls += null_bytes(properties)

    def warning(self, objects: int) -> str:
        """The warning for a run of so many objects, if they are mostly nulls; else empty."""
        bytes_in_run = self._nulls * objects // self._objects
        if self._nulls * 2 <= self._bytes or bytes_in_run < _MIN_NULL_BYTES:
            return ""
        return (
            f"share={self._nulls / self._bytes:.0%} object_bytes={self._bytes // self._objects}; "
            "the records have nulls, or lack properties of nested objects, which are sent as null; "
            "to leave them out, set `nulls` to `drop` (a value that was cleared then stays in "
            "Segment)"
        )
