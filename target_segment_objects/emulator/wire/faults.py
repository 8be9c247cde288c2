"""Faults on request: which call is hit is a matter of counting or of seeded dice, never of time.

A fault names a call, the first number of it that is hit, and how many in a row. Everything it does
happens at one of four points of an exchange: `arrival` (headers read), `body` (body read),
`applied` (the request was handled, no byte of the answer sent) and `answered`.
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
    """The connection is to be cut now, whatever was sent."""


class Hold:
    """Withheld answers: they wait until `release`, or until the emulator stops, which cuts them.

    Usable as a context manager that releases at its end.
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
        """Let all held requests go on, and those to come pass."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def cut(self) -> None:
        """Cut the connections of all held requests, and of those to come."""
        with self._changed:
            self._cut = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Hold the calling request; `CutError` when its connection is to be cut instead."""
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
    """One fault, and the requests that it hits. All parts of it may be combined."""

    call: str = "any"
    """`set`, `start`, `upload`, `finish`, `keep-alive`, `other` or `any`."""
    first: int = 1
    """The first request hit: the how manyth of its call, from 1, counted on arrival."""
    count: int | None = 1
    """How many in a row are hit from there; None for all."""
    chance: float = 1.0
    """Hit each of those with this probability; the dice are the emulator's seed and the number."""
    status: int | None = None
    """Answer with this status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the answer, over the usual ones."""
    body: bytes | None = None
    """Body of the answer, instead of the usual one."""
    applied: bool = False
    """With `status`: handle the request first, and only then answer so."""
    delay: float = 0.0
    """Seconds to wait before the answer."""
    hold: Hold | None = None
    """Withhold the answer until released."""
    before: bool = False
    """With `hold` and `delay`: wait before the request is handled instead of after."""
    cut: Literal["before", "in", "after"] | None = None
    """Cut the connection before the body is read, in the middle of it, or after handling."""
    reset: bool = False
    """Cut with a TCP reset instead of an orderly end."""
    truncate: int | None = None
    """Send only so many bytes of the answer's body (negative: of its head), then cut."""
    garbage: bytes | None = None
    """Send these bytes instead of an HTTP answer, then cut."""
    drip: float | None = None
    """Send the answer byte by byte, with so many seconds in between."""
    expire: bool = False
    """Expire the session before the request is handled."""
    at: Point = "arrival"
    """Where `callback` is called."""
    callback: Callable[[RecordedRequest], None] | None = None
    """Called with the request on the connection's thread; the exchange waits for it."""

    def hits(self, request: RecordedRequest, seed: int) -> bool:
        """Tell whether this fault hits the request."""
        past = request.number - self.first
        if self.call not in {"any", request.call} or past < 0:
            return False
        if self.count is not None and past >= self.count:
            return False
        dice = random.Random(f"{seed}:{request.call}:{request.number}")  # noqa: S311 replayable
        return self.chance >= 1 or dice.random() < self.chance


class ActiveFaults:
    """The faults that hit one request, as the exchange meets them; several act together."""

    def __init__(self, faults: list[InjectedFault], stopping: threading.Event) -> None:
        """Let waits end when `stopping` is set."""
        self._faults = faults
        self._stopping = stopping
        self.sends = any(
            fault.garbage is not None or fault.truncate is not None or fault.drip is not None
            for fault in faults
        )
        """Whether the answer is to go out in another way than whole."""
        self.cut = next((fault.cut for fault in faults if fault.cut), None)
        self.reset = any(fault.reset for fault in faults)
        self.expire = any(fault.expire for fault in faults)
        self.answer = next((fault for fault in faults if fault.status is not None), None)
        self.garbage = next((f.garbage for f in faults if f.garbage is not None), None)
        self.truncate = next((f.truncate for f in faults if f.truncate is not None), None)
        self.drip = next((f.drip for f in faults if f.drip is not None), None)

    def call_back(self, point: Point, request: RecordedRequest) -> None:
        """Call what is to be called at this point."""
        for fault in self._faults:
            if fault.callback is not None and fault.at == point:
                fault.callback(request)

    def wait(self, *, before: bool) -> None:
        """Wait as long as the faults say at this side of handling."""
        for fault in self._faults:
            if fault.before is before:
                if fault.delay:
                    self.sleep(fault.delay)
                if fault.hold is not None:
                    fault.hold.pause()

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`; `CutError` when the emulator stops meanwhile."""
        if self._stopping.wait(seconds):
            raise CutError


class FaultScript:
    """The script of faults of one emulator."""

    def __init__(self, seed: int) -> None:
        """Take the seed of the dice for `chance`."""
        self._seed = seed
        self._script: list[InjectedFault] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._peace = ActiveFaults([], self._stopping)

    def add(self, fault: InjectedFault) -> None:
        """Add a fault to the script."""
        with self._lock:
            self._script.append(fault)

    def clear(self) -> None:
        """Forget all faults, releasing what they hold."""
        with self._lock:
            script, self._script = self._script, []
        for fault in script:
            if fault.hold is not None:
                fault.hold.release()

    def meeting(self, request: RecordedRequest) -> ActiveFaults:
        """Return what hits this request."""
        with self._lock:
            hits = [fault for fault in self._script if fault.hits(request, self._seed)]
        return ActiveFaults(hits, self._stopping) if hits else self._peace

    def stop(self) -> None:
        """End all waiting; held requests are cut."""
        self._stopping.set()
        with self._lock:
            holds = [fault.hold for fault in self._script if fault.hold is not None]
        for hold in holds:
            hold.cut()
