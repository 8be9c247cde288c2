"""What is shown on a terminal: the progress line, and a table at the end.

Invariant: if stderr is not a terminal, it gets log lines only, and the run spends no time on
anything else.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final

from target_segment_objects.errors import ThreadError
from target_segment_objects.reporting.summary import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.reporting.counts import RunCounts
    from target_segment_objects.reporting.progress import Progress

__all__ = ["Terminal"]

_DEFAULT_COLUMNS: Final = 80
"""The width of a terminal that does not know its own."""


class Terminal:
    """Stderr, if it is a terminal.

    Args:
        counts: the run's numbers.

    Attributes:
        logs_the_summary: whether the log must contain the numbers of the table.
    """

    def __init__(self, counts: RunCounts) -> None:
        self._counts = counts
        self._progress: Progress | None = None
        self._is_terminal = False
        self.logs_the_summary = True

    def open(self, *, parts: bool) -> None:
        """Show the progress line, if there is a terminal.

        Args:
            parts: whether parts are sent, and not calls.
        """
        self._is_terminal = _is_tty(sys.stderr)
        if not self._is_terminal:
            return
        # With a configuration of its own, the log may be written elsewhere.
        self.logs_the_summary = "SINGER_SDK_LOG_CONFIG" in os.environ
        if os.environ.get("TERM") != "dumb" and not os.environ.get("TQDM_DISABLE"):
            # Imported here since most runs have no terminal.
            from target_segment_objects.reporting.progress import Progress  # noqa: PLC0415

            with contextlib.suppress(ThreadError):  # the run works without it
                self._progress = Progress(self._counts, parts=parts)

    @contextlib.contextmanager
    def output_above_progress(self) -> Iterator[None]:
        """Make room for output to stdout, which may be the same terminal."""
        if self._progress is not None and _is_tty(sys.stdout):
            with self._progress.output_above():
                yield
        else:
            yield

    def restore(self) -> None:
        """Leave the terminal as it was, at once: the process is about to be ended."""
        if self._progress is not None:
            self._progress.restore()

    def close(self) -> None:
        """End the progress line, and print the table."""
        if self._progress is not None:
            self._progress.close()
        if self._is_terminal:
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
                columns = os.get_terminal_size(sys.stderr.fileno()).columns or _DEFAULT_COLUMNS
                sys.stderr.write(table(self._counts, columns))
                sys.stderr.flush()


def _is_tty(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]  # it may be None
    except (AttributeError, ValueError, OSError):
        return False
