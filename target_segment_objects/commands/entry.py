"""The entry points of both commands. From here on, a signal ends the process quietly.

The imports of a command take half a second, and Ctrl-C during them would show a traceback. Nothing
has been read or opened yet, so the process can simply exit. Later the commands handle signals
themselves (`run.signals`). This module imports as little as possible, not even `typing`, because
signals are not handled before it is imported.
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
"""The exit status of a process that a signal ended is this plus the signal's number."""


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
    """End the process at a signal, unless it was ignored from the start, as with `nohup`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(_SIGNALLED + number)
