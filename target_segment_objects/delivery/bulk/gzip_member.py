"""Compression of a part: one gzip member, whose level may change between blocks.

Decision 15 explains why two libraries are used.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, Protocol

from isal import isal_zlib

__all__ = ["GzipMember"]

_MIN_ZLIB_LEVEL: Final = 4
"""Below it, igzip needs at most a third of the time for as few bytes."""
_RAW: Final = -15
"""zlib's window bits for deflate without a frame."""
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""gzip's: deflate, no name, no time, no system."""


class _Deflate(Protocol):
    def compress(self, data: bytes | bytearray, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


def _deflate(level: int) -> _Deflate:
    if 0 < level < _MIN_ZLIB_LEVEL:
        return isal_zlib.compressobj(level, zlib.DEFLATED, _RAW)
    return zlib.compressobj(level, zlib.DEFLATED, _RAW)


class GzipMember:
    """Makes one gzip member. Its calls release the GIL.

    Attributes:
        size: uncompressed bytes of its content.
    """

    def __init__(self) -> None:
        self._level = 1
        self._deflate: _Deflate | None = None
        self._crc = 0
        self.size = 0

    def compress(self, content: bytes | bytearray, level: int) -> bytes:
        """Return the next bytes of the member; empty while the compressor buffers them.

        Args:
            content: what comes next.
            level: 0 to 9, for this content. A change of level ends the deflate block before it.
        """
        before = b""
        if self._deflate is None or level != self._level:
            before = (
                _HEADER if self._deflate is None else self._deflate.flush(isal_zlib.Z_SYNC_FLUSH)
            )
            self._deflate, self._level = _deflate(level), level
        self._crc = isal_zlib.crc32(content, self._crc)
        self.size += len(content)
        return before + self._deflate.compress(content)

    def finish(self) -> bytes:
        """Return the last bytes of the member."""
        start, deflate = (b"", self._deflate) if self._deflate else (_HEADER, _deflate(self._level))
        trailer = struct.pack("<LL", self._crc, self.size & 0xFFFFFFFF)
        return start + deflate.flush() + trailer
