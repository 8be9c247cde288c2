"""Bulk sessions against the emulator: the bytes on the wire, refusals, and lost responses."""

from __future__ import annotations

import base64
import errno
import gzip
import io
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.client import BulkApi, Caller, RetryPolicy, Transport
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import (
    Attempt,
    AuthenticationError,
    PartTooLargeError,
    RefusedError,
    SessionRefusedError,
    SpoolError,
    UnavailableError,
)
from target_segment_objects.objects import SegmentObject
from tests.client.builders import KEY, Client
from tests.client.raw_server import RawServer, answer, answering

if TYPE_CHECKING:
    from collections.abc import Callable

ROOMS = [SegmentObject("rooms", str(number), b'{"beds":%d}' % number) for number in range(1000)]
PART = gzip.compress(b"\n".join(room.line_bytes() for room in ROOMS) + b"\n")

SESSION_CALLS: dict[str, Callable[[Client, str], object]] = {
    "upload": lambda client, sync_id: client.bulk.upload(sync_id, io.BytesIO(PART), len(PART)),
    "keep-alive": lambda client, sync_id: client.bulk.keep_alive(sync_id),
    "finish": lambda client, sync_id: client.bulk.finish(sync_id),
}
CALLS = {"start": lambda client, _: client.bulk.start(), **SESSION_CALLS}


def test_a_session_is_what_the_documentation_shows() -> None:
    """Start, upload, keep-alive and finish have the documented paths, headers and bodies."""
    attempts: list[Attempt] = []
    with Emulator(write_key=KEY) as segment, Transport(segment.url, KEY) as transport:
        bulk = BulkApi(Caller(transport, on_attempt=attempts.append))
        sync_id = bulk.start()
        part_id = bulk.upload(sync_id, io.BytesIO(PART), len(PART))
        kept = bulk.keep_alive(sync_id)
        finished = bulk.finish(sync_id)
        assert len(segment.rows("rooms")) == 1000
        requests = segment.requests
    assert part_id
    assert [request.path for request in requests] == [
        "/v0/start",
        f"/v0/upload/{sync_id}",
        f"/v0/keep-alive/{sync_id}",
        f"/v0/finish/{sync_id}",
    ]
    start, upload, keep_alive, finish = requests
    assert start.headers["content-length"] == "0"
    assert upload.headers["content-type"] == "binary/octet-stream"
    assert upload.headers["content-encoding"] == "gzip"
    assert upload.headers["content-length"] == str(len(PART))
    assert "transfer-encoding" not in upload.headers
    assert keep_alive.headers["content-length"] == "0"
    assert finish.headers["content-type"] == "application/json"
    assert finish.body == b'{"error": ""}'
    assert [attempt.call for attempt in attempts] == ["start", "upload", "keep-alive", "finish"]
    assert all(attempt.succeeded for attempt in attempts)
    assert attempts[1].bytes == len(PART)
    request_ids = [attempt.request_id for attempt in attempts[2:]]
    assert request_ids == [kept.request_id, finished.request_id]
    assert finished.status == 202


def test_a_failed_sync_sends_its_error() -> None:
    """The body of finish contains the error's text."""
    with Emulator() as segment, Client(segment.url) as client:
        client.bulk.finish(client.bulk.start(), error='the "tap" broke')
        assert segment.requests[-1].body == b'{"error": "the \\"tap\\" broke"}'


@pytest.mark.parametrize("status", [400, 404, 410])
@pytest.mark.parametrize("call", SESSION_CALLS)
def test_a_refused_session_is_an_error_of_its_own(call: str, status: int) -> None:
    """400, 404 and 410 on a call of a session are one attempt and `SessionRefusedError`."""
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        segment.fault(InjectedFault(call=call, count=None, status=status))
        with pytest.raises(SessionRefusedError) as caught:
            SESSION_CALLS[call](client, sync_id)
        assert len(segment.requests) == 2
    assert caught.value.status == status
    assert caught.value.call == call


@pytest.mark.parametrize("call", SESSION_CALLS)
def test_an_expired_session_is_refused(call: str) -> None:
    """The emulator's response to a call of an expired session raises that error."""
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        segment.fault(InjectedFault(call=call, expire=True))
        with pytest.raises(SessionRefusedError):
            SESSION_CALLS[call](client, sync_id)


@pytest.mark.parametrize("status", [400, 404])
def test_a_refused_start_is_not_a_lost_session(status: int) -> None:
    """There is no session yet that could be lost."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="start", status=status))
        with pytest.raises(RefusedError) as caught:
            client.bulk.start()
    assert type(caught.value) is RefusedError


def test_a_410_on_start_is_retried() -> None:
    """410 means a lost session only on the calls of a session."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="start", status=410))
        assert client.bulk.start()
        assert len(segment.requests) == 2


def test_a_part_that_is_too_large_is_an_error_of_its_own() -> None:
    """413 on upload is one attempt; on other calls it is a plain refusal."""
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        segment.fault(InjectedFault(call="upload", status=413))
        segment.fault(InjectedFault(call="finish", status=413))
        with pytest.raises(PartTooLargeError):
            SESSION_CALLS["upload"](client, sync_id)
        with pytest.raises(RefusedError) as caught:
            client.bulk.finish(sync_id)
        assert len(segment.requests) == 3
    assert type(caught.value) is RefusedError


