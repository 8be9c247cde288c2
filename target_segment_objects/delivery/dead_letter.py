"""The dead letter: records that cannot become objects, kept with all that sending them again needs.

The rules that it guards: a reject is on the disk before any state that covers it is printed, and
with one reject more than `max_rejects` the run ends. Nothing is skipped in silence. A schema stands
once a run, in a line of its own before the first record that needs it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import math
import os
import stat
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

import msgspec

from target_segment_objects.errors import DeadLetterError

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.source import SourceRecord, SourceStream

__all__ = ["DeadLetter", "Rejects"]

_MODE: Final = 0o600
_TRIES: Final = 100
"""How often the file is opened anew before its inode numbers are not believed any more."""
_NEW_LINE: Final = b"\n"
_is_json = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class DeadLetter:
    """A file of one JSON object a line, appended to by any number of runs at the same time.

    Each line is one write and the file is the user's alone (0600). While it is open it is locked,
    shared with other runs, so that no replay takes it away meanwhile.

    Args:
        path: the file; made when the first reject comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = uuid.uuid4().hex
        self._descriptor = -1
        self._unsynced = False
        self._size = 0
        self._schemas = _SchemaIds()

    def write(self, origin: SourceRecord, error: RejectedRecordError) -> None:
        """Append one reject, after the line of its schema where that does not stand there yet.

        Raises:
            DeadLetterError: when the file does not take it.
        """
        try:
            self._open_if_gone()
            schema_id = 0 if origin.source.is_object else self._schema_id(origin.source)
            self._append(self._entry(origin, error, schema_id))
        except OSError as failure:
            raise self._failed(failure) from failure

    def sync(self) -> None:
        """Make sure that what was written is on the disk.

        Raises:
            DeadLetterError: when it is not.
        """
        if self._unsynced:
            try:
                os.fsync(self._descriptor)
            except OSError as failure:
                raise self._failed(failure) from failure
            self._unsynced = False

    def close(self) -> None:
        """Close the file; what is not synced may be lost. May be called more than once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def _open(self) -> None:
        """Open and lock the file; again when a replay has put another in its place meanwhile."""
        for _ in range(_TRIES):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise DeadLetterError(
                    f"dead_letter_path: {self.path} is in use by `segment-objects replay`; "
                    "run again when that is over"
                ) from None
            held = os.fstat(descriptor)
            try:
                named = self.path.lstat()
            except FileNotFoundError:
                named = None
            if named is not None and (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
                break
            os.close(descriptor)
        else:
            raise DeadLetterError(
                f"dead_letter_path: {self.path} is another file each time that it is opened; "
                "its file system may not keep inode numbers: name a file on a local disk"
            )
        self._descriptor = descriptor
        self._keep_private(held)

    def _open_if_gone(self) -> None:
        """Open the file at first, and when it was deleted; in an emptied one no schema stands."""
        held = os.fstat(self._descriptor) if self._descriptor >= 0 else None
        if held is not None and held.st_nlink and held.st_size >= self._size:
            return
        if held is None or not held.st_nlink:
            self.close()
            self._open()
        self._size = 0
        self._schemas.forget()

    def _append(self, entry: dict[str, object]) -> None:
        """Write a line, at one go.

        A run that was killed, or a disk that was full, may have left a line without its end, at any
        time: a break closes it, or this line would be a part of it.
        """
        line = _encode(entry) + _NEW_LINE
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != _NEW_LINE:
            line = _NEW_LINE + line
        written = os.write(self._descriptor, line)
        self._unsynced = True
        self._size = size + written
        if written != len(line):
            raise OSError("the disk is full")

    def _keep_private(self, held: os.stat_result) -> None:
        """A file that was there already becomes the user's alone, before a record is in it."""
        if not stat.S_ISREG(held.st_mode) or not held.st_mode & 0o077:
            return
        try:
            os.fchmod(self._descriptor, _MODE)
        except OSError:
            self.close()
            raise DeadLetterError(
                f"dead_letter_path: {self.path} can be read or written by other users, and its "
                "mode cannot be changed, since it belongs to another user: name a file of your own"
            ) from None

    def _schema_id(self, source: SourceStream) -> int:
        """The number of a schema in this run, whose line is written if it has not been yet."""
        known = self._schemas.find(source)
        if known is not None:
            return known
        schema_id = self._schemas.next_id
        self._append(
            self._head("schema")
            | {
                "schema_id": schema_id,
                "stream": source.stream,
                "key_properties": source.key_properties,
                "schema": msgspec.Raw(_standing_in_json(source.schema)),
            }
        )
        self._schemas.add(source)
        return schema_id

    def _head(self, stage: str) -> dict[str, object]:
        now = datetime.now(timezone.utc).isoformat()
        return {"run_id": self.run_id, "time": now, "stage": stage}

    def _entry(
        self, origin: SourceRecord, error: RejectedRecordError, schema_id: int
    ) -> dict[str, object]:
        """The reject at its stage: a record is as the tap wrote it, an object as it was sent."""
        source = origin.source
        entry = self._head("object" if source.is_object else "record") | {
            "line": origin.line,
            "faults": [
                {
                    "path": [_plain(part) for part in fault.path],
                    "code": fault.code,
                    "message": fault.message,
                }
                for fault in error.faults
            ],
        }
        if source.is_object:
            return entry | {"object": msgspec.Raw(origin.raw)}
        entry |= {"stream": source.stream, "schema_id": schema_id}
        time_extracted, version = origin.message_fields
        if isinstance(time_extracted, str):
            entry["time_extracted"] = _plain(time_extracted)
        if isinstance(version, int):
            entry["version"] = version
        if _can_stand_in_json(origin.raw):
            entry["record"] = msgspec.Raw(origin.raw)
        else:
            entry["raw"] = base64.b64encode(origin.raw).decode()
        return entry

    def _failed(self, failure: OSError) -> DeadLetterError:
        return DeadLetterError(
            f"dead_letter_path: {self.path} cannot be written: {failure.strerror or failure}; "
            "make room, or name another file, and run again: the state says from where"
        )


