"""Bulk sessions: parts, finish, expiry."""

from __future__ import annotations

import gzip
import json
import threading
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Emulator, EmulatorError
from tests.emulator.wire import Client, lines, room

if TYPE_CHECKING:
    from collections.abc import Iterator


class ManualClock:
    """A clock; the test sets its time."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    """A clock at zero."""
    return ManualClock()


@pytest.fixture
def segment(clock: ManualClock) -> Iterator[Emulator]:
    """An emulator on that clock."""
    with Emulator(clock=clock) as segment:
        yield segment


@pytest.fixture
def client(segment: Emulator) -> Iterator[Client]:
    """A client of it."""
    with Client(segment) as client:
        yield client


def test_a_session_loads_its_parts_in_order(segment: Emulator, client: Client) -> None:
    """Objects become rows at finish, not before, merged in the order of lines and parts."""
    sync_id = client.start()
    first = client.upload(sync_id, lines(room("1", a=1, b=1), room("2", a=2), room("1", a=3)))
    assert client.upload(sync_id, lines(room("2", "guests", a=4), room("1", b=None))).status == 201
    assert segment.tables() == {}
    assert client.keep_alive(sync_id).status == 200
    assert client.finish(sync_id).status == 202
    assert segment.rows("rooms") == [{"id": "1", "a": 3, "b": None}, {"id": "2", "a": 2}]
    assert segment.history("rooms", "1") == [{"a": 1, "b": 1}, {"a": 3}, {"b": None}]
    session = segment.sessions[sync_id]
    assert (session.state, [part.objects for part in session.parts]) == ("finished", [3, 2])
    assert session.parts[0].part_id == first.json["part_id"]
    assert not any(part.path.exists() for part in session.parts)


def test_an_error_drops_the_parts(segment: Emulator, client: Client) -> None:
    """A session that is finished with an error leaves no row, and keeps the error's text."""
    sync_id = client.start()
    client.upload(sync_id, lines(room("1", a=1)))
    assert client.finish(sync_id, "the tap broke").status == 202
    session = segment.sessions[sync_id]
    assert (session.state, session.error) == ("failed", "the tap broke")
    assert segment.tables() == {}
    assert not session.parts[0].path.exists()


def test_a_long_load_goes_on_behind_its_answer() -> None:
    """A finish gets its response after `finish_wait_seconds`; `rows` waits for the load's end."""
    with Emulator(finish_wait_seconds=0) as segment, Client(segment) as client:
        client.load(lines(*(room(str(n), a=n) for n in range(2000))))
        assert len(segment.rows("rooms")) == 2000


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_load_that_fails_is_not_hidden(seconds: float) -> None:
    """While finish waits it is a 500 without a cause, which may be retried; `stop` raises it."""
    segment = Emulator(finish_wait_seconds=seconds).start()
    store = segment._store
    begun = threading.Event()

    def fail(_: object) -> None:
        begun.wait(10)
        raise OSError("disk full")

    store.load = fail  # type: ignore[method-assign,assignment]
    with Client(segment) as client:
        sync_id = client.start()
        client.upload(sync_id, lines(room("1", a=1)))
        if seconds:
            begun.set()
            answer = client.finish(sync_id)
            assert (answer.status, answer.reason) == (500, "internal error of the emulator")
            assert segment.sessions[sync_id].state == "open"
        else:
            assert client.finish(sync_id).status == 202
            begun.set()
    with pytest.raises(EmulatorError, match="disk full"):
        segment.stop()


def test_a_closed_session_takes_nothing(client: Client) -> None:
    """Upload, keep-alive and finish of a session that is finished, or unknown, are 400."""
    sync_id = client.load(lines(room("1", a=1)))
    for answer in (
        client.upload(sync_id, lines(room("1", a=2))),
        client.keep_alive(sync_id),
        client.finish(sync_id),
    ):
        assert (answer.status, answer.reason) == (400, "the session is finished")
    assert client.keep_alive("unknown").reason == "the session is unknown"


def test_a_session_belongs_to_its_key(segment: Emulator, client: Client) -> None:
    """With another key, the session is unknown."""
    sync_id = client.start()
    with Client(segment, "another") as other:
        assert other.finish(sync_id).reason == "the session is unknown"
    assert client.finish(sync_id).status == 202


def test_silence_ends_a_session(segment: Emulator, client: Client, clock: ManualClock) -> None:
    """Ten minutes after its last call a session is expired and its parts are gone."""
    sync_id = client.start()
    clock.now = 599.0
    assert client.upload(sync_id, lines(room("1", a=1))).status == 201
    clock.now = 1198.0
    assert client.keep_alive(sync_id).status == 200
    clock.now = 1797.9
    assert segment.sessions[sync_id].state == "open"
    clock.now = 1798.0
    assert client.finish(sync_id).reason == "the session is expired"
    assert segment.sessions[sync_id].state == "expired"
    assert segment.tables() == {}


