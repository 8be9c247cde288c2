"""What a SCHEMA message says, checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from target_segment_objects.errors import MessageError
from target_segment_objects.source import SourceStream

if TYPE_CHECKING:
    from target_segment_objects.input import Message

__all__ = ["parse_schema", "source_stream", "stream_name"]


def stream_name(message: Message) -> str:
    """Return the name of a message's stream.

    Raises:
        MessageError: it has none.
    """
    if not isinstance(message.stream, str):
        raise MessageError(f"a {message.type} without a `stream`", line=message.line)
    return message.stream


def source_stream(message: Message) -> SourceStream:
    """Return the stream of a SCHEMA message; its schema is not parsed yet.

    Raises:
        MessageError: a part of it is missing or wrong.
    """
    stream, keys = stream_name(message), message.key_properties
    if not isinstance(message.schema, msgspec.Raw):
        raise MessageError(f"the SCHEMA of stream {stream!r} has no `schema`", line=message.line)
    if not _is_unicode(stream):
        raise MessageError(
            "a SCHEMA whose `stream` contains a lone surrogate or bytes that are not UTF-8",
            line=message.line,
        )
    if keys is not None and not (isinstance(keys, list) and all(map(_is_unicode, keys))):
        raise MessageError(
            f"the SCHEMA of stream {stream!r} has `key_properties` that are not a list of names",
            line=message.line,
        )
    return SourceStream(stream, bytes(message.schema), keys)


def parse_schema(source: SourceStream, line: int) -> dict[str, Any]:
    """Return the JSON Schema of a stream.

    Raises:
        MessageError: it is not a JSON object.
    """
    try:
        schema = json.loads(source.schema)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        raise MessageError(
            f"the SCHEMA of stream {source.stream!r} is not a JSON object", line=line
        )
    return schema


def _is_unicode(name: Any) -> bool:
    """Whether it is a name that can be written as UTF-8, for example into the dead letter."""
    try:
        return isinstance(name, str) and name.encode() is not None
    except UnicodeEncodeError:
        return False
