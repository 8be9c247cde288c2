"""One exchange over real sockets: deadline, response, proxy and TLS."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import os
import ssl
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import trustme

from target_segment_objects.client import (
    Failure,
    FailureKind,
    FileBody,
    Response,
    SetApi,
    Transport,
    TransportOptions,
)
from target_segment_objects.client.connections import CONNECTION_SECONDS
from target_segment_objects.emulator import Emulator
from target_segment_objects.errors import ConfigurationError, RefusedError
from tests.builders import PATIENCE
from tests.client.builders import KEY, ROOM
from tests.client.raw_server import RawServer, answer, answering, read_request

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

SHORT = TransportOptions(timeout_seconds=0.2)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the proxy and the TLS roots of whoever runs the tests."""
    for name in list(os.environ):
        if name.lower() in {
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
            "requests_ca_bundle",
            "curl_ca_bundle",
            "ssl_cert_file",
        }:
            monkeypatch.delenv(name)


def _exchange(url: str, options: TransportOptions | None = None) -> Response | Failure:
    with Transport(url, KEY, options) as transport:
        return transport.exchange("/v1/set", body=b"{}")


def _failure(outcome: Response | Failure) -> FailureKind:
    assert isinstance(outcome, Failure), outcome
    return outcome.kind


def _drip(*parts: bytes) -> Callable[[RawServer, socket.socket], None]:
    """Send the first part at once, and then the last one every 10 ms."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        read_request(server, connection)
        connection.sendall(parts[0])
        while not server.stopping.wait(0.01):
            connection.sendall(parts[-1])

    return handle


@pytest.mark.parametrize(
    "parts",
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x"),
    ],
    ids=["status line", "header", "continue", "body", "chunks", "to the end"],
)
def test_a_slow_response_is_cut_at_the_deadline(parts: tuple[bytes, ...]) -> None:
    """The deadline is for the whole exchange, in every part of the response and for any status."""
    with RawServer(_drip(*parts)) as server:
        assert _failure(_exchange(server.url, SHORT)) is FailureKind.TIMEOUT


def test_a_slow_response_is_cut_over_tls_too(authority: trustme.CA, roots: str) -> None:
    """Over https, where TLS wraps the socket."""
    options = TransportOptions(timeout_seconds=0.2, ca_bundle=roots)
    drip = _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x")
    with RawServer(drip, _tls(authority)) as server:
        assert _failure(_exchange(server.url, options)) is FailureKind.TIMEOUT


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silence_is_cut_at_the_deadline(scheme: str) -> None:
    """A server that sends nothing: neither a response nor a handshake."""

    def silent(server: RawServer, _: socket.socket) -> None:
        server.stopping.wait()

    with RawServer(silent) as server, Transport(f"{scheme}://{server.address}", KEY, SHORT) as it:
        assert _failure(it.exchange("/v1/set")) is FailureKind.TIMEOUT
        server.stopping.set()


def test_a_body_that_is_not_read_is_cut_at_the_deadline() -> None:
    """Sending has the same deadline as reading."""

    def deaf(server: RawServer, _: socket.socket) -> None:
        server.stopping.wait()

    with RawServer(deaf) as server, Transport(server.url, KEY, SHORT) as transport:
        outcome = transport.exchange("/v1/set", body=bytes(64 * 1024 * 1024))
        assert _failure(outcome) is FailureKind.TIMEOUT
        server.stopping.set()


def test_a_reused_connection_has_a_deadline_of_its_own() -> None:
    """A slow response is cut on it too; the deadline of the first exchange no longer matters."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        read_request(server, connection)
        connection.sendall(answer())
        _drip(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x")(server, connection)

    with RawServer(handle) as server, Transport(server.url, KEY) as transport:
        assert isinstance(transport.exchange("/v1/set"), Response)
        assert not transport._deadlines._running
        outcome = transport.exchange("/v1/set", timeout_seconds=0.2)
        assert _failure(outcome) is FailureKind.TIMEOUT
        assert len(server.requests) == 2
        assert server.connections == 1


def test_abort_fails_requests_in_flight_and_later_ones() -> None:
    """From another thread, at once, long before the deadline."""
    with Emulator() as segment, Transport(segment.url, KEY) as transport:
        hold = segment.hold(call="set", first=1)
        outcomes: list[Response | Failure] = []
        thread = threading.Thread(target=lambda: outcomes.append(transport.exchange("/v1/set")))
        thread.start()
        assert hold.wait_for(1)
        transport.abort()
        thread.join()
        outcomes.append(transport.exchange("/v1/set"))
        hold.release()
        assert [_failure(outcome) for outcome in outcomes] == [FailureKind.ABORTED] * 2
        assert len(segment.requests) == 1


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}",
    ],
)
def test_a_response_cut_after_its_status_line_is_a_failure(cut: bytes) -> None:
    """A response that is not complete is a failure, whatever its status is."""
    with RawServer(answering(cut)) as server:
        assert _failure(_exchange(server.url)) is FailureKind.CUT


