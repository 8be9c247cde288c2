"""The orders in which responses can arrive, and which states may be printed after each.

The pattern comes from the tests of Stitch's target: two calls are in flight, their responses arrive
in order or out of order, and either may fail. Every response is withheld until the test releases
it.
"""

from __future__ import annotations

import contextlib
import io
import json
import select
from typing import TYPE_CHECKING, Any, cast

import pytest

from target_segment_objects.emulator import Emulator, Hold, InjectedFault
from target_segment_objects.errors import DeliveryError
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.builders import PATIENCE
from tests.running import KEY, lines, record, schema, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_segment_objects.stopping import WakeupPipe

_TICK = b"\n"
"""A blank line: the target reads nothing, and handles the responses so far."""


class _Tap:
    """The output of a function, which also decides which responses are released."""

    def __init__(self, written: Iterator[bytes]) -> None:
        self._written = written

    def read(self, _size: int = -1) -> bytes:
        return next(self._written, b"")


class _Runs:
    """Runs the target with `set` calls, at most two at once."""

    def __init__(self, segment: Emulator) -> None:
        self.segment = segment
        self.states: list[Any] = []
        self.error: DeliveryError | None = None
        self._out = io.BytesIO()

    def __call__(self, tap: Callable[[WakeupPipe], Iterator[bytes]]) -> None:
        """Run from the first line to the last; an error of the delivery is stored."""
        config = {
            "write_key": KEY,
            "method": "set",
            "objects_url": self.segment.url,
            "max_concurrency": 2,
        }
        with contextlib.redirect_stdout(io.TextIOWrapper(self._out, encoding="utf-8")) as out:
            target = TargetSegmentObjects(config=config)
            target.run._checkpoint._interval_seconds = 0.0
            try:
                target.listen(cast("Any", _Tap(tap(target.run.wake_up))))
            except DeliveryError as error:
                self.error = error
            self.states = self.printed
            out.detach()

    @property
    def printed(self) -> list[Any]:
        """The states printed so far."""
        return [json.loads(line) for line in self._out.getvalue().splitlines()]

    @property
    def ids(self) -> set[object]:
        """The objects that arrived."""
        return {row["id"] for rows in self.segment.tables().values() for row in rows}


@pytest.fixture
def runs() -> Iterator[_Runs]:
    """The target, and the emulator to which it delivers."""
    with Emulator() as segment:
        yield _Runs(segment)


def _wait_for_outcome(wake_up: WakeupPipe) -> None:
    """Wait until the delivery has reported an outcome."""
    ready, _, _ = select.select([wake_up], [], [], PATIENCE)
    assert ready, "the delivery told no outcome"
    wake_up.clear()


def _ten(stream: str, first: int) -> bytes:
    """Ten records of ten objects, which are one call."""
    return lines(*(record(stream, id=f"{stream}{number}") for number in range(first, first + 10)))


def _releasing(number: int, hold: Hold) -> InjectedFault:
    """A fault that releases a withheld response after a call got its own."""
    return InjectedFault(call="set", first=number, at="answered", callback=lambda _: hold.release())


_FAILS = [
    pytest.param(frozenset[int](), id="ok"),
    pytest.param(frozenset({1}), id="first fails"),
    pytest.param(frozenset({2}), id="second fails"),
    pytest.param(frozenset({1, 2}), id="both fail"),
]


@pytest.mark.parametrize("fails", _FAILS)
@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in order", "out of order"])
def test_a_state_waits_for_every_call_before_it(
    runs: _Runs, order: tuple[int, int], fails: frozenset[int]
) -> None:
    """In any order and with any failure, a printed state covers only delivered records."""
    holds = {1: Hold(), 2: Hold()}
    early, late = order
    for number, hold in holds.items():
        if number == early and number in fails:
            # A failed run waits for requests in flight, and reads nothing more.
            runs.segment.fault(_releasing(number, holds[late]))
        status = 501 if number in fails else None
        runs.segment.fault(
            InjectedFault(call="set", first=number, hold=hold, before=True, status=status)
        )
    seen: list[list[Any]] = []

    def tap(wake_up: WakeupPipe) -> Iterator[bytes]:
        yield lines(schema("rooms", id="string"))
        yield _ten("rooms", 0) + lines(state("first"))
        assert holds[1].wait_for(1)
        yield _ten("rooms", 10) + lines(state("second"))
        assert holds[2].wait_for(1)
        yield _TICK
        seen.append(runs.printed)
        for number in order:
            holds[number].release()
            _wait_for_outcome(wake_up)
            yield _TICK
            seen.append(runs.printed)

    runs(tap)
    ok = {1, 2} - fails
    assert (runs.error is None) == (not fails)
    assert len(runs.ids) == 10 * len(ok)
    assert seen[0] == []
    if not fails:
        assert seen[1:] == [["first"], ["first", "second"]] if early == 1 else [[], ["second"]]
    assert runs.states == {
        (frozenset(), 1): ["first", "second"],
        (frozenset(), 2): ["second"],
        (frozenset({2}), 1): ["first"],
        (frozenset({2}), 2): ["first"],
    }.get((fails, early), [])


