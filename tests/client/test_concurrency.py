"""The limit of concurrent requests and its pauses; no thread is left behind."""

from __future__ import annotations

import contextlib
import threading

import pytest

from target_segment_objects.client import Clock, ConcurrencyLimit
from target_segment_objects.client.clock import StoppedError
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import UnavailableError
from tests.client.builders import ROOM, Client, StillTime


@pytest.mark.parametrize("limit", [0, -1, 21])
def test_a_limit_is_one_to_twenty(limit: int) -> None:
    """The API allows twenty concurrent requests."""
    with pytest.raises(ValueError, match="1 to 20"):
        ConcurrencyLimit(limit)


def test_a_slot_is_free_when_a_request_has_ended() -> None:
    """Of two slots: a third request waits until one ends, which is not counted as a pause."""
    limit = ConcurrencyLimit(2)
    entered = threading.Event()
    paused: list[float] = []

    def third() -> None:
        with limit.slot() as seconds:
            paused.append(seconds)
            entered.set()

    thread = threading.Thread(target=third)
    with limit.slot():
        with limit.slot():
            thread.start()
            assert not entered.is_set()
        assert entered.wait(10)
    thread.join()
    assert paused == [0.0]


def test_an_urgent_request_exceeds_the_limit() -> None:
    """It may exceed the caller's limit, but never that of the API."""
    limit = ConcurrencyLimit(1)
    with limit.slot(), limit.slot(urgent=True) as paused:
        assert paused == 0.0
    full = ConcurrencyLimit(20)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(full.slot())
        thread = threading.Thread(target=lambda: stack.enter_context(full.slot(urgent=True)))
        thread.start()
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


def test_no_request_starts_during_a_pause() -> None:
    """Until the whole pause has passed; a shorter pause does not end a longer one."""
    time = StillTime()
    limit = ConcurrencyLimit(clock=time.clock())
    limit.pause(30)
    limit.pause(10)
    with limit.slot() as paused:
        assert time.waits == [30]
        assert paused == 30
    with limit.slot() as paused:
        assert paused == 0


def test_a_pause_can_be_extended_while_a_request_waits() -> None:
    """A request that waits checks the pause again before it starts."""
    time = StillTime()
    limits: list[ConcurrencyLimit] = []

    def wait(seconds: float) -> bool:
        time.waits.append(seconds)
        if len(time.waits) == 1:
            limits[0].pause(50)
        time.passed += seconds
        return False

    limits.append(ConcurrencyLimit(clock=Clock(monotonic=lambda: time.passed, wait=wait)))
    limits[0].pause(5)
    with limits[0].slot() as paused:
        assert time.waits == [5, 45]
        assert paused == 50


def test_a_stop_ends_the_pause_and_takes_no_slot() -> None:
    """A thread that stops waiting leaves all slots free."""
    stop = threading.Event()
    limit = ConcurrencyLimit(1, clock=Clock.stopped_by(stop))
    stop.set()
    with limit.slot():
        limit.pause(300)
    with pytest.raises(StoppedError), limit.slot():
        pass
    assert limit._in_flight == 0


def test_retry_after_pauses_every_call() -> None:
    """A 429 for one call pauses all: the next call starts after the pause."""
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
def test_other_failures_delay_only_their_own_call(status: int) -> None:
    """A failure that does not mean overload does not pause other calls."""
    time = StillTime(stops_at=1)
    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(InjectedFault(call="set", status=status, headers={"Retry-After": "20"}))
        with pytest.raises(UnavailableError, match="stopped"):
            client.set.send("rooms", [ROOM])
        client.bulk.start()
        assert time.waits == [20.0]


def test_a_stop_during_a_pause_sends_nothing() -> None:
    """The error says that nothing was sent."""
    time = StillTime(stops_at=1)
    with Emulator() as segment, Client(segment.url, time) as client:
        client.concurrency_limit.pause(60)
        with pytest.raises(UnavailableError, match="nothing was sent") as caught:
            client.set.send("rooms", [ROOM])
        assert not segment.requests
    assert caught.value.attempts == ()


def test_a_pause_between_attempts_counts_towards_the_budget() -> None:
    """A pause between two attempts counts as time waited between attempts."""
    time = StillTime()
    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(
            InjectedFault(
                call="set",
                count=None,
                status=500,
                callback=lambda _: client.concurrency_limit.pause(250),
            )
        )
        with pytest.raises(UnavailableError):
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 3
    assert sum(time.waits) == 500


def test_waits_of_the_system_clock_end_with_the_event() -> None:
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
