"""The log of a run: each warning once, what was done to values, and a line for each collection."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.plan import ConversionCode
from target_segment_objects.reporting.remarks import CONVERSION_REMARKS
from target_segment_objects.reporting.warnings import Report
from target_segment_objects.singer.metrics import Metrics
from target_segment_objects.source import SourceRecord, SourceStream
from tests.running import KEY, environment, lines, record, run, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGGER = logging.getLogger("tests.report")
ORIGIN = SourceRecord(SourceStream("rooms", b"{}", None), b"{}", 1)
ROOMS = schema("rooms", id="integer", name="string")
GUESTS = schema("guests", id="integer", name="string")
LONG = "x" * 600

STRUCTURED = """
version: 1
disable_existing_loggers: false
formatters:
  structured:
    (): singer_sdk.logging.StructuredFormatter
handlers:
  json:
    class: logging.FileHandler
    filename: json.jsonl
    formatter: structured
root:
  level: INFO
  handlers: [json]
"""
"""As Meltano asks for it, but into a file."""


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator of one key."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


def _config(segment: Emulator, method: str, **more: Any) -> dict[str, Any]:
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return {"write_key": KEY, "method": method, **urls, **more}


def _points(log: str) -> list[dict[str, Any]]:
    """The METRIC lines, as a consumer of the SDK's lines parses them."""
    heads = (line.partition("METRIC: ")[2] for line in log.splitlines() if "METRIC: " in line)
    return [json.loads(text) for text in heads]


def test_a_warning_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it occurs."""
    report = Report(LOGGER)
    for sentence in ("one", "two", "one"):
        report.warn(sentence)
    assert caplog.messages == ["one", "two"]
    assert list(report.warnings) == ["one", "two"]


def test_conversions_in_the_summary(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each stream and kind of conversion, properties with the most values first."""
    caplog.set_level(logging.INFO)
    report = Report(LOGGER)
    for number in range(7):
        report.add_conversions(
            "rooms", "rooms", {(ConversionCode.COERCED, f"p{number}"): number + 1}
        )
    counts = {(ConversionCode.COERCED, "p0"): 20, (ConversionCode.DATE_NORMALIZED, "at"): 1}
    report.add_conversions("rooms", "rooms", counts)
    report.count_objects("rooms", "rooms")
    report.count_objects("rooms", "rooms")
    report.log_summary()
    report.log_summary()
    coerced, dated, done = caplog.messages
    assert "stream=rooms values=48 properties=p0,p6,p5,p4,p3 and 2 more; correct " in coerced
    assert dated.startswith("Dates completed to RFC 3339: ")
    assert done.startswith("Collection done: collection=rooms streams=rooms read=2 sent=0 ")
    assert "undelivered=2 coerced=48 " in done


@pytest.mark.parametrize("code", ConversionCode)
def test_a_remark_says_what_to_do(code: ConversionCode, caplog: pytest.LogCaptureFixture) -> None:
    """Every kind of conversion is reported, with a setting or a place to correct it."""
    report = Report(LOGGER)
    report.add_conversions("rooms", "rooms", {(code, "name"): 3})
    report.log_summary(with_collections=False)
    (sentence,) = caplog.messages
    _, _, advice = sentence.partition("stream=rooms values=3 properties=name; ")
    assert "`" in advice or "tap" in advice


