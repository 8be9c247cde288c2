"""How the command ends: refused keys, signals, bugs; what it prints while the tap is idle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault
from tests.running import KEY, environment, lines, record, run, schema, start, state

if TYPE_CHECKING:
    from pathlib import Path

both_methods = pytest.mark.parametrize("method", ["set", "bulk"])
FED = (
    schema("rooms", id="integer", name="string"),
    record("rooms", id=1, name="Beach"),
    record("rooms", id=2, name="Lake"),
    state({"rooms": 2}),
)


def _config(segment: Emulator, method: str, **more: Any) -> dict[str, Any]:
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return {"write_key": KEY, "method": method, **urls, **more}


@both_methods
def test_a_wrong_key_fails_at_once(tmp_path: Path, method: str) -> None:
    """On an idle, open stdin a refused key ends the run within two seconds of the first record."""
    with Emulator(write_key="another-key") as segment:
        with start(tmp_path, _config(segment, method)) as command:
            command.read_until(logged="target-segment-objects v")
            command.write(*FED)
            began = time.monotonic()
            assert command.process.wait(20) == 1
            took = time.monotonic() - began
            ran = command.ended()
        assert [request.status for request in segment.requests] == [401]
    assert took < 2
    assert (ran.states, len(ran.sentences)) == ([], 1)
    assert "write_key" in ran.sentences[0]
    assert "Traceback" not in ran.log
    assert KEY not in ran.log


def test_an_idle_tap_by_set(tmp_path: Path) -> None:
    """By `set`, records and state of an idle tap are sent and printed within seconds."""
    with Emulator() as segment, start(tmp_path, _config(segment, "set")) as command:
        command.read_until(logged="target-segment-objects v")
        command.write(*FED)
        assert command.read_until(states=1) < 2.5
        assert [row["id"] for row in segment.rows("rooms")] == ["1", "2"]
        command.write(state({"rooms": 3}))
        assert command.read_until(states=2) < 2.5
        ran = command.end()
    assert (ran.code, ran.states) == (0, ['{"rooms": 2}', '{"rooms": 3}'])


def test_states_are_printed_while_waiting_for_segment(tmp_path: Path) -> None:
    """A state that is durable within a second of the last one is printed during the wait."""
    with Emulator() as segment:
        third = segment.hold("set", first=3, count=None, before=True)
        with start(tmp_path, _config(segment, "set", max_concurrency=1)) as command:
            command.read_until(logged="target-segment-objects v")
            records = [record("rooms", id=number, name="x") for number in range(80)]
            command.write(
                schema("rooms", id="integer", name="string"),
                *records[:10],
                state({"at": 10}),
            )
            command.read_until(states=1)
            command.write(
                *records[10:20],
                state({"at": 20}),
                *records[20:],
                state({"at": 80}),
            )
            assert third.wait_for(1)
            command.read_until(states=2)
            assert bytes(command.out).splitlines() == [b'{"at": 10}', b'{"at": 20}']
            third.release()
            ran = command.end()
    assert (ran.code, ran.states[-1]) == (0, '{"at": 80}')


def test_an_idle_tap_by_bulk(tmp_path: Path) -> None:
    """By bulk, an old session is finished while the tap is idle; a new record opens another."""
    with Emulator() as segment:
        config = _config(segment, "bulk", checkpoint_seconds=0.1)
        with start(tmp_path, config) as command:
            command.write(*FED)
            command.read_until(states=1)
            assert len(segment.rows("rooms")) == 2
            command.write(record("rooms", id=3), state({"rooms": 3}))
            command.read_until(states=2)
            ran = command.end()
        assert [session.state for session in segment.sessions.values()] == ["finished"] * 2
    assert (ran.code, ran.states) == (0, ['{"rooms": 2}', '{"rooms": 3}'])


@both_methods
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_on_an_idle_tap(tmp_path: Path, method: str, number: signal.Signals) -> None:
    """SIGTERM and SIGINT: what was read is delivered, its state printed, exit 143 or 130."""
    with Emulator() as segment:
        with start(tmp_path, _config(segment, method)) as command:
            # The first call shows that the records were read.
            with segment.hold(count=1) as hold:
                command.write(*FED)
                assert hold.wait_for(1)
            command.process.send_signal(number)
            ran = command.ended()
        assert [row["id"] for row in segment.rows("rooms")] == ["1", "2"]
        assert [session.error for session in segment.sessions.values()] in ([], [""])
        assert segment.refusals == []
    assert (ran.code, ran.states) == (128 + number, ['{"rooms": 2}'])
    assert "Traceback" not in ran.log


def test_both_signals_are_one_request(tmp_path: Path) -> None:
    """SIGINT and then SIGTERM, as Meltano's Ctrl-C sends them, are one request to stop."""
    with Emulator() as segment:
        with start(tmp_path, _config(segment, "bulk")) as command:
            with segment.hold("finish") as hold:
                command.write(*FED)
                command.read_until(logged="session started")
                command.process.send_signal(signal.SIGINT)
                assert hold.wait_for(1)
                command.process.send_signal(signal.SIGTERM)
            ran = command.ended()
        assert len(segment.rows("rooms")) == 2
    assert (ran.code, ran.states) == (130, ['{"rooms": 2}'])


