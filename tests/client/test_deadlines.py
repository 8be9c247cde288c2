"""The deadline and `abort` end every wait of an exchange; interim responses are skipped."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.client import (
    BulkApi,
    Caller,
    Failure,
    FailureKind,
    Response,
    RetryPolicy,
    SetApi,
    Transport,
    TransportOptions,
)
from target_segment_objects.errors import UnavailableError
from tests.builders import PATIENCE
from tests.client.builders import KEY, ROOM
from tests.client.raw_server import RawServer, answer, read_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT = TransportOptions(timeout_seconds=0.2, upload_timeout_seconds=0.2, allow_http=True)
AT_ONCE = RetryPolicy(first_wait=0.01, budget_seconds=0, min_attempts=2)


class Resolver:
    """The system's resolver while no name server answers, until `answers` is set."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.calls = 0
        self.answers = threading.Event()

    def __call__(self, *_: object) -> list[object]:
        """Wait, and find nothing."""
        self.calls += 1
        self.asked.release()
        self.answers.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """A resolver that does not answer before the test ends."""
    it = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", it)
    yield it
    it.answers.set()


def test_a_name_that_is_not_resolved_is_cut_at_the_deadline(resolver: Resolver) -> None:
    """The reason names the wait, and the attempts during an outage share one lookup."""
    with Transport("http://segment.test", KEY, SHORT) as transport:
        for _ in range(2):
            outcome = transport.exchange("/v1/set")
            assert outcome == Failure(
                FailureKind.TIMEOUT, "the host name was not resolved within 0.2 s"
            )
    assert not resolver.answers.is_set()
    assert resolver.calls == 1


def test_abort_ends_the_wait_for_a_name(resolver: Resolver) -> None:
    """At once, long before the deadline."""
    options = TransportOptions(allow_http=True)
    outcomes: list[Response | Failure] = []
    with Transport("http://segment.test", KEY, options) as transport:
        thread = threading.Thread(target=lambda: outcomes.append(transport.exchange("/v1/set")))
        thread.start()
        assert resolver.asked.acquire(timeout=PATIENCE)
        transport.abort()
        thread.join(PATIENCE)
    assert outcomes == [Failure(FailureKind.ABORTED, "stopped by the caller")]


@pytest.mark.parametrize("how", ["deadline", "abort"])
def test_connecting_is_cut(how: str) -> None:
    """To a host that does not answer a SYN, here a listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        options = SHORT if how == "deadline" else TransportOptions()
        with Transport(url, KEY, options) as transport:
            timer = threading.Timer(0.2, transport.abort)
            if how == "abort":
                timer.start()
            outcome = transport.exchange("/v1/set")
        for filler in fillers:
            filler.close()
    assert isinstance(outcome, Failure)
    assert outcome.kind is {"deadline": FailureKind.TIMEOUT, "abort": FailureKind.ABORTED}[how]


def test_a_proxy_that_does_not_answer_connect_is_cut() -> None:
    """The deadline includes CONNECT, and a longer time-out is not advised."""

    def silent(server: RawServer, _: socket.socket) -> None:
        server.stopping.wait()

    with RawServer(silent) as proxy:
        options = TransportOptions(timeout_seconds=0.2, proxy=proxy.url)
        with Transport("https://segment.test", KEY, options) as transport:
            outcome = transport.exchange("/v1/set")
        proxy.stopping.set()
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.longer_timeout_may_help) == (FailureKind.TIMEOUT, False)


@pytest.mark.parametrize("call", ["set", "finish", "upload"])
def test_a_time_out_of_our_own_is_named_in_the_advice(call: str) -> None:
    """When every attempt ended at it, its setting is named."""

    def silent(server: RawServer, connection: socket.socket) -> None:
        read_request(server, connection)
        server.stopping.wait()

    with RawServer(silent) as server, Transport(server.url, KEY, SHORT) as transport:
        bulk = BulkApi(Caller(transport, policy=AT_ONCE))
        calls: dict[str, Callable[[], object]] = {
            "set": lambda: SetApi(Caller(transport, policy=AT_ONCE)).send("rooms", [ROOM]),
            "finish": lambda: bulk.finish("s"),
            "upload": lambda: bulk.upload("s", io.BytesIO(b"x"), 1),
        }
        with pytest.raises(UnavailableError) as raised:
            calls[call]()
        server.stopping.set()
    setting = "upload_timeout_seconds" if call == "upload" else "request_timeout_seconds"
    assert f"Every attempt ended at `{setting}`: raise it" in str(raised.value)
    assert "retry_seconds" not in str(raised.value)


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_interim_responses_are_skipped(status: int) -> None:
    """The response after several of them counts, and the connection is used again."""
    interim = b"HTTP/1.1 %d X\r\nLink: </a>\r\n\r\n" % status

    def handle(server: RawServer, connection: socket.socket) -> None:
        while read_request(server, connection):
            connection.sendall(interim * 3 + answer(body=b'{"ok":1}'))

    with RawServer(handle) as server, Transport(server.url, KEY) as transport:
        for _ in range(2):
            outcome = transport.exchange("/v1/set")
            assert isinstance(outcome, Response)
            assert (outcome.status, outcome.body) == (200, b'{"ok":1}')
    assert server.connections == 1


def test_too_many_interim_responses_are_a_failure() -> None:
    """Their number is limited, long before the deadline."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        read_request(server, connection)
        connection.sendall(b"HTTP/1.1 103 X\r\n\r\n" * 5000 + answer())

    with RawServer(handle) as server, Transport(server.url, KEY) as transport:
        outcome = transport.exchange("/v1/set")
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.CUT


def test_a_package_that_replaces_urllib3_is_named_in_one_sentence() -> None:
    """urllib3-future's connections are not those of `http.client`, so no call could be made."""
    code = (
        "import http.client, urllib3.connection as it\n"
        "from target_segment_objects.client import transport\n"
        "transport.HTTPConnection = type('Foreign', (), {})\n"
        "try:\n    transport.Transport('http://127.0.0.1:1', 'wk')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigurationError another package (urllib3-future")
