"""Starts every thread. If the system allows no more threads, the error says so in one sentence."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from target_segment_objects.errors import ThreadError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["start_thread"]


def start_thread(run: Callable[..., None], name: str, *arguments: object) -> threading.Thread:
    """Start a daemon thread: the process can end without waiting for it.

    Raises:
        ThreadError: the system starts no more threads.
    """
    # A daemon, since it may wait for a name server or a terminal when the process ends.
    thread = threading.Thread(target=run, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise ThreadError(
            "the system cannot start more threads: raise the limit of processes (`ulimit -u`, or "
            "that of the container), or lower `max_concurrency`, and run again"
        ) from None
    return thread
