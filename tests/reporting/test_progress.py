"""What a person at a terminal sees: the real command on a pseudo-terminal, read from its screen."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, Hold, InjectedFault
from tests.running import KEY, lines, record, run, schema, state
from tests.screens import watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOMS = schema("rooms", id="integer", name="string")
GUESTS = schema("guests", id="integer", name="string")
HUNDRED = [record("rooms", id=number, name="x") for number in range(100)]
ASKS_TO_DELETE = {"type": "ACTIVATE_VERSION", "stream": "rooms", "version": 1}
PROGRESS = re.compile(
    r"[\d,]+ records, [\d.]+[kM]? objects/s, [\d,]+ (parts|calls), [\d.]+ [kMG]?B, "
    r"[\d,]+ rejects \[\d\d:\d\d\]"
)
BOTH = pytest.mark.parametrize("method", ["set", "bulk"])


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator of one key."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


def _config(segment: Emulator, method: str = "bulk", **more: Any) -> dict[str, Any]:
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return {"write_key": KEY, "method": method, **urls, **more}


def _is_drawn(shown: list[str]) -> bool:
    return any(PROGRESS.search(line) for line in shown)


def _cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


@BOTH
def test_the_line_shows_what_is_done_so_far(segment: Emulator, tmp_path: Path, method: str) -> None:
    """It is the last line during the run, and removed when the run ends."""
    with watch(tmp_path, _config(segment, method)) as command:
        command.write(ROOMS, *HUNDRED)
        command.read_until(lambda shown: any("100 records" in line for line in shown))
        if method == "set":
            command.read_until(lambda shown: any("10 calls" in line for line in shown))
        assert PROGRESS.fullmatch(command.shown[-1])
        command.write(state(1))
        assert command.end() == 0
        assert not _is_drawn(command.shown)
        assert command.out == b"1\n"
        assert b"\x1b[?" not in command.raw  # no mode of the terminal is changed


def test_rejects_are_in_the_line(segment: Emulator, tmp_path: Path) -> None:
    """A reject is shown at once."""
    config = _config(segment, max_rejects=-1, dead_letter_path=str(tmp_path / "dead"))
    with watch(tmp_path, config) as command:
        command.write(ROOMS, record("rooms", name="a"), record("rooms", id=1, name="b"))
        command.read_until(lambda shown: any("2 records" in x and "1 rejects" in x for x in shown))
        assert command.end() == 0


def test_log_lines_are_complete_and_above_the_line(segment: Emulator, tmp_path: Path) -> None:
    """Log lines are complete, and the progress line is below them."""
    with watch(tmp_path, _config(segment), columns=400) as command:
        command.write(ROOMS, *HUNDRED)
        command.read_until(lambda shown: any("100 records" in line for line in shown))
        command.write(ASKS_TO_DELETE)
        command.read_until(lambda shown: any("ACTIVATE_VERSION" in line for line in shown))
        *above, last = command.shown
        assert PROGRESS.fullmatch(last)
        heads = [re.match(r"\d{4}-\d\d-\d\d [\d:,]+ \| (INFO|WARNING) ", line) for line in above]
        assert all(heads), above
        assert above[-1].endswith("delete them in the warehouse if needed")
        assert command.end() == 0
        log = [line for line in command.shown if " | " in line]
        assert not _is_drawn(log)
        assert sum("ACTIVATE_VERSION" in line for line in log) == 1


@BOTH
def test_a_state_on_the_same_terminal_has_a_line_of_its_own(
    segment: Emulator, tmp_path: Path, method: str
) -> None:
    """If stdout is the terminal too, states are complete lines."""
    config = _config(segment, method, checkpoint_seconds=0.001)
    with watch(tmp_path, config, stdout_too=True) as command:
        command.write(ROOMS, *HUNDRED)
        command.read_until(_is_drawn)
        command.write(state({"rooms": 100}))
        command.read_until(lambda shown: '{"rooms": 100}' in shown)
        assert command.end() == 0
        assert command.shown.count('{"rooms": 100}') == 1
        assert not _is_drawn(command.shown)


def test_it_is_drawn_by_time_and_not_by_record(segment: Emulator, tmp_path: Path) -> None:
    """The line is drawn five times a second, and once for each line of the log."""
    began = time.monotonic()
    with watch(tmp_path, _config(segment)) as command:
        command.write(ROOMS)
        for first in range(0, 20_000, 1_000):
            numbers = range(first, first + 1_000)
            command.write(*(record("rooms", id=number, name="x") for number in numbers))
        command.read_until(lambda shown: any("20,000 records" in line for line in shown))
        assert command.end() == 0
        seconds = time.monotonic() - began
        logged = command.raw.count(b" | ")
        assert command.raw.count(b"records,") <= 5 * seconds + logged + 2


@pytest.mark.parametrize(("term", "disable"), [("dumb", ""), ("xterm", "1")])
def test_it_is_turned_off(segment: Emulator, tmp_path: Path, term: str, disable: str) -> None:
    """A dumb terminal and `TQDM_DISABLE` turn it off; the table stays."""
    with watch(tmp_path, _config(segment), TERM=term, TQDM_DISABLE=disable) as command:
        command.write(ROOMS, *HUNDRED)
        assert command.end() == 0
        assert b"\x1b" not in command.raw
        assert b"objects/s" not in command.raw
        assert any(_cells(line)[:3] == ["rooms", "100", "100"] for line in command.shown)


def test_no_colour_is_ever_used(segment: Emulator, tmp_path: Path) -> None:
    """`NO_COLOR` has no effect: the only escape sequence erases the line."""
    with watch(tmp_path, _config(segment)) as command:
        command.write(ROOMS, *HUNDRED)
        command.read_until(_is_drawn)
        assert command.end() == 0
        assert set(re.findall(rb"\x1b\[[\d;?]*[A-Za-z]", bytes(command.raw))) == {b"\x1b[K"}


def test_stderr_that_is_no_terminal_gets_lines_alone(segment: Emulator, tmp_path: Path) -> None:
    """There is no progress line and no table; on a terminal, the table replaces log lines."""
    log = run(tmp_path, _config(segment), lines(ROOMS, *HUNDRED)).log
    assert "\r" not in log
    assert "\x1b" not in log
    assert "objects/s" not in log
    assert "Collection done" in log
    assert all(" | " in line for line in log.splitlines())
    with watch(tmp_path, _config(segment), columns=400) as command:
        command.write(ROOMS, *HUNDRED)
        assert command.end() == 0
        assert b"Collection done" not in command.raw
        assert b"METRIC" not in command.raw


@pytest.mark.parametrize("columns", [0, 20, 40])
def test_a_narrow_terminal_cuts_the_line(segment: Emulator, tmp_path: Path, columns: int) -> None:
    """It never takes two lines, and leaves space for the echo of Ctrl-C."""
    with watch(tmp_path, _config(segment), columns=columns) as command:
        command.write(ROOMS, *HUNDRED)
        command.read_until(lambda shown: shown[-1:] and shown[-1].startswith("100 records"))
        assert len(command.shown[-1]) <= (columns or 80) - 3
        assert command.end() == 0
        assert not any(line.startswith("100 records") for line in command.shown)


@BOTH
def test_ctrl_c_leaves_a_clean_terminal(segment: Emulator, tmp_path: Path, method: str) -> None:
    """What was read is delivered and its state printed; the line and `^C` are removed."""
    with watch(tmp_path, _config(segment, method)) as command:
        command.write(ROOMS, *HUNDRED, state(7))
        command.read_until(lambda shown: any("100 records" in line for line in shown))
        command.type(b"\x03")
        assert command.ended() == 130
        assert command.out == b"7\n"
        assert not _is_drawn(command.shown)
        assert "^C" not in command.shown[-1]
        assert any(_cells(line)[:3] == ["rooms", "100", "100"] for line in command.shown)
    assert len(segment.rows("rooms")) == 100


def test_a_second_ctrl_c_leaves_a_clean_terminal_too(segment: Emulator, tmp_path: Path) -> None:
    """The process ends at once, before Segment answers; the line is removed."""
    with Hold() as hold:
        segment.fault(InjectedFault(call="finish", hold=hold))
        with watch(tmp_path, _config(segment)) as command:
            command.write(ROOMS, *HUNDRED)
            command.read_until(lambda shown: any("100 records" in line for line in shown))
            command.type(b"\x03")
            assert hold.wait_for(1)
            command.type(b"\x03")
            assert command.ended() == 130
            assert not _is_drawn(command.shown)
            assert bytes(command.raw).endswith(b"\r\x1b[K")


@BOTH
def test_an_error_leaves_a_clean_terminal(segment: Emulator, tmp_path: Path, method: str) -> None:
    """The error is one line below the table, which counts what was not delivered."""
    segment.fault(InjectedFault(call="any", count=None, status=501))
    with watch(tmp_path, _config(segment, method), columns=400) as command:
        command.write(ROOMS, *HUNDRED)
        assert command.ended() == 1
        assert not _is_drawn(command.shown)
        assert re.match(r"[\d-]+ [\d:,]+ \| ERROR ", command.shown[-1])
        (head,) = [line for line in command.shown if line.startswith("collection ")]
        (rooms,) = [line for line in command.shown if line.startswith("rooms ")]
        assert dict(zip(_cells(head), _cells(rooms), strict=False))["undelivered"] == "100"


def test_a_traceback_is_whole(segment: Emulator, tmp_path: Path) -> None:
    """A traceback is written in pieces, and none of them is overwritten."""
    (tmp_path / "sitecustomize.py").write_text(
        "import target_segment_objects.run.run as run\n\n\n"
        "def fail(*_):\n    raise LookupError('a bug')\n\n\n"
        "run.Run.state = fail\n",
        encoding="utf-8",
    )
    path = f"{tmp_path}:{__file__.rpartition('/tests/')[0]}"
    with watch(tmp_path, _config(segment), PYTHONPATH=path) as command:
        command.write(ROOMS, *HUNDRED)
        command.read_until(_is_drawn)
        command.write(state(1))
        assert command.ended() == 1
        assert not _is_drawn(command.shown)
        at = command.shown.index("Traceback (most recent call last):")
        assert command.shown[-1] == "LookupError: a bug"
        assert all(line.startswith("  ") for line in command.shown[at + 1 : -1])


def test_the_table(segment: Emulator, tmp_path: Path) -> None:
    """A row for each collection, the sum and the session, with the numbers of the report."""
    path = tmp_path / "report.json"
    config = _config(
        segment, report_path=str(path), max_rejects=-1, dead_letter_path=str(tmp_path / "dead")
    )
    with watch(tmp_path, config) as command:
        command.write(ROOMS, *HUNDRED, record("rooms", name="no key"))
        command.write(
            GUESTS, record("guests", id=1, name="x" * 600), record("guests", id=2, name=7)
        )
        assert command.end() == 0
        at = next(n for n, line in enumerate(command.shown) if line.startswith("collection "))
        head, rooms, guests, whole, session = (_cells(line) for line in command.shown[at:])
    names = ["collection", "read", "sent", "merged", "rejected", "coerced"]
    assert head == [*names, "long strings", "bytes", "requests", "retries", "wait"]
    report = json.loads(path.read_bytes())
    rooms_bytes = report["collections"][0]["bytes"]
    assert rooms == ["rooms", "101", "100", "0", "1", "0", "0", f"{rooms_bytes / 1000:.1f} kB"]
    assert guests[:7] == ["guests", "2", "2", "0", "0", "1", "1"]
    assert whole[:7] == ["(all)", "103", "102", "0", "1", "1", "1"]
    assert session == ["(session)", f"{report['bulk']['bytes']} B", "3", "0", "0.0 s"]