def test_a_signal_before_any_record(tmp_path: Path) -> None:
    """After a stop before the first record, Segment is not called."""
    with Emulator() as segment:
        with start(tmp_path, _config(segment, "bulk")) as command:
            command.write(state(7))
            command.read_until(states=1)
            command.process.send_signal(signal.SIGTERM)
            ran = command.ended()
        assert segment.requests == []
    assert (ran.code, ran.states) == (143, ["7"])


BUG = """
from target_segment_objects.fastpath.compiled_stream import CompiledStream

objects = CompiledStream.encode_records


def objects_but_fail(self, lines):
    if "Lake" in repr(lines):
        raise LookupError("a bug")
    return objects(self, lines)


CompiledStream.encode_records = objects_but_fail
"""


@both_methods
def test_a_bug_is_loud_and_leaves_nothing_open(tmp_path: Path, method: str) -> None:
    """An unexpected exception shows a traceback; no session stays open, no state is ahead."""
    (tmp_path / "sitecustomize.py").write_text(BUG, encoding="utf-8")
    env = environment(PYTHONPATH=str(tmp_path))
    with Emulator() as segment:
        ran = run(tmp_path, _config(segment, method), lines(*FED), env=env)
        assert [session.state for session in segment.sessions.values()] in ([], ["failed"])
    assert ran.code == 1
    assert ran.states == []
    assert "Traceback" in ran.log
    assert "LookupError" in ran.log
    assert KEY not in ran.log


def test_a_closed_stdout_is_one_sentence(tmp_path: Path) -> None:
    """When stdout was closed by its reader: exit 1, one line, and no session stays open."""
    with Emulator() as segment:
        with start(tmp_path, _config(segment, "set")) as command:
            assert command.process.stdout is not None
            command.process.stdout.close()
            command.write(*FED)
            ran = command.end()
        assert len(segment.rows("rooms")) == 2
    assert (ran.code, len(ran.sentences)) == (1, 1)
    assert "Traceback" not in ran.log


def test_a_failure_wakes_an_idle_tap(tmp_path: Path) -> None:
    """A delivery that fails for good ends the run while stdin is open and idle."""
    with Emulator() as segment, start(tmp_path, _config(segment, "bulk")) as command:
        segment.fault(InjectedFault(call="start", count=None, status=501))
        command.write(*FED)
        ran = command.ended()
    assert (ran.code, ran.states, len(ran.sentences)) == (1, [], 1)


@pytest.mark.parametrize(
    ("closed", "words"), [(">&-", "stdout is closed"), ("<&-", "stdin is closed")]
)
def test_what_the_shell_has_closed_is_one_sentence(tmp_path: Path, closed: str, words: str) -> None:
    """A closed stdin or stdout is an error of the caller, and not shown as a bug."""
    with Emulator() as segment:
        config = tmp_path / "config.json"
        config.write_text(json.dumps(_config(segment, "set")), encoding="utf-8")
        (tmp_path / "in").write_bytes(lines(*FED))
        feed = f"< {tmp_path / 'in'}" if closed != "<&-" else ""
        command = f"{sys.executable} -m target_segment_objects.target --config {config}"
        ran = subprocess.run(
            ["/bin/sh", "-c", f"exec {command} {feed} {closed}"],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
