"""`segment-objects replay`: send the rejects of a dead letter again; keep what is still rejected.

Invariant: a reject leaves the dead letter only when it was delivered. The others stay in it, with
their new faults and the schemas that they refer to. A rejected record goes through the target like
a record from a tap. An object that Segment refused in a bulk session is sent unchanged, since
stream maps, metadata and names were applied before it was sent.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from target_segment_objects.commands.output import OutputFailedError, fail, print_lines
from target_segment_objects.commands.replay.input import ReplayInput
from target_segment_objects.commands.replay.reject_lines import RejectLines
from target_segment_objects.commands.replay.remaining import ReplayResult, write_remaining
from target_segment_objects.delivery import DeadLetter, fault_rows
from target_segment_objects.errors import (
    ConfigurationError,
    InputError,
    MessageError,
    SegmentObjectsError,
)
from target_segment_objects.objects import object_lines
from target_segment_objects.reporting import Report, summaries
from target_segment_objects.run import Run, SignalWatcher
from target_segment_objects.settings import read_configuration
from target_segment_objects.singer import TargetSegmentObjects
from target_segment_objects.source import SourceRecord, SourceStream

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from logging import Logger
    from typing import BinaryIO

    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.input import Message
    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.settings import Settings

__all__ = ["ReplayResult", "replay", "run"]

_MAX_AGE: Final = timedelta(days=1)


def run(options: Namespace) -> int:
    """Replay a dead letter, and print the result."""
    config = read_configuration(options.config, os.environ)
    result = replay(options.dead_letter, config, include_old=options.yes)
    try:
        print_lines(result)
    except OutputFailedError as failure:
        return fail(f"The replay is done, but {failure}. {result}")
    return 0


def replay(path: Path, config: Mapping[str, object], *, include_old: bool = False) -> ReplayResult:
    """Send the records of a dead letter again.

    Args:
        path: the dead letter.
        config: the target's configuration. Its `max_rejects` and `dead_letter_path` are not used,
            nor its `report_path`: that report is of the last sync.
        include_old: also send records that were rejected over a day ago; they overwrite newer ones.

    Raises:
        ConfigurationError: the file cannot be read, is in use, holds old records, or cannot be
            written.
        InputError: a line of it cannot be read; nothing was sent.
        SegmentObjectsError: as a run of the target; the file is unchanged then.
    """
    with _locked(path) as file:
        _check(path, RejectLines(file), include_old=include_old)
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
            messages = ReplayInput(RejectLines(file))
            target = _ReplayTarget(messages, config)
            try:
                return _send(target, messages, path, Path(name, "remaining"))
            except SegmentObjectsError as error:
                count = sum(summary.sent for summary in summaries(target.report.counts))
                objects = f"{count} objects" if count > 1 else "1 object" if count else "no object"
                sentence = f"{error}. Segment confirmed {objects}, and the dead letter is unchanged"
                error.args = (sentence,)
                raise


def _check(path: Path, lines: RejectLines, *, include_old: bool) -> None:
    """Read the whole file before anything is sent.

    Raises:
        InputError: a line cannot be read.
        ConfigurationError: there are old rejects, and they are not included.
    """
    now = oldest = datetime.now(timezone.utc)
    count = old = 0
    try:
        for reject in lines:
            count += 1
            old += now - reject.line.time > _MAX_AGE
            oldest = min(oldest, reject.line.time)
    except InputError as error:
        raise InputError(str(error) + ". Nothing was sent") from None
    if old and not include_old:
        raise ConfigurationError(
            f"{old} of the {count} records in {path} were rejected over a day ago, "
            f"the oldest {(now - oldest).days} days ago: if sent now, they overwrite newer "
            "objects; pass --yes to send them anyway, or delete them from the file"
        )


def _send(
    target: _ReplayTarget, messages: ReplayInput, path: Path, remaining_path: Path
) -> ReplayResult:
    """Run the target over the rejects, and replace the dead letter by the remaining ones.

    Raises:
        InputError: a signal stopped it; the dead letter is unchanged.
        SegmentObjectsError: the first error; the dead letter is unchanged.
    """
    run, report = target.run, target.report
    seconds = target.settings.shutdown_seconds
    with SignalWatcher(run.stop, run.abort, seconds, before_exit=target.give_up):
        try:
            target.listen(messages)  # type: ignore[arg-type]
        except MessageError as error:
            number = messages.current.number
            raise InputError(f"line {number} of the dead letter: {error.sentence}") from None
        finally:
            run.close()
        if run.wake_up.stopped:
            raise InputError("the replay was stopped by a signal: start it again")
        try:
            result = write_remaining(remaining_path, messages, report.faults, set(report.unsent))
            remaining_path.replace(path)
        except OSError as error:
            raise ConfigurationError(
                f"the remaining rejects of the dead letter {path} cannot be written beside it: "
                f"{error.strerror or error}; make room and replay it again: what is sent twice is "
                "merged by id"
            ) from None
    return result


class _ReplayRun(Run):
    """A run that keeps, by bulk, which message each object was made from."""

    def __init__(
        self, messages: ReplayInput, settings: Settings, report: Report, logger: Logger
    ) -> None:
        super().__init__(settings, report, logger)
        self._rejects = DeadLetter(None)  # they stay in the dead letter
        self._messages = messages

    def _put(
        self, objects: Sequence[ObjectLine], first: int, source_at: Callable[[int], SourceRecord]
    ) -> int:
        if self._settings.method == "bulk":
            for index, segment_object in enumerate(objects):
                line = object_lines([segment_object])[:-1]
                self._messages.remember(line, source_at(index).line)
        return super()._put(objects, first, source_at)


class _ReplayReport(Report):
    """A report that keeps which records are not sent, by the lines of their messages.

    Args:
        messages: know which message an object was made from.

    Attributes:
        unsent: those that stream maps have filtered out.
        faults: as JSON, of those that were rejected again.
    """

    def __init__(self, logger: Logger, messages: ReplayInput) -> None:
        super().__init__(logger)
        self.unsent: list[int] = []
        self.faults: dict[int, bytes] = {}
        self._messages = messages
        self._texts: dict[bytes, bytes] = {}  # most rejects have the same few faults

    def add_reject(self, error: RejectedRecordError, record: SourceRecord) -> None:
        """Keep the faults of a record that could not become an object or was refused."""
        super().add_reject(error, record)
        text = msgspec.json.encode(fault_rows(error.faults))
        message = record.line or self._messages.message_of(record.raw)
        self.faults[message] = self._texts.setdefault(text, text)

    def filter(self, record: SourceRecord, *, is_removed: bool) -> None:
        """Stream maps leave nothing of a record: it becomes neither an object nor a reject."""
        super().filter(record, is_removed=is_removed)
        self.unsent.append(record.line)

    def log_summary(self, *, with_collections: bool = True, ending: str = "done") -> None:
        """Log the summary without rejects, since its advice on them is for another file."""
        self._rejected.clear()
        super().log_summary(with_collections=with_collections, ending=ending)


class _ReplayTarget(TargetSegmentObjects):
    """The target, which also reads objects.

    Args:
        messages: its input.
        config: the user's configuration.
    """

    def __init__(self, messages: ReplayInput, config: Mapping[str, object]) -> None:
        unused = {"report_path": None, "max_rejects": 0, "dead_letter_path": None}
        self.report = _ReplayReport(self.logger, messages)
        super().__init__(
            config={**config, **unused},
            report=self.report,
            make_run=partial(_ReplayRun, messages),
        )
        self.report.tolerates_rejects = True
        self._messages = messages

    def warn_of_unused_names(self) -> None:
        """Warn of none: a dead letter has only some of the streams."""

    def give_up(self, status: int) -> None:
        """Log why the process is about to end. Called on the thread of the signal watcher."""
        if status == 1:
            self.logger.error(
                "the stop took longer than `shutdown_seconds`, so the replay was ended: some "
                "objects may have been sent, and the dead letter is unchanged"
            )

    def _process_unknown_message(self, message: Message) -> None:
        """Deliver an object unchanged."""
        segment_object = self._messages.current.object
        if segment_object is None:
            super()._process_unknown_message(message)
            return
        collection = segment_object.collection
        source = SourceStream(collection, b"{}", None, is_object=True)
        self.run.position += 1
        self.report.counts.stream(collection, collection).encoded += 1
        self.run.put(
            segment_object, SourceRecord(source, segment_object.line_bytes(), message.line)
        )


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open the dead letter with a lock, so that no run of the target has it open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            f"the dead letter {path} cannot be read: {error.strerror or error}"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigurationError(f"the dead letter {path} is not a file: name the file itself")
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"the dead letter {path} is in use by a running sync or another replay; "
                "replay it when that has ended"
            ) from None
        locked = os.fstat(descriptor)
        current = path.lstat() if os.path.lexists(path) else None
        if current is None or (current.st_dev, current.st_ino) != (locked.st_dev, locked.st_ino):
            raise ConfigurationError(
                f"the dead letter {path} has been replaced by another replay; replay it again"
            )
        yield file
