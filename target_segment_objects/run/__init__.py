"""One run put together, its signals and its connection."""

from __future__ import annotations

from target_segment_objects.run.run import Run
from target_segment_objects.run.signals import SignalWatcher

__all__ = [
    "Run",
    "SignalWatcher",
]
