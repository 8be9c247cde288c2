"""What the client's tests share: a clock that only passes by waiting, and the two APIs on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from target_segment_objects.client import (
    BulkApi,
    Caller,
    Clock,
    ConcurrencyLimit,
    RetryPolicy,
    SetApi,
    Transport,
    TransportOptions,
)

if TYPE_CHECKING:
    from typing_extensions import Self

KEY = "wk-7Hq2nVb9xTzLmR4s"
ROOM = b'{"id":"1","properties":{"name":"Charming Beach Room"}}'


@dataclass
class StillTime:
    """A clock on which time passes only by waiting; it records every wait.

    Attributes:
        wall: seconds since 1970.
        jitter: every random number that the client draws.
        stops_at: number of the wait during which the caller stops, from 1; 0 for none.
        waits: seconds of every wait.
    """

    wall: float = 1_700_000_000.0
    jitter: float = 1.0
    stops_at: int = 0
    waits: list[float] = field(default_factory=list)
    passed: float = 0.0

    def clock(self) -> Clock:
        """The clock to pass to the client."""
        return Clock(
            now=lambda: self.wall,
            monotonic=lambda: self.passed,
            wait=self._wait,
            random=lambda: self.jitter,
        )

    def _wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        if len(self.waits) == self.stops_at:
            return True
        self.passed += seconds
        self.wall += seconds
        return False


@dataclass
class Client:
    """Both APIs over one transport and one limit of concurrency, on still time."""

    url: str
    time: StillTime = field(default_factory=StillTime)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    options: TransportOptions = field(default_factory=TransportOptions)
    key: str = KEY
    synchronous: bool = True

    def __enter__(self) -> Self:
        """Open the transport."""
        self.transport = Transport(self.url, self.key, self.options)
        clock = self.time.clock()
        self.concurrency_limit = ConcurrencyLimit(clock=clock)
        caller = Caller(
            self.transport,
            policy=self.policy,
            concurrency_limit=self.concurrency_limit,
            clock=clock,
        )
        self.set = SetApi(caller, synchronous=self.synchronous)
        self.bulk = BulkApi(caller)
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.transport.close()
