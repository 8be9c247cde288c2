"""Where an object comes from: its record as the tap wrote it, kept for the dead letter."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

__all__ = ["SourceRecord", "SourceStream"]


@dataclass(frozen=True)
class SourceStream:
    """What a stream's SCHEMA said, before stream maps.

    Attributes:
        stream: its name.
        schema: its JSON Schema, as the tap wrote it.
        key_properties: as the tap wrote them.
        is_object: whether `stream` is the name of a collection, and the "record" is the line of
            an object: by bulk, the tap's own record is not kept until Segment refuses it.
    """

    stream: str
    schema: bytes
    key_properties: list[str] | None
    is_object: bool = False

    @cached_property
    def digest(self) -> bytes:
        """A hash of what the SCHEMA said."""
        head = msgspec.json.encode((self.stream, self.key_properties))
        return hashlib.blake2b(head + self.schema, digest_size=16).digest()


class SourceRecord(msgspec.Struct, frozen=True):
    """Where an object comes from: one record, as the tap wrote it.

    Attributes:
        source: what its stream's SCHEMA said.
        content: the record, or the whole line that it is in.
        line: the line's number, from 1.
        holds_whole_message: whether `content` is the line. It is parsed only when it is needed,
            which is rare.
        time_extracted, version: these fields of the message, where `content` is the record;
            `add_record_metadata` sends them.
    """

    source: SourceStream
    content: bytes
    line: int
    holds_whole_message: bool = False
    time_extracted: Any = None
    version: Any = None

    @property
    def raw(self) -> bytes:
        """The record."""
        return bytes(_decode(self.content).record) if self.holds_whole_message else self.content

    @property
    def message_fields(self) -> tuple[Any, Any]:
        """The message's `time_extracted` and `version`."""
        if self.holds_whole_message:
            message = _decode(self.content)
            return message.time_extracted, message.version
        return self.time_extracted, self.version


class _Message(msgspec.Struct):
    record: msgspec.Raw
    time_extracted: Any = None
    version: Any = None


_decode = msgspec.json.Decoder(_Message).decode