class _SchemaIds:
    """Which schemas a run has written, by a digest: schemas are large, and taps change them.

    Attributes:
        next_id: the number of the next one; no number is given twice in a run.
    """

    def __init__(self) -> None:
        self.next_id = 1
        self._ids: dict[bytes, int] = {}
        self._latest: dict[str, tuple[SourceStream, int]] = {}

    def find(self, source: SourceStream) -> int | None:
        """The number of a schema that was written; `None` for one that was not."""
        latest = self._latest.get(source.stream)
        if latest is not None and latest[0] is source:
            return latest[1]
        schema_id = self._ids.get(_digest(source))
        if schema_id is not None:
            self._latest[source.stream] = (source, schema_id)
        return schema_id

    def add(self, source: SourceStream) -> None:
        """A schema was written, whole, under `next_id`."""
        self._ids[_digest(source)] = self.next_id
        self._latest[source.stream] = (source, self.next_id)
        self.next_id += 1

    def forget(self) -> None:
        """What was written is not in the file any more."""
        self._ids.clear()
        self._latest.clear()


def _digest(source: SourceStream) -> bytes:
    head = _encode((source.stream, source.key_properties))
    return hashlib.blake2b(head + source.schema, digest_size=16).digest()


def _can_stand_in_json(raw: bytes) -> bool:
    try:
        raw.decode()
        _is_json(raw)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return False
    return True


def _standing_in_json(schema: bytes) -> bytes:
    """A schema as it can stand in a line: what is not finite is null, what is no Unicode `?`."""
    if _can_stand_in_json(schema):
        return schema
    read = json.loads(schema, parse_float=_finite, parse_constant=lambda _: None)
    return json.dumps(read, ensure_ascii=False).encode("utf-8", "replace")


def _finite(token: str) -> float | None:
    return number if math.isfinite(number := float(token)) else None


def _plain(part: str) -> str:
    """A name that can be written: a lone surrogate in it is shown as its escape."""
    return part.encode("utf-8", "backslashreplace").decode()


class Rejects:
    """Counts rejects, and ends the run when there are too many.

    Args:
        max_rejects: how many are tolerated; -1 for any number.
        dead_letter: where they go; without one the first reject ends the run.
    """

    def __init__(self, max_rejects: int, dead_letter: DeadLetter | None) -> None:
        self._max_rejects = max_rejects
        self._dead_letter = dead_letter
        self.count = 0

    def record(self, error: RejectedRecordError, origin: SourceRecord) -> None:
        """Write a reject down.

        Raises:
            RejectedRecordError: the same, when no more are tolerated.
            DeadLetterError: when it cannot be written.
        """
        self.count += 1
        if self._dead_letter is not None:
            self._dead_letter.write(origin, error)
        if self._max_rejects >= 0 and self.count > self._max_rejects:
            if not self._max_rejects:
                raise error
            raise type(error)(
                error.faults,
                stream=error.stream,
                collection=error.collection,
                line=error.line,
                limit=self._max_rejects,
            )

    def sync(self) -> None:
        """Make sure that every reject is on the disk: a state that covers it is to be printed.

        Raises:
            DeadLetterError: when it is not.
        """
        if self._dead_letter is not None:
            self._dead_letter.sync()

    def close(self) -> None:
        """Give back the file."""
        if self._dead_letter is not None:
            self._dead_letter.close()
