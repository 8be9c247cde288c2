"""Reads the rejects of a dead letter in order, each with the schema that it refers to.

Invariant: a large file takes little memory. One line is held at a time, and for each schema its
position in the file, some 300 bytes.
"""

from __future__ import annotations

import base64
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec

from target_segment_objects.errors import InputError
from target_segment_objects.objects import API_LIMITS, SegmentObject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["DeadLetterLine", "Reject", "RejectLines", "Span", "record_of"]


class Span(NamedTuple):
    """The position of a line in the file and its length, in bytes."""

    start: int
    length: int


class DeadLetterLine(msgspec.Struct):
    """A line of a dead letter: see `delivery.DeadLetter`."""

    time: datetime
    run_id: str = ""
    stage: Literal["record", "schema", "object"] = "record"
    schema_id: int = 0
    stream: str = ""
    schema: msgspec.Raw = msgspec.Raw()
    key_properties: list[str] | None = None
    record: msgspec.Raw = msgspec.Raw()
    raw: str | None = None
    time_extracted: str | None = None
    version: int | None = None
    object: msgspec.Raw = msgspec.Raw()


class Reject(NamedTuple):
    """A reject of the file.

    Attributes:
        number: its line number in the file, from 1.
        text: the line, without its line break.
        line: the line, decoded.
        schema: the position of the schema of a record; `None` for an object.
        object: the object; `None` for a record.
    """

    number: int
    text: bytes
    line: DeadLetterLine
    schema: Span | None
    object: SegmentObject | None


class _Object(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=API_LIMITS.id_characters)]
    collection: Annotated[str, msgspec.Meta(min_length=1)]
    properties: msgspec.Raw


_Properties = Annotated[dict[str, str | int | float | bool | None], msgspec.Meta(min_length=1)]


_decode = msgspec.json.Decoder(DeadLetterLine).decode


class RejectLines:
    """The lines of a dead letter.

    Args:
        file: the dead letter, open for reading. Nothing else moves its position meanwhile.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> Iterator[Reject]:
        """The rejects in order, from the first one.

        Only a line feed ends a line: a record may contain other line breaks between its tokens. A
        schema applies from its line on, until another line with the same reference.

        Raises:
            InputError: a line is not valid, or refers to a schema that no earlier line contains.
        """
        # By run and number: a file may hold lines of several runs, interleaved.
        schemas: dict[tuple[str, int], tuple[str, Span]] = {}
        for number, span, text in self._lines():
            line, segment_object = _read(text, number)
            if line.stage == "schema":
                schemas[line.run_id, line.schema_id] = line.stream, span
                continue
            schema = None
            if segment_object is None:
                stream, schema = schemas.get((line.run_id, line.schema_id), ("", None))
                if stream != line.stream:
                    raise InputError(
                        f"line {number} of the dead letter refers to schema {line.schema_id} of "
                        f"run {line.run_id!r} for stream {line.stream!r}, which no earlier line "
                        "contains: put that line back, or delete this one and let the tap send its "
                        "record again"
                    )
            yield Reject(number, text, line, schema, segment_object)

    def text_at(self, span: Span) -> bytes:
        """The text of a line.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            return os.pread(self._file.fileno(), span.length, span.start)
        except OSError as error:
            raise _unreadable(error) from error

    def _lines(self) -> Iterator[tuple[int, Span, bytes]]:
        """Each line that is not blank: its number, its position, and its text."""
        end = 0
        try:
            self._file.seek(0)
            for number, line in enumerate(self._file, 1):
                start, end = end, end + len(line)
                if line.strip():
                    text = line.removesuffix(b"\n")
                    yield number, Span(start, len(text)), text
        except OSError as error:
            raise _unreadable(error) from error


def record_of(line: DeadLetterLine) -> bytes:
    """The record, as the tap wrote it.

    Raises:
        ValueError: the line holds no record.
    """
    if record := bytes(line.record):
        return record
    if line.raw is None:
        raise ValueError(line.stage)
    return base64.b64decode(line.raw, validate=True)


def _unreadable(error: OSError) -> InputError:
    return InputError(f"the dead letter cannot be read to the end: {error.strerror or error}")


def _read(text: bytes, number: int) -> tuple[DeadLetterLine, SegmentObject | None]:
    segment_object = None
    try:
        line = _decode(text)
        if line.stage == "schema":
            is_valid = bool(line.stream) and bytes(line.schema).startswith(b"{")
        elif object_text := bytes(line.object):
            segment_object = _object(object_text)
            is_valid = True
        else:
            is_valid = bool(line.stream) and b"\n" not in record_of(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        is_valid = False
    if not is_valid:
        raise InputError(
            f"line {number} of the dead letter is not a line that a run writes: a record has "
            "`time`, `run_id`, `schema_id`, `stream` and `record` (or `raw`), a schema has the "
            "first four and `schema`, an object has `time` and an `object` with `id`, `collection` "
            "and `properties` that Segment accepts; correct it, or delete it if a full disk or a "
            "kill has cut it off, since no state covers what was cut off"
        )
    if line.time.tzinfo is None:
        line.time = line.time.replace(tzinfo=timezone.utc)
    return line, segment_object


def _object(text: bytes) -> SegmentObject:
    """An object of the dead letter, on one line.

    Raises:
        ValueError: Segment does not accept such an object.
    """
    compact = msgspec.json.format(text, indent=-1)
    fields = msgspec.json.decode(compact, type=_Object)
    msgspec.json.decode(fields.properties, type=_Properties)
    segment_object = SegmentObject(fields.collection, fields.id, bytes(fields.properties))
    if len(segment_object.line_bytes()) > API_LIMITS.object_bytes:
        raise ValueError(fields.id)
    return segment_object
