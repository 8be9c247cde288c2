"""`local_warehouse`: a complete run into a DuckDB file on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from random import Random
from string import ascii_lowercase
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.errors import ConfigurationError
from tests.running import (
    COMMAND,
    MEASURE,
    ROOT,
    RunResult,
    config_file,
    environment,
    lines,
    load,
    record,
    run,
    schema,
    start,
    state,
)

if TYPE_CHECKING:
    from pathlib import Path

duckdb = pytest.importorskip("duckdb")

FED = lines(
    schema("rooms", id="integer", name="string", beds="integer"),
    record("rooms", id=1, name="Beach", beds=2),
    record("rooms", id=1, name="Beach Room"),
    state({"rooms": 1}),
)


def _query(folder: Path, sql: str) -> str:
    """The output of `segment-objects query`."""
    command = [
        sys.executable,
        "-m",
        "target_segment_objects.commands.main",
        "query",
        "w.duckdb",
        sql,
    ]
    env = environment(PYTHONPATH=str(ROOT))
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, check=True, text=True
    ).stdout


def _run(folder: Path, env: dict[str, str] | None = None, **more: object) -> RunResult:
    return run(folder, {"local_warehouse": "w.duckdb", **more}, FED, env=env)


@pytest.mark.parametrize("method", ["set", "bulk"])
def test_a_merged_row_can_be_queried(tmp_path: Path, method: str) -> None:
    """Two records of one id are merged into one row; no key is needed; there is one warning."""
    ran = _run(tmp_path, method=method)
    assert (ran.code, ran.states) == (0, ['{"rooms": 1}'])
    assert _query(tmp_path, "select id, name, beds from rooms") == (
        "id | name | beds\n1 | Beach Room | 2\n"
    )
    warnings = [line for line in ran.log.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "LOCAL WAREHOUSE" in warnings[0]
    assert "nothing to Segment" in warnings[0]


def test_nothing_leaves_the_machine(tmp_path: Path) -> None:
    """Configured addresses have no effect, and a warning says so."""
    with Emulator() as segment:
        ran = _run(tmp_path, write_key="k", bulk_url=segment.url)
        assert segment.requests == []
    assert ran.code == 0
    assert "bulk_url has no effect" in ran.log


def test_a_second_run_adds_to_the_file(tmp_path: Path) -> None:
    """An existing file is loaded into."""
    _run(tmp_path)
    fed = lines(schema("rooms", id="integer"), record("rooms", id=2))
    assert run(tmp_path, {"local_warehouse": "w.duckdb"}, fed).code == 0
    assert _query(tmp_path, "select id from rooms order by id") == "id\n1\n2\n"


def test_a_locked_file_is_one_sentence(tmp_path: Path) -> None:
    """For a file that another process has open there is an error, and no state is printed."""
    fed = (schema("rooms", id="integer"), record("rooms", id=1), state(1))
    config = {"local_warehouse": "w.duckdb", "method": "set"}
    with start(tmp_path, config) as other:
        other.write(*fed)
        other.read_until(states=1)
        ran = _run(tmp_path)
        assert other.end().code == 0
    assert (ran.code, ran.states, len(ran.sentences)) == (1, [], 1)
    assert "local_warehouse" in ran.sentences[0]
    assert "in use" in ran.sentences[0]
    assert "Traceback" not in ran.log


def test_without_duckdb_it_is_one_sentence(tmp_path: Path) -> None:
    """Without DuckDB, the error says how to install it."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "duckdb.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    ran = _run(tmp_path, environment(PYTHONPATH=str(hidden)))
    assert (ran.code, ran.states, len(ran.sentences)) == (1, [], 1)
    assert "target-segment-objects[emulator]" in ran.sentences[0]
    assert "Traceback" not in ran.log


def test_a_file_that_is_no_warehouse_is_one_sentence(tmp_path: Path) -> None:
    """Another kind of file is left unchanged."""
    (tmp_path / "w.duckdb").write_text("a diary" * 1000, encoding="utf-8")
    ran = _run(tmp_path)
    assert (ran.code, ran.states, len(ran.sentences)) == (1, [], 1)
    assert "local_warehouse" in ran.sentences[0]
    assert "Traceback" not in ran.log
    assert (tmp_path / "w.duckdb").read_text(encoding="utf-8") == "a diary" * 1000


