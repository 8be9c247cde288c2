"""The error of a call names every cause once, with its count, and gives advice that fits."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from target_segment_objects.client import (
    BULK_URLS,
    OBJECTS_URLS,
    BulkApi,
    Failure,
    FailureKind,
    RetryPolicy,
    SetApi,
    Transport,
    TransportOptions,
)
from target_segment_objects.client.advice import Destination, advise, causes_of
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import Attempt, DeliveryError, RefusedError, SessionRefusedError
from tests.client.builders import KEY, ROOM, Client
from tests.client.raw_server import RawServer, answer, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = RetryPolicy(budget_seconds=0.0)
LATER = "again later"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the proxy of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _no_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name resolves, and no name server is asked, which could take long."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any) -> Any:
        if host[0].isdigit():
            return resolve(host, *arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def closed() -> str:
    """An address without a server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def _error(url: str, method: str = "set", options: TransportOptions | None = None) -> str:
    """The message of a call that cannot succeed."""
    with (
        Client(url, policy=AT_ONCE, options=options or TransportOptions()) as client,
        pytest.raises(DeliveryError) as caught,
    ):
        client.set.send("rooms", [ROOM]) if method == "set" else client.bulk.start()
    return str(caught.value)


def _setting(method: str) -> str:
    return "objects_url" if method == "set" else "bulk_url"


METHODS = pytest.mark.parametrize("method", ["set", "bulk"])


@METHODS
def test_a_name_that_does_not_resolve_is_a_wrong_address(method: str) -> None:
    """The cause is named once, and the setting; waiting is not advised."""
    message = _error("https://segment.invalid", method)
    assert "segment.invalid failed: the host name could not be resolved (3 attempts in " in message
    assert message.count("resolved") == 1
    assert f"`{_setting(method)}`" in message
    assert LATER not in message


@METHODS
def test_a_refused_connection_is_named_once(closed: str, method: str) -> None:
    """Three attempts, one cause; the address is named once, and its setting."""
    message = _error(f"http://{closed}", method)
    assert f"at {closed} failed: could not connect: connection refused (3 attempts in " in message
    assert message.count("connection refused") == message.count(closed) == 1
    assert f"`{_setting(method)}`" in message
    assert LATER not in message


