"""Objects become gzip parts, rotated by uncompressed size and spooled; no network here.

The rules that it guards: a part never passes its limit, holds at least one object, and keeps the
order in which objects came. Parts stay in the spool until the session is finished, so that a
session that is lost can be sent again; beyond a few MiB the spool is on disk, so that memory does
not grow with the sync.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from target_segment_objects.delivery.bulk.gzip_member import GzipMember
from target_segment_objects.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Block", "Part", "PartSplitter", "PartWriter", "Spool"]

_MEMORY_BYTES: Final = 8 << 20
"""The compressed bytes that a session keeps in memory before all of them go to disk."""
_BLOCK_BYTES: Final = 1 << 20
"""Uncompressed bytes that are gathered for one call of the compressor."""
_PASS_THROUGH_BYTES: Final = 1 << 19
"""Lines of so many bytes go to the compressor as they came, instead of being gathered."""


class Spool:
    """The compressed parts of one session: in memory at first, and then in one file.

    The file has no name (it is unlinked, or never linked, as soon as it is open) and is the user's
    alone (0600), so that a run that is killed leaves nothing behind. One thread appends while
    another reads what is sealed.
    """

    def __init__(self, spool_dir: str | None = None) -> None:
        self._folder = spool_dir
        self._lock = threading.Lock()
        self._memory: bytearray | None = bytearray()
        self._file: io.FileIO | None = None
        self.size = 0

    def append(self, compressed: bytes) -> None:
        """Add bytes at the end.

        Raises:
            SpoolError: when the disk does not take them.
        """
        try:
            with self._lock:
                if self._memory is not None:
                    self._memory += compressed
                    if len(self._memory) > _MEMORY_BYTES:
                        self._move_to_disk(self._memory)
                else:
                    self._write(compressed)
                self.size += len(compressed)
        except OSError as error:
            where = self._folder or _temporary_folder()
            raise SpoolError(
                f"the spool in {where} cannot be written: {error.strerror or error}; "
                "make room there, or name another folder with `spool_dir`"
            ) from error

    def _move_to_disk(self, memory: bytearray) -> None:
        self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        self._write(memory)
        self._memory = None

    def _write(self, data: bytes | bytearray) -> None:
        if self._file is None:
            raise OSError("closed")
        view = memoryview(data)
        while view:  # a nearly full disk takes a part of it
            view = view[self._file.write(view) :]

    def read(self, start: int, length: int) -> bytes:
        """Bytes that were appended before."""
        with self._lock:
            if self._memory is not None:
                return bytes(self._memory[start : start + length])
            if self._file is None:
                return b""
            return os.pread(self._file.fileno(), length, start)

    def truncate(self, size: int) -> None:
        """Give back all that was appended beyond the first `size` bytes."""
        with self._lock:
            if self._memory is not None:
                del self._memory[size:]
            elif self._file is not None:
                self._file.truncate(size)
                self._file.seek(size)
            self.size = min(self.size, size)

    def close(self) -> None:
        """Give back memory and disk. May be called more than once."""
        with self._lock:
            self._memory = None
            file, self._file = self._file, None
            if file is not None:
                file.close()


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none that could be written, on a read-only system for one
        return "the system's folder for temporary files"


@dataclass(frozen=True)
class Part:
    """A sealed part.

    Attributes:
        number: its place in the session, from 1.
        objects: how many lines it has.
        size: its uncompressed bytes.
        start, compressed: where it stands in the spool, and its bytes on the wire.
    """

    number: int
    objects: int
    size: int
    start: int
    compressed: int
    spool: Spool

    def open(self) -> io.RawIOBase:
        """The part's gzip, to read from its beginning, as often as it must be sent."""
        return _SpoolSlice(self.spool, self.start, self.compressed)


class _SpoolSlice(io.RawIOBase):
    """A file of its own for a part that stands in the spool among others."""

    def __init__(self, spool: Spool, start: int, length: int) -> None:
        super().__init__()
        self._spool = spool
        self._start = start
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._length - self._at)
        found = self._spool.read(self._start + self._at, wanted)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, min(self._length, base + offset))
        return self._at

    def tell(self) -> int:
        return self._at


class Block(NamedTuple):
    """Whole object lines on their way into a part.

    Attributes:
        lines: each ended by a line break.
        objects: how many there are.
        ends_part: whether the part is complete with them; then there may be none.
    """

    lines: bytes | bytearray
    objects: int
    ends_part: bool


class PartSplitter:
    """Gathers object lines to blocks, and says where a part ends: `feed`, and `flush` at the end.

    Small lines are gathered to blocks of a MiB; what comes in large blocks stays in them.
    """

    def __init__(self, part_size_bytes: int) -> None:
        self._limit = part_size_bytes
        self._gathered = bytearray()
        self._objects = 0
        self._size = 0  # of the part, the gathered lines included

    def feed(self, lines: bytes, objects: int) -> Sequence[Block]:
        """Add whole lines, each ended by a line break.

        Returns:
            The blocks that are ready by it, mostly none.
        """
        size = len(lines)
        if self._size + size > self._limit:
            return self._cut(lines)
        self._size += size
        if size >= _PASS_THROUGH_BYTES:
            before = [self._hand_over()] if self._gathered else []
            return [*before, Block(lines, objects, ends_part=False)]
        self._objects += objects
        self._gathered += lines
        return [self._hand_over()] if len(self._gathered) >= _BLOCK_BYTES else ()

    def flush(self) -> Sequence[Block]:
        """End the part that is open, if one is."""
        return [self._hand_over(ends_part=True)] if self._size else ()

    def _cut(self, lines: bytes) -> list[Block]:
        """Add lines that do not all fit into the part."""
        blocks = []
        start, end = 0, len(lines)
        while start < end:
            room = max(0, self._limit - self._size)
            stop = lines.rfind(b"\n", start, start + room) + 1
            if not stop:
                if self._size:
                    blocks.append(self._hand_over(ends_part=True))
                    continue
                stop = lines.index(b"\n", start) + 1  # alone larger than a part may be
            self._gathered += memoryview(lines)[start:stop]
            self._size += stop - start
            self._objects += lines.count(b"\n", start, stop)
            start = stop
        if len(self._gathered) >= _BLOCK_BYTES:
            blocks.append(self._hand_over())
        return blocks

    def _hand_over(self, *, ends_part: bool = False) -> Block:
        block = Block(self._gathered, self._objects, ends_part)
        self._gathered = bytearray()  # the other one is the block's
        self._objects = 0
        if ends_part:
            self._size = 0
        return block


class PartWriter:
    """Writes blocks to the spool as parts, a gzip member each. It belongs to one thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._number = 0
        self._objects = 0
        self._size = 0
        self._start = spool.size
        self._member = GzipMember()

    def write(self, block: Block, level: int) -> Part | None:
        """Compress a block with this level, 0 to 9.

        Returns:
            The part, sealed, when the block ends it.

        Raises:
            SpoolError: when the disk does not take it.
        """
        self._objects += block.objects
        self._size += len(block.lines)
        if block.lines:
            compressed = self._member.compress(block.lines, level)
            if compressed:
                self._spool.append(compressed)
        return self._seal() if block.ends_part else None

    def _seal(self) -> Part:
        self._spool.append(self._member.finish())
        self._number += 1
        end = self._spool.size
        part = Part(
            number=self._number,
            objects=self._objects,
            size=self._size,
            start=self._start,
            compressed=end - self._start,
            spool=self._spool,
        )
        self._objects = self._size = 0
        self._start = end
        self._member = GzipMember()
        return part
