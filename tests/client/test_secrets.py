"""The write key appears nowhere: not in errors, their chains, reprs, logs or results."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from target_segment_objects.client import RetryPolicy, TransportOptions
from target_segment_objects.client.secret import WriteKey, proxy_secrets
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import SegmentObjectsError
from tests.client.builders import KEY, ROOM, Client
from tests.client.raw_server import RawServer, answer, answering, read_request

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

BASIC = base64.b64encode(f"{KEY}:".encode()).decode()
BARE = base64.b64encode(KEY.encode()).decode().rstrip("=")
SECRETS = (KEY, BASIC, BARE, "pr0xypass")


def _texts_of(error: BaseException) -> Iterator[str]:
    """All texts of an error and of the errors behind it that a log could show."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield from (str(cause), repr(cause), repr(cause.args), repr(vars(cause)))
        yield "".join(traceback.format_exception(type(cause), cause, cause.__traceback__))
        waiting.extend((cause.__cause__, cause.__context__))


def _echo(server: RawServer, connection: socket.socket) -> None:
    """Answer with all that was received, in the body and in headers."""
    while request := read_request(server, connection):
        line = request.replace(b"\r\n", b" ")
        status = 400 + len(server.requests) % 2 * 103
        headers = b"X-Request-Id: %b\r\nLocation: https://%b/%b?%b\r\nX-Echo: %b\r\n" % (
            line,
            KEY.encode(),
            BASIC.encode(),
            BARE.encode(),
            line,
        )
        connection.sendall(answer(status, b'{"error": "%b %b"}' % (KEY.encode(), line), headers))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 429, 500, 501, 503])
def test_no_error_shows_the_key(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """For every status, although the server echoes the key in all of its forms."""
    caplog.set_level(logging.DEBUG)
    echoes = f"{KEY} {KEY}: {BASIC} Basic {BARE}"
    fault = InjectedFault(
        call="any",
        count=None,
        status=status,
        headers={"X-Request-Id": echoes, "Location": f"https://h/{KEY}/{BASIC}"},
        body=echoes.encode(),
    )
    policy = RetryPolicy(budget_seconds=0)
    with Emulator() as segment, Client(segment.url, policy=policy) as client:
        segment.fault(fault)
        with pytest.raises(SegmentObjectsError) as caught:
            client.set.send("rooms", [ROOM])
        with pytest.raises(SegmentObjectsError) as caught_of_bulk:
            client.bulk.finish("some-session")
        outcome = client.transport.exchange("/v1/set")
        texts = [
            *_texts_of(caught.value),
            *_texts_of(caught_of_bulk.value),
            caplog.text,
            repr(outcome),
        ]
    for text in texts:
        assert not any(secret in text for secret in SECRETS), text
    assert "***" in str(caught.value)


def test_an_echo_of_the_whole_request_does_not_show_the_key() -> None:
    """Retried, then refused: neither the attempts nor the last response show it."""
    with RawServer(_echo) as server, Client(server.url) as client:
        with pytest.raises(SegmentObjectsError) as caught:
            client.set.send("rooms", [ROOM])
        outcome = client.transport.exchange("/v1/set", body=b"{}")
        client.transport.close()
    assert len(caught.value.attempts) == 2  # type: ignore[attr-defined]
    for text in (*_texts_of(caught.value), repr(outcome)):
        assert not any(secret in text for secret in SECRETS), text


def test_a_malformed_header_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """`urllib3` logs headers that it cannot parse, but not those of these connections."""
    caplog.set_level(logging.DEBUG)
    malformed = b"X-Echo: a\r\nno colon %b\r\nX-More: b\r\n" % KEY.encode()
    with (
        RawServer(answering(answer(200, b"{}", malformed))) as server,
        Client(server.url) as client,
    ):
        assert client.set.send("rooms", [ROOM]).number == 1
    assert KEY not in caplog.text


def test_a_key_is_not_pickled() -> None:
    """So it cannot get into another process or a file by accident."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(WriteKey(KEY))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "https://127.0.0.1:1",
        "https://segment.invalid",
        f"https://{KEY}.invalid/{KEY}",
    ],
)
@pytest.mark.parametrize("proxy", [None, "http://user:pr0xypass@127.0.0.1:1"])
def test_no_failure_shows_the_key_or_the_proxys_password(
    url: str, proxy: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a connection, a name or a proxy: the errors of other libraries are not chained."""
    caplog.set_level(logging.DEBUG)
    options = TransportOptions(proxy=proxy)
    policy = RetryPolicy(budget_seconds=0)
    with Client(url, policy=policy, options=options) as client:
        with pytest.raises(SegmentObjectsError) as caught:
            client.set.send("rooms", [ROOM])
        shown = [repr(client.transport), repr(options), repr(client.transport._key), caplog.text]
    for text in (*_texts_of(caught.value), *shown):
        assert not any(secret in text for secret in SECRETS), text
    assert not any("requests" in type(cause).__module__ for cause in _chain(caught.value))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("length", [15, 16, 17])
@pytest.mark.parametrize("colon", ["", ":"])
@pytest.mark.parametrize("kind", ["key", "password", "token"])
def test_every_base64_form_of_a_secret_is_redacted(length: int, colon: str, kind: str) -> None:
    """In both alphabets, with or without padding and percent-encoding, for any length."""
    secret = "~?>" * 4 + "7HqnV"[: length - 12]
    text = f"user:{secret}" if kind == "password" and colon else f"{secret}{colon}"
    user = {"password": "user:"}.get(kind, "")
    proxy = f"http://{user}{quote(secret, safe='')}@proxy"
    also = () if kind == "key" else proxy_secrets(proxy)
    key = WriteKey(secret if kind == "key" else KEY, also_secret=also)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        padded = encode(text.encode()).decode()
        for form in (padded, padded.rstrip("="), quote(padded, safe="")):
            assert key.redact(form) == "***"
