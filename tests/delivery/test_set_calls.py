"""Delivery by `set` calls, over real sockets: order, concurrency, and what is durable when."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.client import Caller, RetryPolicy, SetApi, Transport
from target_segment_objects.delivery.contract import DeliveryHooks, ObjectsDelivered, ObjectsRefused
from target_segment_objects.delivery.durability import DurabilityLog
from target_segment_objects.delivery.limits import BatchLimits
from target_segment_objects.delivery.set_calls import SetDelivery
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import RefusedError, RejectedRecordError, UnavailableError
from target_segment_objects.objects import SegmentObject
from tests.builders import (
    BackgroundCall,
    ManualClock,
    Refusals,
    WakeCounter,
    block,
    large_room,
    room,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.delivery.contract import DeliveryEvent

KEY = "key-of-the-tests"


class Sending:
    """A delivery to an emulator, with a clock that stands still."""

    def __init__(
        self, segment: Emulator, *, concurrency: int = 4, objects: int = 10, tolerated: int = 99
    ) -> None:
        self.segment = segment
        self.clock = ManualClock()
        self.bell = WakeCounter()
        self.log = DurabilityLog()
        self.refusals = Refusals(tolerated)
        self.events: list[DeliveryEvent] = []
        self.position = 0
        self._transport = Transport(segment.url, KEY)
        self.delivery = SetDelivery(
            SetApi(Caller(self._transport, policy=RetryPolicy(1e-6, 1e-6, 0.0, min_attempts=1))),
            DeliveryHooks(
                log=self.log,
                on_refused=self.refusals,
                wake=self.bell,
                observer=self.events.append,
                monotonic=self.clock,
            ),
            concurrency=concurrency,
            limits=BatchLimits(objects),
        )

    def put(self, *objects: SegmentObject) -> None:
        """Put objects, one record each."""
        for obj in objects:
            self.position += 1
            self.delivery.put_block(*block(self.position, obj))

    def second_passes(self) -> float | None:
        """A second later, the reading thread ticks."""
        self.clock.now += 1.0
        return self.delivery.tick()

    @property
    def durable(self) -> int:
        """How many of the records that were put are durable."""
        return self.log.durable(self.position)

    @property
    def calls(self) -> list[list[str]]:
        """The ids of each call, in order of arrival."""
        return [
            [obj["id"] for obj in json.loads(request.body)["objects"]]
            for request in self.segment.requests
        ]

    def close(self) -> None:
        """End it."""
        self.delivery.close()
        self._transport.close()


class Senders:
    """Makes deliveries to one emulator, and ends them."""

    def __init__(self, segment: Emulator) -> None:
        self._segment = segment
        self._sendings: list[Sending] = []

    def __call__(self, **options: int) -> Sending:
        """One more delivery."""
        self._sendings.append(Sending(self._segment, **options))
        return self._sendings[-1]

    def close(self) -> None:
        """End all of them; what is still held goes on."""
        self._segment.clear_faults()
        for sending in self._sendings:
            sending.close()


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator."""
    with Emulator() as segment:
        yield segment


@pytest.fixture
def sending(segment: Emulator) -> Iterator[Senders]:
    """Makes deliveries to it."""
    senders = Senders(segment)
    yield senders
    senders.close()


def set_threads() -> list[threading.Thread]:
    """The deliveries' workers."""
    return [thread for thread in threading.enumerate() if thread.name == "set"]


def history(segment: Emulator, identifier: str, name: str = "n") -> list[Any]:
    """The successive values of a property of an object."""
    return [update[name] for update in segment.history("rooms", identifier)]


def test_an_objects_records_arrive_in_order(segment: Emulator, sending: Senders) -> None:
    """Whatever else is in flight, the records of one id arrive in their order."""
    sender = sending(concurrency=8, objects=2)
    for number in range(400):
        sender.put(room("abcde"[number * number % 5], n=number), room(f"other {number}", n=0))
    sender.delivery.finish()
    for identifier in "abe":
        numbers = history(segment, identifier)
        last = max(n for n in range(400) if "abcde"[n * n % 5] == identifier)
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == last
    assert len(segment.rows("rooms")) == 403
    assert segment.refusals == []
    assert sender.durable == 800


