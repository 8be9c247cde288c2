"""Object lines become gzip parts in the spool, without a network.

Invariants: a part never exceeds its limit unless it is one object, has at least one object, and
keeps the order in which objects came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from target_segment_objects.delivery.bulk.gzip_member import GzipMember

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import RawIOBase

    from target_segment_objects.delivery.bulk.spool import Spool

__all__ = ["Block", "Part", "PartSplitter", "PartWriter"]

_BLOCK_BYTES: Final = 1 << 20
"""Uncompressed bytes that are collected for one call of the compressor."""
_PASS_THROUGH_BYTES: Final = 1 << 19
"""Lines of this size, fed at once, go to the compressor without being copied."""


@dataclass(frozen=True)
class Part:
    """A sealed part.

    Attributes:
        number: its number in the session, from 1.
        objects: how many lines it has.
        size: its uncompressed bytes.
        start, compressed: its offset in the spool, and its bytes there and on the wire.
    """

    number: int
    objects: int
    size: int
    start: int
    compressed: int
    spool: Spool

    def open(self) -> RawIOBase:
        """Open the part's gzip for reading, as often as it must be sent."""
        return self.spool.open(self.start, self.compressed)


class Block(NamedTuple):
    """Object lines that go into a part.

    Attributes:
        lines: each ended by a line break.
        objects: how many there are.
        ends_part: whether they complete the part. Such a block may be empty.
    """

    lines: bytes | bytearray
    objects: int
    ends_part: bool


class PartSplitter:
    """Collects object lines into blocks, and decides where a part ends.

    Few lines are collected into blocks of a MiB; many lines that are fed at once stay one block.
    """

    def __init__(self, part_size_bytes: int) -> None:
        self._limit = part_size_bytes
        self._lines = bytearray()
        self._objects = 0
        self._size = 0  # of the part, with the collected lines

    def feed(self, lines: bytes, objects: int) -> Sequence[Block]:
        """Add whole lines, each ended by a line break.

        Returns:
            The blocks that are complete, mostly none.
        """
        size = len(lines)
        if self._size + size > self._limit:
            return self._cut(lines)
        self._size += size
        if size >= _PASS_THROUGH_BYTES:
            before = [self._take_block()] if self._lines else []
            return [*before, Block(lines, objects, ends_part=False)]
        self._objects += objects
        self._lines += lines
        return [self._take_block()] if len(self._lines) >= _BLOCK_BYTES else ()

    def flush(self) -> Sequence[Block]:
        """End the part that is open, if one is."""
        return [self._take_block(ends_part=True)] if self._size else ()

    def _cut(self, lines: bytes) -> list[Block]:
        """Add lines that do not all fit into the part."""
        blocks = []
        start, end = 0, len(lines)
        while start < end:
            room = max(0, self._limit - self._size)
            stop = lines.rfind(b"\n", start, start + room) + 1
            if not stop:
                if self._size:
                    blocks.append(self._take_block(ends_part=True))
                    continue
                stop = lines.index(b"\n", start) + 1  # one line that is larger than a part may be
            self._lines += memoryview(lines)[start:stop]
            self._size += stop - start
            self._objects += lines.count(b"\n", start, stop)
            start = stop
        if len(self._lines) >= _BLOCK_BYTES:
            blocks.append(self._take_block())
        return blocks

    def _take_block(self, *, ends_part: bool = False) -> Block:
        block = Block(self._lines, self._objects, ends_part)
        self._lines = bytearray()  # the block keeps the other one
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
            size=self._member.size,
            start=self._start,
            compressed=end - self._start,
            spool=self._spool,
        )
        self._objects = 0
        self._start = end
        self._member = GzipMember()
        return part
