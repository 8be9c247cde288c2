"""Time, waiting and jitter, passed in: the client never asks the system for them on its own.

A wait ends at once when the caller stops, and says so.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["Clock", "StoppedError"]


class StoppedError(Exception):
    """The caller asked to stop while something waited. Never leaves the client."""


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _random() -> float:
    return random.random()  # noqa: S311 - jitter spreads retries; nothing secret hangs on it


@dataclass(frozen=True)
class Clock:
    """What the client knows of time.

    Attributes:
        now: seconds since 1970, for `Retry-After` dates alone.
        monotonic: seconds from any start, never stepping back: every duration is told by it.
        wait: waits so many seconds; true, and at once, when the caller has asked to stop.
        random: a number from 0 up to 1, for jitter.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    wait: Callable[[float], bool] = _sleep
    random: Callable[[], float] = _random

    @classmethod
    def stopped_by(cls, stop: threading.Event) -> Clock:
        """The system's time, whose waits all end at once when `stop` is set."""
        return cls(wait=stop.wait)

    def pause(self, seconds: float) -> None:
        """Wait so many seconds.

        Raises:
            StoppedError: the caller asked to stop before or while it waited.
        """
        if self.wait(seconds):
            raise StoppedError
