"""One run, from the first object to the last state: delivery, checkpoint and rejects.

Invariants: what was read before an error or a stop is committed before the run ends; a state is
printed only when everything before it is durable and every reject before it is on the disk;
threads, spool and session are released, whatever happens.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Final

from target_segment_objects.client import Clock
from target_segment_objects.delivery import (
    Checkpoint,
    DeadLetter,
    DeliveryHooks,
    DurabilityLog,
    do_nothing,
)
from target_segment_objects.errors import (
    DeliveryError,
    LocalWarehouseError,
    OutputError,
    RejectedRecordError,
    SegmentObjectsError,
    one_line,
)
from target_segment_objects.objects import ObjectLine
from target_segment_objects.reporting import DeliveryObserver
from target_segment_objects.run.connection import Connection, connect
from target_segment_objects.stopping import StopEvent, WakeupPipe

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from logging import Logger

    from target_segment_objects.delivery import Delivery
    from target_segment_objects.objects import SegmentObject
    from target_segment_objects.reporting import Report
    from target_segment_objects.settings import Settings
    from target_segment_objects.source import SourceRecord

__all__ = ["Run"]

_DUE_CHECK_SECONDS: Final = 0.1
"""How often due work is checked while input is processed."""


class Run:
    """Takes objects and states, and delivers them.

    Args:
        settings: the validated settings.
        report: takes warnings and counts.
        logger: takes errors that follow the first one.
        delivery: takes the objects instead of Segment. Then nothing is connected, any number of
            rejects is tolerated, none is written to a file, and no state is printed.

    Attributes:
        output_above_progress: held while a state is written, so that it does not run into the
            progress line when stdout is the same terminal.
        wake_up: the stop flag, and the pipe that ends a wait for input.
        position: the number of records read.
        on_wait: called about every second while the delivery waits for Segment.
        on_error: called with the error that ends the run, before what was read is committed.
        make_clock: returns the clock of the client's waits; the event ends all of them. Tests set
            it before the first object, so that waiting takes no time.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report,
        logger: Logger,
        *,
        delivery: Delivery | None = None,
    ) -> None:
        self.wake_up = WakeupPipe()
        self.output_above_progress: Callable[[], AbstractContextManager[None]] = nullcontext
        self.position = 0
        self.on_wait: Callable[[], None] = do_nothing
        self.on_error: Callable[[SegmentObjectsError], None] = lambda _: None
        self.make_clock: Callable[[threading.Event], Clock] = Clock.stopped_by
        self._settings = settings
        self._report = report
        self._logger = logger
        self._log = DurabilityLog()
        self._checkpoint = Checkpoint(self._print_state, self._log.on_durable)
        self._rejects = DeadLetter(settings.dead_letter_path, settings.max_rejects)
        self._connection: Connection | None = None
        self._stop_event = StopEvent()
        self._resources = ExitStack()
        self._printing = delivery is None
        if delivery is not None:
            self._rejects = DeadLetter(None)
            self._connection = Connection(delivery)
            self._resources.callback(delivery.close)
        self._next_due_check = self._next_print = 0.0
        self._closed = False

    @property
    def is_cut_short(self) -> bool:
        """Whether lines that were already read must be skipped, after a stop.

        By `set` they may need thousands of calls to a slow Segment; by bulk they take a moment.
        """
        return self.wake_up.stopped and self._settings.method == "set"

    def put(self, obj: SegmentObject, record: SourceRecord) -> None:
        """Deliver an object of the record at the current position.

        Raises:
            ConfigurationError: the connection cannot be created.
            DeliveryError: an object before it could not be delivered.
            RejectedRecordError: Segment refused an object before it, and no more are tolerated.
        """
        self._put([ObjectLine.from_object(obj)], self.position, lambda _: record)

    def put_block(
        self, objects: Sequence[ObjectLine], source_at: Callable[[int], SourceRecord]
    ) -> int:
        """Deliver the objects of the next records, one for each, and count the records.

        Args:
            objects: the objects.
            source_at: returns the record of an object, by its index.

        Returns:
            How many were taken: all of them, unless the run was stopped.

        Raises:
            SegmentObjectsError: as `put`.
        """
        first = self.position + 1
        self.position += len(objects)
        taken = self._put(objects, first, source_at)
        self.position -= len(objects) - taken
        return taken

    def _put(
        self, objects: Sequence[ObjectLine], first: int, source_at: Callable[[int], SourceRecord]
    ) -> int:
        connection = self._connection or self._open_connection()
        taken = connection.delivery.put_block(objects, first, source_at)
        # Due work must not wait for the end of a block of input that is delivered slowly.
        if time.monotonic() >= self._next_due_check:
            self.do_due_work()
        return taken

    def _open_connection(self) -> Connection:
        hooks = DeliveryHooks(
            log=self._log,
            on_refused=self._refused,
            wake=self.wake_up.set,
            meanwhile=self._meanwhile,
            stopped=lambda: self.wake_up.stopped,
            observer=DeliveryObserver(self._report.counts, self._logger),
        )
        clock = self.make_clock(self._stop_event)
        self._connection = connect(
            self._settings,
            hooks,
            self._report,
            clock,
            self._stop_event,
            self._resources,
            self._logger,
        )
        return self._connection

    def reject(self, error: RejectedRecordError, record: SourceRecord) -> None:
        """Record a reject.

        Raises:
            RejectedRecordError: the error itself, when no more are tolerated.
            DeadLetterError: the record cannot be written to the dead letter.
        """
        self._report.add_reject(error, record)
        self._rejects.record(error, record)

    def _refused(self, error: RejectedRecordError, records: list[SourceRecord]) -> None:
        """Reject every record that was merged in an object that Segment refused."""
        one_too_many: RejectedRecordError | None = None
        for record in records:
            name, is_object = record.source.stream, record.source.is_object
            reject = RejectedRecordError(
                error.faults,
                stream="" if is_object else name,
                collection=name if is_object else "",
                line=record.line,
            )
            try:
                self.reject(reject, record)
            except RejectedRecordError as rejected:  # recorded, and so are the others
                one_too_many = one_too_many or rejected
        if one_too_many is not None:
            raise one_too_many

    def state(self, state: bytes) -> None:
        """Keep a state until all records before it are durable."""
        self._checkpoint.add(self.position, state)

    def do_due_work(self) -> float | None:
        """Do what is due now.

        Returns:
            The seconds until more will be due, if that is known.

        Raises:
            SegmentObjectsError: as `put`, and `OutputError`.
        """
        self._next_due_check = time.monotonic() + _DUE_CHECK_SECONDS
        due = [self._connection.delivery.tick() if self._connection else None]
        due.append(self._print_durable())
        times = [time_due for time_due in due if time_due is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _meanwhile(self) -> None:
        """Do what is due while the delivery waits for Segment, which may take minutes."""
        if time.monotonic() >= self._next_print:
            self._next_print = time.monotonic() + _DUE_CHECK_SECONDS
            self._print_durable()
            self.on_wait()

    def _print_durable(self) -> float | None:
        """Print the newest durable state, or return when it may be printed."""
        self._log.advance(self.position)
        return self._checkpoint.print_if_due(time.monotonic())

    def finish(self) -> None:
        """Deliver all that was read, and print the last state.

        Raises:
            SegmentObjectsError: as `do_due_work`.
        """
        try:
            if self._connection is not None:
                self._connection.delivery.finish()
        except SegmentObjectsError as error:
            self.commit_after(error)
            raise
        self.close()

    def commit_after(self, error: SegmentObjectsError) -> None:
        """Commit what was read before an error, unless it is the delivery that failed.

        Further errors are logged.

        Raises:
            LocalWarehouseError: it is the reason why the delivery failed.
        """
        try:
            if not isinstance(error, DeliveryError) and self._connection is not None:
                self.on_error(error)  # committing may take as long as all retries
                self._commit()
        except SegmentObjectsError as failure:
            self.log_secondary_error(failure, error)
        finally:
            try:
                self.close()
            except SegmentObjectsError as failure:
                if isinstance(failure, LocalWarehouseError) and isinstance(error, DeliveryError):
                    raise failure from None
                self.log_secondary_error(failure, error)

    def log_secondary_error(self, failure: SegmentObjectsError, error: BaseException) -> None:
        """Log an error that follows the error of the run, unless it is the same."""
        if str(failure) != str(error):
            self._logger.error("While the run ended: %s", one_line(str(failure)))

    def _commit(self) -> None:
        """Deliver all that was read; rejects are recorded, and do not end it."""
        while self._connection is not None:
            try:
                self._connection.delivery.finish()
            except RejectedRecordError:
                continue
            return

    def stop(self) -> None:
        """Stop reading, and leave `shutdown_seconds` for delivery. From any thread."""
        self._stop_event.set_deadline(time.monotonic() + self._settings.shutdown_seconds)
        self.wake_up.stop()

    def abort(self) -> None:
        """Make everything that waits or is in flight fail now. From any thread."""
        self._stop_event.set()
        if self._connection is not None:
            self._connection.abort()

    def close(self) -> None:
        """End all threads, then print the last durable state. Further calls do nothing.

        Raises:
            OutputError: stdout is closed.
            DeadLetterError: a reject cannot be synced to the disk.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._stop_event.set()  # retries are not waited for
            self._resources.close()
            self._rejects.sync()
            self._log.advance(self.position)
            self._checkpoint.print_now()
        finally:
            self._rejects.close()
            self.wake_up.close()

    def _print_state(self, state: bytes) -> None:
        if not self._printing:
            return
        self._rejects.sync()
        if self._connection is not None:
            self._connection.flush()
        try:
            rest = memoryview(state + b"\n")
            with self.output_above_progress():
                while rest:  # a signal may interrupt an unbuffered write
                    rest = rest[sys.stdout.buffer.write(rest) or 0 :]
                sys.stdout.buffer.flush()
        except (OSError, ValueError, AttributeError) as error:  # closed by the shell, for example
            self._printing = False
            raise OutputError(
                "stdout is closed, so no state can be printed; what was delivered stays, "
                "and the next run sends some of it again"
            ) from error
