"""The side towards the Singer SDK: the target, its sinks, stream maps and metrics."""

from __future__ import annotations

from target_segment_objects.singer.target import TargetSegmentObjects, main

__all__ = [
    "TargetSegmentObjects",
    "main",
]