@pytest.mark.parametrize("call", CALLS)
def test_a_refused_key_ends_every_call(call: str) -> None:
    """401 is one attempt."""
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        segment.fault(InjectedFault(call=call, first=1 + (call == "start"), count=None, status=401))
        with pytest.raises(AuthenticationError):
            CALLS[call](client, sync_id)
        assert len(segment.requests) == 2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 408},
        {"status": 429, "headers": {"Retry-After": "9"}},
        {"cut": "before"},
        {"cut": "after", "reset": True},
        {"truncate": -20},
    ],
    ids=str,
)
def test_every_call_is_retried(call: str, fault: dict[str, object]) -> None:
    """Two failures and a success are three attempts with the whole body, and all rows arrive."""
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        first = 1 + (call == "start")
        segment.fault(InjectedFault(call=call, first=first, count=2, **fault))  # type: ignore[arg-type]
        if call == "finish" and ("truncate" in fault or fault.get("cut") == "after"):
            # The session is finished although its answer was lost: it is refused now.
            with pytest.raises(SessionRefusedError):
                client.bulk.finish(sync_id)
            assert len(segment.requests) == 4
            return
        CALLS[call](client, sync_id)
        assert len(segment.requests) == 4
        assert client.time.waits == ([9.0, 9.0] if fault.get("status") == 429 else [0.5, 1.0])


def test_every_attempt_uploads_the_whole_file() -> None:
    """The file is rewound for every attempt, wherever it is, and stays open."""
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        segment.fault(InjectedFault(call="upload", count=2, status=503))
        file = io.BytesIO(PART)
        file.seek(17)
        client.bulk.upload(sync_id, file, len(PART))
        client.bulk.finish(sync_id)
        assert len(segment.rows("rooms")) == 1000
    assert not file.closed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>ok</html>",
        b'{"sync_id": ""}',
        b'{"sync_id": null}',
        b'{"sync_id": 17}',
        b'{"sync_id": ".."}',
        b'{"sync_id": "a\\nb"}',
        b'["sync_id"]',
        b'{"sync_id": "\xff"}',
        b'{"sync_id": "%s"}' % (b"x" * 257),
        b'{"sync_id": "%s"}' % KEY.encode(),
        b'{"sync_id": "%s"}' % base64.b64encode(f"{KEY}:".encode()),
    ],
)
def test_a_start_without_a_readable_id_is_retried(body: bytes) -> None:
    """2xx without a usable id is retried, and named in the final error."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="start", count=2, status=201, body=body))
        assert client.bulk.start()
        assert len(segment.requests) == 3
    with (
        Emulator() as segment,
        Client(segment.url, policy=RetryPolicy(budget_seconds=0)) as client,
    ):
        segment.fault(InjectedFault(call="start", count=None, status=201, body=body))
        with pytest.raises(UnavailableError, match="without a readable `sync_id`") as caught:
            client.bulk.start()
        assert len(caught.value.attempts) == 3


def test_an_upload_without_a_readable_id_is_retried() -> None:
    """The part is uploaded again, which is safe since objects are merged."""
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        segment.fault(InjectedFault(call="upload", status=201, body=b"created"))
        assert client.bulk.upload(sync_id, io.BytesIO(PART), len(PART))
        assert [request.call for request in segment.requests] == ["start", "upload", "upload"]


def test_an_id_is_one_segment_of_the_path() -> None:
    """Whatever characters an id contains, it cannot lead to another path."""
    with RawServer(answering(answer(202))) as server, Client(server.url) as client:
        client.bulk.finish("../a b?c#d/é%2F")
        assert b"POST /v0/finish/..%2Fa%20b%3Fc%23d%2F%C3%A9%252F HTTP/1.1" in server.requests[0]


class _BrokenDisk(io.BytesIO):
    """A file whose disk fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Fail."""
        raise OSError(errno.EIO, "Input/output error", size)


@pytest.mark.parametrize("failure", ["short", "closed", "broken"])
def test_an_unreadable_part_is_not_a_network_failure(failure: str) -> None:
    """A file that ends early, is closed or fails raises `SpoolError` at once."""
    file = _BrokenDisk(PART) if failure == "broken" else io.BytesIO(PART[:100])
    if failure == "closed":
        file.close()
    with Emulator() as segment, Client(segment.url) as client:
        sync_id = client.bulk.start()
        with pytest.raises(SpoolError, match="part cannot be read"):
            client.bulk.upload(sync_id, file, len(PART))
        assert client.time.waits == []


def test_an_upload_that_is_refused_before_it_was_read_counts_as_refused() -> None:
    """A server may answer 413 and close the connection during the body: that response counts."""
    size = 64 * 1024 * 1024

    def refuse(server: RawServer, connection: object) -> None:
        connection.recv(1024)  # type: ignore[attr-defined]
        connection.sendall(answer(413, headers=b"Connection: close\r\n"))  # type: ignore[attr-defined]
        server.requests.append(b"")

    with RawServer(refuse) as server, Client(server.url) as client:
        with pytest.raises(PartTooLargeError):
            client.bulk.upload("1", io.BytesIO(bytes(size)), size)
        assert len(server.requests) == 1


def test_a_success_before_the_body_was_sent_is_retried() -> None:
    """201 before the whole body was sent cannot be about this body."""
    size = 64 * 1024 * 1024

    def accept(server: RawServer, connection: object) -> None:
        connection.recv(1024)  # type: ignore[attr-defined]
        body = b'{"part_id": "1"}'
        connection.sendall(answer(201, body, b"Connection: close\r\n"))  # type: ignore[attr-defined]
        server.requests.append(b"")

    policy = RetryPolicy(budget_seconds=0)
    with RawServer(accept) as server, Client(server.url, policy=policy) as client:
        with pytest.raises(UnavailableError, match=r"whole body|connection broke"):
            client.bulk.upload("1", io.BytesIO(bytes(size)), size)
        assert len(server.requests) == 3
