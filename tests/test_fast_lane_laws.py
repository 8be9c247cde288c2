"""The law that the fast lane is the plan's own way: objects, rejects, order and notes.

Blocks of lines of several streams go through the fast lane, and then, a line after the other,
through plans that have no fast path. Lines are as taps write them, and as they should not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given, note
from hypothesis import strategies as st

from target_segment_objects.compiled import CompiledStream, compile_stream
from target_segment_objects.errors import SchemaError
from target_segment_objects.fastlane import FastLane
from target_segment_objects.plan import StreamPlan, compile_plan
from tests.reference import Rejected, encoded, transform
from tests.strategies import keys, options, records, schemas
from tests.test_plan_laws import law, planned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.objects import ObjectLine

MAX_DEPTH = 100
STREAMS = ["rooms", "guests", 'quo"te', "Über"]

Made = tuple[str, str, bytes] | set[tuple[Any, str]] | str
"""An object; the faults of a reject; or what a line is that has no record."""


class Envelope(msgspec.Struct):
    """A line, for the own way."""

    record: msgspec.Raw
    stream: str
    type: str


def own_way(line: bytes, plans: dict[str, StreamPlan]) -> Made:
    """What becomes of a line without the fast lane."""
    try:
        found = msgspec.json.decode(line, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "no record"
    plan = plans.get(found.stream)
    if found.type != "RECORD" or plan is None:
        return "no record"
    return planned(plan, bytes(found.record))


def through_the_lane(
    lines: list[bytes], plans: dict[str, StreamPlan], *, roomy: bool
) -> tuple[list[Made], int]:
    """What becomes of each line by the fast lane, and how many it took."""
    lane = FastLane(MAX_DEPTH)
    compiled = [
        stream
        for plan in plans.values()
        if (stream := compile_stream(plan, max_depth=MAX_DEPTH, roomy=roomy)) is not None
    ]
    lane.use(compiled)
    found: list[Made] = []
    taken = 0

    def take(objects: Sequence[ObjectLine], streams: Sequence[CompiledStream], first: int) -> None:
        nonlocal taken
        assert first == len(found), "a line was overtaken"
        assert len(objects) == len(streams)
        for made, stream in zip(objects, streams, strict=True):
            sealed = made.sealed()
            assert msgspec.json.encode(made) == sealed.line_bytes()
            assert sealed.collection == stream.plan.collection
            found.append((sealed.collection, sealed.id, sealed.properties))
        taken += len(objects)

    def by_itself(place: int) -> None:
        assert place == len(found), "a line was overtaken"
        found.append(own_way(lines[place], plans))

    lane.work_off(b"\n".join(lines) + b"\n", lines, take, by_itself)
    return found, taken


def messages(stream: str, record: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Lines of a stream: mostly records in the usual form."""
    name = json.dumps(stream, ensure_ascii=False).encode()
    head = b'{"type": "RECORD", "stream": %b, "record": ' % name
    return st.one_of(
        record.map(lambda raw: head + raw + b"}"),
        record.map(lambda raw: head + raw + b', "time_extracted": "2026-01-01T00:00:00Z"}'),
        record.map(lambda raw: b'{"record":%b,"stream":%b,"type":"RECORD"}' % (raw, name)),
        st.tuples(record, st.sampled_from(ODD_ENDS)).map(lambda two: head + two[0] + two[1]),
    )


# Values by the types of columns, as JSON: mostly what the type says, and just beside it.
FITTING: dict[str, list[str]] = {
    "string": ['"a"', '""', '"Zo\\u00eb"', '"x:y\\\\"', '"1234567890123456"', "null"],
    "date": ['"2026-01-01T00:00:00Z"', '"2026-01-01"', '"2024-02-29T23:59:60+01:00"', "null"],
    "integer": ["0", "-0", "7", "123456789012345", "null"],
    "number": ["0", "-0.0", "1.50", "1E2", "0.30000000000000004", "5e-324", "null"],
    "boolean": ["true", "false", "null"],
    "array": ["[]", '[1.50, {"a": "\\u00e9"}]', "null"],
    "any": ["1.50", '"x"', '{"a": [1]}', "true", "null"],
    "map": ['{"a": 1}', "{}", "null"],
}
BESIDE: dict[str, list[str]] = {
    "string": [
        json.dumps("x" * 513),
        json.dumps("é" * 17_000, ensure_ascii=False),
        '"\\ud800"',
        "5",
    ],
    "date": ['"2026-01-01 00:00:00"', '"2026-02-30"', '"soon"', "1"],
    "integer": ["1.0", '"1"', "1e2", "9" * 30, "1e400", "true"],
    "number": ["0.50000000000000001", "9007199254740993", "1e-400", "NaN", '"1"', "1e400"],
    "boolean": ["1", '"true"', "2"],
    "array": ["[NaN]", "[1e400]", '"x"', '["\\ud800"]'],
    "any": ["NaN", json.dumps("x" * 33_000), json.dumps("x" * 600)],
    "map": ["[]", '{"a": -Infinity}'],
}
SCHEMA_OF: dict[str, dict[str, Any]] = {
    "string": {"type": ["null", "string"]},
    "date": {"type": ["null", "string"], "format": "date-time"},
    "integer": {"type": "integer"},
    "number": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "array": {"type": "array"},
    "any": {},
    "map": {"type": "object"},
}


