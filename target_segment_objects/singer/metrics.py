"""The SDK's METRIC lines, in its own words: how many records of each stream, requests, the run.

The rule that it guards: they cost nothing a record; numbers are taken from the tally, once a minute
as the SDK's own counters do it, and at the end.
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

_SECONDS: Final = metrics.DEFAULT_LOG_INTERVAL


class Metrics:
    """Logs the points of one run."""

    def __init__(self, tally: RunCounts) -> None:
        self._tally = tally
        self._logged: Counter[str] = Counter()
        self._due = time.monotonic() + _SECONDS

    def tick(self) -> None:
        """Log what is due: counts of records, of streams that have more of them."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _SECONDS
            self._log_records(least=1)

    def end(self, *, succeeded: bool) -> None:
        """Log the rest: what the counts have not told yet, requests by call, and the run's time."""
        self._log_records(least=0)
        for call, count in sorted(self._tally.calls.items()):
            _log("counter", metrics.Metric.HTTP_REQUEST_COUNT, count, {metrics.Tag.ENDPOINT: call})
        status = metrics.Status.SUCCEEDED if succeeded else metrics.Status.FAILED
        seconds = time.monotonic() - self._tally.began
        tags = {metrics.Tag.JOB_TYPE: "load", metrics.Tag.STATUS: status}
        _log("timer", metrics.Metric.JOB_DURATION, seconds, tags)

    def _log_records(self, *, least: int) -> None:
        read: Counter[str] = Counter()
        for counts in self._tally.by_stream.values():
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
