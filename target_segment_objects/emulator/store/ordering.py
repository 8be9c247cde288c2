"""The order in which updates reach the store: as sent with `Synchronous: true`, else random.

The asynchronous API may apply updates of one object that were sent close together out of order
[doc]. Here they wait for a moment, and are then applied in an order that depends only on the seed,
the object and the values, so that a run can be repeated.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.emulator.store.contract import Update

_Key = tuple[str, str]


class Ordering:
    """Updates that have been accepted and may not be in the store yet."""

    def __init__(
        self, apply: Callable[[Sequence[Update]], None], seed: int, window_seconds: float
    ) -> None:
        """Pass updates to `apply`, asynchronous ones after `window_seconds`."""
        self._apply = apply
        self._seed = seed
        self._window = window_seconds
        self._lock = threading.RLock()
        self._pending: dict[_Key, list[Update]] = {}
        self._oldest = 0.0

    def submit(self, updates: Sequence[Update], *, synchronous: bool) -> None:
        """Accept the updates of one call; synchronous ones are applied on return.

        Earlier asynchronous updates of the same objects are applied before them.
        """
        with self._lock:
            if synchronous:
                if self._pending:
                    keys = [(update.collection, update.id) for update in updates]
                    earlier = [update for key in keys for update in self._release(key)]
                    self._apply(earlier)
                self._apply(updates)
                return
            if not self._pending:
                self._oldest = time.monotonic()
            for update in updates:
                self._pending.setdefault((update.collection, update.id), []).append(update)

    def apply_due(self, *, everything: bool) -> bool:
        """Apply updates that have waited long enough, or all; tell whether any are left."""
        with self._lock:
            if everything or time.monotonic() - self._oldest >= self._window:
                released = [update for key in list(self._pending) for update in self._release(key)]
                if released:
                    self._apply(released)
            return bool(self._pending)

    def _release(self, key: _Key) -> list[Update]:
        updates = self._pending.pop(key, [])
        if len(updates) > 1:
            values = [update.properties for update in updates]
            rng = random.Random(f"{self._seed}:{key}:{values}")  # noqa: S311 repeatable
            rng.shuffle(updates)
        return updates
