"""How many `set` calls per second the command makes, and how full they are.

    python -m benchmarks.set_calls [--json] [--latency 0 50] [--streams 1] [--seconds 6]

Rows with distinct ids come through a pipe. A server in its own process responds to each call after
a given latency, and keeps the bodies. 20 calls may be in flight; the rate that the latency allows
is computed from the latency that the server really had. For comparison, loops over `requests` and
`urllib3` send the same bodies to the same server from as many threads, which shows what the library
can do; raw sockets measure the server itself. Figures are only printed after every object was found
once, with its values.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
import urllib3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from typing_extensions import Self

_IN_FLIGHT: Final = 20
_OBJECTS: Final = 10
_MOST_CALLS: Final = 6_000
"""Without latency, where the number of calls per second is not known in advance."""
_PROPERTIES: Final = {
    "id": "integer",
    "name": "string",
    "email": "string",
    "city": "string",
    "nights": "integer",
    "price": "number",
    "paid": "boolean",
    "booked_at": "string",
    "note": "string",
}
_VALUES: Final = (
    '"name":"Guest %d","email":"guest%d@example.com","city":"Oslo","nights":%d,"price":%d.25,'
    '"paid":true,"booked_at":"2026-01-01T00:00:00Z","note":null'
)
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_HEADERS: Final = {
    "Authorization": "Basic YmVuY2htYXJrOg==",
    "Content-Type": "application/json",
    "Synchronous": "true",
}


class Feed(NamedTuple):
    """The load.

    Attributes:
        calls: how many full calls it makes.
        streams: the number of streams, which take turns.
        latency: seconds until the server responds to a call.
    """

    calls: int
    streams: int
    latency: float

    @property
    def records(self) -> int:
        """How many rows it has."""
        return self.calls * _OBJECTS


class Round(NamedTuple):
    """What the server saw, from the arrival of the first call to the last response.

    Attributes:
        seconds: that time.
        latency: mean seconds from a call's last byte to its response; a busy machine adds to it.
        in_flight: most calls without a response at once.
        bodies: of all calls.
    """

    seconds: float
    latency: float
    in_flight: int
    bodies: list[bytes]


def main() -> None:
    """Run the measurements and print them; exit 1 if an object is missing or wrong."""
    parser = argparse.ArgumentParser(description="Measure `set` calls.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--latency", type=int, nargs="+", default=[0, 50], metavar="MS", help="of a response"
    )
    parser.add_argument("--streams", type=int, default=1, help="number of streams")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="approximate duration of the calls"
    )
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    with _Server() as server:
        for milliseconds in options.latency:
            latency = milliseconds / 1000
            calls = min(_MOST_CALLS, int(options.seconds * _IN_FLIGHT / max(latency, 0.01)))
            calls -= calls % options.streams
            results += _measure(server, Feed(calls, options.streams, latency))
    print(json.dumps(results) if options.json else _table(results))


def _measure(server: _Server, feed: Feed) -> Iterator[dict[str, Any]]:
    bodies = _bodies(feed.calls, feed.streams)
    server.begin(feed.latency)
    started = _run_command(server.port, 0, feed.streams)
    cpu = _run_command(server.port, feed.records, feed.streams) - started
    yield _result("command", feed, server.end(), cpu)
    clients = {"requests": _send_by_requests, "urllib3": _send_by_urllib3}
    if not feed.latency:
        clients["raw sockets"] = _send_raw
    for name, send in clients.items():
        server.begin(feed.latency)
        cpu = _run_bare(send, server.port, bodies)
        yield _result(name, feed, server.end(), cpu)


def _result(client: str, feed: Feed, seen: Round, cpu: float) -> dict[str, Any]:
    sizes = _check(seen.bodies, feed)
    records = feed.records
    rate = len(sizes) / seen.seconds
    allowed = _IN_FLIGHT / seen.latency if feed.latency else None
    return {
        "client": client,
        "latency_ms": round(feed.latency * 1000),
        "measured_latency_ms": round(seen.latency * 1000, 2),
        "calls": len(sizes),
        "calls_per_second": round(rate, 1),
        "share_of_allowance": round(rate / allowed, 3) if allowed else None,
        "objects_per_call": round(records / len(sizes), 2),
        "share_not_full": round(sum(size < _OBJECTS for size in sizes) / len(sizes), 4),
        "in_flight": seen.in_flight,
        "cpu_seconds": round(cpu, 2),
        "cpu_us_per_call": round(cpu / len(sizes) * 1e6),
    }


def _check(bodies: list[bytes], feed: Feed) -> list[int]:
    """Compare all that arrived with the input.

    Returns:
        The number of objects in each call.
    """
    sizes = []
    missing = set(range(feed.records))
    for body in bodies:
        call = json.loads(body)
        sizes.append(len(call["objects"]))
        for item in call["objects"]:
            number = int(item["id"])
            expected = json.loads("{" + _values(number) + "}")
            if call["collection"] != _name(number % feed.streams) or item["properties"] != expected:
                sys.exit(f"object {number} differs from the input: {item}")
            if number not in missing:
                sys.exit(f"object {number} arrived twice, or was never fed")
            missing.discard(number)
    if missing:
        sys.exit(f"{len(missing)} objects have not arrived")
    return sizes


# The input.


def _name(stream: int) -> str:
    """Return a stream whose collection has the same name."""
    return f"bookings_{chr(97 + stream // 26)}{chr(97 + stream % 26)}_rows"


def _values(number: int) -> str:
    return _VALUES % (number, number, number % 14 + 1, number % 900)


def _feed(pipe: int, records: int, streams: int) -> None:
    """Write what a tap would: SCHEMAs, records, and a STATE after every 1,000."""
    properties = {name: {"type": [kind, "null"]} for name, kind in _PROPERTIES.items()}
    head = {"type": "SCHEMA", "schema": {"properties": properties}, "key_properties": ["id"]}
    lines = [json.dumps({**head, "stream": _name(stream)}) for stream in range(streams)]
    with os.fdopen(pipe, "w") as file:
        for number in range(records):
            lines.append(
                f'{{"type":"RECORD","stream":"{_name(number % streams)}",'
                f'"record":{{"id":{number},{_values(number)}}}}}'
            )
            if number % 1_000 == 999:
                file.write("\n".join(lines) + f'\n{{"type":"STATE","value":{number + 1}}}\n')
                lines.clear()
        lines.append(f'{{"type":"STATE","value":{records}}}\n')
        file.write("\n".join(lines))


def _bodies(calls: int, streams: int) -> list[bytes]:
    """Return the bodies of the command's full calls."""
    bodies = []
    for call in range(calls):
        stream, index = call % streams, call // streams
        objects = ",".join(
            f'{{"id":"{number}","properties":{{{_values(number)}}}}}'
            for number in range(
                index * _OBJECTS * streams + stream, (index + 1) * _OBJECTS * streams, streams
            )
        )
        bodies.append(f'{{"collection":"{_name(stream)}","objects":[{objects}]}}'.encode())
    return bodies


