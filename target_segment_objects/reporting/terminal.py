"""Whether a person watches, and what they see then: the progress line, and a table at the end.

The rule that it guards: stderr that is no terminal gets log lines and nothing else, and pays for
nothing else.
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

_COLUMNS: Final = 80
"""Of a terminal that does not know its width."""


class Terminal:
    """Stderr, if it is a terminal; until `open` it is taken for none.

    Args:
        tally: the run's numbers.

    Attributes:
        logs_the_summary: whether what the table says is wanted in log lines (too).
    """

    def __init__(self, tally: RunCounts) -> None:
        self._tally = tally
        self._progress: Progress | None = None
        self._watched = False
        self.logs_the_summary = True

    def open(self, *, parts: bool) -> None:
        """Begin with the progress line, where there is a terminal.

        Args:
            parts: whether parts are sent, and not calls.
        """
        self._watched = _is_terminal(sys.stderr)
        if not self._watched:
            return
        # With a configuration of its own the log may go anywhere.
        self.logs_the_summary = "SINGER_SDK_LOG_CONFIG" in os.environ
        if os.environ.get("TERM") != "dumb" and not os.environ.get("TQDM_DISABLE"):
            # Imported where it is used: most runs have no terminal.
            from target_segment_objects.reporting.progress import Progress  # noqa: PLC0415

            with contextlib.suppress(ThreadError):  # the run can do without it
                self._progress = Progress(self._tally, parts=parts)

    @contextlib.contextmanager
    def output_above_progress(self) -> Iterator[None]:
        """Something is written to stdout within, which may be the same terminal."""
        if self._progress is not None and _is_terminal(sys.stdout):
            with self._progress.output_above():
                yield
        else:
            yield

    def restore(self) -> None:
        """The process is about to be ended: leave the terminal as it was."""
        if self._progress is not None:
            self._progress.restore()

    def close(self) -> None:
        """End the progress line, and print the table."""
        if self._progress is not None:
            self._progress.close()
        if self._watched:
            with contextlib.suppress(OSError, ValueError):  # the terminal may have gone
                columns = os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
                told = table(self._tally, columns)
                sys.stderr.write(told)
                sys.stderr.flush()


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]  # or there is none
    except (AttributeError, ValueError, OSError):
        return False
