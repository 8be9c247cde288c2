"""What the target asks of a delivery, by either method.

The rules that it guards: for one object, later records arrive later; a record is durable only when
its call was answered 2xx in full, or its session was finished with 202; nothing is dropped in
silence. A delivery belongs to the thread that reads; its own threads only make requests, and hand
back what became of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.source import Origin

__all__ = ["MEANWHILE_SECONDS", "Delivery", "Refused", "do_nothing"]

MEANWHILE_SECONDS: Final = 1.0
"""How often a delivery that waits for Segment lets the run do what is due: print states, say."""


def do_nothing() -> None:
    """What is due while a delivery waits, where nothing is."""


class Refused(Protocol):
    """What a delivery calls, on the reading thread, with an object that Segment refuses."""

    def __call__(self, error: RejectedRecordError, origins: list[Origin], /) -> None:
        """Take note of the records that were merged in the object.

        Raises:
            RejectedRecordError: when no more rejects are tolerated. The delivery raises it to its
                caller, counts the records as not durable, and goes on with the rest when asked.
        """


class Delivery(Protocol):
    """What the target asks of either way."""

    def put_block(
        self, objects: Sequence[ObjectLine], first: int, source_at: Callable[[int], Origin]
    ) -> int:
        """Take objects of records that follow each other. May wait for room.

        A receipt for them is taken from the durability log, and settled when they are durable.

        Args:
            objects: one of each record.
            first: the position of the first record, counted from 1.
            source_at: gives the record of one of them, by its index.

        Returns:
            How many were taken: all of them, unless a stop came.

        Raises:
            DeliveryError: when anything that was taken before could not be delivered.
            RejectedRecordError: when Segment refused an object, one too many.
        """

    def tick(self) -> float | None:
        """Do what time demands; called before each wait for input.

        Returns:
            When it must be called again, on the monotonic clock; `None` when time demands nothing.

        Raises:
            DeliveryError: as `put_block`.
        """

    def finish(self) -> None:
        """Deliver all that was taken, and wait for it.

        Raises:
            DeliveryError: when something could not be delivered.
        """

    def close(self) -> None:
        """End the threads: requests in flight end, what waits is not sent. Never raises."""
