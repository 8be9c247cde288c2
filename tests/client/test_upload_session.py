"""Whole bulk sessions, and any number of `set` calls, against the emulator over real sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.client import (
    BULK_URLS,
    BulkApi,
    RetryPolicy,
    SetApi,
    Transport,
    TransportOptions,
    UploadSession,
)
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import (
    AuthenticationError,
    PartTooLargeError,
    SessionRefusedError,
    UnavailableError,
)
from target_segment_objects.objects import API_LIMITS, SegmentObject
from tests.client.builders import KEY, Client, StillTime

if TYPE_CHECKING:
    from collections.abc import Iterator


def _rooms(count: int) -> list[SegmentObject]:
    return [SegmentObject("rooms", str(number), b'{"beds":%d}' % number) for number in range(count)]


def _room_of(line_bytes: int) -> SegmentObject:
    """An object whose line has this many bytes, with no value of 32 KB."""
    properties = {f"text_{number}": "x" * 31_000 for number in range(13)} | {"rest": ""}
    room = SegmentObject("rooms", "1", json.dumps(properties).encode())
    properties["rest"] = "x" * (line_bytes - len(room.line_bytes()))
    return SegmentObject("rooms", "1", json.dumps(properties).encode())


def _calls(segment: Emulator) -> list[str]:
    return [request.call for request in segment.requests]


def test_objects_become_rows() -> None:
    """One session, one part; the objects of several collections arrive when the block has ended."""
    objects = [*_rooms(1000), SegmentObject("hosts", "1", b'{"name":"Ada"}')]
    with Emulator(write_key=KEY) as segment, Transport(segment.url, KEY) as transport:
        with BulkApi(transport).session() as session:
            session.upload(objects)
            assert not segment.rows("rooms")
        assert len(segment.rows("rooms")) == 1000
        assert [row["name"] for row in segment.rows("hosts")] == ["Ada"]
        assert _calls(segment) == ["start", "upload", "finish"]
        assert json.loads(segment.requests[-1].body) == {"error": ""}
    assert (session.objects, session.parts) == (1001, 1)
    assert session.sync_id


def test_parts_are_cut_at_the_limit() -> None:
    """A part has as many objects as fit, over several calls of `upload`; the next has the rest."""
    objects = _rooms(100)
    sizes = [len(room.line_bytes()) + 1 for room in objects]
    limit = sum(sizes[:60])
    with Emulator() as segment, Client(segment.url) as client:
        for part_size_bytes in (limit, limit - 1):
            with client.bulk.session(part_size_bytes=part_size_bytes) as session:
                session.upload(objects[:30])
                session.upload(objects[30:])
            assert session.parts == 2
        uploads = [request for request in segment.requests if request.call == "upload"]
        assert len(segment.rows("rooms")) == 100
    assert [request.objects for request in uploads] == [60, 40, 59, 41]


def test_an_object_larger_than_a_part_is_a_part_of_its_own() -> None:
    """It is not dropped, and its neighbours are not mixed with it."""
    with Emulator() as segment, Client(segment.url) as client:
        with client.bulk.session(part_size_bytes=1) as session:
            session.upload(_rooms(3))
        assert len(segment.rows("rooms")) == 3
    assert session.parts == 3


def test_objects_are_read_as_a_stream() -> None:
    """A part is uploaded before the objects of the next one are asked for."""
    uploads: list[int] = []

    def objects(segment: Emulator) -> Iterator[SegmentObject]:
        for room in _rooms(30):
            uploads.append(_calls(segment).count("upload"))
            yield room

    limit = 10 * (len(_rooms(1)[0].line_bytes()) + 3)
    with (
        Emulator() as segment,
        Client(segment.url) as client,
        client.bulk.session(part_size_bytes=limit) as session,
    ):
        session.upload(objects(segment))
    assert uploads[-1] == session.parts - 1 >= 2


def test_a_slow_source_does_not_let_the_session_expire() -> None:
    """While objects come slowly, the session is kept alive within its ten minutes."""
    time = StillTime()

    def slowly() -> Iterator[SegmentObject]:
        for room in _rooms(4):
            time.passed += 250
            yield room

    with Emulator() as segment, Client(segment.url, time) as client:
        with client.bulk.session() as session:
            session.upload(slowly())
        assert _calls(segment) == ["start", *["keep-alive"] * 4, "upload", "finish"]


def test_an_exception_within_the_block_fails_the_session() -> None:
    """Finish tells Segment that the sync failed, without data; the exception goes on."""

    def broken() -> Iterator[SegmentObject]:
        yield from _rooms(2)
        raise KeyError("a value of a record")

    with Emulator() as segment, Client(segment.url) as client:
        with pytest.raises(KeyError), client.bulk.session(part_size_bytes=1) as session:
            session.upload(broken())
        assert _calls(segment) == ["start", "upload", "finish"]
        assert json.loads(segment.requests[-1].body) == {"error": "KeyError"}


def test_a_lost_session_is_raised() -> None:
    """A refused upload ends the session with our error's text; no object is silently missing."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="upload", status=404))
        with pytest.raises(SessionRefusedError), client.bulk.session() as session:
            session.upload(_rooms(1))
        assert _calls(segment) == ["start", "upload", "finish"]
        text = json.loads(segment.requests[-1].body)["error"]
    assert text.startswith("upload at")
    assert session.parts == 0