def test_no_response_at_all_is_a_reset() -> None:
    """A connection that ends before the first line is not a response that was cut short."""
    with RawServer(answering(b"")) as server:
        assert _failure(_exchange(server.url)) is FailureKind.RESET


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_at_most_64_kib_of_a_response_are_read(encoding: str) -> None:
    """Of a long one and of one that grows when it is decoded; its status still counts."""
    body = bytes(50_000_000)
    if encoding == "gzip":
        body = gzip.compress(body)
    headers = b"Content-Encoding: %b\r\n" % encoding.encode()
    with RawServer(answering(answer(400, body, headers))) as server:
        outcome = _exchange(server.url)
    assert isinstance(outcome, Response)
    assert outcome.status == 400
    assert len(outcome.body) == 64 * 1024


def test_a_compression_bomb_takes_no_memory() -> None:
    """Of 200 MB in a compressed response, only a small part is ever in memory."""
    bomb = gzip.compress(bytes(200_000_000), 1)
    with RawServer(answering(answer(200, bomb, b"Content-Encoding: gzip\r\n"))) as server:
        tracemalloc.start()
        try:
            outcome = _exchange(server.url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert isinstance(outcome, Response)
    assert peak < 5_000_000


def test_a_response_has_headers_and_a_request_id() -> None:
    """Header names in any case, the request id, and nothing of the body in the repr."""
    headers = b"X-Request-Id: abc-\x01-1\r\nSet-Cookie: a=b\r\n"
    with RawServer(answering(answer(201, b'{"secret": 1}', headers))) as server:
        outcome = _exchange(server.url)
    assert isinstance(outcome, Response)
    assert outcome.request_id == "abc- -1"
    assert outcome.headers["x-request-id"]
    assert outcome.body == b'{"secret": 1}'
    assert "secret" not in repr(outcome).replace("excerpt='{\"secret\": 1}'", "")


def test_connections_are_reused_and_cookies_are_not_kept() -> None:
    """Three exchanges use one connection, without state between them."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        while read_request(server, connection):
            connection.sendall(answer(headers=b"Set-Cookie: a=b; Path=/\r\n"))

    with RawServer(handle) as server, Transport(server.url, KEY) as transport:
        for _ in range(3):
            assert isinstance(transport.exchange("/v1/set", body=b"{}"), Response)
        transport.close()
        assert server.connections == 1
        assert all(b"ookie" not in request for request in server.requests)


def test_a_small_request_is_sent_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body together, which saves a packet per call."""
    pieces: list[bytes] = []
    send = http.client.HTTPConnection.send

    def noted(self: http.client.HTTPConnection, data: bytes) -> None:
        pieces.append(data)
        send(self, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", noted)
    with RawServer(answering(answer())) as server, Transport(server.url, KEY) as transport:
        assert isinstance(transport.exchange("/v1/set", body=b'{"whole":true}'), Response)
    assert pieces == server.requests
    assert pieces[0].endswith(b'\r\n\r\n{"whole":true}')


def test_a_file_is_sent_with_its_length() -> None:
    """And not in chunks."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        if read_request(server, connection):
            connection.sendall(answer())

    with RawServer(handle) as server, Transport(server.url, KEY) as transport:
        body = FileBody(io.BytesIO(b"part"), 4)
        assert isinstance(transport.exchange("/v0/upload/1", body=body), Response)
    assert b"\r\nContent-Length: 4\r\n" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\npart")


def test_close_ends_idle_connections() -> None:
    """At once: the server reads their end while the transport still exists."""
    ended = threading.Event()

    def handle(server: RawServer, connection: socket.socket) -> None:
        while read_request(server, connection):
            connection.sendall(answer())
        ended.set()

    with RawServer(handle) as server, Transport(server.url, KEY) as transport:
        assert isinstance(transport.exchange("/v1/set", body=b"{}"), Response)
        assert not ended.is_set()
        transport.close()
        assert ended.wait(PATIENCE)
        assert _failure(transport.exchange("/v1/set", body=b"{}")) is FailureKind.ABORTED


def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a long run resolves the name again."""
    assert CONNECTION_SECONDS == 3600
    module = "target_segment_objects.client.connections.CONNECTION_SECONDS"
    monkeypatch.setattr(module, -1.0)

    def handle(server: RawServer, connection: socket.socket) -> None:
        while read_request(server, connection):
            connection.sendall(answer())

    with RawServer(handle) as server, Transport(server.url, KEY) as transport:
        for _ in range(2):
            assert isinstance(transport.exchange("/v1/set", body=b"{}"), Response)
        transport.close()
        assert server.connections == 2


def test_netrc_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is sent as base64 of `KEY:`, whatever `.netrc` contains."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with RawServer(answering(answer())) as server:
        _exchange(server.url)
        expected = base64.b64encode(f"{KEY}:".encode())
        assert b"\r\nAuthorization: Basic " + expected + b"\r\n" in server.requests[0]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "argument"])
