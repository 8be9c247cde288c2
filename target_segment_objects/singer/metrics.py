"""The SDK's METRIC log lines: records by stream, requests by call, and the duration of the run.

Invariant: they cost nothing per record. They are computed from the run's counts once a minute, as
the SDK's own counters are, and at the end.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from singer_sdk import metrics

if TYPE_CHECKING:
    from target_segment_objects.reporting import RunCounts

__all__ = ["Metrics"]

_INTERVAL_SECONDS: Final = metrics.DEFAULT_LOG_INTERVAL


class Metrics:
    """Logs the metrics of one run."""

    def __init__(self, counts: RunCounts) -> None:
        self._counts = counts
        self._logged: Counter[str] = Counter()
        self._due = time.monotonic() + _INTERVAL_SECONDS

    def tick(self) -> None:
        """Log the numbers of new records, if that is due."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _INTERVAL_SECONDS
            self._log_records(least=1)

    def end(self, *, succeeded: bool) -> None:
        """Log the remaining records, the requests by call, and the duration of the run."""
        self._log_records(least=0)
        for call, count in sorted(self._counts.calls.items()):
            _log("counter", metrics.Metric.HTTP_REQUEST_COUNT, count, {metrics.Tag.ENDPOINT: call})
        status = metrics.Status.SUCCEEDED if succeeded else metrics.Status.FAILED
        seconds = time.monotonic() - self._counts.began
        tags = {metrics.Tag.JOB_TYPE: "load", metrics.Tag.STATUS: status}
        _log("timer", metrics.Metric.JOB_DURATION, seconds, tags)

    def _log_records(self, *, least: int) -> None:
        read: Counter[str] = Counter()
        for counts in self._counts.by_stream.values():
            read[counts.stream] += counts.read
        for stream, count in read.items():
            more = count - self._logged[stream]
            if more >= least:
                self._logged[stream] = count
                tags = {metrics.Tag.STREAM: stream}
                _log("counter", metrics.Metric.RECORD_COUNT, more, tags)


def _log(kind: str, metric: metrics.Metric, value: float, tags: dict[Any, Any]) -> None:
    point = metrics.Point(kind, metric, value, {**tags, metrics.Tag.PID: os.getpid()})
    metrics.log(metrics.get_metrics_logger(), point)
