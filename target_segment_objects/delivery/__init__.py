"""Sends objects to Segment in order, and tracks which of them are durable."""

from __future__ import annotations

from target_segment_objects.delivery.bulk.delivery import BulkDelivery
from target_segment_objects.delivery.checkpoint import Checkpoint
from target_segment_objects.delivery.contract import (
    Delivery,
    DeliveryEvent,
    DeliveryHooks,
    DeliveryWaited,
    ObjectsDelivered,
    ObjectsQueued,
    ObjectsRefused,
    PartUploaded,
    SessionState,
    SessionStateChanged,
    do_nothing,
)
from target_segment_objects.delivery.dead_letter import DeadLetter, fault_rows
from target_segment_objects.delivery.durability import DurabilityLog
from target_segment_objects.delivery.limits import BatchLimits, BulkLimits, Level
from target_segment_objects.delivery.set_calls import SetDelivery

__all__ = [
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
