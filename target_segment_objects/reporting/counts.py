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

__all__ = ["RequestCounts", "RunCounts", "StreamCounts"]

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


class RunCounts:
    """The numbers of one run.

    Attributes:
        by_stream: by stream and collection.
        failed: the newest requests that failed.
        sessions: the bulk sessions and their parts.
        calls: requests by the API's name of the call.
        bulk: the requests that are not of one collection.
        rejects: records that could not become objects, or were refused, each once.
        collections: by name, in the order in which they came.
        request_ids: the server's id of the newest request by call; meaningful for calls that one
            thread makes.
        retry_at: when a failed call is tried again, on the monotonic clock; `None` when the newest
            request succeeded.
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
        self.retry_at: float | None = None
        self.collections: dict[str, CollectionCounts] = {}
        self.request_ids: dict[str, str] = {}
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
        counts = self.collections.get(collection)
        return counts or self.collections.setdefault(collection, CollectionCounts())

    def waiting_for_input(self) -> None:
        """From here on the run waits for input."""
        self.input_arrived()
        self._idle_since = time.monotonic()

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
            self.request_ids[attempt.call] = attempt.request_id
            if attempt.succeeded:
                self.retry_at = None
            else:
                self.failures += 1
                self.failed.append(attempt)

    def retry_scheduled(self, seconds: float) -> None:
        """A request has failed, and is sent again after this many seconds."""
        with self._lock:
            self.retry_at = time.monotonic() + seconds
