"""What `target_segment_objects.fastpath` offers, pinned."""

from __future__ import annotations

from target_segment_objects import fastpath


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert fastpath.__all__ == [
        "BlockEncoder",
        "BlockSegment",
        "CompiledStream",
        "LineBlock",
        "compile_stream",
    ]
