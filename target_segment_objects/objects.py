"""The wire's nouns and the API's limits, each with its source.

Sources: [doc] is Segment's published documentation, [client] a client that Segment published.
A size counts encoded bytes: what goes over the wire, not what Python holds.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "MAX_COLLECTION_LENGTH",
    "MAX_ID_LENGTH",
    "MAX_OBJECTS_PER_CALL",
    "MAX_OBJECT_BYTES",
    "MAX_PART_BYTES",
    "MAX_PROPERTIES",
    "MAX_REQUESTS_AT_ONCE",
    "MAX_VALUE_BYTES",
    "SESSION_SECONDS",
    "WAREHOUSE_STRING_LENGTH",
    "ObjectLine",
    "SegmentObject",
    "object_lines",
]

MAX_OBJECTS_PER_CALL = 10
"""Objects in one `set` call [doc]; what happens above is not known, so never above."""

MAX_COLLECTION_LENGTH = 100
"""Characters of a collection's name [doc]."""

MAX_ID_LENGTH = 100
"""Characters of an object's id [doc]."""

MAX_VALUE_BYTES = 32 * 1024
"""A value is smaller than this [doc "less than 32 KB", client `32 << 10`]; UTF-8 bytes."""

MAX_OBJECT_BYTES = 400 * 1024
"""An object, as its line in a part, is at most this [doc "400 KB", read as KB of 1024]."""

MAX_PART_BYTES = 512_000_000
"""Uncompressed bytes of a part are at most this [doc "512 MB", read as MB of 10^6: safe]."""

MAX_REQUESTS_AT_ONCE = 20
"""Requests in flight per write key and per address [doc, for the bulk API]."""

SESSION_SECONDS = 600
"""A bulk session times out this long after its last call [doc]."""

MAX_PROPERTIES = 500
"""Properties in a collection beyond which warehouses make trouble: worth one warning [doc]."""

WAREHOUSE_STRING_LENGTH = 512
"""Characters at which most warehouses cut a string [doc]."""


class SegmentObject(msgspec.Struct, frozen=True):
    """One object, its properties already encoded, so that they are encoded once.

    Attributes:
        collection: the table it becomes a row of.
        id: 1 to 100 characters, unique in the collection.
        properties: a JSON object of scalars, UTF-8, without line breaks.
    """

    collection: str
    id: str
    properties: bytes

    def call_bytes(self) -> bytes:
        """The object as an element of a `set` call's `objects`."""
        return b'{"id":%b,"properties":%b}' % (_text(self.id), self.properties)

    def line_bytes(self) -> bytes:
        """The object as a line of a bulk part, without the line break."""
        return b'{"id":%b,"collection":%b,"properties":%b}' % (
            _text(self.id),
            _text(self.collection),
            self.properties,
        )


_text = msgspec.json.Encoder().encode


class ObjectLine(msgspec.Struct, gc=False):
    """An object whose properties are encoded with it, as `SegmentObject.line_bytes` has it.

    Attributes:
        id, collection: as a `SegmentObject` has them.
        properties: what encodes as a JSON object of scalars.
    """

    id: str
    collection: str
    properties: Any

    @classmethod
    def from_object(cls, obj: SegmentObject) -> ObjectLine:
        """An object whose properties are encoded already."""
        return cls(obj.id, obj.collection, msgspec.Raw(obj.properties))

    def encoded(self) -> SegmentObject:
        """The same object with encoded properties."""
        return SegmentObject(self.collection, self.id, _text(self.properties))


object_lines = msgspec.json.Encoder().encode_lines
"""The bytes of `ObjectLine`s as they stand in a part: a line each, ended by its break."""
