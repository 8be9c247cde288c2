"""A bounded log of requests and responses, and the limit of 20 requests at once.

A request gets its number on arrival, before anything is checked, so that injected faults count
what the client sent and not what the emulator accepted. No write key is in the `repr` of the log
or among the headers.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from target_segment_objects.emulator.errors import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LOG_REQUESTS = 20_000
_LOG_BODY_BYTES = 64 * 1024 * 1024
_REMEMBERED_KEYS = 100
_FIRST_REFUSED_STATUS = 400
_FIRST_FAILED_STATUS = 500


class Headers(dict[str, str]):
    """A request's headers; the case of names does not matter."""

    def __getitem__(self, name: str) -> str:
        """Return the value of a header, whatever the case of its name."""
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        """Tell whether a header was sent."""
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """Return the value of a header, or `default`."""
        return super().get(name.lower(), default)


@dataclass
class RecordedRequest:
    """One request to the emulator; its fields are filled in while it is served."""

    call: str
    """`set`, `start`, `upload`, `finish`, `keep-alive`, or `other` for an unknown path."""
    number: int
    """Its number among the requests of its call, from 1."""
    method: str
    path: str
    headers: Headers = field(repr=False)
    at: float
    """The time of arrival on the emulator's clock, in seconds."""
    answered_at: float | None = None
    status: int | None = None
    """Of the response; None until there is one, and also when the connection was cut."""
    reason: str = ""
    """Why it was refused or failed; empty otherwise."""
    objects: int = 0
    """Objects in a valid set call or part."""
    body: bytes = field(default=b"", repr=False)
    """Of `set` and `finish` calls, as sent; the oldest are emptied when all exceed 64 MiB."""
    body_bytes: int = 0
    """Length of the body of any call, as sent."""
    sync_id: str | None = None
    client: str = ""
    """The client's IP address."""
    write_key: str | None = field(default=None, repr=False)


class LogSummary(NamedTuple):
    """The newest entries of the log, newest first, and totals since the start."""

    requests: list[RecordedRequest]
    refusals: list[RecordedRequest]
    calls: dict[str, int]
    """Requests by call."""
    objects: int
    """Objects in requests that got a 2xx."""
    refused: int
    """Requests that got a 4xx."""
    in_flight: int
    keys: list[str]
    """The hundred write keys that were first used last; they must not be shown."""


class RequestLog:
    """The log of one emulator, and its limit of simultaneous requests."""

    def __init__(self, clock: Callable[[], float], max_concurrency: int) -> None:
        """Allow `max_concurrency` requests at once per write key and per IP address."""
        self._clock = clock
        self._max_concurrency = max_concurrency
        self._lock = threading.Lock()
        self._log: deque[RecordedRequest] = deque(maxlen=_LOG_REQUESTS)
        self._refused: deque[RecordedRequest] = deque(maxlen=_LOG_REQUESTS)
        self._bodies: deque[RecordedRequest] = deque()
        self._body_bytes = 0
        self._counts: Counter[str] = Counter()
        self._running: Counter[tuple[str, str | None]] = Counter()
        self._in_flight = 0
        self._objects = 0
        self._refused_count = 0
        self._keys: dict[str, None] = {}
        self.peak = 0

    def start(self, request: RecordedRequest) -> None:
        """Number and log a request, which is in flight from now on."""
        with self._lock:
            self._counts[request.call] += 1
            request.number = self._counts[request.call]
            request.at = self._clock()
            self._log.append(request)
            self._in_flight += 1
            self.peak = max(self.peak, self._in_flight)
            self._running["ip", request.client] += 1
            self._running["key", request.write_key] += 1
            if request.write_key not in self._keys and request.write_key:
                self._keys[request.write_key] = None
                if len(self._keys) > _REMEMBERED_KEYS:
                    del self._keys[next(iter(self._keys))]

    def check_concurrency(self, request: RecordedRequest) -> None:
        """Refuse with 429 a request beyond the limit [doc: 20 per key and per IP address]."""
        with self._lock:
            running = max(
                self._running["ip", request.client], self._running["key", request.write_key]
            )
        if running > self._max_concurrency:
            reason = f"more than {self._max_concurrency} requests at once"
            raise RefusalError(429, reason, {"Retry-After": "1"})

    def finish(self, request: RecordedRequest, status: int | None, reason: str) -> None:
        """Log the response's status, None for a cut; only the first call for a request counts."""
        with self._lock:
            if request.answered_at is not None:
                return
            request.status = status
            request.reason = reason
            request.answered_at = self._clock()
            self._in_flight -= 1
            for sender in (("ip", request.client), ("key", request.write_key)):
                self._running[sender] -= 1
                if not self._running[sender]:
                    del self._running[sender]
            if status is not None:
                if status < _FIRST_REFUSED_STATUS:
                    self._objects += request.objects
                elif status < _FIRST_FAILED_STATUS:
                    self._refused.append(request)
                    self._refused_count += 1
            if request.body:
                self._keep(request)

    def _keep(self, request: RecordedRequest) -> None:
        self._bodies.append(request)
        self._body_bytes += len(request.body)
        while self._body_bytes > _LOG_BODY_BYTES:
            oldest = self._bodies.popleft()
            self._body_bytes -= len(oldest.body)
            oldest.body = b""

    def requests(self) -> list[RecordedRequest]:
        """Return the last 20,000 requests, in order of arrival."""
        with self._lock:
            return list(self._log)

    def refusals(self) -> list[RecordedRequest]:
        """Return the last 20,000 requests that got a 4xx, in order of their responses."""
        with self._lock:
            return list(self._refused)

    def latest(self, count: int) -> LogSummary:
        """Return the last `count` requests and refusals, newest first, and the totals."""
        with self._lock:
            return LogSummary(
                list(islice(reversed(self._log), count)),
                list(islice(reversed(self._refused), count)),
                dict(self._counts),
                self._objects,
                self._refused_count,
                self._in_flight,
                list(self._keys),
            )

    def counts(self) -> Mapping[str, int]:
        """Return how many requests of each call have arrived."""
        with self._lock:
            return dict(self._counts)

    def running(self) -> Iterator[RecordedRequest]:
        """Yield the logged requests that have no response yet."""
        return (request for request in self.requests() if request.answered_at is None)