def test_one_id_is_never_in_flight_twice(segment: Emulator, sending: Senders) -> None:
    """While its answer is withheld, its next record waits; other ids are sent."""
    sender = sending(objects=1)
    hold = segment.hold("set")
    sender.put(room("a", n=1))
    assert hold.wait_for(1)
    sender.put(room("a", n=2), room("b", n=3))
    sender.bell.wait()
    assert sender.calls == [["a"], ["b"]]
    sender.second_passes()
    assert sender.durable == 0
    hold.release()
    sender.delivery.finish()
    assert sender.calls == [["a"], ["b"], ["a"]]
    assert history(segment, "a") == [1, 2]
    assert sender.durable == 3


def test_records_that_wait_together_are_merged(segment: Emulator, sending: Senders) -> None:
    """They are merged in the batch; later properties replace earlier ones."""
    sender = sending()
    sender.put(room("a", n=1, m=1), room("b", n=2), room("a", n=3, o=None))
    sender.delivery.finish()
    assert segment.history("rooms", "a") == [{"n": 3, "m": 1, "o": None}]
    assert sender.calls == [["a", "b"]]
    assert sender.durable == 3


def test_records_that_are_held_are_merged(segment: Emulator, sending: Senders) -> None:
    """A frequent id costs one call an answer, not one a record."""
    sender = sending(objects=1)
    hold = segment.hold("set")
    sender.put(room("a", n=1))
    assert hold.wait_for(1)
    sender.put(*(room("a", n=number) for number in range(2, 100)))
    hold.release()
    sender.delivery.finish()
    assert history(segment, "a") == [1, 99]
    assert sender.durable == 99


def test_collections_do_not_share_ids(segment: Emulator, sending: Senders) -> None:
    """The same id of another collection is another object."""
    sender = sending(objects=1)
    hold = segment.hold("set", count=2)
    sender.put(room("a", "rooms", n=1), room("a", "guests", n=1))
    assert hold.wait_for(2)
    hold.release()
    sender.delivery.finish()
    assert sender.durable == 2


def test_at_most_concurrency_calls_are_in_flight(segment: Emulator, sending: Senders) -> None:
    """With enough work, that many are in flight."""
    sender = sending(concurrency=3, objects=1)
    hold = segment.hold("set", count=None)
    sender.put(*(room(str(number), n=number) for number in range(5)))
    assert hold.wait_for(3)
    assert len(set_threads()) == 3
    hold.release()
    sender.put(*(room(str(number), n=number) for number in range(5, 50)))
    sender.delivery.finish()
    assert segment.in_flight_peak == 3
    assert sender.durable == 50


def test_an_object_waits_at_most_its_second(segment: Emulator, sending: Senders) -> None:
    """A tick seals its batch after a second; the return value says when."""
    sender = sending()
    assert sender.delivery.tick() is None
    sender.put(room("a", n=1))
    sender.clock.now = 0.5
    sender.put(room("b", n=1), room("a", "guests", n=1))
    sender.clock.now = 0.999
    assert sender.delivery.tick() == 1.0
    assert segment.requests == []
    sender.clock.now = 1.0
    assert sender.delivery.tick() == 1.5
    sender.bell.wait()
    assert sender.calls == [["a", "b"]]
    sender.clock.now = 1.5
    assert sender.delivery.tick() is None
    sender.bell.wait()
    assert sender.delivery.tick() is None
    assert sender.durable == 3


def test_nothing_is_durable_while_its_answer_is_withheld(
    segment: Emulator, sending: Senders
) -> None:
    """Even if Segment has applied it; it is durable when the answer arrives."""
    sender = sending()
    hold = segment.hold("set")
    sender.put(room("a", n=1))
    assert sender.durable == 0, "it waits for its call to fill"
    sender.second_passes()
    assert hold.wait_for(1)
    assert segment.rows("rooms") == [{"id": "a", "n": 1}]
    sender.delivery.tick()
    assert sender.durable == 0
    hold.release()
    sender.bell.wait()
    sender.delivery.tick()
    assert sender.durable == 1


