"""Delivery by bulk sessions: parts are uploaded in order, and durable when the session is finished.

The reading thread splits lines into blocks and owns all state. A second thread compresses blocks to
parts (`Compressor`). A third one makes the calls one after the other, start, uploads and finish, so
that a new session never overtakes an old one. A fourth one keeps silent sessions alive.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from target_segment_objects.delivery.bulk.compressor import Compressor
from target_segment_objects.delivery.bulk.session import BulkCalls, BulkSession
from target_segment_objects.delivery.contract import (
    MEANWHILE_SECONDS,
    ObjectsDelivered,
    ObjectsQueued,
    ObjectsRefused,
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
    from target_segment_objects.delivery.contract import DeliveryHooks
    from target_segment_objects.delivery.limits import BulkLimits
    from target_segment_objects.errors import SegmentObjectsError
    from target_segment_objects.objects import ObjectLine

__all__ = ["BulkDelivery"]


class BulkDelivery:
    """See `delivery.Delivery`.

    Args:
        api: makes the calls, with their retries.
        hooks: those of the run.
        limits: how parts are made, and how long sessions last.
    """

    def __init__(self, api: BulkCalls, hooks: DeliveryHooks, limits: BulkLimits) -> None:
        self._api = api
        self._hooks = hooks
        self._monotonic = hooks.monotonic
        self._limits = limits
        self._open: BulkSession | None = None
        self._unfinished: list[BulkSession] = []
        self._calls: queue.SimpleQueue[tuple[BulkSession, Callable[[], None]] | None] = (
            queue.SimpleQueue()
        )
        self._outcomes: queue.SimpleQueue[tuple[BulkSession, BaseException | None]] = (
            queue.SimpleQueue()
        )
        self._failure: BaseException | None = None
        self._compressor = Compressor(
            limits.compression_level,
            submit_call=lambda session, call: self._calls.put((session, call)),
            on_failure=self._report_outcome,
        )
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._session_in_use: BulkSession | None = None

    def put_block(
        self,
        objects: Sequence[ObjectLine],
        first: int,
        source_at: Callable[[int], SourceRecord],  # noqa: ARG002  source records are not kept
    ) -> int:
        """Take objects, of about a MiB at most.

        Waits while the queue of the compressor is full, and, before a new session, until at most
        one other session is unfinished.
        """
        self._take_outcomes()
        session = self._open or self._new_session(first)
        lines = object_lines(objects)
        for collection, count, size in _objects_and_bytes_by_collection(lines, objects):
            session.objects[collection] += count
            self._hooks.observer(ObjectsQueued(collection, size))
        blocks = session.splitter.feed(lines, len(objects))
        if blocks:
            self._write_blocks(session, blocks)
            if self._is_full(session):
                self._end_session()
        return len(objects)

    def tick(self) -> float | None:
        """Finish a session that has reached its age; the next record begins another."""
        self._take_outcomes()
        if self._open is None or not self._limits.checkpoint_seconds:
            return None
        due = self._open.opened + self._limits.checkpoint_seconds
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
                self._hooks.meanwhile()

    def close(self) -> None:
        """End the threads, give back the spool, and finish an open session with an error."""
        self._closing.set()
        self._compressor.close()
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        self._calls.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        with contextlib.suppress(Exception):  # raised before, or of no interest now
            self._take_outcomes()
        for session in self._unfinished:
            session.close()

    def _new_session(self, position: int) -> BulkSession:
        # Each takes memory and disk until Segment has taken it.
        while len(self._unfinished) > 1:
            self._take_outcome(*self._next_outcome())
        receipt = self._hooks.log.receipt(position)  # never settled if there are no threads
        if not self._threads:
            self._compressor.start()
            for run, name in ((self._make_calls, "bulk"), (self._keep_alive, "keep-alive")):
                self._threads.append(start_thread(run, name))
        session = BulkSession(self._api, self._limits, self._hooks, receipt)
        self._open = session
        self._unfinished.append(session)
        self._compressor.call(session, session.start)
        return session

    def _write_blocks(self, session: BulkSession, blocks: Sequence[Block]) -> None:
        with observe_wait(self._hooks.observer):
            for block in blocks:
                self._compressor.write(session, block)
        session.parts += sum(block.ends_part for block in blocks)

    def _is_full(self, session: BulkSession) -> bool:
        """Whether the session has as many parts or bytes as it may have.

        Near the limit of bytes, waits for the compressor, so that blocks in its queue do not exceed
        the limit later.
        """
        if session.parts >= self._limits.parts:
            return True
        limit = self._limits.spool_max_bytes
        # In this order: bytes that move from the queue to the spool meanwhile are counted twice.
        if self._compressor.pending_bytes + session.spooled < limit:
            return False
        with observe_wait(self._hooks.observer):
            self._compressor.drain()
        return session.spooled >= limit

    def _end_session(self) -> None:
        session, self._open = self._open, None
        if session is not None:
            for block in session.splitter.flush():
                self._compressor.write(session, block)
            self._compressor.call(session, session.finish)

    def _next_outcome(self) -> tuple[BulkSession, BaseException | None]:
        with observe_wait(self._hooks.observer):
            while True:
                try:
                    return self._outcomes.get(timeout=MEANWHILE_SECONDS)
                except queue.Empty:
                    self._hooks.meanwhile()

    def _take_outcomes(self) -> None:
        while not self._outcomes.empty():
            self._take_outcome(*self._outcomes.get())
        if self._failure is not None:
            raise self._failure

    def _take_outcome(self, session: BulkSession, failure: BaseException | None) -> None:
        if failure is not None:
            # The session stays unfinished: its records are not durable.
            self._failure = self._failure or failure
            raise failure
        self._unfinished.remove(session)
        try:
            self._take_refused(session)
            session.receipt.settle()
        finally:
            session.close()
            for collection, objects in session.objects.items():
                self._hooks.observer(ObjectsDelivered(collection, objects, objects))

    def _take_refused(self, session: BulkSession) -> None:
        """Reject the refused objects themselves: the records that they are made of are not kept."""
        last_error: SegmentObjectsError | None = None
        for line, error in session.refused_lines():
            collection = msgspec.json.decode(line, type=_ObjectFields).collection
            source = SourceStream(collection, b"{}", None, is_object=True)
            session.objects[collection] -= 1
            self._hooks.observer(ObjectsRefused(collection, 1))
            fault = Fault((), FaultCode.REFUSED, "too large", (error.summary,))
            try:
                self._hooks.on_refused(
                    RejectedRecordError([fault]), [SourceRecord(source, line, 0)]
                )
            except (RejectedRecordError, DeadLetterError) as rejected:
                last_error = rejected
        if last_error is not None:
            raise last_error

    # What follows runs on the threads.

    def _report_outcome(self, session: BulkSession, failure: BaseException | None) -> None:
        self._outcomes.put((session, failure))
        self._hooks.wake()

    def _make_calls(self) -> None:
        while (item := self._calls.get()) is not None:
            session, call = item
            self._session_in_use = session
            try:
                call()
            except BaseException as error:  # noqa: BLE001  raised again on the reading thread
                self._report_outcome(session, error)
                # After the report, since this may be tried for long.
                session.abandon(_error_for_segment(error))
                break
            if call == session.finish:
                self._session_in_use = None
                self._report_outcome(session, None)
        for session in list(self._unfinished):
            session.abandon("the run ended before this sync was complete")

    def _keep_alive(self) -> None:
        interval = wait = self._limits.keep_alive_seconds
        while not self._closing.wait(wait):
            session, wait = self._session_in_use, interval
            if session is None:
                continue
            try:
                wait = session.keep_alive(interval)
            except BaseException as error:  # noqa: BLE001  a bug: raised on the reading thread
                self._report_outcome(session, error)
                return


def _objects_and_bytes_by_collection(
    lines: bytes, objects: Sequence[ObjectLine]
) -> list[tuple[str, int, int]]:
    """The number of objects of each collection, and the bytes of their lines."""
    counts = Counter([obj.collection for obj in objects])
    if len(counts) == 1:
        return [(collection, count, len(lines)) for collection, count in counts.items()]
    sizes: Counter[str] = Counter()
    for obj, line in zip(objects, lines.split(b"\n"), strict=False):  # the last one is empty
        sizes[obj.collection] += len(line) + 1
    return [(collection, count, sizes[collection]) for collection, count in counts.items()]


class _ObjectFields(msgspec.Struct):
    collection: str


def _error_for_segment(error: BaseException) -> str:
    """The error text of a session; only the kind of a bug, since its text may hold data."""
    return str(error) if isinstance(error, DeliveryError) else f"bug: {type(error).__name__}"
