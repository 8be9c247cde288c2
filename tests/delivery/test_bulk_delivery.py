"""Delivery by bulk sessions, over real sockets: parts, keep-alive, replacement, the end."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from target_segment_objects.client import BulkApi, Caller, RetryPolicy, Transport, TransportOptions
from target_segment_objects.delivery.bulk.delivery import BulkDelivery
from target_segment_objects.delivery.contract import (
    DeliveryHooks,
    ObjectsDelivered,
    ObjectsQueued,
    PartUploaded,
    SessionStateChanged,
)
from target_segment_objects.delivery.durability import DurabilityLog
from target_segment_objects.delivery.limits import BulkLimits
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import (
    AuthenticationError,
    RefusedError,
    RejectedRecordError,
    SessionRefusedError,
    SpoolError,
    UnavailableError,
)
from tests.builders import (
    PATIENCE,
    BackgroundCall,
    ManualClock,
    Refusals,
    WakeCounter,
    block,
    large_room,
    room,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_segment_objects.delivery.contract import DeliveryEvent, Observer
    from target_segment_objects.objects import SegmentObject

KEY = "key-of-the-tests"


class Loading:
    """A delivery to an emulator; by default each record is a part of its own."""

    def __init__(  # noqa: PLR0913  all of them are keywords with defaults
        self,
        segment: Emulator,
        *,
        limits: BulkLimits | None = None,
        keep_alive_seconds: float = 240.0,
        checkpoint_seconds: float = 1800.0,
        spool_max_bytes: int = 10_000_000_000,
        parts: int = 10_000,
        tolerated: int = 99,
        monotonic: Callable[[], float] | None = None,
        key: str = KEY,
        options: TransportOptions | None = None,
        observer: Observer = lambda _: None,
    ) -> None:
        self.segment = segment
        self.clock = ManualClock()
        self.bell = WakeCounter()
        self.log = DurabilityLog()
        self.refusals = Refusals(tolerated)
        self.position = 0
        self._transport = Transport(segment.url, key, options or TransportOptions())
        self.delivery = BulkDelivery(
            BulkApi(Caller(self._transport, policy=RetryPolicy(1e-6, 1e-6, 0.0, min_attempts=1))),
            DeliveryHooks(
                log=self.log,
                on_refused=self.refusals,
                wake=self.bell,
                observer=observer,
                monotonic=monotonic if monotonic is not None else self.clock,
            ),
            replace(
                limits if limits is not None else BulkLimits(part_size_bytes=1),
                keep_alive_seconds=keep_alive_seconds,
                checkpoint_seconds=checkpoint_seconds,
                spool_max_bytes=spool_max_bytes,
                parts=parts,
            ),
        )

    def put(self, *objects: SegmentObject) -> None:
        """Put objects, one record each."""
        for obj in objects:
            self.position += 1
            self.delivery.put_block(*block(self.position, obj))

    def put_numbers(self, *numbers: int) -> None:
        """Put records of one object."""
        self.put(*(room("a", n=number) for number in numbers))

    @property
    def durable(self) -> int:
        """How many of the records that were put are durable."""
        return self.log.durable(self.position)

    @property
    def calls(self) -> list[str]:
        """The calls, in order of arrival, without keep-alives."""
        return [request.call for request in self.segment.requests if request.call != "keep-alive"]

    def close(self) -> None:
        """End it."""
        self.delivery.close()
        self._transport.close()


class Loaders:
    """Makes deliveries to one emulator, and ends them."""

    def __init__(self, segment: Emulator) -> None:
        self._segment = segment
        self._loadings: list[Loading] = []

    def __call__(self, **options: Any) -> Loading:
        """One more delivery."""
        self._loadings.append(Loading(self._segment, **options))
        return self._loadings[-1]

    def close(self) -> None:
        """End all of them; what is still held goes on."""
        self._segment.clear_faults()
        for loading in self._loadings:
            loading.close()


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator that takes one key."""
    with Emulator(write_key=KEY) as segment:
        yield segment


@pytest.fixture
def loading(segment: Emulator) -> Iterator[Loaders]:
    """Makes deliveries to it."""
    loaders = Loaders(segment)
    yield loaders
    loaders.close()


def states(segment: Emulator) -> list[str]:
    """The sessions' states, oldest first."""
    return [session.state for session in segment.sessions.values()]


def errors(segment: Emulator) -> list[str]:
    """The error texts that the sessions were finished with."""
    return [session.error for session in segment.sessions.values()]


def numbers(segment: Emulator) -> list[Any]:
    """The successive values of the object of `put_numbers`."""
    return [update["n"] for update in segment.history("rooms", "a")]