def test_answers_out_of_order_leave_no_gap(segment: Emulator, sending: Senders) -> None:
    """Later records that are answered are durable only with the first one."""
    sender = sending(objects=1)
    sender.put(room("a", n=1))
    sender.bell.wait()
    hold = segment.hold("set", first=2)
    sender.put(room("b", n=2))
    assert hold.wait_for(1)
    sender.put(room("c", n=3), room("d", n=4))
    sender.bell.wait(2)
    sender.delivery.tick()
    assert sender.durable == 1
    hold.release()
    sender.bell.wait()
    sender.delivery.tick()
    assert sender.durable == 4


def test_a_merged_record_is_durable_with_its_object(segment: Emulator, sending: Senders) -> None:
    """A record without an object of its own delays the state too."""
    sender = sending(objects=2)
    sender.put(room("a", n=1), room("a", n=2))
    hold = segment.hold("set")
    sender.put(room("b", n=3))
    assert hold.wait_for(1)
    sender.put(room("a", n=4))
    assert sender.durable == 0
    hold.release()
    sender.bell.wait()
    sender.delivery.tick()
    assert sender.durable == 3


@pytest.mark.parametrize(("status", "error"), [(404, RefusedError), (503, UnavailableError)])
def test_a_call_that_fails(
    segment: Emulator, sending: Senders, status: int, error: type[Exception]
) -> None:
    """The error is raised; what was answered before it is durable, and nothing after it."""
    segment.fault(InjectedFault(call="set", first=2, status=status))
    sender = sending(concurrency=1, objects=1)
    sender.put(room("a", n=1))
    sender.bell.wait()
    sender.put(room("b", n=2))
    sender.bell.wait()
    with pytest.raises(error):
        sender.put(room("c", n=3))
    with pytest.raises(error):
        sender.delivery.tick()
    with pytest.raises(error):
        sender.delivery.finish()
    sender.delivery.close()
    assert sender.durable == 1
    assert [row["id"] for row in segment.rows("rooms")] == ["a"]


def test_finish_raises_what_fails_while_it_waits(segment: Emulator, sending: Senders) -> None:
    """It does not wait for answers that cannot arrive."""
    segment.fault(InjectedFault(call="set", status=404))
    sender = sending()
    sender.put(room("a", n=1))
    with pytest.raises(RefusedError):
        sender.delivery.finish()
    assert sender.durable == 0


def test_objects_too_large_to_merge_go_one_by_one(segment: Emulator, sending: Senders) -> None:
    """They are sent in order, each after the answer to the previous one."""
    sender = sending()
    sender.put(*(large_room("a", mark) for mark in "pqrs"), room("a", n=5))
    sender.delivery.finish()
    firsts = [min(update) for update in segment.history("rooms", "a")]
    assert firsts == ["p_a", "q_a", "r_a", "n"]
    assert sender.calls == [["a"]] * 4
    assert segment.refusals == []
    assert sender.durable == 5


def test_back_pressure(segment: Emulator, sending: Senders) -> None:
    """At most twice as many calls as may be in flight are sealed, so memory is bounded."""
    sender = sending(concurrency=2, objects=1)
    hold = segment.hold("set", count=None)
    sealed: list[int] = []

    def feed() -> None:
        for number in range(40):
            sender.put(room(str(number), n=number))
            sealed.append(len(sender.delivery._in_flight))
        sender.delivery.finish()

    feeder = BackgroundCall(feed)
    assert hold.wait_for(2)
    assert len(sealed) <= 3
    hold.release()
    feeder.join()
    assert max(sealed) == 3
    assert sender.durable == 40


def test_a_failure_ends_the_wait_for_room(segment: Emulator, sending: Senders) -> None:
    """It ends at once, although the wait is for several outcomes."""
    sender = sending(concurrency=4, objects=1)
    segment.fault(InjectedFault(call="set", first=4, status=404))
    held = [segment.hold("set", first=1, count=3), segment.hold("set", first=5, count=None)]
    feeder = BackgroundCall(sender.put, *(room(str(number), n=number) for number in range(20)))
    with pytest.raises(RefusedError):
        feeder.join()
    for hold in held:
        hold.release()


