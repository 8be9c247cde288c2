"""Objects become sealed batches for `set` calls: a feed and flush machine without a network.

The rules that it guards: a batch has one collection, 1 to 10 objects, and no id twice. Objects of
one id that wait together are merged, later properties winning, as Segment itself would merge them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from target_segment_objects.objects import MAX_OBJECT_BYTES, MAX_OBJECTS_PER_CALL, SegmentObject

if TYPE_CHECKING:
    from target_segment_objects.delivery.durability import Receipt
    from target_segment_objects.source import SourceRecord

__all__ = ["Batch", "BatchLimits", "Batcher", "Waiting", "merged"]

_properties = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class BatchLimits:
    """When a batch is sealed.

    Attributes:
        objects: objects in one call, at most the API's 10.
        seconds: how long an object waits for its call to fill.
    """

    objects: int = MAX_OBJECTS_PER_CALL
    seconds: float = 1.0


class Waiting(msgspec.Struct):
    """An object that waits, and which records are in it.

    Attributes:
        object: what will be sent.
        origins: the records that were merged into it, in their order.
        receipts: theirs, to be settled with it.
        bytes: what these take of memory, counted once, by who makes it.
    """

    object: SegmentObject
    origins: list[SourceRecord]
    receipts: list[Receipt]
    bytes: int = 0

    def settle(self) -> None:
        """All records in it are durable."""
        for receipt in self.receipts:
            receipt.settle()

    def merge(self, later: Waiting) -> bool:
        """Take a later object of the same id in; false when both are too large together."""
        both = merged(self.object, later.object)
        if both is None:
            return False
        self.object = both
        self.origins += later.origins
        self.receipts += later.receipts
        self.bytes += later.bytes
        return True


@dataclass
class Batch:
    """The objects of one call, by id, in the order of their first records.

    Attributes:
        collection: the one that all of them go to.
        due: when it must be sealed, on the monotonic clock.
        waiting: its objects by id.
    """

    collection: str
    due: float
    waiting: dict[str, Waiting] = field(default_factory=dict)

    @classmethod
    def of(cls, waiting: Waiting) -> Batch:
        """A batch of one object, to be sent at once."""
        made = waiting.object
        return cls(made.collection, float("-inf"), {made.id: waiting})

    def has(self, waiting: Waiting) -> bool:
        """Whether this very object is in it, and not another of its id."""
        return self.waiting.get(waiting.object.id) is waiting

    def objects(self) -> list[SegmentObject]:
        """What the call sends."""
        return [waiting.object for waiting in self.waiting.values()]


def merged(earlier: SegmentObject, later: SegmentObject) -> SegmentObject | None:
    """Both objects of one id as one, later properties winning; `None` when that is too large."""
    properties = _properties(earlier.properties)
    properties.update(_properties(later.properties))
    made = SegmentObject(later.collection, later.id, _encode(properties))
    return made if len(made.line_bytes()) <= MAX_OBJECT_BYTES else None


class Batcher:
    """One open batch a collection; `feed` returns the batch that is sealed by it, mostly none."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._open: dict[str, Batch] = {}

    def feed(self, waiting: Waiting, now: float) -> Batch | None:
        """Add an object; the batch that it fills is sealed and returned.

        An object that would be too large when merged into the one of its id that waits is *not*
        taken: the batch of that one is sealed and returned, and does not have it (`Batch.has`). It
        must not be sent before that batch is answered.
        """
        made = waiting.object
        batch = self._open.get(made.collection)
        if batch is None:
            batch = self._open[made.collection] = Batch(made.collection, now + self._limits.seconds)
        earlier = batch.waiting.get(made.id)
        if earlier is not None:
            return None if earlier.merge(waiting) else self._open.pop(made.collection)
        batch.waiting[made.id] = waiting
        if len(batch.waiting) < self._limits.objects:
            return None
        return self._open.pop(made.collection)

    def due(self, now: float) -> list[Batch]:
        """The batches that have waited long enough, sealed, the oldest first."""
        late = sorted(
            (batch for batch in self._open.values() if batch.due <= now),
            key=lambda batch: batch.due,
        )
        for batch in late:
            del self._open[batch.collection]
        return late

    def flush(self) -> list[Batch]:
        """All open batches, sealed."""
        batches = list(self._open.values())
        self._open.clear()
        return batches

    @property
    def next_due(self) -> float | None:
        """When the first open batch must be sealed, on the monotonic clock."""
        return min((batch.due for batch in self._open.values()), default=None)