def bulk_threads() -> list[str]:
    """The deliveries' threads."""
    names = {"bulk", "compress", "keep-alive"}
    return [thread.name for thread in threading.enumerate() if thread.name in names]


def open_spools() -> int:
    """The number of files without a name that this process has open."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += "(deleted)" in str(link.readlink())
        except OSError:  # the folder's own
            continue
    return count


def test_the_session_begins_with_the_first_record(segment: Emulator, loading: Loaders) -> None:
    """It is started neither earlier nor only when a part is full."""
    loader = loading(limits=BulkLimits())
    assert loader.delivery.tick() is None
    assert segment.requests == []
    hold = segment.hold("start")
    loader.put_numbers(1)
    assert hold.wait_for(1)
    assert loader.calls == ["start"]


def test_a_wrong_key_ends_it_before_the_first_part(loading: Loaders) -> None:
    """The error comes within a second, and not after 512 MB."""
    loader = loading(limits=BulkLimits(), key="wrong")
    loader.put_numbers(1)
    loader.bell.wait()
    with pytest.raises(AuthenticationError):
        loader.put_numbers(2)
    with pytest.raises(AuthenticationError):
        loader.delivery.tick()
    loader.delivery.close()
    assert loader.calls == ["start"], "no session, so nothing to finish"
    assert loader.durable == 0


def test_lines_and_objects_keep_their_order(segment: Emulator, loading: Loaders) -> None:
    """Blocks of any size keep their order; a block's position is that of its first record."""
    loader = loading(limits=BulkLimits(part_size_bytes=200))
    loader.put_numbers(1)
    loader.delivery.put_block(*block(2, *(room("a", n=n) for n in range(2, 7))))
    loader.position = 6
    loader.put_numbers(7)
    loader.delivery.put_block(*block(8, room("a", n=8)))
    loader.position = 8
    assert loader.durable == 0
    loader.delivery.finish()
    assert numbers(segment) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert loader.durable == 8


def test_a_session_begins_with_the_first_of_some_lines(segment: Emulator, loading: Loaders) -> None:
    """Everything before that record is durable, and none of the lines."""
    loader = loading(checkpoint_seconds=10.0)
    loader.put_numbers(1)
    loader.clock.now = 10.0
    loader.delivery.tick()
    loader.bell.wait()
    hold = segment.hold("finish", first=2)
    loader.delivery.put_block(*block(2, room("a", n=2), room("a", n=3)))
    loader.position = 3
    finishing = BackgroundCall(loader.delivery.finish)
    assert hold.wait_for(1)
    assert loader.durable == 1
    hold.release()
    finishing.join()
    assert numbers(segment) == [1, 2, 3]
    assert loader.durable == 3


@pytest.mark.parametrize("level", ["auto", 0, 1, 6])
def test_many_lines_come_out_as_they_went_in(
    segment: Emulator, loading: Loaders, level: int | Literal["auto"]
) -> None:
    """Parts may end in the middle of a block, at any level."""
    loader = loading(limits=BulkLimits(1_500_000, compression_level=level))
    mark = "x" * 1000
    for start in range(0, 9000, 900):
        rooms = (room(str(number), mark=mark, n=number) for number in range(start, start + 900))
        loader.delivery.put_block(*block(start + 1, *rooms))
    loader.position = 9000
    loader.delivery.finish()
    assert {row["id"]: row["n"] for row in segment.rows("rooms")} == {
        str(number): number for number in range(9000)
    }
    assert loader.calls.count("upload") == 7
    assert segment.refusals == []


def test_the_level_changes_within_a_part(segment: Emulator, loading: Loaders) -> None:
    """The part is still one gzip file that Segment accepts."""
    loader = loading(limits=BulkLimits())
    found: list[int] = []

    def choose(size: int, waited: float, queued: int) -> int:
        assert size > 0
        assert waited >= 0
        assert 0 <= queued <= 4 << 20
        found.append(len(found) % 10)
        return found[-1]

    rooms = [room(str(number), mark="x" * 1000, n=number) for number in range(20_000)]
    loader.put(rooms[0])
    loader.delivery._compressor._level.choose = choose  # type: ignore[method-assign]
    loader.put(*rooms[1:])
    loader.delivery.finish()
    assert set(found) == set(range(10))
    assert loader.calls.count("upload") == 1
    assert len(segment.rows("rooms")) == 20_000


def test_no_record_no_session(segment: Emulator, loading: Loaders) -> None:
    """There is no request and no thread, and every position is durable."""
    loader = loading()
    loader.delivery.finish()
    loader.delivery.close()
    assert segment.requests == []
    assert bulk_threads() == []
    assert loader.log.durable(7) == 7


