"""The server: order, requests at once, unusual HTTP, start and stop."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Emulator, EmulatorError
from tests.emulator.wire import Client, basic

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 10.0
CHUNKED = b"POST /v0/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
AUTHORIZATION = f"Authorization: {basic('key:')}\r\n"


def last_values(seed: int, *, synchronous: bool) -> dict[object, object]:
    """Return, by object, the value that is left when 1, 2 and 3 are sent in that order."""
    with Emulator(seed=seed) as segment, Client(segment) as client:
        for value in (1, 2, 3):
            objects = [{"id": str(n), "properties": {"a": value}} for n in range(10)]
            assert client.set(*objects, synchronous=synchronous).status == 200
        return {row["id"]: row["a"] for row in segment.rows("rooms")}


def test_an_older_value_wins_without_the_header() -> None:
    """Asynchronous updates sent close together are reordered; the order depends on the seed."""
    values = last_values(7, synchronous=False)
    assert set(values.values()) == {1, 2, 3}
    assert last_values(7, synchronous=False) == values
    assert last_values(8, synchronous=False) != values


def test_the_header_keeps_the_order() -> None:
    """With `Synchronous: true` the newest value is kept, with any seed."""
    for seed in range(5):
        assert set(last_values(seed, synchronous=True).values()) == {3}


def test_history_shows_the_order_of_application() -> None:
    """Reordering loses nothing: every update is applied once."""
    with Emulator(seed=3) as segment, Client(segment) as client:
        for value in range(5):
            client.one("1", a=value, synchronous=False)
        history = [update["a"] for update in segment.history("rooms", "1")]
        assert sorted(history) == list(range(5))  # type: ignore[type-var]
        assert history != list(range(5))


def test_a_synchronous_call_comes_after_earlier_ones() -> None:
    """An object's asynchronous updates are applied before its next synchronous one."""
    with Emulator() as segment, Client(segment) as client:
        for value in (1, 2):
            client.one("1", a=value, synchronous=False)
        client.one("1", a=3)
        assert segment.rows("rooms") == [{"id": "1", "a": 3}]


def test_set_calls_reach_the_file_within_a_second(tmp_path: Path) -> None:
    """Without a query or a stop, the emulator writes a set call to the file by itself."""
    flushed = threading.Event()
    with Emulator(warehouse=tmp_path / "w.duckdb") as segment, Client(segment) as client:
        store = segment._store
        load = store.load

        def watched(part: object) -> None:
            load(part)  # type: ignore[arg-type]
            flushed.set()

        store.load = watched  # type: ignore[method-assign]
        client.one("1", a=1, synchronous=False)
        assert flushed.wait(1.5)


def test_the_21st_request_at_once_is_429() -> None:
    """Twenty requests may be in flight; another one is refused until one of them has ended."""
    with Emulator() as segment, ThreadPoolExecutor(20) as pool:
        hold = segment.hold(call="set", count=20)

        def one(number: int) -> int:
            with Client(segment) as client:
                return client.one(str(number), a=1).status

        answers = [pool.submit(one, number) for number in range(20)]
        assert hold.wait_for(20, TIMEOUT)
        with Client(segment, "another key from the same address") as client:
            refused = client.one("x", a=1)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
            hold.release()
            assert {answer.result(TIMEOUT) for answer in answers} == {200}
            assert client.one("x", a=1).status == 200
        assert segment.in_flight_peak == 21


def test_a_client_never_overtakes_the_gate() -> None:
    """A request with a response is no longer counted: one request at a time is always accepted."""
    with Emulator(max_concurrency=1) as segment, Client(segment) as one, Client(segment) as other:
        for number in range(200):
            client = (one, other)[number % 2]
            assert client.one("1", a=number).status == 200
            assert segment.requests[-1].status == 200
        assert segment.in_flight_peak == 1


