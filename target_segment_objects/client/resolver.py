"""Resolves host names within a deadline.

`getaddrinfo` cannot be interrupted, and returns only when name servers answer or the system gives
up, after many seconds. So it runs on a thread of its own; the exchange waits for that thread or for
its own deadline.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from target_segment_objects.client.deadlines import Deadline

__all__ = ["NameResolver"]

_Addresses = list[tuple[Any, ...]]


class NameResolver:
    """Resolves host names. At most one lookup of a name runs at a time, and is shared.

    A lookup that nobody waits for any longer goes on until the system ends it. So an outage of the
    name servers leaves one thread behind, and not one for each attempt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Future[_Addresses]] = {}

    def resolve(self, host: str, port: int, deadline: Deadline) -> _Addresses:
        """The addresses of a host, as `getaddrinfo` returns them.

        Raises:
            OSError: the name cannot be resolved; `TimeoutError` when the deadline passed first.
            UnicodeError: it is not a host name.
            ThreadError: the system cannot start a thread for the lookup.
        """
        with self._lock:
            lookup = self._running.get((host, port))
            if lookup is None:
                lookup = Future()
                # The thread takes this lock before it ends, so that it finds its entry.
                start_thread(self._run, "segment-names", host, port, lookup)
                self._running[host, port] = lookup
        ended = threading.Event()
        lookup.add_done_callback(lambda _: ended.set())
        deadline.when_cut(ended.set)
        ended.wait()
        if not lookup.done():
            raise TimeoutError("the name was not resolved in time")
        return lookup.result()

    def _run(self, host: str, port: int, lookup: Future[_Addresses]) -> None:
        try:
            addresses = list(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised by `resolve`
            end = partial(lookup.set_exception, error)
        else:
            end = partial(lookup.set_result, addresses)
        # First, so that later callers start a new lookup.
        with self._lock:
            del self._running[host, port]
        end()
