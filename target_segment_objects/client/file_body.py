"""A request body that is read from a file, again from its start at every attempt."""

from __future__ import annotations

from typing import IO

from target_segment_objects.errors import SpoolError

__all__ = ["FileBody"]


class FileBody:
    """A body that is streamed from a seekable binary file, from its start at every attempt.

    Args:
        file: open for reading, seekable.
        size: bytes to send, all that the file has.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self._size = size

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

    def read(self, size: int) -> bytes:
        """The next bytes of the body, never beyond its size.

        Raises:
            SpoolError: the file cannot be read, or ended early. It is no `OSError`, which the
                layers above would take for one of the network.
        """
        wanted = min(size, self._left)
        try:
            block = self._file.read(wanted)
        except (OSError, ValueError) as error:
            raise SpoolError(f"a part cannot be read: {_reason(error)}") from None
        if wanted and not block:
            raise SpoolError(f"a part cannot be read: it ended {self._left} bytes early")
        self._left -= len(block)
        return block


def _reason(error: OSError | ValueError) -> str:
    """The system's words for a file's error; its own text could hold anything."""
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