def _run_command(port: int, records: int, streams: int) -> float:
    """Run the command with this many records.

    Returns:
        Its CPU seconds, start-up included: what no records cost is to be taken off.
    """
    reads, writes = os.pipe()
    tap = multiprocessing.get_context("fork").Process(
        target=_feed_alone, args=(reads, writes, records, streams)
    )
    tap.start()
    os.close(writes)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        settings = {
            "write_key": "benchmark",
            "method": "set",
            "max_concurrency": _IN_FLIGHT,
            "objects_url": f"http://127.0.0.1:{port}",
        }
        config.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "target_segment_objects.target", "--config", str(config)]
        log = Path(folder, "log")
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=reads,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=Path(__file__).parents[1],
            )
            os.close(reads)
            assert process.stdout is not None
            states = process.stdout.read().split()
            process.stdout.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        tap.join()
        if process.returncode or states[-1:] != [str(records).encode()]:
            sys.exit(log.read_text(encoding="utf-8")[-4_000:])
    return usage.ru_utime + usage.ru_stime


def _feed_alone(reads: int, writes: int, records: int, streams: int) -> None:
    os.close(reads)
    _feed(writes, records, streams)


# The loops without the target.


def _run_bare(send: Any, port: int, bodies: list[bytes]) -> float:
    """Send the bodies from a separate process.

    Returns:
        Its CPU seconds.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    client = context.Process(target=_bare, args=(theirs, send, port, bodies))
    client.start()
    cpu: float = ours.recv()
    client.join()
    return cpu


def _bare(results: Connection, send: Any, port: int, bodies: list[bytes]) -> None:
    send(port, bodies[::-1])
    used = os.times()
    results.send(used.user + used.system)


def _in_threads(work: Any) -> None:
    threads = [threading.Thread(target=work) for _ in range(_IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _send_by_requests(port: int, bodies: list[bytes]) -> None:
    url = f"http://127.0.0.1:{port}/v1/set"
    session = requests.Session()
    session.trust_env = False
    session.headers.update(_HEADERS)
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_IN_FLIGHT))

    def work() -> None:
        while bodies:
            try:
                body = bodies.pop()
            except IndexError:
                return
            session.post(url, data=body, timeout=60).raise_for_status()

    _in_threads(work)
    session.close()


def _send_by_urllib3(port: int, bodies: list[bytes]) -> None:
    url = f"http://127.0.0.1:{port}/v1/set"
    with urllib3.PoolManager(maxsize=_IN_FLIGHT, timeout=60, retries=False) as pool:

        def work() -> None:
            while bodies:
                try:
                    body = bodies.pop()
                except IndexError:
                    return
                answer = pool.request("POST", url, body=body, headers=_HEADERS)
                assert answer.status == 200

        _in_threads(work)


def _send_raw(port: int, bodies: list[bytes]) -> None:
    """One thread: write to all connections, then read from all."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(_IN_FLIGHT)]
    for connection in sockets:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
    while bodies:
        busy = sockets[: len(bodies)]
        for connection in busy:
            body = bodies.pop()
            start = f"POST /v1/set HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}"
            connection.sendall(b"%b\r\n\r\n%b" % (start.encode(), body))
        for connection in busy:
            answer = connection.recv(65536)
            assert answer == _ANSWER, answer
    for connection in sockets:
        connection.close()


