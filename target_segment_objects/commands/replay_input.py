"""The rejects of a dead letter as a tap would write them: what a replay gives to the target.

The rule that it guards: of each message it is known which reject it was, and by bulk of each object
which message, for some 16 and 300 bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from target_segment_objects.commands.reject_lines import Line, object_digest, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_segment_objects.commands.reject_lines import Reject, RejectLines, SchemaLine
    from target_segment_objects.input import Message
    from target_segment_objects.objects import SegmentObject

__all__ = ["ReplayInput"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_decode_span = msgspec.json.Decoder(tuple[int, int]).decode


class ReplayInput:
    """The rejects as a tap would write them, to be read like a file.

    Attributes:
        lines: of the dead letter.
    """

    def __init__(self, lines: RejectLines) -> None:
        self.lines = lines
        self._count = 0
        self._messages = array("Q")
        self._numbers = array("Q")
        self._objects: dict[bytes, list[int]] = {}
        self._unverified = self._write()

    def read(self, _size: int = -1) -> bytes:
        """The next message; nothing when there are no more."""
        return next(self._unverified, b"")

    def rejects(self) -> Iterator[tuple[int, Reject]]:
        """Each reject once more, with the line of this input that it was."""
        return zip(self._messages, self.lines, strict=True)

    def line_of(self, message: int) -> int:
        """The line of the dead letter that a line of this input comes from."""
        index = bisect_left(self._messages, message)  # a SCHEMA comes before its record
        return self._numbers[min(index, len(self._numbers) - 1)]

    def object_of(self, message: Message) -> SegmentObject:
        """The object that a message stands for."""
        return self.lines.object(*_decode_span(message.value))  # type: ignore[arg-type]

    def remember(self, line: bytes, message: int) -> None:
        """An object's line goes into a session, which will not know where it came from."""
        self._objects.setdefault(object_digest(line), []).append(message)

    def message_of(self, line: bytes) -> int:
        """Which line of this input an object came from; of equal objects, one after the other.

        Raises:
            KeyError: for an object that was not remembered.
        """
        found = self._objects[object_digest(line)]
        return found.pop(0) if len(found) > 1 else found[0]

    def _write(self) -> Iterator[bytes]:
        known: dict[str, bytes] = {}
        for reject in self.lines:
            line = reject.line
            if reject.schema is not None and known.get(line.stream) != reject.schema.digest:
                known[line.stream] = reject.schema.digest
                yield self._message("SCHEMA", self._schema(reject.schema))
            if reject.object is not None:
                fields = {"value": (reject.start, len(reject.text))}
                message = self._message("OBJECT", fields)
            else:
                message = self._message("RECORD", _record_fields(line))
            self._messages.append(self._count)
            self._numbers.append(reject.number)
            yield message

    def _schema(self, where: SchemaLine) -> dict[str, object]:
        line = _decode(self.lines.schema(where))
        return {
            "stream": line.stream,
            "schema": line.schema,
            "key_properties": line.key_properties,
        }

    def _message(self, kind: str, fields: Mapping[str, object]) -> bytes:
        self._count += 1
        return _encode({"type": kind, **fields}) + b"\n"


def _record_fields(line: Line) -> dict[str, object]:
    beside = {"time_extracted": line.time_extracted, "version": line.version}
    return {
        "stream": line.stream,
        "record": msgspec.Raw(record_of(line)),
        **{name: value for name, value in beside.items() if value is not None},
    }
