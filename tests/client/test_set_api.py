"""`set` calls against the emulator: the bytes on the wire, and the attempts for every fault."""

from __future__ import annotations

import json
import threading
from email.utils import formatdate
from typing import Literal

import pytest

from target_segment_objects.client import Caller, RetryPolicy, SetApi, Transport, TransportOptions
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import (
    AuthenticationError,
    ConfigurationError,
    RefusedError,
    UnavailableError,
)
from target_segment_objects.objects import SegmentObject
from tests.client.builders import KEY, ROOM, Client, StillTime


def test_a_call_is_what_the_documentation_shows() -> None:
    """The path, the headers and the body of a call; the attempt has its size and request id."""
    with Emulator(write_key=KEY) as segment, Client(segment.url) as client:
        objects: list[bytes | SegmentObject] = [
            SegmentObject("rooms", "2561341", b'{"name":"Caf\xc3\xa9"}'),
            ROOM,
        ]
        attempt = client.set.send("rooms", objects)
        (request,) = segment.requests
    assert request.method == "POST"
    assert request.path == "/v1/set"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["synchronous"] == "true"
    assert request.headers["user-agent"].startswith("target-segment-objects/")
    body = request.body
    assert json.loads(body or b"") == {
        "collection": "rooms",
        "objects": [
            {"id": "2561341", "properties": {"name": "Café"}},
            {"id": "1", "properties": {"name": "Charming Beach Room"}},
        ],
    }
    assert attempt.call == "set"
    assert attempt.status == 200
    assert attempt.request_id == "set-1"
    assert attempt.number == 1
    assert attempt.bytes == len(body or b"")
    assert attempt.waited_seconds == 0


def test_synchronous_is_only_sent_when_asked_for() -> None:
    """The header is left out with `synchronous=False`."""
    with Emulator() as segment, Client(segment.url, synchronous=False) as client:
        client.set.send("rooms", [ROOM])
        assert "synchronous" not in segment.requests[0].headers


@pytest.mark.parametrize("count", [0, 11, 100])
def test_a_call_has_one_to_ten_objects(count: int) -> None:
    """More than ten or none raise an error, and nothing is sent."""
    with Emulator() as segment, Client(segment.url) as client:
        with pytest.raises(ValueError, match="1 to 10"):
            client.set.send("rooms", [ROOM] * count)
        assert not segment.requests


def test_an_object_of_another_collection_is_a_mistake() -> None:
    """All objects of a call have one collection."""
    with Emulator() as segment, Client(segment.url) as client:
        with pytest.raises(ValueError, match="one collection"):
            client.set.send("rooms", [SegmentObject("hotels", "1", b'{"a":1}')])
        assert not segment.requests


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 502, 503, 504, 529])
def test_a_temporary_failure_ends_in_a_success(status: int) -> None:
    """Two failures and a success are three attempts with the same bytes and two doubling waits."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="set", count=2, status=status))
        attempt = client.set.send("rooms", [ROOM])
        assert attempt.number == 3
        assert attempt.waited_seconds == 1.0
        assert client.time.waits == [0.5, 1.0]
        bodies = {request.body for request in segment.requests}
        assert len(segment.requests) == 3
        assert len(bodies) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 501, 505, 511])
def test_a_permanent_failure_is_one_attempt(status: int) -> None:
    """A redirect is not followed; 501, 505 and 511 are not retried. The cause is named."""
    with Emulator() as segment, Client(segment.url) as client:
        headers = {"Location": f"{segment.url}/v1/set?token=s3cret"}
        segment.fault(InjectedFault(call="set", count=None, status=status, headers=headers))
        with pytest.raises(RefusedError) as caught:
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 1
        assert not segment.rows("rooms")
    assert caught.value.status == status
    assert str(status) in str(caught.value)
    assert "s3cret" not in str(caught.value)
    if status < 400:
        assert "redirect to http://127.0.0.1/v1/set" in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_is_one_attempt(status: int) -> None:
    """The message names the two settings that can be wrong."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="set", count=None, status=status))
        with pytest.raises(AuthenticationError, match=r"`write_key` and `objects_url`") as caught:
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 1
    assert isinstance(caught.value, ConfigurationError)


def test_another_key_is_refused() -> None:
    """The emulator accepts only its own key."""
    with Emulator(write_key="another") as segment, Client(segment.url) as client:
        with pytest.raises(AuthenticationError):
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_refusal_is_one_attempt(status: int) -> None:
    """The error has the status, an excerpt of the response, and the attempt."""
    with Emulator() as segment, Client(segment.url) as client:
        body = b'{"error": {"message": "no\nsuch\x00 \x1b[31mthing"}}' + b"x" * 300
        segment.fault(InjectedFault(call="set", status=status, body=body))
        with pytest.raises(RefusedError) as caught:
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 1
        host = segment.url.removeprefix("http://")
    error = caught.value
    assert type(error) is RefusedError
    assert error.call == "set"
    assert error.status == status
    assert [attempt.status for attempt in error.attempts] == [status]
    assert error.excerpt.startswith('{"error": {"message": "no such [31mthing"}}xxx')
    assert len(error.excerpt) == 200
    assert f"set at {host} failed" in str(error)
    assert error.excerpt in str(error)