def test_loopback_has_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that of the environment nor the one given."""
    proxy = "http://127.0.0.1:1"
    options = TransportOptions(proxy=proxy if name == "argument" else None)
    monkeypatch.setenv(name, proxy)
    with Emulator() as segment, Transport(segment.url, KEY, options) as transport:
        assert SetApi(transport).send("rooms", [ROOM]).number == 1


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "argument"])
def test_a_proxy_is_used_and_may_refuse(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given or of the environment; its 407 is fatal, its 502 is not; its password is not shown."""
    for status, kind in ((407, FailureKind.PROXY_REFUSED), (502, FailureKind.PROXY)):
        with RawServer(answering(answer(status))) as server:
            proxy = f"http://user:pr0xypass@{server.address}"
            options = TransportOptions(proxy=proxy if name == "argument" else None)
            if name != "argument":
                monkeypatch.setenv(name, proxy)
            outcome = _exchange("https://segment.invalid", options)
            assert _failure(outcome) is kind
            assert server.requests[0].startswith(b"CONNECT segment.invalid:443 ")
            assert KEY.encode() not in server.requests[0]
            assert base64.b64encode(f"{KEY}:".encode()) not in server.requests[0]
            assert b"Proxy-Authorization: Basic " in server.requests[0]
            assert "pr0xypass" not in repr(outcome) + repr(options)


def test_plain_http_through_a_proxy_names_the_whole_address() -> None:
    """The proxy gets the address with its path, and the password of its user."""
    with RawServer(answering(answer())) as server:
        proxy = f"http://user:pr0xypass@{server.address}"
        options = TransportOptions(proxy=proxy, allow_http=True)
        with Transport("http://segment.invalid/some/path", KEY, options) as transport:
            assert isinstance(transport.exchange("/v1/set", body=b"{}"), Response)
        head = server.requests[0]
        assert head.startswith(b"POST http://segment.invalid/some/path/v1/set HTTP/1.1\r\n")
        assert b"\r\nHost: segment.invalid\r\n" in head
        assert b"\r\nProxy-Authorization: Basic dXNlcjpwcjB4eXBhc3M=\r\n" in head


@pytest.mark.parametrize("path", ["", "/some/path"])
def test_the_path_of_the_address_is_put_before_that_of_the_call(path: str) -> None:
    """With and without one."""
    with RawServer(answering(answer())) as server:
        _exchange(server.url + path)
        assert server.requests[0].startswith(b"POST %b/v1/set HTTP/1.1\r\n" % path.encode())


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host in `NO_PROXY` is connected to directly."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert _failure(_exchange("https://segment.invalid")) is FailureKind.PROXY
    monkeypatch.setenv("NO_PROXY", ".invalid")
    assert _failure(_exchange("https://segment.invalid")) is FailureKind.NAME


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that is not trusted by default."""
    return trustme.CA()


@pytest.fixture
def roots(authority: trustme.CA, tmp_path: Path) -> str:
    """Its root certificate as a file."""
    path = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def _tls(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("where", ["argument", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_tls_roots_are_given_or_those_of_the_environment(
    where: str, authority: trustme.CA, roots: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS with a private certificate authority."""
    options = TransportOptions(ca_bundle=roots if where == "argument" else None)
    if where != "argument":
        monkeypatch.setenv(where, roots)
    with RawServer(answering(answer()), _tls(authority)) as server:
        assert isinstance(_exchange(server.url, options), Response)


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
def test_a_server_that_cannot_be_trusted_is_fatal(
    name: str, authority: trustme.CA, roots: str
) -> None:
    """An unknown authority, or a certificate for another name: one attempt."""
    options = TransportOptions(ca_bundle=roots if name == "other.example" else None)
    with (
        RawServer(answering(answer()), _tls(authority, name)) as server,
        Transport(server.url, KEY, options) as transport,
    ):
        with pytest.raises(RefusedError, match="TLS failed: the certificate was not") as caught:
            SetApi(transport).send("rooms", [ROOM])
        assert not server.requests
    assert len(caught.value.attempts) == 1
    for word in ("verify=", "disable", "insecure", "turn", "off"):
        assert word not in str(caught.value).replace("offset", "")


def test_https_to_a_server_of_plain_http_is_fatal() -> None:
    """The failure of a handshake is not retried."""

    def answer_anything(_: RawServer, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer(400))

    with RawServer(answer_anything) as server:
        outcome = _exchange(server.url.replace("http:", "https:"))
    assert _failure(outcome) is FailureKind.TLS


def test_a_hang_up_in_the_handshake_is_a_reset() -> None:
    """A connection that breaks is retried."""

    def hang_up(_: RawServer, connection: socket.socket) -> None:
        connection.recv(1024)

    with RawServer(hang_up) as server:
        outcome = _exchange(server.url.replace("http:", "https:"))
    assert _failure(outcome) is FailureKind.RESET


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unreadable_roots_are_refused_at_once(content: str | None, tmp_path: Path) -> None:
    """When the transport is created, not at its first request; the message names their source."""
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match="ca_bundle: cannot read TLS roots"):
        Transport("https://segment.invalid", KEY, TransportOptions(ca_bundle=str(path)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_seconds": 0},
        {"upload_timeout_seconds": float("inf")},
        {"max_concurrency": 0},
        {"max_concurrency": 21},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TransportOptions(**wrong)  # type: ignore[arg-type]
