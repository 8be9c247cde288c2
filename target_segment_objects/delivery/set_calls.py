"""Delivery by `set` calls: many requests at once, but at most one for each object.

The reading thread owns the batcher and all state. Workers take sealed batches and report outcomes,
so no lock is taken per record. While it waits, one wake-up of the reading thread serves many
outcomes. An object whose id is in flight is held back, merged with later ones of its id, until the
answer has come.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Protocol

from target_segment_objects.delivery.batching import Batch, Batcher, PendingObject
from target_segment_objects.delivery.contract import (
    MEANWHILE_SECONDS,
    ObjectsDelivered,
    ObjectsRefused,
    observe_wait,
)
from target_segment_objects.errors import (
    DeadLetterError,
    RefusedError,
    RejectedRecordError,
    ThreadError,
)
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.delivery.contract import DeliveryHooks
    from target_segment_objects.delivery.limits import BatchLimits
    from target_segment_objects.errors import SegmentObjectsError
    from target_segment_objects.objects import ObjectLine, SegmentObject
    from target_segment_objects.source import SourceRecord

__all__ = ["SetCaller", "SetDelivery"]

_Refusals = list[tuple[PendingObject, RefusedError]]
_Outcome = tuple[Batch, _Refusals, BaseException | None]
_Key = tuple[str, str]


class SetCaller(Protocol):
    """What the delivery needs of `client.SetApi`."""

    def send(self, collection: str, objects: list[SegmentObject]) -> object:
        """One `set` call, with its retries.

        Raises:
            DeliveryError: when it could not be delivered.
        """


_SPLIT_ON = frozenset({400, 413})
"""Statuses of a call that may be caused by one object in it."""
_SOURCE_OVERHEAD_BYTES = 200
"""What Python needs for a source record beside its bytes; bounds the memory of small records."""
_TICK_SECONDS = 0.1
"""How often due work is done in the middle of a block."""


class SetDelivery:
    """See `delivery.Delivery`.

    Args:
        api: makes one call.
        hooks: those of the run.
        concurrency: calls in flight at most.
        limits: when a batch is sealed.
    """

    def __init__(
        self, api: SetCaller, hooks: DeliveryHooks, *, concurrency: int, limits: BatchLimits
    ) -> None:
        self._api = api
        self._hooks = hooks
        self._monotonic = hooks.monotonic
        self._concurrency = concurrency
        self._limits = limits
        self._batcher = Batcher(limits)
        self._next_tick = float("-inf")
        self._pending_bytes = 0
        self._ids_in_flight: defaultdict[str, set[str]] = defaultdict(set)
        self._held_back: dict[_Key, list[PendingObject]] = {}
        self._in_flight: dict[int, Batch] = {}
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._outcomes: deque[_Outcome] = deque()
        self._answered = threading.Condition()
        self._outcomes_awaited = 0
        self._workers: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._closing = False

    def put_block(
        self, objects: Sequence[ObjectLine], first: int, source_at: Callable[[int], SourceRecord]
    ) -> int:
        """Take objects; waits while twice as many calls as may be in flight are sealed.

        A stop ends it at the present object: the rest may be thousands of calls to a slow Segment.
        """
        for index, line in enumerate(objects):
            if index and self._hooks.stopped():
                return index
            self._put(line.encoded(), first + index, source_at(index))
            if index and self._monotonic() >= self._next_tick:  # in long blocks too
                self._next_tick = self._monotonic() + _TICK_SECONDS
                self.tick()
                self._hooks.meanwhile()
        return len(objects)

    def _put(self, obj: SegmentObject, position: int, source: SourceRecord) -> None:
        if self._outcomes:
            self._take_outcomes()
        self._raise_failure()
        size = len(source.raw) + _SOURCE_OVERHEAD_BYTES
        self._pending_bytes += size
        self._feed(PendingObject(obj, [source], [self._hooks.log.receipt(position)], size))
        while self._is_full():
            # For enough outcomes that all workers stay busy while this thread makes new batches.
            self._wait_for_outcomes(min(self._concurrency // 2, len(self._in_flight)))
            self._raise_failure()

    def _is_full(self) -> bool:
        if len(self._in_flight) >= 2 * self._concurrency:
            return True
        return self._pending_bytes >= self._limits.waiting_bytes and bool(self._in_flight)

    def tick(self) -> float | None:
        """Seal the batches that have waited long enough."""
        self._take_outcomes()
        self._raise_failure()
        for batch in self._batcher.due(self._monotonic()):
            self._dispatch(batch)
        return self._batcher.next_due

    def finish(self) -> None:
        """Send what waits, and wait for every answer."""
        self._take_outcomes()
        while True:
            self._raise_failure()
            for batch in self._batcher.flush():
                self._dispatch(batch)
            if not self._in_flight:
                return
            self._wait_for_outcomes(1)

    def close(self) -> None:
        """Let the calls in flight end, and take their outcomes: their records may be durable."""
        self._closing = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()
        self._workers.clear()
        with contextlib.suppress(RejectedRecordError, DeadLetterError):
            self._take_outcomes()

    def _feed(self, pending: PendingObject) -> None:
        obj = pending.object
        if obj.id in self._ids_in_flight[obj.collection]:
            self._hold_back(pending)
        elif (batch := self._batcher.feed(pending, self._monotonic())) is not None:
            self._dispatch(batch)
            if not batch.contains(pending):  # too large to merge with the older one of its id
                self._hold_back(pending)

    def _hold_back(self, pending: PendingObject) -> None:
        key = pending.object.collection, pending.object.id
        held = self._held_back.setdefault(key, [])
        if not (held and held[-1].merge(pending, self._limits.object_bytes)):
            held.append(pending)

    def _dispatch(self, batch: Batch) -> None:
        """Hand a batch to the workers; of its ids nothing else goes out until the answer."""
        self._ids_in_flight[batch.collection].update(batch.pending)
        self._in_flight[id(batch)] = batch
        if self._closing:  # it stays in flight: its records are not durable
            return
        if len(self._workers) < min(self._concurrency, len(self._in_flight)):
            try:
                self._workers.append(start_thread(self._send_batches, "set"))
            except ThreadError:
                if not self._workers:
                    raise
                self._concurrency = len(self._workers)  # those that run do all of it
        self._queue.put(batch)

    def _wait_for_outcomes(self, count: int) -> None:
        """Take the outcomes there are, else wait for this many, or for a failure or a refusal.

        Returns after a second at most; the caller waits again if it must.
        """
        with observe_wait(self._hooks.observer), self._answered:
            self._outcomes_awaited = 0 if self._outcomes else max(count, 1)
            self._answered.wait_for(lambda: self._outcomes_awaited <= 0, MEANWHILE_SECONDS)
        self._take_outcomes()
        self._hooks.meanwhile()

    def _take_outcomes(self) -> None:
        while self._outcomes:
            self._take_outcome(*self._outcomes.popleft())

    def _take_outcome(
        self, batch: Batch, refusals: _Refusals, failure: BaseException | None
    ) -> None:
        if failure is not None:
            # The batch stays in flight: its records are not durable.
            self._failure = self._failure or failure
            return
        del self._in_flight[id(batch)]
        self._pending_bytes -= sum([pending.bytes for pending in batch.pending.values()])
        self._ids_in_flight[batch.collection].difference_update(batch.pending)
        if self._held_back:
            for object_id in batch.pending:
                self._release((batch.collection, object_id))
        self._report_delivered(batch, refusals)
        refused = {pending.object.id for pending, _ in refusals}
        for object_id, pending in batch.pending.items():
            if object_id not in refused:
                pending.settle()
        self._take_refusals(refusals)

    def _report_delivered(self, batch: Batch, refusals: _Refusals) -> None:
        records = sum([len(pending.sources) for pending in batch.pending.values()])
        if refusals:
            refused = sum(len(pending.sources) for pending, _ in refusals)
            self._hooks.observer(ObjectsRefused(batch.collection, refused))
            records -= refused
        if objects := len(batch.pending) - len(refusals):
            self._hooks.observer(ObjectsDelivered(batch.collection, objects, records))

    def _release(self, key: _Key) -> None:
        """Send what was held back for the answer that came."""
        held = self._held_back.pop(key, None)
        if held is None:
            return
        if len(held) == 1:
            self._feed(held[0])
        else:  # too large to be merged: one by one
            self._dispatch(Batch.single(held.pop(0)))
            self._held_back[key] = held

    def _take_refusals(self, refusals: _Refusals) -> None:
        last_error: SegmentObjectsError | None = None
        for pending, error in refusals:
            try:
                self._hooks.on_refused(
                    RejectedRecordError([_fault(pending, error)]), pending.sources
                )
            except (RejectedRecordError, DeadLetterError) as rejected:
                last_error = rejected  # its receipts are never settled
            else:
                pending.settle()
        if last_error is not None:
            raise last_error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # What follows runs on the workers.

    def _send_batches(self) -> None:
        while (batch := self._queue.get()) is not None:
            failure: BaseException | None = None
            refusals: _Refusals = []
            try:
                self._send(batch.collection, list(batch.pending.values()), refusals)
            except BaseException as error:  # noqa: BLE001  raised again on the reading thread
                failure = error
            with self._answered:
                self._outcomes.append((batch, refusals, failure))
                is_plain = not refusals and failure is None
                self._outcomes_awaited = self._outcomes_awaited - 1 if is_plain else 0
                if self._outcomes_awaited <= 0:
                    self._answered.notify()
            self._hooks.wake()

    def _send(self, collection: str, objects: list[PendingObject], refusals: _Refusals) -> None:
        """Send a call; if it is refused send its halves, until the bad object is alone."""
        try:
            self._api.send(collection, [pending.object for pending in objects])
        except RefusedError as error:
            if error.status not in _SPLIT_ON:
                raise
            if len(objects) == 1:
                refusals.append((objects[0], error))
                return
            half = len(objects) // 2
            self._send(collection, objects[:half], refusals)
            self._send(collection, objects[half:], refusals)


def _fault(pending: PendingObject, error: RefusedError) -> Fault:
    case = "nulls" if b":null" in pending.object.properties else "error"
    return Fault((), FaultCode.REFUSED, case, (error.summary,))
