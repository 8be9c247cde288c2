"""Every setting has a visible effect, here on requests.

What a setting makes of the objects themselves is in `test_settings_on_objects`. A test is named
for its setting, and no setting is without one.
"""

from __future__ import annotations

import base64
import gzip
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import ConfigurationError, DeliveryError
from target_segment_objects.settings.declared import DECLARED
from tests.client.raw_server import RawServer, answer, answering, read_request
from tests.running import KEY, lines, load, record, schema, start, state
from tests.settings import test_settings_on_objects

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

ROOMS = schema("rooms", id="integer", name="string")
FED = lines(ROOMS, record("rooms", id=1, name="Beach"), state(1))
HUNDRED = lines(ROOMS, *(record("rooms", id=number, name="x" * 50) for number in range(100)))


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator of one key."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def _calls(segment: Emulator) -> list[str]:
    return [request.call for request in segment.requests]


def _by_set(segment: Emulator, **more: Any) -> dict[str, Any]:
    return {"write_key": KEY, "method": "set", "objects_url": segment.url, **more}


def _by_bulk(segment: Emulator, **more: Any) -> dict[str, Any]:
    return {"write_key": KEY, "bulk_url": segment.url, **more}


def test_every_setting_has_a_test() -> None:
    """A test with the name of each setting changes it, here or for objects."""
    tests = {*globals(), *vars(test_settings_on_objects)}
    assert [name for name in DECLARED if f"test_{name}" not in tests] == []


def test_write_key(segment: Emulator) -> None:
    """The key is the user of HTTP Basic, with an empty password; another key is refused."""
    with RawServer(answering(answer(200))) as server:
        load({"write_key": KEY, "method": "set", "objects_url": server.url}, FED)
    sent = base64.b64encode(f"{KEY}:".encode())
    assert b"\r\nauthorization: basic " + sent.lower() in server.requests[0].lower()
    assert sent in server.requests[0]
    with pytest.raises(ConfigurationError, match="write_key"):
        load(_by_set(segment, write_key="another"), FED)


def test_method(segment: Emulator) -> None:
    """`bulk` is one session, `set` is calls."""
    urls = {"write_key": KEY, "objects_url": segment.url, "bulk_url": segment.url}
    load({**urls, "method": "bulk"}, FED)
    load({**urls, "method": "set"}, FED)
    assert _calls(segment) == ["start", "upload", "finish", "set"]


def _refuse(server: RawServer, connection: socket.socket) -> None:
    """A proxy that lets nobody through."""
    while read_request(server, connection):
        connection.sendall(answer(403))


@pytest.mark.parametrize(
    ("config", "host"),
    [
        ({"method": "set"}, b"objects.segment.com"),
        ({"method": "set", "region": "dublin"}, b"objects.euw1.segment.com"),
        ({"method": "bulk"}, b"objects-bulk-api.segmentapis.com"),
    ],
)
def test_region(config: dict[str, Any], host: bytes) -> None:
    """Without an address, the region decides where a request would go, as a proxy sees it."""
    with RawServer(_refuse) as proxy, pytest.raises(DeliveryError):
        load({"write_key": KEY, "proxy": proxy.url, "retry_seconds": 0, **config}, FED)
    assert {request.split(b"\r\n")[0] for request in proxy.requests} == {
        b"CONNECT " + host + b":443 HTTP/1." + proxy.requests[0].split(b"\r\n")[0][-1:]
    }


def test_objects_url() -> None:
    """`set` calls go to this address; its path is a prefix."""
    with RawServer(answering(answer(200))) as server:
        load({"write_key": KEY, "method": "set", "objects_url": f"{server.url}/here/"}, FED)
    assert server.requests[0].startswith(b"POST /here/v1/set HTTP/1.1\r\n")


def test_bulk_url() -> None:
    """Bulk sessions go to this address; its path is a prefix."""
    answers = (
        answer(201, b'{"sync_id":"s"}'),
        answer(201, b'{"part_id":"p"}'),
        answer(202),
    )
    with RawServer(answering(*answers)) as server:
        load({"write_key": KEY, "bulk_url": f"{server.url}/there"}, FED)
    assert [request.split(b" ")[1] for request in server.requests] == [
        b"/there/v0/start",
        b"/there/v0/upload/s",
        b"/there/v0/finish/s",
    ]
    body = server.requests[1].partition(b"\r\n\r\n")[2]
    assert gzip.decompress(body) == (
        b'{"id":"1","collection":"rooms","properties":{"name":"Beach"}}\n'
    )


