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

_MOST_STATES: Final = 4_096
_MOST_BYTES: Final = 16 << 20
_EVERY_SECONDS: Final = 1.0


class Checkpoint:
    """A FIFO of (position, state): a state's position is how many records were read before it.

    Args:
        write: prints one state; called with the bytes of the state alone.
        on_durable: see `durability.DurabilityLog`; asked for the oldest state that waits.
        every_seconds: how often a state is printed at most, the last one apart.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        on_durable: Callable[[int, Callable[[int], None]], None],
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        self._write = write
        self._on_durable = on_durable
        self._asked = False
        self._every_seconds = every_seconds
        self._pending: deque[tuple[int, bytes]] = deque()
        self._pending_bytes = 0
        self._safe: bytes | None = None
        self._not_before = float("-inf")

    @property
    def has_pending(self) -> bool:
        """Whether any state waits for its records or for its second to pass."""
        return bool(self._pending) or self._safe is not None

    def add(self, position: int, state: bytes) -> None:
        """A state was read after so many records."""
        if self._pending and self._pending[-1][0] == position:
            self._pending_bytes -= len(self._pending.pop()[1])
        self._pending.append((position, state))
        self._pending_bytes += len(state)
        if len(self._pending) > _MOST_STATES or self._pending_bytes > _MOST_BYTES:
            self._thin_out()
        self._ask()

    def _ask(self) -> None:
        if self._pending and not self._asked:
            self._asked = True
            self._on_durable(self._pending[0][0], self._mark_durable)

    def _thin_out(self) -> None:
        """Forget every other state but the last: later ones cover them; only freshness is lost."""
        kept = list(self._pending)
        kept = kept[1:-1:2] + kept[-1:]
        self._pending = deque(kept)
        self._pending_bytes = sum(len(state) for _, state in kept)

    def _mark_durable(self, durable: int) -> None:
        """The first `durable` records are safe."""
        self._asked = False
        while self._pending and self._pending[0][0] <= durable:
            _, self._safe = self._pending.popleft()
            self._pending_bytes -= len(self._safe)
        self._ask()

    def print_if_due(self, now: float) -> float | None:
        """Print the newest safe state unless one was printed within the last second.

        Args:
            now: on the monotonic clock.

        Returns:
            When a safe state that waits may be printed; `None` when there is none.
        """
        if self._safe is None:
            return None
        if now < self._not_before:
            return self._not_before
        self._not_before = now + self._every_seconds
        self.print_now()
        return None

    def print_now(self) -> None:
        """Print the newest safe state now: nothing more is coming."""
        state, self._safe = self._safe, None
        if state is not None:
            self._write(state)
