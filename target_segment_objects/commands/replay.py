"""`segment-objects replay`: send the rejects of a dead letter again, keep what is still refused.

The rule that it guards: a reject leaves the dead letter only when it was delivered. What has been
corrected in the file, or is allowed by changed settings, goes; the rest stays, with its new faults
and with the schemas that it refers to. A record is sent as a tap's records are; an object, which
Segment refused by bulk, has been through stream maps, metadata and names already: it goes as it
stands.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import threading
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from target_segment_objects.commands.reject_lines import RejectLines
from target_segment_objects.commands.replay_input import ReplayInput
from target_segment_objects.commands.replay_rest import Replayed, write_rest
from target_segment_objects.errors import (
    ConfigurationError,
    DeadLetterError,
    InputError,
    MessageError,
    OutputError,
    SegmentObjectsError,
    one_line,
)
from target_segment_objects.objects import object_lines
from target_segment_objects.reporting import rows
from target_segment_objects.run import Run, SignalWatcher
from target_segment_objects.singer import TargetSegmentObjects
from target_segment_objects.source import SourceRecord, SourceStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from logging import Logger
    from typing import BinaryIO

    from target_segment_objects.input import Message
    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.reporting import Report
    from target_segment_objects.settings import Settings

__all__ = ["Replayed", "replay"]


_OLD: Final = timedelta(days=1)


def replay(path: Path, config: Mapping[str, object], *, yes: bool = False) -> Replayed:
    """Send the records of a dead letter again.

    Args:
        path: the dead letter.
        config: the target's configuration; its `max_rejects` and `dead_letter_path` are not used,
            nor its `report_path`: the report is the last sync's.
        yes: send records that were rejected more than a day ago too: they overwrite newer ones.

    Raises:
        ConfigurationError: the file cannot be read, is in use, holds old records, or cannot be
            written.
        InputError: a line of it cannot be read; nothing was sent.
        SegmentObjectsError: as a run of the target; then the file is as it was.
    """
    with _locked(path) as file:
        _look_through(path, RejectLines(file), yes=yes)
        try:
            folder = tempfile.TemporaryDirectory(
                prefix=f".{path.name}.replay-", dir=path.parent, ignore_cleanup_errors=True
            )
        except OSError as error:
            raise ConfigurationError(
                f"the folder of the dead letter {path} cannot be written: "
                f"{error.strerror or error}. Nothing was sent"
            ) from None
        with folder as name:
            refused, rest = Path(name, "refused"), Path(name, "rest")
            messages = ReplayInput(RejectLines(file))
            target = _ReplayTarget(messages, config, refused)
            try:
                _send(target, messages)
                try:
                    replayed = write_rest(rest, refused, messages, target.unsent)
                    rest.replace(path)
                except OSError as error:
                    raise DeadLetterError(str(error)) from error
            except SegmentObjectsError as error:
                raise _told_whole(error, target, path) from None
    return replayed


def _told_whole(
    error: SegmentObjectsError, target: _ReplayTarget, path: Path
) -> SegmentObjectsError:
    """The error, which says too what has become of the rejects and of the file."""
    if isinstance(error, DeadLetterError):
        why = getattr(error.__cause__, "strerror", None) or "the disk is full"
        error = ConfigurationError(
            f"what is left of the dead letter {path} cannot be written beside it: {why}; make room "
            "and replay it again: what is sent twice is merged by id"
        )
    count = sum(row.sent for row in rows(target.report.counts))
    objects = f"{count} objects" if count > 1 else "1 object" if count else "no object"
    error.args = (f"{error}. Segment confirmed {objects}, and the dead letter is as it was",)
    return error


def _look_through(path: Path, lines: RejectLines, *, yes: bool) -> None:
    """Read the whole file before anything is sent."""
    now = oldest = datetime.now(timezone.utc)
    count = old = 0
    try:
        for reject in lines:
            count += 1
            old += now - reject.line.time > _OLD
            oldest = min(oldest, reject.line.time)
    except InputError as error:
        raise InputError(str(error) + ". Nothing was sent") from None
    if old and not yes:
        raise ConfigurationError(
            f"{old} of the {count} records in {path} were rejected over a day ago, "
            f"the oldest {(now - oldest).days} days ago: sent now, they overwrite what came later; "
            "give --yes to send them all the same, or take them out of the file"
        )


def _send(target: _ReplayTarget, messages: ReplayInput) -> None:
    """Run the target over the rejects. The first error is the one that is raised.

    Raises:
        InputError: a signal stopped it; what is in the dead letter stays there.
    """
    run = target.run
    shutdown = None
    if threading.current_thread() is threading.main_thread():
        seconds = target.settings.shutdown_seconds
        shutdown = SignalWatcher(run.stop, run.abort, seconds, before_exit=target.give_up)
        shutdown.install()
    try:
        try:
            target.listen(messages)  # type: ignore[arg-type]
        except BaseException as first:
            _close_after(target, first)
            raise
        run.close()
    except MessageError as error:
        what = str(error).removeprefix(f"line {error.line}: ")
        number = messages.line_of(error.line)
        raise InputError(f"line {number} of the dead letter: {what}") from None
    finally:
        if shutdown is not None:
            shutdown.close()
            shutdown.restore()
    if run.wake_up.stopped:
        raise InputError("the replay was stopped by a signal: start it again")


def _close_after(target: _ReplayTarget, first: BaseException) -> None:
    """End the threads of a run that has failed; that this fails too does not hide why it has."""
    try:
        target.run.close()
    except Exception as error:  # noqa: BLE001  whatever it is, the first error is being raised
        if str(error) != str(first):
            target.logger.warning("After the error, the end failed too: %s", one_line(str(error)))


class _ReplayRun(Run):
    """A run that remembers by bulk too which message each object comes from."""

    def __init__(
        self, messages: ReplayInput, settings: Settings, report: Report, logger: Logger
    ) -> None:
        super().__init__(settings, report, logger)
        self._messages = messages
        self._in_sessions = settings.method == "bulk"

    def _put(
        self, objects: Sequence[ObjectLine], first: int, source_at: Callable[[int], SourceRecord]
    ) -> int:
        if self._in_sessions:
            for index, made in enumerate(objects):
                self._messages.remember(object_lines([made])[:-1], source_at(index).line)
        return super()._put(objects, first, source_at)

    def log_secondary_error(self, failure: SegmentObjectsError, error: BaseException) -> None:
        """The file of the replay's own rejects is nobody's concern: they are in the dead letter."""
        if not isinstance(failure, DeadLetterError):
            super().log_secondary_error(failure, error)


class _ReplayTarget(TargetSegmentObjects):
    """The target, which is given objects too.

    Args:
        messages: what it will read.
        config: as the user has it.
        refused: the file that it writes its own rejects to.

    Attributes:
        unsent: the lines of the records that stream maps have filtered out.
    """

    def __init__(self, messages: ReplayInput, config: Mapping[str, object], refused: Path) -> None:
        kept = {name: value for name, value in config.items() if name != "report_path"}
        super().__init__(
            config={**kept, "max_rejects": -1, "dead_letter_path": str(refused)},
            make_run=partial(_ReplayRun, messages),
        )
        self._messages = messages
        self.unsent: list[int] = []

    @property
    def report(self) -> Report:
        """What the run has done."""
        return self._report

    def _end(self, error: BaseException | None = None) -> None:
        """Tell what became of values. What became of rejects is the command's to tell.

        Names of streams that did not come are not told of: a dead letter has but a few of them.
        """
        if not self._ended:
            self._ended = True
            self._report._rejected.clear()  # noqa: SLF001  their advice is for another file
            self._report.log_summary(ending="failed" if error is not None else "done")
            self._metrics.end(succeeded=error is None)

    def give_up(self, status: int) -> None:
        """The process is about to be ended: tell why, on a thread of the shutdown's."""
        if status == 1:
            failure = OutputError(
                "the stop took longer than `shutdown_seconds`, so the replay was ended: some "
                "objects may have been sent, and the dead letter is as it was"
            )
            self.logger.error("%s", failure)

    def _process_unknown_message(self, message: Message) -> None:
        """An object goes to the delivery as it is."""
        made = self._messages.object_of(message)
        source = SourceStream(made.collection, b"{}", None, is_object=True)
        self.run.position += 1
        self._report.counts.stream(made.collection, made.collection).encoded += 1
        self.run.put(made, SourceRecord(source, made.line_bytes(), message.line))

    def _process_record_message(self, message: Message) -> None:  # type: ignore[override]
        """Take note of a record of which no object is made, and no reject."""
        _, routes = self._source_and_routes(message)
        before = [self._counts_of(route).filtered for route in routes]
        super()._process_record_message(message)
        after = [self._counts_of(route).filtered for route in routes]
        if all(now > then for now, then in zip(after, before, strict=True)):
            self.unsent.append(message.line)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The dead letter, while no run of the target has it open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            f"the dead letter {path} cannot be read: {error.strerror or error}"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigurationError(f"the dead letter {path} is no file: name the file itself")
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"the dead letter {path} is in use by a running sync or another replay; "
                "replay it when that is over"
            ) from None
        held = os.fstat(descriptor)
        named = path.lstat() if os.path.lexists(path) else None
        if named is None or (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            raise ConfigurationError(
                f"the dead letter {path} has been replaced by another replay; replay it again"
            )
        yield file
