"""When a run prints states: after its threads have ended, and after its rejects are synced."""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import DeadLetterError, SessionRefusedError
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.builders import BackgroundCall
from tests.running import KEY, lines, load, record, schema, state

if TYPE_CHECKING:
    from pathlib import Path

ROOMS = schema("rooms", id="integer", name="string")
CALL = [record("rooms", id=number, name="x") for number in range(10)]


def _fed(target: TargetSegmentObjects, fed: bytes) -> None:
    target.process_lines(io.BytesIO(fed))  # type: ignore[arg-type]


def test_a_state_waits_for_its_records() -> None:
    """While a response is withheld, no state of its records is printed."""
    out = io.TextIOWrapper(io.BytesIO())
    with Emulator(write_key=KEY) as segment, contextlib.redirect_stdout(out):
        held = segment.hold("set")
        config = {"write_key": KEY, "method": "set", "objects_url": segment.url}
        target = TargetSegmentObjects(config=config)
        _fed(target, lines(ROOMS, CALL[0], state(1), *CALL[1:], state(10)))
        assert held.wait_for(1)
        target.run.do_due_work()
        assert out.buffer.getvalue() == b""
        held.release()
        target.process_endofpipe()
    assert out.buffer.getvalue() == b"10\n"


def test_closing_counts_what_is_answered_meanwhile() -> None:
    """Closing a run waits for the call in flight, and prints the durable state."""
    out = io.TextIOWrapper(io.BytesIO())
    with Emulator(write_key=KEY) as segment, contextlib.redirect_stdout(out):
        held = segment.hold("set")
        config = {"write_key": KEY, "method": "set", "objects_url": segment.url}
        target = TargetSegmentObjects(config=config)
        _fed(target, lines(ROOMS, *CALL, state(10)))
        assert held.wait_for(1)
        closing = BackgroundCall(target.run.close)
        held.release()
        closing.join()
    assert out.buffer.getvalue() == b"10\n"


def test_rejects_are_on_the_disk_before_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a state that covers a reject is printed, the dead letter is synced."""
    out = io.TextIOWrapper(io.BytesIO())
    printed_before: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        printed_before.append(out.buffer.getvalue())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with contextlib.redirect_stdout(out):
        dead = str(tmp_path / "dead.jsonl")
        target = TargetSegmentObjects(
            config={"write_key": KEY, "dead_letter_path": dead, "max_rejects": -1}
        )
        _fed(target, lines(ROOMS, record("rooms", name="no key"), state(1)))
        target.run.do_due_work()
        assert out.buffer.getvalue() == b"1\n"
        assert printed_before == [b""]
        target.process_endofpipe()


def test_a_finish_that_is_refused_twice_ends_the_run() -> None:
    """A lost session is replaced; a second refusal of the same call is not a loss."""
    out = io.TextIOWrapper(io.BytesIO())
    with Emulator(write_key=KEY) as segment, contextlib.redirect_stdout(out):
        segment.fault(InjectedFault(call="upload", status=400))
        segment.fault(InjectedFault(call="finish", count=2, status=400))
        target = TargetSegmentObjects(config={"write_key": KEY, "bulk_url": segment.url})
        _fed(target, lines(ROOMS, *CALL, state(10)))
        with pytest.raises(SessionRefusedError):
            target.process_endofpipe()
        assert len(segment.sessions) == 3
    assert out.buffer.getvalue() == b""


def test_what_is_due_does_not_wait_for_the_end_of_the_input() -> None:
    """With a slow Segment, pending objects are sent and states printed within a block."""
    with Emulator() as segment:
        segment.fault(InjectedFault(call="set", count=None, delay=0.1))
        config = {
            "write_key": "k",
            "method": "set",
            "objects_url": segment.url,
            "max_concurrency": 1,
        }
        fed = [schema("quiet"), schema("busy"), record("quiet", id=0), state(0)]
        for number in range(1, 300):
            fed += [record("busy", id=number), state(number)]
        ran = load(config, lines(*fed))
        collections = [json.loads(call.body)["collection"] for call in segment.requests]
    assert collections.index("quiets") < len(collections) // 2 + 2
    assert len(ran.states) > 1
    assert ran.states[-1] == "299"


@pytest.mark.parametrize("method", ["set", "bulk"])
def test_a_refused_object_that_cannot_be_written_down_is_not_covered(method: str) -> None:
    """When a reject cannot be written, no state that covers it is printed."""
    call = "set" if method == "set" else "upload"
    with Emulator() as segment:
        segment.fault(InjectedFault(call=call, count=None, status=413))
        config = {
            "write_key": KEY,
            "method": method,
            "objects_url": segment.url,
            "bulk_url": segment.url,
            "max_rejects": -1,
            "dead_letter_path": "/dev/full",
        }
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        fed = lines(ROOMS, record("rooms", id=1, name="x"), state("covers"))
        target = TargetSegmentObjects(config=config)
        with contextlib.redirect_stdout(out), pytest.raises(DeadLetterError, match="No space"):
            target.listen(io.BytesIO(fed))  # type: ignore[arg-type]
    out.seek(0)
    assert out.read() == ""


def test_a_state_is_written_whole() -> None:
    """An unbuffered stdout may accept only a part of a state."""

    class Sips(io.RawIOBase):
        taken = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.taken += bytes(data[:3])
            return len(data[:3])

    class Unbuffered:
        buffer = Sips()

    with contextlib.redirect_stdout(Unbuffered()), Emulator() as segment:  # type: ignore[type-var]
        config = {"write_key": KEY, "method": "set", "objects_url": segment.url}
        TargetSegmentObjects(config=config).listen(io.BytesIO(lines(state("long enough"))))  # type: ignore[arg-type]
    assert Unbuffered.buffer.taken == b'"long enough"\n'
