"""What waits for records waits for all before it, and happens once, in order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.durability import DurabilityLog, Receipt

STEPS = st.lists(
    st.tuples(st.sampled_from(["record", "settle", "wait", "advance"]), st.integers(0, 50)),
    max_size=60,
)


@given(STEPS)
def test_actions_wait_for_all_records_before_them(steps: list[tuple[str, int]]) -> None:
    """Law: an action is called once, in order, when all records up to its position are durable."""
    log = DurabilityLog()
    receipts: list[Receipt] = []
    waiting: list[int] = []
    called: list[int] = []
    position = 0

    def action(at: int) -> Any:
        return lambda durable: called.append(at) if durable >= at else called.append(-1)

    for step, number in steps:
        if step == "record":
            position += 1
            receipts.append(log.receipt(position))
        elif step == "settle" and receipts:
            receipts[number % len(receipts)].settle()
        elif step == "wait":
            waiting.append(position)
            log.on_durable(position, action(position))
        open_ones = [receipt.first for receipt in receipts if not receipt.is_durable]
        durable = min(open_ones, default=position + 1) - 1
        assert log.durable(position) == durable
        if step == "advance":
            log.advance(position)
            assert called == [at for at in waiting if at <= durable]
    for receipt in receipts:
        receipt.settle()
    log.advance(position)
    assert called == waiting


def test_an_action_may_ask_for_the_next() -> None:
    """An action registered during `advance`, for durable records, is called by it too."""
    log = DurabilityLog()
    called: list[int] = []

    def again(durable: int) -> None:
        called.append(durable)
        if len(called) < 3:
            log.on_durable(len(called), again)

    log.receipt(3)
    log.on_durable(0, again)
    log.advance(9)
    assert called == [2, 2, 2]
