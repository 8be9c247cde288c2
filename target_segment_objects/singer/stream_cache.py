"""Forms of streams that other ones have taken the place of: some taps go back to them.

The rule that it guards: to go back to a form costs next to nothing, and what is kept for it is
bounded, however many forms and streams there are.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from target_segment_objects.fastpath import CompiledStream
    from target_segment_objects.singer.streams import Route
    from target_segment_objects.source import SourceStream

    _Key = tuple[str, bytes, tuple[str, ...] | None]

__all__ = ["PlannedStream", "StreamCache"]

MAX_BYTES: Final = 1 << 20
"""Bytes of SCHEMAs whose forms are kept; a plan takes some twenty times as much memory."""
STREAM_OVERHEAD_BYTES: Final = 1_000
"""Bytes that a form counts for beside its SCHEMA: the least plan takes memory, too."""


class PlannedStream(NamedTuple):
    """All that was made of a SCHEMA.

    Attributes:
        source: the SCHEMA.
        routes: as `Routes.for_stream` has them.
        compiled: the fast path, if there is one; it knows whether long strings have come.
    """

    source: SourceStream
    routes: list[Route]
    compiled: CompiledStream | None


class StreamCache:
    """The forms that were set aside last, of all streams."""

    def __init__(self) -> None:
        self._cache: OrderedDict[_Key, PlannedStream] = OrderedDict()
        self._bytes = 0

    def put(self, planned: PlannedStream) -> None:
        """Set a form aside; those that were for the longest time are forgotten."""
        self.take(planned.source)
        self._cache[_key(planned.source)] = planned
        self._bytes += _size(planned.source)
        while self._bytes > MAX_BYTES:
            _, oldest = self._cache.popitem(last=False)
            self._bytes -= _size(oldest.source)

    def take(self, source: SourceStream) -> PlannedStream | None:
        """Take a form out, if it is here."""
        planned = self._cache.pop(_key(source), None)
        if planned is not None:
            self._bytes -= _size(source)
        return planned


def _key(source: SourceStream) -> _Key:
    keys = source.key_properties
    return source.stream, source.schema, None if keys is None else tuple(keys)


def _size(source: SourceStream) -> int:
    return len(source.schema) + STREAM_OVERHEAD_BYTES
