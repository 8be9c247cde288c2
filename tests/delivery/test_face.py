"""What `target_segment_objects.delivery` offers, pinned."""

from __future__ import annotations

from target_segment_objects import delivery


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert delivery.__all__ == [
        "BatchLimits",
        "BulkDelivery",
        "BulkLimits",
        "Checkpoint",
        "DeadLetter",
        "Delivery",
        "DeliveryEvent",
        "DeliveryHooks",
        "DeliveryWaited",
        "DurabilityLog",
        "Level",
        "ObjectsDelivered",
        "ObjectsQueued",
        "ObjectsRefused",
        "PartUploaded",
        "SessionState",
        "SessionStateChanged",
        "SetDelivery",
        "do_nothing",
        "fault_rows",
    ]
