"""Checks of the files that a run writes: spool, dead letter and local warehouse."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from target_segment_objects.commands.check.findings import Finding, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.settings import Settings

__all__ = ["check_dead_letter", "check_spool", "check_warehouse"]


def check_spool(settings: Settings) -> Finding:
    """Check that the folder of the spool can be written, and has room for the largest spool."""
    folder = str(settings.spool_dir or "the system's folder for temporary files")
    try:
        folder = str(settings.spool_dir or tempfile.gettempdir())
        _write_in(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        detail = (
            f"{folder} cannot be written: {error.strerror or error}; make room there, or name "
            "another folder with `spool_dir`"
        )
        return Finding("spool", Verdict.FAILED, detail)
    needed = 2 * settings.spool_max_bytes
    detail = f"{folder} has {_gigabytes(free)} free"
    if free < needed:
        detail += (
            f", and a large sync may need {_gigabytes(needed)} (twice `spool_max_bytes`): "
            "lower `spool_max_bytes`, or name another folder with `spool_dir`"
        )
        return Finding("spool", Verdict.UNKNOWN, detail)
    detail += f", and a run needs at most {_gigabytes(needed)}"
    return Finding("spool", Verdict.OK, detail)


def check_dead_letter(path: Path) -> Finding:
    """Check that a reject could be written, without changing the file."""
    try:
        if not os.path.lexists(path):
            _write_in(str(path.parent))
            detail = f"{path} can be created"
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            detail = f"{path} can be written; it has {size:,} bytes of rejects"
    except BlockingIOError:
        detail = f"{path} is in use by `segment-objects replay`; wait until that has ended"
        return Finding("dead letter", Verdict.FAILED, detail)
    except OSError as error:
        detail = (
            f"{path} cannot be written: {error.strerror or error}; correct that, or name another "
            "file with `dead_letter_path`"
        )
        return Finding("dead letter", Verdict.FAILED, detail)
    return Finding("dead letter", Verdict.OK, detail)


def check_warehouse(path: Path) -> Finding:
    """Check that the local warehouse can be opened or created."""
    if importlib.util.find_spec("duckdb") is None:
        detail = "it needs DuckDB: pip install 'target-segment-objects[emulator]'"
        return Finding("local warehouse", Verdict.FAILED, detail)
    from target_segment_objects.emulator import EmulatorError, query_file  # noqa: PLC0415

    try:
        if path.exists():
            (tables,) = query_file(path, "SELECT count(*) FROM duckdb_tables()").rows[0]
            detail = f"{path} can be opened; it has {tables:,} tables"
        else:
            _write_in(str(path.parent))
            detail = f"{path} will be created by the first run"
    except EmulatorError as error:
        return Finding("local warehouse", Verdict.FAILED, str(error))
    except OSError as error:
        detail = (
            f"{path} cannot be created: {error.strerror or error}; name another `local_warehouse`"
        )
        return Finding("local warehouse", Verdict.FAILED, detail)
    return Finding("local warehouse", Verdict.OK, detail)


def _write_in(folder: str) -> None:
    """Write an unnamed temporary file of 4 KB in a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(b"\0" * 4096)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
