"""`segment-objects emulator`: serve Segment's object APIs until a signal comes."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from target_segment_objects.commands.output import fail, print_lines, print_to_stderr
from target_segment_objects.emulator import Emulator, EmulatorError, is_loopback

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["run"]

_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM})


def run(options: Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Further signals do not interrupt the closing of the file."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # of the emulator's threads too
    try:
        return _serve(options)
    finally:
        while pending := signal.sigpending() & _SIGNALS:
            signal.sigwait(pending)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(options: Namespace) -> int:
    arguments = {name: value for name, value in vars(options).items() if name != "module"}
    if options.page is None:
        arguments["page"] = is_loopback(options.host)
    emulator = Emulator(**arguments)
    try:
        with emulator:
            if sys.stdout is not None:
                print_lines(emulator.url)
            signal.sigwait(_SIGNALS)
    except EmulatorError as error:
        return fail(str(error))
    except OSError as error:
        address = f"{options.host}:{options.port}"
        reason = os.strerror(error.errno) if error.errno else str(error)
        return fail(
            f"Cannot listen on {address}: {reason}; name a free port with `--port`, or any with "
            "`--port 0`."
        )
    answered = sum(1 for request in emulator.requests if request.status is not None)
    print_to_stderr(
        f"Answered the last {answered} requests, {len(emulator.refusals)} of them with a refusal."
    )
    return 0
