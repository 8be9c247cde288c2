"""What a replay leaves: a dead letter of its own, with the schemas that its records refer to."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.commands.reject_lines import SchemaLine
    from target_segment_objects.commands.replay_input import ReplayInput

__all__ = ["Replayed", "write_rest"]


class _RefusedLine(msgspec.Struct):
    stage: str
    line: int = 0
    object: msgspec.Raw = msgspec.Raw()


_encode = msgspec.json.Encoder().encode
_decode_refused = msgspec.json.Decoder(_RefusedLine).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True)
class Replayed:
    """What a replay came to.

    Attributes:
        sent: rejects that were delivered.
        refused: rejects that stand in the dead letter again, with their new faults.
        filtered: those that `stream_maps` leave out, which stand there as they were.
    """

    sent: int
    refused: int
    filtered: int = 0

    def __str__(self) -> str:
        kept = [
            told
            for count, told in (
                (self.refused, f"{self.refused} rejected again"),
                (self.filtered, f"{self.filtered} left out by `stream_maps`"),
            )
            if count
        ]
        if not self.sent and not kept:
            return "The dead letter holds no rejects. Nothing was sent."
        rest = f" ({', '.join(kept)})" if kept else ""
        left = f"Left in the file: {self.refused + self.filtered}{rest}"
        return f"Rejects sent: {self.sent}. {left}."


def write_rest(rest: Path, refused: Path, messages: ReplayInput, unsent: list[int]) -> Replayed:
    """Write what was not delivered as a dead letter of its own, and make sure it is on the disk.

    A reject stands there as it was, one that was refused again with its new faults. The line of a
    schema stands before the first record that refers to it.

    Args:
        rest: the new file.
        refused: the target's own dead letter.
        messages: what it was given.
        unsent: the messages that stream maps have filtered out.

    Raises:
        OSError: when a file cannot be written or read.
        InputError: when the old dead letter cannot be read.
    """
    filtered = set(unsent)
    count = 0
    standing: dict[tuple[str, int], SchemaLine] = {}
    descriptor = os.open(rest, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file, _opened(refused) as written:
        again = _Refused(written, messages)
        for message, reject in messages.rejects():
            count += 1
            if message not in again.places and message not in filtered:
                continue
            schema = reject.schema
            if schema is not None and standing.get(schema.reference) != schema:
                standing[schema.reference] = schema
                file.write(messages.lines.schema(schema) + b"\n")
            line = reject.text
            if message in again.places:
                faults = again.at(again.places[message])["faults"]
                line = _encode({**_decode_fields(line), "faults": faults})
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    left_out = len(filtered - again.places.keys())
    return Replayed(count - len(again.places) - left_out, len(again.places), left_out)


class _Refused:
    """What was rejected again, in the target's own dead letter.

    Attributes:
        places: where the line of a message begins.
    """

    def __init__(self, file: BinaryIO, messages: ReplayInput) -> None:
        self._file = file
        self.places: dict[int, int] = {}
        start = 0
        for text in file:
            line = _decode_refused(text)
            if line.stage != "schema":
                self.places[line.line or messages.message_of(bytes(line.object))] = start
            start += len(text)

    def at(self, place: int) -> dict[str, msgspec.Raw]:
        """The fields of the line that begins there."""
        self._file.seek(place)
        return _decode_fields(self._file.readline())


def _opened(path: Path) -> BinaryIO:
    return path.open("rb") if path.exists() else io.BytesIO()
