"""Tracks which records Segment has accepted for good, and runs what had to wait for that.

Invariant: a receipt is taken for records before they leave, travels with their data, and is settled
when that data is durable: answered 2xx, in a session that was finished, or in the dead letter. An
action that depends on records waits here until all earlier records, of every stream, are durable.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DurabilityLog", "Receipt"]


class Receipt:
    """Stands for records that were taken, from one position on.

    Attributes:
        first: the position of the first of them.
        is_durable: whether all of them are.
    """

    __slots__ = ("first", "is_durable")

    def __init__(self, first: int) -> None:
        self.first = first
        self.is_durable = False

    def settle(self) -> None:
        """All of them are durable."""
        self.is_durable = True


class DurabilityLog:
    """Receipts in the order of their positions, and actions that wait for a position.

    It belongs to the thread that reads.
    """

    def __init__(self) -> None:
        self._receipts: deque[Receipt] = deque()
        self._actions: list[tuple[int, int, Callable[[int], None]]] = []
        self._numbers = count()

    def receipt(self, first: int) -> Receipt:
        """Issue a receipt for records from this position on. Positions must not decrease."""
        receipt = Receipt(first)
        self._receipts.append(receipt)
        return receipt

    def durable(self, position: int) -> int:
        """How many of the first `position` records are durable, without a gap."""
        receipts = self._receipts
        while receipts and receipts[0].is_durable:
            receipts.popleft()
        return receipts[0].first - 1 if receipts else position

    def on_durable(self, position: int, action: Callable[[int], None]) -> None:
        """Register an action, which `advance` calls when the first `position` records are durable.

        Args:
            position: how many records it waits for.
            action: called once, with how many are durable then. Actions are called in the order of
                their positions, and those of one position in the order in which they came.
        """
        heapq.heappush(self._actions, (position, next(self._numbers), action))

    def advance(self, position: int) -> None:
        """Call the actions whose records are durable; `position` records were read so far."""
        durable = self.durable(position)
        while self._actions and self._actions[0][0] <= durable:
            _, _, action = heapq.heappop(self._actions)
            action(durable)
