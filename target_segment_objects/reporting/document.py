"""The run report as a JSON document.

Its schema, for people and for programs, is in `docs/report.md` and `docs/report.schema.json`.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.errors import DeliveryError, SegmentObjectsError, one_line
from target_segment_objects.reporting.summary import summaries, total

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.errors import Attempt
    from target_segment_objects.reporting.counts import RunCounts
    from target_segment_objects.reporting.summary import CollectionSummary

__all__ = ["TARGET_NAME", "report_document"]

TARGET_NAME: Final = "target-segment-objects"
_FORMAT: Final = 1
"""Of the document; the number changes when a field goes or means something else."""


def report_document(
    counts: RunCounts,
    *,
    method: str,
    warnings: Iterable[str],
    stopped: bool,
    error: BaseException | None,
) -> dict[str, Any]:
    """The report.

    Args:
        counts: the numbers.
        method: of the settings.
        warnings: the sentences that were logged.
        stopped: whether a signal ended the reading.
        error: what the run has failed with.
    """
    seconds = time.monotonic() - counts.began
    ended = time.time()
    collections = summaries(counts)
    waited = counts.input_seconds + counts.delivery_seconds
    return {
        "format": _FORMAT,
        "target": {"name": TARGET_NAME, "version": _version()},
        "method": method,
        "status": "failed" if error is not None else "stopped" if stopped else "succeeded",
        "error": None if error is None else _error(error),
        "started_at": _time(ended - seconds),
        "ended_at": _time(ended),
        "seconds": {
            "total": _rounded(seconds),
            "waiting_for_input": _rounded(counts.input_seconds),
            "waiting_for_delivery": _rounded(counts.delivery_seconds),
            "working": _rounded(max(0.0, seconds - waited)),
        },
        "records_rejected": counts.rejects,
        "total": _numbers(total(collections)),
        "collections": [_collection(summary, counts) for summary in collections],
        "requests": dict(sorted(counts.calls.items())),
        "bulk": _bulk(counts) if counts.bulk.requests else None,
        "failed_requests": [_failed_request(attempt) for attempt in list(counts.failed)],
        "failed_requests_beyond_limit": counts.failures - len(counts.failed),
        "warnings": list(warnings),
    }


def _numbers(summary: CollectionSummary) -> dict[str, Any]:
    numbers = asdict(summary)
    del numbers["collection"], numbers["streams"]
    if summary.wait_seconds is not None:
        numbers["wait_seconds"] = _rounded(summary.wait_seconds)
    return numbers


def _collection(summary: CollectionSummary, counts: RunCounts) -> dict[str, Any]:
    return {
        "collection": summary.collection,
        "streams": summary.streams,
        **_numbers(summary),
        "last_request_id": counts.collection(summary.collection).requests.request_id or None,
    }


def _bulk(counts: RunCounts) -> dict[str, Any]:
    sessions = counts.sessions
    return {
        "bytes": counts.bulk.bytes,
        "requests": counts.bulk.requests,
        "retries": counts.bulk.retries,
        "wait_seconds": _rounded(counts.bulk.wait_seconds),
        "parts": sessions.parts,
        "parts_beyond_limit": sessions.parts - sessions.parts_listed,
        "sessions_beyond_limit": sessions.opened - len(sessions.listed),
        "sessions": list(sessions.listed),
    }


def _failed_request(attempt: Attempt) -> dict[str, Any]:
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
    """The text of an error of the target; only the kind of a bug, since its text may hold data."""
    is_ours = isinstance(error, SegmentObjectsError)
    delivery_error = error if isinstance(error, DeliveryError) else None
    return {
        "kind": type(error).__name__.lstrip("_"),
        "message": one_line(str(error)) if is_ours else "a bug of the target's: see its log",
        "call": delivery_error.call or None if delivery_error is not None else None,
        "http_status": delivery_error.status if delivery_error is not None else None,
        "attempts": len(delivery_error.attempts) if delivery_error is not None else 0,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def _version() -> str:
    try:
        return version(TARGET_NAME)
    except PackageNotFoundError:
        return "0"
