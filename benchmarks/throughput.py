"""Rows per second, compared with the stock target and the limit program, on each kind of rows.

    python -m benchmarks.throughput [--short] [--rounds 3] [--data flights …] [--json]

Each round runs every contestant once; the figures are medians over the rounds. Input comes through
a pipe from `cat`, and parts go to a server in another process. After each run, what arrived is
compared with the input (`checking`); without that, there is no figure.

Slow contestants get fewer rows. A run of ten records in each round measures a contestant's
start-up: *net* rows per second exclude it, and the ratio *with start-up* compares the times for as
many rows as the target had. A busy machine affects the ratio of CPU seconds per row least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import checking
from benchmarks.inputs import CACHE, input_file, last_state
from benchmarks.measuring import TARGET, Ran, measure, warm_up
from benchmarks.receiver import Receiver
from benchmarks.rows import DATA_SETS, flights_source
from benchmarks.tables import number, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.checking import Form

__all__ = ["CONTESTANTS", "Contestant", "Entry", "entries", "prepare", "ratios", "run", "table"]

_FEW = 10
_ROUNDS = 3
_MAPS = {"flights": {"__alias__": "trips", "route": "origin + '-' + dest"}}


class Contestant(NamedTuple):
    """A program and its configuration.

    Attributes:
        program: `target`, `stock` or `limit`.
        config: its settings besides addresses.
    """

    program: str
    config: dict[str, Any] = {}  # noqa: RUF012  never changed


CONTESTANTS = {
    "target": Contestant("target"),
    "target, validating": Contestant("target", {"validate_records": True}),
    "target, stream maps": Contestant("target", {"stream_maps": _MAPS}),
    "stock": Contestant("stock"),
    "stock, not validating": Contestant("stock", {"validate_records": False}),
    "stock, stream maps": Contestant("stock", {"stream_maps": _MAPS}),
    "limit": Contestant("limit"),
}
"""The contestants, by the names in the tables."""

# Contestant → rows, in the full form and in the short one.
_SIZES: dict[str, dict[str, tuple[int, int]]] = {
    "flights": {
        "target": (336_776, 60_000),
        "target, validating": (336_776, 30_000),
        "target, stream maps": (50_000, 10_000),
        "stock": (50_000, 5_000),
        "stock, not validating": (100_000, 10_000),
        "stock, stream maps": (20_000, 4_000),
        "limit": (336_776, 60_000),
    },
    "alternating": {
        "target": (336_776, 60_000),
        "stock": (30_000, 4_000),
        "stock, not validating": (60_000, 8_000),
        "limit": (336_776, 60_000),
    },
    "wide": {
        "target": (60_000, 10_000),
        "stock": (5_000, 1_000),
        "stock, not validating": (10_000, 2_000),
        "limit": (60_000, 10_000),
    },
    "nested": {
        "target": (100_000, 15_000),
        "stock": (5_000, 1_000),
        "stock, not validating": (15_000, 2_500),
        "limit": (100_000, 15_000),
    },
    "text": {
        "target": (25_000, 5_000),
        "stock": (5_000, 1_000),
        "stock, not validating": (5_000, 1_000),
        "limit": (25_000, 5_000),
    },
}


class Aim(NamedTuple):
    """A ratio to reach.

    Attributes:
        data: the data set.
        contestant: the contestant whose rate is divided.
        by: the contestant by whose rate it is divided.
        net: the aim without start-up, if any.
        whole: the aim with start-up.
    """

    data: str
    contestant: str
    by: str
    net: float | None = None
    whole: float | None = None


AIMS = (
    Aim("flights", "target", "stock", 60, 45),
    Aim("flights", "target", "stock, not validating", 16, 12),
    Aim("alternating", "target", "stock", 40),
    Aim("alternating", "target", "stock, not validating", 11),
    Aim("wide", "target", "stock", 40),
    Aim("wide", "target", "stock, not validating", 12),
    Aim("nested", "target", "stock", 40),
    Aim("nested", "target", "stock, not validating", 10),
    Aim("text", "target", "stock", 8),
    Aim("text", "target", "stock, not validating", 8),
    Aim("flights", "target", "limit", 0.75),
    Aim("alternating", "target", "limit"),
    Aim("wide", "target", "limit"),
    Aim("nested", "target", "limit"),
    Aim("text", "target", "limit"),
    Aim("flights", "target, stream maps", "stock, stream maps", 3),
    Aim("flights", "target, validating", "stock"),
    Aim("flights", "target, validating", "target"),
)
"""The aims of the project, and other ratios that are useful to know."""


class Entry(NamedTuple):
    """One row of the table.

    Attributes:
        data: name of the data set.
        contestant: name of the contestant.
        rows: how many rows it gets.
    """

    data: str
    contestant: str
    rows: int


class _Measured(NamedTuple):
    runs: list[Ran]
    sent: list[int]


def entries(data: Sequence[str], *, short: bool) -> list[Entry]:
    """Return what is measured with these data sets."""
    return [
        Entry(name, contestant, sizes[1 if short else 0])
        for name in data
        for contestant, sizes in _SIZES[name].items()
    ]


def prepare(contestant: str, data: str, url: str, folder: Path) -> list[str]:
    """Return a contestant's command; its configuration is written into the folder."""
    program, config = CONTESTANTS[contestant]
    if program == "limit":
        return [sys.executable, "-m", "benchmarks.limit", data, url]
    settings = {"bulk_url": url, **config}
    if program == "target":
        command, more = TARGET, {"write_key": "benchmark"}
    else:
        command = (sys.executable, "-m", "benchmarks.stock")
        more = {}
        if data == "nested":
            settings |= {"flattening_enabled": True, "flattening_max_depth": 9}
    path = folder / "config.json"
    path.write_text(json.dumps({**settings, **more}), encoding="utf-8")
    return [*command, "--config", str(path)]


