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
import zlib
from dataclasses import dataclass
from typing import Final

from target_segment_objects.errors import SpoolError
from target_segment_objects.objects import MAX_PART_BYTES

__all__ = ["Part", "PartLimits", "PartWriter", "Spool"]

_MEMORY: Final = 8 << 20
"""The compressed bytes that a session keeps in memory before all of them go to disk."""
_HAND_OVER: Final = 1 << 18
"""Uncompressed bytes that are gathered for one call of the compressor."""
_GZIP: Final = 31
"""zlib's window bits for a gzip header and trailer."""


@dataclass(frozen=True)
class PartLimits:
    """How parts are made.

    Attributes:
        part_size_bytes: uncompressed bytes that a part may have, at most the API's 512,000,000; an
            object that is larger alone is a part of its own.
        compression_level: zlib's, 0 to 9.
        spool_dir: the folder whose disk takes the spool; the system's folder for temporary files
            when `None`.
    """

    part_size_bytes: int = MAX_PART_BYTES
    compression_level: int = 6
    spool_dir: str | None = None


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
                    if len(self._memory) > _MEMORY:
                        self._move_to_disk(self._memory)
                else:
                    self._write(compressed)
                self.size += len(compressed)
        except OSError as error:
            where = self._folder or tempfile.gettempdir()
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

    def close(self) -> None:
        """Give back memory and disk. May be called more than once."""
        with self._lock:
            self._memory = None
            file, self._file = self._file, None
            if file is not None:
                file.close()


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
        return _Slice(self.spool, self.start, self.compressed)


class _Slice(io.RawIOBase):
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


class PartWriter:
    """The parts of one session: `feed` returns the part that is sealed by it, mostly none."""

    def __init__(self, limits: PartLimits, spool: Spool) -> None:
        self._limits = limits
        self._spool = spool
        self._number = 0
        self._objects = 0
        self._size = 0
        self._start = spool.size
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._compressor = self._new_compressor()

    def _new_compressor(self) -> zlib._Compress:
        return zlib.compressobj(self._limits.compression_level, zlib.DEFLATED, _GZIP)

    def feed(self, line: bytes) -> Part | None:
        """Add an object's line, without its line break.

        Returns:
            The part before it, sealed, when this line would have made it too large.

        Raises:
            SpoolError: when the disk does not take it.
        """
        length = len(line) + 1
        sealed = None
        if self._objects and self._size + length > self._limits.part_size_bytes:
            sealed = self.flush()
        self._objects += 1
        self._size += length
        self._gathered.append(line)
        self._gathered_bytes += length
        if self._gathered_bytes >= _HAND_OVER:
            self._compress()
        return sealed

    def _compress(self) -> None:
        self._gathered.append(b"")  # the last line's break
        compressed = self._compressor.compress(b"\n".join(self._gathered))
        self._gathered.clear()
        self._gathered_bytes = 0
        if compressed:
            self._spool.append(compressed)

    def flush(self) -> Part | None:
        """Seal what is open; `None` when nothing is.

        Raises:
            SpoolError: when the disk does not take it.
        """
        if not self._objects:
            return None
        if self._gathered:
            self._compress()
        self._spool.append(self._compressor.flush())
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
        self._compressor = self._new_compressor()
        return part
