"""The spool: where compressed parts are kept until their session is finished.

Above a few MiB it is on disk, so that memory does not grow with the sync.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from typing import Final

from target_segment_objects.errors import SpoolError

__all__ = ["Spool"]

_MEMORY_BYTES: Final = 8 << 20


class Spool:
    """Bytes of compressed parts: in memory at first, above 8 MiB in one file.

    The file has no name and only the user can read it (0600), so a run that is killed leaves
    nothing behind. One thread appends while another reads what was appended before.

    Args:
        spool_dir: the folder of the file; the system's folder for temporary files when `None`.
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
        while view:  # a nearly full disk takes only some of it
            view = view[self._file.write(view) :]

    def read(self, start: int, length: int) -> bytes:
        """Read bytes that were appended before."""
        with self._lock:
            if self._memory is not None:
                return bytes(self._memory[start : start + length])
            if self._file is None:
                return b""
            return os.pread(self._file.fileno(), length, start)

    def open(self, start: int, length: int) -> io.RawIOBase:
        """Open a range of what was appended before, for reading."""
        return _SpoolSlice(self, start, length)

    def truncate(self, size: int) -> None:
        """Drop all bytes but the first `size`."""
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
    except OSError:  # none can be written, for example on a read-only system
        return "the system's folder for temporary files"


class _SpoolSlice(io.RawIOBase):
    """A range of a spool as a file that can be read."""

    def __init__(self, spool: Spool, start: int, length: int) -> None:
        super().__init__()
        self._spool = spool
        self._start = start
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._length - self._position)
        content = self._spool.read(self._start + self._position, wanted)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, min(self._length, base + offset))
        return self._position

    def tell(self) -> int:
        return self._position