def test_a_thousand_warnings_of_a_kind_silence_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Further warnings of a kind are counted; those of other kinds are logged."""
    report = Report(LOGGER)
    for number in range(1_200):
        report.warn(f"warning {number}", "many")
    report.warn("another", "few")
    report.add_reject(RejectedRecordError([Fault((), FaultCode.TYPE)], stream="rooms"), ORIGIN)
    report.log_summary(with_collections=False)
    assert len(caplog.messages) == 1_000 + 4
    another, reject, rejects, omitted = caplog.messages[1_000:]
    assert another == "another"
    assert reject == f"stream 'rooms' has rejected records: {Fault((), FaultCode.TYPE).message}"
    assert rejects.startswith("Records rejected: stream=rooms records=1 reasons=type:1; ")
    assert omitted.startswith("Warnings omitted: kind=many count=200; ")


def test_rejects_of_a_kind_are_logged_once_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    """Even if their sentences differ, for example by a request id; all are counted."""
    report = Report(LOGGER)
    for number in range(800):
        fault = Fault(("name",), FaultCode.REFUSED, "error", (f"request_id={number}",))
        for stream in ("rooms", "guests"):
            report.add_reject(RejectedRecordError([fault], stream=stream), ORIGIN)
    report.log_summary(with_collections=False)
    first, second, rooms, guests = caplog.messages
    assert (
        "stream 'rooms' has rejected records: name: Segment refused the object: request_id=0"
        in first
    )
    assert "stream 'guests'" in second
    for sentence in (rooms, guests):
        assert "records=800 reasons=refused:800; " in sentence
    assert "Segment's response" in rooms
    assert "replay" not in rooms


def test_a_line_a_collection_by_set(segment: Emulator, tmp_path: Path) -> None:
    """Records read, sent, merged and rejected, and the calls with their retries and waits."""
    segment.fault(InjectedFault(call="set", status=503, headers={"Retry-After": "0"}))
    config = _config(
        segment, "set", max_rejects=1, dead_letter_path=str(tmp_path / "dead"), max_concurrency=1
    )
    fed = lines(
        ROOMS,
        record("rooms", id=1, name="a"),
        record("rooms", id=1, name=LONG),
        record("rooms", id=2, name=7),
        record("rooms", name="no key"),
        GUESTS,
        record("guests", id=1, name="b"),
        state(1),
    )
    ran = run(tmp_path, config, fed)
    assert (ran.code, ran.states) == (0, ["1"])
    (rooms,) = [line for line in ran.log.splitlines() if "collection=rooms " in line]
    (guests,) = [line for line in ran.log.splitlines() if "collection=guests " in line]
    assert "read=4 sent=2 merged=1 rejected=1 filtered=0 undelivered=0 coerced=1" in rooms
    assert " long_strings=1 " in rooms
    assert " read=1 sent=1 merged=0 rejected=0 " in guests
    assert rooms.count("retries=1 ") + guests.count("retries=1 ") == 1
    sent = sum(len(request.body) for request in segment.requests)
    sizes = [int(line.partition(" bytes=")[2].split()[0]) for line in (rooms, guests)]
    assert sum(sizes) == sent
    assert "Bulk sessions" not in ran.log


def test_a_line_a_collection_by_bulk(segment: Emulator, tmp_path: Path) -> None:
    """Bytes are those of lines, whatever the order of streams; requests are the sessions'."""
    records = [
        record(stream, id=number, name="x" * number)
        for number in range(60)
        for stream in ("rooms", "guests")[: 1 + number % 2]
    ]
    ran = run(tmp_path, _config(segment, "bulk"), lines(ROOMS, GUESTS, *records, state(1)))
    assert ran.code == 0
    (session,) = segment.sessions.values()
    assert session.state == "finished"
    for stream, count in (("rooms", 60), ("guests", 30)):
        (line,) = [line for line in ran.log.splitlines() if f"collection={stream} " in line]
        assert f"read={count} sent={count} merged=0" in line
        assert "requests=" not in line
        sizes = [
            len(
                json.dumps(
                    {"id": str(n), "collection": stream, "properties": {"name": "x" * n}},
                    separators=(",", ":"),
                )
            )
            + 1
            for n in (range(60) if stream == "rooms" else range(1, 60, 2))
        ]
        assert line.endswith(f" bytes={sum(sizes)}")
    assert "Bulk sessions done: sessions=1 parts=1 " in ran.log
    assert "requests=3 retries=0 wait_seconds=0.0" in ran.log


