"""Delivery by `set` calls: many requests in flight, and for one object never more than one.

The reading thread owns the batcher and all books; workers take sealed batches and hand back the
outcome, so that no lock is taken per record. An object whose id is in flight is held, merged with
later ones of its id, until the answer has come.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Protocol

from target_segment_objects.batching import Batch, Batcher, BatchLimits, Waiting, merged
from target_segment_objects.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.objects import SegmentObject

__all__ = ["SetCall", "SetDelivery"]

logger = logging.getLogger(__name__)

_Outcome = tuple[Batch, BaseException | None]
_Key = tuple[str, str]


class SetCall(Protocol):
    """What the delivery needs of `client.SetApi`."""

    def send(self, collection: str, objects: list[SegmentObject]) -> object:
        """One `set` call, with its retries.

        Raises:
            DeliveryError: when it could not be delivered.
        """


class SetDelivery:
    """See `delivery.Delivery`.

    Args:
        api: makes one call.
        concurrency: calls in flight at most.
        limits: when a batch is sealed.
        monotonic: the clock.
        wake: called from a worker when there is an outcome to look at.
    """

    def __init__(
        self,
        api: SetCall,
        *,
        concurrency: int,
        limits: BatchLimits,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._api = api
        self._concurrency = concurrency
        self._monotonic = monotonic
        self._wake = wake
        self._batcher = Batcher(limits)
        self._busy: set[_Key] = set()
        self._held: dict[_Key, list[Waiting]] = {}
        self._sealed: dict[int, Batch] = {}
        self._work: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._closing = False

    def put(self, made: SegmentObject, position: int) -> None:
        """Take an object; waits while twice as many calls as may be in flight are sealed."""
        if not self._outcomes.empty():
            self._take_outcomes()
        self._raise_failure()
        self._feed(Waiting(made, position))
        while len(self._sealed) >= 2 * self._concurrency:
            self._take_outcome(self._outcomes.get())
            self._raise_failure()

    def tick(self) -> float | None:
        """Seal the batches that have waited long enough."""
        self._take_outcomes()
        self._raise_failure()
        for batch in self._batcher.due(self._monotonic()):
            self._dispatch(batch)
        return self._batcher.next_due

    def durable(self, position: int) -> int:
        """Everything before the first record that waits, is held or in flight."""
        firsts = [batch.first for batch in self._sealed.values()]
        firsts += [waiting.first for held in self._held.values() for waiting in held]
        if (first := self._batcher.first) is not None:
            firsts.append(first)
        return min(firsts) - 1 if firsts else position

    def finish(self) -> None:
        """Send what waits, and wait for every answer."""
        self._take_outcomes()
        while True:
            self._raise_failure()
            for batch in self._batcher.flush():
                self._dispatch(batch)
            if not self._sealed:
                return
            self._take_outcome(self._outcomes.get())

    def close(self) -> None:
        """Let the calls in flight end, and take their outcomes: their records may be durable."""
        self._closing = True
        while True:
            try:
                self._work.get_nowait()
            except queue.Empty:
                break
        for _ in self._workers:
            self._work.put(None)
        for worker in self._workers:
            worker.join()
        self._workers.clear()
        self._take_outcomes()

    def _feed(self, waiting: Waiting) -> None:
        key = (waiting.object.collection, waiting.object.id)
        if key in self._busy:
            self._hold(key, waiting)
        elif (batch := self._batcher.feed(waiting, self._monotonic())) is not None:
            self._dispatch(batch)
            if not batch.has(waiting):  # too large together with the older one of its id
                self._hold(key, waiting)

    def _hold(self, key: _Key, waiting: Waiting) -> None:
        held = self._held.setdefault(key, [])
        if held and (both := merged(held[-1].object, waiting.object)) is not None:
            held[-1].object = both
            held[-1].records += waiting.records
        else:
            held.append(waiting)

    def _dispatch(self, batch: Batch) -> None:
        """Hand a batch to the workers; of its ids nothing else goes out until the answer."""
        self._busy.update((batch.collection, object_id) for object_id in batch.waiting)
        self._sealed[id(batch)] = batch
        if self._closing:  # it stays in the books: its records are not durable
            return
        if len(self._workers) < min(self._concurrency, len(self._sealed)):
            worker = threading.Thread(target=self._send_batches, name="set", daemon=True)
            self._workers.append(worker)
            worker.start()
        self._work.put(batch)

    def _take_outcomes(self) -> None:
        while not self._outcomes.empty():
            self._take_outcome(self._outcomes.get())

    def _take_outcome(self, outcome: _Outcome) -> None:
        batch, failure = outcome
        if failure is not None:
            # The batch stays in the books: its records are not durable.
            self._failure = self._failure or failure
            return
        del self._sealed[id(batch)]
        for object_id in batch.waiting:
            key = (batch.collection, object_id)
            self._busy.discard(key)
            held = self._held.pop(key, None)
            if held is None:
                continue
            if len(held) == 1:
                self._feed(held[0])
            else:  # too large to be merged: one by one
                self._dispatch(Batch.of(held.pop(0)))
                self._held[key] = held

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _send_batches(self) -> None:
        while (batch := self._work.get()) is not None:
            failure: BaseException | None = None
            try:
                self._api.send(batch.collection, batch.objects())
            except DeliveryError as error:
                failure = error
            except BaseException as error:  # noqa: BLE001  a bug: raised again where it is seen
                failure = error
            self._outcomes.put((batch, failure))
            self._wake()
