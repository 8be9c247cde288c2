"""An error of a call names each cause once, with its count, and advises what helps against it."""

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
    """No proxy of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _no_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name resolves, and none is asked for: how long name servers take is not ours."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any) -> Any:
        if host[0].isdigit():
            return resolve(host, *arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def closed() -> str:
    """An address on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def _error(url: str, method: str = "set", options: TransportOptions | None = None) -> str:
    """What a call that cannot succeed ends with."""
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
    """The cause stands once; the setting is named, and waiting is not advised."""
    told = _error("https://segment.invalid", method)
    assert "segment.invalid failed: the host name could not be resolved (3 attempts in " in told
    assert told.count("resolved") == 1
    assert f"`{_setting(method)}`" in told
    assert LATER not in told


@METHODS
def test_a_refused_connection_is_told_once(closed: str, method: str) -> None:
    """Three attempts, one cause; the address stands once, and its setting."""
    told = _error(f"http://{closed}", method)
    assert f"at {closed} failed: could not connect: connection refused (3 attempts in " in told
    assert told.count("connection refused") == told.count(closed) == 1
    assert f"`{_setting(method)}`" in told
    assert LATER not in told


@pytest.mark.parametrize("name", ["proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_what_the_proxy_does_is_about_the_proxy(
    closed: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection to it, and no name of it, name where it comes from and not the address."""
    for host, cause in (
        (closed, "could not connect to the proxy"),
        ("proxy.invalid", "the proxy's host name"),
    ):
        options = TransportOptions(proxy=f"http://{host}" if name == "proxy" else None)
        if name != "proxy":
            monkeypatch.setenv(name, f"http://{host}")
        told = _error("https://segment.example", options=options)
        assert told.count(cause) == 1
        assert f"`{name}`" in told
        assert "objects_url" not in told
        assert LATER not in told


def test_a_proxy_that_refuses_is_about_its_user() -> None:
    """407 to CONNECT: address, user and password."""
    with RawServer(answering(answer(407))) as server:
        options = TransportOptions(proxy=f"http://ann:hunter2@{server.address}")
        told = _error("https://segment.example", options=options)
    assert (
        "the proxy answered 407 to CONNECT. Check the proxy's address, user and password in `proxy`"
        in told
    )
    assert "user and password" in told
    assert "hunter2" not in told


def test_tls_is_about_roots_and_clock() -> None:
    """One attempt, and no wait would help."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(answering(answer(200)), context) as server:
        told = _error(server.url)
    assert "TLS failed: the certificate was not accepted" in told
    assert "`ca_bundle`" in told
    assert LATER not in told


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
    """A busy server is waited for; an answer that is not the API's is about the address."""
    with Emulator() as segment:
        segment.fault(InjectedFault(call="set", count=None, status=status))
        told = _error(segment.url)
    assert words in told
    assert unwanted not in told
    assert len(re.findall(rf"\b{status}\b", told)) == 1  # a port may have it among its digits


def test_an_answer_without_an_id_is_not_the_api() -> None:
    """A welcome page says 200 to everything."""
    with Emulator() as segment:
        segment.fault(InjectedFault(call="start", count=None, status=200, body=b"<html>Welcome"))
        told = _error(segment.url, "bulk")
    assert "200, without a readable `sync_id` (3 attempts in " in told
    assert "This may not be Segment's API: check `bulk_url`" in told


def test_a_time_out_of_our_own_names_its_setting() -> None:
    """Every attempt was cut by it: it is what to raise."""
    with Emulator() as segment, segment.hold(call="set", count=None):
        told = _error(segment.url, options=TransportOptions(timeout_seconds=0.1))
    assert "no complete response within 0.1 s (3 attempts in " in told
    assert "Every attempt ended at `request_timeout_seconds`: raise it" in told


def test_a_session_that_is_gone_is_no_wrong_address() -> None:
    """404 to a call of a session means the session; 404 to its start means the address."""
    with Emulator() as segment, Client(segment.url, policy=AT_ONCE) as client:
        with pytest.raises(SessionRefusedError, match="The session may have expired"):
            client.bulk.finish("no-such-session")
        segment.fault(InjectedFault(call="start", status=404))
        with pytest.raises(RefusedError, match="check `bulk_url`"):
            client.bulk.start()


def test_causes_that_differ_stand_once_each() -> None:
    """The newest one last, each with its count, and the whole with its time."""
    with Emulator() as segment:
        segment.fault(InjectedFault(call="set", count=1, status=500))
        segment.fault(InjectedFault(call="set", first=2, count=1, cut="before"))
        segment.fault(InjectedFault(call="set", first=3, count=None, status=500))
        told = _error(segment.url)
    assert (
        "failed: the connection was closed without a response, once; then "
        "500 Internal Server Error, 2 times (3 attempts in "
    ) in told


def test_a_crowd_of_causes_is_cut() -> None:
    """Three causes are told, the newest ones, however many there were."""
    attempts = [Attempt(500 + number, "Trouble", float(number)) for number in range(50)]
    told = causes_of(attempts)
    assert told == (
        "547 Trouble, once; then 548 Trouble, once; then 549 Trouble, once (50 attempts in 49.0 s)"
    )


def _every_advice() -> Iterator[str]:
    for setting in ("region", "objects_url"):
        for proxy in ("", "HTTPS_PROXY"):
            origin = Destination("objects-bulk-api.segmentapis.com", setting, proxy)
            for kind in FailureKind:
                yield advise(Failure(kind, "why"), origin, call="set")
                yield advise(Failure(kind, "why", too_short=True), origin, call="set")
            yield advise(
                Failure(FailureKind.TIMEOUT, "why", too_short=True),
                origin,
                call="upload",
                slow="upload_timeout_seconds",
            )


def test_no_advice_is_long() -> None:
    """An advice is one sentence that can be read at once."""
    advice = set(_every_advice())
    assert len(advice) > 10
    assert max(map(len, advice)) < 150
    assert not [each for each in advice if each.endswith(".") or "{" in each]


@pytest.mark.parametrize("region", ["oregon", "dublin"])
def test_an_address_of_segment_comes_from_the_region(region: str) -> None:
    """`objects_url` is not named where it was not set; nothing is sent for this."""
    with Transport(OBJECTS_URLS[region], KEY) as transport:
        assert SetApi(transport)._destination.setting == "region"
    if region in BULK_URLS:
        with Transport(BULK_URLS[region], KEY) as transport:
            assert BulkApi(transport)._destination.setting == "region"


def test_a_summary_is_the_message_without_its_advice() -> None:
    """For a caller who goes on: what happened, with the server's own words."""
    with Emulator() as segment, Client(segment.url, policy=AT_ONCE) as client:
        segment.fault(InjectedFault(call="set", status=400, body=b"no rooms"))
        with pytest.raises(DeliveryError) as caught:
            client.set.send("rooms", [ROOM])
    told = "failed: 400 Bad Request (request id set-1); the response says: no rooms"
    assert caught.value.summary.endswith(told)
    assert (
        str(caught.value)
        == f"{caught.value.summary}. Retrying will not help: Segment refused the request itself"
    )
