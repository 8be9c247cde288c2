"""The SDK's own tests of a target, and a corrected version of the one that it skips."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from singer_sdk.testing import SuiteConfig, get_target_test_class, target_test_streams

from target_segment_objects.emulator import Emulator
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.running import KEY, load, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The suite's factory wants the configuration when this file is read, before any emulator listens.
_CONFIGS: dict[str, dict[str, Any]] = {
    method: {"write_key": KEY, "method": method} for method in ("set", "bulk")
}
_STATES = [
    '{"test_multiple_state_messages_a": 1, "test_multiple_state_messages_b": 0}',
    '{"test_multiple_state_messages_a": 2, "test_multiple_state_messages_b": 1}',
    '{"test_multiple_state_messages_a": 3, "test_multiple_state_messages_b": 2}',
    '{"test_multiple_state_messages_a": 5, "test_multiple_state_messages_b": 3}',
    '{"test_multiple_state_messages_a": 5, "test_multiple_state_messages_b": 6}',
]


@pytest.fixture(scope="module", autouse=True)
def segment() -> Iterator[Emulator]:
    """One emulator for the whole suite; at its end, no rule of the API was broken."""
    with Emulator() as emulator:
        for config in _CONFIGS.values():
            config |= {"objects_url": emulator.url, "bulk_url": emulator.url}
        yield emulator
        assert emulator.refusals == []


_BySet: Any = get_target_test_class(
    target_class=TargetSegmentObjects, config=_CONFIGS["set"], suite_config=SuiteConfig()
)
_ByBulk: Any = get_target_test_class(
    target_class=TargetSegmentObjects, config=_CONFIGS["bulk"], suite_config=SuiteConfig()
)


class TestSet(_BySet):  # type: ignore[misc]
    """The SDK's tests pass by `set` calls."""


class TestBulk(_ByBulk):  # type: ignore[misc]
    """The SDK's tests pass by bulk sessions."""


def _multiple_states() -> bytes:
    source = resources.files(target_test_streams) / "multiple_state_messages.singer"
    return source.read_bytes()


def test_set_prints_the_newest_safe_state_last(segment: Emulator) -> None:
    """By `set`, states come in the tap's order, unchanged, the last one last."""
    ran = load(_CONFIGS["set"], _multiple_states())
    assert ran.states[-1] == _STATES[-1]
    assert ran.states == [state for state in _STATES if state in ran.states]
    assert segment.refusals == []


def test_bulk_prints_the_last_state_after_finish() -> None:
    """By bulk, only the tap's last state is printed, since there is one session."""
    assert load(_CONFIGS["bulk"], _multiple_states()).states == [_STATES[-1]]


@pytest.mark.parametrize(("method", "call"), [("set", "set"), ("bulk", "finish")])
def test_no_state_is_ahead_of_its_records(tmp_path: Path, method: str, call: str) -> None:
    """While the responses that make records durable are withheld, no state is printed."""
    with Emulator() as emulator:
        config = _CONFIGS[method] | {"objects_url": emulator.url, "bulk_url": emulator.url}
        with emulator.hold(call, count=None) as hold, start(tmp_path, config) as command:
            assert command.process.stdin is not None
            command.process.stdin.write(_multiple_states())
            command.process.stdin.close()
            assert hold.wait_for(1)
            command.read_until(logged="completed processing")
            assert command.out == b""
            hold.release()
            ran = command.ended()
    assert (ran.code, ran.states[-1]) == (0, _STATES[-1])


def test_set_prints_states_as_answers_come(tmp_path: Path) -> None:
    """By `set`, a state of answered records is printed while later responses are withheld."""
    with Emulator() as emulator:
        config = _CONFIGS["set"] | {"objects_url": emulator.url}
        text = _multiple_states().decode().splitlines()
        # Nothing is read beyond the first state until it is printed: one call, answered.
        with emulator.hold("set", first=2, count=None) as hold, start(tmp_path, config) as command:
            command.write(*text[:4])
            command.read_until(states=1)
            command.write(*text[4:])
            assert hold.wait_for(1)
            assert command.out.decode().splitlines() == _STATES[:1]
            hold.release()
            ran = command.end()
    assert ran.code == 0
    assert ran.states[0] == _STATES[0]
    assert ran.states[-1] == _STATES[-1]
