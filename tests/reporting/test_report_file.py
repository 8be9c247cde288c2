"""The report at `report_path`: its schema, its numbers after good and bad ends, and the file."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from target_segment_objects.delivery import PartUploaded, SessionStateChanged
from target_segment_objects.emulator import Emulator, Hold, InjectedFault
from target_segment_objects.errors import Attempt, ConfigurationError
from target_segment_objects.reporting.counts import RunCounts
from target_segment_objects.reporting.document import report_document
from target_segment_objects.reporting.observer import DeliveryObserver
from target_segment_objects.reporting.report_file import ReportFile
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.client.raw_server import RawServer, answer, answering
from tests.running import KEY, lines, load, record, run, schema, start, state

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_bytes())
VALID = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
ROOMS = schema("rooms", id="integer", name="string")
HUNDRED = [record("rooms", id=number, name="x") for number in range(100)]
FED = lines(ROOMS, *HUNDRED, state(1))
BOTH = pytest.mark.parametrize("method", ["set", "bulk"])


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator of one key."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


def _config(segment: Emulator | RawServer, folder: Path, **more: Any) -> dict[str, Any]:
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return {"write_key": KEY, **urls, "report_path": str(folder / "report.json"), **more}


def _report(folder: Path) -> dict[str, Any]:
    """The report, which must be valid, and its folder must contain no temporary file."""
    text = (folder / "report.json").read_text(encoding="utf-8")
    report: dict[str, Any] = json.loads(text)
    VALID.validate(report)
    assert KEY not in text
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
    for row in [report["total"], *report["collections"]]:
        kept = (row[name] for name in ("sent", "merged", "rejected", "filtered", "undelivered"))
        assert row["read"] == sum(kept)
    return report


def test_the_schema_is_one() -> None:
    """It is a JSON Schema, and strict: it refuses unknown fields."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    report = report_document(RunCounts(), method="set", warnings=[], stopped=False, error=None)
    assert VALID.is_valid(report)
    assert not VALID.is_valid({**report, "more": 1})
    assert not VALID.is_valid({**report, "total": {**report["total"], "more": 1}})


def test_every_field_is_described() -> None:
    """The page for people describes every field of the schema for programs."""
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    names: set[str] = set()
    waiting: list[Any] = [SCHEMA]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            names |= part.get("properties", {}).keys()
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    assert "undelivered" in names
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_a_run_by_bulk(segment: Emulator, tmp_path: Path) -> None:
    """Sessions and parts have Segment's ids; a collection has no requests."""
    ran = run(tmp_path, _config(segment, tmp_path, part_size_bytes=2_000), FED)
    assert ran.code == 0
    report = _report(tmp_path)
    assert (report["status"], report["method"], report["error"]) == ("succeeded", "bulk", None)
    (rooms,) = report["collections"]
    assert (rooms["read"], rooms["sent"], rooms["requests"]) == (100, 100, None)
    (session,) = report["bulk"]["sessions"]
    assert [session["sync_id"]] == list(segment.sessions)
    assert (session["state"], session["start_request_id"]) == ("finished", "start-1")
    assert session["finish_request_id"] == "finish-1"
    parts = session["parts"]
    assert sum(part["objects"] for part in parts) == 100
    assert sum(part["bytes"] for part in parts) == rooms["bytes"]
    assert [part["request_id"] for part in parts] == [
        f"upload-{number}" for number in range(1, len(parts) + 1)
    ]
    assert all(part["part_id"] in ran.log for part in parts)
    assert report["requests"] == {"start": 1, "upload": len(parts), "finish": 1}
    sent = [request.headers.get("content-length") for request in segment.requests]
    assert report["bulk"]["bytes"] == sum(int(length or 0) for length in sent)


