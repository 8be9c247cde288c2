"""The rules of set calls: a call that breaks one, and a call at its limit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator
from tests.emulator.wire import KEY, Client, basic

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM = {"id": "1", "properties": {"name": "x"}}


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


def call(**changes: Any) -> dict[str, Any]:
    """Return a valid call with changes."""
    return {"collection": "rooms", "objects": [ROOM], **changes}


def of(identifier: Any = "1", properties: Any = None, **more: Any) -> dict[str, Any]:
    """Return a call with one object."""
    item = {"id": identifier, "properties": {"a": 1} if properties is None else properties, **more}
    return call(objects=[item])


REFUSED = {
    "not JSON": (b"{", "malformed"),
    "an empty body": (b"", "malformed"),
    "trailing bytes": (json.dumps(call()).encode() + b"x", "malformed"),
    "invalid UTF-8": (b'{"collection":"rooms","objects":[{"id":"\xff","properties":{"a":1}}]}', ""),
    "an array": ([], "Expected `object`"),
    "no collection": ({"objects": [ROOM]}, "missing required field `collection`"),
    "no objects": ({"collection": "rooms"}, "missing required field `objects`"),
    "an unknown field": (call(extra=1), "unknown field `extra`"),
    "an unknown field of an object": (of(extra=1), "unknown field `extra`"),
    "no object": (call(objects=[]), "1 to 10"),
    "11 objects": (call(objects=[{**ROOM, "id": str(n)} for n in range(11)]), "got 11"),
    "an id twice": (call(objects=[ROOM, ROOM]), "have the same id"),
    "an empty collection": (call(collection=""), "collection"),
    "an upper-case collection": (call(collection="Rooms"), "collection"),
    "a digit in a collection": (call(collection="rooms2"), "collection"),
    "a dash in a collection": (call(collection="hotel-rooms"), "collection"),
    "a collection that begins with _": (call(collection="_rooms"), "collection"),
    "a collection that ends with _": (call(collection="rooms_"), "collection"),
    "a line feed behind a collection": (call(collection="rooms\n"), "collection"),
    "a letter beyond ASCII": (call(collection="zimmér"), "collection"),
    "a collection of 101 characters": (call(collection="a" * 101), "collection"),
    "a collection that is a number": (call(collection=1), "Expected `str`"),
    "an id that is a number": (of(1), "Expected `str`"),
    "a null id": (of(None), "Expected `str`"),
    "an empty id": (of(""), "id must have 1 to 100"),
    "an id of 101 characters": (of("é" * 101), "id must have 1 to 100"),
    "no id": (call(objects=[{"properties": {"a": 1}}]), "missing required field `id`"),
    "no properties": (call(objects=[{"id": "1"}]), "missing required field `properties`"),
    "null properties": (call(objects=[{"id": "1", "properties": None}]), "Expected `object`"),
    "empty properties": (of(properties={}), "at least one property"),
    "a list": (of(properties={"a": [1]}), "got `array`"),
    "an object": (of(properties={"a": {"b": 1}}), "got `object`"),
    "an empty name": (of(properties={"": 1}), "name is empty"),
    "NaN": (b'{"collection":"rooms","objects":[{"id":"1","properties":{"a":NaN}}]}', "malformed"),
    "1e400": (b'{"collection":"rooms","objects":[{"id":"1","properties":{"a":1e400}}]}', "range"),
    "32 KB": (of(properties={"a": "x" * 32768}), "'a' has 32 KB"),
    "32 KB in UTF-8": (of(properties={"a": "é" * 16384}), "'a' has 32 KB"),
    "an object over 400 KB": (
        of(properties={f"p{n}": "x" * 30000 for n in range(14)}),
        "at most 409600",
    ),
    "a property twice": (
        b'{"collection":"rooms","objects":[{"id":"1","properties":{"a":1,"a":2}}]}',
        "the same key twice",
    ),
    "a field twice": (
        b'{"collection":"rooms","objects":[{"id":"1","id":"2","properties":{"a":1}}]}',
        "the same key twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_rule_is_a_400_that_names_it(segment: Emulator, client: Client, case: str) -> None:
    """A broken rule is a 400 with its reason, logged as a refusal, and nothing is stored."""
    body, reason = REFUSED[case]
    answer = client.set_body(body)
    assert answer.status == 400
    assert reason in answer.reason
    assert [refused.reason for refused in segment.refusals] == [answer.reason]
    assert segment.tables() == {}


TAKEN = {
    "10 objects": call(objects=[{**ROOM, "id": str(n)} for n in range(10)]),
    "a collection of 100 characters": call(collection="a" * 100),
    "underscores inside": call(collection="hotel__rooms"),
    "one letter": call(collection="a"),
    "an id of 100 characters": of("é" * 100),
    "just under 32 KB": of(properties={"a": "é" * 16383 + "x"}),
    "every kind of value": of(properties={"a": "", "b": 1, "c": 1.5, "d": True, "e": None}),
    "the property id": of(properties={"id": 5}),
    "JSON text with quoted keys": of(properties={"a": '{"a":1,"a":{"\\"":2}}'}),
    "odd names": of(properties={'"': 1, "\\": 2, "a b": 3, '":': 4}),
    "ten large objects": call(
        objects=[
            {"id": str(n), "properties": {f"p{k}": "x" * 31000 for k in range(13)}}
            for n in range(10)
        ]
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_the_edge_of_a_rule_is_taken(segment: Emulator, client: Client, case: str) -> None:
    """A call at the limit of a rule gets a 200 with a JSON body."""
    answer = client.set_body(TAKEN[case])
    assert (answer.status, answer.json) == (200, {"success": True})
    assert segment.refusals == []
    assert segment.requests[-1].objects == len(TAKEN[case]["objects"])


@pytest.mark.parametrize("digits", [20, 200, 5000])
def test_integers_of_any_size_keep_their_digits(
    segment: Emulator, client: Client, digits: int
) -> None:
    """An integer beyond 64 bits, and one that Python cannot parse, keeps all its digits."""
    number = "9" * digits
    body = f'{{"collection":"rooms","objects":[{{"id":"1","properties":{{"a":{number}}}}}]}}'
    assert client.set_body(body.encode()).status == 200
    assert f"{segment.rows('rooms')[0]['a']:f}" == number if digits > 4300 else True
    assert segment.rows("rooms", typed=True)[0]["a"] == (int(number) if digits < 39 else number)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer key",
        "Basic",
        "Basic !",
        basic("key"),
        basic(":"),
        basic("key:password"),
        "Basic /w==",
    ],
)
def test_without_a_key_it_is_401(segment: Emulator, client: Client, header: str | None) -> None:
    """A missing or malformed Authorization, an empty key and a password are refused."""
    answer = client.send("/v1/set", b"{}", {"Authorization": header})
    assert answer.status == 401
    assert "write key" in answer.reason
    assert segment.refusals[-1].status == 401


def test_only_the_write_key_is_taken_when_there_is_one() -> None:
    """With a write key, any other key is a 401, and the log contains no key."""
    with Emulator(write_key="right") as segment:
        with Client(segment, "wrong") as client:
            assert client.one("1", a=1).status == 401
        with Client(segment, "right") as client:
            assert client.one("1", a=1).status == 200
        shown = repr(segment.requests) + repr([dict(r.headers) for r in segment.requests])
        assert "wrong" not in shown
        assert "right" not in shown
        assert segment.requests[0].write_key == "wrong"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/jsonx"])
def test_set_needs_its_content_type(client: Client, content_type: str | None) -> None:
    """A set call is application/json, or refused."""
    body = json.dumps(call()).encode()
    answer = client.send("/v1/set", body, {"Content-Type": content_type})
    assert (answer.status, "Content-Type" in answer.reason) == (400, True)
    answer = client.send("/v1/set", body, {"Content-Type": "application/json; charset=utf-8"})
    assert answer.status == 200


def test_set_takes_no_content_encoding(client: Client) -> None:
    """A compressed set call is refused, since compression is not documented."""
    headers: dict[str, str | None] = {
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
    }
    answer = client.send("/v1/set", b"x", headers)
    assert (answer.status, "Content-Encoding" in answer.reason) == (400, True)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/set/",
        "/v1/sets",
        "/v0/set",
        "/v0/start/",
        "/v0/upload",
        "/v0/upload/",
        "/v0/finish/a/b",
    ],
)
def test_other_paths_are_404(client: Client, path: str) -> None:
    """Paths must match exactly."""
    answer = client.send(path, b"{}")
    assert (answer.status, answer.reason) == (404, "no such path")


def test_other_methods_are_405(client: Client) -> None:
    """Only POST is allowed."""
    answer = client.send("/v1/set", method="GET")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_a_body_that_cannot_be_valid_is_not_read(segment: Emulator, client: Client) -> None:
    """A set body longer than ten full objects is a 413 because of its length."""
    answer = client.send("/v1/set", b"x" * 5_000_000, {"Content-Type": "application/json"})
    assert answer.status == 413
    assert segment.refusals[-1].body_bytes == 0


def test_nulls_are_refused_on_request() -> None:
    """With `nulls="refuse"` a null property is a 400."""
    with Emulator(nulls="refuse") as segment, Client(segment) as client:
        assert client.one("1", a=None).reason.endswith("a property is null")


def test_digits_in_collections_are_taken_on_request() -> None:
    """With `collection_digits`, a collection may contain digits."""
    with Emulator(collection_digits=True) as segment, Client(segment) as client:
        assert client.set(ROOM, collection="3d_rooms2").status == 200
        assert list(segment.tables()) == ["3d_rooms2"]


def test_the_key_is_the_user_name(segment: Emulator, client: Client) -> None:
    """Without `write_key`, any key is accepted, and recorded in the log."""
    assert client.one("1", a=1).status == 200
    assert segment.requests[0].write_key == KEY
