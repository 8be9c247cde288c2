"""A large load with faults: checks that all arrives in order, and measures time and memory.

    python benchmarks/load.py [CASE ...] [--scale 1.0] [--json]

The command runs as it does for users. The emulator, in this process, responds to one request in a
hundred with 503, chosen by a seeded random number. At the end every object is compared with the
last value that was sent for its id. Exit 1 if anything is missing or old, or if the command used
more than 200 MB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from target_segment_objects.emulator import Emulator, InjectedFault

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parents[1]
_MOST_MEGABYTES = 200
_CHANCE = 0.01
_SEED = 20
_BLOCK = 1_000


class Case(NamedTuple):
    """A load.

    Attributes:
        method: `set` or `bulk`.
        records: how many are sent.
        streams: the number of streams, which take turns.
        times: how often each object is sent, with a later value each time.
        schema_every: after how many records a SCHEMA with another column follows; 0: never.
        more: further settings.
    """

    method: str
    records: int
    streams: int = 1
    times: int = 1
    schema_every: int = 0
    more: dict[str, object] = {}  # noqa: RUF012  never changed


CASES = {
    "bulk": Case("bulk", 1_000_000, more={"part_size_bytes": 1_000_000}),
    "set": Case("set", 100_000, times=2, more={"max_concurrency": 20}),
    "schemas": Case("set", 20_000, schema_every=20, more={"max_concurrency": 20}),
    "streams": Case("set", 20_000, streams=200, times=2, more={"max_concurrency": 20}),
}


def main() -> None:
    """Run the cases and print the results."""
    parser = argparse.ArgumentParser(description="Load the command, with faults.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor for the numbers of records"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    results = []
    for name in options.cases or CASES:
        case = CASES[name]
        results.append(_load(name, case._replace(records=int(case.records * options.scale))))
    print(json.dumps(results) if options.json else _table(results))
    for result in results:
        if result["lost"] or result["peak_megabytes"] > _MOST_MEGABYTES:
            sys.exit(f"{result['case']}: broken")


def _name(stream: int) -> str:
    """Return a stream whose collection has the same name."""
    return f"load_{chr(97 + stream // 26)}{chr(97 + stream % 26)}_objects"


def _tap(case: Case) -> Iterator[bytes]:
    """Yield blocks of messages."""
    properties = {name: {"type": ["integer", "null"]} for name in ("id", "turn", "number")}
    head: dict[str, Any] = {"type": "SCHEMA", "key_properties": ["id"]}

    def schema(stream: int, columns: dict[str, Any]) -> bytes:
        body = {"type": "object", "properties": columns}
        return json.dumps({**head, "stream": _name(stream), "schema": body}).encode() + b"\n"

    gathered = [schema(stream, properties) for stream in range(case.streams)]
    changes = 0
    for number in range(case.records):
        if case.schema_every and number % case.schema_every == 0:
            changes += 1
            # One column changes, so that objects stay below all limits.
            gathered.append(schema(0, {**properties, f"column_{changes}": {"type": "string"}}))
        stream, identifier, turn = _object_at(case, number)
        gathered.append(
            b'{"type":"RECORD","stream":"%b","record":{"id":%d,"turn":%d,"number":%d}}\n'
            % (_name(stream).encode(), identifier, turn, number)
        )
        if number % _BLOCK == _BLOCK - 1:
            gathered.append(b'{"type":"STATE","value":%d}\n' % (number + 1))
            yield b"".join(gathered)
            gathered.clear()
    yield b"".join(gathered) + b'{"type":"STATE","value":%d}\n' % case.records


def _object_at(case: Case, number: int) -> tuple[int, int, int]:
    """Return the stream, id and turn of a record."""
    turn, index = divmod(number, case.records // case.times)
    return index % case.streams, index // case.streams, turn


def _load(name: str, case: Case) -> dict[str, Any]:
    segment = Emulator(seed=_SEED)
    with segment, tempfile.TemporaryDirectory() as folder:
        segment.fault(InjectedFault(count=None, chance=_CHANCE, status=503))
        config = Path(folder, "config.json")
        settings = {"write_key": "benchmark", "method": case.method, **case.more}
        urls = {"objects_url": segment.url, "bulk_url": segment.url}
        config.write_text(json.dumps({**settings, **urls}), encoding="utf-8")
        log = Path(folder, "log")
        command = [sys.executable, "-m", "target_segment_objects.target", "--config", str(config)]
        began = time.monotonic()
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=_ROOT
            )
        assert process.stdin is not None
        assert process.stdout is not None
        states: list[bytes] = []
        reader = threading.Thread(target=lambda: states.extend(process.stdout or []))
        reader.start()
        for block in _tap(case):
            process.stdin.write(block)
        process.stdin.close()
        reader.join()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or int(states[-1]) != case.records:
            sys.exit(log.read_text(encoding="utf-8")[-4_000:])
        faults = sum(request.status == 503 for request in segment.requests)
        requests, peak = len(segment.requests), segment.in_flight_peak
        lost = _lost(case, segment)
    return {
        "case": name,
        "records": case.records,
        "seconds": round(seconds, 1),
        "records_per_second": round(case.records / seconds),
        "requests": requests,
        "faults": faults,
        "in_flight_peak": peak,
        "states": len(states),
        # Kilobytes on Linux, bytes on macOS.
        "peak_megabytes": round(usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3), 1),
        "lost": lost,
    }


def _lost(case: Case, segment: Emulator) -> int:
    """Return how many objects are missing, or do not have the last value that was sent."""
    last = {}
    for number in range(case.records):
        stream, identifier, _ = _object_at(case, number)
        last[_name(stream), str(identifier)] = number
    for stream in range(case.streams):
        for row in segment.rows(_name(stream)):
            if last.get((_name(stream), str(row["id"]))) == row["number"]:
                del last[_name(stream), str(row["id"])]
    return len(last)


def _table(results: list[dict[str, Any]]) -> str:
    names = list(results[0])
    rows = [names, *([str(result[name]) for name in names] for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    )


if __name__ == "__main__":
    main()
