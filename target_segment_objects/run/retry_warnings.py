"""Warnings that the run waits for a retry, with the reason: not one for every request.

Invariant: the first retry of a run is a warning; after that there is at most one every 30 seconds,
with the number of retries since the last one.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Final

from target_segment_objects.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from target_segment_objects.client import Retry

__all__ = ["RetryWarnings"]

_INTERVAL_SECONDS: Final = 30.0


class RetryWarnings:
    """Warns of the retries of all calls of a run. Safe for threads.

    Args:
        logger: where warnings go.
        monotonic: the clock.
        budget_seconds: how long a call may wait between its attempts in total.
    """

    def __init__(
        self, logger: Logger, monotonic: Callable[[], float], budget_seconds: float
    ) -> None:
        self._logger = logger
        self._budget_seconds = budget_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next_warning = float("-inf")
        self._count = 0

    def __call__(self, retry: Retry) -> None:
        """Count a retry before its wait, and log a warning if one is due."""
        with self._lock:
            self._count += 1
            now = self._monotonic()
            if now < self._next_warning:
                return
            self._next_warning = now + _INTERVAL_SECONDS
            count, self._count = self._count, 0
        more = "" if count == 1 else f", {count} retries since the last warning"
        attempt = retry.attempt
        whose = f" of {attempt.collection}" if attempt.collection else ""
        self._logger.warning(
            "%s%s at %s failed: %s (attempt %d%s). The next attempt comes in %.1f s; retries "
            "go on until the waits add up to %d s (`retry_seconds`), with at least 3 attempts",
            attempt.call,
            one_line(whose),
            retry.host,
            one_line(str(attempt)),
            attempt.number,
            more,
            retry.wait_seconds,
            math.ceil(self._budget_seconds),
        )