def test_metrics_are_the_sdks(segment: Emulator, tmp_path: Path) -> None:
    """A counter of records for each stream, one of requests for each call, and the duration."""
    fed = lines(ROOMS, GUESTS, *(record("rooms", id=n, name="a") for n in range(25)))
    ran = run(tmp_path, _config(segment, "set"), fed)
    points = _points(ran.log)
    assert {(point["type"], point["metric"]) for point in points} == {
        ("counter", "record_count"),
        ("counter", "http_request_count"),
        ("timer", "job_duration"),
    }
    assert all(isinstance(point["tags"].pop("pid"), int) for point in points)
    by_metric = {
        point["metric"]: point for point in points if point["tags"].get("stream") != "guests"
    }
    assert by_metric["record_count"]["value"] == 25
    assert by_metric["record_count"]["tags"] == {"stream": "rooms"}
    assert by_metric["http_request_count"]["value"] == 3
    assert by_metric["http_request_count"]["tags"] == {"endpoint": "set"}
    assert by_metric["job_duration"]["tags"] == {"job_type": "load", "status": "succeeded"}
    assert 0 < by_metric["job_duration"]["value"] < 60


def test_a_failed_run_says_so(segment: Emulator, tmp_path: Path) -> None:
    """Undelivered records are counted as such, and the job has failed."""
    segment.fault(InjectedFault(call="upload", count=None, status=501))
    ran = run(tmp_path, _config(segment, "bulk"), lines(ROOMS, record("rooms", id=1, name="a")))
    assert ran.code == 1
    assert " read=1 sent=0 merged=0 rejected=0 filtered=0 undelivered=1 " in ran.log
    assert _points(ran.log)[-1]["tags"]["status"] == "failed"


def test_metrics_come_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They have the counts since the last ones; at the end the rest, for all streams."""
    now = [0.0]
    monkeypatch.setattr("target_segment_objects.singer.metrics.time.monotonic", lambda: now[0])
    caplog.set_level(logging.INFO)
    report = Report(LOGGER)
    metrics = Metrics(report.counts)
    report.counts.stream("guests", "guests")
    counts = []
    for seconds, more in ((59, 5), (60, 1), (61, 9), (121, 0)):
        now[0] = seconds
        report.count_objects("rooms", "rooms", more)
        caplog.clear()
        metrics.tick()
        counts.append([point["value"] for point in _points("\n".join(caplog.messages))])
    assert counts == [[], [6], [], [9]]
    caplog.clear()
    metrics.end(succeeded=True)
    points = _points("\n".join(caplog.messages))
    assert [point["value"] for point in points[:-1]] == [0, 0]


def test_structured_logs_have_the_numbers_as_fields(segment: Emulator, tmp_path: Path) -> None:
    """With the SDK's structured formatter, which Meltano uses, nothing must be parsed."""
    (tmp_path / "log.yml").write_text(STRUCTURED, encoding="utf-8")
    env = environment(SINGER_SDK_LOG_CONFIG="log.yml")
    fed = lines(ROOMS, *(record("rooms", id=n, name="a") for n in range(25)))
    assert run(tmp_path, _config(segment, "bulk"), fed, env=env).code == 0
    entries = [json.loads(line) for line in (tmp_path / "json.jsonl").read_bytes().splitlines()]
    (done,) = [entry for entry in entries if entry["message"].startswith("Collection done")]
    assert done["stream_name"] == "rooms"
    assert {name: done["extra"][name] for name in ("collection", "read", "sent", "merged")} == {
        "collection": "rooms",
        "read": 25,
        "sent": 25,
        "merged": 0,
    }
    (sessions,) = [entry for entry in entries if entry["message"].startswith("Bulk sessions")]
    assert sessions["extra"]["requests"] == 3
    (count,) = [
        entry["metric_info"]
        for entry in entries
        if entry["message"] == "METRIC" and entry["metric_info"]["metric"] == "record_count"
    ]
    assert (count["type"], count["value"], count["tags"]["stream"]) == ("counter", 25, "rooms")


def test_what_was_counted_costs_no_message_a_record(segment: Emulator, tmp_path: Path) -> None:
    """The log of many records is as long as that of few."""
    logs = []
    for count in (10, 3_000):
        fed = lines(ROOMS, *(record("rooms", id=n, name=LONG) for n in range(count)), state(count))
        logs.append(len(run(tmp_path, _config(segment, "bulk"), fed).log.splitlines()))
    assert logs[0] == logs[1]


def test_every_conversion_has_its_remark() -> None:
    """Without one, a conversion would be counted, and no warning would say so."""
    assert set(CONVERSION_REMARKS) == set(ConversionCode)
