"""A dead letter, read: its rejects one after the other, each with the schema that it refers to.

The rule that it guards: a large file takes little memory. One line is held at a time, and of each
schema where it stands in the file, some 300 bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from target_segment_objects.errors import InputError
from target_segment_objects.objects import MAX_ID_LENGTH, MAX_OBJECT_BYTES, SegmentObject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["Line", "Reject", "RejectLines", "SchemaLine", "object_digest", "record_of"]

Reference = tuple[str, int]
"""A schema's run and its number in it: lines of several runs stand in one file, mixed."""


class SchemaLine(NamedTuple):
    """Where a schema stands in the file.

    Attributes:
        reference: what the lines of its records call it.
        stream: whose it is.
        start, length: its line.
        digest: of its stream, keys and schema: runs that had the same have the same digest.
    """

    reference: Reference
    stream: str
    start: int
    length: int
    digest: bytes


class Line(msgspec.Struct):
    """A line of a dead letter: see `rejects.DeadLetter`."""

    time: datetime
    run_id: str = ""
    stage: Literal["record", "schema", "object"] = "record"
    schema_id: int = 0
    stream: str = ""
    schema: msgspec.Raw = msgspec.Raw()
    key_properties: list[str] | None = None
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw: str | None = None
    time_extracted: str | None = None
    version: int | None = None
    object: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Reject(NamedTuple):
    """A reject of the file.

    Attributes:
        number: its line in the file, from 1.
        start: where the line begins.
        text: the line, without its break.
        line: the line, read.
        schema: of a record.
        object: of what is no record.
    """

    number: int
    start: int
    text: bytes
    line: Line
    schema: SchemaLine | None
    object: SegmentObject | None


class _Object(msgspec.Struct):
    id: str
    collection: str
    properties: dict[str, str | int | float | bool | None]


class _ObjectLine(msgspec.Struct):
    properties: msgspec.Raw


_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode
_DIGEST_BYTES: Final = 16


class RejectLines:
    """The lines of a dead letter.

    Args:
        file: it, open to be read. Nobody else reads it at the same time.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> Iterator[Reject]:
        """The rejects in their order, from the first one.

        Lines end with a line feed alone: a record may hold other breaks between its tokens. A
        schema holds from its line on, until another line of the same reference.

        Raises:
            InputError: a line is none, or refers to a schema that no line before it holds.
        """
        schemas: dict[Reference, SchemaLine] = {}
        for number, start, text in self._lines():
            line, made = _read(text, number)
            reference = (line.run_id, line.schema_id)
            if line.stage == "schema":
                digest = _digest(_encode((line.stream, line.key_properties)) + bytes(line.schema))
                schemas[reference] = SchemaLine(reference, line.stream, start, len(text), digest)
                continue
            schema = schemas.get(reference) if made is None else None
            if made is None and (schema is None or schema.stream != line.stream):
                raise InputError(
                    f"line {number} of the dead letter refers to schema {line.schema_id} of run "
                    f"{line.run_id!r} for stream {line.stream!r}, which no line before it holds: "
                    "put that line back, or take this one out and let the tap send its record again"
                )
            yield Reject(number, start, text, line, schema, made)

    def schema(self, where: SchemaLine) -> bytes:
        """The line of a schema.

        Raises:
            InputError: the file cannot be read.
        """
        return self._at(where.start, where.length)

    def object(self, start: int, length: int) -> SegmentObject:
        """The object of a line that is known to hold one.

        Raises:
            InputError: the file cannot be read.
        """
        return _object(bytes(_decode(self._at(start, length)).object))  # type: ignore[arg-type]

    def _at(self, start: int, length: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), length, start)
        except OSError as error:
            raise _unreadable(error) from error

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Each line that is not blank: its number, where it begins, and its text."""
        end = 0
        try:
            self._file.seek(0)
            for number, line in enumerate(self._file, 1):
                start, end = end, end + len(line)
                if line.strip():
                    yield number, start, line.removesuffix(b"\n")
        except OSError as error:
            raise _unreadable(error) from error


def record_of(line: Line) -> bytes:
    """The record, as the tap wrote it.

    Raises:
        ValueError: when there is none.
    """
    if isinstance(line.record, msgspec.Raw):
        return bytes(line.record)
    if line.raw is None:
        raise ValueError(line.stage)
    return base64.b64decode(line.raw, validate=True)


def object_digest(line: bytes) -> bytes:
    """What an object's line is known by again."""
    return _digest(line)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()


def _unreadable(error: OSError) -> InputError:
    return InputError(f"the dead letter cannot be read to its end: {error.strerror or error}")


def _read(text: bytes, number: int) -> tuple[Line, SegmentObject | None]:
    made, whole = None, False
    try:
        line = _decode(text)
        if line.stage == "schema":
            whole = bool(line.stream) and bytes(line.schema).startswith(b"{")
        elif isinstance(line.object, msgspec.Raw):
            made = _object(bytes(line.object))
            whole = True
        else:
            whole = bool(line.stream) and b"\n" not in record_of(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        whole = False
    if not whole:
        raise InputError(
            f"line {number} of the dead letter is not one that a run has written: a record has "
            "`time`, `run_id`, `schema_id`, `stream` and `record` (or `raw`), a schema the first "
            "four and `schema`, an object `time` and an `object` with `id`, `collection` and "
            "`properties` that Segment takes; correct it, or delete it if a full disk or a kill "
            "has cut it off, since no state covers what was cut off"
        )
    if line.time.tzinfo is None:
        line.time = line.time.replace(tzinfo=timezone.utc)
    return line, made


def _object(text: bytes) -> SegmentObject:
    """An object of the dead letter, on one line.

    Raises:
        ValueError: when Segment takes no such object.
    """
    compact = msgspec.json.format(text, indent=-1)
    made = msgspec.json.decode(compact, type=_Object)
    properties = bytes(msgspec.json.decode(compact, type=_ObjectLine).properties)
    whole = SegmentObject(made.collection, made.id, properties)
    if not (
        0 < len(made.id) <= MAX_ID_LENGTH
        and made.collection
        and made.properties
        and len(whole.line_bytes()) <= MAX_OBJECT_BYTES
    ):
        raise ValueError(made.id)
    return whole
