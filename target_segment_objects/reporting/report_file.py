"""The run report as JSON, in one piece: written beside its place, and then put there.

The rule that it guards: whoever finds the file finds a whole report, of this run or of the one
before; that it cannot be written is told before anything is sent. Its schema, for people and for
programs, is in `docs/report.md` and `docs/report.schema.json`.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from target_segment_objects.errors import (
    ConfigurationError,
    DeliveryError,
    SegmentObjectsError,
    one_line,
)
from target_segment_objects.reporting.summary import Row, rows, total

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from target_segment_objects.errors import Attempt
    from target_segment_objects.reporting.counts import RunCounts
    from target_segment_objects.reporting.sessions import SessionSummary

__all__ = ["ReportFile", "document"]

_NAME: Final = "target-segment-objects"
_FORMAT: Final = 1
"""Of the document; another number when a field goes or means something else."""


_OPENING: Final = b'{\n  "format": '
_BEGINNING: Final = 400
"""Bytes of a report in which the target's name stands."""


class ReportFile:
    """Where the report goes.

    Args:
        path: a file that is there or can be made; its folder must take another one for a moment.

    Raises:
        ConfigurationError: when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # a link stays one, and what it leads to is replaced
        if self._path.exists() and not self._path.is_file():
            raise ConfigurationError(f"report_path: {path} is no file; name one")
        self._beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        if not _may_be_replaced(self._path):
            raise ConfigurationError(
                f"report_path: {path} is there and is no report, which one would replace; "
                "name another file, or move that one away"
            )
        try:
            self._write(b"")
        except OSError as error:
            raise ConfigurationError(
                f"report_path: {path} cannot be written: {error.strerror or error}; "
                "name another file, or let this user write to its folder"
            ) from None
        finally:
            self._forget()

    def write(self, report: dict[str, Any]) -> None:
        """Put a report there.

        Raises:
            OSError: the disk is full, or the folder has gone.
        """
        try:
            text = msgspec.json.format(msgspec.json.encode(report), indent=2)
            self._write(text + b"\n")
            self._beside.replace(self._path)
        finally:
            self._forget()

    def _write(self, text: bytes) -> None:
        self._forget()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._beside, flags, 0o644), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _forget(self) -> None:
        with suppress(OSError):
            self._beside.unlink()


def _may_be_replaced(path: Path) -> bool:
    """Whether there is nothing to lose: no file, an empty one, or an earlier report."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError:  # it is not there; or whether it can be written will tell
        return True
    return not beginning or (
        beginning.startswith(_OPENING) and b'"name": "target-segment-objects"' in beginning
    )


def document(
    tally: RunCounts,
    *,
    method: str,
    warnings: Iterable[str],
    stopped: bool,
    error: BaseException | None,
) -> dict[str, Any]:
    """The report.

    Args:
        tally: the numbers.
        method: of the settings.
        warnings: the sentences that the user was told.
        stopped: whether a signal ended the reading.
        error: what the run has failed with.
    """
    seconds = time.monotonic() - tally.began
    ended = time.time()
    each = rows(tally)
    waited = tally.input_seconds + tally.delivery_seconds
    return {
        "format": _FORMAT,
        "target": {"name": _NAME, "version": _version()},
        "method": method,
        "status": "failed" if error is not None else "stopped" if stopped else "succeeded",
        "error": None if error is None else _error(error),
        "started_at": _time(ended - seconds),
        "ended_at": _time(ended),
        "seconds": {
            "total": _rounded(seconds),
            "waiting_for_input": _rounded(tally.input_seconds),
            "waiting_for_delivery": _rounded(tally.delivery_seconds),
            "working": _rounded(max(0.0, seconds - waited)),
        },
        "records_rejected": tally.rejects,
        "total": _row(total(each), None),
        "collections": [_row(row, tally) for row in each],
        "requests": dict(sorted(tally.calls.items())),
        "bulk": _bulk(tally),
        "failed_requests": [_failed(exchange) for exchange in list(tally.failed)],
        "failed_requests_left_out": tally.failures - len(tally.failed),
        "warnings": list(warnings),
    }


def _row(row: Row, tally: RunCounts | None) -> dict[str, Any]:
    """A row; a collection's own, when there is a tally to take its request id from."""
    fields = asdict(row)
    name, streams = fields.pop("collection"), fields.pop("streams")
    if row.wait_seconds is not None:
        fields["wait_seconds"] = _rounded(row.wait_seconds)
    if tally is None:
        return fields
    request_id = tally.collection(name).traffic.request_id
    return {"collection": name, "streams": streams, **fields, "last_request_id": request_id or None}


def _bulk(tally: RunCounts) -> dict[str, Any] | None:
    if not tally.bulk.requests:
        return None
    sessions = tally.bulk_sessions
    return {
        "bytes": tally.bulk.bytes,
        "requests": tally.bulk.requests,
        "retries": tally.bulk.retries,
        "wait_seconds": _rounded(tally.bulk.wait_seconds),
        "parts": sessions.parts,
        "parts_left_out": sessions.parts - sessions.parts_listed,
        "sessions_left_out": sessions.opened - len(sessions.listed),
        "sessions": [_session(session) for session in list(sessions.listed)],
    }


def _session(session: SessionSummary) -> dict[str, Any]:
    return {
        "sync_id": session.sync_id,
        "state": session.state,
        "start_request_id": session.request_id or None,
        "finish_request_id": session.finish_request_id or None,
        "parts": [
            {
                "part": part.part,
                "part_id": part.part_id,
                "request_id": request_id or None,
                "objects": part.objects,
                "bytes": part.bytes,
                "compressed_bytes": part.compressed_bytes,
            }
            for part, request_id in session.parts
        ],
    }


def _failed(attempt: Attempt) -> dict[str, Any]:
    return {
        "call": attempt.call,
        "collection": attempt.collection or None,
        "attempt": attempt.number,
        "status": attempt.status,
        "reason": one_line(attempt.reason),
        "request_id": attempt.request_id or None,
        "bytes": attempt.bytes,
        "waited_seconds": _rounded(attempt.waited_seconds),
    }


def _error(error: BaseException) -> dict[str, Any]:
    """Our error's text; of a bug only its kind, since its text may hold data."""
    ours = isinstance(error, SegmentObjectsError)
    of_delivery = error if isinstance(error, DeliveryError) else None
    return {
        "kind": type(error).__name__.lstrip("_"),
        "message": one_line(str(error)) if ours else "a bug of the target's: see its log",
        "call": of_delivery.call or None if of_delivery is not None else None,
        "http_status": of_delivery.status if of_delivery is not None else None,
        "attempts": len(of_delivery.attempts) if of_delivery is not None else 0,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def _version() -> str:
    try:
        return version(_NAME)
    except PackageNotFoundError:
        return "0"
