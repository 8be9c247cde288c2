"""Writes what a replay did not deliver: a new dead letter, with the schemas of its records."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.commands.replay.input import ReplayInput
    from target_segment_objects.commands.replay.reject_lines import SchemaLine

__all__ = ["ReplayResult", "write_remaining"]


class _RejectLine(msgspec.Struct):
    stage: str
    line: int = 0
    object: msgspec.Raw = msgspec.Raw()


_encode = msgspec.json.Encoder().encode
_decode_reject = msgspec.json.Decoder(_RejectLine).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay, in numbers of rejects.

    Attributes:
        sent: rejects that were delivered.
        refused: rejects that were rejected again; they are in the dead letter with the new faults.
        filtered: rejects that `stream_maps` filter out; they are in the dead letter unchanged.
    """

    sent: int
    refused: int
    filtered: int = 0

    def __str__(self) -> str:
        reasons = []
        if self.refused:
            reasons.append(f"{self.refused} rejected again")
        if self.filtered:
            reasons.append(f"{self.filtered} filtered out by `stream_maps`")
        if not self.sent and not reasons:
            return "The dead letter holds no rejects. Nothing was sent."
        remaining = f" ({', '.join(reasons)})" if reasons else ""
        left = f"Left in the file: {self.refused + self.filtered}{remaining}"
        return f"Rejects sent: {self.sent}. {left}."


def write_remaining(
    path: Path, rejected_path: Path, messages: ReplayInput, unsent: list[int]
) -> ReplayResult:
    """Write the rejects that were not delivered to a new dead letter, and sync it to the disk.

    A reject is written unchanged, or with its new faults if it was rejected again. A schema is
    written before the first record that refers to it.

    Args:
        path: the new dead letter.
        rejected_path: the dead letter that the target wrote during the replay.
        messages: the input of the target.
        unsent: the messages that stream maps have filtered out.

    Raises:
        OSError: when a file cannot be written or read.
        InputError: when the old dead letter cannot be read.
    """
    filtered = set(unsent)
    count = 0
    written: dict[tuple[str, int], SchemaLine] = {}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file, _open(rejected_path) as rejected_file:
        still_rejected = _StillRejected(rejected_file, messages)
        for message, reject in messages.rejects():
            count += 1
            start = still_rejected.starts.get(message)
            if start is None and message not in filtered:
                continue
            schema = reject.schema
            if schema is not None and written.get(schema.reference) != schema:
                written[schema.reference] = schema
                file.write(messages.lines.schema(schema) + b"\n")
            line = reject.text
            if start is not None:
                faults = still_rejected.fields_at(start)["faults"]
                line = _encode({**_decode_fields(line), "faults": faults})
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    refused = len(still_rejected.starts)
    unsent_count = len(filtered - still_rejected.starts.keys())
    return ReplayResult(count - refused - unsent_count, refused, unsent_count)


class _StillRejected:
    """The rejects in the dead letter that the target wrote.

    Attributes:
        starts: the position of the line of each message, in bytes.
    """

    def __init__(self, file: BinaryIO, messages: ReplayInput) -> None:
        self._file = file
        self.starts: dict[int, int] = {}
        start = 0
        for text in file:
            line = _decode_reject(text)
            if line.stage != "schema":
                self.starts[line.line or messages.message_of(bytes(line.object))] = start
            start += len(text)

    def fields_at(self, start: int) -> dict[str, msgspec.Raw]:
        """The fields of the line at a position."""
        self._file.seek(start)
        return _decode_fields(self._file.readline())


def _open(path: Path) -> BinaryIO:
    return path.open("rb") if path.exists() else io.BytesIO()
