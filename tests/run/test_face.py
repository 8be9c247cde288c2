"""What `target_segment_objects.run` offers, pinned."""

from __future__ import annotations

from target_segment_objects import run


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert run.__all__ == [
        "Run",
        "RunSupervisor",
        "SignalWatcher",
        "log_error",
    ]
