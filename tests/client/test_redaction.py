"""Redaction never changes our own sentences, however short the secret is."""

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
def test_our_own_sentences_are_not_redacted(status: int | None) -> None:
    """The message with a short key equals the one with a long key."""
    fault = {"cut": "before"} if status is None else {"status": status, "body": b""}
    messages = []
    for key in (KEY, *SHORT):
        with Emulator() as segment, Client(segment.url, policy=AT_ONCE, key=key) as client:
            segment.fault(InjectedFault(call="set", count=None, **fault))
            with pytest.raises(DeliveryError) as caught:
                client.set.send("rooms", [ROOM])
            messages.append(_without_port(caught.value, segment.url).replace("set-3", "set-1"))
    assert "***" not in messages[0]
    # What a server calls a request is its own word, and is quoted.
    assert {message.replace(_request_id(message), "") for message in messages[1:]} == {
        messages[0].replace(_request_id(messages[0]), "")
    }


def _request_id(message: str) -> str:
    _, mark, rest = message.partition("request id ")
    return mark + rest.partition(")")[0]


@pytest.mark.parametrize("key", ["k", "abc", "check", KEY])
def test_a_servers_text_is_redacted(key: str) -> None:
    """A key of any length, in all forms that are sent, in the body and in the request id."""
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
    """A `sync_id` that happens to contain the letters of a short key is shown."""
    with Emulator() as segment, Client(segment.url, key=key) as client:
        segment.fault(InjectedFault(call="start", status=201, body=b'{"sync_id":"0f1e-sessions"}'))
        assert client.bulk.start() == "0f1e-sessions"
        segment.fault(InjectedFault(call="start", count=None, status=201, body=_echo(key)))
        with pytest.raises(DeliveryError, match="without a readable `sync_id`"):
            client.bulk.start()


def _echo(key: str) -> bytes:
    return b'{"sync_id":"a-%b"}' % key.encode()


def test_a_key_in_the_address_is_blotted_out() -> None:
    """As a whole word of the address, as if pasted there by mistake."""
    with (
        Client(
            f"https://{KEY}.invalid",
            policy=AT_ONCE,
            options=TransportOptions(proxy="http://127.0.0.1:1"),
        ) as client,
        pytest.raises(DeliveryError, match=r"set at \*\*\*\.invalid failed: could not connect"),
    ):
        client.set.send("rooms", [ROOM])


def test_the_error_of_a_short_part_is_not_redacted() -> None:
    """Our own sentence about a file stays as it is."""
    with Emulator() as segment, Client(segment.url, key="early") as client:
        part = FileBody(io.BytesIO(b"1234"), 9)
        with pytest.raises(SpoolError, match="a part cannot be read: it ended 5 bytes early"):
            client.transport.exchange("/v0/upload/x", body=part)
