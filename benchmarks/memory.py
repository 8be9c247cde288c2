"""How much memory the command takes, and whether that grows with the number of rows.

    python benchmarks/memory.py [--records 100000 1000000] [--full] [--json]

Flat records come through a pipe from a process of their own, and parts go to a server in another
that discards them, so that neither is the brake. The peak is the command's own resident set, as
the system counted it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socketserver
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_ROWS_A_BLOCK = 1_000
_SIZES = (100_000, 1_000_000)
_FULL = 10_000_000
_MOST_MEGABYTES = 200
_PROPERTIES = {
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
_ROW = (
    '{"type":"RECORD","stream":"bookings","record":{"id":%d,"name":"Guest %d","email":'
    '"guest%d@example.com","city":"Oslo","nights":%d,"price":%d.25,"paid":true,"booked_at":'
    '"2026-01-01T00:00:00Z","note":null},"time_extracted":"2026-01-02T00:00:00Z"}\n'
)


class _Discarding(BaseHTTPRequestHandler):
    """The bulk API, as far as a client sees it; what is uploaded goes nowhere."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    _answers: tuple[tuple[str, int, dict[str, str]], ...] = (
        ("/v0/start", 201, {"sync_id": "benchmark"}),
        ("/v0/upload/", 201, {"part_id": "benchmark"}),
        ("/v0/finish/", 202, {}),
        ("/v0/keep-alive/", 200, {}),
    )

    def do_POST(self) -> None:
        """Read the body and answer."""
        left = int(self.headers.get("Content-Length", "0"))
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        for path, status, answer in self._answers:
            if self.path.startswith(path):
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Print nothing."""


def main() -> None:
    """Measure each size and print what was found; exit 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="Measure the memory of the command.")
    parser.add_argument("--records", type=int, nargs="+", default=list(_SIZES), metavar="COUNT")
    parser.add_argument("--full", action="store_true", help="add 10,000,000 records")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    sizes = [*options.records, *([_FULL] if options.full else [])]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        url = ours.recv()
        results = [_measure(records, url) for records in sizes]
    finally:
        server.terminate()
        server.join()
    print(json.dumps(results) if options.json else _table(results))
    if any(result["peak_megabytes"] > _MOST_MEGABYTES for result in results):
        sys.exit(f"more than {_MOST_MEGABYTES} MB")


def _serve(pipe: Connection) -> None:
    class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), _Discarding) as server:
        pipe.send(f"http://127.0.0.1:{server.server_address[1]}")
        server.serve_forever()


def _tap(reads: int, writes: int, records: int) -> None:
    """Write a SCHEMA, the records and a STATE to a pipe."""
    os.close(reads)
    with os.fdopen(writes, "wb") as pipe:
        properties = {name: {"type": [kind, "null"]} for name, kind in _PROPERTIES.items()}
        schema = {"type": "object", "properties": properties}
        head = {"type": "SCHEMA", "stream": "bookings", "schema": schema, "key_properties": ["id"]}
        pipe.write(json.dumps(head).encode() + b"\n")
        for first in range(0, records, _ROWS_A_BLOCK):
            numbers = range(first, min(first + _ROWS_A_BLOCK, records))
            rows = (_ROW % (n, n, n, n % 14 + 1, n % 900) for n in numbers)
            pipe.write("".join(rows).encode())
        pipe.write(b'{"type":"STATE","value":{"done":true}}\n')


def _measure(records: int, url: str) -> dict[str, Any]:
    """Run the command over so many records."""
    context = multiprocessing.get_context("fork")
    reads, writes = os.pipe()
    tap = context.Process(target=_tap, args=(reads, writes, records))
    tap.start()
    os.close(writes)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text(json.dumps({"write_key": "benchmark", "bulk_url": url}), encoding="utf-8")
        command = [sys.executable, "-m", "target_segment_objects.target", "--config", str(config)]
        log = Path(folder, "log")
        began = time.monotonic()
        with log.open("wb") as told:
            process = subprocess.Popen(
                command,
                stdin=reads,
                stdout=subprocess.PIPE,
                stderr=told,
                cwd=Path(__file__).parents[1],
            )
            os.close(reads)
            assert process.stdout is not None
            states = process.stdout.read()
            process.stdout.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        tap.join()
        if process.returncode or states != b'{"done":true}\n':
            sys.exit(log.read_text(encoding="utf-8"))
    return {
        "records": records,
        "seconds": round(seconds, 2),
        "records_per_second": round(records / seconds),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        # Kilobytes on Linux, bytes on macOS.
        "peak_megabytes": round(usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3), 1),
    }


def _table(results: list[dict[str, Any]]) -> str:
    lines = [f"{'records':>12} {'seconds':>9} {'rows/s':>9} {'CPU s':>8} {'peak MB':>9}"]
    lines += [
        f"{each['records']:>12,} {each['seconds']:>9.1f} {each['records_per_second']:>9,} "
        f"{each['cpu_seconds']:>8.1f} {each['peak_megabytes']:>9.1f}"
        for each in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
