"""Chooses the STATE to print: the newest whose earlier records, of every stream, are durable.

Invariant: a printed state is byte for byte one that the tap sent, and it never covers data that is
not durable.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Checkpoint"]

_MAX_STATES: Final = 4_096
_MAX_BYTES: Final = 16 << 20
_DEFAULT_INTERVAL_SECONDS: Final = 1.0


class Checkpoint:
    """Keeps states until the records before them are durable.

    Args:
        write: prints one state, given its bytes.
        on_durable: that of the `DurabilityLog`.
        interval_seconds: the least time between two printed states; the last one does not wait.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        on_durable: Callable[[int, Callable[[int], None]], None],
        interval_seconds: float = _DEFAULT_INTERVAL_SECONDS,
    ) -> None:
        self._write = write
        self._on_durable = on_durable
        self._is_waiting = False
        self._interval_seconds = interval_seconds
        self._pending: deque[tuple[int, bytes]] = deque()
        self._pending_bytes = 0
        self._durable_state: bytes | None = None
        self._next_print = float("-inf")

    def add(self, position: int, state: bytes) -> None:
        """A state was read after so many records; it replaces one at the same position."""
        if self._pending and self._pending[-1][0] == position:
            self._pending_bytes -= len(self._pending.pop()[1])
        self._pending.append((position, state))
        self._pending_bytes += len(state)
        if len(self._pending) > _MAX_STATES or self._pending_bytes > _MAX_BYTES:
            self._drop_half()
        self._wait_for_oldest()

    def _wait_for_oldest(self) -> None:
        if self._pending and not self._is_waiting:
            self._is_waiting = True
            self._on_durable(self._pending[0][0], self._mark_durable)

    def _drop_half(self) -> None:
        """Drop every other state but the last: later ones cover them, and are printed later."""
        kept = list(self._pending)
        kept = kept[1:-1:2] + kept[-1:]
        self._pending = deque(kept)
        self._pending_bytes = sum(len(state) for _, state in kept)

    def _mark_durable(self, durable: int) -> None:
        """The first `durable` records are durable."""
        self._is_waiting = False
        while self._pending and self._pending[0][0] <= durable:
            _, self._durable_state = self._pending.popleft()
            self._pending_bytes -= len(self._durable_state)
        self._wait_for_oldest()

    def print_if_due(self, now: float) -> float | None:
        """Print the newest durable state, unless one was printed within the last second.

        Args:
            now: on the monotonic clock.

        Returns:
            When the state that waits may be printed; `None` if none waits.
        """
        if self._durable_state is None:
            return None
        if now < self._next_print:
            return self._next_print
        self._next_print = now + self._interval_seconds
        self.print_now()
        return None

    def print_now(self) -> None:
        """Print the newest durable state now; for the end of a run."""
        state, self._durable_state = self._durable_state, None
        if state is not None:
            self._write(state)
