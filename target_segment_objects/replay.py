"""`segment-objects replay`: send the rejects of a dead letter again, keep what is still refused.

The rule that it guards: a reject leaves the dead letter only when it was delivered. What has been
mended in the file, or is allowed by changed settings, goes; the rest stays, with its new faults.
"""

from __future__ import annotations

import base64
import fcntl
import glob
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from target_segment_objects.errors import ConfigurationError, InputError
from target_segment_objects.shutdown import Shutdown
from target_segment_objects.target import SegmentObjectsTarget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Replayed", "replay"]

_OLD: Final = timedelta(days=1)
_encode = msgspec.json.Encoder().encode


class _Reject(msgspec.Struct):
    """A line of a dead letter: see `rejects.DeadLetter`."""

    stream: str
    time: datetime
    schema: msgspec.Raw
    key_properties: list[str] | None = None
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw: str | None = None
    is_collection: bool = False


_decode = msgspec.json.Decoder(_Reject).decode


class _Entry(NamedTuple):
    """A reject and its line of the file."""

    reject: _Reject
    line: bytes


@dataclass(frozen=True)
class Replayed:
    """What a replay came to.

    Attributes:
        sent: records that were delivered.
        kept: records that are still refused, and stand in the dead letter.
    """

    sent: int
    kept: int


def replay(path: Path, config: Mapping[str, object], *, yes: bool = False) -> Replayed:
    """Send the records of a dead letter again.

    Args:
        path: the dead letter.
        config: the target's configuration; its `max_rejects` and `dead_letter_path` are not used,
            nor its `report_path`: the report is the last sync's.
        yes: send records that were rejected more than a day ago too: they overwrite newer ones.

    Raises:
        ConfigurationError: the file cannot be read, is in use, or holds old records.
        InputError: a line of it cannot be read; nothing was sent.
        SegmentObjectsError: as a run of the target; then the file is as it was.
    """
    with _locked(path) as lines:
        entries = [_read(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        _refuse_old(path, entries, yes=yes)
        still = path.with_name(f".{path.name}.{os.getpid()}")
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):  # of a replay that was killed
            left.unlink()
        try:
            messages = _Messages(entries)
            _send(messages, config, entries, still)
            kept = list(_kept(still, messages)) if still.exists() else []
            _write(still, kept)
            still.replace(path)
        finally:
            still.unlink(missing_ok=True)
    return Replayed(sent=len(entries) - len(kept), kept=len(kept))


def _send(
    messages: _Messages, config: Mapping[str, object], entries: list[_Entry], still: Path
) -> None:
    """Run the target over the entries; what it rejects again is in `still`.

    Raises:
        InputError: a signal stopped it; what is in the dead letter stays there.
    """
    target = SegmentObjectsTarget(
        config={
            **{name: value for name, value in config.items() if name != "report_path"},
            "collections": _collections(config, entries),
            "max_rejects": -1,
            "dead_letter_path": str(still),
        }
    )
    run = target.run
    shutdown = None
    if threading.current_thread() is threading.main_thread():
        shutdown = Shutdown(run.stop, run.expire, target.settings.shutdown_seconds)
        shutdown.install()
    try:
        target.listen(messages)  # type: ignore[arg-type]
    finally:
        run.close()
        if shutdown is not None:
            shutdown.close()
    if run.wake_up.stopped:
        raise InputError(
            "stopped by a signal: some records may have been sent, all of them stay in the file"
        )


def _kept(still: Path, messages: _Messages) -> Iterator[bytes]:
    """What was rejected again: the entry as it was, with its new faults."""
    for line in _split(still.read_bytes()):
        again = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        number = msgspec.json.decode(again["line"], type=int)
        if number in messages.entry_at:
            was = msgspec.json.decode(messages.entry_at[number].line, type=dict[str, msgspec.Raw])
            again = {**was, "faults": again["faults"]}
        yield _encode(again)


def _write(path: Path, lines: list[bytes]) -> None:
    """Write the file anew, and make sure that it is on the disk."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def _split(content: bytes) -> list[bytes]:
    """Lines end with a line feed alone: a record may hold other breaks between its tokens."""
    return content.removesuffix(b"\n").split(b"\n") if content else []


@contextmanager
def _locked(path: Path) -> Iterator[list[bytes]]:
    """The lines of the dead letter, while no run of the target has it open."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except OSError as error:
        raise ConfigurationError(
            f"the dead letter {path} cannot be read: {error.strerror or error}"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"the dead letter {path} is in use by a running sync; replay it when that is over"
            ) from None
        yield _split(file.read())


def _read(line: bytes, number: int) -> _Entry:
    try:
        reject = _decode(line)
        whole = reject.record is not msgspec.UNSET or reject.raw is not None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        whole = False
    if not whole:
        raise InputError(
            f"line {number} of the dead letter is not a reject that a run has written: it needs "
            "`stream`, `time`, `schema` and `record` (or `raw`). Mend it, or delete it if a full "
            "disk or a kill has cut it off: no state covers it. Nothing was sent"
        )
    if reject.time.tzinfo is None:
        reject.time = reject.time.replace(tzinfo=timezone.utc)
    return _Entry(reject, line)


def _refuse_old(path: Path, entries: list[_Entry], *, yes: bool) -> None:
    now = datetime.now(timezone.utc)
    ages = [now - entry.reject.time for entry in entries]
    old = [age for age in ages if age > _OLD]
    if old and not yes:
        raise ConfigurationError(
            f"{len(old)} of the {len(entries)} records in {path} were rejected over a day ago, "
            f"the oldest {max(old).days} days ago: sent now, they overwrite what came later; "
            "give --yes to send them all the same, or take them out of the file"
        )


def _collections(config: Mapping[str, object], entries: list[_Entry]) -> object:
    """The setting, and each collection that stands for a stream taken as it is."""
    given = config.get("collections") or {}
    if not isinstance(given, dict):
        return given  # for the target to refuse
    return {reject.stream: reject.stream for reject, _ in entries if reject.is_collection} | given


class _Messages:
    """The entries as a tap would write them, to be read like a file.

    Attributes:
        entry_at: which entry each line of this input is.
    """

    def __init__(self, entries: list[_Entry]) -> None:
        self.entry_at: dict[int, _Entry] = {}
        self._lines = self._write(entries)

    def read(self, _size: int = -1) -> bytes:
        """The next message; nothing when there are no more."""
        return next(self._lines, b"")

    def _write(self, entries: list[_Entry]) -> Iterator[bytes]:
        number = 0
        known: dict[str, tuple[bytes, list[str] | None]] = {}
        for entry in entries:
            reject = entry.reject
            stream = _encode(reject.stream)
            schema = (bytes(reject.schema), reject.key_properties)
            if known.get(reject.stream) != schema:
                known[reject.stream] = schema
                number += 1
                yield b'{"type":"SCHEMA","stream":%b,"schema":%b,"key_properties":%b}\n' % (
                    stream,
                    schema[0],
                    _encode(reject.key_properties),
                )
            if isinstance(reject.record, msgspec.Raw):
                record = bytes(reject.record)
            else:
                record = base64.b64decode(reject.raw or "")
            number += 1
            self.entry_at[number] = entry
            yield b'{"type":"RECORD","stream":%b,"record":%b}\n' % (stream, record)