def test_a_run_by_set(segment: Emulator, tmp_path: Path) -> None:
    """Requests, retries and waits are the collection's; failed requests are listed."""
    segment.fault(InjectedFault(call="set", first=2, status=503, headers={"Retry-After": "1"}))
    run(tmp_path, _config(segment, tmp_path, method="set", max_concurrency=1), FED)
    report = _report(tmp_path)
    (rooms,) = report["collections"]
    assert (rooms["sent"], rooms["requests"], rooms["retries"]) == (100, 11, 1)
    assert 1 <= rooms["wait_seconds"] < 20
    assert rooms["last_request_id"] == "set-11"
    assert report["bulk"] is None
    (failed,) = report["failed_requests"]
    assert (failed["call"], failed["collection"], failed["attempt"]) == ("set", "rooms", 1)
    assert (failed["status"], failed["request_id"]) == (503, "set-2")
    assert report["seconds"]["waiting_for_delivery"] > 0.5


def test_merged_rejected_and_filtered(segment: Emulator, tmp_path: Path) -> None:
    """Every record that was read is one of these, or was sent as an object."""
    config = _config(
        segment,
        tmp_path,
        method="set",
        max_rejects=-1,
        dead_letter_path=str(tmp_path / "dead.jsonl"),
        stream_maps={"rooms": {"__filter__": "id != 5"}},
        max_concurrency=1,
    )
    fed = lines(
        schema("rooms", id="integer", name="string"),
        *(record("rooms", id=number, name="x") for number in (1, 2, 3, 1, 1, 5, 6)),
        record("rooms", id=7, name="y" * 40_000),
    )
    load(config, fed)
    (rooms,) = _report(tmp_path)["collections"]
    counts = {name: rooms[name] for name in ("read", "sent", "merged", "rejected", "filtered")}
    assert counts == {"read": 8, "sent": 4, "merged": 2, "rejected": 1, "filtered": 1}


@BOTH
def test_what_segment_refuses_is_rejected(segment: Emulator, tmp_path: Path, method: str) -> None:
    """By `set` an object that is answered 400 alone, by bulk one that is too large alone."""
    fault = {"set": InjectedFault(call="set", count=None, status=400)}.get(
        method, InjectedFault(call="upload", count=None, status=413)
    )
    segment.fault(fault)
    config = _config(
        segment,
        tmp_path,
        method=method,
        max_rejects=-1,
        dead_letter_path=str(tmp_path / "dead.jsonl"),
    )
    assert run(tmp_path, config, lines(ROOMS, *HUNDRED[:3])).code == 0
    report = _report(tmp_path)
    assert (report["total"]["read"], report["total"]["rejected"]) == (3, 3)
    assert report["records_rejected"] == 3


@BOTH
def test_a_failed_run(segment: Emulator, tmp_path: Path, method: str) -> None:
    """The report has the error with call, status and attempts, and what was not delivered."""
    segment.fault(InjectedFault(call="any", count=None, status=500))
    config = _config(segment, tmp_path, method=method, retry_seconds=0)
    ran = run(tmp_path, config, FED)
    assert ran.code == 1
    report = _report(tmp_path)
    assert report["status"] == "failed"
    assert report["error"]["kind"] == "UnavailableError"
    assert report["error"]["message"] in ran.log
    assert (report["error"]["http_status"], report["error"]["attempts"]) == (500, 3)
    assert (report["total"]["sent"], report["total"]["undelivered"]) == (0, 100)
    assert {request["status"] for request in report["failed_requests"]} == {500}


def test_a_session_that_failed(segment: Emulator, tmp_path: Path) -> None:
    """A refused upload fails it; if the answer to its finish is lost, it is unknown."""
    for call, state_of_it in (("upload", "failed"), ("finish", "unknown")):
        with Emulator() as emulator:
            emulator.fault(InjectedFault(call=call, count=None, status=501))
            assert run(tmp_path, _config(emulator, tmp_path), FED).code == 1
        (session,) = _report(tmp_path)["bulk"]["sessions"]
        assert session["state"] == state_of_it
    segment.fault(InjectedFault(call="upload", status=404))
    assert run(tmp_path, _config(segment, tmp_path), FED).code == 0
    sessions = _report(tmp_path)["bulk"]["sessions"]
    assert [session["state"] for session in sessions] == ["replaced", "finished"]


