"""What `target_segment_objects.singer` offers, pinned."""

from __future__ import annotations

from target_segment_objects import singer


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert singer.__all__ == [
        "TargetSegmentObjects",
        "main",
    ]
