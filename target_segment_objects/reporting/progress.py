"""The progress line: the last line of the terminal while the run goes on.

Invariants: a thread of its own draws the line a few times a second, whatever the run does. All
other output to the terminal is written above it, in whole lines. Nothing of it is left when the run
ends, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from target_segment_objects.reporting.table import byte_size, scaled
from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.reporting.counts import RunCounts

__all__ = ["Progress"]

_DRAW_SECONDS: Final = 0.2
_SPEED_SECONDS: Final = 5.0
"""The objects per second are those of this time."""
_MARGIN: Final = 3
"""Characters that stay free at the right, so that an echoed `^C` does not begin another line."""
_DEFAULT_COLUMNS: Final = 80
_ERASE: Final = "\r\x1b[K"
_TERMINAL_LOCK: Final = threading.RLock()
"""Its owner writes to the terminal. A signal handler may log while the same thread has it."""


class Progress:
    """The progress line, until `close`.

    Args:
        counts: the run's numbers.
        parts: whether parts are sent, and not calls.

    Raises:
        ThreadError: no thread can be started to draw it; the terminal is as it was.
    """

    def __init__(self, counts: RunCounts, *, parts: bool) -> None:
        self._counts = counts
        self._parts = parts
        self._objects_at: deque[tuple[float, int]] = deque()
        self._closing = threading.Event()
        self._stderr = sys.stderr
        self._thread = start_thread(self._draw_until_closed, "progress")
        self._above = _AboveProgressLine(self)
        self._handlers = [handler for handler in _handlers() if handler.stream is sys.stderr]
        for handler in self._handlers:
            handler.setStream(self._above)
        sys.stderr = cast("TextIO", self._above)

    @contextlib.contextmanager
    def output_above(self) -> Iterator[TextIO]:
        """Take the line away while something else is written to the terminal."""
        with _TERMINAL_LOCK:
            self._write(_ERASE)
            yield self._stderr
            self._draw()

    def close(self) -> None:
        """Take the line away, and give stderr back. Again, it does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            self._write(_ERASE + self._above.partial_line)
        sys.stderr = self._stderr
        for handler in self._handlers:
            handler.setStream(self._stderr)

    def restore(self) -> None:
        """Take the line away at once, if possible: the process is about to be ended."""
        if _TERMINAL_LOCK.acquire(timeout=_DRAW_SECONDS):  # kept, so that nothing draws any more
            with contextlib.suppress(OSError, ValueError):
                self._write(_ERASE)

    def _draw_until_closed(self) -> None:
        while True:
            try:
                with _TERMINAL_LOCK:
                    self._draw()
            except (OSError, ValueError):  # the terminal is gone; the run goes on
                return
            if self._closing.wait(_DRAW_SECONDS):
                return

    def _draw(self) -> None:
        if self._closing.is_set():
            return
        columns = os.get_terminal_size(self._stderr.fileno()).columns or _DEFAULT_COLUMNS
        self._write(_ERASE + self._text()[: max(1, columns - _MARGIN)])

    def _write(self, text: str) -> None:
        self._stderr.write(text)
        self._stderr.flush()

    def _text(self) -> str:
        counts = self._counts
        # Copies, since other threads add to the dictionaries.
        streams, collections = list(counts.by_stream.values()), list(counts.collections.values())
        records = sum(stream.read for stream in streams)
        objects = sum(stream.encoded for stream in streams)
        size = sum(collection.bytes + collection.requests.bytes for collection in collections)
        answered = sum(list(counts.calls.values())) - counts.failures
        sent = f"{counts.sessions.parts:,} parts" if self._parts else f"{answered:,} calls"
        speed = scaled(self._speed(objects), ("", "k", "M", "G"))
        return (
            f"{_retry(counts.retry_at)}{records:,} records, {speed} objects/s, {sent}, "
            f"{byte_size(size)}, {counts.rejects:,} rejects "
            f"[{_elapsed(time.monotonic() - counts.began)}]"
        )

    def _speed(self, objects: int) -> float:
        """Objects per second, over the last seconds."""
        now = time.monotonic()
        self._objects_at.append((now, objects))
        while len(self._objects_at) > 2 and self._objects_at[1][0] <= now - _SPEED_SECONDS:  # noqa: PLR2004
            self._objects_at.popleft()
        then, before = self._objects_at[0]
        return (objects - before) / (now - then) if now > then else 0.0


class _AboveProgressLine:
    """A text stream whose lines are written above the progress line."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stream = sys.stderr
        self.partial_line = ""

    def write(self, text: str) -> int:
        """Write the lines that are complete now."""
        with _TERMINAL_LOCK:
            complete, line_break, self.partial_line = (self.partial_line + text).rpartition("\n")
            if line_break:
                with self._progress.output_above() as stream:
                    stream.write(f"{complete}\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _retry(at: float | None) -> str:
    """That a server is waited for; it comes first, since the line may be cut."""
    if at is None:
        return ""
    seconds = math.ceil(at - time.monotonic())
    return f"trying again in {seconds} s: " if seconds > 0 else "trying again: "


def _elapsed(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """The handlers of all loggers that write to a stream."""
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers:
                if isinstance(handler, logging.StreamHandler):
                    yield handler
