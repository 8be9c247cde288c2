"""The first half second of both commands, during their imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.running import environment, lines, record, schema

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import importlib.abc, os, signal, sys
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupting())
sys.argv = [{command!r}, "--help"]
import target_segment_objects.commands.entry as command
command.{function}()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("function", "module"),
    [
        ("target", "target_segment_objects.singer.target"),
        ("target", "singer_sdk"),
        ("target", "msgspec"),
        ("target", "requests"),
        ("segment_objects", "target_segment_objects.commands.main"),
        ("segment_objects", "argparse"),
    ],
)
def test_a_signal_while_importing_ends_it_quietly(
    number: signal.Signals, function: str, module: str
) -> None:
    """130 or 143 without output, whatever was being imported."""
    program = PROGRAM.format(module=module, number=int(number), command="x", function=function)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (128 + number, b"", b"")


def test_an_ignored_signal_stays_ignored() -> None:
    """A shell starts background commands like that."""
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + PROGRAM.format(
        module="singer_sdk", number=int(signal.SIGINT), command="x", function="target"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert ran.returncode == 0
    assert b"Usage" in ran.stdout


def test_what_handles_the_signals_is_there_at_once() -> None:
    """Before it Ctrl-C gives a traceback, so no slow modules are imported."""
    program = (
        "import sys; before = set(sys.modules); import target_segment_objects.commands.entry; "
        "print(*sorted({'typing', 're', 'logging', 'threading'} & (set(sys.modules) - before)))"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        check=True,
        timeout=60,
        env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert ran.stdout == b"\n"


@pytest.mark.parametrize("name", ["report_path", "dead_letter_path", "local_warehouse"])
@pytest.mark.parametrize("link", ["/dev/stdout", "own"])
def test_a_file_that_stdout_goes_to_is_refused(tmp_path: Path, name: str, link: str) -> None:
    """The states would be overwritten, or mixed with other lines; the file is left unchanged."""
    states, settings = tmp_path / "states.jsonl", tmp_path / "config.json"
    states.write_text('{"before": 1}\n')
    path = str(states) if link == "own" else link
    settings.write_text(json.dumps({"write_key": "key", name: path}))
    with states.open("ab") as out:
        ran = subprocess.run(
            [sys.executable, "-m", "target_segment_objects.target", "--config", str(settings)],
            input=b"",
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
            env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
    assert ran.returncode == 1
    assert f"{name} is the same file as stdout: name another file".encode() in ran.stderr
    assert b"Traceback" not in ran.stderr
    assert states.read_text() == '{"before": 1}\n'


@pytest.mark.parametrize("name", ["w.duckdb", "w.duckdb.wal", "link"])
def test_the_dead_letter_is_not_the_warehouse(tmp_path: Path, name: str) -> None:
    """DuckDB would overwrite the rejects that the state covers."""
    settings, warehouse = tmp_path / "config.json", tmp_path / "w.duckdb"
    (tmp_path / "link").symlink_to(warehouse)
    config = {"local_warehouse": str(warehouse), "dead_letter_path": str(tmp_path / name)}
    settings.write_text(json.dumps(config | {"max_rejects": -1}))
    ran = subprocess.run(
        [sys.executable, "-m", "target_segment_objects.target", "--config", str(settings)],
        input=b"",
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"dead_letter_path is the file of local_warehouse" in ran.stderr
    assert b"Traceback" not in ran.stderr
    assert not warehouse.exists()


NO_FOLDER = """
import sys, tempfile
tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
module = sys.argv.pop(1)
sys.exit(__import__(module, fromlist=["main"]).main())
"""


@pytest.mark.parametrize("command", ["emulator", "local_warehouse"])
def test_no_folder_for_temporary_files(tmp_path: Path, command: str) -> None:
    """On a read-only system the emulator cannot start, and the error says what to do."""
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps({"local_warehouse": str(tmp_path / "w.duckdb")}))
    arguments = ["commands.main", "emulator"]
    if command == "local_warehouse":
        arguments = ["target", "--config", str(settings)]
    ran = subprocess.run(
        [sys.executable, "-c", NO_FOLDER, f"target_segment_objects.{arguments[0]}", *arguments[1:]],
        input=lines(schema("rooms", id="integer"), record("rooms", id=1)),
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.count(b"There is no folder for temporary files: ") == 1
    assert b"`TMPDIR`" in ran.stderr
    assert b"Traceback" not in ran.stderr
