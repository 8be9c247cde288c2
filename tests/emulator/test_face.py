"""What `target_segment_objects.emulator` offers, pinned."""

from __future__ import annotations

from target_segment_objects import emulator


def test_the_face_is_pinned() -> None:
    """Adding or removing a name is a decision."""
    assert emulator.__all__ == [
        "Emulator",
        "EmulatorError",
        "EmulatorSession",
        "Hold",
        "InjectedFault",
        "MissingExtraError",
        "QueryResult",
        "RecordedRequest",
        "WarehouseError",
        "WarehouseLockedError",
        "is_loopback",
        "query_file",
    ]
