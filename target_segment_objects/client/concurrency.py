"""Limits the requests in flight, and pauses them while Segment asks for a pause.

One limit serves all calls that share a write key, because the limits are counted per key [doc].
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from target_segment_objects.client.clock import Clock
from target_segment_objects.objects import API_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConcurrencyLimit"]

_URGENT_LIMIT = API_LIMITS.concurrent_requests


class ConcurrencyLimit:
    """Lets at most `limit` requests be in flight, and none start during a pause.

    Safe for any number of threads. A wait for a slot ends with one of the requests in flight, each
    of which has a deadline. A wait for the end of a pause also ends when the caller stops.

    Args:
        limit: requests in flight, from 1 to 20.
        clock: times the pauses.

    Raises:
        ValueError: the limit is not 1 to 20.
    """

    def __init__(self, limit: int = 10, *, clock: Clock | None = None) -> None:
        if not 1 <= limit <= _URGENT_LIMIT:
            raise ValueError(
                f"the limit of concurrent requests is 1 to {_URGENT_LIMIT}, not {limit}"
            )
        self.limit = limit
        self._clock = clock or Clock()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._paused_until = float("-inf")

    def pause(self, seconds: float) -> None:
        """Let no request start for this many seconds. A longer pause stays as it is."""
        with self._changed:
            self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    @property
    def paused_for(self) -> float:
        """Seconds until the pause ends; 0 when there is none."""
        with self._changed:
            return max(0.0, self._paused_until - self._clock.monotonic())

    @contextmanager
    def slot(self, *, urgent: bool = False) -> Iterator[float]:
        """Take a slot for one request; yields the seconds spent waiting for a pause to end.

        Args:
            urgent: exceed the limit, up to the API's 20: for a request that must not wait for
                another one to end.

        Raises:
            StoppedError: the caller stopped during a pause.
        """
        max_in_flight = _URGENT_LIMIT if urgent else self.limit
        paused = 0.0
        while True:
            with self._changed:
                while self._in_flight >= max_in_flight:
                    self._changed.wait()
                started = self._clock.monotonic()
                remaining = self._paused_until - started
                if remaining <= 0:
                    self._in_flight += 1
                    break
            self._clock.pause(remaining)
            paused += self._clock.monotonic() - started
        try:
            yield paused
        finally:
            with self._changed:
                self._in_flight -= 1
                # All of them: the first to wake may find a pause, and take no slot.
                self._changed.notify_all()
