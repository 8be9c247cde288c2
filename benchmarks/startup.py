"""The cost of small runs: `--version`, and ten records, next to the stock target and bare Python.

python -m benchmarks.startup [--short] [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.inputs import CACHE
from benchmarks.measuring import TARGET, Ran, measure, warm_up
from benchmarks.receiver import Receiver
from benchmarks.tables import number, table_of
from benchmarks.throughput import Entry, run

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure_starts", "table"]

_ROUNDS = 7
_SHORT = 2
_FEW = 10


def measure_starts(rounds: int, cache: Path = CACHE) -> list[dict[str, Any]]:
    """Measure each of them several times, in turn."""
    warm_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Receiver(folder / "parts") as receiver:

            def ten(contestant: str) -> Callable[[], Ran]:
                return lambda: run(Entry("flights", contestant, _FEW), receiver, folder, cache)[0]

            stock = (sys.executable, "-m", "benchmarks.stock")
            runs: dict[str, tuple[Callable[[], Ran], list[Ran]]] = {
                "python -c pass": (lambda: measure((sys.executable, "-c", "pass")), []),
                "import singer_sdk.target_base": (
                    lambda: measure((sys.executable, "-c", "import singer_sdk.target_base")),
                    [],
                ),
                "target --version": (lambda: measure((*TARGET, "--version")), []),
                "stock --version": (lambda: measure((*stock, "--version")), []),
                "target, ten records": (ten("target"), []),
                "stock, ten records": (ten("stock"), []),
                "limit, ten records": (ten("limit"), []),
            }
            for number_of_round in range(rounds):
                print(f"start-up: round {number_of_round + 1}", file=sys.stderr)
                for start, done in runs.values():
                    done.append(start())
    return [
        {
            "what": what,
            "seconds": round(statistics.median(ran.seconds for ran in done), 3),
            "cpu_seconds": round(statistics.median(ran.cpu_seconds for ran in done), 3),
            "peak_megabytes": round(statistics.median(ran.peak_megabytes for ran in done), 1),
        }
        for what, (_, done) in runs.items()
    ]


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table."""
    names = ("seconds", "cpu_seconds", "peak_megabytes")
    rows = [[result["what"], *(number(result[name]) for name in names)] for result in results]
    return table_of(["start-up", "seconds", "CPU s", "peak MB"], rows, words=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup")
    parser.add_argument("--short", action="store_true", help=f"{_SHORT} rounds")
    parser.add_argument("--rounds", type=int, help=f"default: {_ROUNDS}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    results = measure_starts(options.rounds or (_SHORT if options.short else _ROUNDS))
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()
