"""Records count as durable only when all before them are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.durability import DurabilityLog, Receipt

STEPS = st.lists(
    st.tuples(st.sampled_from(["record", "settle"]), st.integers(0, 50)),
    max_size=60,
)


@given(STEPS)
def test_a_record_is_durable_after_all_before_it(steps: list[tuple[str, int]]) -> None:
    """Law: the first records count up to the first receipt that is not settled."""
    log = DurabilityLog()
    receipts: list[Receipt] = []
    position = 0
    for step, number in steps:
        if step == "record":
            position += 1
            receipts.append(log.receipt(position))
        elif receipts:
            receipts[number % len(receipts)].settle()
        open_ones = [receipt.first for receipt in receipts if not receipt.is_durable]
        assert log.durable(position) == min(open_ones, default=position + 1) - 1
    for receipt in receipts:
        receipt.settle()
    assert log.durable(position) == position
