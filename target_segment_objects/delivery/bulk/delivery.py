"""Delivery by bulk sessions: parts go up in order while the next fills; finish makes them durable.

The reading thread cuts lines into blocks and keeps the books. A thread compresses the blocks to
parts (`bulk_pipe`). Another makes the calls, one after another: start, uploads, finish; so a new
session never overtakes an old one. A third keeps the session alive through silence.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from target_segment_objects.delivery.bulk.compressor import BulkPipe
from target_segment_objects.delivery.bulk.session import BulkCalls, BulkSession
from target_segment_objects.delivery.contract import (
    MEANWHILE_SECONDS,
    ObjectsDelivered,
    ObjectsQueued,
    ObjectsRefused,
    do_nothing,
    ignore_event,
    observe_wait,
)
from target_segment_objects.errors import DeadLetterError, DeliveryError, RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.objects import object_lines
from target_segment_objects.source import SourceRecord, SourceStream
from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.delivery.bulk.parts import Block
    from target_segment_objects.delivery.contract import Observer, RefusalHandler
    from target_segment_objects.delivery.durability import DurabilityLog
    from target_segment_objects.delivery.limits import PartLimits, SessionLimits
    from target_segment_objects.errors import SegmentObjectsError
    from target_segment_objects.objects import ObjectLine

__all__ = ["BulkDelivery"]


class BulkDelivery:
    """See `delivery.Delivery`.

    Args:
        api: makes the calls, with their retries.
        limits: how parts are made.
        sessions: how long sessions last.
        monotonic: the clock.
        wake: called from another thread when there is an outcome to look at.
        meanwhile: called on the reading thread, each second while it waits for Segment.
        on_refused: called with each object that Segment refuses for good.
        log: gives receipts for records.
        observer: hears what is delivered.
    """

    def __init__(  # noqa: PLR0913  each is the caller's to choose
        self,
        api: BulkCalls,
        *,
        limits: PartLimits,
        sessions: SessionLimits,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
        on_refused: RefusalHandler,
        log: DurabilityLog,
        meanwhile: Callable[[], None] = do_nothing,
        observer: Observer = ignore_event,
    ) -> None:
        self._api = api
        self._log = log
        self._meanwhile = meanwhile
        self._observer = observer
        self._limits = limits
        self._sessions = sessions
        self._monotonic = monotonic
        self._wake = wake
        self._on_refused = on_refused
        self._open: BulkSession | None = None
        self._unfinished: list[BulkSession] = []
        self._steps: queue.SimpleQueue[tuple[BulkSession, Callable[[], None]] | None] = (
            queue.SimpleQueue()
        )
        self._outcomes: queue.SimpleQueue[tuple[BulkSession, BaseException | None]] = (
            queue.SimpleQueue()
        )
        self._failure: BaseException | None = None
        self._pipe: BulkPipe | None = None
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._calling: BulkSession | None = None

    def put_block(
        self,
        objects: Sequence[ObjectLine],
        first: int,
        source_at: Callable[[int], SourceRecord],  # noqa: ARG002  where a line came from is not kept
    ) -> int:
        """Take objects, of about a MiB at most.

        Waits while as many bytes as there is room for are not compressed yet, and, where these
        begin a session, until no more than one session before it is unfinished.
        """
        self._take_outcomes()
        session = self._open or self._new_session(first)
        lines = object_lines(objects)
        for collection, (count, size) in _shares(lines, objects).items():
            session.objects[collection] += count
            self._observer(ObjectsQueued(collection, count, size))
        blocks = session.cutter.feed(lines, len(objects))
        if blocks and self._fills(session, blocks):
            self._end_session()
        return len(objects)

    def tick(self) -> float | None:
        """Finish a session that has reached its age; the next record begins another."""
        self._take_outcomes()
        if self._open is None or not self._sessions.checkpoint_seconds:
            return None
        due = self._open.opened + self._sessions.checkpoint_seconds
        if self._monotonic() < due:
            return due
        self._end_session()
        return None

    def finish(self) -> None:
        """Finish the session, and wait for it."""
        self._end_session()
        self._take_outcomes()
        while self._unfinished:
            self._take_outcome(*self._next_outcome())
            if self._unfinished:
                self._meanwhile()

    def close(self) -> None:
        """End the threads, give back the spool, and finish an open session with an error."""
        self._closing.set()
        if self._pipe is not None:
            self._pipe.close()
        with contextlib.suppress(queue.Empty):
            while True:
                self._steps.get_nowait()
        self._steps.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        with contextlib.suppress(Exception):  # what failed was told before, or is not asked for
            self._take_outcomes()
        for session in self._unfinished:
            session.close()

    def _new_session(self, position: int) -> BulkSession:
        # Whatever ended them: each holds memory and disk until Segment has taken it.
        while len(self._unfinished) > 1:
            self._take_outcome(*self._next_outcome())
        session = BulkSession(
            self._api,
            self._limits,
            receipt=self._log.receipt(position),
            monotonic=self._monotonic,
            observer=self._observer,
        )
        self._open = session
        self._unfinished.append(session)
        self._started().call(session, session.start)
        return session

    def _started(self) -> BulkPipe:
        if self._pipe is None:
            self._pipe = BulkPipe(
                self._limits.compression_level,
                then=lambda session, call: self._steps.put((session, call)),
                failed=self._failed,
            )
            for run, name in ((self._make_calls, "bulk"), (self._keep_alive, "keep-alive")):
                self._threads.append(start_thread(run, name))
        return self._pipe

    def _fills(self, session: BulkSession, blocks: Sequence[Block]) -> bool:
        """Hand blocks over; whether the session has as many bytes or parts as it may then.

        Near that limit it is waited for the compressor, so that the limit is not passed by what is
        still on its way.
        """
        pipe = self._started()
        with observe_wait(self._observer):
            for block in blocks:
                pipe.write(session, block)
        session.parts += sum(block.ends_part for block in blocks)
        if session.parts >= self._sessions.parts:
            return True
        most = self._sessions.spool_max_bytes
        # In this order: what goes from the one to the other meanwhile is counted twice.
        if pipe.on_the_way + session.spooled < most:
            return False
        with observe_wait(self._observer):
            pipe.drain()
        return session.spooled >= most

    def _end_session(self) -> None:
        session, self._open = self._open, None
        if session is not None:
            pipe = self._started()
            for block in session.cutter.flush():
                pipe.write(session, block)
            pipe.call(session, session.finish)

    def _next_outcome(self) -> tuple[BulkSession, BaseException | None]:
        with observe_wait(self._observer):
            while True:
                try:
                    return self._outcomes.get(timeout=MEANWHILE_SECONDS)
                except queue.Empty:
                    self._meanwhile()

    def _take_outcomes(self) -> None:
        while not self._outcomes.empty():
            self._take_outcome(*self._outcomes.get())
        if self._failure is not None:
            raise self._failure

    def _take_outcome(self, session: BulkSession, failure: BaseException | None) -> None:
        if failure is not None:
            # The session stays in the books: its records are not durable.
            self._failure = self._failure or failure
            raise failure
        self._unfinished.remove(session)
        try:
            self._take_refused(session)
            session.receipt.settle()
        finally:
            session.close()
            for collection, objects in session.objects.items():
                self._observer(ObjectsDelivered(collection, objects, objects))

    def _take_refused(self, session: BulkSession) -> None:
        """Which record a line was is not known any more, so a session's are lost together."""
        one_too_many: SegmentObjectsError | None = None
        for line, error in session.refused_lines():
            collection = msgspec.json.decode(line, type=_Line).collection
            session.objects[collection] -= 1
            self._observer(ObjectsRefused(collection, 1))
            fault = Fault((), FaultCode.REFUSED, "too large", (error.summary,))
            try:
                self._on_refused(RejectedRecordError([fault]), [_origin(line)])
            except (RejectedRecordError, DeadLetterError) as rejected:
                one_too_many = rejected
        if one_too_many is not None:
            raise one_too_many

    # What follows runs on the threads.

    def _failed(self, session: BulkSession, error: BaseException) -> None:
        self._outcomes.put((session, error))
        self._wake()

    def _make_calls(self) -> None:
        while (step := self._steps.get()) is not None:
            session, call = step
            self._calling = session
            try:
                call()
            except BaseException as error:  # noqa: BLE001  raised again where it is seen
                self._failed(session, error)
                # After the word of the failure: this may be tried for long.
                session.abandon(_told(error))
                break
            if call == session.finish:
                self._calling = None
                self._outcomes.put((session, None))
                self._wake()
        for session in list(self._unfinished):
            session.abandon("the run ended before this sync was complete")

    def _keep_alive(self) -> None:
        wait = self._sessions.keep_alive_seconds
        while not self._closing.wait(wait):
            session = self._calling
            try:
                wait = (
                    session.keep_alive(self._sessions.keep_alive_seconds)
                    if session is not None
                    else self._sessions.keep_alive_seconds
                )
            except BaseException as error:  # noqa: BLE001  a bug: raised again where it is seen
                if session is not None:
                    self._failed(session, error)
                return


def _shares(lines: bytes, objects: Sequence[ObjectLine]) -> dict[str, tuple[int, int]]:
    """How many objects of each collection there are, and the bytes of their lines."""
    counts = Counter([line.collection for line in objects])
    if len(counts) == 1:
        return {collection: (count, len(lines)) for collection, count in counts.items()}
    sizes = dict.fromkeys(counts, 0)
    for made, line in zip(
        objects, lines.split(b"\n"), strict=False
    ):  # there is none behind the last
        sizes[made.collection] += len(line) + 1
    return {collection: (count, sizes[collection]) for collection, count in counts.items()}


def _origin(line: bytes) -> SourceRecord:
    """The object itself: by bulk, the record that it was made of is not kept."""
    collection = msgspec.json.decode(line, type=_Line).collection
    return SourceRecord(
        SourceStream(collection, b"{}", None, is_object=True), line.rstrip(b"\n"), 0
    )


class _Line(msgspec.Struct):
    id: str
    collection: str
    properties: msgspec.Raw


def _told(error: BaseException) -> str:
    """Our error's text, for Segment; of a bug only its kind, since its text may hold data."""
    return str(error) if isinstance(error, DeliveryError) else f"bug: {type(error).__name__}"
