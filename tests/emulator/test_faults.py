"""Injected faults: each kind, at the call and number for which it was added."""

from __future__ import annotations

import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Emulator, EmulatorError, Hold, InjectedFault
from tests.emulator.wire import Client, basic, lines, room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.emulator import RecordedRequest

TIMEOUT = 10.0


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator with its defaults."""
    with Emulator() as segment:
        yield segment


@pytest.fixture
def client(segment: Emulator) -> Iterator[Client]:
    """A client of the emulator."""
    with Client(segment) as client:
        yield client


def raw_exchange(segment: Emulator, body: bytes) -> bytes:
    """Send a synchronous set call on a socket and return every byte that comes back."""
    host, _, port = segment.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        head = (
            "POST /v1/set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: {basic('key:')}\r\nSynchronous: true\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


BODY = b'{"collection":"rooms","objects":[{"id":"1","properties":{"a":1}}]}'


def test_a_status_hits_its_numbers_only(segment: Emulator, client: Client) -> None:
    """The third and fourth call get the injected response and are not applied; the others pass."""
    segment.fault(
        InjectedFault(
            call="set", first=3, count=2, status=503, headers={"Retry-After": "1"}, body=b"<html>"
        )
    )
    answers = [client.one(str(number), a=1) for number in range(1, 6)]
    assert [answer.status for answer in answers] == [200, 200, 503, 503, 200]
    assert answers[2].headers["Retry-After"] == "1"
    assert answers[2].content == b"<html>"
    assert [row["id"] for row in segment.rows("rooms")] == ["1", "2", "5"]


def test_a_fault_without_end_hits_one_kind_of_call(segment: Emulator, client: Client) -> None:
    """`count=None` hits every start, and no set call."""
    segment.fault(InjectedFault(call="start", count=None, status=500))
    assert [client.send("/v0/start").status for _ in range(3)] == [500, 500, 500]
    assert client.one("1", a=1).status == 200
    segment.clear_faults()
    assert client.send("/v0/start").status == 201


def test_an_applied_fault_answers_wrongly_after_the_work(segment: Emulator, client: Client) -> None:
    """With `applied` the object is stored although the response is a 500."""
    segment.fault(InjectedFault(call="set", status=500, applied=True))
    assert client.one("1", a=1).status == 500
    assert segment.rows("rooms") == [{"id": "1", "a": 1}]


@pytest.mark.parametrize(("cut", "stored"), [("before", 0), ("in", 0), ("after", 1)])
@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_leaves_no_answer(segment: Emulator, cut: str, stored: int, reset: bool) -> None:  # noqa: FBT001
    """A cut before, in or after the body sends no response; after it, the call was applied."""
    segment.fault(InjectedFault(call="set", cut=cut, reset=reset))  # type: ignore[arg-type]
    with Client(segment) as client:
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            client.one("1", a=1)
        assert len(segment.rows("rooms")) == stored
        assert client.one("2", a=1).status == 200
    assert [request.status for request in segment.requests] == [None, 200]


def test_a_reset_is_a_reset(segment: Emulator) -> None:
    """With `reset` the client sees the connection reset, not its end."""
    segment.fault(InjectedFault(call="set", cut="after", reset=True))
    with pytest.raises(ConnectionResetError):
        raw_exchange(segment, BODY)


def test_an_upload_cut_after_its_body_is_in_the_session(segment: Emulator, client: Client) -> None:
    """A part whose response was lost was accepted; one cut in the middle leaves nothing."""
    segment.fault(InjectedFault(call="upload", first=1, cut="after"))
    segment.fault(InjectedFault(call="upload", first=2, cut="in"))
    sync_id = client.start()
    for _ in range(2):
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            client.upload(sync_id, lines(room("1", a=1)))
    assert len(segment.sessions[sync_id].parts) == 1


def test_a_truncated_answer_stops_short(segment: Emulator) -> None:
    """`truncate` sends that much of the body, or all of the head but so many bytes."""
    segment.fault(InjectedFault(call="set", first=1, truncate=5))
    segment.fault(InjectedFault(call="set", first=2, truncate=-4))
    assert raw_exchange(segment, BODY).endswith(b'\r\n\r\n{"suc')
    assert raw_exchange(segment, BODY).endswith(b"close")


def test_garbage_is_sent_as_it_is(segment: Emulator) -> None:
    """`garbage` replaces the whole response."""
    segment.fault(InjectedFault(call="set", garbage=b"\x00\xffSSH-2.0\r\n"))
    assert raw_exchange(segment, BODY) == b"\x00\xffSSH-2.0\r\n"


def test_a_dripping_answer_is_whole_in_the_end(segment: Emulator) -> None:
    """`drip` sends every byte of the response, one at a time."""
    segment.fault(InjectedFault(call="set", drip=0.0))
    answer = raw_exchange(segment, BODY)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"success":true}')


def test_stopping_ends_a_drip_a_delay_and_a_hold() -> None:
    """A stop cuts waiting requests, and those that were held before handling are not stored."""
    waiting = threading.Semaphore(0)

    def arrived(_: RecordedRequest) -> None:
        waiting.release()

    segment = Emulator().start()
    segment.fault(InjectedFault(call="set", count=None, callback=arrived, at="body"))
    segment.fault(InjectedFault(call="set", first=1, drip=3600.0))
    segment.fault(InjectedFault(call="set", first=2, delay=3600.0))
    segment.hold(call="set", first=3, before=True)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(raw_exchange, segment, BODY) for _ in range(3)]
        for _ in answers:
            assert waiting.acquire(timeout=TIMEOUT)
        segment.stop()
        assert sum(len(answer.result(TIMEOUT)) for answer in answers) <= 1
    assert len(segment.history("rooms", "1")) == 2
    assert not [thread for thread in threading.enumerate() if "segment" in thread.name]


def test_a_held_answer_waits_for_its_release(segment: Emulator, client: Client) -> None:
    """A hold withholds the response to an applied request; other calls continue."""
    hold = segment.hold(call="finish")
    sync_id = client.start()
    client.upload(sync_id, lines(room("1", a=1)))
    with ThreadPoolExecutor(1) as pool, Client(segment) as other:
        answer = pool.submit(client.finish, sync_id)
        assert hold.arrived.wait(TIMEOUT)
        assert segment.rows("rooms") == [{"id": "1", "a": 1}]
        assert other.one("2", a=1).status == 200
        assert not answer.done()
        assert [request.call for request in segment.requests if request.status is None] == [
            "finish"
        ]
        hold.release()
        assert answer.result(TIMEOUT).status == 202


def test_a_request_can_be_held_before_it_is_applied(segment: Emulator, client: Client) -> None:
    """With `before` nothing is stored until the release."""
    with ThreadPoolExecutor(1) as pool, segment.hold(call="set", before=True) as hold:
        answer = pool.submit(client.one, "1", a=1)
        assert hold.arrived.wait(TIMEOUT)
        assert segment.rows("rooms") == []
        hold.release()
        assert answer.result(TIMEOUT).status == 200
    assert len(segment.rows("rooms")) == 1


def test_a_hold_can_end_in_another_fault(segment: Emulator, client: Client) -> None:
    """The effects of a fault combine: the response is withheld, then it is a 500."""
    hold = Hold()
    segment.fault(InjectedFault(call="set", hold=hold, status=500))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.one, "1", a=1)
        assert hold.arrived.wait(TIMEOUT)
        hold.release()
        assert answer.result(TIMEOUT).status == 500


def test_an_expired_session_is_refused(segment: Emulator, client: Client) -> None:
    """`expire` ends the session just before the second upload is handled."""
    segment.fault(InjectedFault(call="upload", first=2, expire=True))
    sync_id = client.start()
    assert client.upload(sync_id, lines(room("1", a=1))).status == 201
    assert client.upload(sync_id, lines(room("2", a=1))).reason == "the session is expired"
    assert segment.sessions[sync_id].state == "expired"


@pytest.mark.parametrize(
    ("at", "rows", "body"),
    [("arrival", 0, 0), ("body", 0, 1), ("applied", 1, 1), ("answered", 1, 1)],
)
def test_a_callback_comes_at_its_point(segment: Emulator, at: str, rows: int, body: int) -> None:
    """A callback sees the request, and the store, as they are at that point."""
    seen: list[tuple[int, bool]] = []
    called = threading.Event()

    def look(request: RecordedRequest) -> None:
        seen.append((len(segment.rows("rooms")), request.body_bytes > 0))
        called.set()

    segment.fault(InjectedFault(call="set", callback=look, at=at))  # type: ignore[arg-type]
    with Client(segment) as client:
        assert client.one("1", a=1).status == 200
    assert called.wait(TIMEOUT)
    assert seen == [(rows, bool(body))]


def test_chance_is_the_seed_and_the_number() -> None:
    """With `chance`, the same seed hits the same numbers, and another seed other ones."""

    def hits(seed: int) -> list[int]:
        with Emulator(seed=seed) as segment, Client(segment) as client:
            segment.fault(InjectedFault(call="set", count=None, chance=0.5, status=500))
            return [client.one("1", a=1).status for _ in range(30)]

    assert hits(1) == hits(1) != hits(2)
    assert set(hits(1)) == {200, 500}


def test_an_error_of_the_emulator_is_not_hidden() -> None:
    """A callback that fails cuts the connection, and `stop` raises what it raised."""

    def fail(_: RecordedRequest) -> None:
        raise ValueError("of the callback")

    segment = Emulator().start()
    segment.fault(InjectedFault(call="set", callback=fail))
    assert raw_exchange(segment, BODY) == b""
    with pytest.raises(EmulatorError, match="of the callback"):
        segment.stop()
