"""Compression of a part: one gzip member, whose level may change on the way, and who chooses it.

The rules that it guards: a part is one member, whatever levels were used in it; found by itself,
the smaller level is used only while it costs the machine little and nobody waits for it. Why these
two libraries: decision 15.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from isal import isal_zlib

if TYPE_CHECKING:
    from target_segment_objects.delivery.limits import Level

__all__ = ["FAST", "SMALL", "AdaptiveLevel", "GzipMember"]

FAST: Final = 1
SMALL: Final = 6

_FASTEST_OF_ZLIB: Final = 4
"""Below it, igzip comes to as few bytes in a third of the time and less."""
_RAW: Final = -15
"""zlib's window bits for deflate without a frame."""
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""gzip's: deflate, no name, no time, no system."""

_MAX_CPU_SHARE_DIVISOR: Final = 4
"""Of a core, `SMALL` takes at most one part in so many."""
_SECONDS_A_BYTE: Final = 1 / 50e6
"""What `SMALL` costs as long as it was not measured."""
_WORTH_MEASURING: Final = 1 << 16
"""Bytes of a block below which the time says more of the start of a part than of its bytes."""
_SMOOTHING: Final = 0.75
"""How much of what was seen still counts after the next block."""


class _Deflate(Protocol):
    def compress(self, data: bytes | bytearray, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


def _deflate(level: int) -> _Deflate:
    if 0 < level < _FASTEST_OF_ZLIB:
        return isal_zlib.compressobj(level, zlib.DEFLATED, _RAW)
    return zlib.compressobj(level, zlib.DEFLATED, _RAW)


class GzipMember:
    """Makes one gzip member. The calls release the GIL while they work."""

    def __init__(self) -> None:
        self._level = FAST
        self._deflate: _Deflate | None = None
        self._crc = 0
        self._size = 0

    def compress(self, content: bytes | bytearray, level: int) -> bytes:
        """The next bytes of the member; empty while the compressor holds them back.

        Args:
            content: what comes next.
            level: 0 to 9, for this content. After another level, the content before it ends at a
                byte, and is not referred back to.
        """
        before = b""
        if self._deflate is None or level != self._level:
            before = (
                _HEADER if self._deflate is None else self._deflate.flush(isal_zlib.Z_SYNC_FLUSH)
            )
            self._deflate, self._level = _deflate(level), level
        self._crc = isal_zlib.crc32(content, self._crc)
        self._size += len(content)
        return before + self._deflate.compress(content)

    def finish(self) -> bytes:
        """The last bytes; the member takes no more."""
        start, deflate = (b"", self._deflate) if self._deflate else (_HEADER, _deflate(self._level))
        trailer = struct.pack("<LL", self._crc, self._size & 0xFFFFFFFF)
        return start + deflate.flush() + trailer


class AdaptiveLevel:
    """Finds the level of each block from what the compressing thread waits and what waits for it.

    `SMALL` needs leisure: the thread's waits, over the last blocks, must be so long that `SMALL`
    takes a quarter of a core at most, and no more than half of the room for blocks may be taken.
    Else it is `FAST`. With a level that the user chose, it is always that one.
    """

    def __init__(self, level: Level, room: int) -> None:
        self._fixed = None if level == "auto" else level
        self._room = room
        self._cost = _SECONDS_A_BYTE
        self._waited = 0.0
        self._bytes = 0.0

    def find(self, size: int, waited: float, waiting: int) -> int:
        """The level for the next block.

        Args:
            size: its bytes.
            waited: seconds that the thread had nothing to do before it came.
            waiting: bytes of the blocks behind it.
        """
        if self._fixed is not None:
            return self._fixed
        self._waited = self._waited * _SMOOTHING + waited
        self._bytes = self._bytes * _SMOOTHING + size
        leisure = self._waited >= (_MAX_CPU_SHARE_DIVISOR - 1) * self._cost * self._bytes
        return SMALL if leisure and waiting <= self._room // 2 else FAST

    def learn(self, level: int, size: int, seconds: float) -> None:
        """Note the CPU seconds that a block took."""
        if level == SMALL and size >= _WORTH_MEASURING:
            self._cost = self._cost * _SMOOTHING + seconds / size * (1 - _SMOOTHING)
