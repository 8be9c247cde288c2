"""The benchmarks measure what they claim: their rows, their comparison, and a small run."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from singer_sdk.singerlib import RecordMessage
from singer_sdk.singerlib.encoding.simple import SimpleSingerWriter

from benchmarks import checking, inputs, report, throughput
from benchmarks.growth import measure_growth
from benchmarks.measuring import FailedRunError, measure
from benchmarks.receiver import Receiver
from benchmarks.rows import DATA_SETS
from tests.running import lines, record, schema, state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 300


@pytest.mark.parametrize("name", DATA_SETS)
def test_rows_are_written_as_taps_of_the_sdk_write_them(name: str) -> None:
    """A RECORD's line has exactly the bytes that the SDK's writer produces."""
    written = [line for line in inputs.messages(name, 4) if b'"RECORD"' in line[:20]]
    for line, (stream, values) in zip(written, DATA_SETS[name].records(), strict=False):
        extracted = datetime.fromisoformat(json.loads(line)["time_extracted"])
        message = RecordMessage(stream=stream, record=values, time_extracted=extracted)
        assert line.decode() == f"{SimpleSingerWriter().format_message(message)}\n"


@pytest.mark.parametrize("name", DATA_SETS)
def test_rows_keep_to_their_schema_and_come_again_the_same(name: str) -> None:
    """A record has the columns of its stream, in order, and the same values every time."""
    for stream, values in islice(DATA_SETS[name].records(), 100):
        assert list(values) == list(DATA_SETS[name].streams[stream])
    assert list(inputs.messages(name, 50)) == list(inputs.messages(name, 50))


def test_states_come_every_ten_thousand_records_and_at_the_end() -> None:
    """Their number is right, and the last one follows the last record."""
    states = [line for line in inputs.messages("flights", 20_001) if b'"STATE"' in line[:20]]
    values = [json.loads(line)["value"] for line in states]
    assert values == [inputs.last_state(count) for count in (10_000, 20_000, 20_001)]


def test_an_input_is_written_once(tmp_path: Path) -> None:
    """An existing file is used; files of other versions are removed."""
    (tmp_path / "older").mkdir()
    path = inputs.input_file("wide", 10, tmp_path)
    modified_at = path.stat().st_mtime_ns
    assert inputs.input_file("wide", 10, tmp_path) == path
    assert path.stat().st_mtime_ns == modified_at
    assert list(tmp_path.iterdir()) == [path.parent]


def _parts(folder: Path, objects: list[dict[str, Any]]) -> list[Path]:
    """Two parts with these objects."""
    paths = [folder / "a.part", folder / "b.part"]
    for path, some in zip(paths, (objects[:5], objects[5:]), strict=True):
        path.write_bytes(gzip.compress(lines(*some)))
    return paths


@pytest.fixture
def arrived(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """An input of twelve rows, and the expected objects."""
    rows = [record("rooms", id=n, name=f"Room {n}", size=n / 2) for n in range(1, 13)]
    path = tmp_path / "in.singer"
    path.write_bytes(
        b"".join(
            map(
                _compact,
                (schema("rooms", id="integer", name="string", size="number"), *rows, state(12)),
            )
        )
    )
    objects = [
        {
            "id": str(row["record"]["id"]),
            "collection": "rooms",
            "properties": {"name": row["record"]["name"], "size": row["record"]["size"]},
        }
        for row in rows
    ]
    return path, objects


def _compact(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def test_what_arrived_whole_is_counted(
    tmp_path: Path, arrived: tuple[Path, list[dict[str, Any]]]
) -> None:
    """There are as many objects as rows."""
    path, objects = arrived
    expected = checking.expect(path, 12, checking.segment_form)
    assert checking.check(_parts(tmp_path, objects), expected) == 12
    assert len(expected.samples) == 12


def _lose(objects: list[dict[str, Any]]) -> None:
    del objects[6]


def _lose_the_last(objects: list[dict[str, Any]]) -> None:
    del objects[-1]


def _repeat(objects: list[dict[str, Any]]) -> None:
    objects.append(objects[-1])


def _swap(objects: list[dict[str, Any]]) -> None:
    objects[2], objects[3] = objects[3], objects[2]


def _change(objects: list[dict[str, Any]]) -> None:
    objects[4]["properties"]["name"] = "Room 6"


def _change_the_type(objects: list[dict[str, Any]]) -> None:
    objects[3]["properties"]["size"] = 2


def _drop_a_property(objects: list[dict[str, Any]]) -> None:
    del objects[7]["properties"]["size"]


def _rename(objects: list[dict[str, Any]]) -> None:
    objects[0]["collection"] = "room"


@pytest.mark.parametrize(
    "spoil",
    [
        _lose,
        _lose_the_last,
        _repeat,
        _swap,
        _change,
        _change_the_type,
        _drop_a_property,
        _rename,
    ],
)
def test_what_is_lost_or_changed_is_found(
    tmp_path: Path,
    arrived: tuple[Path, list[dict[str, Any]]],
    spoil: Callable[[list[dict[str, Any]]], None],
) -> None:
    """A run that lost, repeated, moved or changed anything gives no figure."""
    path, objects = arrived
    spoil(objects)
    with pytest.raises(checking.VerificationError):
        checking.check(_parts(tmp_path, objects), checking.expect(path, 12, checking.segment_form))


def test_an_input_without_running_ids_is_no_input(
    arrived: tuple[Path, list[dict[str, Any]]],
) -> None:
    """The expected ids are those of the file."""
    path, _ = arrived
    path.write_bytes(path.read_bytes().replace(b'{"id":3,', b'{"id":33,'))
    with pytest.raises(checking.VerificationError):
        checking.expect(path, 12, checking.segment_form)


def test_a_command_that_fails_has_no_figures() -> None:
    """Its exit status and the end of its log are shown."""
    with pytest.raises(FailedRunError, match="ended with 7: no luck"):
        measure(("/bin/sh", "-c", "echo no luck >&2; exit 7"))


def test_a_round_in_small(tmp_path: Path) -> None:
    """Each contestant has figures, and there are ratios."""
    wanted = [throughput.Entry("flights", name, ROWS) for name in ("target", "stock", "limit")]
    measured = throughput.measure_all(wanted, 1, tmp_path)
    assert [(entry["contestant"], entry["rows"]) for entry in measured] == [
        ("target", ROWS),
        ("stock", ROWS),
        ("limit", ROWS),
    ]
    for entry in measured:
        assert entry["rows_per_second"] > 0
        assert entry["peak_megabytes"] > 5
        assert entry["cpu_seconds"] > 0
        assert entry["sent_megabytes"] > 0
    ratios = throughput.ratios(measured)
    assert [entry["by"] for entry in ratios] == ["stock", "limit"]
    results = {"rounds": 1, "flights_from": "", "lines": measured, "ratios": ratios}
    assert "| stock " in throughput.table(results)


@pytest.mark.parametrize(
    ("data", "contestant"),
    [
        ("flights", "target, stream maps"),
        ("flights", "stock, stream maps"),
        ("nested", "target"),
        ("nested", "stock, not validating"),
        ("nested", "limit"),
        ("alternating", "limit"),
    ],
)
def test_what_a_contestant_sends_is_what_it_should_send(
    tmp_path: Path, data: str, contestant: str
) -> None:
    """With maps and nested rows too, each in its own form."""
    with Receiver(tmp_path / "parts") as receiver:
        entry = throughput.Entry(data, contestant, ROWS)
        ran, size = throughput.run(entry, receiver, tmp_path, tmp_path / "cache")
    assert ran.seconds > 0
    assert size > 0


def test_growth_repeats_the_rows_with_new_ids(tmp_path: Path) -> None:
    """More rows than the input has repeat it; all ids are different."""
    path = inputs.input_file("flights", 50, tmp_path)
    expected = checking.expect(path, 120, checking.segment_form)
    assert expected.counts == {"flights": 120}
    assert expected.samples["flights", "51"] == expected.samples["flights", "1"]
    assert [entry["rows"] for entry in measure_growth([120], tmp_path, 50)] == [120]


def _line(contestant: str, net: float, start: float, rows: int) -> dict[str, Any]:
    return {
        "data": "flights",
        "contestant": contestant,
        "rows": rows,
        "seconds": start + rows / net,
        "start_seconds": start,
        "net_rows_per_second": net,
        "net_cpu_microseconds_per_row": 1e6 / net,
    }


def test_ratios_with_start_up_are_of_equal_rows() -> None:
    """The slower one's time is computed for the faster one's rows, and compared with the aims."""
    compared = [_line("target", 100_000, 0.5, 100_000), _line("stock", 1_000, 1.0, 5_000)]
    (ratio,) = throughput.ratios(compared)
    assert ratio["net"] == 100.0
    assert ratio["with_start_up"] == pytest.approx(101 / 1.5, abs=0.01)
    assert (ratio["net_aim"], ratio["net_reached"]) == (60, True)
    assert (ratio["with_start_up_aim"], ratio["with_start_up_reached"]) == (45, True)


def test_runs_are_compared_figure_by_figure() -> None:
    """Changed figures are printed with both values; unchanged ones and aims are not."""
    runs: list[dict[str, Any]] = [
        {"measurements": {"startup": [{"what": "run", "seconds": seconds, "cpu": 1, "a_aim": 3}]}}
        for seconds in (0.5, 0.4)
    ]
    text = report.compare(runs[0], runs[1], least=0.05)
    assert "startup / run / seconds" in text
    assert "-20%" in text
    assert "cpu" not in text
    assert report.compare(runs[0], runs[0], least=0.05).startswith("Nothing changed")


def test_the_page_takes_the_figures_between_its_marks(tmp_path: Path) -> None:
    """Text around the marks is kept; a page without marks is not changed."""
    results = {"about": report.about(), "measurements": {"other": [{"case": "a", "rows": 3}]}}
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- figures: begin -->old<!-- figures: end -->\nAfter\n")
    report.write_page(results, page)
    text = page.read_text()
    assert text.startswith("Before\n")
    assert text.endswith("\nAfter\n")
    assert "old" not in text
    assert report.render_all(results) in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="figures: begin"):
        report.write_page(results, page)
