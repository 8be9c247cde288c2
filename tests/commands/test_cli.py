"""`segment-objects`, as a process."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.commands import main as cli
from target_segment_objects.commands.query import table
from target_segment_objects.emulator import Emulator
from target_segment_objects.emulator.store.querying import QueryResult
from tests.emulator.wire import Client
from tests.running import WARNINGS_AS_ERRORS, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ROW = "2561341 | Charming Beach Room Facing Ocean | Lihue, HI | 48"
SELECT = "select id, name, location, review_count from rooms"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "target_segment_objects.commands.main", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )


@contextmanager
def emulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the emulator; yield the process and the first line of its output."""
    command = [sys.executable, "-m", "target_segment_objects.commands.main", "emulator", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


class Address:
    """The address of an emulator in another process."""

    def __init__(self, url: str) -> None:
        """Keep it."""
        self.url = url


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A warehouse file with one room, and a guest whose values are hard to print."""
    path = tmp_path / "hotel.duckdb"
    with Emulator(warehouse=path) as segment, Client(segment) as client:
        client.one(
            "2561341",
            name="Charming Beach Room Facing Ocean",
            location="Lihue, HI",
            review_count=48,
        )
        guest = {"note": "two\nlines", "vip": True, "seen_at": "2024-01-31T12:00:00Z", "x": 1}
        client.set({"id": "1", "properties": guest}, collection="guests")
        client.set({"id": "1", "properties": {"x": None}}, collection="guests")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_emulator_serves_until_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """The first line is its address; a signal ends it with 0; the file has what was sent."""
    path = tmp_path / "w.duckdb"
    key = "a-key-to-keep-quiet"
    with emulator("--warehouse", str(path), "--write-key", key) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        with Client(Address(url), key) as client:  # type: ignore[arg-type]
            assert client.one("1", a=1).status == 200
        with Client(Address(url), "wrong") as client:  # type: ignore[arg-type]
            assert client.one("2", a=1).status == 401
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert (out, err) == ("", "Answered the last 2 requests, 1 of them with a refusal.\n")
    assert run("query", str(path), "select id, a from rooms").stdout == "id | a\n1 | 1\n"


def test_settings_reach_the_emulator() -> None:
    """`--nulls refuse` and `--collection-digits` have an effect."""
    with (
        emulator("--nulls", "refuse", "--collection-digits") as (_, url),
        Client(Address(url)) as client,  # type: ignore[arg-type]
    ):
        assert client.one("1", a=None).status == 400
        room = {"id": "1", "properties": {"a": 1}}
        assert client.set(room, collection="s3_files").status == 200


def test_a_taken_port_is_one_sentence() -> None:
    """A port in use is exit 1 and one line on stderr."""
    with Emulator() as segment:
        port = segment.url.rpartition(":")[2]
        found = run("emulator", "--port", port)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"Cannot listen on 127.0.0.1:{port}: ")
    assert found.stderr.count("\n") == 1


def test_query_prints_rows(warehouse: Path) -> None:
    """A header and one line per row, values joined by ` | `."""
    found = run("query", str(warehouse), SELECT)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == f"id | name | location | review_count\n{ROW}\n"


def test_query_keeps_a_row_on_its_line(warehouse: Path) -> None:
    """Line feeds are escaped, times are in UTC, booleans lower-case, null is empty."""
    found = run("query", str(warehouse), "select note, vip, seen_at, x, 'e' from guests;")
    assert found.stdout.splitlines()[1] == r"two\nlines | true | 2024-01-31T12:00:00Z |  | e"


def test_query_prints_json(warehouse: Path) -> None:
    """`--json` prints one JSON object per row."""
    found = run("query", str(warehouse), SELECT, "--json")
    assert json.loads(found.stdout)["review_count"] == 48


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from nowhere", "The query failed: Catalog Error"),
        ("selec", "The query failed: Parser Error"),
        ("delete from rooms", "The query failed: "),
    ],
)
def test_a_failing_query_is_one_sentence(warehouse: Path, sql: str, message: str) -> None:
    """An invalid query, and one that would write, end with exit 1 and one line on stderr."""
    found = run("query", str(warehouse), sql)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(message)
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "sql",
    [
        "copy rooms to '{folder}/copy.csv'",
        "copy (select 1) to '{folder}/copy.parquet' (format parquet)",
        "copy (select 1) to '/dev/stderr'",
        "export database '{folder}/export'",
        "attach '{folder}/new.duckdb' as other",
        "select * from read_csv('{folder}/secret.csv')",
        "select * from read_text('{folder}/secret.csv')",
        "select * from '{folder}/secret.csv'",
        "select * from glob('{folder}/*')",
        "install httpfs",
        "load '{folder}/extension'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "select 1; set lock_configuration = false",
        "pragma enable_profiling; set profiling_output = '{folder}/profile.json'",
    ],
)
def test_a_query_reads_only_the_warehouse(warehouse: Path, tmp_path: Path, sql: str) -> None:
    """A query cannot write a file, read another one, load an extension or unlock settings."""
    (tmp_path / "secret.csv").write_text("a\nTOP SECRET\n")
    before = {path.name for path in tmp_path.iterdir()}
    found = run("query", str(warehouse), sql.format(folder=tmp_path))
    assert (found.returncode, found.stdout) == (1, "")
    assert "TOP SECRET" not in found.stderr
    assert found.stderr.startswith("The query failed: ")
    assert found.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    """A query of a file that does not exist is one sentence, and does not create it."""
    path = tmp_path / "none.duckdb"
    found = run("query", str(path), "select 1")
    assert (found.returncode, found.stderr) == (1, f"There is no warehouse file {path}.\n")
    assert not path.exists()


def test_a_file_in_use_is_one_sentence(tmp_path: Path) -> None:
    """A warehouse that an emulator has open is named."""
    path = tmp_path / "w.duckdb"
    with Emulator(warehouse=path):
        found = run("query", str(path), "select 1")
    assert found.returncode == 1
    assert found.stderr == (
        f"The warehouse file {path} is in use; close the program that has it open and try again.\n"
    )


@pytest.mark.parametrize(
    ("redirection", "sentence"),
    [("> /dev/full", "stdout cannot be written: No space left"), (">&-", "stdout is closed")],
)
@pytest.mark.parametrize("command", ["query", "preview", "preview --json", "check", "emulator"])
def test_output_that_cannot_be_written_is_one_sentence(
    warehouse: Path, command: str, redirection: str, sentence: str
) -> None:
    """A full disk under stdout, or none at all: one sentence on stderr, exit 1, no traceback.

    But the emulator serves without stdout, for its address may be known.
    """
    if command == "emulator" and redirection == ">&-":
        pytest.skip("it serves")
    given = {"query": [str(warehouse), SELECT], "check": ["--timeout", "0.1"]}.get(command, [])
    python = [sys.executable, *WARNINGS_AS_ERRORS, "-m", "target_segment_objects.commands.main"]
    whole = shlex.join([*python, *command.split(), *given])
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {whole} < /dev/null {redirection}"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env=environment(TARGET_SEGMENT_OBJECTS_OBJECTS_URL="http://127.0.0.1:9"),
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(sentence)
    assert ended.stderr.count("\n") == 1


def test_without_duckdb_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the extra both commands name it in one sentence."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    path = tmp_path / "w.duckdb"
    path.touch()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert cli.main(["query", str(path), "select 1"]) == 1
    assert cli.main(["emulator", "--warehouse", str(path)]) == 1
    sentence = "A warehouse file needs DuckDB: pip install 'target-segment-objects[emulator]'\n"
    assert capsys.readouterr().err == sentence * 2


def test_a_terminal_gets_aligned_columns() -> None:
    """On a terminal, every column is as wide as its widest cell."""
    result = QueryResult(["id", "name"], [("1", "a"), ("100", None)])
    assert table(result, align=True) == ["id  | name", "----+-----", "1   | a", "100 |"]
    assert table(QueryResult([], []), align=True) == []


@pytest.mark.parametrize("port", ["x", "-1", "65536"])
def test_a_wrong_port_is_a_usage_error(port: str) -> None:
    """Arguments are checked before anything starts."""
    found = run("emulator", "--port", port)
    assert found.returncode == 2
    assert "--port" in found.stderr
