"""Only a state whose records are all durable is printed: never ahead, never another's bytes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.checkpoint import Checkpoint

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.just(0.0)),
        st.tuples(st.just("state"), st.just(0.0)),
        st.tuples(st.just("durable"), st.floats(0, 1)),
        st.tuples(st.just("print"), st.floats(0, 0.7)),
    ),
    max_size=80,
)


class Printed:
    """A checkpoint, and what it printed."""

    def __init__(self) -> None:
        self.states: list[bytes] = []
        self.checkpoint = Checkpoint(self.states.append, lambda *_: None)


@given(STEPS, st.booleans())
def test_the_printed_states_are_safe(steps: list[tuple[str, float]], all_durable: bool) -> None:  # noqa: FBT001
    """Law: a subsequence of those sent, none ahead of its records, the last one the newest safe.

    And at most one a second, the last one apart.
    """
    printed = Printed()
    sent: list[tuple[int, bytes]] = []
    records = durable = 0
    now = 0.0
    times: list[float] = []
    for step, number in steps:
        if step == "record":
            records += 1
        elif step == "state":
            sent.append((records, b'{"n": %d}' % len(sent)))
            printed.checkpoint.add(*sent[-1])
        elif step == "durable":
            durable = max(durable, round(number * records))
            printed.checkpoint._mark_durable(durable)
        else:
            now += number
            before = len(printed.states)
            due = printed.checkpoint.print_if_due(now)
            assert due is None or now < due <= now + 1.0
            times += [now] * (len(printed.states) - before)
            ahead = [position for position, state in sent if state in printed.states[before:]]
            assert all(position <= durable for position in ahead)
    if all_durable:
        durable = records
    printed.checkpoint._mark_durable(durable)
    printed.checkpoint.print_now()
    everything = [state for _, state in sent]
    indexes = [everything.index(state) for state in printed.states]
    assert indexes == sorted(set(indexes))
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))
    safe = [state for position, state in sent if position <= durable]
    assert printed.states[-1:] == safe[-1:]


def test_no_state_of_our_own() -> None:
    """A tap that sends no state gets none: printing `{}` would delete its bookmarks."""
    printed = Printed()
    printed.checkpoint._mark_durable(10)
    printed.checkpoint.print_if_due(0.0)
    printed.checkpoint.print_now()
    assert printed.states == []


def test_a_state_before_any_record_is_safe() -> None:
    """It does not wait."""
    printed = Printed()
    printed.checkpoint.add(0, b"{ }")
    printed.checkpoint._mark_durable(0)
    assert printed.checkpoint.print_if_due(0.0) is None
    assert printed.states == [b"{ }"]


def test_a_state_waits_for_all_of_its_records() -> None:
    """If one record is missing, it is not printed."""
    printed = Printed()
    printed.checkpoint.add(5, b"5")
    printed.checkpoint._mark_durable(4)
    printed.checkpoint.print_now()
    assert printed.states == []
    printed.checkpoint._mark_durable(5)
    printed.checkpoint.print_now()
    printed.checkpoint.print_now()
    assert printed.states == [b"5"], "once"


def test_at_most_one_a_second() -> None:
    """After a second the newest durable one is printed; the return value says when."""
    printed = Printed()
    for position, now, due in ((1, 10.0, None), (2, 10.4, 11.0), (3, 10.9, 11.0), (4, 11.0, None)):
        printed.checkpoint.add(position, b"%d" % position)
        printed.checkpoint._mark_durable(position)
        assert printed.checkpoint.print_if_due(now) == due
    assert printed.states == [b"1", b"4"]
    assert printed.checkpoint.print_if_due(11.5) is None, "nothing waits"


def test_states_in_a_row_are_one() -> None:
    """Without a record between them, only the last one counts."""
    printed = Printed()
    for number in range(100_000):
        printed.checkpoint.add(7, b"%d" % number)
    assert len(printed.checkpoint._pending) == 1
    printed.checkpoint._mark_durable(7)
    printed.checkpoint.print_now()
    assert printed.states == [b"99999"]


def test_what_waits_is_bounded_by_count() -> None:
    """A tap that sends a state after every record does not fill the memory."""
    printed = Printed()
    for position in range(1, 50_001):
        printed.checkpoint.add(position, b"%d" % position)
        assert len(printed.checkpoint._pending) <= 4_096
    printed.checkpoint._mark_durable(49_999)
    printed.checkpoint.print_now()
    assert int(printed.states[0]) >= 49_999 - 64
    printed.checkpoint._mark_durable(50_000)
    printed.checkpoint.print_now()
    assert printed.states[-1] == b"50000"


def test_what_waits_is_bounded_by_bytes() -> None:
    """Large states are dropped sooner; a single one is kept, however large it is."""
    printed = Printed()
    large = b"x" * (3 << 20)
    for position in range(1, 50):
        printed.checkpoint.add(position, large)
        held = sum(len(state) for _, state in printed.checkpoint._pending)
        assert held == printed.checkpoint._pending_bytes <= 16 << 20
    printed.checkpoint.add(50, b"y" * (20 << 20))
    printed.checkpoint._mark_durable(50)
    printed.checkpoint.print_now()
    assert printed.states == [b"y" * (20 << 20)]
    assert printed.checkpoint._pending_bytes == 0
