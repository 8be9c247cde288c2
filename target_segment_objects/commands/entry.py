"""Where both commands begin: a signal ends them quietly from their first line on.

What they need takes half a second to import, and Ctrl-C in it would be a traceback. Nothing is read
or open yet, so there is nothing to end. Later the commands handle signals themselves (`shutdown`).
This module imports as little as it can, since nothing is handled before it is there: no `typing`.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

__all__ = ["segment_objects", "target"]

_SIGNALLED = 128
"""A shell's exit status of a process that a signal ended is this and the signal's number."""


def target() -> None:
    """Run `target-segment-objects`."""
    _end_at_a_signal()
    from target_segment_objects.singer import main  # noqa: PLC0415  it takes half a second

    main()


def segment_objects() -> NoReturn:
    """Run `segment-objects`."""
    _end_at_a_signal()
    from target_segment_objects.commands.main import main  # noqa: PLC0415

    sys.exit(main())


def _end_at_a_signal() -> None:
    """Unless whoever started the process had it ignored, as `nohup` does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(_SIGNALLED + number)
