"""Law: the plan agrees with the reference for any schema, options and record."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from target_segment_objects.errors import RejectedRecordError, SchemaError
from target_segment_objects.plan import StreamPlan, compile_plan
from tests.reference import (
    Column,
    Declared,
    Expected,
    Rejected,
    depth_of,
    encoded,
    nodes_of,
    resolve,
    transform,
)
from tests.strategies import keys, options, records, schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EXAMPLES = int(os.environ.get("PLAN_EXAMPLES", "500"))
STREAMS = ["rooms", "room 2", "Übernachtung"]
RECORDS_A_SCHEMA = 4

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
law: Callable[[Any], Any] = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW_IS_FINE
)


def planned(plan: StreamPlan, record: bytes) -> tuple[str, str, bytes] | set[tuple[Any, str]]:
    """The object or the faults that the plan gives for a record, in a form to compare."""
    try:
        obj = plan.encode_json(record).object
    except RejectedRecordError as error:
        return {(fault.path, fault.code) for fault in error.faults}
    return obj.collection, obj.id, obj.properties


def expected(result: Expected) -> tuple[str, str, bytes] | set[tuple[Any, str]]:
    """The object or the faults that the reference gives, in the same form."""
    if isinstance(result, Rejected):
        return set(result.faults)
    return result.collection, result.id, encoded(result.properties)


@law
@given(st.data())
def test_the_plan_is_the_reference(data: st.DataObject) -> None:
    """Every record becomes the object, to the byte, or the faults that the rules define."""
    stream = data.draw(st.sampled_from(STREAMS))
    schema = data.draw(schemas())
    key_properties = data.draw(keys(schema))
    chosen = data.draw(options())
    raws = data.draw(st.lists(records(schema), min_size=1, max_size=RECORDS_A_SCHEMA))
    try:
        plan = compile_plan(stream, schema, key_properties, chosen)
    except SchemaError as error:
        note(str(error))
        with pytest.raises(SchemaError):
            transform(stream, schema, key_properties, chosen, b"{}")
        return
    for raw in raws:
        note(f"record {raw[:2000]!r}")
        assert planned(plan, raw) == expected(
            transform(stream, schema, key_properties, chosen, raw)
        )


CODES = {
    "clash",
    "empty",
    "key_empty",
    "key_missing",
    "key_type",
    "long_id",
    "name",
    "nested",
    "non_finite",
    "object_too_large",
    "type",
    "unicode",
    "value_too_large",
}


COLUMNS = {
    "untyped",
    "boolean",
    "date",
    "integer",
    "union",
    "number",
    "union_with_string",
    "string",
    "json",
}


def kinds(nodes: Iterable[Column | Declared]) -> Iterator[str]:
    """The kinds of some nodes and of all below them."""
    for node in nodes:
        if isinstance(node, Column):
            yield node.kind
        else:
            yield "flattened"
            yield from kinds(node.children.values())


def test_the_law_is_not_empty() -> None:
    """The strategies reach every kind of column and every fault, and many valid records."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=800,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def sample(data: st.DataObject) -> None:
        schema = data.draw(schemas())
        key_properties = data.draw(keys(schema))
        chosen = data.draw(options())
        for raw in data.draw(st.lists(records(schema), min_size=4, max_size=4)):
            try:
                result = transform("rooms", schema, key_properties, chosen, raw)
            except SchemaError:
                seen["schema"] += 1
                return
            if isinstance(result, Rejected):
                seen.update(code for _, code in result.faults)
            else:
                seen["object"] += 1
        seen.update(kinds(nodes_of(resolve(schema, schema), depth_of(chosen)).values()))

    sample()
    assert set(seen) == {*CODES, *COLUMNS, "flattened", "schema", "object"}
    assert seen["object"] > 200
