"""Where an object comes from: its record as the tap wrote it, to be told or sent again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["Origin", "Source"]


@dataclass(frozen=True)
class Source:
    """What a stream's SCHEMA said, before stream maps.

    Attributes:
        stream: its name.
        schema: its JSON Schema, as the tap wrote it.
        key_properties: as the tap wrote them.
        is_object: whether it is no stream of the tap's but a collection, and its "record" an
            object's line: by bulk the tap's own record is not kept until Segment refuses it.
    """

    stream: str
    schema: bytes
    key_properties: list[str] | None
    is_object: bool = False


class Origin(msgspec.Struct, frozen=True):
    """Where an object comes from: one record, as the tap wrote it.

    Attributes:
        source: what its stream's SCHEMA said.
        text: the record, or the whole line that it stands in.
        line: the line's number, from 1.
        is_message: whether `text` is the line: few records are ever looked at again.
        time_extracted, version: what the message said beside the record, where `text` is the
            record: `add_record_metadata` sends it.
    """

    source: Source
    text: bytes
    line: int
    is_message: bool = False
    time_extracted: Any = None
    version: Any = None

    @property
    def raw(self) -> bytes:
        """The record."""
        return bytes(_decode(self.text).record) if self.is_message else self.text

    @property
    def beside(self) -> tuple[Any, Any]:
        """The message's `time_extracted` and `version`."""
        if self.is_message:
            message = _decode(self.text)
            return message.time_extracted, message.version
        return self.time_extracted, self.version


class _Message(msgspec.Struct):
    record: msgspec.Raw
    time_extracted: Any = None
    version: Any = None


_decode = msgspec.json.Decoder(_Message).decode
