"""`segment-objects replay`: send the rejects of a dead letter again, keep what is still refused.

The rule that it guards: a reject leaves the dead letter only when it was delivered. What has been
mended in the file, or is allowed by changed settings, goes; the rest stays, with its new faults.
"""

from __future__ import annotations

import base64
import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from target_segment_objects.errors import ConfigurationError, InputError
from target_segment_objects.target import SegmentObjectsTarget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Replayed", "replay"]

_OLD: Final = timedelta(days=1)
_encode = msgspec.json.Encoder().encode


class _Entry(msgspec.Struct):
    """A line of a dead letter: see `rejects.DeadLetter`."""

    stream: str
    time: datetime
    schema: msgspec.Raw
    key_properties: list[str] | None = None
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw: str | None = None
    is_collection: bool = False


_decode = msgspec.json.Decoder(_Entry).decode


@dataclass(frozen=True)
class Replayed:
    """What a replay came to.

    Attributes:
        sent: records that were delivered.
        kept: records that are still refused, and stand in the dead letter.
    """

    sent: int
    kept: int


def replay(path: Path, config: Mapping[str, object], *, yes: bool = False) -> Replayed:
    """Send the records of a dead letter again.

    Args:
        path: the dead letter.
        config: the target's configuration; its `max_rejects` and `dead_letter_path` are not used.
        yes: send records that were rejected more than a day ago too: they overwrite newer ones.

    Raises:
        ConfigurationError: the file cannot be read, is in use, or holds old records.
        InputError: a line of it cannot be read; nothing was sent.
        SegmentObjectsError: as a run of the target; then the file is as it was.
    """
    with _locked(path) as lines:
        entries = [_read(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        _refuse_old(path, entries, yes=yes)
        still = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            target = SegmentObjectsTarget(
                config={
                    **config,
                    "collections": _collections(config, entries),
                    "max_rejects": -1,
                    "dead_letter_path": str(still),
                }
            )
            target.listen(_Messages(entries))  # type: ignore[arg-type]
            kept = len(still.read_bytes().splitlines()) if still.exists() else 0
            # The new file is whole on the disk before it takes the old one's place.
            still.touch(mode=0o600)
            still.replace(path)
        finally:
            still.unlink(missing_ok=True)
    return Replayed(sent=len(entries) - kept, kept=kept)


@contextmanager
def _locked(path: Path) -> Iterator[list[bytes]]:
    """The lines of the dead letter, while no run of the target has it open."""
    try:
        file: IO[bytes] = path.open("rb")
    except OSError as error:
        raise ConfigurationError(
            f"the dead letter {path} cannot be read: {error.strerror or error}"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"the dead letter {path} is in use by a running sync; replay it when that is over"
            ) from None
        yield file.read().splitlines()


def _read(line: bytes, number: int) -> _Entry:
    try:
        entry = _decode(line)
        whole = entry.record is not msgspec.UNSET or entry.raw is not None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        whole = False
    if not whole:
        raise InputError(
            f"line {number} of the dead letter is not a reject that a run has written: it needs "
            "`stream`, `time`, `schema` and `record` (or `raw`); nothing was sent"
        )
    return entry


def _refuse_old(path: Path, entries: list[_Entry], *, yes: bool) -> None:
    now = datetime.now(timezone.utc)
    ages = [now - entry.time for entry in entries]
    old = [age for age in ages if age > _OLD]
    if old and not yes:
        raise ConfigurationError(
            f"{len(old)} of the {len(entries)} records in {path} were rejected over a day ago, "
            f"the oldest {max(old).days} days ago: sent now, they overwrite what came later; "
            "give --yes to send them all the same, or take them out of the file"
        )


def _collections(config: Mapping[str, object], entries: list[_Entry]) -> object:
    """The setting, and each collection that stands for a stream taken as it is."""
    given = config.get("collections") or {}
    if not isinstance(given, dict):
        return given  # for the target to refuse
    return {entry.stream: entry.stream for entry in entries if entry.is_collection} | given


class _Messages:
    """The entries as a tap would write them, to be read like a file."""

    def __init__(self, entries: list[_Entry]) -> None:
        self._lines = _lines(entries)

    def read(self, _size: int = -1) -> bytes:
        """The next message; nothing when there are no more."""
        return next(self._lines, b"")


def _lines(entries: list[_Entry]) -> Iterator[bytes]:
    known: dict[str, tuple[bytes, Any]] = {}
    for entry in entries:
        schema = (bytes(entry.schema), entry.key_properties)
        if known.get(entry.stream) != schema:
            known[entry.stream] = schema
            yield b'{"type":"SCHEMA","stream":%b,"schema":%b,"key_properties":%b}\n' % (
                _encode(entry.stream),
                schema[0],
                _encode(entry.key_properties),
            )
        if isinstance(entry.record, msgspec.Raw):
            record = bytes(entry.record)
        else:
            record = base64.b64decode(entry.raw or "")
        yield b'{"type":"RECORD","stream":%b,"record":%b}\n' % (_encode(entry.stream), record)
