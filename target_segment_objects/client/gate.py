"""The gate that every request passes: so many at once, and none while Segment asks for a pause.

One gate serves all calls that share a write key, because the limits are counted per key [doc].
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from target_segment_objects.client.clock import Clock
from target_segment_objects.objects import MAX_REQUESTS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gate"]


class Gate:
    """Lets at most `limit` requests be in flight, and none start while it is held back.

    Safe for any number of threads. Waiting for a place ends with the requests in flight, each of
    which has a deadline; waiting for a pause to end is the clock's, and ends when the caller stops.

    Args:
        limit: requests in flight, from 1 to 20.
        clock: whose `monotonic` and `wait` tell the pause.

    Raises:
        ValueError: the limit is outside of 1 to 20.
    """

    def __init__(self, limit: int = 10, *, clock: Clock | None = None) -> None:
        if not 1 <= limit <= MAX_REQUESTS_AT_ONCE:
            raise ValueError(f"a gate's limit is 1 to {MAX_REQUESTS_AT_ONCE}, not {limit}")
        self.limit = limit
        self._clock = clock if clock is not None else Clock()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._held_until = float("-inf")

    def hold(self, seconds: float) -> None:
        """Let no request start for so many seconds. A longer pause that already runs stays."""
        with self._changed:
            self._held_until = max(self._held_until, self._clock.monotonic() + seconds)

    @property
    def held_for(self) -> float:
        """Seconds that the gate will still be held back; 0 when it is not."""
        with self._changed:
            return max(0.0, self._held_until - self._clock.monotonic())

    @contextmanager
    def passing(self, *, urgent: bool = False) -> Iterator[float]:
        """Hold one place in flight; the value is how many seconds the gate was held back for it.

        Args:
            urgent: pass beyond the limit, up to the API's 20: for a request that must not wait
                until another one has ended.

        Raises:
            StoppedError: the caller stopped while the gate was held back.
        """
        held = self._enter(MAX_REQUESTS_AT_ONCE if urgent else self.limit)
        try:
            yield held
        finally:
            with self._changed:
                self._in_flight -= 1
                # All of them, because one that wakes may find the gate held and take no place.
                self._changed.notify_all()

    def _enter(self, most: int) -> float:
        held = 0.0
        while True:
            with self._changed:
                while self._in_flight >= most:
                    self._changed.wait()
                started = self._clock.monotonic()
                remaining = self._held_until - started
                if remaining <= 0:
                    self._in_flight += 1
                    return held
            self._clock.pause(remaining)
            held += self._clock.monotonic() - started
