"""Collects objects into batches for `set` calls, without a network.

Invariants: a batch has one collection, 1 to 10 objects, and no id twice. Objects of one id that
wait together are merged as Segment would merge them: later properties replace earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from target_segment_objects.objects import SegmentObject

if TYPE_CHECKING:
    from target_segment_objects.delivery.durability import Receipt
    from target_segment_objects.delivery.limits import BatchLimits
    from target_segment_objects.source import SourceRecord

__all__ = ["Batch", "Batcher", "PendingObject", "merge"]

_properties = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class PendingObject(msgspec.Struct):
    """An object that is not answered yet, and the records that are in it.

    Attributes:
        object: what will be sent.
        sources: the records that were merged into it, in their order.
        receipts: theirs, to be settled with it.
        bytes: the memory that these take, as counted by the caller.
    """

    object: SegmentObject
    sources: list[SourceRecord]
    receipts: list[Receipt]
    bytes: int = 0

    def settle(self) -> None:
        """All records in it are durable."""
        for receipt in self.receipts:
            receipt.settle()

    def merge(self, later: PendingObject, max_bytes: int) -> bool:
        """Merge a later object of the same id into it; return false if both are too large."""
        merged = merge(self.object, later.object)
        if len(merged.line_bytes()) > max_bytes:
            return False
        self.object = merged
        self.sources += later.sources
        self.receipts += later.receipts
        self.bytes += later.bytes
        return True


@dataclass
class Batch:
    """The objects of one call, by id, in the order of their first records.

    Attributes:
        collection: the one that all of them go to.
        due: when it must be sealed, on the monotonic clock.
        pending: its objects by id.
    """

    collection: str
    due: float
    pending: dict[str, PendingObject] = field(default_factory=dict)

    @classmethod
    def single(cls, pending: PendingObject) -> Batch:
        """A batch of one object, to be sent at once."""
        obj = pending.object
        return cls(obj.collection, float("-inf"), {obj.id: pending})

    def contains(self, pending: PendingObject) -> bool:
        """Whether it has this very object, and not another one of its id."""
        return self.pending.get(pending.object.id) is pending


def merge(earlier: SegmentObject, later: SegmentObject) -> SegmentObject:
    """Merge two objects of one id: later properties replace earlier ones."""
    properties = _properties(earlier.properties)
    properties.update(_properties(later.properties))
    return SegmentObject(later.collection, later.id, _encode(properties))


class Batcher:
    """One open batch a collection; `feed` returns the batch that becomes full, mostly none."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._open: dict[str, Batch] = {}

    def feed(self, pending: PendingObject, now: float) -> Batch | None:
        """Add an object; the batch that becomes full is sealed and returned.

        An object that would be too large if merged into the waiting one of its id is *not* added:
        the batch of the waiting one is sealed and returned without it (see `Batch.contains`). It
        must not be sent before that batch is answered.
        """
        obj = pending.object
        batch = self._open.get(obj.collection)
        if batch is None:
            batch = self._open[obj.collection] = Batch(obj.collection, now + self._limits.seconds)
        earlier = batch.pending.get(obj.id)
        if earlier is not None:
            is_merged = earlier.merge(pending, self._limits.object_bytes)
            return None if is_merged else self._open.pop(obj.collection)
        batch.pending[obj.id] = pending
        if len(batch.pending) < self._limits.objects:
            return None
        return self._open.pop(obj.collection)

    def due(self, now: float) -> list[Batch]:
        """The batches that have waited long enough, sealed, the oldest first."""
        due = [batch for batch in self._open.values() if batch.due <= now]
        for batch in due:
            del self._open[batch.collection]
        return sorted(due, key=lambda batch: batch.due)

    def flush(self) -> list[Batch]:
        """All open batches, sealed."""
        batches = list(self._open.values())
        self._open.clear()
        return batches

    @property
    def next_due(self) -> float | None:
        """When the first open batch must be sealed, on the monotonic clock."""
        return min((batch.due for batch in self._open.values()), default=None)
