"""The side towards the Singer SDK: the target, its sinks, stream maps and metrics."""

from __future__ import annotations

from target_segment_objects.singer.sinks import SegmentObjectsSink
from target_segment_objects.singer.stream_maps import MappedStream
from target_segment_objects.singer.streams import Route, Routes
from target_segment_objects.singer.target import TargetSegmentObjects, main

__all__ = [
    "MappedStream",
    "Route",
    "Routes",
    "SegmentObjectsSink",
    "TargetSegmentObjects",
    "main",
]
