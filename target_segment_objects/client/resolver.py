"""Names resolved within a deadline: the system's own call cannot be ended, but waiting for it can.

`getaddrinfo` comes back when the name servers answer or the resolver gives up, which takes many
seconds. It runs on a thread of its own here; the exchange waits for it or for its own deadline.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from target_segment_objects.threads import start_thread

if TYPE_CHECKING:
    from target_segment_objects.client.deadlines import Deadline

__all__ = ["NameResolver"]

_Addresses = list[tuple[Any, ...]]


class NameResolver:
    """Resolves names. At most one lookup of a name runs at a time; all that ask share it.

    A lookup that nobody waits for any longer goes on until the system ends it. So an outage of
    the name servers leaves one thread behind and not one for each attempt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Future[_Addresses]] = {}

    def resolve(self, host: str, port: int, deadline: Deadline) -> _Addresses:
        """The addresses of a host, as `getaddrinfo` has them.

        Raises:
            OSError: the name cannot be resolved; `TimeoutError` when the deadline ends the waiting.
            UnicodeError: it is no name.
            ThreadError: there is no thread to look it up on.
        """
        lookup = self._lookup(host, port)
        ended = threading.Event()
        lookup.add_done_callback(lambda _: ended.set())
        deadline.when_shut(ended.set)
        ended.wait()
        if not lookup.done():
            raise TimeoutError("the name was not resolved in time")
        return lookup.result()

    def _lookup(self, host: str, port: int) -> Future[_Addresses]:
        with self._lock:
            lookup = self._running.get((host, port))
            if lookup is None:
                lookup = Future()
                # It ends behind this lock, so that it finds what it ends.
                start_thread(self._run, "segment-names", host, port, lookup)
                self._running[host, port] = lookup
            return lookup

    def _run(self, host: str, port: int, lookup: Future[_Addresses]) -> None:
        found: _Addresses = []
        failure: Exception | None = None
        try:
            found = list(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failure = error
        # First: who asks from now on wants a new answer.
        with self._lock:
            del self._running[host, port]
        if failure is None:
            lookup.set_result(found)
        else:
            lookup.set_exception(failure)
