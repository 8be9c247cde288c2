"""What the target needs from a delivery, whichever method it uses.

Invariants: records of one object arrive in order; a record is durable only when its call was
answered 2xx in full, or its session was finished with 202; nothing is dropped silently. A delivery
belongs to the thread that reads; its own threads only make requests, and return their outcomes.

A delivery keeps no counts. It sends each event to an optional observer, as a frozen value.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from target_segment_objects.delivery.durability import DurabilityLog
    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.source import SourceRecord

__all__ = [
    "MEANWHILE_SECONDS",
    "Delivery",
    "DeliveryEvent",
    "DeliveryHooks",
    "DeliveryWaited",
    "ObjectsDelivered",
    "ObjectsQueued",
    "ObjectsRefused",
    "Observer",
    "PartUploaded",
    "SessionState",
    "SessionStateChanged",
    "do_nothing",
    "observe_wait",
]

MEANWHILE_SECONDS: Final = 1.0
"""How often a delivery that waits for Segment lets the run do due work, such as printing states."""


SessionState: TypeAlias = Literal["open", "finished", "failed", "replaced", "unknown"]
"""`failed`: ended with an error. `replaced`: lost, and another session has its parts. `unknown`:
the answer to its finish was lost."""


class ObjectsDelivered(msgspec.Struct, frozen=True):
    """Segment has these objects for good.

    Attributes:
        collection: the one that they went to.
        objects: how many.
        records: how many records were merged into them.
    """

    collection: str
    objects: int
    records: int


class ObjectsRefused(msgspec.Struct, frozen=True):
    """Segment refused objects that so many records of a collection were merged into."""

    collection: str
    records: int


class ObjectsQueued(msgspec.Struct, frozen=True):
    """Objects were added to the open bulk session; `bytes` are those of their lines."""

    collection: str
    bytes: int


class DeliveryWaited(msgspec.Struct, frozen=True):
    """The reading thread has waited so many seconds for the delivery."""

    seconds: float


class PartUploaded(msgspec.Struct, frozen=True):
    """A part was uploaded.

    Attributes:
        sync_id: its session.
        part_id: what Segment calls the part.
        part: its number in the session, from 1.
        objects, bytes: its lines, and their size before compression.
        compressed_bytes: its size on the wire.
    """

    sync_id: str
    part_id: str
    part: int
    objects: int
    bytes: int
    compressed_bytes: int


class SessionStateChanged(msgspec.Struct, frozen=True):
    """A bulk session, which has accepted so many parts, changed its state; the first is `open`."""

    sync_id: str
    state: SessionState
    parts: int


DeliveryEvent: TypeAlias = (
    ObjectsDelivered
    | ObjectsRefused
    | ObjectsQueued
    | DeliveryWaited
    | PartUploaded
    | SessionStateChanged
)


Observer: TypeAlias = "Callable[[DeliveryEvent], None]"
"""Called with each event of a delivery; must not raise.

Events of sessions and parts come from the thread that makes the calls, right after the call; all
others come from the reading thread."""


@contextlib.contextmanager
def observe_wait(observer: Observer) -> Iterator[None]:
    """Report the time that passes in the block as waited for the delivery."""
    began = time.monotonic()
    try:
        yield
    finally:
        observer(DeliveryWaited(time.monotonic() - began))


def do_nothing() -> None:
    """The hook of a run that has nothing to do."""


@dataclass(frozen=True)
class DeliveryHooks:
    """What a delivery needs of its run.

    Attributes:
        log: gives receipts for records.
        on_refused: called on the reading thread with each object that Segment refuses for good;
            rejects the records that were merged in it. It raises `RejectedRecordError` when no more
            rejects are tolerated. The delivery raises it to its caller, and can be continued; the
            records are not durable.
        wake: called from another thread when there is an outcome for the reading thread.
        meanwhile: called on the reading thread, each second while it waits for Segment.
        stopped: returns whether a stop has come.
        observer: hears what the delivery does.
        monotonic: the clock.
    """

    log: DurabilityLog
    on_refused: Callable[[RejectedRecordError, list[SourceRecord]], None]
    wake: Callable[[], None]
    meanwhile: Callable[[], None] = do_nothing
    stopped: Callable[[], bool] = lambda: False
    observer: Observer = lambda _: None
    monotonic: Callable[[], float] = time.monotonic


class Delivery(Protocol):
    """Delivers objects to Segment, with either method."""

    def put_block(
        self, objects: Sequence[ObjectLine], first: int, source_at: Callable[[int], SourceRecord]
    ) -> int:
        """Take the objects of consecutive records. May wait for earlier ones to be delivered.

        They get a receipt of the durability log, which is settled when they are durable.

        Args:
            objects: one of each record.
            first: the position of the first record, counted from 1.
            source_at: gives the record of one of them, by its index.

        Returns:
            How many were taken: all of them, unless a stop came.

        Raises:
            DeliveryError: an object that was taken before could not be delivered.
            RejectedRecordError: Segment refused an object, and no more rejects are tolerated.
        """

    def tick(self) -> float | None:
        """Do what is due by the clock; called before each wait for input.

        Returns:
            When it must be called again, on the monotonic clock; `None` if nothing will be due.

        Raises:
            DeliveryError: as `put_block`.
        """

    def finish(self) -> None:
        """Deliver all that was taken, and wait for it.

        Raises:
            DeliveryError: something could not be delivered.
        """

    def close(self) -> None:
        """End the threads: requests in flight end, the rest is not sent. Never raises."""
