"""Objects go to Segment, in order, and what is durable is known."""

from __future__ import annotations

from target_segment_objects.delivery.batching import BatchLimits
from target_segment_objects.delivery.bulk.delivery import BulkDelivery, SessionLimits
from target_segment_objects.delivery.bulk.gzip_member import Level
from target_segment_objects.delivery.bulk.parts import Part, PartLimits
from target_segment_objects.delivery.checkpoint import Checkpoint
from target_segment_objects.delivery.contract import Delivery, Refused, do_nothing
from target_segment_objects.delivery.dead_letter import DeadLetter, Rejects
from target_segment_objects.delivery.durability import DurabilityLog
from target_segment_objects.delivery.set_calls import SetDelivery

__all__ = [
    "BatchLimits",
    "BulkDelivery",
    "Checkpoint",
    "DeadLetter",
    "Delivery",
    "DurabilityLog",
    "Level",
    "Part",
    "PartLimits",
    "Refused",
    "Rejects",
    "SessionLimits",
    "SetDelivery",
    "do_nothing",
]