def test_a_failed_upload_cannot_be_ignored() -> None:
    """An error that the block catches is raised by later calls and at the end of the block."""

    def ignore_errors(session: UploadSession) -> None:
        session.upload(_rooms(1))
        for call in (session.flush, lambda: session.upload(_rooms(1)), session.flush):
            with pytest.raises(SessionRefusedError):
                call()

    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="upload", status=404))
        with pytest.raises(SessionRefusedError), client.bulk.session() as session:
            ignore_errors(session)
        assert _calls(segment) == ["start", "upload", "finish"]
        assert json.loads(segment.requests[-1].body)["error"]


def test_a_session_that_is_lost_at_its_end_is_raised() -> None:
    """A refused finish is not sent again, since it ends nothing."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="finish", status=400))
        with pytest.raises(SessionRefusedError), client.bulk.session() as session:
            session.upload(_rooms(1))
        assert _calls(segment) == ["start", "upload", "finish"]


def test_a_failed_session_is_ended_without_retries() -> None:
    """After an error, finish is tried once, so that the error is not held up."""
    with Emulator() as segment, Client(segment.url, policy=RetryPolicy(budget_seconds=0)) as client:
        segment.fault(InjectedFault(call="upload", count=None, status=500))
        segment.fault(InjectedFault(call="finish", count=None, status=500))
        with pytest.raises(UnavailableError, match=r"^upload"), client.bulk.session() as session:
            session.upload(_rooms(1))
        assert _calls(segment) == ["start", *["upload"] * 3, "finish"]


def test_a_part_that_is_too_large_is_raised() -> None:
    """413 is an error of its own, so that a caller can choose smaller parts."""
    with Emulator() as segment, Client(segment.url) as client:
        segment.fault(InjectedFault(call="upload", status=413))
        with pytest.raises(PartTooLargeError), client.bulk.session() as session:
            session.upload(_rooms(1))


def test_a_wrong_key_is_raised_before_the_block() -> None:
    """Nothing of the block runs, and nothing is finished."""
    with (
        Emulator(write_key="another-key") as segment,
        Client(segment.url) as client,
        pytest.raises(AuthenticationError),
        client.bulk.session(),
    ):
        pytest.fail("the block runs")
    assert _calls(segment) == ["start"]


def test_what_the_api_cannot_take_is_refused_before_it_is_sent() -> None:
    """An object of 400 KB and a byte, or one on two lines; the error names no value."""
    largest = _room_of(API_LIMITS.object_bytes)
    too_large = _room_of(API_LIMITS.object_bytes + 1)
    two_lines = SegmentObject("rooms", "1", b'{\n"beds":2}')
    with Emulator() as segment, Client(segment.url) as client:
        for segment_object, match in (
            (too_large, r"^an object of collection 'rooms' has 409,601 bytes; .* 409,600$"),
            (two_lines, "line break in its properties"),
        ):
            with pytest.raises(ValueError, match=match), client.bulk.session() as session:
                session.upload([segment_object])
        assert _calls(segment) == ["start", "finish"] * 2
        with client.bulk.session() as session:
            session.upload([largest])
    assert session.parts == 1


@pytest.mark.parametrize("size", [0, 512_000_001])
def test_the_size_of_parts_is_bounded(size: int) -> None:
    """The API takes at most 512 MB."""
    with Transport(BULK_URLS["oregon"], KEY, TransportOptions()) as transport:
        bulk = BulkApi(transport)
        with (
            pytest.raises(ValueError, match="1 to 512,000,000"),
            bulk.session(part_size_bytes=size),
        ):
            pytest.fail("the block runs")


def test_any_number_of_objects_goes_by_set_calls_of_ten() -> None:
    """Neighbours of one collection share a call; two of one id do not, so the later one wins."""
    objects = [
        *_rooms(12),
        SegmentObject("hosts", "1", b'{"name":"Ada"}'),
        SegmentObject("hosts", "1", b'{"name":"Grace"}'),
        SegmentObject("rooms", "0", b'{"beds":7}'),
    ]
    with Emulator() as segment, Transport(segment.url, KEY) as transport:
        assert SetApi(transport).send_all(iter(objects)) == 15
        sent = [json.loads(request.body) for request in segment.requests]
        assert [row["name"] for row in segment.rows("hosts")] == ["Grace"]
        assert {row["id"]: row["beds"] for row in segment.rows("rooms")}["0"] == 7
        assert SetApi(transport).send_all([]) == 0
    assert [(call["collection"], len(call["objects"])) for call in sent] == [
        ("rooms", 10),
        ("rooms", 2),
        ("hosts", 1),
        ("hosts", 1),
        ("rooms", 1),
    ]
