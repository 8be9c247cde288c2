"""The plan, compiled: blocks of lines become objects."""

from __future__ import annotations

from target_segment_objects.fastpath.block_encoder import BlockEncoder, BlockSegment, LineBlock
from target_segment_objects.fastpath.compiled_stream import CompiledStream, compile_stream

__all__ = [
    "BlockEncoder",
    "BlockSegment",
    "CompiledStream",
    "LineBlock",
    "compile_stream",
]
