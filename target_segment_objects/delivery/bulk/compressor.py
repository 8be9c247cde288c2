"""The thread that compresses, and the queue in front of it, which is bounded by bytes.

Invariants: blocks and calls keep their order: blocks are compressed into parts, and calls pass
through. The reading thread waits while the queue is full, but never for a thread that has ended.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from target_segment_objects.delivery.bulk.level import AdaptiveLevel
from target_segment_objects.delivery.bulk.parts import Block
from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.delivery.bulk.session import BulkSession
    from target_segment_objects.delivery.limits import Level

__all__ = ["Compressor"]

_QUEUE_BYTES: Final = 4 << 20
"""Bytes of object lines in the queue; a block that is larger goes alone."""


def _max_compressed_bytes(block: Block) -> int:
    """The bytes that a block takes in the spool at most: stored uncompressed, with the frames."""
    return len(block.lines) + len(block.lines) // 1000 + 64


class Compressor:
    """Compresses blocks on a thread of its own.

    Args:
        level: the compression level.
        submit_call: called on the thread with the calls of each session, in order: those that were
            submitted, and the uploads of its parts.
        on_failure: called on the thread with the error that ended it, a `SpoolError` or a bug.

    Attributes:
        pending_bytes: bytes of the blocks that are not in the spool yet.
    """

    def __init__(
        self,
        level: Level,
        submit_call: Callable[[BulkSession, Callable[[], None]], None],
        on_failure: Callable[[BulkSession, BaseException], None],
    ) -> None:
        self._submit_call = submit_call
        self._on_failure = on_failure
        self._level = AdaptiveLevel(level, _QUEUE_BYTES)
        self._queue: deque[tuple[BulkSession, Block | Callable[[], None]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._ended = False
        self.pending_bytes = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            ThreadError: it cannot be started.
        """
        self._thread = start_thread(self._run, "compress")

    def write(self, session: BulkSession, block: Block) -> None:
        """Add a block to the queue; waits for space in it, unless the thread has ended."""
        size = _max_compressed_bytes(block)
        with self._changed:
            while (
                self.pending_bytes and self.pending_bytes + size > _QUEUE_BYTES and not self._ended
            ):
                self._changed.wait()
            self.pending_bytes += size
            self._queue.append((session, block))
            self._changed.notify_all()

    def call(self, session: BulkSession, call: Callable[[], None]) -> None:
        """Submit a call after the uploads of all parts that were written before it."""
        with self._changed:
            self._queue.append((session, call))
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until every block is in the spool, or the thread has ended."""
        with self._changed:
            while self.pending_bytes and not self._ended:
                self._changed.wait()

    def close(self) -> None:
        """End the thread after the block that it compresses. The rest of the queue is dropped."""
        with self._changed:
            self._closing = True
            self._queue.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    # What follows runs on the thread.

    def _run(self) -> None:
        try:
            while True:
                began = time.monotonic()
                with self._changed:
                    while not self._queue and not self._closing:
                        self._changed.wait()
                    if self._closing:
                        return
                    session, work = self._queue.popleft()
                waited = time.monotonic() - began
                try:
                    self._process(session, work, waited)
                except BaseException as error:  # noqa: BLE001  raised again on the reading thread
                    self._on_failure(session, error)
                    return
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _process(
        self, session: BulkSession, work: Block | Callable[[], None], waited: float
    ) -> None:
        if not isinstance(work, Block):
            self._submit_call(session, work)
            return
        size, max_size = len(work.lines), _max_compressed_bytes(work)
        level = self._level.choose(size, waited, self.pending_bytes - max_size)
        began = time.thread_time()
        part = session.writer.write(work, level)
        self._level.observe(level, size, time.thread_time() - began)
        if part is not None:
            self._submit_call(session, lambda: session.upload(part))
        with self._changed:
            self.pending_bytes -= max_size
            self._changed.notify_all()
