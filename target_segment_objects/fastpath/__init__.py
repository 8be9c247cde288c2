"""The plan, compiled: blocks of lines become objects."""

from __future__ import annotations

from target_segment_objects.fastpath.compiled_stream import CompiledStream, compile_stream
from target_segment_objects.fastpath.lane import FastLane, LineBlock, Segment

__all__ = [
    "CompiledStream",
    "FastLane",
    "LineBlock",
    "Segment",
    "compile_stream",
]
