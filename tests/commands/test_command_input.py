"""Errors that end the input early: what was read before is delivered and covered by a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault
from tests.running import KEY, RunResult, lines, record, run, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

both_methods = pytest.mark.parametrize("method", ["set", "bulk"])

SECRET = "Privacy5Matters"
BEFORE = (
    schema("rooms", id="integer", name="string"),
    record("rooms", id=1, name="Beach"),
    state({"rooms": 1}),
    record("rooms", id=2, name="Lake"),
)


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator that accepts one key."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


def _run(folder: Path, segment: Emulator, method: str, fed: bytes, **more: Any) -> RunResult:
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return run(folder, {"write_key": KEY, "method": method, **urls, **more}, fed)


def _committed(segment: Emulator, ran: RunResult) -> None:
    """Check that the lines before the fifth were delivered, and that there is one error."""
    assert (ran.code, ran.states, len(ran.sentences)) == (1, ['{"rooms": 1}'], 1)
    assert [row["id"] for row in segment.rows("rooms")] == ["1", "2"]
    assert [(session.state, session.error) for session in segment.sessions.values()] in (
        [],
        [("finished", "")],
    )
    assert segment.refusals == []
    assert "Traceback" not in ran.log
    assert SECRET not in ran.log


@both_methods
@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param('{"type":"RECORD","stream":"beds","record":{"id":3}}', "beds", id="record"),
        pytest.param('{"type":"BATCH","stream":"beds"}', "beds", id="batch"),
        pytest.param('{"type":"BATCH","stream":"rooms"}', "BATCH", id="batch of a known stream"),
        pytest.param(f'{{"type":"RECORD","stream":"{SECRET}', "not JSON", id="cut"),
        pytest.param(f'["{SECRET}"]', "not a JSON object", id="list"),
        pytest.param(f'{{"kind":"{SECRET}"}}', "`type`", id="no type"),
        pytest.param(f'{{"type":"{SECRET}"}}', "unknown_messages", id="unknown type"),
        pytest.param('{"type":"RECORD","stream":"rooms"}', "`record`", id="no record"),
        pytest.param('{"type":"STATE"}', "`value`", id="no value"),
    ],
)
def test_a_bad_line_in_mid_stream(
    tmp_path: Path, segment: Emulator, method: str, line: str, words: str
) -> None:
    """An invalid line is named by its number, and never shown."""
    ran = _run(tmp_path, segment, method, lines(*BEFORE, line, record("rooms", id=4), state(2)))
    _committed(segment, ran)
    assert "line 5" in ran.sentences[0]
    assert words in ran.sentences[0]


@both_methods
def test_a_reject_too_many(tmp_path: Path, segment: Emulator, method: str) -> None:
    """A reject is named by its line, stream and path, and its value is not shown."""
    bad = record("rooms", id=SECRET, name="x")
    ran = _run(tmp_path, segment, method, lines(*BEFORE, bad, state(2)))
    _committed(segment, ran)
    assert "line 5" in ran.sentences[0]
    assert "'rooms'" in ran.sentences[0]
    assert "id" in ran.sentences[0]


@both_methods
@pytest.mark.parametrize(
    ("message", "names"),
    [
        pytest.param(
            schema("Rooms", id="integer"), ("'rooms'", "'Rooms'", "`collections`"), id="streams"
        ),
        pytest.param(
            schema("beds", id="integer", aB="string", a_b="string"), ("'aB'", "'a_b'"), id="names"
        ),
        pytest.param(
            {"type": "SCHEMA", "stream": "beds", "key_properties": []}, ("beds",), id="no schema"
        ),
    ],
)
def test_a_clash_in_a_schema(
    tmp_path: Path, segment: Emulator, method: str, message: dict[str, Any], names: tuple[str, ...]
) -> None:
    """Two streams of one collection, or two properties of one column, are an error with both."""
    ran = _run(tmp_path, segment, method, lines(*BEFORE, message, state(2)))
    _committed(segment, ran)
    assert [name for name in names if name.strip("'") not in ran.sentences[0]] == []


@both_methods
def test_two_streams_of_one_collection_on_purpose(
    tmp_path: Path, segment: Emulator, method: str
) -> None:
    """Two streams that `collections` sends to one collection are merged there."""
    fed = lines(
        schema("a", id="integer", x="string"),
        schema("b", id="integer", y="string"),
        record("a", id=1, x="one"),
        record("b", id=1, y="two"),
        state(1),
    )
    ran = _run(tmp_path, segment, method, fed, collections={"a": "both", "b": "both"})
    assert (ran.code, ran.states) == (0, ["1"])
    assert segment.tables() == {"both": [{"id": "1", "x": "one", "y": "two"}]}


def test_activate_version_is_one_warning(tmp_path: Path, segment: Emulator) -> None:
    """ACTIVATE_VERSION is one warning per stream: nothing is deleted, and the run goes on."""
    activate = {"type": "ACTIVATE_VERSION", "stream": "rooms", "version": 1}
    ran = _run(tmp_path, segment, "set", lines(*BEFORE, activate, activate, state(2)))
    assert (ran.code, ran.states[-1]) == (0, "2")
    assert ran.log.count("ACTIVATE_VERSION") == 1
    assert "cannot delete" in ran.log


def test_a_delivery_that_fails_by_set(tmp_path: Path, segment: Emulator) -> None:
    """By `set`, what was answered before the failure has its state printed; then exit 1."""
    segment.fault(InjectedFault(call="set", first=2, count=None, status=501))
    # Ten objects fill a call: the first is answered, the second refused.
    fed = lines(
        BEFORE[0],
        *(record("rooms", id=number) for number in range(10)),
        state({"rooms": 10}),
        *(record("rooms", id=number) for number in range(10, 20)),
        state({"rooms": 20}),
    )
    ran = _run(tmp_path, segment, "set", fed, max_concurrency=1)
    assert (ran.code, ran.states, len(ran.sentences)) == (1, ['{"rooms": 10}'], 1)
    assert "501" in ran.sentences[0]
    assert "Traceback" not in ran.log
    assert KEY not in ran.log


def test_a_delivery_that_fails_by_bulk(tmp_path: Path, segment: Emulator) -> None:
    """By bulk, the session is finished with the error's text, no state is printed, exit 1."""
    segment.fault(InjectedFault(call="upload", first=1, count=None, status=501))
    ran = _run(tmp_path, segment, "bulk", lines(*BEFORE, state(2)))
    (session,) = segment.sessions.values()
    assert (ran.code, ran.states, len(ran.sentences)) == (1, [], 1)
    assert session.state == "failed"
    assert "501" in session.error
    assert KEY not in session.error
    assert segment.tables() == {}
    assert "Traceback" not in ran.log


@both_methods
def test_an_input_error_and_then_a_failing_delivery(
    tmp_path: Path, segment: Emulator, method: str
) -> None:
    """Both are logged, and no state is ahead of the records."""
    segment.fault(InjectedFault(call="any", first=1, count=None, status=501))
    ran = _run(tmp_path, segment, method, lines(*BEFORE, "no JSON"))
    assert (ran.code, ran.states) == (1, [])
    assert len(ran.sentences) == 2
    assert "Traceback" not in ran.log