@pytest.mark.parametrize(
    "fault",
    [
        InjectedFault(call="set", count=2, cut="before"),
        InjectedFault(call="set", count=2, cut="in"),
        InjectedFault(call="set", count=2, cut="after"),
        InjectedFault(call="set", count=2, cut="after", reset=True),
        InjectedFault(call="set", count=2, truncate=1),
        InjectedFault(call="set", count=2, truncate=-1),
        InjectedFault(call="set", count=2, truncate=-10),
        InjectedFault(call="set", count=2, truncate=-17),
        InjectedFault(call="set", count=2, truncate=-30),
        InjectedFault(call="set", count=2, garbage=b"\x00\x01 not HTTP\r\n\r\n"),
    ],
    ids=str,
)
def test_a_lost_response_is_retried(fault: InjectedFault) -> None:
    """However the connection breaks, the same bytes are sent until there is a complete response."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(fault)
        attempt = client.set.send("rooms", [ROOM])
        assert attempt.number == 3
        assert client.time.waits == [0.5, 1.0]
        assert segment.rows("rooms") == [{"id": "1", "name": "Charming Beach Room"}]


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize(("asked", "waited"), [(120, 120.0), (900, 300.0)])
def test_retry_after_is_honoured(
    form: Literal["seconds", "date"], status: int, asked: int, waited: float
) -> None:
    """In both forms, for every retried status, up to 300 s."""
    time = StillTime(jitter=0.5)
    value = str(asked) if form == "seconds" else formatdate(time.wall + asked, usegmt=True)
    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(InjectedFault(call="set", status=status, headers={"Retry-After": value}))
        attempt = client.set.send("rooms", [ROOM])
        assert attempt.number == 2
        assert attempt.waited_seconds == waited
        assert time.waits == [waited]


def test_the_budget_ends_the_retries() -> None:
    """600 s of waits: 0.5 + 1 + … + 32, then 60 every time; the 16th wait would exceed it."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="set", count=None, status=503, body=b"busy"))
        with pytest.raises(UnavailableError) as caught:
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 16
    error = caught.value
    assert sum(client.time.waits) == 543.5
    assert len(error.attempts) == 16
    assert error.attempts[1].after == 0.5
    assert error.status == 503
    assert error.excerpt == "busy"
    assert "16 attempts" in str(error)
    assert "retry_seconds" in str(error)


@pytest.mark.parametrize(("attempts", "expected"), [(3, 3), (1, 1), (5, 5)])
def test_min_attempts_apply_without_a_budget(attempts: int, expected: int) -> None:
    """`min_attempts` are made, with the waits of `Retry-After`."""
    policy = RetryPolicy(budget_seconds=0, min_attempts=attempts)
    with Emulator() as segment, Client(segment.url, policy=policy) as client:
        headers = {"Retry-After": "30"}
        segment.fault(InjectedFault(call="set", count=None, status=503, headers=headers))
        with pytest.raises(UnavailableError):
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == expected
        assert client.time.waits == [30.0] * (expected - 1)


def test_a_stop_ends_the_wait() -> None:
    """The caller stops during the second wait: there is no third attempt, and the error says so."""
    time = StillTime(stops_at=2)
    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(InjectedFault(call="set", count=None, status=500))
        with pytest.raises(UnavailableError, match="stopped") as caught:
            client.set.send("rooms", [ROOM])
        assert len(segment.requests) == 2
    assert len(caught.value.attempts) == 2


def test_the_wall_clock_may_jump() -> None:
    """Durations use monotonic time, so a jump of the wall clock changes nothing."""
    time = StillTime()

    def jump(_: object) -> None:
        time.wall -= 1e9

    with Emulator() as segment, Client(segment.url, time) as client:
        segment.fault(InjectedFault(call="set", count=2, status=500, callback=jump))
        attempt = client.set.send("rooms", [ROOM])
    assert attempt.number == 3
    assert attempt.after == 1.5


def test_a_refused_connection_is_retried() -> None:
    """The final error names it."""
    with Emulator() as segment:
        url = segment.url
    with Client(url, policy=RetryPolicy(budget_seconds=0)) as client:
        with pytest.raises(UnavailableError, match="connection refused") as caught:
            client.set.send("rooms", [ROOM])
        assert [attempt.status for attempt in caught.value.attempts] == [None] * 3
        assert caught.value.status is None


def test_a_name_that_does_not_resolve() -> None:
    """It is retried, and the final error names it (RFC 6761: this name never resolves)."""
    url = "https://segment.invalid"
    with (
        Client(url, policy=RetryPolicy(budget_seconds=0)) as client,
        pytest.raises(UnavailableError, match="name could not be resolved") as caught,
    ):
        client.set.send("rooms", [ROOM])
    assert len(caught.value.attempts) == 3


def test_threads_share_the_limit_and_the_pauses() -> None:
    """Twenty threads with a limit of three: at most three requests in flight, and all succeed."""
    options = TransportOptions(max_concurrency=3)
    with Emulator() as segment, Transport(segment.url, KEY, options) as transport:
        api = SetApi(Caller(transport, clock=StillTime().clock()))
        segment.fault(InjectedFault(call="set", first=5, count=4, status=429))
        hold = segment.hold(call="set", first=1)
        attempts = []

        def send(number: int) -> None:
            element = b'{"id":"%d","properties":{"n":%d}}' % (number, number)
            attempts.append(api.send("rooms", [element]))

        threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        assert hold.wait_for(1)
        hold.release()
        for thread in threads:
            thread.join()
        assert len(segment.rows("rooms")) == 20
        assert len(segment.requests) == 24
        assert 1 <= segment.in_flight_peak <= 3
    assert sum(attempt.number for attempt in attempts) == 24
