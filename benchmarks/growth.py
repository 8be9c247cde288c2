"""Whether time grows with the rows and memory does not: flights, repeated with new ids.

    python -m benchmarks.growth [--short] [--full] [--rows COUNT …] [--json]

A separate process writes the rows as they are read, so that no large file is needed; another one
receives the parts. Every object's id is compared afterwards, and some objects completely.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import checking
from benchmarks.inputs import CACHE, input_file, last_state
from benchmarks.measuring import measure, warm_up
from benchmarks.receiver import Receiver
from benchmarks.tables import number, table_of
from benchmarks.throughput import prepare

__all__ = ["MOST_MEGABYTES", "measure_growth", "table"]

_FLIGHTS = 336_776
_SIZES = (10_000, _FLIGHTS)
_SHORT = (10_000, 60_000)
_FULL = 5_000_000
_FEW = 10
MOST_MEGABYTES = 120
"""The limit of the memory's peak, for any number of rows."""


def measure_growth(
    sizes: list[int], cache: Path = CACHE, distinct: int = _FLIGHTS
) -> list[dict[str, Any]]:
    """Measure the command with these numbers of rows, of which at most `distinct` are distinct."""
    path = input_file("flights", min(distinct, max(sizes)), cache)
    results = []
    warm_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Receiver(folder / "parts") as receiver:
            command = prepare("target", "flights", receiver.url, folder)
            start = 0.0
            for rows in (_FEW, *sizes):
                print(f"growth: {rows} rows", file=sys.stderr)
                receiver.clear()
                tap = [sys.executable, "-m", "benchmarks.inputs", str(rows), str(path)]
                ran = measure(command, tap)
                checking.check(receiver.parts(), checking.expect(path, rows, checking.segment_form))
                if json.loads(ran.out.splitlines()[-1]) != last_state(rows):
                    raise checking.VerificationError(f"{rows} rows: the last state is missing")
                if rows == _FEW:
                    start = ran.seconds
                    continue
                results.append(
                    {
                        "rows": rows,
                        "seconds": round(ran.seconds, 3),
                        "rows_per_second": round(rows / ran.seconds),
                        "net_microseconds_per_row": round((ran.seconds - start) / rows * 1e6, 2),
                        "cpu_seconds": round(ran.cpu_seconds, 3),
                        "peak_megabytes": round(ran.peak_megabytes, 1),
                        "peak_megabytes_aim": MOST_MEGABYTES,
                        "peak_megabytes_reached": ran.peak_megabytes < MOST_MEGABYTES,
                    }
                )
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table."""
    head = ["rows", "seconds", "rows/s", "net µs/row", "CPU s", "peak MB", "aim"]
    names = ["rows", "seconds", "rows_per_second", "net_microseconds_per_row", "cpu_seconds"]
    names.append("peak_megabytes")
    rows = [
        [
            *(number(result[name]) for name in names),
            f"<{MOST_MEGABYTES} {'reached' if result['peak_megabytes_reached'] else 'missed'}",
        ]
        for result in results
    ]
    return table_of(head, rows, words=0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth")
    parser.add_argument("--short", action="store_true", help="fewer rows")
    parser.add_argument("--full", action="store_true", help=f"add {_FULL:,} rows")
    parser.add_argument("--rows", type=int, nargs="+", metavar="COUNT", help="numbers of rows")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    sizes = options.rows or [*(_SHORT if options.short else _SIZES), *[_FULL] * options.full]
    results = measure_growth(sizes)
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()
