"""Delivery by `set` calls: many requests in flight, and for one object never more than one.

The reading thread owns the batcher and all books; workers take sealed batches and hand back the
outcome, so that no lock is taken per record. While it waits for room it is woken once for many
outcomes. An object whose id is in flight is held, merged with later ones of its id, until the
answer has come.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Protocol

from target_segment_objects.delivery.batching import Batch, Batcher, BatchLimits, Waiting
from target_segment_objects.delivery.contract import (
    MEANWHILE_SECONDS,
    ObjectsDelivered,
    ObjectsRefused,
    do_nothing,
    ignore_event,
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

    from target_segment_objects.delivery.contract import Observer, RefusalHandler
    from target_segment_objects.delivery.durability import DurabilityLog
    from target_segment_objects.errors import SegmentObjectsError
    from target_segment_objects.objects import ObjectLine, SegmentObject
    from target_segment_objects.source import SourceRecord

__all__ = ["SetCall", "SetDelivery"]

_Refusals = list[tuple[Waiting, RefusedError]]
_Outcome = tuple[Batch, _Refusals, BaseException | None]
_Key = tuple[str, str]


class SetCall(Protocol):
    """What the delivery needs of `client.SetApi`."""

    def send(self, collection: str, objects: list[SegmentObject]) -> object:
        """One `set` call, with its retries.

        Raises:
            DeliveryError: when it could not be delivered.
        """


_HALVED = frozenset({400, 413})
"""Statuses of a call that may be the fault of one object in it."""
_ORIGIN_BYTES = 200
"""What Python needs for an origin beside its record, so that small records are bounded too."""
_MOST_BYTES = 64 << 20
"""Bytes of records that were put and are not answered; beyond, `put_block` waits."""
_TICK_SECONDS = 0.1
"""How often what is due is done in the middle of a block."""


class SetDelivery:
    """See `delivery.Delivery`.

    Args:
        api: makes one call.
        concurrency: calls in flight at most.
        limits: when a batch is sealed.
        monotonic: the clock.
        wake: called from a worker when there is an outcome to look at.
        on_refused: called with each object that Segment refuses for good.
        log: gives receipts for records.
        stopped: tells whether a stop has come.
        observer: hears what is delivered.
    """

    def __init__(  # noqa: PLR0913  each is the caller's to choose
        self,
        api: SetCall,
        *,
        concurrency: int,
        limits: BatchLimits,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
        on_refused: RefusalHandler,
        log: DurabilityLog,
        meanwhile: Callable[[], None] = do_nothing,
        stopped: Callable[[], bool] = lambda: False,
        observer: Observer = ignore_event,
    ) -> None:
        self._api = api
        self._log = log
        self._meanwhile = meanwhile
        self._stopped = stopped
        self._tick_again = float("-inf")
        self._observer = observer
        self._on_refused = on_refused
        self._concurrency = concurrency
        self._monotonic = monotonic
        self._wake = wake
        self._batcher = Batcher(limits)
        self._busy: defaultdict[str, set[str]] = defaultdict(set)
        self._held: dict[_Key, list[Waiting]] = {}
        self._sealed: dict[int, Batch] = {}
        self._work: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._outcomes: deque[_Outcome] = deque()
        self._answered = threading.Condition()
        self._missing = 0
        self._workers: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._closing = False
        self._bytes = 0

    def put_block(
        self, objects: Sequence[ObjectLine], first: int, source_at: Callable[[int], SourceRecord]
    ) -> int:
        """Take objects; waits while twice as many calls as may be in flight are sealed.

        A stop ends it at the present object: the rest may be thousands of calls to a slow Segment.
        """
        for index, line in enumerate(objects):
            if index and self._stopped():
                return index
            self._put(line.encoded(), first + index, source_at(index))
            if index and self._monotonic() >= self._tick_again:  # not only behind the last one
                self._tick_again = self._monotonic() + _TICK_SECONDS
                self.tick()
                self._meanwhile()
        return len(objects)

    def _put(self, made: SegmentObject, position: int, origin: SourceRecord) -> None:
        if self._outcomes:
            self._take_outcomes()
        self._raise_failure()
        size = len(origin.raw) + _ORIGIN_BYTES
        self._bytes += size
        self._feed(Waiting(made, [origin], [self._log.receipt(position)], size))
        while self._is_full():
            # As many as leave work for all workers while this thread makes new batches.
            self._wait_for_outcomes(min(self._concurrency // 2, len(self._sealed)))
            self._raise_failure()

    def _is_full(self) -> bool:
        if len(self._sealed) >= 2 * self._concurrency:
            return True
        return self._bytes >= _MOST_BYTES and bool(self._sealed)

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
            if not self._sealed:
                return
            self._wait_for_outcomes(1)

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
        with contextlib.suppress(RejectedRecordError, DeadLetterError):
            self._take_outcomes()

    def _feed(self, waiting: Waiting) -> None:
        made = waiting.object
        if made.id in self._busy[made.collection]:
            self._hold(waiting)
        elif (batch := self._batcher.feed(waiting, self._monotonic())) is not None:
            self._dispatch(batch)
            if not batch.has(waiting):  # too large together with the older one of its id
                self._hold(waiting)

    def _hold(self, waiting: Waiting) -> None:
        made = waiting.object
        held = self._held.setdefault((made.collection, made.id), [])
        if not (held and held[-1].merge(waiting)):
            held.append(waiting)

    def _dispatch(self, batch: Batch) -> None:
        """Hand a batch to the workers; of its ids nothing else goes out until the answer."""
        self._busy[batch.collection].update(batch.waiting)
        self._sealed[id(batch)] = batch
        if self._closing:  # it stays in the books: its records are not durable
            return
        if len(self._workers) < min(self._concurrency, len(self._sealed)):
            try:
                self._workers.append(start_thread(self._send_batches, "set"))
            except ThreadError:
                if not self._workers:
                    raise
                self._concurrency = len(self._workers)  # those that run do all of it
        self._work.put(batch)

    def _wait_for_outcomes(self, least: int) -> None:
        """Take what there is, else wait for so many outcomes, or for one that is not plain.

        After a second it is enough: the caller waits again if it must.
        """
        with observe_wait(self._observer), self._answered:
            self._missing = 0 if self._outcomes else max(least, 1)
            self._answered.wait_for(lambda: self._missing <= 0, MEANWHILE_SECONDS)
        self._take_outcomes()
        self._meanwhile()

    def _hand_back(self, outcome: _Outcome) -> None:
        """A worker's word to the reading thread."""
        _, refusals, failure = outcome
        with self._answered:
            self._outcomes.append(outcome)
            self._missing = 0 if refusals or failure is not None else self._missing - 1
            if self._missing <= 0:
                self._answered.notify()
        self._wake()

    def _take_outcomes(self) -> None:
        while self._outcomes:
            self._take_outcome(self._outcomes.popleft())

    def _take_outcome(self, outcome: _Outcome) -> None:
        batch, refusals, failure = outcome
        if failure is not None:
            # The batch stays in the books: its records are not durable.
            self._failure = self._failure or failure
            return
        del self._sealed[id(batch)]
        self._bytes -= sum([waiting.bytes for waiting in batch.waiting.values()])
        self._busy[batch.collection].difference_update(batch.waiting)
        if self._held:
            for object_id in batch.waiting:
                self._let_go((batch.collection, object_id))
        self._count(batch, refusals)
        refused = {waiting.object.id for waiting, _ in refusals}
        for object_id, waiting in batch.waiting.items():
            if object_id not in refused:
                waiting.settle()
        self._take_refusals(refusals)

    def _count(self, batch: Batch, refusals: _Refusals) -> None:
        objects = len(batch.waiting) - len(refusals)
        records = sum([len(waiting.origins) for waiting in batch.waiting.values()])
        if refusals:
            refused = sum(len(waiting.origins) for waiting, _ in refusals)
            self._observer(ObjectsRefused(batch.collection, refused))
            records -= refused
        if objects:
            self._observer(ObjectsDelivered(batch.collection, objects, records))

    def _let_go(self, key: _Key) -> None:
        """What was held for an answer may go out now."""
        held = self._held.pop(key, None)
        if held is None:
            return
        if len(held) == 1:
            self._feed(held[0])
        else:  # too large to be merged: one by one
            self._dispatch(Batch.of(held.pop(0)))
            self._held[key] = held

    def _take_refusals(self, refusals: _Refusals) -> None:
        one_too_many: SegmentObjectsError | None = None
        for waiting, error in refusals:
            try:
                self._on_refused(RejectedRecordError([_fault(waiting, error)]), waiting.origins)
            except (RejectedRecordError, DeadLetterError) as rejected:
                one_too_many = rejected  # its receipts are never settled
            else:
                waiting.settle()
        if one_too_many is not None:
            raise one_too_many

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _send_batches(self) -> None:
        while (batch := self._work.get()) is not None:
            failure: BaseException | None = None
            refusals: _Refusals = []
            try:
                self._send(batch.collection, list(batch.waiting.values()), refusals)
            except BaseException as error:  # noqa: BLE001  raised again where it is seen
                failure = error
            self._hand_back((batch, refusals, failure))

    def _send(self, collection: str, waiting: list[Waiting], refusals: _Refusals) -> None:
        """Send a call; of one that is refused the halves, until the bad object stands alone."""
        try:
            self._api.send(collection, [each.object for each in waiting])
        except RefusedError as error:
            if error.status not in _HALVED:
                raise
            if len(waiting) == 1:
                refusals.append((waiting[0], error))
                return
            half = len(waiting) // 2
            self._send(collection, waiting[:half], refusals)
            self._send(collection, waiting[half:], refusals)


def _fault(waiting: Waiting, error: RefusedError) -> Fault:
    case = "nulls" if b":null" in waiting.object.properties else "error"
    return Fault((), FaultCode.REFUSED, case, (error.summary,))