def test_a_session_from_start_to_finish(segment: Emulator, loading: Loaders) -> None:
    """Start, parts in order, finish without an error; then everything is durable."""
    loader = loading()
    loader.put_numbers(*range(1, 6))
    loader.delivery.finish()
    assert loader.calls == ["start", *["upload"] * 5, "finish"]
    assert numbers(segment) == [1, 2, 3, 4, 5]
    assert json.loads(segment.requests[-1].body) == {"error": ""}
    assert states(segment) == ["finished"]
    assert loader.durable == 5
    loader.delivery.close()
    assert bulk_threads() == []
    assert segment.refusals == []


def test_an_observer_hears_of_sessions_parts_and_objects(
    segment: Emulator, loading: Loaders
) -> None:
    """There is an event for what was queued, uploaded, finished and delivered."""
    events: list[DeliveryEvent] = []
    loader = loading(observer=events.append)
    loader.put_numbers(1, 2)
    loader.delivery.finish()
    (sync_id,) = segment.sessions
    queued = [event for event in events if isinstance(event, ObjectsQueued)]
    uploaded = [event for event in events if isinstance(event, PartUploaded)]
    assert [event.collection for event in queued] == ["rooms", "rooms"]
    assert [(event.sync_id, event.part, event.objects) for event in uploaded] == [
        (sync_id, 1, 1),
        (sync_id, 2, 1),
    ]
    assert [event.bytes for event in uploaded] == [event.bytes for event in queued]
    changes = [event for event in events if isinstance(event, SessionStateChanged)]
    assert (changes[0], changes[-1]) == (
        SessionStateChanged(sync_id, "open", 0),
        SessionStateChanged(sync_id, "finished", 2),
    )
    assert events[-1] == ObjectsDelivered("rooms", 2, 2)


def test_the_next_part_fills_during_an_upload(segment: Emulator, loading: Loaders) -> None:
    """`put_block` does not wait for an upload, and uploads wait for each other."""
    loader = loading()
    hold = segment.hold("upload", before=True)
    loader.put_numbers(1, 2)
    assert hold.wait_for(1)
    loader.put_numbers(*range(3, 50))
    assert loader.calls == ["start", "upload"]
    hold.release()
    loader.delivery.finish()
    assert numbers(segment) == list(range(1, 50))
    assert segment.in_flight_peak == 1


def test_nothing_is_durable_before_finish_is_answered(segment: Emulator, loading: Loaders) -> None:
    """An upload is not enough, nor is an answer that is withheld."""
    loader = loading()
    hold = segment.hold("finish")
    loader.put_numbers(1, 2, 3)
    assert loader.durable == 0
    finishing = BackgroundCall(loader.delivery.finish)
    assert hold.wait_for(1)
    assert states(segment) == ["finished"]
    assert loader.durable == 0
    hold.release()
    finishing.join()
    assert loader.durable == 3


def test_an_old_session_is_finished_and_the_next_record_begins_another(
    segment: Emulator, loading: Loaders
) -> None:
    """This also happens while the tap is idle; sessions never overlap."""
    loader = loading(checkpoint_seconds=1800.0)
    loader.clock.now = 100.0
    loader.put_numbers(1)
    loader.clock.now = 1000.0
    loader.put_numbers(2)
    assert loader.delivery.tick() == 1900.0
    loader.clock.now = 1899.0
    assert loader.delivery.tick() == 1900.0
    finish = segment.hold("finish")
    start = segment.hold("start", first=2)
    loader.clock.now = 1900.0
    assert loader.delivery.tick() is None
    assert finish.wait_for(1)
    loader.put_numbers(3)
    assert loader.delivery.tick() == 3700.0
    assert loader.calls == ["start", "upload", "upload", "finish"]
    assert loader.durable == 0
    finish.release()
    assert start.wait_for(1)
    loader.delivery.tick()
    assert loader.durable == 2
    start.release()
    loader.delivery.finish()
    assert loader.calls[4:] == ["start", "upload", "finish"]
    assert numbers(segment) == [1, 2, 3]
    assert loader.durable == 3


def test_no_checkpoint_makes_one_session(segment: Emulator, loading: Loaders) -> None:
    """With `checkpoint_seconds: 0` there is one session, however long the run lasts."""
    loader = loading(checkpoint_seconds=0)
    for number in range(5):
        loader.clock.now = number * 1e6
        loader.put_numbers(number)
        assert loader.delivery.tick() is None
    loader.delivery.finish()
    assert states(segment) == ["finished"]


def test_a_silent_session_is_kept_alive(segment: Emulator, loading: Loaders) -> None:
    """A thread keeps it alive repeatedly while the tap sends nothing."""
    loader = loading(keep_alive_seconds=0.01, monotonic=time.monotonic)
    third = segment.hold("keep-alive", first=3)
    loader.put_numbers(1)
    assert third.wait_for(1)
    third.release()
    loader.delivery.finish()
    assert states(segment) == ["finished"]
    assert segment.refusals == []


