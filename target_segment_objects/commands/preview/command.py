"""`segment-objects preview`: what a run would make of a tap's output, and nothing is sent.

The rule that it guards: no second opinion. The target itself reads, plans and encodes, settings and
stream maps included; only what takes its objects counts them instead of delivering. Where a run
would end, the preview takes note and goes on, so that all that is wrong is told at once.
"""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING, Any, Final

from target_segment_objects.commands.preview.counts import PreviewCounts
from target_segment_objects.errors import MessageError, RejectedRecordError, SegmentObjectsError
from target_segment_objects.input import Message, MessageReader
from target_segment_objects.reporting import Report
from target_segment_objects.run import Run, SignalWatcher
from target_segment_objects.singer import Route, Routes, TargetSegmentObjects

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping
    from logging import Logger

    from target_segment_objects.objects import SegmentObject
    from target_segment_objects.plan import Conversions, StreamPlan
    from target_segment_objects.settings import Settings
    from target_segment_objects.singer import MappedStream, SegmentObjectsSink
    from target_segment_objects.source import Origin, Source

__all__ = ["preview"]

_NO_KEY: Final = "no-key-is-used"
"""Stands in for the write key, which a preview has no use for: none is needed, none can be shown.
"""


def preview(
    config: Mapping[str, object],
    file_input: IO[bytes] | None = None,
    *,
    values: bool = False,
) -> tuple[dict[str, Any], int]:
    """Read a tap's output, and tell what a run would make of it.

    Args:
        config: the target's configuration; its `write_key` and `dead_letter_path` are not used.
        file_input: the tap's output; stdin when there is none.
        values: tell example values too.

    Returns:
        The JSON object of `docs/preview.md`, and an exit status: 0 when nothing would be rejected
        and nothing would end a run, 1 otherwise, 130 or 143 when a signal ended the reading.

    Raises:
        ConfigurationError: a setting is wrong.
        InputError: stdin is closed.
    """
    tally = PreviewCounts(values=values)
    target = _Target({**config, "write_key": _NO_KEY}, tally)
    shutdown = None
    if threading.current_thread() is threading.main_thread():
        shutdown = SignalWatcher(
            target.run.wake_up.stop, lambda: None, target.settings.shutdown_seconds
        )
        shutdown.install()
    try:
        target.read(file_input)
    finally:
        target.run.close()
        if shutdown is not None:
            shutdown.close()
            shutdown.restore()
    tally.stopped = target.run.wake_up.stopped
    status = shutdown.exit_status if shutdown is not None else None
    return tally.document(), int(tally.fails) if status is None else status


class _Run(Run):
    """A run that counts what it is given, and connects to nothing."""

    def __init__(
        self, tally: PreviewCounts, settings: Settings, report: Report, logger: Logger
    ) -> None:
        super().__init__(settings, report, logger)
        self._tally = tally

    def put(self, made: SegmentObject, origin: Origin) -> None:
        self._tally.send(made, origin)

    def reject(self, error: RejectedRecordError, origin: Origin) -> None:
        self._tally.reject(error, origin)

    def state(self, state: bytes) -> None:
        """Nothing is delivered, so none is printed."""


class _Report(Report):
    """Warnings are told with all the rest."""

    def __init__(self, tally: PreviewCounts, logger: Logger) -> None:
        super().__init__(logger)
        self._tally = tally

    def warn(self, sentence: str, kind: str = "") -> None:  # noqa: ARG002
        self._tally.warn(sentence)


class _Routes(Routes):
    """Tells of each plan when it is made and when it is done with; there are no fast paths.

    On the general path, a record's line and its values are at hand for the example of a note.
    """

    def __init__(self, tally: PreviewCounts, target: _Target, report: Report) -> None:
        super().__init__(target, target.settings, target.stream_maps, report)
        self._tally = tally

    def forget(self, stream: str) -> None:
        """A stream's SCHEMA is wrong: an earlier one is of no use."""
        self._of.pop(stream, None)

    def _add_sink(self, source: Source, mapped: MappedStream) -> SegmentObjectsSink:
        sink = super()._add_sink(source, mapped)
        self._tally.plan(sink.plan)
        return sink

    def resume(self, source: Source) -> bool:
        """The plan of a form that comes again is the one that knows its properties."""
        resumed = super().resume(source)
        if resumed:
            for route in self._of[source.stream][1]:
                self._tally.plan(route.sink.plan)
        return resumed

    def _compile(self, stream: str, *, allow_long_strings: bool = False) -> None:
        """Not here."""


