"""The file of the run report: written to a temporary file, which then replaces it.

Invariant: whoever opens the file finds a complete report, of this run or of the one before. A path
that cannot be written is an error before anything is sent.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from target_segment_objects.errors import ConfigurationError
from target_segment_objects.reporting.document import TARGET_NAME

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ReportFile"]

_OPENING: Final = b'{\n  "format": '
_HEAD_BYTES: Final = 400
"""The target's name is in this many first bytes of a report."""


class ReportFile:
    """Where the report goes.

    Args:
        path: a file that exists or can be created, in a folder where a temporary file can be, too.

    Raises:
        ConfigurationError: when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # a link is kept, and its target is replaced
        if self._path.exists() and not self._path.is_file():
            raise ConfigurationError(f"report_path: {path} is not a file; name a file")
        self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        if not _may_be_replaced(self._path):
            raise ConfigurationError(
                f"report_path: {path} exists and is not a report, and would be replaced; "
                "name another file, or move that file away"
            )
        try:
            self._write(b"")
        except OSError as error:
            raise ConfigurationError(
                f"report_path: {path} cannot be written: {error.strerror or error}; "
                "name another file, or let this user write to its folder"
            ) from None
        finally:
            self._remove_temporary()

    def write(self, report: dict[str, Any]) -> None:
        """Replace the file by a report.

        Raises:
            OSError: the disk is full, or the folder has gone.
        """
        try:
            text = msgspec.json.format(msgspec.json.encode(report), indent=2)
            self._write(text + b"\n")
            self._temporary.replace(self._path)
        finally:
            self._remove_temporary()

    def _write(self, text: bytes) -> None:
        self._remove_temporary()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._temporary, flags, 0o644), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _remove_temporary(self) -> None:
        with suppress(OSError):
            self._temporary.unlink()


def _may_be_replaced(path: Path) -> bool:
    """Whether nothing would be lost: there is no file, an empty one, or an earlier report.

    A file that cannot be read may be anything, so it is kept.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not head or (
        head.startswith(_OPENING) and b'"name": "%b"' % TARGET_NAME.encode() in head
    )
