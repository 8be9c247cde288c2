"""What `target_segment_objects.input` offers, pinned."""

from __future__ import annotations

import target_segment_objects.input as face


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert face.__all__ == [
        "Message",
        "MessageReader",
        "ReaderOptions",
    ]
