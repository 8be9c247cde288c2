"""The objects that are sent and the limits of the API, each with its source.

Sources: [doc] is Segment's published documentation, [client] a client that Segment published. A
size counts encoded bytes: what goes over the wire, not what Python holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

__all__ = [
    "API_LIMITS",
    "WAREHOUSE_STRING_LENGTH",
    "ApiLimits",
    "ObjectLine",
    "SegmentObject",
    "object_lines",
]

WAREHOUSE_STRING_LENGTH: Final = 512
"""Characters at which most warehouses cut a string [doc]."""


@dataclass(frozen=True)
class ApiLimits:
    """What Segment takes at most. The defaults are its documented limits.

    Attributes:
        objects_per_call: objects in one `set` call [doc]; what happens above is not known.
        collection_characters: length of a collection's name [doc].
        id_characters: length of an object's id [doc].
        value_bytes: a value has fewer bytes of UTF-8 [doc "less than 32 KB", client `32 << 10`].
            Not below `4 * WAREHOUSE_STRING_LENGTH`: shorter strings are not measured.
        object_bytes: an object, as its line in a part [doc "400 KB", read as KB of 1024].
        part_bytes: a part before compression [doc "512 MB", read as MB of 10^6, which is safe].
        concurrent_requests: requests in flight per write key and per address [doc, bulk API].
        session_seconds: a bulk session times out this long after its last call [doc].
        properties: properties of a collection above which warehouses have problems; it is warned of
            once [doc].
    """

    objects_per_call: int = 10
    collection_characters: int = 100
    id_characters: int = 100
    value_bytes: int = 32 * 1024
    object_bytes: int = 400 * 1024
    part_bytes: int = 512_000_000
    concurrent_requests: int = 20
    session_seconds: int = 600
    properties: int = 500


API_LIMITS: Final = ApiLimits()
"""Segment's documented limits."""


class SegmentObject(msgspec.Struct, frozen=True):
    """One object whose properties are already encoded.

    Attributes:
        collection: the table in which it becomes a row.
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
    """An object whose properties are not encoded yet. It encodes as `SegmentObject.line_bytes`.

    Attributes:
        id, collection: as in `SegmentObject`.
        properties: a value that encodes as a JSON object of scalars.
    """

    id: str
    collection: str
    properties: Any

    @classmethod
    def from_object(cls, obj: SegmentObject) -> ObjectLine:
        """Wrap an object whose properties are encoded already."""
        return cls(obj.id, obj.collection, msgspec.Raw(obj.properties))

    def encoded(self) -> SegmentObject:
        """The same object with encoded properties."""
        return SegmentObject(self.collection, self.id, _text(self.properties))


object_lines = msgspec.json.Encoder().encode_lines
"""Encodes `ObjectLine`s as lines of a part, each ended by a line break."""
