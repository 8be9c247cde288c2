"""The gate: so many at once, none while it is held back, and no thread left behind."""

from __future__ import annotations

import contextlib
import threading

import pytest

from target_segment_objects.client import Clock, Gate
from target_segment_objects.client.clock import StoppedError
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import UnavailableError
from tests.client.builders import ROOM, Client, StillTime


@pytest.mark.parametrize("limit", [0, -1, 21])
def test_a_limit_is_one_to_twenty(limit: int) -> None:
    """The API takes twenty at once and no more."""
    with pytest.raises(ValueError, match="1 to 20"):
        Gate(limit)


def test_a_full_gate_lets_in_as_many_as_leave() -> None:
    """Two places: the third waits until one leaves, and is not told that it was held back."""
    gate = Gate(2)
    entered = threading.Event()
    held: list[float] = []

    def third() -> None:
        with gate.passing() as seconds:
            held.append(seconds)
            entered.set()

    thread = threading.Thread(target=third)
    with gate.passing():
        with gate.passing():
            thread.start()
            assert not entered.is_set()
        assert entered.wait(10)
    thread.join()
    assert held == [0.0]


def test_an_urgent_request_passes_a_full_gate() -> None:
    """Beyond the caller's limit, and never beyond the API's."""
    gate = Gate(1)
    with gate.passing(), gate.passing(urgent=True) as held:
        assert held == 0.0
    full = Gate(20)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(full.passing())
        thread = threading.Thread(target=lambda: stack.enter_context(full.passing(urgent=True)))
        thread.start()
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


def test_a_held_gate_lets_none_in_before_its_time() -> None:
    """The pause is waited for whole; a shorter one does not end a longer one."""
    time = StillTime()
    gate = Gate(clock=time.clock())
    gate.hold(30)
    gate.hold(10)
    with gate.passing() as held:
        assert time.waits == [30]
        assert held == 30
    with gate.passing() as held:
        assert held == 0


def test_a_pause_made_longer_while_it_is_waited_for_holds() -> None:
    """Who waits looks again before going in."""
    time = StillTime()
    gates: list[Gate] = []

    def wait(seconds: float) -> bool:
        time.waits.append(seconds)
        if len(time.waits) == 1:
            gates[0].hold(50)
        time.passed += seconds
        return False

    gates.append(Gate(clock=Clock(monotonic=lambda: time.passed, wait=wait)))
    gates[0].hold(5)
    with gates[0].passing() as held:
        assert time.waits == [5, 45]
        assert held == 50


def test_a_stop_ends_the_pause_and_frees_the_place() -> None:
    """A thread that stops waiting takes no place with it."""
    stop = threading.Event()
    gate = Gate(1, clock=Clock.stopped_by(stop))
    stop.set()
    with gate.passing():
        gate.hold(300)
    with pytest.raises(StoppedError), gate.passing():
        pass
    assert gate._in_flight == 0


def test_retry_after_holds_back_every_other_call() -> None:
    """A 429 for one call holds the gate: the next call starts after it, and not before."""
    time = StillTime()
    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(InjectedFault(call="set", status=429, headers={"Retry-After": "20"}))
        started: list[float] = []
        segment.fault(InjectedFault(call="start", callback=lambda _: started.append(time.passed)))
        time.stops_at = 1
        with pytest.raises(UnavailableError, match="stopped"):
            client.set.send("rooms", [ROOM])
        client.bulk.start()
    assert started == [20.0]


@pytest.mark.parametrize("status", [500, 502])
def test_other_trouble_holds_back_its_own_call_alone(status: int) -> None:
    """A failure that says nothing about load does not stop the others."""
    time = StillTime(stops_at=1)
    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(InjectedFault(call="set", status=status, headers={"Retry-After": "20"}))
        with pytest.raises(UnavailableError, match="stopped"):
            client.set.send("rooms", [ROOM])
        client.bulk.start()
        assert time.waits == [20.0]


def test_a_stop_while_held_back_sends_nothing() -> None:
    """The error says that nothing was sent."""
    time = StillTime(stops_at=1)
    with Emulator() as segment, Client(segment.url, time) as client:
        client.gate.hold(60)
        with pytest.raises(UnavailableError, match="nothing was sent") as caught:
            client.set.send("rooms", [ROOM])
        assert not segment.requests
    assert caught.value.attempts == ()


def test_a_pause_between_attempts_counts_towards_the_budget() -> None:
    """What the gate holds back between two attempts is waiting between attempts."""
    time = StillTime()
    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(
            InjectedFault(
                call="set", count=None, status=500, callback=lambda _: client.gate.hold(250)
            )
        )
        with pytest.raises(UnavailableError):
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 3
    assert sum(time.waits) == 500


def test_the_systems_clock_stops_with_its_event() -> None:
    """A wait of hours ends at once when the event is set."""
    stop = threading.Event()
    clock = Clock.stopped_by(stop)
    assert clock.wait(0.0) is False
    assert Clock().wait(0.0) is False
    assert 0 <= clock.random() < 1
    stop.set()
    assert clock.wait(3600.0) is True
    with pytest.raises(StoppedError):
        clock.pause(3600.0)
