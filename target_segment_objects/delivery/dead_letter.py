"""The dead letter: a file of rejects, with everything that is needed to send them again.

Invariants: a reject is on the disk before a state that covers it is printed, and the run ends with
the first reject above `max_rejects`. Each run writes a schema once, on a line of its own before the
first record that needs it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import math
import os
import stat
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from target_segment_objects.errors import DeadLetterError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.errors import RejectedRecordError
    from target_segment_objects.faults import Fault
    from target_segment_objects.source import SourceRecord, SourceStream

__all__ = ["DeadLetter", "fault_rows"]

_MODE: Final = 0o600
_MAX_OPENS: Final = 100
"""After so many attempts to open the file, its inode numbers are not reliable."""
_NEW_LINE: Final = b"\n"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class DeadLetter:
    """A file of one JSON object a line, to which several runs may append at the same time.

    Each line is one write, and only the user can read the file (0600). While it is open it has a
    shared lock, so that no replay replaces it.

    Args:
        path: the file, created for the first reject; with `None` rejects are counted only.
        max_rejects: how many are tolerated; -1 for any number.
    """

    def __init__(self, path: Path | None, max_rejects: int = -1) -> None:
        self.path = path or Path(os.devnull)
        self._has_file = path is not None
        self._max_rejects = max_rejects
        self.count = 0
        self.run_id = uuid.uuid4().hex
        self._descriptor = -1
        self._unsynced = False
        self._size = 0
        self._schema_ids: dict[bytes, int] = {}  # of those in the file, by digest
        self._next_schema_id = 1

    def record(self, error: RejectedRecordError, source_record: SourceRecord) -> None:
        """Count a reject, and write it to the file.

        Raises:
            RejectedRecordError: the same error, if no more rejects are tolerated.
            DeadLetterError: it cannot be written.
        """
        self.count += 1
        if self._has_file:
            self.write(source_record, error)
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

    def write(self, source_record: SourceRecord, error: RejectedRecordError) -> None:
        """Append a reject, and before it the line of its schema if that is not in the file yet.

        Raises:
            DeadLetterError: when the file does not take it.
        """
        try:
            self._open_if_gone()
            self._append(self._entry(source_record, error))
        except OSError as failure:
            raise self._write_error(failure) from failure

    def sync(self) -> None:
        """Flush what was written to the disk, before a state that covers it is printed.

        Raises:
            DeadLetterError: it cannot be flushed.
        """
        if self._unsynced:
            try:
                os.fsync(self._descriptor)
            except OSError as failure:
                raise self._write_error(failure) from failure
            self._unsynced = False

    def close(self) -> None:
        """Close the file; what was not synced may be lost. May be called more than once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def _open(self) -> None:
        """Open and lock the file; again if a replay has replaced it meanwhile."""
        for _ in range(_MAX_OPENS):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise DeadLetterError(
                    f"dead_letter_path: {self.path} is in use by `segment-objects replay`; "
                    "run again when the replay has ended"
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
                f"dead_letter_path: {self.path} is a different file each time it is opened; "
                "its file system may not keep inode numbers: name a file on a local disk"
            )
        self._descriptor = descriptor
        self._keep_private(held)

    def _open_if_gone(self) -> None:
        """Open the file, also if it was deleted meanwhile; an emptied one has no schemas."""
        held = os.fstat(self._descriptor) if self._descriptor >= 0 else None
        if held is not None and held.st_nlink and held.st_size >= self._size:
            return
        if held is None or not held.st_nlink:
            self.close()
            self._open()
        self._size = 0
        self._schema_ids.clear()

    def _append(self, entry: dict[str, object]) -> None:
        """Append a line in one write.

        A killed run or a full disk may have left an incomplete line: a line break ends it first.
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
        """Remove other users' access to a file that existed before, before a record is in it."""
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
        """The number of a schema in this run; writes its line if it is new."""
        schema_id = self._schema_ids.get(source.digest)
        if schema_id is None:
            schema_id = self._next_schema_id
            self._append(
                self._head("schema")
                | {
                    "schema_id": schema_id,
                    "stream": source.stream,
                    "key_properties": source.key_properties,
                    "schema": msgspec.Raw(_as_valid_json(source.schema)),
                }
            )
            self._next_schema_id += 1
            self._schema_ids[source.digest] = schema_id
        return schema_id

    def _head(self, stage: str) -> dict[str, object]:
        now = datetime.now(timezone.utc).isoformat()
        return {"run_id": self.run_id, "time": now, "stage": stage}

    def _entry(self, source_record: SourceRecord, error: RejectedRecordError) -> dict[str, object]:
        """The line of a reject: a record as the tap wrote it, or an object as it was sent.

        Appends the line of the record's schema if that is not in the file yet.
        """
        source = source_record.source
        entry = self._head("object" if source.is_object else "record") | {
            "line": source_record.line,
            "faults": fault_rows(error.faults),
        }
        if source.is_object:
            return entry | {"object": msgspec.Raw(source_record.raw)}
        entry |= {"stream": source.stream, "schema_id": self._schema_id(source)}
        time_extracted, version = source_record.message_fields
        if isinstance(time_extracted, str):
            entry["time_extracted"] = _escaped(time_extracted)
        if isinstance(version, int):
            entry["version"] = version
        if _is_valid_json(source_record.raw):
            entry["record"] = msgspec.Raw(source_record.raw)
        else:
            entry["raw"] = base64.b64encode(source_record.raw).decode()
        return entry

    def _write_error(self, failure: OSError) -> DeadLetterError:
        return DeadLetterError(
            f"dead_letter_path: {self.path} cannot be written: {failure.strerror or failure}; "
            "make room, or name another file, and run again: the run continues from the last state"
        )


def _is_valid_json(raw: bytes) -> bool:
    try:
        raw.decode()
        _decode(raw)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return False
    return True


def _as_valid_json(schema: bytes) -> bytes:
    """A schema as valid JSON: non-finite numbers become null, lone surrogates `?`."""
    if _is_valid_json(schema):
        return schema
    decoded = json.loads(schema, parse_float=_finite, parse_constant=lambda _: None)
    return json.dumps(decoded, ensure_ascii=False).encode("utf-8", "replace")


def _finite(token: str) -> float | None:
    return number if math.isfinite(number := float(token)) else None


def _escaped(text: str) -> str:
    """A text that can be written: its lone surrogates are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def fault_rows(faults: Iterable[Fault]) -> list[dict[str, object]]:
    """The faults of a reject, as in its line."""
    return [
        {
            "path": [_escaped(part) for part in fault.path],
            "code": fault.code,
            "message": fault.message,
        }
        for fault in faults
    ]
