"""Objects become sealed batches: one collection, up to ten objects, no id twice, nothing lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.batching import Batch, Batcher, PendingObject, merge
from target_segment_objects.delivery.durability import Receipt
from target_segment_objects.delivery.limits import BatchLimits
from target_segment_objects.objects import API_LIMITS, SegmentObject
from tests.builders import large_room, origin, room

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = st.sampled_from("abcd")
PROPERTIES = st.dictionaries(NAMES, st.none() | st.booleans() | st.integers(0, 9) | st.text())
FEEDS = st.lists(
    st.tuples(st.sampled_from(["rooms", "guests"]), NAMES, PROPERTIES, st.floats(0, 2)),
    max_size=60,
)


class Fed:
    """A batcher, and every batch that came out of it."""

    def __init__(self, objects: int = 10, seconds: float = 1.0) -> None:
        self.batcher = Batcher(BatchLimits(objects, seconds))
        self.batches: list[Batch] = []
        self.position = 0

    def feed(self, obj: SegmentObject, now: float = 0.0) -> Batch | None:
        """Feed one object; the batch that it sealed."""
        self.position += 1
        batch = self.batcher.feed(PendingObject(obj, [origin(self.position)], []), now)
        if batch is not None:
            self.batches.append(batch)
        return batch


def objects_of(batch: Batch) -> list[SegmentObject]:
    """What a call sends."""
    return [pending.object for pending in batch.pending.values()]


def ids(batches: Iterable[Batch]) -> list[list[str]]:
    """The ids of each batch."""
    return [list(batch.pending) for batch in batches]


@given(FEEDS, st.integers(1, 10))
def test_every_object_comes_out_once_in_a_good_batch(
    feed: list[tuple[str, str, dict[str, Any], float]], objects: int
) -> None:
    """Law: batches keep their limits, and merging all output in order equals merging all input."""
    fed = Fed(objects)
    now = 0.0
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    for collection, identifier, properties, seconds in feed:
        now += seconds
        fed.batches += fed.batcher.due(now)
        fed.feed(room(identifier, collection, **properties), now)
        expected.setdefault((collection, identifier), {}).update(properties)
    fed.batches += fed.batcher.flush()
    assert fed.batcher.flush() == []
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for batch in fed.batches:
        sent = objects_of(batch)
        assert 1 <= len(sent) <= objects
        assert {obj.collection for obj in sent} == {batch.collection}
        assert len({obj.id for obj in sent}) == len(sent)
        for obj in sent:
            found.setdefault((obj.collection, obj.id), {}).update(json.loads(obj.properties))
    assert found == expected
    lines = [[source.line for source in p.sources] for b in fed.batches for p in b.pending.values()]
    assert all(numbers == sorted(numbers) for numbers in lines)
    assert sorted(line for numbers in lines for line in numbers) == list(range(1, len(feed) + 1))


@given(PROPERTIES, PROPERTIES)
def test_merging_is_dict_merging(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    """Law: later properties replace earlier ones, null included, and keep their position."""
    both = merge(room("1", **earlier), room("1", **later))
    assert list(json.loads(both.properties).items()) == list({**earlier, **later}.items())


def test_merging_keeps_tokens() -> None:
    """Values are not parsed, so every digit is kept."""
    earlier = SegmentObject("rooms", "1", b'{"a":1.10,"b":123456789012345678901234567890}')
    both = merge(earlier, SegmentObject("rooms", "1", b'{"c":515.0}'))
    assert both.properties == b'{"a":1.10,"b":123456789012345678901234567890,"c":515.0}'


def test_the_limit_of_an_object_is_exact_for_merging() -> None:
    """409,600 bytes are merged, one more is not."""
    room_left = API_LIMITS.object_bytes - len(room("1", a="", b="").line_bytes())
    for more, taken in ((0, True), (1, False)):
        # The builder's blanks after `:` and `,` are not written again: three of them, then four.
        later = room("1", b="x" * (room_left - 20_000 + 3 + more))
        pending = PendingObject(room("1", a="x" * 20_000), [], [])
        assert pending.merge(PendingObject(later, [], []), API_LIMITS.object_bytes) is taken
        if taken:
            assert len(pending.object.line_bytes()) == API_LIMITS.object_bytes


def test_an_object_too_large_to_merge_is_not_taken() -> None:
    """The older one is sealed at once; the caller must hold back the newer one."""
    fed = Fed()
    older, newer = large_room("1", "a"), large_room("1", "b")
    fed.feed(older)
    fed.feed(room("2", a=1))
    pending = PendingObject(newer, [origin(3)], [])
    batch = fed.batcher.feed(pending, 0.0)
    assert batch is not None
    assert not batch.contains(pending)
    assert objects_of(batch)[0] is older
    assert len(batch.pending) == 2
    assert fed.batcher.flush() == [], "nothing is left behind"


def test_merging_adds_up_what_waits() -> None:
    """Merging adds up records, receipts and bytes; a merge that fails changes nothing."""
    receipts = [Receipt(position) for position in (1, 2, 3)]
    pending = PendingObject(large_room("1", "a"), [origin(1)], [receipts[0]], 10)
    later = PendingObject(room("1", n=1), [origin(2)], [receipts[1]], 5)
    assert pending.merge(later, API_LIMITS.object_bytes)
    too_large = PendingObject(large_room("1", "b"), [origin(3)], [receipts[2]], 7)
    assert not pending.merge(too_large, API_LIMITS.object_bytes)
    assert ([source.line for source in pending.sources], pending.bytes) == ([1, 2], 15)
    assert b'"n":1' in pending.object.properties
    pending.settle()
    assert [receipt.is_durable for receipt in receipts] == [True, True, False]


def test_contains_asks_for_the_very_object() -> None:
    """Another object with the same id does not count."""
    pending, twin = PendingObject(room("1"), [], []), PendingObject(room("1"), [], [])
    batch = Batch.single(pending)
    assert batch.contains(pending)
    assert not batch.contains(twin)
    assert batch.collection == "rooms"


def test_the_tenth_object_seals() -> None:
    """The ninth object does not seal the batch."""
    fed = Fed()
    for number in range(9):
        assert fed.feed(room(str(number))) is None
    assert fed.feed(room("8", a=1)) is None, "an id that waits is no other object"
    batch = fed.feed(room("9"))
    assert batch is not None
    assert len(batch.pending) == 10
    assert fed.batcher.next_due is None


def test_due_batches_come_oldest_first() -> None:
    """A batch is due a second after its first object, and not before."""
    fed = Fed()
    fed.feed(room("1", "guests"), 5.0)
    fed.feed(room("2", "rooms"), 5.5)
    fed.feed(room("3", "guests"), 5.9)
    assert fed.batcher.next_due == 6.0
    assert fed.batcher.due(5.999) == []
    assert ids(fed.batcher.due(6.0)) == [["1", "3"]]
    assert fed.batcher.next_due == 6.5
    fed.feed(room("4", "halls"), 6.1)
    assert [batch.collection for batch in fed.batcher.due(9.0)] == ["rooms", "halls"]
    assert fed.batcher.due(9.0) == []
    assert fed.batcher.next_due is None


@pytest.mark.parametrize("objects", [1, 2])
def test_smaller_batches(objects: int) -> None:
    """The number of objects in a batch can be lowered."""
    fed = Fed(objects)
    for number in range(4):
        fed.feed(room(str(number)))
    assert {len(batch.pending) for batch in fed.batches} == {objects}
