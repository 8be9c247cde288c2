"""In which order updates reach the store: as they came with `Synchronous: true`, else by dice.

The asynchronous API may apply updates of one object that were sent close together out of order
[doc]. Here they wait for each other a moment and then go on in an order that depends on the seed,
the object and the values alone, so that a run can be replayed.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.emulator.store.memory import Update

_Key = tuple[str, str]


class Ordering:
    """Updates between their answer and the store."""

    def __init__(
        self, apply: Callable[[Sequence[Update]], None], seed: int, window_seconds: float
    ) -> None:
        """Hand updates on to `apply`, asynchronous ones after `window_seconds`."""
        self._apply = apply
        self._seed = seed
        self._window = window_seconds
        self._lock = threading.RLock()
        self._waiting: dict[_Key, list[Update]] = {}
        self._oldest = 0.0

    def take(self, updates: Sequence[Update], *, synchronous: bool) -> None:
        """Take the updates of one call; synchronous ones are applied on return.

        Earlier asynchronous updates of their objects are applied before them.
        """
        with self._lock:
            if synchronous:
                if self._waiting:
                    keys = [(update.collection, update.id) for update in updates]
                    earlier = [update for key in keys for update in self._release(key)]
                    self._apply(earlier)
                self._apply(updates)
                return
            if not self._waiting:
                self._oldest = time.monotonic()
            for update in updates:
                self._waiting.setdefault((update.collection, update.id), []).append(update)

    def settle(self, *, everything: bool) -> bool:
        """Apply what has waited long enough, or everything; tell whether something still waits."""
        with self._lock:
            if everything or time.monotonic() - self._oldest >= self._window:
                released = [update for key in list(self._waiting) for update in self._release(key)]
                if released:
                    self._apply(released)
            return bool(self._waiting)

    def _release(self, key: _Key) -> list[Update]:
        updates = self._waiting.pop(key, [])
        if len(updates) > 1:
            values = [update.properties for update in updates]
            dice = random.Random(f"{self._seed}:{key}:{values}")  # noqa: S311 replayable
            dice.shuffle(updates)
        return updates