def test_allow_http() -> None:
    """Plain http beyond loopback is refused, and sent when it is allowed."""
    with RawServer(answering(answer(200))) as proxy:
        config = {
            "write_key": KEY,
            "method": "set",
            "objects_url": "http://segment.test",
            "proxy": proxy.url,
        }
        with pytest.raises(ConfigurationError, match="allow_http"):
            load(config, FED)
        assert proxy.requests == []
        load({**config, "allow_http": True}, FED)
    assert proxy.requests[0].startswith(b"POST http://segment.test/v1/set HTTP/1.1\r\n")


def test_proxy(segment: Emulator) -> None:
    """Requests go through the proxy with its password, which is never shown; never to loopback."""
    with RawServer(_refuse) as proxy:
        secret = proxy.url.replace("http://", "http://ann:hunter2@")
        config = {"write_key": KEY, "method": "set", "retry_seconds": 0, "proxy": secret}
        with pytest.raises(DeliveryError) as failed:
            load(config, FED)
        load({**config, "objects_url": segment.url}, FED)
    login = base64.b64encode(b"ann:hunter2")
    assert all(login in request for request in proxy.requests)
    assert all(
        request.startswith(b"CONNECT objects.segment.com:443 ") for request in proxy.requests
    )
    assert "hunter2" not in str(failed.value)
    assert _calls(segment) == ["set"]


