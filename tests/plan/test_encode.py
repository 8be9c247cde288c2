"""`StreamPlan.encode`, for those who have records as Python values and no Singer tap."""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from target_segment_objects.errors import RejectedRecordError, SchemaError
from target_segment_objects.plan import (
    EncodedRecord,
    Flattening,
    PlanOptions,
    StreamPlan,
    compile_plan,
)
from tests.plan.test_plan_laws import law
from tests.strategies import keys, options, records, schemas

SCHEMA = {"properties": {"id": {"type": "integer"}, "price": {"type": "number"}, "name": {}}}


def outcome(plan: StreamPlan, record: dict[str, Any] | bytes) -> EncodedRecord | set[Any]:
    """The encoded record, or its faults."""
    try:
        return plan.encode_json(record) if isinstance(record, bytes) else plan.encode(record)
    except RejectedRecordError as error:
        return set(error.faults)


@law
@given(st.data())
def test_values_are_encoded_as_their_json(data: st.DataObject) -> None:
    """A record as `json.loads` makes it becomes what its JSON becomes, and is not changed."""
    schema = data.draw(schemas())
    arguments = schema, data.draw(keys(schema)), data.draw(options())
    raw = data.draw(records(schema))
    try:
        record = json.loads(raw)
    except ValueError:  # an integer of more digits than Python reads
        assume(False)
    try:
        plan, other = compile_plan("rooms", *arguments), compile_plan("rooms", *arguments)
    except SchemaError:
        return
    before = copy.deepcopy(record)
    assert outcome(plan, record) == outcome(other, json.dumps(record).encode())
    assert repr(record) == repr(before)


def test_the_least_that_is_needed() -> None:
    """A name, a schema and a record."""
    plan = compile_plan("room", SCHEMA, ["id"])
    assert (plan.options, plan.collection) == (PlanOptions(), "rooms")
    obj = plan.encode({"id": 7, "price": 12.5, "name": "Krone"}).object
    assert (obj.collection, obj.id) == ("rooms", "7")
    assert obj.properties == b'{"price":12.5,"name":"Krone"}'


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (Decimal("0.10"), b"0.10"),
        (Decimal("1E+5"), b"1E+5"),
        (1.5, b"1.5"),
        (2.0, b"2.0"),
        (2**80, b"%d" % 2**80),
        (True, b"true"),
        (dt.date(2024, 1, 31), b'"2024-01-31"'),
        (dt.datetime(2024, 1, 31, 12, tzinfo=dt.timezone.utc), b'"2024-01-31T12:00:00+00:00"'),
        ((1, Decimal("1.50"), {"a": None}), b'"[1,1.50,{\\"a\\":null}]"'),
        (None, b"null"),
    ],
)
def test_values_of_python(value: Any, sent: bytes) -> None:
    """Every digit of a `Decimal` is sent, dates are ISO 8601, tuples are arrays."""
    plan = compile_plan("rooms", SCHEMA, ["id"])
    assert plan.encode({"id": 1, "name": value}).object.properties == b'{"name":%b}' % sent


def test_a_value_that_json_does_not_have() -> None:
    """It is refused by its type; the message does not show it."""
    plan = compile_plan("rooms", SCHEMA, ["id"])
    with pytest.raises(TypeError, match=r"^a record cannot hold a value of type bytes$"):
        plan.encode({"id": 1, "name": [b"secret"]})


def test_all_faults_of_a_record_are_raised_at_once() -> None:
    """Each with its path and its code."""
    plan = compile_plan("rooms", SCHEMA, ["id"])
    with pytest.raises(RejectedRecordError) as rejected:
        plan.encode({"price": float("nan"), "name": "\ud800"})
    faults = {(fault.path, fault.code.value) for fault in rejected.value.faults}
    assert faults == {(("price",), "non_finite"), (("name",), "unicode"), (("id",), "key_missing")}


def test_a_changed_record_is_identified_by_its_original() -> None:
    """A stream without keys hashes the record as it was."""
    plan = compile_plan("rooms", SCHEMA)
    original = b'{"name":"Krone"}'
    changed = plan.encode({"name": "KRONE"}, original=original).object
    assert changed.id == plan.encode_json(original).object.id
    assert changed.properties == b'{"name":"KRONE"}'


def test_a_plan_is_a_value() -> None:
    """Plans of one SCHEMA are equal and can be pickled, also when they have encoded records."""
    plan, other = compile_plan("rooms", SCHEMA, ["id"]), compile_plan("rooms", SCHEMA, ["id"])
    record = {"id": 1, "price": "1.5", "beds": {"kind": 2}}
    encoded = plan.encode(record)
    assert encoded.new_columns == {"beds": ("beds",)}
    assert encoded.conversions.paths == {("coerced", "price"): ("price",)}
    assert plan == other == pickle.loads(pickle.dumps(plan))  # noqa: S301  our own
    assert pickle.loads(pickle.dumps(plan)).encode(record) == encoded  # noqa: S301  our own


def test_an_id_of_100_characters_is_sent_unchanged() -> None:
    """A longer one is replaced by its hash, which is counted."""
    plan = compile_plan("rooms", {"properties": {"id": {"type": "string"}, "name": {}}}, ["id"])
    encoded = plan.encode({"id": "x" * 100, "name": 1})
    assert (encoded.object.id, encoded.conversions) == ("x" * 100, {})
    encoded = plan.encode({"id": "x" * 101, "name": 1})
    assert len(encoded.object.id) == 64
    assert encoded.conversions == {("hashed_id", "id"): 1}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (PlanOptions(), {"a_b_c": 1, "a_b_x": 2, "y": 3}),
        (PlanOptions(flattening=Flattening(max_depth=2)), {"a_b_c": 1, "a_b_x": 2, "y": 3}),
        (PlanOptions(flattening=Flattening(max_depth=1)), {"a_b": '{"c":1,"x":2}', "y": 3}),
        (PlanOptions(nested="json"), {"a": '{"b":{"c":1,"x":2}}', "y": 3}),
    ],
)
def test_undeclared_properties_in_objects(options: PlanOptions, sent: dict[str, Any]) -> None:
    """They are properties where the object is flattened, and part of its JSON text where not."""
    inner = {"type": "object", "properties": {"c": {"type": "integer"}}}
    outer = {"type": "object", "properties": {"b": inner}}
    plan = compile_plan("rooms", {"properties": {"id": {}, "a": outer}}, ["id"], options)
    obj = plan.encode({"id": 1, "a": {"b": {"c": 1, "x": 2}}, "y": 3}).object
    assert json.loads(obj.properties) == sent