def exchange(segment: Emulator, *pieces: bytes) -> bytes:
    """Send bytes on a socket, close the sending side, and return the response."""
    host, _, port = segment.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while found := connection.recv(65536):
            received += found
        return received


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"POST /v1/set HTTP/3\r\n\r\n", b"400"),
        (b"POST /v0/start HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST /v0/start HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /v0/start HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", b"400"),
        (b"POST /v0/start HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", b"413"),
        (b"POST /v0/start HTTP/1.1\r\nTransfer-Encoding: zip\r\n\r\n", b"400"),
        (b"POST /v0/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST /v0/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", b"413"),
        (b"POST /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"POST /v0/start HTTP/1.1\r\nX: " + b"x" * 70000 + b"\r\n\r\n", b"431"),
        (b"POST /v0/start HTTP/1.1\r\n" + b"".join(b"X%d: 1\r\n" % n for n in range(200)), b"431"),
        (b"POST /v0/start HTTP/1.1\r\n" + b"X: 1\r\n" * 200, b"431"),
        (b"\r\n" * 3 + b"POST /v0/start HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /v0/start HTTP/1.1\r\nContent-Length: 1" + b"0" * 20 + b"\r\n\r\n", b"413"),
        (b"POST /v0/start HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (CHUNKED + b"+1\r\na\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"0x1\r\na\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"f" * 60000 + b"\r\n", b"400"),
        (CHUNKED + b"1\r\nab\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"0\r\n" + b"X: 1\r\n" * 200, b"431"),
    ],
)
def test_a_malformed_request_is_an_answer(request_bytes: bytes, status: bytes) -> None:
    """What is not HTTP, or is too long, gets a JSON response, and the connection ends."""
    with Emulator() as segment:
        answer = exchange(segment, request_bytes)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b'{"error":{"message":' in answer
        assert b"Connection: close" in answer


def test_a_length_may_begin_with_zeros() -> None:
    """HTTP allows it; the bytes after the body are the next request."""
    start = b"POST /v0/start HTTP/1.1\r\n" + AUTHORIZATION.encode()
    first = start + b"Content-Length: " + b"0" * 20 + b"2\r\n\r\n{}"
    with Emulator() as segment:
        answer = exchange(segment, first + start + b"Connection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 201 ") == 2


@pytest.mark.parametrize("count", [101, 100_000])
def test_equal_headers_are_counted_too(count: int) -> None:
    """The 101st header ends the request, even if all have the same name."""
    with Emulator() as segment:
        answer = exchange(segment, b"POST /v0/start HTTP/1.1\r\n" + b"X: 1\r\n" * count)
        assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8765"}, 201),
        ({"Host": "localhost"}, 201),
        ({"Host": "[::1]:1", "Origin": "http://127.0.0.1:8765"}, 201),
        ({"Host": "attacker.example"}, 421),
        ({"Host": "attacker.example:8765", "Origin": "http://attacker.example:8765"}, 421),
        ({"Host": "127.0.0.1.attacker.example"}, 421),
        ({"Host": "emulator"}, 421),
    ],
)
def test_the_api_answers_to_its_own_names(headers: dict[str, str | None], status: int) -> None:
    """On loopback, a web site that points its name at this machine can call neither API."""
    with Emulator() as segment, Client(segment) as client:
        assert client.send("/v0/start", headers=headers).status == status
        assert len(segment.sessions) == (status == 201)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "segment.default.svc.cluster.local:8765"}, 201),
        ({"Host": "192.168.0.1"}, 201),
        ({"Host": "emulator", "Origin": "http://emulator"}, 201),
        ({"Host": "attacker.example", "Origin": "http://attacker.example"}, 421),
    ],
)
def test_beyond_loopback_the_api_refuses_browsers_of_other_sites(
    headers: dict[str, str | None], status: int
) -> None:
    """A client in another container may use any name; a browser's POST has an origin."""
    with Emulator(host="0.0.0.0") as segment, Client(segment) as client:  # noqa: S104 what is tested
        assert client.send("/v0/start", headers=headers).status == status


def test_a_connection_serves_many_requests_and_ends_on_request() -> None:
    """Requests on one connection get their responses in order, until the client ends it."""
    start = f"POST /v0/start HTTP/1.1\r\n{AUTHORIZATION}".encode()
    with Emulator() as segment:
        answer = exchange(segment, start + b"\r\n", start + b"Connection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 201 Created") == 2
        assert answer.count(b"Connection: keep-alive") == 1
        answer = exchange(segment, start.replace(b"1.1", b"1.0") + b"\r\n")
        assert b"Connection: close" in answer


def test_expect_continue_is_answered() -> None:
    """A client that waits for 100 Continue gets it before it sends the body."""
    start = f"POST /v0/start HTTP/1.1\r\n{AUTHORIZATION}Expect: 100-continue\r\n"
    with Emulator() as segment:
        answer = exchange(segment, f"{start}Content-Length: 2\r\n\r\n{{}}".encode())
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created")


def test_a_request_cut_short_is_no_request() -> None:
    """A request whose head or body is incomplete gets no response and is not applied."""
    with Emulator() as segment:
        assert exchange(segment, b"POST /v0/start HTT") == b""
        assert exchange(segment, b"POST /v0/start HTTP/1.1\r\nContent-") == b""
        start = f"POST /v0/start HTTP/1.1\r\n{AUTHORIZATION}Content-Length: 5\r\n\r\n{{}}"
        assert exchange(segment, start.encode()) == b""
        assert segment.sessions == {}


def test_the_log_keeps_bodies_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its limit the log drops the oldest bodies, and keeps the requests."""
    monkeypatch.setattr("target_segment_objects.emulator.api.request_log._LOG_BODY_BYTES", 1000)
    with Emulator() as segment, Client(segment) as client:
        for number in range(3):
            client.one(str(number), a="x" * 400)
        assert [bool(request.body) for request in segment.requests] == [False, True, True]
        assert [request.number for request in segment.requests] == [1, 2, 3]
        assert segment.requests[0].body_bytes > 400


def test_an_emulator_starts_once_and_stops_at_any_time() -> None:
    """Stopping twice, or before the start, does nothing; starting twice is an error."""
    segment = Emulator()
    segment.stop()
    with segment, pytest.raises(EmulatorError, match="started only once"):
        segment.start()
    segment.stop()
    assert segment.tables() == {}


def test_a_taken_port_leaves_nothing_behind() -> None:
    """Starting on a port in use is an OSError, and leaves no thread and no folder."""
    with Emulator() as segment:
        port = int(segment.url.rpartition(":")[2])
        threads = threading.active_count()
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()
        assert threading.active_count() == threads


def test_it_imports_nothing_of_the_package() -> None:
    """Importing the emulator loads no other folder of the package, nor DuckDB."""
    program = (
        "import sys, target_segment_objects.emulator\n"
        "own = 'target_segment_objects'\n"
        "print([name for name in sys.modules if name == 'duckdb' or name.startswith(own)\n"
        "       and name != own and not name.startswith(own + '.emulator')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