GOOD = json.dumps(room("1", a=1)).encode()
BAD_PARTS = {
    "an empty part": (b"", "no object"),
    "no object": (b"[]\n", "line 1: malformed"),
    "a blank line": (GOOD + b"\n\n" + GOOD, "line 2: malformed"),
    "a broken line": (GOOD + b"\n" + GOOD[:-1] + b"\n", "line 2: malformed"),
    "two objects a line": (GOOD + GOOD, "line 1: malformed"),
    "no collection": (b'{"id":"1","properties":{"a":1}}', "missing required field `collection`"),
    "no id": (b'{"collection":"a","properties":{"a":1}}', "missing required field `id`"),
    "an unknown field": (GOOD[:-1] + b',"x":1}', "unknown field `x`"),
    "a wrong collection": (lines(room("1", "Rooms", a=1)), "line 1: collection"),
    "an empty id": (lines(room("", a=1)), "id must have"),
    "empty properties": (lines(room("1")), "at least one property"),
    "a list": (lines(room("1", a=[])), "got `array`"),
    "NaN": (lines(room("1", a=float("nan"))), "malformed"),
    "32 KB": (lines(room("1", a="x" * 32768)), "32 KB"),
    "a line over 400 KB": (GOOD + b" " * 409_600, "409600"),
    "an endless line": (b" " * 2_000_000, "line 1: over 409600 bytes"),
    "a key twice": (
        b'{"id":"1","collection":"a","properties":{"a":1,"a":1}}',
        "the same key twice",
    ),
}


@pytest.mark.parametrize("case", BAD_PARTS)
def test_a_bad_line_refuses_the_part(segment: Emulator, client: Client, case: str) -> None:
    """A part is refused whole at its first bad line, by number, and the session stays open."""
    content, reason = BAD_PARTS[case]
    sync_id = client.start()
    answer = client.upload(sync_id, content)
    assert answer.status == 400
    assert reason in answer.reason
    assert client.upload(sync_id, lines(room("9", a=1))).status == 201
    assert client.finish(sync_id).status == 202
    assert segment.rows("rooms") == [{"id": "9", "a": 1}]


def test_the_edge_of_a_line_is_taken(client: Client) -> None:
    """A line of exactly 400 KB is accepted."""
    wide = GOOD + b" " * (409_600 - len(GOOD))
    assert client.upload(client.start(), wide + b"\n" + GOOD + b"\n").status == 201


COMPRESSED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (GOOD, "not gzip"),
        (b"", "truncated"),
        (COMPRESSED[:-1], "truncated"),
        (COMPRESSED[:10], "truncated"),
        (COMPRESSED + b"x", "truncated"),
        (COMPRESSED + COMPRESSED[:15], "truncated"),
        (COMPRESSED[:-8] + b"\0\0\0\0" + COMPRESSED[-4:], "not gzip"),
    ],
)
def test_what_is_not_one_whole_gzip_is_refused(client: Client, body: bytes, reason: str) -> None:
    """Text, truncated streams, wrong checksums and trailing bytes are 400."""
    answer = client.upload_raw(client.start(), body)
    assert (answer.status, reason in answer.reason) == (400, True)


def test_gzip_members_in_a_row_are_one_part(segment: Emulator, client: Client) -> None:
    """Several members, empty ones and cuts in the middle of a line included, are one stream."""
    sync_id = client.start()
    content = lines(room("1", a=1), room("2", a=2))
    members = [content[:20], b"", content[20:]]
    body = b"".join(gzip.compress(member) for member in members)
    assert client.upload_raw(sync_id, body).status == 201
    client.finish(sync_id)
    assert [row["id"] for row in segment.rows("rooms")] == ["1", "2"]


def test_a_chunked_upload_is_read(segment: Emulator, client: Client) -> None:
    """A body without a length, in chunks, is one part."""
    sync_id = client.start()
    pieces = iter([COMPRESSED[:5], COMPRESSED[5:]])
    assert client.upload_raw(sync_id, pieces).status == 201
    assert segment.requests[-1].headers["Transfer-Encoding"] == "chunked"
    assert segment.requests[-1].body_bytes == len(COMPRESSED)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": None},
        {"content_type": "application/octet-stream"},
        {"content_encoding": None},
        {"content_encoding": "deflate"},
    ],
)
def test_an_upload_needs_its_headers(client: Client, headers: dict[str, str | None]) -> None:
    """An upload is binary/octet-stream and gzip, or refused."""
    answer = client.upload_raw(client.start(), COMPRESSED, **headers)
    assert (answer.status, "Content-" in answer.reason) == (400, True)


def test_a_part_over_its_size_is_413(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the bytes allowed, uncompressed, is 413 and exactly as many are taken."""
    content = lines(*(room(str(n), a="x" * 100) for n in range(1000)))
    monkeypatch.setattr("target_segment_objects.emulator.rules.parts.MAX_PART_BYTES", len(content))
    sync_id = client.start()
    assert client.upload(sync_id, content).status == 201
    assert client.upload(sync_id, content + GOOD).status == 413


@pytest.mark.parametrize("body", [b"", b"{}", b'{"error":null}', b'{"error":"","x":1}', b"[]"])
def test_a_malformed_finish_is_refused(segment: Emulator, client: Client, body: bytes) -> None:
    """Finish is an object of one text, `error`; a refused one leaves the session open."""
    sync_id = client.start()
    answer = client.send(f"/v0/finish/{sync_id}", body, {"Content-Type": "application/json"})
    assert answer.status == 400
    assert segment.sessions[sync_id].state == "open"


def test_a_finish_needs_its_content_type(client: Client) -> None:
    """Finish is application/json, or refused."""
    assert client.send(f"/v0/finish/{client.start()}", b'{"error":""}').status == 400


def test_a_carriage_return_in_a_part_is_refused(client: Client) -> None:
    """Lines end with a line feed only; a part that cannot be loaded is not accepted."""
    sync_id = client.start()
    answer = client.upload(sync_id, lines(room("1", a=1)).replace(b"\n", b"\r\n"))
    assert answer.status == 400
    assert answer.reason.startswith("line 1: has a carriage return")
