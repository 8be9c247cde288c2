"""The rejects of a dead letter as Singer messages: the input of the target in a replay.

Invariant: each message can be traced back to its reject by its line; by bulk each object can be
traced back to its message, which takes about 300 bytes of memory.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from target_segment_objects.commands.replay.reject_lines import DeadLetterLine, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.commands.replay.reject_lines import Reject, RejectLines, Span

__all__ = ["ReplayInput"]

_DIGEST_BYTES: Final = 16
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetterLine).decode


class ReplayInput:
    """The rejects as Singer messages, read like a file.

    The message of the first reject is line 2, that of the second line 4, and so on. The line before
    it has the SCHEMA if the stream needs another one, and is blank otherwise.

    Attributes:
        rejects: the rejects of the dead letter.
        current: the reject that was read last. The target handles it before it reads the next one.
    """

    current: Reject

    def __init__(self, rejects: RejectLines) -> None:
        self.rejects = rejects
        self._messages_of: dict[bytes, list[int]] = {}
        self._output = self._write()

    def read(self, _size: int = -1) -> bytes:
        """The lines of the next reject; empty at the end."""
        return next(self._output, b"")

    def remember(self, line: bytes, message: int) -> None:
        """Keep which message an object's line was made from: a bulk session does not know."""
        self._messages_of.setdefault(_digest(line), []).append(message)

    def message_of(self, line: bytes) -> int:
        """The line of the message that an object was made from; for equal objects, in order.

        Raises:
            KeyError: for an object that was not remembered.
        """
        messages = self._messages_of[_digest(line)]
        return messages.pop(0) if len(messages) > 1 else messages[0]

    def _write(self) -> Iterator[bytes]:
        schemas: dict[str, Span] = {}
        for reject in self.rejects:
            self.current = reject
            stream, schema = reject.line.stream, b""
            if reject.schema is not None and schemas.get(stream) != reject.schema:
                schemas[stream] = reject.schema
                schema = _schema_message(_decode(self.rejects.text_at(reject.schema)))
            message = b'{"type":"OBJECT"}' if reject.object else _record_message(reject.line)
            yield b"%b\n%b\n" % (schema, message)


def _schema_message(line: DeadLetterLine) -> bytes:
    return _encode(
        {
            "type": "SCHEMA",
            "stream": line.stream,
            "schema": line.schema,
            "key_properties": line.key_properties,
        }
    )


def _record_message(line: DeadLetterLine) -> bytes:
    optional = {"time_extracted": line.time_extracted, "version": line.version}
    return _encode(
        {
            "type": "RECORD",
            "stream": line.stream,
            "record": msgspec.Raw(record_of(line)),
            **{name: value for name, value in optional.items() if value is not None},
        }
    )


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=_DIGEST_BYTES).digest()