def test_a_refused_object_ends_the_wait_for_room(segment: Emulator, sending: Senders) -> None:
    """Like a failure, since it may be one too many."""
    sender = sending(concurrency=4, objects=1, tolerated=0)
    segment.fault(InjectedFault(call="set", first=4, status=400))
    held = [segment.hold("set", first=1, count=3), segment.hold("set", first=5, count=None)]
    feeder = BackgroundCall(sender.put, *(room(str(number), n=number) for number in range(20)))
    with pytest.raises(RejectedRecordError):
        feeder.join()
    for hold in held:
        hold.release()


def test_close_takes_the_answers_of_what_is_in_flight(segment: Emulator, sending: Senders) -> None:
    """Their records are durable, and all threads have ended."""
    sender = sending()
    hold = segment.hold("set")
    sender.put(room("a", n=1))
    sender.second_passes()
    assert hold.wait_for(1)
    sender.put(room("b", n=2))
    closing = BackgroundCall(sender.delivery.close)
    assert sender.durable == 0
    hold.release()
    closing.join()
    assert sender.durable == 1, "what waited was not sent"
    assert set_threads() == []
    sender.delivery.close()


@pytest.mark.parametrize("held", [[large_room("a", mark) for mark in "qr"], [room("a", n=2)]])
def test_close_sends_nothing_that_was_held(
    segment: Emulator, sending: Senders, held: list[SegmentObject]
) -> None:
    """An answer that arrives at the end does not start the next call of its id."""
    sender = sending(objects=1)
    hold = segment.hold("set")
    sender.put(large_room("a", "p"))
    assert hold.wait_for(1)
    sender.put(*held)
    closing = BackgroundCall(sender.delivery.close)
    hold.release()
    closing.join()
    assert set_threads() == []
    assert sender.calls == [["a"]]
    assert sender.durable == 1


def test_nothing_put_nothing_sent(segment: Emulator, sending: Senders) -> None:
    """Without an object there is no request and no thread, and every position is durable."""
    sender = sending()
    sender.delivery.finish()
    assert sender.log.durable(7) == 7
    assert segment.requests == []
    assert set_threads() == []


BAD = "x" * 32_768
"""A value of 32 KB, which Segment refuses."""


def letters(text: str) -> list[SegmentObject]:
    """An object for each letter; Segment refuses those of capital letters."""
    return [room(letter.lower(), n=BAD if letter.isupper() else 1) for letter in text]


@pytest.mark.parametrize(
    ("put", "calls"),
    [
        ("abcdefghiJ", ["abcdefghij", "abcde", "fghij", "fg", "hij", "h", "ij", "i", "j"]),
        ("Abcdefghij", ["abcdefghij", "abcde", "ab", "a", "b", "cde", "fghij"]),
        ("AbcD", ["abcd", "ab", "a", "b", "cd", "c", "d"]),
        ("A", ["a"]),
        ("AB", ["ab", "a", "b"]),
    ],
)
def test_a_refused_call_is_halved_down_to_the_bad_object(
    segment: Emulator, sending: Senders, put: str, calls: list[str]
) -> None:
    """Good objects are delivered, bad ones refused, with as few calls as possible."""
    sender = sending(concurrency=1)
    sender.put(*letters(put))
    sender.delivery.finish()
    assert ["".join(ids) for ids in sender.calls] == calls
    bad = [[number] for number, letter in enumerate(put, start=1) if letter.isupper()]
    assert sender.refusals.lines == bad
    healthy = [letter for letter in put if letter.islower()]
    assert [row["id"] for row in segment.rows("rooms")] == healthy
    assert sender.durable == len(put)


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_that_does_not_return_loses_nothing(
    segment: Emulator, sending: Senders, status: int
) -> None:
    """If a call is refused once and its halves are accepted, there is no reject."""
    segment.fault(InjectedFault(call="set", status=status))
    sender = sending(concurrency=1)
    sender.put(*letters("abc"))
    sender.delivery.finish()
    assert ["".join(ids) for ids in sender.calls] == ["abc", "a", "bc"]
    assert sender.refusals.lines == []
    assert len(segment.rows("rooms")) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 501])
