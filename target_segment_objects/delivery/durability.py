"""Tracks which records Segment has accepted for good.

Invariant: a receipt is taken for records before they leave, travels with their data, and is settled
when that data is durable: answered 2xx, in a session that was finished, or in the dead letter.
"""

from __future__ import annotations

from collections import deque

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
    """Receipts in the order of their positions. It belongs to the thread that reads."""

    def __init__(self) -> None:
        self._receipts: deque[Receipt] = deque()

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
