"""The emulator's speed: `set` calls per second, and seconds for a bulk part of 100 MB.

    python -m benchmarks.emulator [--json] [--seconds 5] [--memory]

The client runs in separate processes and writes to raw sockets, so that it does not limit the
speed. The objects are counted and summed in the store afterwards.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import json
import multiprocessing
import random
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from target_segment_objects.emulator import Emulator

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_KEY = "benchmark"
_AUTHORIZATION = "Basic " + base64.b64encode(f"{_KEY}:".encode()).decode()
_CONNECTIONS = 8
_PART_BYTES = 100_000_000
_OBJECTS = 10


def main() -> None:
    """Run both measurements and print them."""
    parser = argparse.ArgumentParser(description="Measure the emulator.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of the set calls")
    parser.add_argument("--memory", action="store_true", help="use the memory store, not DuckDB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = _measure(Path(folder), options.seconds, in_memory=options.memory)
    if options.json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(
            f"{name:<28} {value:>14,.1f}"
            if isinstance(value, float)
            else f"{name:<28} {value:>14,}"
        )


def _measure(folder: Path, seconds: float, *, in_memory: bool) -> dict[str, float | int]:
    context = multiprocessing.get_context("spawn")
    path = folder / "part.gz"
    objects, total = _write_part(path)
    results: dict[str, float | int] = {}
    warehouse = None if in_memory else folder / "warehouse.duckdb"
    with Emulator(write_key=_KEY, warehouse=warehouse) as segment:
        port = int(segment.url.rpartition(":")[2])
        ours, theirs = context.Pipe()
        client = context.Process(target=_send_calls, args=(theirs, port, seconds))
        client.start()
        calls, spent = ours.recv()
        client.join()
        began = time.perf_counter()
        _check(
            segment, "calls", calls * _OBJECTS, sum(range(calls * _OBJECTS)), in_memory=in_memory
        )
        results["set_calls"] = calls
        results["set_calls_per_second"] = calls / spent
        results["set_flush_seconds"] = time.perf_counter() - began

        client = context.Process(target=_send_part, args=(theirs, port, path))
        client.start()
        upload, finish = ours.recv()
        client.join()
        _check(segment, "flights", objects, total, in_memory=in_memory)
        results["part_megabytes"] = _PART_BYTES // 1_000_000
        results["part_objects"] = objects
        results["part_upload_seconds"] = upload
        results["part_finish_seconds"] = finish
        results["part_seconds"] = upload + finish
    return results


def _check(
    segment: Emulator, collection: str, objects: int, total: int, *, in_memory: bool
) -> None:
    if in_memory:
        rows: list[dict[str, Any]] = segment.rows(collection)
        found = (len(rows), sum(row["value"] for row in rows))
    else:
        sql = f"SELECT count(*) AS n, sum(value) AS total FROM {collection}"  # noqa: S608
        (answer,) = segment.query(sql)
        found = (answer["n"], answer["total"])
    if found != (objects, total):
        sys.exit(f"{collection}: expected {(objects, total)}, found {found}")


def _send_calls(results: Connection, port: int, seconds: float) -> None:
    """Send set calls over several connections: write to all of them, then read from all."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(_CONNECTIONS)]
    for connection in sockets:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        "POST /v1/set HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Synchronous: true\r\nAuthorization: {_AUTHORIZATION}\r\nContent-Length: "
    )
    calls = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for connection in sockets:
            body = _call_body(calls)
            connection.sendall(f"{head}{len(body)}\r\n\r\n{body}".encode())
            calls += 1
        for connection in sockets:
            answer = connection.recv(65536)
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200 "):
                sys.exit(f"unexpected answer: {answer[:200]!r}")
    spent = time.perf_counter() - began
    for connection in sockets:
        connection.close()
    results.send((calls, spent))


def _call_body(call: int) -> str:
    first = call * _OBJECTS
    objects = ",".join(
        f'{{"id":"{number}","properties":{{"value":{number},"name":"Room number {number}",'
        f'"price":{number}.5,"open":true,"seen_at":"2024-01-31T00:00:00Z"}}}}'
        for number in range(first, first + _OBJECTS)
    )
    return f'{{"collection":"calls","objects":[{objects}]}}'


def _send_part(results: Connection, port: int, path: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": _AUTHORIZATION, "Content-Type": "application/json"}

    def call(target: str, body: bytes | None, more: dict[str, str], expected: int) -> bytes:
        connection.request("POST", target, body, headers | more)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != expected:
            sys.exit(f"{target}: {answer.status} {content[:200]!r}")
        return content

    sync_id = json.loads(call("/v0/start", None, {}, 201))["sync_id"]
    body = path.read_bytes()
    gzipped = {"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"}
    began = time.perf_counter()
    call(f"/v0/upload/{sync_id}", body, gzipped, 201)
    uploaded = time.perf_counter()
    call(f"/v0/finish/{sync_id}", b'{"error":""}', {}, 202)
    finished = time.perf_counter()
    connection.close()
    results.send((uploaded - began, finished - uploaded))


def _write_part(path: Path) -> tuple[int, int]:
    """Write 100 MB of rows of 20 columns, 460 bytes each, nulls included."""
    rng = random.Random(1)
    size = objects = total = 0
    with gzip.open(path, "wb", compresslevel=1) as file:
        while size < _PART_BYTES:
            value = rng.randrange(1_000_000)
            properties: dict[str, object] = {"value": value}
            properties |= {f"count_{index}": rng.randrange(3000) for index in range(7)}
            properties |= {f"name_{index}": f"N{rng.randrange(9999)}" for index in range(6)}
            properties |= {
                f"ratio_{index}": rng.random() if rng.random() < 0.9 else None for index in range(4)
            }
            properties["time_hour"] = f"2013-01-01T{rng.randrange(24):02}:00:00Z"
            properties["note"] = "x" * 80
            item = {"id": str(objects), "collection": "flights", "properties": properties}
            line = json.dumps(item, separators=(",", ":")).encode() + b"\n"
            file.write(line)
            size += len(line)
            total += value
            objects += 1
    return objects, total


if __name__ == "__main__":
    main()
