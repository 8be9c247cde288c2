"""The limits of the API are one value: whoever is handed smaller ones keeps to them."""

from __future__ import annotations

from typing import Any

import pytest

from target_segment_objects.client import TransportOptions
from target_segment_objects.errors import RejectedRecordError, SchemaError
from target_segment_objects.objects import ApiLimits
from target_segment_objects.plan import PlanOptions, StreamPlan, compile_plan

SMALL = ApiLimits(
    collection_characters=5,
    id_characters=4,
    value_bytes=3_000,
    object_bytes=6_000,
    concurrent_requests=2,
)
SCHEMA = {"properties": {"id": {"type": "string"}, "a": {}, "b": {}, "c": {}}}


def _plan(**options: Any) -> StreamPlan:
    return compile_plan("rooms", SCHEMA, ["id"], PlanOptions(limits=SMALL, **options))


def _codes(record: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(RejectedRecordError) as caught:
        _plan(**options).encode(record)
    return [fault.code for fault in caught.value.faults]


def test_a_plan_keeps_to_its_limits() -> None:
    """Of an id, a value, an object, and the collection's name."""
    assert _plan().encode({"id": "1234", "a": "x" * 2_999}).object.id == "1234"
    assert len(_plan().encode({"id": "12345", "a": 1}).object.id) > 5, "a hash"
    assert _codes({"id": "12345", "a": 1}, long_ids="reject") == ["long_id"]
    assert _codes({"id": "1", "a": "x" * 3_000}) == ["value_too_large"]
    text = "x" * 2_500
    assert _codes({"id": "1", "a": text, "b": text, "c": text}) == ["object_too_large"]
    with pytest.raises(SchemaError, match="Segment accepts at most 5"):
        compile_plan("guests", SCHEMA, ["id"], PlanOptions(limits=SMALL))


def test_the_client_keeps_to_its_limits() -> None:
    """A transport opens no more connections than the API takes requests."""
    assert TransportOptions(max_concurrency=2, limits=SMALL).max_concurrency == 2
    with pytest.raises(ValueError, match="1 to 2"):
        TransportOptions(max_concurrency=3, limits=SMALL)
