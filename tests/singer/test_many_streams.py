"""Taps with thousands of streams: the memory of each stream."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator
from tests.running import (
    COMMAND,
    KEY,
    MEASURE,
    config_file,
    environment,
    lines,
    record,
    schema,
)

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = 600
PROCESS_BYTES = 85_000_000
KINDS: list[Any] = [
    "string",
    "integer",
    "number",
    "boolean",
    {"type": ["string", "null"], "format": "date-time"},
]
VALUES = ["x", 1, 1.5, True, "2026-01-01T00:00:00Z"]


def name_of(number: int) -> str:
    """A stream's name, without digits."""
    return "s" + "".join(chr(ord("a") + int(digit)) for digit in str(number)) + "x"


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's here")
@pytest.mark.parametrize(
    ("case", "stream_bytes"),
    [
        ("as declared", 60_000),
        ("without keys", 75_000),
        ("with an undeclared property", 100_000),
        ("without types", 110_000),
    ],
)
def test_a_stream_takes_little_memory(tmp_path: Path, case: str, stream_bytes: int) -> None:
    """With 41 columns and three records; less if these match the SCHEMA."""
    kinds = [{}] if case == "without types" else KINDS
    columns = {f"column_{number}": kinds[number % len(kinds)] for number in range(40)}
    keys = [] if case == "without keys" else ["id"]
    more = {"more": 1} if case == "with an undeclared property" else {}
    values = {f"column_{number}": VALUES[number % 5] for number in range(40)}
    fed = tmp_path / "tap.singer"
    with fed.open("wb") as file:
        for stream in map(name_of, range(STREAMS)):
            file.write(lines(schema(stream, keys, id="integer", **columns)))
            file.write(lines(*(record(stream, id=number, **values, **more) for number in range(3))))
    with Emulator() as segment, fed.open("rb") as stdin:
        config = {"write_key": KEY, "bulk_url": segment.url, "pluralize": False}
        command = [*COMMAND, "--config", config_file(tmp_path, config)]
        ran = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, *command],
            stdin=stdin,
            capture_output=True,
            check=True,
            timeout=120,
            env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
        assert [len(segment.rows(name_of(number))) for number in range(STREAMS)] == [3] * STREAMS
    code, kilobytes = map(int, ran.stderr.splitlines()[-1].split())
    assert code == 0
    assert kilobytes * 1024 < PROCESS_BYTES + STREAMS * stream_bytes
