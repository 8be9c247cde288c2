"""One run put together, its signals and its connection."""

from __future__ import annotations

from target_segment_objects.run.run import Run
from target_segment_objects.run.signals import SignalWatcher
from target_segment_objects.run.supervisor import RunSupervisor, log_error

__all__ = [
    "Run",
    "RunSupervisor",
    "SignalWatcher",
    "log_error",
]