@st.composite
def tame_streams(
    draw: st.DrawFn,
) -> tuple[dict[str, Any], list[str], st.SearchStrategy[bytes]]:
    """A schema, its keys and its records: of few and usual types, mostly as declared."""
    kinds = st.sampled_from(sorted(FITTING))
    columns = draw(st.dictionaries(st.sampled_from(NAMES), kinds, min_size=1, max_size=6))
    inner = draw(st.dictionaries(st.sampled_from(NAMES), kinds, max_size=3))
    key_kinds = draw(
        st.lists(
            st.sampled_from(["string", "integer", "integer", "date", "number", "boolean"]),
            min_size=1,
            max_size=2,
        )
    )
    key_properties = ["id", "part"][: len(key_kinds)]
    kinds_of_keys = dict(zip(key_properties, key_kinds, strict=True))
    properties = {name: SCHEMA_OF[kind] for name, kind in {**kinds_of_keys, **columns}.items()}
    if inner:
        inside = {name: SCHEMA_OF[kind] for name, kind in inner.items()}
        properties["host"] = {"type": ["object", "null"], "properties": inside}
    record = _objects({**kinds_of_keys, **columns}, key_properties, inner)
    return {"type": "object", "properties": properties}, key_properties, record


NAMES = ["name", "zipCode", "price", "paid at", "uuid", "naïve"]


@st.composite
def _objects(
    draw: st.DrawFn, kinds: dict[str, str], always: list[str], inner: dict[str, str]
) -> bytes:
    members = []
    odd = draw(st.integers(0, 9)) == 0
    for name, kind in kinds.items():
        if name not in always and draw(st.integers(0, 4)) == 0:
            continue
        values = BESIDE[kind] if odd and draw(st.booleans()) else FITTING[kind]
        if name in always and not odd:
            values = [value for value in values if value not in {"null", '""'}]
        value = draw(st.sampled_from(values))
        members.append(f"{json.dumps(name)}: {value}")
    has_host: bool = draw(st.booleans())
    if inner and has_host:
        host = draw(st.just(b"null") | _objects(inner, [], {}))
        members.append(f'"host": {host.decode()}')
    if odd and draw(st.booleans()):
        members.append('"undeclared": 1')
    return ("{" + ", ".join(draw(st.permutations(members))) + "}").encode()


ODD_ENDS = [
    b"",
    b"}}",
    b'} {"type":"STATE","value":1}',
    b', "version": 1.5}',
    b', "more": {"x": [1, 2]}}',
    b', "stream": "guests"}',
    b', "record": {}}',
    b', "type": "STATE"}',
    b"}\r",
]
OTHER_LINES = [
    b"",
    b"   ",
    b'{"type": "STATE", "value": {"bookmarks": {}}}',
    b'{"type": "RECORD", "stream": "nobody", "record": {"id": 1}}',
    b"tap: started",
    b"[]",
    b"\xff",
]


@law
@given(st.data())
def test_the_fast_lane_is_the_plans_own_way(data: st.DataObject) -> None:
    """Every line of every block becomes what it becomes without the fast lane."""
    chosen = data.draw(options())
    roomy = data.draw(st.booleans())
    plans: dict[str, StreamPlan] = {}
    alike: dict[str, StreamPlan] = {}
    sources: dict[str, tuple[dict[str, Any], Any]] = {}
    kinds = [st.sampled_from(OTHER_LINES)]
    for stream in data.draw(
        st.lists(st.sampled_from(STREAMS), min_size=1, max_size=2, unique=True)
    ):
        if data.draw(st.booleans()):
            schema, key_properties, record = data.draw(tame_streams())
        else:
            schema = data.draw(schemas())
            key_properties = data.draw(keys(schema))
            record = records(schema)
        try:
            plans[stream] = compile_plan(stream, schema, key_properties, chosen)
            alike[stream] = compile_plan(stream, schema, key_properties, chosen)
        except SchemaError:
            continue
        sources[stream] = schema, key_properties
        kinds += [messages(stream, record)] * 5
    lines = data.draw(st.lists(st.one_of(kinds), min_size=1, max_size=8))
    lines = [line for line in lines if b"\n" not in line]
    for line in lines:
        note(f"line {line[:2000]!r}")
    found, _ = through_the_lane(lines, plans, roomy=roomy)
    assert found == [own_way(line, alike) for line in lines]
    for stream, plan in plans.items():
        assert plan.notes == alike[stream].notes
        schema, key_properties = sources[stream]
        for line, made in zip(lines, found, strict=True):
            if isinstance(made, str):
                continue
            message = msgspec.json.decode(line, type=Envelope)
            if message.stream == stream:
                row = transform(stream, schema, key_properties, chosen, bytes(message.record))
                assert made == (
                    set(row.faults)
                    if isinstance(row, Rejected)
                    else (row.collection, row.id, encoded(row.properties))
                )
