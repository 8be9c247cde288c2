"""Blotting a secret out never touches what we say ourselves, however short the secret is."""

from __future__ import annotations

import base64
import io
import string

import pytest

from target_segment_objects.client import FileBody, RetryPolicy, TransportOptions
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import DeliveryError, SpoolError
from tests.client.builders import KEY, ROOM, Client

AT_ONCE = RetryPolicy(budget_seconds=0.0)
SHORT = [*string.ascii_lowercase, "1", "check", "answer", "attempt", "failed", "set", "url"]


def _without_port(error: BaseException, url: str) -> str:
    return str(error).replace(url.removeprefix("http://"), "HOST")


@pytest.mark.parametrize("status", [302, 401, 404, 422, 429, 500, 501, None])
def test_our_own_sentences_stay_whole(status: int | None) -> None:
    """The message with a short key is the one with a long key, letter for letter."""
    fault = {"cut": "before"} if status is None else {"status": status, "body": b""}
    told = []
    for key in (KEY, *SHORT):
        with Emulator() as segment, Client(segment.url, policy=AT_ONCE, key=key) as client:
            segment.fault(InjectedFault(call="set", count=None, **fault))
            with pytest.raises(DeliveryError) as caught:
                client.set.send("rooms", [ROOM])
            told.append(_without_port(caught.value, segment.url).replace("set-3", "set-1"))
    assert "***" not in told[0]
    # What a server calls a request is its own word, and is quoted.
    assert {each.replace(_request_id(each), "") for each in told[1:]} == {
        told[0].replace(_request_id(told[0]), "")
    }


def _request_id(told: str) -> str:
    _, mark, rest = told.partition("request id ")
    return mark + rest.partition(")")[0]


@pytest.mark.parametrize("key", ["k", "abc", "check", KEY])
def test_what_a_server_says_is_blotted_out(key: str) -> None:
    """A key of any length, and what is sent of it, in the body and in the request's id."""
    basic = base64.b64encode(f"{key}:".encode()).decode()
    echo = f"got {key} and Basic {basic}"
    fault = InjectedFault(
        call="set",
        count=None,
        status=422,
        headers={"X-Request-Id": f"<{key}>"},
        body=echo.encode(),
    )
    with Emulator() as segment, Client(segment.url, key=key) as client:
        segment.fault(fault)
        with pytest.raises(
            DeliveryError, match=r"the response says: got \*\*\* and .+ic \*\*\*"
        ) as caught:
            client.set.send("rooms", [ROOM])
    assert "request id <***>" in str(caught.value)
    assert basic not in str(caught.value)


@pytest.mark.parametrize("key", ["e", "f", "1", "session"])
def test_a_short_key_does_not_hide_the_ids_of_a_session(key: str) -> None:
    """A `sync_id` that has the letters of a short key in it is an id like any other."""
    with Emulator() as segment, Client(segment.url, key=key) as client:
        segment.fault(InjectedFault(call="start", status=201, body=b'{"sync_id":"0f1e-sessions"}'))
        assert client.bulk.start() == "0f1e-sessions"
        segment.fault(InjectedFault(call="start", count=None, status=201, body=_echo(key)))
        with pytest.raises(DeliveryError, match="without a readable `sync_id`"):
            client.bulk.start()


def _echo(key: str) -> bytes:
    return b'{"sync_id":"a-%b"}' % key.encode()


def test_a_key_in_the_address_is_blotted_out() -> None:
    """As a whole word of it, as somebody may paste it there."""
    with (
        Client(
            f"https://{KEY}.invalid",
            policy=AT_ONCE,
            options=TransportOptions(proxy="http://127.0.0.1:1"),
        ) as client,
        pytest.raises(DeliveryError, match=r"set at \*\*\*\.invalid failed: could not connect"),
    ):
        client.set.send("rooms", [ROOM])


def test_a_part_that_ends_early_is_told_whole() -> None:
    """Our own words on a file stay as they are."""
    with Emulator() as segment, Client(segment.url, key="early") as client:
        part = FileBody(io.BytesIO(b"1234"), 9)
        with pytest.raises(SpoolError, match="a part cannot be read: it ended 5 bytes early"):
            client.transport.exchange("/v0/upload/x", body=part)
