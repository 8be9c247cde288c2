"""Time, waiting and jitter, which are passed in so that tests can decide them."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "StoppedError"]


class StoppedError(Exception):
    """The caller asked to stop during a wait. It never leaves the client."""


@dataclass(frozen=True)
class Clock:
    """The client's sources of time and chance.

    Attributes:
        now: seconds since 1970, only for dates in `Retry-After`.
        monotonic: seconds that never step back, for all durations.
        wait: waits this many seconds; returns true at once when the caller has asked to stop.
        random: a number from 0 up to 1, for jitter.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    wait: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)
    random: Callable[[], float] = random.random

    @classmethod
    def stopped_by(cls, stop: threading.Event) -> Clock:
        """The system's time, with waits that end at once when `stop` is set."""
        return cls(wait=stop.wait)

    def pause(self, seconds: float) -> None:
        """Wait this many seconds.

        Raises:
            StoppedError: the caller asked to stop before or during the wait.
        """
        if self.wait(seconds):
            raise StoppedError