def test_ca_bundle(tmp_path: Path) -> None:
    """A certificate of a private authority is trusted with its bundle, and not without."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    bundle = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with RawServer(answering(answer(200)), tls) as server:
        config = {"write_key": KEY, "method": "set", "objects_url": server.url}
        with pytest.raises(DeliveryError, match="certificate"):
            load(config, FED)
        load({**config, "ca_bundle": str(bundle)}, FED)
    assert len(server.requests) == 1


def test_local_warehouse(tmp_path: Path) -> None:
    """Without a key, all objects go to a file on this machine."""
    pytest.importorskip("duckdb")
    ran = load({"local_warehouse": str(tmp_path / "w.duckdb")}, FED)
    assert (tmp_path / "w.duckdb").is_file()
    assert ran.states == ["1"]


def test_synchronous(segment: Emulator) -> None:
    """The header `Synchronous: true` is sent, or omitted."""
    load(_by_set(segment), FED)
    load(_by_set(segment, synchronous=False), FED)
    asked, free = segment.requests
    assert asked.headers["Synchronous"] == "true"
    assert "Synchronous" not in free.headers


def test_max_concurrency(segment: Emulator) -> None:
    """This many calls are in flight at once: four meet at a barrier; with 1, never two."""
    load(_by_set(segment, max_concurrency=1), HUNDRED)
    assert segment.in_flight_peak == 1
    barrier = threading.Barrier(4, timeout=20)
    segment.fault(
        InjectedFault(
            call="set", first=11, count=4, at="body", callback=lambda _request: _meet(barrier)
        )
    )
    load(_by_set(segment, max_concurrency=4), HUNDRED)
    assert segment.in_flight_peak == 4


def _meet(barrier: threading.Barrier) -> None:
    barrier.wait()


def test_part_size_bytes(segment: Emulator) -> None:
    """A part is closed at this size; a part has at least one object."""
    load(_by_bulk(segment), HUNDRED)
    assert _calls(segment).count("upload") == 1
    load(_by_bulk(segment, part_size_bytes=1), HUNDRED)
    assert _calls(segment).count("upload") == 101


def test_compression_level(segment: Emulator) -> None:
    """A higher level sends fewer bytes, and 0 does not compress at all."""
    names = ["Red room", "Blue room", "Large room", "Room with a view", "Room beside the kitchen"]
    varied = lines(ROOMS, *(record("rooms", id=n, name=names[n**3 % 5]) for n in range(5000)))
    for level in (0, 1, 9):
        load(_by_bulk(segment, compression_level=level), varied)
    none, fast, small = (
        request.body_bytes for request in segment.requests if request.call == "upload"
    )
    assert none > 2 * fast
    assert fast > small


def test_keep_alive_seconds(segment: Emulator, tmp_path: Path) -> None:
    """A session without calls is kept alive after this many seconds."""
    kept = threading.Event()
    segment.fault(
        InjectedFault(call="keep-alive", at="applied", callback=lambda _request: kept.set())
    )
    with start(tmp_path, _by_bulk(segment, keep_alive_seconds=0.05)) as command:
        command.write(ROOMS, record("rooms", id=1))
        assert kept.wait(20)
        assert command.end().code == 0
    load(_by_bulk(segment), FED)
    assert _calls(segment)[-3:] == ["start", "upload", "finish"]


def test_checkpoint_seconds(segment: Emulator) -> None:
    """A session of this age is finished and the next one started; with 0 there is one."""
    # More than one block of the reader, which looks at the clock between blocks.
    many = lines(ROOMS, *(record("rooms", id=n, name="x" * 30_000) for n in range(80)))
    load(_by_bulk(segment, checkpoint_seconds=0), many)
    assert len(segment.sessions) == 1
    load(_by_bulk(segment, checkpoint_seconds=0.000001), many)
    assert len(segment.sessions) > 2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system shows no open files")
def test_spool_dir(segment: Emulator, tmp_path: Path) -> None:
    """Parts are kept in this directory until the session is finished, then removed."""
    seen: list[str] = []
    parts = tmp_path / "parts"
    parts.mkdir()

    def look(_request: object) -> None:
        # The file has no name; a system shows where it lies all the same.
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                seen.append(str(descriptor.readlink()))

    segment.fault(InjectedFault(call="finish", at="body", callback=look))
    # More than is kept in memory.
    many = lines(ROOMS, *(record("rooms", id=n, name="x" * 32_000) for n in range(300)))
    load(_by_bulk(segment, spool_dir=str(parts), compression_level=0), many)
    assert any(path.startswith(str(parts)) for path in seen)
    assert list(parts.iterdir()) == []


def test_spool_max_bytes(segment: Emulator) -> None:
    """At this size of the spool, the session is finished and the next one started."""
    rows = [record("rooms", id=number, name=f"{number:x}" * 300) for number in range(4_000)]
    load(_by_bulk(segment), lines(ROOMS, *rows))
    assert len(segment.sessions) == 1
    load(_by_bulk(segment, spool_max_bytes=1), lines(ROOMS, *rows))
    # The spool is looked at whenever a block of lines was compressed: there are a few MiB here.
    assert len(segment.sessions) > 1 + 2
    assert sum(session.objects for session in segment.sessions.values()) == 2 * len(rows)
    assert {session.state for session in segment.sessions.values()} == {"finished"}


@pytest.mark.parametrize(("seconds", "code"), [(0, 1), (60, 143)])
def test_shutdown_seconds(segment: Emulator, tmp_path: Path, seconds: float, code: int) -> None:
    """A stop waits this long for a withheld answer; otherwise the records are uncertain."""
    with start(tmp_path, _by_set(segment, shutdown_seconds=seconds)) as command:
        hold = segment.hold("set")
        command.write(ROOMS, record("rooms", id=1), state(1))
        assert hold.wait_for(1)
        command.process.terminate()
        if code == 143:
            hold.release()
        ran = command.ended()
    assert (ran.code, ran.states) == (code, ["1"] if code == 143 else [])


def test_request_timeout_seconds(segment: Emulator) -> None:
    """A request without an answer is aborted after this time and sent again."""
    with segment.hold("set"):
        load(_by_set(segment, request_timeout_seconds=0.5), FED)
    assert _calls(segment) == ["set", "set"]


def test_upload_timeout_seconds(segment: Emulator) -> None:
    """The same for an upload, independently of other requests."""
    with segment.hold("upload"):
        load(_by_bulk(segment, upload_timeout_seconds=0.5), FED)
    assert _calls(segment) == ["start", "upload", "upload", "finish"]


def test_retry_seconds(segment: Emulator) -> None:
    """Without time to wait there are three attempts; with time there is a fourth."""
    segment.fault(InjectedFault(call="set", count=3, status=503))
    with suppress(DeliveryError):
        load(_by_set(segment, retry_seconds=0), FED)
    assert [request.status for request in segment.requests] == [503] * 3
    segment.fault(InjectedFault(call="set", first=4, count=3, status=503))
    load(_by_set(segment, retry_seconds=60), FED)
    assert [request.status for request in segment.requests[3:]] == [503] * 3 + [200]
