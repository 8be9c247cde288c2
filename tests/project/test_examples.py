"""The examples do what their pages say, with a stand-in for the tap, which is another project."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = Path(sys.executable).parent

# Reads its configuration and the catalog as the real tap does; the state has a line number.
TAP = f"""#!{sys.executable}
import json, sys
config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
catalog = json.load(open(sys.argv[sys.argv.index("--catalog") + 1]))
name = config["stream_name"]
(entry,) = [each for each in catalog["streams"] if each["stream"] == name]
keys = config["primary_keys"]
schema = {{"type": "SCHEMA", "stream": name, "schema": entry["schema"], "key_properties": keys}}
print(json.dumps(schema))
for line in open(config["path"], encoding="utf-8"):
    print(json.dumps({{"type": "RECORD", "stream": name, "record": json.loads(line)}}))
print(json.dumps({{"type": "STATE", "value": {{"read": config["path"]}}}}))
"""

pytestmark = pytest.mark.skipif(
    not (COMMANDS / "target-segment-objects").exists(), reason="the commands are not installed"
)


def _demo(folder: Path, tap: str) -> subprocess.CompletedProcess[str]:
    """Run the hotel's demo on a copy of the examples."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    command = folder / "tap"
    command.write_text(tap, encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TARGET_SEGMENT_OBJECTS_")
    }
    return subprocess.run(
        ["/bin/sh", str(folder / "examples" / "hotel" / "demo.sh")],
        env={
            **environment,
            "TAP": str(command),
            "TARGET": str(COMMANDS / "target-segment-objects"),
            "QUERY": f"{COMMANDS / 'segment-objects'} query",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hotel_has_the_later_reviews(tmp_path: Path) -> None:
    """With both methods, the room of Segment's own example has the count of its later record."""
    run = _demo(tmp_path, TAP)
    assert run.returncode == 0, run.stderr
    row = "2561341 | Charming Beach Room Facing Ocean | Lihue, HI | 48"
    assert run.stdout.count(row) == 2
    assert "Charming Beach Room Facing Ocean | Lihue, HI | 47" not in run.stdout


def test_a_missing_row_fails_the_demo(tmp_path: Path) -> None:
    """The demo checks the result: a tap that loses its records makes it fail."""
    forgetful = TAP.replace('encoding="utf-8"):', 'encoding="utf-8").readlines()[:2]:')
    run = _demo(tmp_path, forgetful)
    assert run.returncode != 0
    assert "lack this row" in run.stderr


def test_a_failing_tap_fails_the_demo(tmp_path: Path) -> None:
    """A failure of the tap is not hidden by the pipe."""
    run = _demo(tmp_path, f"{TAP}sys.exit(3)\n")
    assert run.returncode != 0
    assert "the tap failed on rooms-monday" in run.stderr
