"""What a run counts: by stream and collection, by request, by session, and where its time went.

Invariants: counting costs once a block or a call, not once a record; lists (parts, failed requests)
are bounded, and what is not listed is counted.

Only the reading thread counts records. Any thread may count its requests, under a lock, and read
the counts at any time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from target_segment_objects.reporting.sessions import Sessions

if TYPE_CHECKING:
    from target_segment_objects.errors import Attempt

__all__ = ["RequestCounts", "RunCounts", "StreamCounts", "Totals"]

_MAX_FAILED: Final = 100


@dataclass
class RequestCounts:
    """Requests, of a collection or of the bulk sessions.

    Attributes:
        requests: how many went out, retries among them.
        retries: those that were another attempt of the same call.
        wait_seconds: spent waiting between attempts, of all threads together.
        bytes: the bodies of those that were answered, before TLS; a body that is sent again counts
            again.
        request_id: the server's id of the newest request that it gave one.
    """

    requests: int = 0
    retries: int = 0
    wait_seconds: float = 0.0
    bytes: int = 0
    request_id: str = ""


@dataclass
class StreamCounts:
    """The records of a stream that were read for a collection, by their result.

    Attributes:
        stream: its name, after stream maps.
        collection: the collection.
        encoded: became objects.
        filtered: were left out by a stream map.
        rejected: could not become objects.
        coerced: values that were converted to their type.
        long_strings: values of more than 512 characters.
    """

    stream: str
    collection: str
    encoded: int = 0
    filtered: int = 0
    rejected: int = 0
    coerced: int = 0
    long_strings: int = 0

    @property
    def read(self) -> int:
        """All records of the stream that were read for the collection."""
        return self.encoded + self.filtered + self.rejected


@dataclass
class CollectionCounts:
    """The objects of a collection, by their result.

    Attributes:
        sent: objects that Segment took.
        merged: records that were merged into one of these.
        refused: records of objects that Segment refused.
        bytes: of object lines, by bulk.
        requests: of its calls, by `set`.
    """

    sent: int = 0
    merged: int = 0
    refused: int = 0
    bytes: int = 0
    requests: RequestCounts = field(default_factory=RequestCounts)


@dataclass(frozen=True)
class Totals:
    """What a progress line shows; numbers of the whole run.

    Attributes:
        retry_seconds: until a failed call is tried again, 0 while it is; `None` when the newest
            request succeeded.
    """

    records: int
    objects: int
    parts: int
    calls: int
    bytes: int
    rejects: int
    retry_seconds: float | None = None


class RunCounts:
    """The numbers of one run.

    Attributes:
        by_stream: by stream and collection.
        failed: the newest requests that failed.
        sessions: the bulk sessions and their parts.
        calls: requests by the API's name of the call.
        bulk: the requests that are not of one collection.
        rejects: records that could not become objects, or were refused, each once.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.by_stream: dict[tuple[str, str], StreamCounts] = {}
        self.failed: deque[Attempt] = deque(maxlen=_MAX_FAILED)
        self.failures = 0
        self.sessions = Sessions()
        self.calls: Counter[str] = Counter()
        self.bulk = RequestCounts()
        self.rejects = 0
        self.input_seconds = 0.0
        self.delivery_seconds = 0.0
        self._answered = 0
        self._retry_at: float | None = None
        self._collections: dict[str, CollectionCounts] = {}
        self._request_ids: dict[str, str] = {}
        self._lock = threading.Lock()
        self._idle_since: float | None = None

    # What was read, on the reading thread.

    def stream(self, stream: str, collection: str) -> StreamCounts:
        """The counts of a stream for a collection, to be added to."""
        counts = self.by_stream.get((stream, collection))
        if counts is None:
            self.collection(collection)
            counts = self.by_stream[stream, collection] = StreamCounts(stream, collection)
        return counts

    def encoded_of(self, stream: str) -> int:
        """How many of a stream's records became objects."""
        return sum(counts.encoded for counts in self.by_stream.values() if counts.stream == stream)

    def collection(self, collection: str) -> CollectionCounts:
        """The counts of a collection, to be added to."""
        counts = self._collections.get(collection)
        return counts or self._collections.setdefault(collection, CollectionCounts())

    @property
    def collections(self) -> list[str]:
        """All collections, in the order in which they came."""
        return list(self._collections)

    def waiting_for_input(self) -> None:
        """From here on the run waits for input."""
        now = time.monotonic()
        if self._idle_since is not None:
            self.input_seconds += now - self._idle_since
        self._idle_since = now

    def input_arrived(self) -> None:
        """There is input, or it has ended."""
        if self._idle_since is not None:
            self.input_seconds += time.monotonic() - self._idle_since
            self._idle_since = None

    # Requests, on any thread.

    def count_request(self, attempt: Attempt) -> None:
        """A request has ended."""
        with self._lock:
            name = attempt.collection
            requests = self.collection(name).requests if name else self.bulk
            requests.requests += 1
            requests.retries += attempt.number > 1
            requests.wait_seconds += attempt.waited_seconds
            if attempt.status is not None:  # else nobody knows how much of it went out
                requests.bytes += attempt.bytes
            self.calls[attempt.call] += 1
            if attempt.request_id:
                requests.request_id = attempt.request_id
            self._request_ids[attempt.call] = attempt.request_id
            if attempt.succeeded:
                self._answered += 1
                self._retry_at = None
            else:
                self.failures += 1
                self.failed.append(attempt)

    def retry_scheduled(self, seconds: float) -> None:
        """A request has failed, and is sent again after this many seconds."""
        with self._lock:
            self._retry_at = time.monotonic() + seconds

    def request_id_of(self, call: str) -> str:
        """The server's id of the newest request of this call; meaningful if one thread makes it."""
        return self._request_ids.get(call, "")

    # On any thread.

    def totals(self) -> Totals:
        """The totals so far."""
        by_stream, collections = list(self.by_stream.values()), list(self._collections.values())
        retry_at = self._retry_at
        return Totals(
            records=sum(counts.read for counts in by_stream),
            objects=sum(counts.encoded for counts in by_stream),
            parts=self.sessions.parts,
            calls=self._answered,
            bytes=sum(counts.bytes + counts.requests.bytes for counts in collections),
            rejects=self.rejects,
            retry_seconds=None if retry_at is None else max(0.0, retry_at - time.monotonic()),
        )
