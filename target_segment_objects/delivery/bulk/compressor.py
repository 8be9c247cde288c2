"""From the reading thread to the one that compresses, and on: a queue that is bounded by bytes.

The rules that it guards: what goes in comes out in order, blocks as parts, calls as they are; the
reading thread waits when so many bytes are on their way, and never for a thread that has ended.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from target_segment_objects.delivery.bulk.gzip_member import AdaptiveLevel
from target_segment_objects.delivery.bulk.parts import Block
from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.delivery.bulk.session import BulkSession
    from target_segment_objects.delivery.limits import Level

__all__ = ["BulkPipe"]

_ROOM: Final = 4 << 20
"""Bytes of object lines that may be on their way; a block that is larger goes alone."""


def _at_most(block: Block) -> int:
    """The bytes that a block may have in the spool: stored as it is, each frame counted."""
    return len(block.lines) + len(block.lines) // 1000 + 64


class BulkPipe:
    """The compressing thread, and what waits for it.

    Args:
        level: how hard it compresses.
        then: called on the thread with each session's calls in order, uploads of its parts among
            them.
        failed: called on the thread with what ended it, a `SpoolError` or a bug.

    Raises:
        ThreadError: it cannot be started.
    """

    def __init__(
        self,
        level: Level,
        then: Callable[[BulkSession, Callable[[], None]], None],
        failed: Callable[[BulkSession, BaseException], None],
    ) -> None:
        self._then = then
        self._failed = failed
        self._levels = AdaptiveLevel(level, _ROOM)
        self._waiting: deque[tuple[BulkSession, Block | Callable[[], None]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._ended = False
        self.on_the_way = 0
        self._thread = start_thread(self._run, "compress")

    def write(self, session: BulkSession, block: Block) -> None:
        """Send a block; waits for room, unless the thread has ended.

        The bytes in `on_the_way` are those of the blocks that are not in the spool yet.
        """
        size = _at_most(block)
        with self._changed:
            while self.on_the_way and self.on_the_way + size > _ROOM and not self._ended:
                self._changed.wait()
            self.on_the_way += size
            self._waiting.append((session, block))
            self._changed.notify_all()

    def call(self, session: BulkSession, call: Callable[[], None]) -> None:
        """Send a call, which comes out after the uploads of all parts before it."""
        with self._changed:
            self._waiting.append((session, call))
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until every block is in the spool, or the thread has ended."""
        with self._changed:
            while self.on_the_way and not self._ended:
                self._changed.wait()

    def close(self) -> None:
        """End the thread after what it has in hand. What waits is dropped."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    # What follows runs on the thread.

    def _run(self) -> None:
        try:
            while True:
                began = time.monotonic()
                with self._changed:
                    while not self._waiting and not self._closing:
                        self._changed.wait()
                    if self._closing:
                        return
                    session, work = self._waiting.popleft()
                waited = time.monotonic() - began
                try:
                    self._do(session, work, waited)
                except BaseException as error:  # noqa: BLE001  raised again where it is seen
                    self._failed(session, error)
                    return
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _do(self, session: BulkSession, work: Block | Callable[[], None], waited: float) -> None:
        if not isinstance(work, Block):
            self._then(session, work)
            return
        size = len(work.lines)
        level = self._levels.find(size, waited, self.on_the_way - _at_most(work))
        began = time.thread_time()
        part = session.writer.write(work, level)
        self._levels.learn(level, size, time.thread_time() - began)
        if part is not None:
            self._then(session, lambda: session.upload(part))
        with self._changed:
            self.on_the_way -= _at_most(work)
            self._changed.notify_all()
