"""What a person sees: a line of progress while the run goes on.

The rules that it guards: the line is drawn a few times a second by a thread of its own, whatever
the run does; whatever else is written to the terminal stands above it, whole; nothing of it is left
when the run ends, however it ends.

It is imported only where stderr is a terminal, since `tqdm` takes its time.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from tqdm import tqdm
from tqdm.utils import disp_trim

from target_segment_objects.errors import ThreadError
from target_segment_objects.reporting.summary import size
from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.reporting.counts import RunCounts, Totals

__all__ = ["Progress"]

_SECONDS: Final = 0.2
"""Between two drawings."""
_SPEED_SECONDS: Final = 5.0
"""The time that the objects a second are those of."""
_ROOM: Final = 3
"""Characters that stay free at the right, so that `^C` does not begin another line."""
_COLUMNS: Final = 80
_ERASE: Final = "\r\x1b[K"
_FORMAT: Final = (
    "{retry}{records} records, {speed} objects/s, {sent}, {size}, {rejects} rejects [{elapsed}]"
)


_LOCK: Final = threading.RLock()
"""Who has it writes to the terminal."""


class _Line(tqdm):  # type: ignore[type-arg]  # it counts nothing itself
    """The line; `shown` is what is in it."""

    monitor_interval = 0  # no thread but ours
    _lock = _LOCK  # tqdm's own is one for processes too, which may need a process of its own

    def __init__(self, file: TextIO, shown: dict[str, str]) -> None:
        self.shown = shown
        super().__init__(
            file=file,
            leave=False,
            dynamic_ncols=True,
            bar_format=_FORMAT,
            disable=False,
            delay=0,
            position=0,
        )

    @property
    def format_dict(self) -> Any:
        """What tqdm fills its format with."""
        return {**super().format_dict, **self.shown}

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the line, cut where the terminal ends."""
        if msg is None:
            told = str(self)
            # A terminal that does not know its width has 0 columns, of which tqdm makes -1.
            columns = self.ncols if self.ncols and self.ncols > 0 else _COLUMNS
            msg = disp_trim(told, max(1, columns - _ROOM))
        super().display(msg, pos)

    def clear(self, nolock: bool = False) -> None:  # noqa: FBT001, FBT002  as tqdm has it
        """Take the line away, and what the terminal has echoed behind it."""
        with contextlib.nullcontext() if nolock else _LOCK:
            self.fp.write(_ERASE)
            self.fp.flush()


class _Above:
    """A text stream whose lines are written above the progress line, each as a whole."""

    def __init__(self, stream: TextIO, line: _Line) -> None:
        self._stream = stream
        self._line = line
        self._partial = ""

    def write(self, text: str) -> int:
        """Write the lines that are complete now."""
        with _LOCK:
            whole, _, self._partial = (self._partial + text).rpartition("\n")
            if whole or text.startswith("\n"):
                with self._line.external_write_mode(file=self._line.fp, nolock=True):
                    self._stream.write(whole + "\n")
                    self._stream.flush()
        return len(text)

    def end(self) -> None:
        """Write what is left of a line."""
        if self._partial:
            self._stream.write(self._partial)
            self._partial = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Progress:
    """The progress line, from its making to `close`.

    Args:
        tally: the run's numbers.
        parts: whether parts are sent, and not calls.

    Raises:
        ThreadError: there is no thread to draw it on; the terminal is as it was.
    """

    def __init__(self, tally: RunCounts, *, parts: bool) -> None:
        self._tally = tally
        self._parts = parts
        self._seen: deque[tuple[float, int]] = deque()
        self._closing = threading.Event()
        self._stderr = sys.stderr
        self._line = _Line(sys.stderr, self._shown(tally.totals()))
        try:
            self._thread = start_thread(self._draw, "progress")
        except ThreadError:
            self._line.close()
            self._line.clear()
            raise
        self._above = _Above(sys.stderr, self._line)
        self._handlers = [each for each in _handlers() if each.stream is sys.stderr]
        for handler in self._handlers:
            handler.setStream(self._above)
        sys.stderr = cast("TextIO", self._above)

    @contextlib.contextmanager
    def output_above(self) -> Iterator[None]:
        """The line is not there within: something else writes to the same terminal."""
        with self._line.external_write_mode(file=self._line.fp):
            yield

    def close(self) -> None:
        """Take the line away, and give stderr back. Again, it does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        with contextlib.suppress(OSError, ValueError):  # the terminal may have gone
            self._line.close()
            self._line.clear()
            self._above.end()
        sys.stderr = self._stderr
        for handler in self._handlers:
            handler.setStream(self._stderr)

    def restore(self) -> None:
        """Take the line away as well as can be, at once: the process is about to be ended."""
        if _LOCK.acquire(timeout=_SECONDS):  # and keep it: nothing draws any more
            with contextlib.suppress(OSError, ValueError):
                self._line.clear(nolock=True)

    def _draw(self) -> None:
        while not self._closing.wait(_SECONDS):
            self._line.shown = self._shown(self._tally.totals())
            try:
                self._line.refresh()
            except (OSError, ValueError):  # the terminal has gone; the run goes on
                return

    def _shown(self, sums: Totals) -> dict[str, str]:
        done = f"{sums.parts:,} parts" if self._parts else f"{sums.calls:,} calls"
        return {
            "retry": _retry(sums.retry_seconds),
            "records": f"{sums.records:,}",
            "speed": tqdm.format_sizeof(self._speed(sums.objects)),
            "sent": done,
            "size": size(sums.bytes),
            "rejects": f"{sums.rejects:,}",
        }

    def _speed(self, objects: int) -> float:
        """Objects a second, of the last seconds."""
        now = time.monotonic()
        self._seen.append((now, objects))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _SPEED_SECONDS:  # noqa: PLR2004
            self._seen.popleft()
        then, before = self._seen[0]
        return (objects - before) / (now - then) if now > then else 0.0


def _retry(seconds: float | None) -> str:
    """Before all else, since the line may be cut: that it is waited for a server."""
    if seconds is None:
        return ""
    return f"trying again in {math.ceil(seconds)} s: " if seconds else "trying again: "


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """Every handler of every logger that writes to a stream."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers:
                if isinstance(handler, logging.StreamHandler):
                    yield handler