def test_a_session_is_kept_alive_during_an_upload(segment: Emulator, loading: Loaders) -> None:
    """The upload of a part may take longer than a session lives."""
    loader = loading(keep_alive_seconds=0.01, monotonic=time.monotonic)
    upload = segment.hold("upload", before=True)
    loader.put_numbers(1, 2)
    assert upload.wait_for(1)
    before = sum(request.call == "keep-alive" for request in segment.requests)
    alive = segment.hold("keep-alive", first=before + 2)
    assert alive.wait_for(1)
    assert upload.waiting == 1
    alive.release()
    upload.release()
    loader.delivery.finish()
    assert numbers(segment) == [1, 2]


def test_a_keep_alive_that_fails_does_not_end_the_sync(segment: Emulator, loading: Loaders) -> None:
    """It is tried again; the next call shows whether the session is lost."""
    segment.fault(InjectedFault(call="keep-alive", first=1, count=2, status=500))
    third = segment.hold("keep-alive", first=3)
    loader = loading(keep_alive_seconds=0.01, monotonic=time.monotonic)
    loader.put_numbers(1)
    assert third.wait_for(1)
    third.release()
    loader.delivery.finish()
    assert loader.durable == 1


def test_warnings_of_what_a_run_survives_give_no_advice(
    segment: Emulator, loading: Loaders, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings of a replaced session and a failed keep-alive say only what happened."""
    segment.fault(InjectedFault(call="upload", first=2, status=404))
    segment.fault(InjectedFault(call="keep-alive", first=1, count=1, status=500))
    second = segment.hold("keep-alive", first=2)
    loader = loading(keep_alive_seconds=0.01, monotonic=time.monotonic)
    loader.put_numbers(1)
    assert second.wait_for(1)
    second.release()
    loader.put_numbers(2, 3)
    loader.delivery.finish()
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    heads = {warning.split(":")[0] for warning in warnings}
    assert heads == {"A bulk session was refused and is replaced", "Keep-alive failed"}
    for warning in warnings:
        assert not re.search(r"again|later|raise|check|change it", warning), warning


@pytest.mark.parametrize(
    "fault",
    [
        InjectedFault(call="upload", first=1, expire=True),
        InjectedFault(call="upload", first=3, expire=True),
        InjectedFault(call="finish", first=1, expire=True),
        InjectedFault(call="upload", first=2, status=404),
        InjectedFault(call="upload", first=2, status=410),
        InjectedFault(call="finish", first=1, status=400),
    ],
    ids=lambda fault: f"{fault.call} {fault.first} {fault.status or 'expired'}",
)
def test_a_session_that_is_refused_is_replaced_once(
    segment: Emulator, loading: Loaders, fault: InjectedFault
) -> None:
    """The new session gets all parts in order; nothing is lost or duplicated."""
    segment.fault(fault)
    loader = loading()
    loader.put_numbers(1, 2, 3, 4)
    loader.delivery.finish()
    assert loader.calls.count("start") == 2
    assert states(segment)[1] == "finished"
    assert len(list(segment.sessions.values())[1].parts) == 4
    assert numbers(segment) == [1, 2, 3, 4]
    assert loader.durable == 4


def test_a_session_is_replaced_whenever_it_is_lost(segment: Emulator, loading: Loaders) -> None:
    """A laptop may sleep several times: sessions that accepted a part are replaced each time."""
    for first in (2, 5, 9):
        segment.fault(InjectedFault(call="upload", first=first, expire=True))
    segment.fault(InjectedFault(call="finish", first=1, expire=True))
    loader = loading()
    loader.put_numbers(1, 2, 3, 4, 5)
    loader.delivery.finish()
    assert loader.calls.count("start") == 5
    assert states(segment)[-1] == "finished"
    assert numbers(segment) == [1, 2, 3, 4, 5]
    assert loader.durable == 5


def test_a_session_lost_while_its_parts_are_uploaded_again_is_replaced(
    segment: Emulator, loading: Loaders
) -> None:
    """The new session had accepted a part, and was lost at another part than the first one."""
    segment.fault(InjectedFault(call="upload", first=4, expire=True))
    segment.fault(InjectedFault(call="upload", first=6, expire=True))
    loader = loading()
    loader.put_numbers(1, 2, 3, 4)
    loader.delivery.finish()
    assert loader.calls.count("start") == 3
    assert numbers(segment) == [1, 2, 3, 4]
    assert loader.durable == 4


def test_sessions_that_accept_nothing_are_not_replaced_endlessly(
    segment: Emulator, loading: Loaders
) -> None:
    """Whatever a server refuses, the run ends."""
    segment.fault(InjectedFault(call="upload", first=3, count=None, status=410))
    loader = loading()
    loader.put_numbers(1, 2, 3)
    with pytest.raises(SessionRefusedError):
        loader.delivery.finish()
    assert loader.calls.count("start") == 2


def test_sessions_that_end_by_age_are_bounded_too(segment: Emulator, loading: Loaders) -> None:
    """While Segment is slow, no third session begins, whatever ended the earlier ones."""
    loader = loading(checkpoint_seconds=1.0)
    hold = segment.hold("finish", before=True)
    kept: list[int] = []
    waits = threading.Event()
    loader.delivery._hooks = replace(loader.delivery._hooks, meanwhile=waits.set)

    def feed() -> None:
        for number in range(8):
            loader.put_numbers(number)
            kept.append(len(loader.delivery._unfinished))
            loader.clock.now += 2.0
            loader.delivery.tick()
        loader.delivery.finish()

    feeding = BackgroundCall(feed)
    assert hold.wait_for(1)
    assert waits.wait(PATIENCE), "the run does what is due while it waits"
    assert len(kept) == 2
    hold.release()
    feeding.join()
    assert max(kept) == 2
    assert numbers(segment) == list(range(8))
    assert loader.durable == 8


def test_sessions_end_at_a_number_of_parts_too(segment: Emulator, loading: Loaders) -> None:
    """Each part takes memory until the end, however small it is."""
    loader = loading(parts=3)
    loader.put_numbers(*range(20))
    loader.delivery.finish()
    parts = [len(session.parts) for session in segment.sessions.values()]
    assert max(parts) <= 4, "three, and what is flushed at the end"
    assert len(parts) > 1
    assert numbers(segment) == list(range(20))
    assert loader.durable == 20


def test_a_session_is_kept_alive_with_one_request_at_once(
    segment: Emulator, loading: Loaders
) -> None:
    """A keep-alive does not wait for the slot of an upload, or the session would expire."""
    loader = loading(
        keep_alive_seconds=0.01,
        monotonic=time.monotonic,
        options=TransportOptions(max_concurrency=1),
    )
    upload = segment.hold("upload", before=True)
    loader.put_numbers(1, 2)
    assert upload.wait_for(1)
    before = sum(request.call == "keep-alive" for request in segment.requests)
    alive = segment.hold("keep-alive", first=before + 2)
    assert alive.wait_for(1)
    assert upload.waiting == 1
    alive.release()
    upload.release()
    loader.delivery.finish()
    assert numbers(segment) == [1, 2]


@pytest.mark.parametrize("call", ["upload", "finish"])
def test_a_second_refusal_ends_the_sync(segment: Emulator, loading: Loaders, call: str) -> None:
    """A new session that is refused too was not expired; it is finished with the error's text."""
    hit = {"upload": InjectedFault(call="upload", first=2, count=None, status=400)}
    segment.fault(hit.get(call, InjectedFault(call="finish", count=2, status=400)))
    loader = loading()
    loader.put_numbers(1, 2, 3)
    with pytest.raises(SessionRefusedError, match="try `nulls: drop`"):
        loader.delivery.finish()
    loader.delivery.close()
    assert loader.calls.count("start") == 2
    assert states(segment)[1] == "failed"
    assert "400" in errors(segment)[1]
    assert loader.durable == 0
    assert segment.rows("rooms") == []


@pytest.mark.parametrize(("status", "error"), [(501, RefusedError), (503, UnavailableError)])
def test_a_session_that_fails_is_finished_with_the_error(
    segment: Emulator, loading: Loaders, status: int, error: type[Exception]
) -> None:
    """Segment gets the reason; nothing is durable, and nothing more is uploaded."""
    segment.fault(InjectedFault(call="upload", first=2, count=None, status=status))
    loader = loading()
    loader.put_numbers(1, 2, 3, 4)
    with pytest.raises(error) as caught:
        loader.delivery.finish()
    loader.delivery.close()
    assert states(segment) == ["failed"]
    assert errors(segment) == [str(caught.value)]
    assert KEY not in errors(segment)[0]
    assert loader.calls == ["start", "upload", "upload", "finish"]
    assert loader.durable == 0
    assert bulk_threads() == []


def test_a_failure_is_reported_before_the_session_is_abandoned(
    segment: Emulator, loading: Loaders
) -> None:
    """Finishing a failed session may take long, but the run gets the error at once."""
    segment.fault(InjectedFault(call="upload", status=501))
    hold = segment.hold("finish", before=True)
    loader = loading()
    loader.put_numbers(1)
    with pytest.raises(RefusedError):
        loader.delivery.finish()
    assert hold.wait_for(1)
    hold.release()
    loader.delivery.close()
    assert states(segment) == ["failed"]


def test_an_earlier_session_stays_durable(segment: Emulator, loading: Loaders) -> None:
    """A failure after a checkpoint does not change what was durable before."""
    loader = loading(checkpoint_seconds=10.0)
    loader.put_numbers(1, 2)
    loader.clock.now = 10.0
    loader.delivery.tick()
    loader.bell.wait()
    segment.fault(InjectedFault(call="upload", first=3, status=501))
    loader.put_numbers(3)
    with pytest.raises(RefusedError):
        loader.delivery.finish()
    assert loader.durable == 2
    assert states(segment)[0] == "finished"


def test_closed_early_the_session_is_finished_with_an_error(
    segment: Emulator, loading: Loaders
) -> None:
    """Nobody waits for its end, and Segment does not take half of the data for all of it."""
    loader = loading()
    upload = segment.hold("upload")
    loader.put_numbers(1, 2, 3, 4)
    assert upload.wait_for(1)
    closing = BackgroundCall(loader.delivery.close)
    upload.release()
    closing.join()
    assert states(segment) == ["failed"]
    assert errors(segment) == ["the run ended before this sync was complete"]
    assert loader.calls[-1] == "finish"
    assert loader.durable == 0
    assert bulk_threads() == []
    loader.delivery.close()


def test_a_finish_that_is_answered_during_close_counts(segment: Emulator, loading: Loaders) -> None:
    """Its records are durable, and the session is not finished again with an error."""
    loader = loading(checkpoint_seconds=10.0)
    hold = segment.hold("finish")
    loader.put_numbers(1)
    loader.clock.now = 10.0
    loader.delivery.tick()
    assert hold.wait_for(1)
    closing = BackgroundCall(loader.delivery.close)
    # The thread of the calls has no other step left when the answer comes: `close` took them.
    hold.release()
    closing.join()
    assert loader.calls == ["start", "upload", "finish"]
    assert loader.durable == 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
@pytest.mark.parametrize("fails", [False, True])
def test_the_spool_is_released(
    segment: Emulator, loading: Loaders, tmp_path: Path, *, fails: bool
) -> None:
    """It is closed when the session is finished, or when the run ends."""
    before = open_spools()
    limits = BulkLimits(1 << 20, compression_level=0, spool_dir=str(tmp_path))
    loader = loading(limits=limits)
    hold = segment.hold("upload", before=True)
    # More than is in memory, and as much again as may be on its way there.
    loader.put(*(large_room(str(number), "a") for number in range(80)))
    assert open_spools() == before + 1
    assert hold.wait_for(1)
    if fails:
        segment.fault(InjectedFault(call="finish", status=501))
    hold.release()
    if fails:
        with pytest.raises(RefusedError):
            loader.delivery.finish()
        loader.delivery.close()
    else:
        loader.delivery.finish()
        assert len(segment.rows("rooms")) == 80
    assert open_spools() == before
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_written(
    segment: Emulator, loading: Loaders, tmp_path: Path
) -> None:
    """The error comes from `put`; the session is finished with an error."""
    limits = BulkLimits(1 << 20, compression_level=0, spool_dir=str(tmp_path / "gone"))
    loader = loading(limits=limits)
    with pytest.raises(SpoolError, match="spool_dir"):
        loader.put(*(large_room(str(number), "a") for number in range(100)))
    with pytest.raises(SpoolError):
        loader.delivery.tick()
    with pytest.raises(SpoolError):
        loader.delivery.finish()
    loader.delivery.close()
    assert loader.durable == 0
    assert set(states(segment)) <= {"failed"}
    assert bulk_threads() == []


def test_a_spool_that_fails_at_the_end(loading: Loaders, tmp_path: Path) -> None:
    """`finish` waits for the blocks in the queue, and raises the error."""
    limits = BulkLimits(compression_level=0, spool_dir=str(tmp_path / "gone"))
    loader = loading(limits=limits)
    loader.put(*(large_room(str(number), "a") for number in range(36)))
    with pytest.raises(SpoolError, match="spool_dir"):
        loader.delivery.finish()
    loader.delivery.close()
    assert loader.durable == 0
    assert bulk_threads() == []


def test_a_failure_while_the_disk_is_full_of_two_sessions_ends_the_wait(
    segment: Emulator, loading: Loaders
) -> None:
    """The reading thread waits for the earlier session, whose failure wakes it."""
    loader = loading(spool_max_bytes=1)
    hold = segment.hold("upload", before=True)
    segment.fault(InjectedFault(call="upload", status=501))

    def feed() -> None:
        for number in range(12):
            loader.put_numbers(number)

    feeding = BackgroundCall(feed)
    assert hold.wait_for(1)
    hold.release()
    with pytest.raises(RefusedError):
        feeding.join()
    loader.delivery.close()
    assert loader.durable == 0
    assert bulk_threads() == []


def test_what_is_not_compressed_is_bounded(segment: Emulator, loading: Loaders) -> None:
    """`put_block` waits for the compressor, so the bytes in its queue are bounded."""
    loader = loading(limits=BulkLimits(compression_level=9))
    most = 0
    for number in range(100):
        loader.put(large_room(str(number), "a"))
        most = max(most, loader.delivery._compressor.pending_bytes)
    assert 1 << 20 < most <= 4 << 20
    loader.delivery.finish()
    assert len(segment.rows("rooms")) == 100


def test_closed_while_much_is_in_the_queue(segment: Emulator, loading: Loaders) -> None:
    """The queue of the compressor is dropped, and `close` does not wait for it."""
    loader = loading(limits=BulkLimits(compression_level=9))
    loader.put(*(large_room(str(number), "a") for number in range(40)))
    loader.delivery.close()
    assert bulk_threads() == []
    assert set(states(segment)) <= {"failed"}
    assert loader.durable == 0


def test_a_bug_on_the_compressing_thread_is_raised(loading: Loaders) -> None:
    """Whatever ends the thread ends the run; neither `put_block` nor `close` waits for it."""
    loader = loading()
    loader.put_numbers(1)
    assert loader.delivery._open is not None
    loader.delivery._open.writer._spool = None  # type: ignore[assignment]
    loader.put_numbers(2)
    loader.bell.wait()
    with pytest.raises(AttributeError):
        loader.put(*(large_room(str(number), "a") for number in range(100)))
    with pytest.raises(AttributeError):
        loader.delivery.finish()
    loader.delivery.close()
    assert bulk_threads() == []
    assert loader.durable == 0


def test_close_does_not_wait_for_the_next_keep_alive(segment: Emulator, loading: Loaders) -> None:
    """The thread does not sleep for 240 seconds."""
    loader = loading(keep_alive_seconds=1e6)
    loader.put_numbers(1)
    loader.delivery.finish()
    began = time.monotonic()
    loader.delivery.close()
    assert time.monotonic() - began < PATIENCE
    assert states(segment) == ["finished"]


def uploads(segment: Emulator) -> list[int]:
    """The number of records of `put_numbers`, of one digit, in each upload."""
    line = len(room("a", n=1).line_bytes()) + 1
    # Without compression a gzip file is a frame, smaller than a line, and its content.
    return [request.body_bytes // line for request in segment.requests if request.call == "upload"]


def one_part() -> BulkLimits:
    """All records in one part."""
    return BulkLimits(compression_level=0)


@pytest.mark.parametrize(
    ("refused", "uploaded"),
    [
        ([1], [5, 2, 3]),
        ([1, 2], [5, 2, 1, 1, 3]),
        ([1, 3], [5, 2, 3, 1, 2]),
    ],
)
def test_a_part_that_is_too_large_is_split_at_a_line(
    segment: Emulator, loading: Loaders, refused: list[int], uploaded: list[int]
) -> None:
    """The halves are uploaded in order, in the same session, with as few uploads as possible."""
    for number in refused:
        segment.fault(InjectedFault(call="upload", first=number, status=413))
    loader = loading(limits=one_part())
    loader.put_numbers(1, 2, 3, 4, 5)
    loader.delivery.finish()
    assert uploads(segment) == uploaded
    assert loader.calls == ["start", *["upload"] * len(uploaded), "finish"]
    assert numbers(segment) == [1, 2, 3, 4, 5]
    assert loader.refusals.lines == []
    assert loader.durable == 5


def test_the_halves_of_a_part_take_no_more_disk_than_the_part(
    segment: Emulator, loading: Loaders
) -> None:
    """Uploaded halves are released, however often a part is split; at the end all of them."""
    loader = loading(limits=one_part())
    spooled: list[int] = []
    sessions: list[Any] = []

    def look(_: object) -> None:
        spooled.append(sessions[0].spooled)

    for number in (1, 2, 3, 4, 5, 6):
        segment.fault(InjectedFault(call="upload", first=number, status=413))
    segment.fault(InjectedFault(call="upload", count=None, callback=look))
    for number in range(100):
        loader.put(room(f"r{number}", text="x" * 1000))
    sessions += loader.delivery._unfinished
    loader.delivery.finish()
    assert len(segment.rows("rooms")) == 100
    part = spooled[0]
    assert max(spooled) < 2 * part + 1000
    assert sessions[0]._halves.size == 0
    assert loader.durable == 100


def test_refused_objects_stay_in_the_spool_and_not_in_memory(
    segment: Emulator, loading: Loaders
) -> None:
    """A proxy may refuse every part: refused objects stay compressed, above 8 MiB on disk."""
    segment.fault(InjectedFault(call="upload", count=None, status=413))
    loader = loading()
    for number in range(40):
        loader.put(room(f"r{number}", text="x" * 30_000))
    (session,) = loader.delivery._unfinished
    loader.delivery.finish()
    assert len(loader.refusals.lines) == 40
    assert all(part.compressed < 1000 for part, _ in session.refused)
    assert loader.durable == 40


def test_a_single_object_that_is_too_large_is_refused(segment: Emulator, loading: Loaders) -> None:
    """The objects before and after it are delivered."""
    segment.fault(InjectedFault(call="upload", first=2, status=413))
    loader = loading()
    loader.put_numbers(1, 2, 3)
    loader.delivery.finish()
    assert numbers(segment) == [1, 3]
    assert len(loader.refusals.lines) == 1
    assert "too large" in loader.refusals.messages[0]
    assert loader.durable == 3


def test_a_refusal_too_many_is_not_durable(segment: Emulator, loading: Loaders) -> None:
    """No state covers its session, although the rest of it was delivered."""
    segment.fault(InjectedFault(call="upload", first=2, status=413))
    loader = loading(tolerated=0)
    loader.put_numbers(1, 2, 3)
    with pytest.raises(RejectedRecordError):
        loader.delivery.finish()
    loader.delivery.finish()
    assert numbers(segment) == [1, 3]
    assert states(segment) == ["finished"]
    assert loader.durable == 0


def test_a_split_part_is_uploaded_again_in_a_new_session(
    segment: Emulator, loading: Loaders
) -> None:
    """The new session gets the halves instead of the part, and everything in order."""
    segment.fault(InjectedFault(call="upload", first=1, status=413))
    segment.fault(InjectedFault(call="finish", first=1, expire=True))
    loader = loading(limits=one_part())
    loader.put_numbers(1, 2, 3, 4)
    loader.delivery.finish()
    assert uploads(segment) == [4, 2, 2, 2, 2]
    assert numbers(segment) == [1, 2, 3, 4]
    assert loader.durable == 4


def test_a_session_lost_in_the_middle_of_a_split_duplicates_nothing(
    segment: Emulator, loading: Loaders
) -> None:
    """The uploaded half is uploaded again with the rest, each half once and in order."""
    segment.fault(InjectedFault(call="upload", first=1, status=413))
    segment.fault(InjectedFault(call="upload", first=3, expire=True))
    loader = loading(limits=one_part())
    loader.put_numbers(1, 2, 3, 4)
    loader.delivery.finish()
    assert numbers(segment) == [1, 2, 3, 4]
    assert loader.durable == 4


def test_an_object_refused_in_a_session_that_is_lost_is_refused_once(
    segment: Emulator, loading: Loaders
) -> None:
    """One record is one reject, however often its part was sent."""
    segment.fault(InjectedFault(call="upload", first=1, status=413))
    segment.fault(InjectedFault(call="upload", first=2, status=413))
    segment.fault(InjectedFault(call="upload", first=3, expire=True))
    segment.fault(InjectedFault(call="upload", first=4, status=413))
    loader = loading(limits=one_part())
    loader.put_numbers(1, 2)
    loader.delivery.finish()
    assert numbers(segment) == [2]
    assert len(loader.refusals.lines) == 1


def test_a_full_spool_makes_a_checkpoint(segment: Emulator, loading: Loaders) -> None:
    """The session is finished, and the next record begins another."""
    loader = loading(spool_max_bytes=1)
    loader.put_numbers(1, 2, 3)
    loader.delivery.finish()
    # A part is on the disk when the next record closes it; that one is of the same session.
    assert loader.calls == ["start", "upload", "upload", "finish", "start", "upload", "finish"]
    assert numbers(segment) == [1, 2, 3]
    assert loader.durable == 3


def test_a_full_spool_waits_for_the_session_before(segment: Emulator, loading: Loaders) -> None:
    """At most two sessions are on disk: the one that fills and the one that is uploaded."""
    loader = loading(spool_max_bytes=1)
    hold = segment.hold("upload", before=True)
    kept: list[int] = []

    def feed() -> None:
        for number in range(12):
            loader.put_numbers(number)
            kept.append(len(loader.delivery._unfinished))
        loader.delivery.finish()

    feeding = BackgroundCall(feed)
    assert hold.wait_for(1)
    assert len(kept) <= 4, "the fifth record would begin a third session"
    hold.release()
    feeding.join()
    assert max(kept) == 2
    assert numbers(segment) == list(range(12))
    assert loader.durable == 12