def run(entry: Entry, receiver: Receiver, folder: Path, cache: Path = CACHE) -> tuple[Ran, int]:
    """Run a contestant once, and compare what arrived with the input.

    Returns:
        What it took, and how many bytes were uploaded.

    Raises:
        VerificationError: anything is missing or changed.
        FailedRunError: it ended with an error.
    """
    path = input_file(entry.data, entry.rows, cache)
    command = prepare(entry.contestant, entry.data, receiver.url, folder)
    receiver.clear()
    ran = measure(command, ["cat", str(path)])
    contestant = CONTESTANTS[entry.contestant]
    form: Form = checking.stock_form if contestant.program == "stock" else checking.segment_form
    collections = {}
    if "stream_maps" in contestant.config:
        form = checking.with_route(form)
        collections = {"flights": "trips"}
    parts = receiver.parts()
    checking.check(parts, checking.expect(path, entry.rows, form, collections))
    states = ran.out.splitlines()
    if not states or json.loads(states[-1]) != last_state(entry.rows):
        raise checking.VerificationError(f"{entry}: the last state was not printed")
    return ran, sum(part.stat().st_size for part in parts)


def measure_all(wanted: list[Entry], rounds: int, cache: Path = CACHE) -> list[dict[str, Any]]:
    """Measure these entries, round by round; start-up uses the contestant's first rows."""
    measured = {entry: _Measured([], []) for entry in wanted}
    starts: dict[str, list[Ran]] = {entry.contestant: [] for entry in wanted}
    warm_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Receiver(folder / "parts") as receiver:
            for number in range(rounds):
                for entry, (runs, sent) in measured.items():
                    print(f"round {number + 1}: {entry.data}, {entry.contestant}", file=sys.stderr)
                    if len(starts[entry.contestant]) == number:
                        few = entry._replace(rows=_FEW)
                        starts[entry.contestant].append(run(few, receiver, folder, cache)[0])
                    ran, size = run(entry, receiver, folder, cache)
                    runs.append(ran)
                    sent.append(size)
    return [_line(entry, runs, starts[entry.contestant]) for entry, runs in measured.items()]


