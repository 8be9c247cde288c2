"""Keeps the plans of earlier SCHEMAs, since some taps alternate between SCHEMAs of one stream.

Invariant: to switch back to an earlier SCHEMA is cheap, and the memory for it is bounded, however
many SCHEMAs and streams there are.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from target_segment_objects.fastpath import CompiledStream
    from target_segment_objects.singer.streams import Route
    from target_segment_objects.source import SourceStream

__all__ = ["PlannedStream", "StreamCache"]

MAX_BYTES: Final = 1 << 20
"""Bytes of the SCHEMAs whose plans are kept; a plan takes about twenty times as much memory."""
STREAM_OVERHEAD_BYTES: Final = 1_000
"""Bytes that are added for each SCHEMA: even the smallest plan takes memory."""


class PlannedStream(NamedTuple):
    """A SCHEMA and its plan.

    Attributes:
        source: the SCHEMA.
        routes: the routes of its records, none when stream maps remove the stream.
        compiled: the fast path, if there is one; it remembers whether long strings have occurred.
    """

    source: SourceStream
    routes: list[Route]
    compiled: CompiledStream | None


class StreamCache:
    """The plans that were replaced last, of all streams."""

    def __init__(self) -> None:
        self._plans: OrderedDict[bytes, PlannedStream] = OrderedDict()
        self._bytes = 0

    def put(self, planned: PlannedStream) -> None:
        """Keep a plan; the oldest ones are dropped when there are too many."""
        self.take(planned.source)
        self._plans[planned.source.digest] = planned
        self._bytes += _size(planned.source)
        while self._bytes > MAX_BYTES:
            _, oldest = self._plans.popitem(last=False)
            self._bytes -= _size(oldest.source)

    def take(self, source: SourceStream) -> PlannedStream | None:
        """Remove and return the plan of a SCHEMA, if it is in the cache."""
        planned = self._plans.pop(source.digest, None)
        if planned is not None:
            self._bytes -= _size(source)
        return planned


def _size(source: SourceStream) -> int:
    return len(source.schema) + STREAM_OVERHEAD_BYTES