# The server.


class _Server:
    """The Objects API as a client sees it, in its own process.

    Attributes:
        port: its port on loopback.
    """

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self.port: int = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def begin(self, latency: float) -> None:
        """Respond after this many seconds from now on, and reset the counts."""
        self._pipe.send(latency)
        self._pipe.recv()

    def end(self) -> Round:
        """Return the results since `begin`."""
        self._pipe.send(None)
        return Round(*self._pipe.recv())


class _Seen:
    """The counts since the last reset."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.bodies: list[bytes] = []
        self.began = self.ended = self.waited = 0.0
        self.in_flight = self.peak = 0


class _Answering(asyncio.Protocol):
    """One connection; a client sends no request before it has the last response."""

    def __init__(self, seen: _Seen) -> None:
        self._seen = seen
        self._read = b""
        self._length = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        if self._length < 0:
            head, blank, rest = self._read.partition(b"\r\n\r\n")
            if not blank:
                return
            head = head.lower()
            at = head.index(b"\r\ncontent-length:") + 17
            self._length = int(head[at:].split(b"\r\n", 1)[0])
            self._read = rest
        if len(self._read) < self._length:
            return
        seen = self._seen
        if not seen.bodies:
            seen.began = time.perf_counter()
        seen.bodies.append(self._read)
        self._read, self._length = b"", -1
        seen.in_flight += 1
        seen.peak = max(seen.peak, seen.in_flight)
        if seen.latency:
            asyncio.get_running_loop().call_later(seen.latency, self._answer, time.perf_counter())
        else:
            self._answer(time.perf_counter())

    def _answer(self, asked: float) -> None:
        seen = self._seen
        seen.in_flight -= 1
        self._transport.write(_ANSWER)
        seen.ended = time.perf_counter()
        seen.waited += seen.ended - asked


def _serve(pipe: Connection) -> None:
    asyncio.run(_serve_for_ever(pipe))


async def _serve_for_ever(pipe: Connection) -> None:
    seen = _Seen(0.0)

    def stop() -> None:
        order = pipe.recv()
        if order is None:
            mean = seen.waited / len(seen.bodies)
            pipe.send((seen.ended - seen.began, mean, seen.peak, seen.bodies))
        else:
            seen.__init__(order)  # type: ignore[misc]
            pipe.send(None)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(seen), "127.0.0.1", 0, backlog=100)
    loop.add_reader(pipe.fileno(), stop)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _table(results: list[dict[str, Any]]) -> str:
    head = (
        f"{'ms':>4} {'way':<12} {'calls':>6} {'calls/s':>8} {'allowed':>8} {'objects':>8} "
        f"{'not full':>9} {'in flight':>9} {'CPU s':>6} {'us/call':>8}"
    )
    rows = [head]
    for entry in results:
        share = entry["share_of_allowance"]
        rows.append(
            f"{entry['latency_ms']:>4} {entry['client']:<12} {entry['calls']:>6,} "
            f"{entry['calls_per_second']:>8,.0f} {'' if share is None else f'{share:.1%}':>8} "
            f"{entry['objects_per_call']:>8.2f} {entry['share_not_full']:>9.2%} "
            f"{entry['in_flight']:>9} {entry['cpu_seconds']:>6.2f} {entry['cpu_us_per_call']:>8,}"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
