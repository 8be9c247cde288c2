"""What the commands write to stdout and stderr."""

from __future__ import annotations

import os
import sys

__all__ = ["OutputFailedError", "fail", "print_lines", "print_to_stderr"]


class OutputFailedError(Exception):
    """Stdout cannot be written.

    Attributes:
        is_pipe: whether the reader has closed it, as `head` does. No message is printed then.
    """

    def __init__(self, message: str, *, is_pipe: bool = False) -> None:
        super().__init__(message)
        self.is_pipe = is_pipe


def print_lines(*lines: object) -> None:
    """Print lines to stdout, and flush it.

    Raises:
        OutputFailedError: stdout is closed or full, or its reader has closed it.
    """
    if sys.stdout is None:
        raise OutputFailedError("stdout is closed")
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except OSError as error:
        # Otherwise the interpreter's final flush would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputFailedError(
            f"stdout cannot be written: {error.strerror or error}",
            is_pipe=isinstance(error, BrokenPipeError),
        ) from None


def print_to_stderr(message: str) -> None:
    """Print a line to stderr."""
    print(message, file=sys.stderr)


def fail(message: str) -> int:
    """Print an error to stderr, and return the exit status 1."""
    print_to_stderr(message)
    return 1