def test_an_error_in_the_input(segment: Emulator, tmp_path: Path) -> None:
    """What came before it is delivered, and the report has both."""
    assert run(tmp_path, _config(segment, tmp_path), FED + b"no message\n").code == 1
    report = _report(tmp_path)
    assert (report["status"], report["error"]["kind"]) == ("failed", "MessageError")
    assert (report["total"]["sent"], report["total"]["undelivered"]) == (100, 0)


def test_a_wrong_key(tmp_path: Path) -> None:
    """The run ends at the start; the report exists, and does not contain the key."""
    echo = answer(401, body=f"who is {KEY}?".encode())
    with RawServer(answering(echo, echo, echo)) as server:
        assert run(tmp_path, _config(server, tmp_path), FED).code == 1
    assert _report(tmp_path)["error"]["kind"] == "AuthenticationError"


def test_a_stopped_run(segment: Emulator, tmp_path: Path) -> None:
    """Its status is `stopped`, and it has the time spent waiting for the tap."""
    with Hold() as hold, start(tmp_path, _config(segment, tmp_path)) as command:
        segment.fault(InjectedFault(call="start", hold=hold))
        command.write(ROOMS, *HUNDRED)
        assert hold.wait_for(1)
        hold.release()
        command.process.send_signal(signal.SIGTERM)
        assert command.ended().code == 143
    report = _report(tmp_path)
    assert (report["status"], report["total"]["sent"]) == ("stopped", 100)
    assert 0 < report["seconds"]["waiting_for_input"] < report["seconds"]["total"]


def test_warnings_are_in_it(segment: Emulator, tmp_path: Path) -> None:
    """Those of the settings, of the run and of its end, each once."""
    fed = lines(
        schema("rooms", [], id="integer", name="string"),
        *(record("rooms", id=number, name="x" * 600) for number in range(3)),
    )
    run(tmp_path, _config(segment, tmp_path, batch_size_rows=7), fed)
    warnings = _report(tmp_path)["warnings"]
    for sentence in (
        "the setting batch_size_rows has no effect",
        "stream 'rooms' has no key properties",
        "stream=rooms values=3 properties=name",
    ):
        assert sum(sentence in warning for warning in warnings) == 1


def test_a_report_replaces_the_one_before(segment: Emulator, tmp_path: Path) -> None:
    """Also through a link, which is kept; the old report stays until the new one is complete."""
    real = tmp_path / "real"
    real.mkdir()
    old = report_document(RunCounts(), method="set", warnings=["old"], stopped=False, error=None)
    ReportFile(real / "report.json").write(old)
    before = (real / "report.json").read_bytes()
    (tmp_path / "report.json").symlink_to(real / "report.json")
    with start(tmp_path, _config(segment, tmp_path)) as command:
        command.write(ROOMS, *HUNDRED)
        command.read_until(logged="Bulk session started")
        assert (real / "report.json").read_bytes() == before
        assert command.end().code == 0
    assert (tmp_path / "report.json").is_symlink()
    assert _report(tmp_path)["total"]["sent"] == 100
    assert list(real.iterdir()) == [real / "report.json"]


def test_a_path_that_cannot_be_written_is_an_error_at_the_start(
    segment: Emulator, tmp_path: Path
) -> None:
    """The error comes before anything is sent, and names the setting."""
    path = tmp_path / f"{'x' * 300}.json"
    ran = run(tmp_path, _config(segment, tmp_path, report_path=str(path)), FED)
    assert ran.code == 1
    (sentence,) = ran.sentences
    assert sentence.startswith("report_path")
    assert segment.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    """The report is first written to a temporary file in its folder."""
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match=r"report_path: .* cannot be written"):
        ReportFile(tmp_path / "report.json")
    tmp_path.chmod(0o700)


def test_a_report_that_fails_at_the_end_fails_no_run(segment: Emulator, tmp_path: Path) -> None:
    """The records are delivered and the state printed; the log says what is missing."""
    folder = tmp_path / "gone"
    folder.mkdir()
    config = _config(segment, tmp_path, report_path=str(folder / "report.json"))
    with start(tmp_path, config) as command:
        command.write(ROOMS, *HUNDRED, state(1))
        command.read_until(logged="Bulk session started")
        folder.rmdir()
        ran = command.end()
    assert (ran.code, ran.states) == (0, ["1"])
    assert ran.sentences == []
    (line,) = [line for line in ran.log.splitlines() if "report_path" in line]
    assert "WARNING" in line
    assert "report_path: the report cannot be written: No such file" in line