@pytest.mark.parametrize("name", ["rooms.csv", "rooms.json"])
def test_a_file_of_data_is_no_warehouse(tmp_path: Path, name: str) -> None:
    """DuckDB would keep such a database in memory, and everything would be lost."""
    (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is not a DuckDB database"):
        load(
            {"local_warehouse": str(tmp_path / name)}, lines(schema("rooms"), record("rooms", id=1))
        )
    assert (tmp_path / name).read_text(encoding="utf-8") == "{}"


FULL = """
import target_segment_objects.emulator.store.warehouse as warehouse
from target_segment_objects.emulator.errors import WarehouseError


def fail(*_):
    raise WarehouseError("the disk is full")


warehouse.Warehouse.{name} = fail
"""


@pytest.mark.parametrize("method", ["set", "bulk"])
@pytest.mark.parametrize("name", ["apply", "load", "flush", "close"])
def test_a_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, name: str, method: str
) -> None:
    """When the warehouse fails, no state is printed, and an error soon says why."""
    folder = tmp_path / "patched"
    folder.mkdir()
    patch = FULL.replace("{name}", name)
    if (name, method) == ("apply", "bulk"):
        patch = FULL.replace("Warehouse.{name}", "TableMerger._merge")  # both methods call it
    (folder / "sitecustomize.py").write_text(patch, encoding="utf-8")
    started = time.monotonic()
    ran = _run(tmp_path, environment(PYTHONPATH=str(folder)), method=method, retry_seconds=600)
    assert time.monotonic() - started < 30  # retries would go on for ten minutes
    assert (ran.code, len(ran.sentences)) == (1, 1)
    # What a state covers was committed before: closing the file adds nothing to it.
    assert ran.states == [] or name == "close"
    assert ran.sentences[0].startswith("local_warehouse: ")
    assert "the disk is full" in ran.sentences[0]
    assert "Traceback" not in ran.log


def _run_limited(folder: Path, config: dict[str, object], fed: bytes, blocks: int) -> RunResult:
    """A run in which no file can grow beyond this many KiB, as on a full disk."""
    config = {"local_warehouse": "w.duckdb", **config}
    command = [*COMMAND, "--config", config_file(folder, config)]
    ended = subprocess.run(
        ["/bin/bash", "-c", f'ulimit -f {blocks}; exec "$@"', "limited", *command],
        input=fed,
        capture_output=True,
        check=False,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)),
        timeout=100,
    )
    return RunResult(ended.returncode, ended.stdout.decode().splitlines(), ended.stderr.decode())


@pytest.mark.parametrize("method", ["set", "bulk"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, method: str) -> None:
    """The run soon ends with one error and exit 1; what a state covers is in the file."""
    rng = Random(1)  # noqa: S311 replayable
    messages: list[dict[str, object]] = [schema("rooms", id="integer", name="string")]
    for number in range(12_000):
        messages.append(record("rooms", id=number, name=rng.randbytes(200).hex()))
        if number % 500 == 499:
            messages.append(state({"rooms": number}))
    started = time.monotonic()
    config = {"method": method, "retry_seconds": 600}
    ran = _run_limited(tmp_path, config, lines(*messages), 1500)
    assert time.monotonic() - started < 60  # retries go on for ten minutes
    assert (ran.code, len(ran.sentences)) == (1, 1)
    assert ran.sentences[0].startswith("local_warehouse: ")
    assert "File too large" in ran.sentences[0]
    assert "Traceback" not in ran.log
    if ran.states:
        last = json.loads(ran.states[-1])["rooms"]
        count = _query(tmp_path, f"select count(*) as n from rooms where id::int <= {last}")  # noqa: S608
        assert count == f"n\n{last + 1}\n"


# What is said of DuckDB 1, the last for Python 3.10, is less.
_COLUMNS = [
    f"c_{first}{second}{third}"
    for first in ("a" if duckdb.__version__.startswith("1.") else "ab")
    for second in ascii_lowercase
    for third in ascii_lowercase
]


@pytest.mark.parametrize("method", ["set", "bulk"])
@pytest.mark.parametrize("kind", ["wide", "one more column a record"])
def test_memory_stays_within_what_is_said(tmp_path: Path, method: str, kind: str) -> None:
    """Hundreds of columns take no more memory than docs/guarantees.md says."""
    names = _COLUMNS
    if kind == "wide":
        messages = [record("rooms", id=n, **dict.fromkeys(names, f"v{n}")) for n in range(20)]
    else:
        messages = [record("rooms", id=n, **{name: "v"}) for n, name in enumerate(names)]
    fed = tmp_path / "fed.jsonl"
    fed.write_bytes(lines(schema("rooms", id="integer"), *messages, state(1)))
    config = config_file(tmp_path, {"local_warehouse": "w.duckdb", "method": method})
    with fed.open("rb") as stdin, (tmp_path / "stdout").open("wb") as stdout:
        ran = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, *COMMAND, "--config", config],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=True,
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(ROOT)),
            timeout=100,
        )
    code, peak = map(int, ran.stderr.splitlines()[-1].split())
    assert code == 0
    assert peak * (1 if sys.platform == "darwin" else 1024) < 750e6
    found = _query(tmp_path, f"select count({names[-1]}) as n from rooms")  # noqa: S608
    assert found == f"n\n{20 if kind == 'wide' else 1}\n"
