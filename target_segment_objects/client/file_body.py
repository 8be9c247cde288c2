"""A request body that is read from a file, again from its start at every attempt."""

from __future__ import annotations

from typing import IO

from target_segment_objects.errors import SpoolError

__all__ = ["FileBody"]


class FileBody:
    """A body that is streamed from a seekable binary file, from its start at every attempt.

    Attributes:
        failure: why the file could not be read; empty while it can.

    Args:
        file: open for reading, seekable.
        size: bytes to send, all that the file has.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self._size = size
        self.failure = ""

    def __len__(self) -> int:
        return self._size

    def rewind(self) -> None:
        """Go back to the start, for another attempt.

        Raises:
            SpoolError: the file cannot be read.
        """
        self._left = self._size
        try:
            self._file.seek(0)
        except (OSError, ValueError) as error:
            raise SpoolError(f"a part cannot be read again: {_reason(error)}") from None

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the body, never beyond its size.

        Raises:
            OSError: the file failed or ended early. `failure` keeps the reason, since the layers
                above take any `OSError` for one of the network.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        try:
            block = self._file.read(wanted)
        except (OSError, ValueError) as error:
            self.failure = _reason(error)
            raise OSError(self.failure) from None
        if wanted and not block:
            self.failure = f"it ended {self._left} bytes early"
            raise OSError(self.failure)
        self._left -= len(block)
        return block


def _reason(error: OSError | ValueError) -> str:
    """The system's words for a file's error; its own text could hold anything."""
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
