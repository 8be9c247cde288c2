"""Chooses the compression level of each block, from how busy the compressing thread is.

Invariant: with `auto`, the level for small parts is used only while it takes little CPU time and
nothing waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from target_segment_objects.delivery.limits import Level

__all__ = ["FAST", "SMALL", "AdaptiveLevel"]

FAST: Final = 1
SMALL: Final = 6

_MAX_CPU_SHARE_DIVISOR: Final = 4
"""`SMALL` takes at most one part in this many of a core."""
_DEFAULT_SECONDS_PER_BYTE: Final = 1 / 50e6
"""The cost of `SMALL` until it was measured."""
_MIN_MEASURED_BYTES: Final = 1 << 16
"""The time of a smaller block is mostly that of the start of a part."""
_SMOOTHING: Final = 0.75
"""The weight of all earlier measurements after the next one."""


class AdaptiveLevel:
    """Chooses the level of each block.

    It chooses `SMALL` if the compressing thread has waited so long for the last blocks that `SMALL`
    takes a quarter of a core at most, and if at most half of the queue is taken. Otherwise it
    chooses `FAST`.

    Args:
        level: `auto`, or the level that is always chosen.
        queue_bytes: the bytes that the queue in front of the thread may have.
    """

    def __init__(self, level: Level, queue_bytes: int) -> None:
        self._fixed = None if level == "auto" else level
        self._queue_bytes = queue_bytes
        self._cost = _DEFAULT_SECONDS_PER_BYTE
        self._waited = 0.0
        self._bytes = 0.0

    def choose(self, size: int, waited: float, queued: int) -> int:
        """The level for the next block.

        Args:
            size: its bytes.
            waited: seconds that the thread was idle before it came.
            queued: bytes of the blocks behind it.
        """
        if self._fixed is not None:
            return self._fixed
        self._waited = self._waited * _SMOOTHING + waited
        self._bytes = self._bytes * _SMOOTHING + size
        is_idle = self._waited >= (_MAX_CPU_SHARE_DIVISOR - 1) * self._cost * self._bytes
        return SMALL if is_idle and queued <= self._queue_bytes // 2 else FAST

    def observe(self, level: int, size: int, seconds: float) -> None:
        """Learn from the CPU seconds that a block took."""
        if level == SMALL and size >= _MIN_MEASURED_BYTES:
            self._cost = self._cost * _SMOOTHING + seconds / size * (1 - _SMOOTHING)
