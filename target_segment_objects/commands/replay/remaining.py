"""Writes what a replay did not deliver: a new dead letter, with the schemas of its records."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from target_segment_objects.commands.replay.input import ReplayInput
    from target_segment_objects.commands.replay.reject_lines import Span

__all__ = ["ReplayResult", "write_remaining"]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
            return "The dead letter contains no rejects. Nothing was sent."
        remaining = f" ({', '.join(reasons)})" if reasons else ""
        left = f"Left in the file: {self.refused + self.filtered}{remaining}"
        return f"Rejects sent: {self.sent}. {left}."


def write_remaining(
    path: Path, messages: ReplayInput, faults: Mapping[int, bytes], filtered: set[int]
) -> ReplayResult:
    """Write the rejects that were not delivered to a new dead letter, and sync it to the disk.

    A reject is written unchanged, or with its new faults if it was rejected again. A schema is
    written before the first record that refers to it.

    Args:
        path: the new dead letter.
        messages: the input of the target.
        faults: the new faults, as JSON, by the lines of the messages that were rejected.
        filtered: the lines of the messages that stream maps have filtered out.

    Raises:
        OSError: when a file cannot be written or read.
        InputError: when the old dead letter cannot be read.
    """
    count = 0
    written: dict[tuple[str, int], Span] = {}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for count, reject in enumerate(messages.rejects, 1):
            line, message = reject.text, 2 * count
            if message in faults:
                line = _encode({**_decode(line), "faults": msgspec.Raw(faults[message])})
            elif message not in filtered:
                continue
            schema_reference = (reject.line.run_id, reject.line.schema_id)
            if reject.schema is not None and written.get(schema_reference) != reject.schema:
                written[schema_reference] = reject.schema
                file.write(messages.rejects.text_at(reject.schema) + b"\n")
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    unsent = len(filtered - faults.keys())
    return ReplayResult(count - len(faults) - unsent, len(faults), unsent)
