"""The law that the fast path equals the general path: objects, rejects, order and conversions.

Blocks of lines of several streams go through the fast path, and then line by line through plans
without one. Lines are as taps write them, and as they should not write them.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from hypothesis import given, note
from hypothesis import strategies as st

from target_segment_objects.errors import RejectedRecordError, SchemaError
from target_segment_objects.fastpath.block_encoder import BlockEncoder, BlockSegment
from target_segment_objects.fastpath.compiled_stream import CompiledStream, compile_stream
from target_segment_objects.fastpath.line_block import LineBlock, may_be_deeper
from target_segment_objects.plan.stream_plan import StreamPlan, compile_plan
from tests.plan.test_plan_laws import law, planned
from tests.reference import Rejected, encoded, transform
from tests.strategies import keys, options, records, schemas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from target_segment_objects.plan import Conversions, PlanOptions

MAX_DEPTH = 100
NO_CHANGES: Mapping[int, StreamPlan] = {}
STREAMS = ["rooms", "guests", 'quo"te', "Über", "stays"]

Outcome = tuple[str, str, bytes] | set[tuple[Any, str]] | str
"""An object, the faults of a reject, or the text "no record"."""


ConversionsByStream = Counter[tuple[str, str, str]]
"""How often which conversion happened: by stream, code and property."""


class Envelope(msgspec.Struct):
    """A line, for the general path."""

    record: msgspec.Raw
    stream: str
    type: str


def process_as_message(
    line: bytes, plans: Mapping[str, StreamPlan], conversions: ConversionsByStream | None = None
) -> Outcome:
    """The outcome of a line on the general path; its conversions are added."""
    try:
        message = msgspec.json.decode(line, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "no record"
    plan = plans.get(message.stream)
    if message.type != "RECORD" or plan is None:
        return "no record"
    with contextlib.suppress(RejectedRecordError):
        if conversions is not None:
            add(conversions, message.stream, plan.encode_json(bytes(message.record)).conversions)
    return planned(plan, bytes(message.record))


def add(conversions: ConversionsByStream, stream: str, more: Conversions) -> None:
    """Add what happened to values of a stream."""
    for (code, name), count in more.items():
        conversions[stream, code, name] += count


def encoder_of(plans: Iterable[StreamPlan], *, allow_long_strings: bool = False) -> BlockEncoder:
    """A block encoder of those plans that have a fast path."""
    encoder = BlockEncoder(MAX_DEPTH)
    for plan in plans:
        encoder.set_stream(
            plan.stream,
            compile_stream(plan, max_depth=MAX_DEPTH, allow_long_strings=allow_long_strings),
        )
    return encoder


def segments(encoder: BlockEncoder, lines: list[bytes]) -> Iterator[BlockSegment]:
    """All segments of a block, whatever is done to the encoder between them."""
    block = LineBlock(b"\n".join(lines) + b"\n", lines)
    index = 0
    while index < len(lines):
        for segment in encoder.encode(block, index):
            assert segment.first == index, "a line was overtaken, or processed twice"
            assert segment.end > segment.first
            yield segment
            index = segment.end


def take_fast_path(  # noqa: C901, PLR0913  what a block goes through
    lines: list[bytes],
    plans: dict[str, StreamPlan],
    *,
    allow_long_strings: bool,
    changes: Mapping[int, StreamPlan] = NO_CHANGES,
    max_lines: int | None = None,
    allow_more: bool = False,
    conversions: ConversionsByStream | None = None,
) -> tuple[list[Outcome], int]:
    """The outcome of each line, and how many the fast path took.

    Args:
        lines: a block.
        plans: of all streams; changed as `changes` says.
        allow_long_strings: see `compile_stream`.
        changes: the plan that is its stream's from behind a line on, which is a SCHEMA.
        max_lines: how many lines are encoded at once, if not as many as the streams allow.
        conversions: where conversions are counted, if given.
        allow_more: whether a record with a long string makes its stream allow them, as in a run.
    """
    encoder = BlockEncoder(MAX_DEPTH)
    counted: ConversionsByStream = Counter() if conversions is None else conversions
    forms: dict[tuple[int, bool], CompiledStream | None] = {}

    def put(plan: StreamPlan, *, allow_long_strings: bool) -> None:
        if (id(plan), allow_long_strings) not in forms:  # else the stream goes back to what it was
            compiled = compile_stream(
                plan, max_depth=MAX_DEPTH, allow_long_strings=allow_long_strings
            )
            if compiled is not None and max_lines is not None:
                compiled.max_lines = max_lines
            forms[id(plan), allow_long_strings] = compiled
        encoder.set_stream(plan.stream, forms[id(plan), allow_long_strings])

    for plan in plans.values():
        put(plan, allow_long_strings=allow_long_strings)
    outcomes: list[Outcome] = []
    taken = 0
    for segment in segments(encoder, lines):
        if segment.is_fallback:
            outcomes.append(process_as_message(lines[segment.first], plans, counted))
            if segment.first in changes:
                plan = changes[segment.first]
                plans[plan.stream] = plan
                put(plan, allow_long_strings=allow_long_strings)
            elif allow_more:
                for name in {name for name, code, _ in counted if code == "long_string"}:
                    put(plans[name], allow_long_strings=True)
            continue
        assert len(segment.objects) == len(segment.streams) == segment.end - segment.first
        for compiled, more in segment.conversions:
            add(counted, compiled.plan.stream, more)
        for object_line, stream in zip(segment.objects, segment.streams, strict=True):
            sealed = object_line.encoded()
            assert msgspec.json.encode(object_line) == sealed.line_bytes()
            assert sealed.collection == stream.plan.collection
            outcomes.append((sealed.collection, sealed.id, sealed.properties))
        taken += len(segment.objects)
    return outcomes, taken


def messages(stream: str, record: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Lines of a stream: mostly records in the usual form."""
    name = json.dumps(stream, ensure_ascii=False).encode()
    head = b'{"type": "RECORD", "stream": %b, "record": ' % name
    return st.one_of(
        record.map(lambda raw: head + raw + b"}"),
        record.map(lambda raw: head + raw + b', "time_extracted": "2026-01-01T00:00:00Z"}'),
        record.map(lambda raw: b'{"record":%b,"stream":%b,"type":"RECORD"}' % (raw, name)),
        st.tuples(record, st.sampled_from(UNUSUAL_ENDS)).map(lambda two: head + two[0] + two[1]),
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
    is_unusual = draw(st.integers(0, 9)) == 0
    for name, kind in kinds.items():
        if name not in always and draw(st.integers(0, 4)) == 0:
            continue
        values = BESIDE[kind] if is_unusual and draw(st.booleans()) else FITTING[kind]
        if name in always and not is_unusual:
            values = [value for value in values if value not in {"null", '""'}]
        value = draw(st.sampled_from(values))
        members.append(f"{json.dumps(name)}: {value}")
    has_host: bool = draw(st.booleans())
    if inner and has_host:
        host = draw(st.just(b"null") | _objects(inner, [], {}))
        members.append(f'"host": {host.decode()}')
    if is_unusual and draw(st.booleans()):
        members.append('"undeclared": 1')
    return ("{" + ", ".join(draw(st.permutations(members))) + "}").encode()


UNUSUAL_ENDS = [
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


class Schema(NamedTuple):
    """A stream's schema at one time, with the strategy of its records."""

    schema: dict[str, Any]
    key_properties: Any
    record: st.SearchStrategy[bytes]


@st.composite
def schemas_with_records(draw: st.DrawFn) -> Schema:
    """A SCHEMA, tame or wild, and its records."""
    if draw(st.booleans()):
        return Schema(*draw(tame_streams()))
    schema = draw(schemas())
    return Schema(schema, draw(keys(schema)), records(schema))


def by_the_reference(form: Schema, message: Envelope, chosen: PlanOptions) -> Outcome:
    """What the reference makes of a record."""
    raw = bytes(message.record)
    row = transform(message.stream, form.schema, form.key_properties, chosen, raw)
    if isinstance(row, Rejected):
        return set(row.faults)
    return row.collection, row.id, encoded(row.properties)


@st.composite
def changing_blocks(
    draw: st.DrawFn, forms: Mapping[str, list[Schema]]
) -> tuple[list[bytes], dict[int, tuple[str, Schema]]]:
    """Lines of streams, and the SCHEMAs among them, by their index."""
    kinds = [st.sampled_from(OTHER_LINES)]
    for stream, of in forms.items():
        # Records of a form that is not the present one are exceptional in many ways.
        kinds += [messages(stream, form.record) for form in of] * 5
    drawn = draw(st.lists(st.one_of(kinds), min_size=1, max_size=12))
    lines = [line for line in drawn if b"\n" not in line]
    changes: dict[int, tuple[str, Schema]] = {}
    for _ in range(draw(st.integers(0, 3)) if forms else 0):
        index = draw(st.integers(0, len(lines)))
        changes = {at + (at >= index): change for at, change in changes.items()}
        lines.insert(index, b'{"type": "SCHEMA", "stream": "any"}')
        stream = draw(st.sampled_from(sorted(forms)))
        changes[index] = stream, draw(st.sampled_from(forms[stream]))
    return lines, changes


@law
@given(st.data())
def test_the_fast_path_equals_the_general_path(data: st.DataObject) -> None:
    """Every line of every block has the outcome that it has without the fast path.

    Wherever in the block a line stands that the fast path leaves alone, that changes a stream or
    shows a long string, and however many lines are encoded at once.
    """
    chosen = data.draw(options())
    allow_long_strings = data.draw(st.booleans())
    max_lines = data.draw(st.sampled_from([None, 1, 2, 3]))
    forms: dict[str, list[Schema]] = {}
    for stream in data.draw(
        st.lists(st.sampled_from(STREAMS), min_size=1, max_size=4, unique=True)
    ):
        for _ in range(data.draw(st.integers(1, 2))):
            form = data.draw(schemas_with_records())
            try:
                compile_plan(stream, form.schema, form.key_properties, chosen)
            except SchemaError:
                continue
            forms.setdefault(stream, []).append(form)

    def plan_of(stream: str, form: Schema) -> StreamPlan:
        return compile_plan(stream, form.schema, form.key_properties, chosen)

    lines, changes = data.draw(changing_blocks(forms))
    for line in lines:
        note(f"line {line[:2000]!r}")

    plan_of_form = {id(form): plan_of(stream, form) for stream, of in forms.items() for form in of}
    plans = {stream: plan_of_form[id(of[0])] for stream, of in forms.items()}
    alike = {stream: plan_of(stream, of[0]) for stream, of in forms.items()}
    mine = {index: plan_of_form[id(form)] for index, (_, form) in changes.items()}
    theirs = {index: plan_of(*change) for index, change in changes.items()}
    conversions: tuple[ConversionsByStream, ConversionsByStream] = (Counter(), Counter())
    present = {stream: of[0] for stream, of in forms.items()}

    outcomes, _ = take_fast_path(
        lines,
        plans,
        allow_long_strings=allow_long_strings,
        changes=mine,
        max_lines=max_lines,
        allow_more=True,
        conversions=conversions[0],
    )
    assert len(outcomes) == len(lines)
    for index, (line, outcome) in enumerate(zip(lines, outcomes, strict=True)):
        assert outcome == process_as_message(line, alike, conversions[1])
        if index in changes:
            stream, form = changes[index]
            alike[stream], present[stream] = theirs[index], form
        elif not isinstance(outcome, str):
            message = msgspec.json.decode(line, type=Envelope)
            assert outcome == by_the_reference(present[message.stream], message, chosen)
    assert conversions[0] == conversions[1]


def depth_of(value: Any) -> int:
    """How many objects and arrays are inside each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


TEXTS = st.text(st.sampled_from('{}[]"\\a é,:'), max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=40,
)


@law
@given(value=VALUES, is_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_the_depth_of_a_line_is_that_of_its_value(
    *, value: Any, is_ascii: bool, indent: int | None
) -> None:
    """Braces in strings do not count, whatever is escaped around them."""
    line = json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()
    depth = depth_of(value)
    assert not may_be_deeper(line, depth)
    assert not may_be_deeper(line, depth + 1)
    assert depth == 0 or may_be_deeper(line, depth - 1)