def test_a_bug_is_named_by_its_kind_alone() -> None:
    """Its text may hold a record's value."""
    report = report_document(
        RunCounts(), method="set", warnings=[], stopped=False, error=KeyError("secret")
    )
    VALID.validate(report)
    assert report["error"]["kind"] == "KeyError"
    assert "secret" not in json.dumps(report)


def test_lists_are_bounded() -> None:
    """The newest parts, sessions and failed requests are listed; the others are counted."""
    tally = RunCounts()
    observer = DeliveryObserver(tally, logging.getLogger(__name__))
    for number in range(1_200):
        observer(SessionStateChanged(f"sync-{number}", "open", 0))
        for part in range(2):
            observer(PartUploaded(f"sync-{number}", f"part-{number}-{part}", part, 1, 2, 2))
    for number in range(130):
        tally.count_request(
            Attempt(
                503,
                "busy",
                call="upload",
                number=1 + number,
                request_id=f"u-{number}",
                bytes=1,
                waited_seconds=0.5,
            )
        )
    report = report_document(tally, method="bulk", warnings=[], stopped=False, error=None)
    VALID.validate(report)
    bulk = report["bulk"]
    listed = [part["part_id"] for session in bulk["sessions"] for part in session["parts"]]
    assert len(listed) == 1_000
    assert listed[-1] == "part-1199-1"
    assert (bulk["parts"], bulk["parts_beyond_limit"]) == (2_400, 1_400)
    assert (len(bulk["sessions"]), bulk["sessions_beyond_limit"]) == (1_000, 200)
    assert report["failed_requests_beyond_limit"] == 30
    assert report["failed_requests"][-1]["request_id"] == "u-129"
    assert (bulk["requests"], bulk["retries"], bulk["wait_seconds"]) == (130, 129, 65)


@pytest.mark.parametrize("name", ["dead_letter_path", "local_warehouse"])
def test_the_report_replaces_no_file_of_the_runs(tmp_path: Path, name: str) -> None:
    """However its path is written."""
    (tmp_path / "folder").mkdir()
    config = {
        "local_warehouse": str(tmp_path / "w.duckdb"),
        name: str(tmp_path / "own"),
        "report_path": str(tmp_path / "folder" / ".." / "own"),
    }
    with pytest.raises(ConfigurationError, match=f"report_path and {name} are the same file"):
        TargetSegmentObjects(config=config)


def test_the_report_replaces_nothing_but_a_report(tmp_path: Path) -> None:
    """Not a configuration; an empty file and an earlier report may be replaced."""
    path = tmp_path / "config.json"
    path.write_text('{"write_key": "target-segment-objects"}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is not a report"):
        ReportFile(path)
    assert path.read_text(encoding="utf-8").startswith('{"write_key"')
    path.write_bytes(b"")
    for _ in range(2):
        tally = RunCounts()
        report = report_document(tally, method="bulk", warnings=[], stopped=False, error=None)
        ReportFile(path).write(report)
    assert b'"format": 1' in path.read_bytes()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="it needs Linux's /proc")
def test_a_report_does_not_replace_a_file_that_cannot_be_read() -> None:
    """It may be anything. This one cannot be read by anybody, not even by root."""
    with pytest.raises(ConfigurationError, match="is not a report"):
        ReportFile(Path("/proc/self/mem"))


def test_warnings_about_the_configuration_are_in_the_report(
    segment: Emulator, tmp_path: Path
) -> None:
    """Those that come before the run is built are, too: here a variable that differs."""
    config = _config(segment, tmp_path, collections={"rooms": "suites"})
    env = {"TARGET_SEGMENT_OBJECTS_COLLECTIONS": '{"rooms": "cells"}'}
    ran = run(tmp_path, config, FED, env=env)
    assert ran.code == 0
    (warning,) = _report(tmp_path)["warnings"]
    assert "differ in `rooms`; the file is used" in warning
    assert ran.log.count("differ in `rooms`") == 1
