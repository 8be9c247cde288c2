"""Injected faults: a request is chosen by its number or a seeded random number, never by time.

A fault names a call, the number of the first request that is hit, and how many are hit in a row.
Everything happens at one of four points of a request: `arrival` (headers read), `body` (body read),
`applied` (handled, no byte of the response sent) and `answered`.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from target_segment_objects.emulator.api.request_log import RecordedRequest

Point = Literal["arrival", "body", "applied", "answered"]


class CutError(Exception):
    """The connection must be cut now, whatever was sent."""


class Hold:
    """Withholds responses until `release`; when the emulator stops, their connections are cut.

    As a context manager, it releases on exit.
    """

    def __init__(self) -> None:
        """Wait for the first request to hold."""
        self.arrived = threading.Event()
        """Set when a request is being held."""
        self._changed = threading.Condition()
        self._waiting = 0
        self._open = False
        self._cut = False

    @property
    def waiting(self) -> int:
        """How many requests are held now."""
        with self._changed:
            return self._waiting

    def wait_for(self, count: int, timeout: float = 10.0) -> bool:
        """Wait until `count` requests are held at once; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting >= count, timeout)

    def release(self) -> None:
        """Let all held requests continue, and later ones pass."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def cut(self) -> None:
        """Cut the connections of all held requests, and of later ones."""
        with self._changed:
            self._cut = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Hold the calling request until released; `CutError` when it must be cut instead."""
        with self._changed:
            self._waiting += 1
            self.arrived.set()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open or self._cut)
            self._waiting -= 1
            self._changed.notify_all()
            if self._cut:
                raise CutError

    def __enter__(self) -> Self:
        """Return the hold itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release."""
        self.release()


@dataclass(frozen=True, kw_only=True)
class InjectedFault:
    """A fault, and which requests it hits. All its effects can be combined."""

    call: str = "any"
    """`set`, `start`, `upload`, `finish`, `keep-alive`, `other` or `any`."""
    first: int = 1
    """The number of the first request that is hit, among those of its call, from 1."""
    count: int | None = 1
    """How many requests are hit, from `first` on; None for all."""
    chance: float = 1.0
    """The probability that one of these is hit; the emulator's seed and the number decide."""
    status: int | None = None
    """The status of the response."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the response, over the usual ones."""
    body: bytes | None = None
    """Body of the response, instead of the usual one."""
    applied: bool = False
    """With `status`: handle the request before this response."""
    delay: float = 0.0
    """Seconds to wait before the response."""
    hold: Hold | None = None
    """Withhold the response until released."""
    before: bool = False
    """With `hold` and `delay`: wait before the request is handled, not after."""
    cut: Literal["before", "in", "after"] | None = None
    """Cut the connection before the body is read, in the middle of it, or after handling."""
    reset: bool = False
    """Cut with a TCP reset instead of an orderly end."""
    truncate: int | None = None
    """Cut after this many bytes of the body; negative: as many bytes before the head's end."""
    garbage: bytes | None = None
    """Send these bytes instead of an HTTP response, then cut."""
    drip: float | None = None
    """Send the response byte by byte, with this many seconds in between."""
    expire: bool = False
    """Expire the session before the request is handled."""
    at: Point = "arrival"
    """Where `callback` is called."""
    callback: Callable[[RecordedRequest], None] | None = None
    """Called with the request on the connection's thread, which waits for it."""

    def hits(self, request: RecordedRequest, seed: int) -> bool:
        """Tell whether this fault hits the request."""
        offset = request.number - self.first
        if self.call not in {"any", request.call} or offset < 0:
            return False
        if self.count is not None and offset >= self.count:
            return False
        rng = random.Random(f"{seed}:{request.call}:{request.number}")  # noqa: S311 repeatable
        return self.chance >= 1 or rng.random() < self.chance


class ActiveFaults:
    """The faults that hit one request, combined."""

    def __init__(self, faults: list[InjectedFault], stopping: threading.Event) -> None:
        """End waits when `stopping` is set."""
        self._faults = faults
        self._stopping = stopping
        self.sends = any(
            fault.garbage is not None or fault.truncate is not None or fault.drip is not None
            for fault in faults
        )
        """Whether the response is changed while it is sent."""
        self.cut = next((fault.cut for fault in faults if fault.cut), None)
        self.reset = any(fault.reset for fault in faults)
        self.expire = any(fault.expire for fault in faults)
        self.response = next((fault for fault in faults if fault.status is not None), None)
        self.garbage = next((f.garbage for f in faults if f.garbage is not None), None)
        self.truncate = next((f.truncate for f in faults if f.truncate is not None), None)
        self.drip = next((f.drip for f in faults if f.drip is not None), None)

    def run_callbacks(self, point: Point, request: RecordedRequest) -> None:
        """Run the callbacks of this point."""
        for fault in self._faults:
            if fault.callback is not None and fault.at == point:
                fault.callback(request)

    def wait(self, *, before: bool) -> None:
        """Wait as the faults require, before or after the request is handled."""
        for fault in self._faults:
            if fault.before is before:
                if fault.delay:
                    self.sleep(fault.delay)
                if fault.hold is not None:
                    fault.hold.pause()

    def sleep(self, seconds: float) -> None:
        """Wait; `CutError` when the emulator stops meanwhile."""
        if self._stopping.wait(seconds):
            raise CutError


class FaultScript:
    """The injected faults of one emulator."""

    def __init__(self, seed: int) -> None:
        """Use `seed` for `InjectedFault.chance`."""
        self._seed = seed
        self._script: list[InjectedFault] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._no_faults = ActiveFaults([], self._stopping)

    def add(self, fault: InjectedFault) -> None:
        """Add a fault."""
        with self._lock:
            self._script.append(fault)

    def clear(self) -> None:
        """Remove all faults and release what they hold."""
        with self._lock:
            script, self._script = self._script, []
        for fault in script:
            if fault.hold is not None:
                fault.hold.release()

    def faults_for(self, request: RecordedRequest) -> ActiveFaults:
        """Return the faults that hit this request."""
        with self._lock:
            hits = [fault for fault in self._script if fault.hits(request, self._seed)]
        return ActiveFaults(hits, self._stopping) if hits else self._no_faults

    def stop(self) -> None:
        """End all waits; held requests are cut."""
        self._stopping.set()
        with self._lock:
            holds = [fault.hold for fault in self._script if fault.hold is not None]
        for hold in holds:
            hold.cut()
