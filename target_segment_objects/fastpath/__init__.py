"""The plan, compiled: blocks of lines become objects."""

from __future__ import annotations

from target_segment_objects.fastpath.block_encoder import BlockEncoder, BlockSegment
from target_segment_objects.fastpath.compiled_stream import CompiledStream, compile_stream
from target_segment_objects.fastpath.line_block import LineBlock

__all__ = [
    "BlockEncoder",
    "BlockSegment",
    "CompiledStream",
    "LineBlock",
    "compile_stream",
]
