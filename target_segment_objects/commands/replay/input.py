"""The rejects of a dead letter as Singer messages: the input of the target in a replay.

Invariant: each message can be traced back to its reject, which takes about 16 bytes of memory; by
bulk each object can be traced back to its message, which takes about 300.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from target_segment_objects.commands.replay.reject_lines import (
    DeadLetterLine,
    object_digest,
    record_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_segment_objects.commands.replay.reject_lines import Reject, RejectLines, SchemaLine
    from target_segment_objects.input import Message
    from target_segment_objects.objects import SegmentObject

__all__ = ["ReplayInput"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetterLine).decode
_decode_span = msgspec.json.Decoder(tuple[int, int]).decode


class ReplayInput:
    """The rejects as Singer messages, read like a file.

    Attributes:
        lines: the lines of the dead letter.
    """

    def __init__(self, lines: RejectLines) -> None:
        self.lines = lines
        self._count = 0
        self._messages = array("Q")
        self._reject_lines = array("Q")
        self._messages_of: dict[bytes, list[int]] = {}
        self._output = self._write()

    def read(self, _size: int = -1) -> bytes:
        """The next message; empty at the end."""
        return next(self._output, b"")

    def rejects(self) -> Iterator[tuple[int, Reject]]:
        """All rejects again, each with its line in this input."""
        return zip(self._messages, self.lines, strict=True)

    def line_of(self, message: int) -> int:
        """The line of the dead letter that a line of this input was made from."""
        index = bisect_left(self._messages, message)  # a SCHEMA comes before its record
        return self._reject_lines[min(index, len(self._reject_lines) - 1)]

    def object_of(self, message: Message) -> SegmentObject:
        """The object that a message refers to."""
        return self.lines.object(*_decode_span(message.value))  # type: ignore[arg-type]

    def remember(self, line: bytes, message: int) -> None:
        """Keep which message an object's line was made from: a bulk session does not know."""
        self._messages_of.setdefault(object_digest(line), []).append(message)

    def message_of(self, line: bytes) -> int:
        """The line of this input that an object was made from; for equal objects, in order.

        Raises:
            KeyError: for an object that was not remembered.
        """
        messages = self._messages_of[object_digest(line)]
        return messages.pop(0) if len(messages) > 1 else messages[0]

    def _write(self) -> Iterator[bytes]:
        schemas: dict[str, SchemaLine] = {}
        for reject in self.lines:
            line = reject.line
            if reject.schema is not None and schemas.get(line.stream) != reject.schema:
                schemas[line.stream] = reject.schema
                yield self._message("SCHEMA", self._schema(reject.schema))
            if reject.object is not None:
                fields = {"value": (reject.start, len(reject.text))}
                message = self._message("OBJECT", fields)
            else:
                message = self._message("RECORD", _record_fields(line))
            self._messages.append(self._count)
            self._reject_lines.append(reject.number)
            yield message

    def _schema(self, schema: SchemaLine) -> dict[str, object]:
        line = _decode(self.lines.schema(schema))
        return {
            "stream": line.stream,
            "schema": line.schema,
            "key_properties": line.key_properties,
        }

    def _message(self, kind: str, fields: Mapping[str, object]) -> bytes:
        self._count += 1
        return _encode({"type": kind, **fields}) + b"\n"


def _record_fields(line: DeadLetterLine) -> dict[str, object]:
    optional = {"time_extracted": line.time_extracted, "version": line.version}
    return {
        "stream": line.stream,
        "record": msgspec.Raw(record_of(line)),
        **{name: value for name, value in optional.items() if value is not None},
    }