def _line(entry: Entry, measured: _Measured, starts: list[Ran]) -> dict[str, Any]:
    seconds = statistics.median(ran.seconds for ran in measured.runs)
    start = statistics.median(ran.seconds for ran in starts)
    cpu = statistics.median(ran.cpu_seconds for ran in measured.runs)
    start_cpu = statistics.median(ran.cpu_seconds for ran in starts)
    rows = entry.rows - _FEW
    return {
        "data": entry.data,
        "contestant": entry.contestant,
        "rows": entry.rows,
        "seconds": round(seconds, 3),
        "start_seconds": round(start, 3),
        "rows_per_second": round(entry.rows / seconds),
        # With so few rows that start-up is most of the time, there is no net rate.
        "net_rows_per_second": round(rows / (seconds - start)) if seconds > start else None,
        "cpu_seconds": round(cpu, 3),
        "net_cpu_microseconds_per_row": round((cpu - start_cpu) / rows * 1e6, 2),
        "peak_megabytes": round(statistics.median(ran.peak_megabytes for ran in measured.runs), 1),
        "sent_megabytes": round(statistics.median(measured.sent) / 1e6, 3),
        "each_seconds": [round(ran.seconds, 3) for ran in measured.runs],
    }


def ratios(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the ratios between contestants, with their aims."""
    known = {(line["data"], line["contestant"]): line for line in lines}
    results = []
    for aim in AIMS:
        ours, other = known.get((aim.data, aim.contestant)), known.get((aim.data, aim.by))
        if ours is None or other is None:
            continue
        rates = ours["net_rows_per_second"], other["net_rows_per_second"]
        cpu = [entry["net_cpu_microseconds_per_row"] for entry in (other, ours)]
        result: dict[str, Any] = {"data": aim.data, "contestant": aim.contestant, "by": aim.by}
        if min(cpu) > 0:
            result["cpu"] = round(cpu[0] / cpu[1], 2)
        if all(rates):
            whole = other["start_seconds"] + ours["rows"] / rates[1]
            result["net"] = round(rates[0] / rates[1], 2)
            result["with_start_up"] = round(whole / ours["seconds"], 2)
            for key, wanted in (("net", aim.net), ("with_start_up", aim.whole)):
                if wanted is not None:
                    result[f"{key}_aim"] = wanted
                    result[f"{key}_reached"] = result[key] >= wanted
        results.append(result)
    return results


def table(results: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        [
            line["data"],
            line["contestant"],
            number(line["rows"]),
            number(line["rows_per_second"]),
            number(line["net_rows_per_second"]),
            number(line["start_seconds"]),
            number(line["net_cpu_microseconds_per_row"]),
            number(line["peak_megabytes"]),
            number(line["sent_megabytes"]),
        ]
        for line in results["lines"]
    ]
    head = ["rows of", "contestant", "rows", "rows/s", "net rows/s", "start-up s"]
    head += ["CPU µs/row", "peak MB", "sent MB"]
    ratio_rows = [
        [
            ratio["data"],
            ratio["contestant"],
            ratio["by"],
            number(ratio.get("with_start_up")),
            _aim(ratio, "with_start_up"),
            number(ratio.get("net")),
            _aim(ratio, "net"),
            number(ratio.get("cpu")),
        ]
        for ratio in results["ratios"]
    ]
    ratio_head = [
        "rows of",
        "contestant",
        "times",
        "with start-up",
        "aim",
        "net",
        "aim of net",
        "CPU",
    ]
    about = f"Flights: {results['flights_from']}. Medians of {results['rounds']} rounds."
    return "\n\n".join(
        (about, table_of(head, rows, words=2), table_of(ratio_head, ratio_rows, words=3))
    )


def _aim(ratio: dict[str, Any], key: str) -> str:
    wanted = ratio.get(f"{key}_aim")
    if wanted is None:
        return ""
    return f"{wanted:g} {'reached' if ratio[f'{key}_reached'] else 'missed'}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("--short", action="store_true", help="fewer rows, one round")
    parser.add_argument("--rounds", type=int, help=f"default: {_ROUNDS}, 1 with --short")
    parser.add_argument("--data", nargs="+", choices=[*DATA_SETS], default=[*DATA_SETS])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.short else _ROUNDS)
    lines = measure_all(entries(options.data, short=options.short), rounds)
    results = {
        "rounds": rounds,
        "flights_from": flights_source(),
        "lines": lines,
        "ratios": ratios(lines),
    }
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()
