"""When a run prints its states: after its threads have ended, and after its rejects are safe."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Emulator, Fault
from target_segment_objects.errors import SessionRefusedError
from target_segment_objects.target import SegmentObjectsTarget
from tests.builders import Aside
from tests.running import KEY, lines, record, schema, state

if TYPE_CHECKING:
    from pathlib import Path

ROOMS = schema("rooms", id="integer", name="string")
CALL = [record("rooms", id=number, name="x") for number in range(10)]


def _fed(target: SegmentObjectsTarget, fed: bytes) -> None:
    target.process_lines(io.BytesIO(fed))  # type: ignore[arg-type]


def test_a_state_waits_for_its_records() -> None:
    """While the answer of a call is withheld, none of its records' states is printed."""
    out = io.TextIOWrapper(io.BytesIO())
    with Emulator(write_key=KEY) as segment, contextlib.redirect_stdout(out):
        held = segment.hold("set")
        config = {"write_key": KEY, "method": "set", "objects_url": segment.url}
        target = SegmentObjectsTarget(config=config)
        _fed(target, lines(ROOMS, CALL[0], state(1), *CALL[1:], state(10)))
        assert held.wait_for(1)
        target.run.between()
        assert out.buffer.getvalue() == b""
        held.release()
        target.process_endofpipe()
    assert out.buffer.getvalue() == b"10\n"


def test_closing_counts_what_is_answered_meanwhile() -> None:
    """A run that is closed waits for the call in flight, and prints the state earned."""
    out = io.TextIOWrapper(io.BytesIO())
    with Emulator(write_key=KEY) as segment, contextlib.redirect_stdout(out):
        held = segment.hold("set")
        config = {"write_key": KEY, "method": "set", "objects_url": segment.url}
        target = SegmentObjectsTarget(config=config)
        _fed(target, lines(ROOMS, *CALL, state(10)))
        assert held.wait_for(1)
        closing = Aside(target.run.close)
        held.release()
        closing.join()
    assert out.buffer.getvalue() == b"10\n"


def test_rejects_are_on_the_disk_before_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a state that covers a reject is printed, the dead letter was synced."""
    out = io.TextIOWrapper(io.BytesIO())
    printed_before: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        printed_before.append(out.buffer.getvalue())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with contextlib.redirect_stdout(out):
        dead = str(tmp_path / "dead.jsonl")
        target = SegmentObjectsTarget(
            config={"write_key": KEY, "dead_letter_path": dead, "max_rejects": -1}
        )
        _fed(target, lines(ROOMS, record("rooms", name="no key"), state(1)))
        target.run.between()
        assert out.buffer.getvalue() == b"1\n"
        assert printed_before == [b""]
        target.process_endofpipe()


def test_a_session_is_replaced_once_and_no_more() -> None:
    """A session whose upload was refused, and whose replacement's finish is, ends the run."""
    out = io.TextIOWrapper(io.BytesIO())
    with Emulator(write_key=KEY) as segment, contextlib.redirect_stdout(out):
        segment.fault(Fault(call="upload", status=400))
        segment.fault(Fault(call="finish", status=400))
        target = SegmentObjectsTarget(config={"write_key": KEY, "bulk_url": segment.url})
        _fed(target, lines(ROOMS, *CALL, state(10)))
        with pytest.raises(SessionRefusedError):
            target.process_endofpipe()
        assert len(segment.sessions) == 2
    assert out.buffer.getvalue() == b""
