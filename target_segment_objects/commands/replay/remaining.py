"""Writes what a replay did not deliver: a new dead letter, with the schemas of its records."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from target_segment_objects.commands.replay.reject_lines import RejectLines

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.commands.replay.input import ReplayInput
    from target_segment_objects.commands.replay.reject_lines import Span

__all__ = ["ReplayResult", "write_remaining"]


_encode = msgspec.json.Encoder().encode
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
    written: dict[tuple[str, int], Span] = {}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file, _open(rejected_path) as rejected_file:
        rejected = RejectLines(rejected_file)
        rejected_at = {
            reject.line.line or messages.message_of(bytes(reject.line.object)): reject.span
            for reject in rejected
        }
        for reject in messages.rejects:
            count += 1
            line, message = reject.text, 2 * reject.number
            if message in rejected_at:
                faults = _decode_fields(rejected.text_at(rejected_at[message]))["faults"]
                line = _encode({**_decode_fields(line), "faults": faults})
            elif message not in filtered:
                continue
            schema_reference = (reject.line.run_id, reject.line.schema_id)
            if reject.schema is not None and written.get(schema_reference) != reject.schema:
                written[schema_reference] = reject.schema
                file.write(messages.rejects.text_at(reject.schema) + b"\n")
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    filtered -= rejected_at.keys()
    return ReplayResult(count - len(rejected_at) - len(filtered), len(rejected_at), len(filtered))


def _open(path: Path) -> BinaryIO:
    return path.open("rb") if path.exists() else io.BytesIO()