class _Reader(MessageReader):
    """A reader that goes on behind a line that a run would end at."""

    def __init__(self, tally: PreviewCounts, target: _Target) -> None:
        super().__init__(
            target.settings.reader_options,
            target.run.wake_up,
            before_wait=target.run.do_due_work,
            on_unknown=self._going_on(target._process_unknown_message),  # noqa: SLF001
            on_error=target.run.commit_after,
            process_block=_one_by_one,
        )
        self._tally = tally

    def process_lines(
        self, file_input: IO[Any] | None, callbacks: dict[str, Callable[[Any], None]]
    ) -> Counter[str]:
        kinds = {kind: self._going_on(take) for kind, take in callbacks.items()}
        return super().process_lines(file_input, kinds)

    def read_message(self, line: bytes) -> Message | None:
        try:
            return super().read_message(line)
        except MessageError as error:
            self._tally.fail(error, self.line)
            return None

    def _going_on(self, take: Callable[[Any], None]) -> Callable[[Any], None]:
        def take_or_note(message: Any) -> None:
            try:
                take(message)
            except _UnplannedError:
                pass
            except SegmentObjectsError as error:
                self._tally.fail(error, self.line)

        return take_or_note


def _one_by_one(
    _first: int, _block: bytes, lines: list[bytes], process_as_message: Callable[[int], None]
) -> None:
    """No line of a block is taken at once."""
    for place in range(len(lines)):
        process_as_message(place)


class _UnplannedError(SegmentObjectsError):
    """A message of a stream whose SCHEMA is wrong, which was told already."""


class _Target(TargetSegmentObjects):
    """The target, with a run that delivers nothing."""

    _routes: _Routes

    def __init__(self, config: dict[str, Any], tally: PreviewCounts) -> None:
        super().__init__(config=config)
        self._tally = tally
        tally.max_rejects = self.settings.max_rejects
        self._unplanned: set[str] = set()
        self._report = _Report(tally, self.logger)
        self._routes = _Routes(tally, self, self._report)
        self.run = _Run(tally, self.settings, self._report, self.logger)
        self.message_reader = _Reader(  # type: ignore[assignment]
            tally, self
        )

    def read(self, file_input: IO[Any] | None) -> None:
        """Read to the end, or to what cannot be read any further.

        Raises:
            SegmentObjectsError: nothing can be read at all.
        """
        try:
            self.process_lines(file_input)
        except MessageError as error:  # a line without end
            self._tally.fail(error, error.line)
            self._tally.cut = True
        if not (self._tally.cut or self.run.wake_up.stopped):
            self._routes.warn_of_unused_names()

    def _process_schema_message(self, message: Message) -> None:  # type: ignore[override]
        stream = message.stream
        try:
            super()._process_schema_message(message)
        except SegmentObjectsError:
            if isinstance(stream, str):
                self._routes.forget(stream)
                self._unplanned.add(stream)
            raise
        self._unplanned.discard(stream)

    def _process_record_message(self, message: Message) -> None:  # type: ignore[override]
        before = self._tally.outcomes
        super()._process_record_message(message)
        self._tally.read(message.stream, filtered=self._tally.outcomes == before)

    def _note(self, plan: StreamPlan, notes: Conversions, origin: Origin) -> None:
        self._tally.note(plan, notes, origin)

    def _source_and_routes(self, message: Message) -> tuple[Source, list[Route]]:
        if isinstance(message.stream, str) and message.stream in self._unplanned:
            if message.type == "RECORD":
                self._tally.pass_over(message.stream)
            raise _UnplannedError
        return super()._source_and_routes(message)