def test_state_only(runs: _Runs) -> None:
    """Without records there is nothing to wait for, and no request."""

    def tap(_: WakeupPipe) -> Iterator[bytes]:
        yield lines(state(1), state(2))
        yield lines(state(3))

    runs(tap)
    assert runs.states == [2, 3]
    assert runs.segment.requests == []


def test_trailing_state(runs: _Runs) -> None:
    """A state after the last record is printed when that record is delivered, not before."""
    with runs.segment.hold("set") as hold:

        def tap(wake_up: WakeupPipe) -> Iterator[bytes]:
            yield lines(schema("rooms", id="string"))
            yield _ten("rooms", 0)
            yield lines(state("trailing"))
            assert hold.wait_for(1)
            yield _TICK
            assert runs.printed == []
            hold.release()
            _wait_for_outcome(wake_up)

        runs(tap)
    assert runs.states == ["trailing"]


def test_records_behind_the_last_state(runs: _Runs) -> None:
    """They are delivered as well, and the last state stays as the tap sent it."""

    def tap(_: WakeupPipe) -> Iterator[bytes]:
        yield lines(schema("rooms", id="string"))
        yield _ten("rooms", 0) + lines(state("before"))
        yield lines(record("rooms", id="behind"))

    runs(tap)
    assert runs.states == ["before"]
    assert len(runs.ids) == 11


@pytest.mark.parametrize("slow", ["beds", "rooms"])
def test_interleaved_streams(runs: _Runs, slow: str) -> None:
    """A state waits for the records before it of all streams."""
    hold = Hold()
    first = 1 if slow == "beds" else 2
    runs.segment.fault(InjectedFault(call="set", first=first, hold=hold))

    def tap(wake_up: WakeupPipe) -> Iterator[bytes]:
        yield lines(schema("beds", id="string"), schema("rooms", id="string"))
        pairs = [[record("beds", id=f"b{n}"), record("rooms", id=f"r{n}")] for n in range(10)]
        yield lines(*(message for pair in pairs[:9] for message in pair), state("nine"))
        yield lines(pairs[9][0])
        # The first call gets its response, or is withheld, before the second one is sent.
        if first == 1:
            assert hold.wait_for(1)
        else:
            _wait_for_outcome(wake_up)
        yield lines(pairs[9][1], state("ten"))
        if first == 1:
            _wait_for_outcome(wake_up)
        else:
            assert hold.wait_for(1)
        yield _TICK
        assert runs.printed == []
        hold.release()
        _wait_for_outcome(wake_up)
        yield _TICK

    runs(tap)
    assert runs.error is None
    assert runs.states == ["ten"]
    assert len(runs.ids) == 20


@pytest.mark.parametrize("fails", ["beds", "rooms"])
def test_interleaved_streams_one_of_which_fails(runs: _Runs, fails: str) -> None:
    """A state that covers both streams is not printed if only one was delivered."""
    hold = Hold()
    numbers = {"beds": 1, "rooms": 2}
    runs.segment.fault(InjectedFault(call="set", first=1, hold=hold))
    runs.segment.fault(InjectedFault(call="set", first=numbers[fails], status=501))

    def tap(wake_up: WakeupPipe) -> Iterator[bytes]:
        yield lines(schema("beds", id="string"), schema("rooms", id="string"))
        yield _ten("beds", 0)
        assert hold.wait_for(1)
        hold.release()
        if fails == "rooms":
            _wait_for_outcome(wake_up)
        yield _ten("rooms", 0) + lines(state("both"))

    runs(tap)
    assert runs.error is not None
    assert runs.states == []