def test_other_refusals_are_not_halved(segment: Emulator, sending: Senders, status: int) -> None:
    """A wrong key or address is not caused by an object: one call, and the run ends."""
    segment.fault(InjectedFault(call="set", count=None, status=status))
    sender = sending(concurrency=1)
    sender.put(*letters("abcd"))
    with pytest.raises(RefusedError):
        sender.delivery.finish()
    assert ["".join(ids) for ids in sender.calls] == ["abcd"]
    assert sender.refusals.lines == []
    assert sender.durable == 0


def test_a_failure_while_halving_keeps_all_of_the_batch(
    segment: Emulator, sending: Senders
) -> None:
    """Nothing of the batch is durable, and a bad object in it is no reject yet."""
    segment.fault(InjectedFault(call="set", first=3, count=None, status=503))
    sender = sending(concurrency=1)
    sender.put(*letters("Ab"))
    with pytest.raises(UnavailableError):
        sender.delivery.finish()
    assert ["".join(ids) for ids in sender.calls] == ["ab", "a", "b"]
    assert sender.refusals.lines == []
    assert sender.durable == 0


def test_a_refused_object_names_all_of_its_records(segment: Emulator, sending: Senders) -> None:
    """Those that were merged while they waited, and those that were held back."""
    sender = sending(objects=2)
    sender.put(room("a", n=BAD), room("a", m=2))
    hold = segment.hold("set")
    sender.put(room("b", n=3))
    assert hold.wait_for(1)
    sender.put(room("b", m=4), room("b", n=BAD))
    hold.release()
    sender.delivery.finish()
    assert sender.refusals.lines == [[1, 2], [4, 5]]
    heard = [event for event in sender.events if isinstance(event, ObjectsRefused)]
    assert heard == [ObjectsRefused("rooms", 2)] * 2
    assert [row["id"] for row in segment.rows("rooms")] == ["b"]
    assert sender.durable == 5


def test_after_a_refusal_the_next_record_of_its_id_goes_out(
    segment: Emulator, sending: Senders
) -> None:
    """A record that was held back for the answer is sent as usual."""
    sender = sending(objects=1)
    hold = segment.hold("set")
    sender.put(room("a", n=BAD))
    assert hold.wait_for(1)
    sender.put(room("a", n=2))
    hold.release()
    sender.delivery.finish()
    assert history(segment, "a") == [2]
    assert sender.refusals.lines == [[1]]
    heard = [event for event in sender.events if isinstance(event, ObjectsDelivered)]
    assert heard == [ObjectsDelivered("rooms", 1, 1)]


def test_a_refusal_too_many_is_raised_and_not_durable(segment: Emulator, sending: Senders) -> None:
    """The rest can still be delivered, and no state covers the refused record."""
    sender = sending(concurrency=1, objects=1, tolerated=1)
    sender.put(*letters("a"))
    sender.put(*letters("B"))
    sender.bell.wait(2)
    sender.put(*letters("C"))
    sender.bell.wait()
    with pytest.raises(RejectedRecordError):
        sender.delivery.tick()
    sender.put(*letters("d"))
    sender.delivery.finish()
    assert sender.refusals.lines == [[2], [3]]
    assert [row["id"] for row in segment.rows("rooms")] == ["a", "d"]
    assert sender.durable == 2


@pytest.mark.parametrize(
    ("obj", "has_hint"),
    [
        (SegmentObject("rooms", "a", b'{"n":"%b","m":null}' % BAD.encode()), True),
        (SegmentObject("rooms", "a", b'{"n":"%b"}' % BAD.encode()), False),
    ],
)
def test_a_refused_object_with_nulls_says_what_to_try(
    sending: Senders, obj: SegmentObject, *, has_hint: bool
) -> None:
    """Segment documents no nulls; an object without nulls is refused for another reason."""
    sender = sending()
    sender.put(obj)
    sender.delivery.finish()
    (message,) = sender.refusals.messages
    assert ("set `nulls` to `drop`" in message) is has_hint
