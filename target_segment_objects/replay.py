"""`segment-objects replay`: send the rejects of a dead letter again, keep what is still refused.

The rule that it guards: a reject leaves the dead letter only when it was delivered. What has been
mended in the file, or is allowed by changed settings, goes; the rest stays, with its new faults.
A record is sent as a tap's records are; an object, which Segment refused by bulk, has been through
stream maps, metadata and names already: it goes as it stands.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from target_segment_objects.errors import ConfigurationError, InputError
from target_segment_objects.objects import MAX_ID_LENGTH, MAX_OBJECT_BYTES, SegmentObject
from target_segment_objects.origins import Origin, Source
from target_segment_objects.shutdown import Shutdown
from target_segment_objects.target import SegmentObjectsTarget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_segment_objects.reader import Message

__all__ = ["Replayed", "replay"]

_OLD: Final = timedelta(days=1)
_encode = msgspec.json.Encoder().encode


class _Reject(msgspec.Struct):
    """A line of a dead letter: see `rejects.DeadLetter`."""

    time: datetime
    stream: str = ""
    schema: msgspec.Raw = msgspec.Raw()
    key_properties: list[str] | None = None
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw: str | None = None
    time_extracted: str | None = None
    version: int | None = None
    object: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    is_collection: bool = False


class _Object(msgspec.Struct):
    id: str
    collection: str
    properties: dict[str, str | int | float | bool | None]


class _Line(msgspec.Struct):
    id: str
    collection: str
    properties: msgspec.Raw


_decode = msgspec.json.Decoder(_Reject).decode


class _Entry(NamedTuple):
    """A reject and its line of the file."""

    reject: _Reject
    line: bytes
    object: SegmentObject | None


@dataclass(frozen=True)
class Replayed:
    """What a replay came to.

    Attributes:
        sent: records that were delivered.
        kept: records that are still refused, or that `stream_maps` filter out, and stand in the
            dead letter.
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
        ConfigurationError: the file cannot be read, is in use, holds old records, or cannot be
            written when the records have been sent.
        InputError: a line of it cannot be read; nothing was sent.
        SegmentObjectsError: as a run of the target; then the file is as it was.
    """
    with _locked(path) as lines:
        entries = [_read(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        _refuse_old(path, entries, yes=yes)
        try:
            folder = tempfile.TemporaryDirectory(prefix=f".{path.name}.replay-", dir=path.parent)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of the dead letter {path} cannot be written: "
                f"{error.strerror or error}. Nothing was sent"
            ) from None
        with folder as name:
            still = Path(name, "refused")
            messages = _Messages(entries)
            unsent = _send(messages, config, still)
            try:
                kept = _kept(still, messages, entries, unsent)
                _replace(path, Path(name, "rest"), kept)
            except OSError as error:
                raise ConfigurationError(
                    f"the records were sent, but what is left of the dead letter {path} cannot be "
                    f"written: {error.strerror or error}. It is as it was: make room and replay it "
                    "again; what is sent twice is merged by id"
                ) from None
    return Replayed(sent=max(0, len(entries) - len(kept)), kept=len(kept))


def _send(messages: _Messages, config: Mapping[str, object], still: Path) -> list[int]:
    """Run the target over the entries; what it rejects again is in `still`.

    Returns:
        The lines of the records that stream maps have filtered out.

    Raises:
        InputError: a signal stopped it; what is in the dead letter stays there.
    """
    target = _ReplayTarget(
        messages,
        {
            **{name: value for name, value in config.items() if name != "report_path"},
            "max_rejects": -1,
            "dead_letter_path": str(still),
        },
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
            shutdown.restore()
    if run.wake_up.stopped:
        raise InputError(
            "stopped by a signal: some records may have been sent, all of them stay in the file"
        )
    return target.unsent


class _ReplayTarget(SegmentObjectsTarget):
    """The target, which is given objects too.

    Attributes:
        unsent: the lines of the records that stream maps have filtered out.
    """

    def __init__(self, messages: _Messages, config: dict[str, object]) -> None:
        super().__init__(config=config)
        self._messages = messages
        self.unsent: list[int] = []

    def _process_unknown_message(self, message: Message) -> None:
        """An object goes to the delivery as it is."""
        made = self._messages.entry_at[message.line].object
        if made is None:
            super()._process_unknown_message(message)
            return
        source = Source(made.collection, b"{}", None, is_object=True)
        self.run.position += 1
        self._report.tally.way(made.collection, made.collection).made += 1
        self.run.put(made, Origin(source, made.line_bytes(), message.line))

    def _process_record_message(self, message: Message) -> None:  # type: ignore[override]
        """Take note of a record of which no object is made, and no reject."""
        _, routes = self._routes_of(message)
        before = [self._way(route).filtered for route in routes]
        super()._process_record_message(message)
        after = [self._way(route).filtered for route in routes]
        if all(now > then for now, then in zip(after, before, strict=True)):
            self.unsent.append(message.line)


def _kept(
    still: Path, messages: _Messages, entries: list[_Entry], unsent: list[int]
) -> list[bytes]:
    """What was not delivered: the entry as it was, a refused one with its new faults."""
    kept = {number: messages.entry_at[number].line for number in unsent}
    more = []
    for line in _split(still.read_bytes()) if still.exists() else []:
        again = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        number = msgspec.json.decode(again["line"], type=int)
        if not number:  # by bulk, which record an object was made of is not kept
            number = messages.number_of.get(bytes(again["object"]), 0)
        if number:
            was = msgspec.json.decode(messages.entry_at[number].line, type=dict[str, msgspec.Raw])
            kept[number] = _encode({**was, "faults": again["faults"]})
        else:
            oldest = min(entry.reject.time for entry in entries)
            more.append(_encode({**again, "time": oldest}))
    return [kept[number] for number in sorted(kept)] + more


def _replace(path: Path, rest: Path, lines: list[bytes]) -> None:
    """Put a new file in place of the old one, and make sure that it is on the disk."""
    descriptor = os.open(rest, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    rest.replace(path)


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
        held, named = os.fstat(file.fileno()), path.lstat()
        if (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            raise ConfigurationError(
                f"the dead letter {path} has been replaced by another replay; replay it again"
            )
        yield _split(file.read())


def _read(line: bytes, number: int) -> _Entry:
    made = None
    try:
        reject = _decode(line)
        if reject.is_collection and isinstance(reject.record, msgspec.Raw):
            made = _object(_object_of_record(reject.stream, bytes(reject.record)))
        elif isinstance(reject.object, msgspec.Raw):
            made = _object(bytes(reject.object))
        whole = made is not None or (
            bool(reject.stream and bytes(reject.schema))
            and (reject.record is not msgspec.UNSET or reject.raw is not None)
        )
    except (msgspec.MsgspecError, ValueError, LookupError):
        whole = False
    if not whole:
        raise InputError(
            f"line {number} of the dead letter is not a reject that a run has written: it needs "
            "`time`, and `stream`, `schema` and `record` (or `raw`), or an `object` with `id`, "
            "`collection` and `properties` that Segment takes. Mend it, or delete it if a full "
            "disk or a kill has cut it off: no state covers it. Nothing was sent"
        )
    if reject.time.tzinfo is None:
        reject.time = reject.time.replace(tzinfo=timezone.utc)
    return _Entry(reject, line, made)


def _object(text: bytes) -> SegmentObject:
    """An object of the dead letter, on one line.

    Raises:
        ValueError: when Segment takes no such object.
    """
    compact = msgspec.json.format(text, indent=-1)
    made = msgspec.json.decode(compact, type=_Object)
    properties = bytes(msgspec.json.decode(compact, type=_Line).properties)
    whole = SegmentObject(made.collection, made.id, properties)
    if not (
        0 < len(made.id) <= MAX_ID_LENGTH
        and made.collection
        and made.properties
        and len(whole.line_bytes()) <= MAX_OBJECT_BYTES
    ):
        raise ValueError(made.id)
    return whole


def _object_of_record(collection: str, record: bytes) -> bytes:
    """The object of a line that an older version has written: its id is the first property."""
    pairs: list[tuple[str, Any]] = json.JSONDecoder(
        object_pairs_hook=list, parse_float=_token, parse_int=_token
    ).decode(record.decode())
    (name, identifier), *properties = pairs
    if name != "id":
        raise LookupError(name)
    return _encode({"id": identifier, "collection": collection, "properties": dict(properties)})


def _token(digits: str) -> msgspec.Raw:
    return msgspec.Raw(digits)


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


class _Messages:
    """The entries as a tap would write them, to be read like a file.

    Attributes:
        entry_at: which entry each line of this input is.
        number_of: the line of each object.
    """

    def __init__(self, entries: list[_Entry]) -> None:
        self.entry_at: dict[int, _Entry] = {}
        self.number_of: dict[bytes, int] = {}
        self._lines = self._write(entries)

    def read(self, _size: int = -1) -> bytes:
        """The next message; nothing when there are no more."""
        return next(self._lines, b"")

    def _write(self, entries: list[_Entry]) -> Iterator[bytes]:
        number = 0
        known: dict[str, tuple[bytes, list[str] | None]] = {}
        for entry in entries:
            reject = entry.reject
            if entry.object is not None:
                number += 1
                self.entry_at[number] = entry
                self.number_of[entry.object.line_bytes()] = number
                yield b'{"type":"OBJECT"}\n'
                continue
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
            yield (
                b'{"type":"RECORD","stream":%b,"record":%b,"time_extracted":%b,"version":%b}\n'
                % (
                    stream,
                    record,
                    _encode(reject.time_extracted),
                    _encode(reject.version),
                )
            )
