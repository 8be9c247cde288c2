"""What one line of input takes of memory, whatever it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Emulator
from tests.running import COMMAND, KEY, MEASURE, config_file, environment

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 6_000_000
TIMES = 45
"""As the description of `max_line_bytes` says."""
PROCESS_BYTES = 100_000_000
SCHEMA = (
    b'{"type":"SCHEMA","stream":"rooms","key_properties":["id"],'
    b'"schema":{"properties":{"id":{"type":"integer"},"list":{}}}}\n'
)


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's here")
@pytest.mark.parametrize("value", [b"[]", b"{}", b"1.5", b"7", b'{"a":1}', b'""', b"null"])
def test_a_line_takes_no_more_memory_than_is_said(tmp_path: Path, value: bytes) -> None:
    """A record of one list of nothing but short values, which is rejected in the end."""
    values = b",".join([value] * (SIZE // (len(value) + 1)))
    line = b'{"type":"RECORD","stream":"rooms","record":{"id":1,"list":[%b]}}\n' % values
    fed = tmp_path / "tap.singer"
    fed.write_bytes(SCHEMA + line)
    with Emulator() as segment, fed.open("rb") as stdin:
        config = {
            "write_key": KEY,
            "bulk_url": segment.url,
            "max_rejects": -1,
            "dead_letter_path": str(tmp_path / "rejects.jsonl"),
        }
        command = [*COMMAND, "--config", config_file(tmp_path, config)]
        ran = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, *command],
            stdin=stdin,
            capture_output=True,
            check=True,
            timeout=120,
            env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
    code, kilobytes = map(int, ran.stderr.splitlines()[-1].split())
    assert code == 0
    assert kilobytes * 1024 < PROCESS_BYTES + TIMES * len(line)