@pytest.mark.parametrize("name", ["proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_failure_of_the_proxy_names_its_setting(
    closed: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it cannot be connected to or resolved, its setting is named and not the address."""
    for host, cause in (
        (closed, "could not connect to the proxy"),
        ("proxy.invalid", "the proxy's host name"),
    ):
        options = TransportOptions(proxy=f"http://{host}" if name == "proxy" else None)
        if name != "proxy":
            monkeypatch.setenv(name, f"http://{host}")
        message = _error("https://segment.example", options=options)
        assert message.count(cause) == 1
        assert f"`{name}`" in message
        assert "objects_url" not in message
        assert LATER not in message


def test_a_refusal_by_the_proxy_names_its_user() -> None:
    """407 to CONNECT: check its address, user and password."""
    with RawServer(answering(answer(407))) as server:
        options = TransportOptions(proxy=f"http://ann:hunter2@{server.address}")
        message = _error("https://segment.example", options=options)
    assert (
        "the proxy answered 407 to CONNECT. Check the proxy's address, user and password in `proxy`"
        in message
    )
    assert "user and password" in message
    assert "hunter2" not in message


def test_a_tls_failure_names_roots_and_clock() -> None:
    """Waiting is not advised."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(answering(answer(200)), context) as server:
        message = _error(server.url)
    assert "TLS failed: the certificate was not accepted" in message
    assert "`ca_bundle`" in message
    assert LATER not in message


@pytest.mark.parametrize(
    ("status", "words", "unwanted"),
    [
        (429, "fewer requests: lower `max_concurrency`", "objects_url"),
        (408, LATER, "objects_url"),
        (500, LATER, "objects_url"),
        (503, "raise `retry_seconds`", "objects_url"),
        (501, "check `objects_url`", LATER),
        (505, "check `objects_url`", LATER),
        (511, "login page", LATER),
        (302, "check `objects_url`", LATER),
        (404, "check `objects_url`", LATER),
        (405, "check `objects_url`", LATER),
        (422, "Retrying will not help: Segment refused the request itself", LATER),
        (401, "check `write_key` and `objects_url`", LATER),
        (403, "check `write_key` and `objects_url`", LATER),
    ],
)
def test_a_status_has_its_advice(status: int, words: str, unwanted: str) -> None:
    """For a busy server to wait; for a response that is not the API's to check the address."""
    with Emulator() as segment:
        segment.fault(InjectedFault(call="set", count=None, status=status))
        message = _error(segment.url)
    assert words in message
    assert unwanted not in message
    assert len(re.findall(rf"\b{status}\b", message)) == 1  # a port may have it among its digits


def test_a_response_without_an_id_is_not_the_api() -> None:
    """For example a welcome page that answers 200 to everything."""
    with Emulator() as segment:
        segment.fault(InjectedFault(call="start", count=None, status=200, body=b"<html>Welcome"))
        message = _error(segment.url, "bulk")
    assert "200, without a readable `sync_id` (3 attempts in " in message
    assert "This may not be Segment's API: check `bulk_url`" in message


def test_a_time_out_of_our_own_names_its_setting() -> None:
    """Every attempt ended at it, so it is to be raised."""
    with Emulator() as segment, segment.hold(call="set", count=None):
        message = _error(segment.url, options=TransportOptions(timeout_seconds=0.1))
    assert "no complete response within 0.1 s (3 attempts in " in message
    assert "Every attempt ended at `request_timeout_seconds`: raise it" in message


def test_a_lost_session_is_not_a_wrong_address() -> None:
    """404 to a call of a session is about the session; 404 to its start is about the address."""
    with Emulator() as segment, Client(segment.url, policy=AT_ONCE) as client:
        with pytest.raises(SessionRefusedError, match="The session may have expired"):
            client.bulk.finish("no-such-session")
        segment.fault(InjectedFault(call="start", status=404))
        with pytest.raises(RefusedError, match="check `bulk_url`"):
            client.bulk.start()


def test_every_cause_is_named_once_with_its_count() -> None:
    """The newest is last; the total has the time."""
    with Emulator() as segment:
        segment.fault(InjectedFault(call="set", count=1, status=500))
        segment.fault(InjectedFault(call="set", first=2, count=1, cut="before"))
        segment.fault(InjectedFault(call="set", first=3, count=None, status=500))
        message = _error(segment.url)
    assert (
        "failed: the connection was closed without a response, once; then "
        "500 Internal Server Error, 2 times (3 attempts in "
    ) in message


def test_only_the_newest_causes_are_named() -> None:
    """The three newest, however many there are."""
    attempts = [Attempt(500 + number, "Trouble", float(number)) for number in range(50)]
    message = causes_of(attempts)
    assert message == (
        "547 Trouble, once; then 548 Trouble, once; then 549 Trouble, once (50 attempts in 49.0 s)"
    )


def _every_advice() -> Iterator[str]:
    for setting in ("region", "objects_url"):
        for proxy in ("", "HTTPS_PROXY"):
            destination = Destination("objects-bulk-api.segmentapis.com", setting, proxy)
            for kind in FailureKind:
                yield advise(Failure(kind, "why"), destination, call="set")
                yield advise(
                    Failure(kind, "why", longer_timeout_may_help=True), destination, call="set"
                )
            yield advise(
                Failure(FailureKind.TIMEOUT, "why", longer_timeout_may_help=True),
                destination,
                call="upload",
                exhausted_timeout="upload_timeout_seconds",
            )


def test_no_advice_is_long() -> None:
    """Advice is one short sentence."""
    advice = set(_every_advice())
    assert len(advice) > 10
    assert max(map(len, advice)) < 150
    assert not [sentence for sentence in advice if sentence.endswith(".") or "{" in sentence]


@pytest.mark.parametrize("region", ["oregon", "dublin"])
def test_an_address_of_segment_comes_from_the_region(region: str) -> None:
    """So `objects_url` is not named when it is not set. Nothing is sent in this test."""
    with Transport(OBJECTS_URLS[region], KEY) as transport:
        assert SetApi(transport).destination.setting == "region"
    if region in BULK_URLS:
        with Transport(BULK_URLS[region], KEY) as transport:
            assert BulkApi(transport).destination.setting == "region"


def test_a_summary_is_the_message_without_its_advice() -> None:
    """It says what happened, with the server's text."""
    with Emulator() as segment, Client(segment.url, policy=AT_ONCE) as client:
        segment.fault(InjectedFault(call="set", status=400, body=b"no rooms"))
        with pytest.raises(DeliveryError) as caught:
            client.set.send("rooms", [ROOM])
    message = "failed: 400 Bad Request (request id set-1); the response says: no rooms"
    assert caught.value.summary.endswith(message)
    assert (
        str(caught.value)
        == f"{caught.value.summary}. Retrying will not help: Segment refused the request itself"
    )
