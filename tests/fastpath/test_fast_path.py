"""The fast path: which lines it takes, and which are fallback lines; it takes usual records."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from target_segment_objects.errors import SchemaError
from target_segment_objects.fastpath.block_encoder import BlockEncoder
from target_segment_objects.fastpath.compiled_stream import compile_stream
from target_segment_objects.fastpath.exact_numbers import (
    lines_with_inexact_numbers,
    may_have_inexact_numbers,
)
from target_segment_objects.objects import object_lines
from target_segment_objects.plan import PlanOptions, StreamPlan, compile_plan
from tests.fastpath.test_fast_path_laws import (
    ConversionsByStream,
    encoder_of,
    messages,
    process_as_message,
    segments,
    take_fast_path,
    tame_streams,
)
from tests.strategies import options

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = {
    "id": {"type": "integer"},
    "name": {"type": ["null", "string"]},
    "price": {"type": ["null", "number"]},
    "nights": {"type": ["null", "integer"]},
    "paid": {"type": ["null", "boolean"]},
    "booked_at": {"type": ["null", "string"], "format": "date-time"},
    # With many columns of numbers, whole lines are scanned; with few, each number is checked.
    **{name: {"type": "number"} for name in ("tax", "area", "deposit")},
}
FEW_NUMBERS = {name: COLUMNS[name] for name in ("id", "name", "price", "nights")}
HOST = {
    "type": ["null", "object"],
    "properties": {
        "Name": {"type": "string"},
        "contact": {"type": "object", "properties": {"phone": {"type": ["null", "string"]}}},
        "tags": {"type": "array"},
    },
}


def line(record: Mapping[str, Any] | str, stream: str = "rooms", **more: Any) -> bytes:
    """A RECORD as a tap writes it."""
    text = record if isinstance(record, str) else json.dumps(record)
    rest = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in more.items())
    return f'{{"type": "RECORD", "stream": "{stream}", "record": {text}{rest}}}'.encode()


def plans(
    columns: Mapping[str, Any],
    key_properties: list[str],
    chosen: PlanOptions | None = None,
    streams: tuple[str, ...] = ("rooms",),
) -> dict[str, StreamPlan]:
    """The plans of some streams of the same schema."""
    schema = {"properties": columns}
    chosen = chosen or PlanOptions()
    return {stream: compile_plan(stream, schema, key_properties, chosen) for stream in streams}


def taken(  # noqa: PLR0913
    lines: list[bytes],
    columns: Mapping[str, Any],
    key_properties: list[str],
    chosen: PlanOptions | None = None,
    *,
    streams: tuple[str, ...] = ("rooms",),
    allow_long_strings: bool = False,
) -> int:
    """How many of the lines the fast path takes; all objects are those of the general path."""
    mine = plans(columns, key_properties, chosen, streams)
    theirs = plans(columns, key_properties, chosen, streams)
    conversions: tuple[ConversionsByStream, ConversionsByStream] = (Counter(), Counter())
    found, count = take_fast_path(
        lines, mine, allow_long_strings=allow_long_strings, conversions=conversions[0]
    )
    assert found == [process_as_message(text, theirs, conversions[1]) for text in lines]
    assert conversions[0] == conversions[1]
    return count


USUAL = {
    "id": 1,
    "name": "Zoë",
    "price": 12.5,
    "nights": 3,
    "paid": True,
    "booked_at": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        dict.fromkeys(USUAL.keys() - {"id"}),
        {"price": 5},
        {"price": -0.0},
        {"price": 0.30000000000000004},
        {"price": 1e22},
        {"nights": 123456789012345},
        {"name": ""},
        {"name": "1234567890123456789"},
        {"name": "4929 1234567890123456789"},
        {"name": 'e-400 \u0001 \\ " \U0001f6cf'},
        {"booked_at": "2026-01-01"},
        {"booked_at": "2024-02-29t23:59:60.123456789+05:30"},
        {"id": -(10**18)},
    ],
    ids=str,
)
def test_a_record_as_declared_is_taken(change: dict[str, Any]) -> None:
    """The usual record, and what is still exact."""
    assert taken([line({**USUAL, **change})], COLUMNS, ["id"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"price": 9007199254740993},
        {"price": 123456789012345678},
        {"nights": 123456789012345678901234567890},
        {"name": "no. 1234567890123456789 it is"},
        {"price": "12"},
        {"nights": 3.0},
        {"nights": "3"},
        {"paid": 1},
        {"name": "x" * 513},
        {"name": 5},
        {"more": 1},
        {"booked_at": "2026-01-01 00:00:00"},
        {"booked_at": "2026-02-30"},
        {"booked_at": "soon"},
        {"id": 10**18 + 1},
        {"id": None},
        {"id": "1"},
    ],
    ids=str,
)
def test_another_record_is_in_a_fallback_line_alone(change: dict[str, Any]) -> None:
    """It is treated exactly, and the lines around it are taken."""
    fallback_line = line({**USUAL, **change})
    assert taken([line(USUAL), fallback_line, line(USUAL)], COLUMNS, ["id"]) == 2


@pytest.mark.parametrize(
    "price",
    [
        "0.50000000000000001",
        "0.1000000000000000055",
        "1e-400",
        "1E-0400",
        "123456789.1234567890",
        "NaN",
        "1e400",
        "-Infinity",
    ],
)
def test_a_number_that_no_double_represents_is_in_a_fallback_line(price: str) -> None:
    """Its digits are kept, or it is rejected, whatever stands beside it."""
    record = f'{{"id": 1, "price": {price}}}'
    assert taken([line(USUAL), line(record), line(USUAL)], COLUMNS, ["id"]) == 2


@pytest.mark.parametrize(
    ("price", "is_taken"),
    [
        ("0.50000000000000001", True),
        ("1e-400", True),
        ("9007199254740993", True),
        ("5", True),
        ("null", True),
        ("true", False),
        ('"12"', True),
        ("[]", False),
        ("1e400", False),
    ],
)
def test_few_numbers_are_checked_one_by_one(price: str, *, is_taken: bool) -> None:
    """Each by the rule of its column, so that no line is inexact."""
    record = f'{{"id": 1, "price": {price}}}'
    assert taken([line(record)], FEW_NUMBERS, ["id"]) == is_taken


def test_digits_in_strings_are_not_inexact() -> None:
    """A card's number in quotation marks is a string, and so is a UUID."""
    record = line({"id": 1, "name": "4929123456789012345", "more": "6f1e-0001-e-400"})
    assert may_have_inexact_numbers(record)
    assert lines_with_inexact_numbers([record]) == []
    assert lines_with_inexact_numbers(
        [line({"id": 1, "name": "x"}), line('{"id":1,"p":1e-400}')]
    ) == [1]


@pytest.mark.parametrize("nulls", ["send", "drop"])
def test_nested_records_are_taken(nulls: Any) -> None:
    """Null, missing and present objects, at every level; arrays as JSON text."""
    columns = {"id": {"type": "string"}, "host": HOST, "extras": {"type": "object"}, "any": {}}
    records: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "a", "host": None},
        {"id": "a", "host": {}},
        {"id": "a", "host": {"Name": "L", "contact": None, "tags": [1.50, {"x": "é"}]}},
        {"id": "a", "host": {"Name": "L", "contact": {}, "tags": None}, "extras": None},
        {"id": "a", "host": {"Name": None, "contact": {"phone": "1"}}, "extras": {"a": [None]}},
        {"id": "a", "any": "x" * 600, "extras": []},
        {"id": "a", "any": 1.50},
    ]
    rejected: list[dict[str, Any]] = [
        {"id": "a", "host": {"Name": "L", "Other": 1}},
        {"id": "a", "host": {"contact": "none"}},
        {"id": "a", "any": "x" * 40_000},
    ]
    lines = [line(record) for record in [*records, *rejected, *records]]
    empty = 1 if nulls == "send" else 3
    assert taken(lines, columns, ["id"], PlanOptions(nulls=nulls)) == 2 * (len(records) - empty)


def test_a_record_with_its_key_alone_keeps_it() -> None:
    """Its properties would be empty, so the general path takes it; a null is a property."""
    lines = [line({"id": 1}), line({"id": 2, "name": None}), line({"id": 3})]
    assert taken(lines, COLUMNS, ["id"]) == 1
    assert taken(lines, COLUMNS, ["id"], PlanOptions(nulls="drop")) == 0


@pytest.mark.parametrize(
    ("key_properties", "record", "is_taken"),
    [
        (["name", "nights"], {"name": "a:b\\", "nights": 7}, True),
        (["paid", "price"], {"paid": False, "price": 5}, True),
        (["price"], {"price": 1.5e-7}, True),
        (["name"], {"name": "x" * 100}, True),
        (["name"], {"name": "x" * 101}, False),
        (["name"], {"name": ""}, False),
        (["name", "nights"], {"name": "x" * 99, "nights": 7}, False),
        (["name", "nights"], {"name": "x"}, False),
        (["booked_at"], {"booked_at": "2026-01-01T00:00:00Z"}, True),
        (["booked_at"], {"booked_at": "2026-01-01 00:00:00"}, False),
        ([], USUAL, False),
        (["host"], {"host": {}}, False),
        (["name", "name"], {"name": "x"}, False),
    ],
)
def test_keys(key_properties: list[str], record: dict[str, Any], *, is_taken: bool) -> None:
    """Keys of one type make ids; the general path takes the others."""
    columns = {**COLUMNS, "host": HOST}
    assert taken([line(record)], columns, key_properties) == is_taken


def test_names_that_segment_changes() -> None:
    """Properties of other names in Segment, and of names that JSON must escape."""
    columns = {"Id": {"type": "string"}, "zipCode": {"type": "string"}, "uuid": {"type": "number"}}
    record = line({"Id": "x", "zipCode": "0123", "uuid": 1})
    assert taken([record], columns, ["Id"]) == 1
    assert taken([line({"Id": "x", "a": "y"})], {**columns, 'quo"te': {}, "a": {}}, ["Id"]) == 0


def test_long_strings_are_taken_where_they_are_expected() -> None:
    """With their note; 32 KB or more is too much, in characters or bytes."""
    lines = [
        line({**USUAL, "name": text})
        for text in ("x" * 513, "é" * 600, "y", None, "x" * 32_768, "x" * 32_767)
    ]
    assert taken(lines, COLUMNS, ["id"], allow_long_strings=True) == 5
    assert taken(lines, COLUMNS, ["id"]) == 2


def test_streams_are_mixed_as_they_come() -> None:
    """Lines of two streams, a state, a line of an unknown stream, and one that is no message."""
    usual = line(USUAL)
    guest = line(USUAL, "guests", time_extracted="2026-01-01T00:00:00Z", version=3)
    others = [b'{"type": "STATE", "value": {}}', line(USUAL, "nobody"), b"tap: hello", b""]
    lines = [usual, guest, guest, others[0], usual, *others, guest, usual]
    assert taken(lines, COLUMNS, ["id"], streams=("rooms", "guests")) == 6


@pytest.mark.parametrize(
    "fallback_line",
    [
        line(USUAL) + line(USUAL),
        line(USUAL) + b" {}",
        line(USUAL)[:-1],
        line({**USUAL, "name": "x" * 40_000}),
        line(USUAL, sequence=[1]),
        line(USUAL).replace(b'"RECORD"', b'"record"'),
        line(USUAL).replace(b"Zo", b"\xff"),
        b"\xef\xbb\xbf" + line(USUAL),
    ],
    ids=lambda fallback_line: fallback_line[-40:].decode(errors="replace"),
)
def test_a_line_is_one_message_or_a_fallback_line(fallback_line: bytes) -> None:
    """Two objects on a line, a half one, a very long one, and other members than a tap's."""
    assert taken([line(USUAL), fallback_line, line(USUAL)], COLUMNS, ["id"]) == 2


def test_a_raw_value_is_as_deep_as_a_line_may_be() -> None:
    """What is deeper is for the reader to refuse."""
    deep = '{"id": 1, "any": ' + "[" * 97 + "]" * 97 + "}"
    deeper = '{"id": 1, "any": ' + "[" * 99 + "]" * 99 + "}"
    columns = {"id": {"type": "integer"}, "any": {}}
    assert taken([line(deep), line(deeper)], columns, ["id"]) == 1


@pytest.mark.parametrize(
    "beside",
    [
        "[" + "[], {}, " * 150 + "[]]",
        '"' + "[{" * 150 + '"',
        '["\\\\", "\\"[{", "[[\\\\\\"{", "[", "]"]',
        '["' + "[" * 200 + '\\\\", "' + "{" * 200 + '\\\\\\"[["]',
        '"' + "{" * 200 + "}" * 200 + '\\\\"',
    ],
    ids=["arrays", "a string", "escapes", "escapes and many braces", "a balanced string"],
)
def test_a_line_of_many_braces_is_as_deep_as_they_are(beside: str) -> None:
    """Only lines that are too deep are fallback lines, not lines with many braces."""
    columns = {"id": {"type": "integer"}, "any": {}, "list": {}}
    lines = [
        line(f'{{"id": 1, "list": {beside}, "any": {"[" * levels}{"]" * levels}}}')
        for levels in (2, 97, 98, 99, 100, 2)
    ]
    encoder = encoder_of(plans(columns, ["id"]).values())
    general = [segment.first for segment in segments(encoder, lines) if segment.is_fallback]
    assert general == [3, 4]
    assert taken([lines[0], lines[1], lines[2]], columns, ["id"]) == 3


@pytest.mark.parametrize("streams", [("rooms",), ("rooms", "guests")])
def test_a_record_without_a_stream_is_not_taken(streams: tuple[str, ...]) -> None:
    """A lone type must not be taken for that of a line which does not name its stream."""
    no_stream = b'{"type": "RECORD", "record": {"id": 1, "name": "x"}}'
    unknown = [line(USUAL, f"{stream}\\u0000") for stream in streams]
    unknown += [line(USUAL, f"{stream}\\u0000", never=None) for stream in streams]
    unknown += [line(USUAL, f"{stream}\\u0000", never="x") for stream in streams]
    assert taken([no_stream, *unknown, line(USUAL)], COLUMNS, ["id"], streams=streams) == 1


def test_short_lines_of_wide_objects_are_taken_a_few_at_once() -> None:
    """So that what a block becomes is bounded by bytes: here an object has 30 KB, a line 50."""
    inner = {f"{'leaf' * 5} {number:x}": {"type": "string"} for number in range(600)}
    columns = {"id": {"type": "integer"}, "host": {"type": "object", "properties": inner}}
    plan = plans(columns, ["id"])["rooms"]
    compiled = compile_stream(plan, max_depth=100)
    assert compiled is not None
    lines = [line({"id": number, "host": None}) for number in range(1_000)]
    encoder = BlockEncoder(100)
    encoder.set_stream("rooms", compiled)
    sizes = [len(object_lines(segment.objects)) for segment in segments(encoder, lines)]
    assert sum(sizes) > 20_000_000
    assert max(sizes) < 12_000_000


def test_streams_that_change_in_a_block_cost_one_scan_of_it() -> None:
    """Each line of a block is scanned once, however often the streams change in it."""
    compiled = compile_stream(plans(COLUMNS, ["id"])["rooms"], max_depth=100)
    assert compiled is not None

    class Counted(bytes):
        scans = 0

        def translate(self, *args: Any) -> bytes:
            Counted.scans += 1
            return super().translate(*args)

    fallback_line = line({**USUAL, "price": 9007199254740993})
    lines = [Counted(fallback_line) for _ in range(100)]
    encoder = BlockEncoder(100)
    encoder.set_stream("rooms", compiled)
    for segment in segments(encoder, list(lines)):
        assert segment.is_fallback
        encoder.set_stream("rooms", compiled)
    assert Counted.scans == len(lines)


def test_an_infinite_number_in_an_array_is_found() -> None:
    """However its size is written: by its exponent, its digits, or both."""
    columns = {"id": {"type": "integer"}, "list": {"type": "array"}}
    numbers = ["1e309", "1E+309", f"1{'0' * 250}e99", f"1{'0' * 250}.5e99", "1e308", "1e-400"]
    lines = [line(f'{{"id": 1, "list": [{number}]}}') for number in numbers]
    assert taken(lines, columns, ["id"]) == 2


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number", "maximum": 0.3}, "0.30000000000000001"),
        ({"type": ["string", "integer"]}, "1.0000000000000000001"),
        ({"type": "array", "items": {"type": "integer"}}, "[1.0000000000000000001]"),
    ],
)
def test_what_is_valid_as_a_double_alone_is_not_taken(schema: Any, value: str) -> None:
    """The validator reads numbers as doubles, so a line with another number is a fallback line."""
    columns = {"id": {"type": "integer"}, "price": schema}
    plan = plans(columns, ["id"])["rooms"]
    compiled = compile_stream(plan, max_depth=100, is_valid=lambda _: True)
    assert compiled is not None
    encoder = BlockEncoder(100)
    encoder.set_stream("rooms", compiled)
    lines = [line('{"id": 1, "price": 1}'), line(f'{{"id": 1, "price": {value}}}')]
    assert [segment.first for segment in segments(encoder, lines) if segment.is_fallback] == [1]


def test_a_key_that_stands_twice() -> None:
    """What is overwritten must be UTF-8 as well, and no deeper than a line may be."""
    columns = {"id": {"type": "integer"}, "any": {}}
    bad = line('{"id": 1, "any": "?", "any": 1}').replace(b"?", b"\xff")
    deep = line('{"id": 1, "any": ' + "[" * 99 + "]" * 99 + ', "any": 1}')
    good = line('{"id": 1, "any": "é", "any": 1}')
    encoder = encoder_of(plans(columns, ["id"]).values())
    general = [
        segment.first for segment in segments(encoder, [bad, deep, good]) if segment.is_fallback
    ]
    assert general == [0, 1]


def test_conversions_are_those_of_records_that_were_applied() -> None:
    """A fallback line may end the run: what follows it was not read."""
    plan = plans({"id": {"type": "integer"}, "any": {}}, ["id"])["rooms"]
    oversized = line({"id": 1, "any": ["x" * 600]})
    lines = [oversized, oversized, line({"id": 1, "any": "x" * 40_000}), oversized]
    first, second, *_ = segments(encoder_of([plan]), lines)
    assert second.is_fallback
    assert [conversions for _, conversions in first.conversions] == [{("long_string", "any"): 2}]


@pytest.mark.parametrize("change", ["another SCHEMA", "no fast path any more"])
@pytest.mark.parametrize("exception", [b"SCHEMA", line({"id": 7, "a": "x" * 33_000})])
@pytest.mark.parametrize("index", range(5))
def test_streams_may_change_at_any_line_of_a_block(
    index: int, exception: bytes, change: str
) -> None:
    """The rest of the block is encoded by the streams that hold from there on."""
    before, after = (plans({"id": {"type": "integer"}, name: {}}, ["id"]) for name in "ab")
    encoder = encoder_of(before.values())
    lines = [line({"id": number, "a": 1}) for number in range(5)]
    lines[index] = exception
    taken = set()
    for segment in segments(encoder, lines):
        if segment.first == index:
            assert segment.is_fallback
            compiled = None
            if change == "another SCHEMA":
                compiled = compile_stream(after["rooms"], max_depth=100)
            encoder.set_stream("rooms", compiled)
        elif not segment.is_fallback:
            taken |= set(range(segment.first, segment.end))
    assert taken == set(range(index))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 100])
def test_lines_of_any_stream_are_taken_in_any_order(count: int) -> None:
    """However streams came, and however often each changed, all of them are taken at once."""
    names = tuple(f"stream{number}" for number in range(count))
    theirs = plans({"id": {"type": "integer"}, "name": {"type": "string"}}, ["id"], None, names)
    encoder = encoder_of([*theirs.values(), *list(theirs.values())[::3]])
    lines = [line({"id": number, "name": "x"}, names[number * 7 % count]) for number in range(999)]
    for _ in range(2):
        taken = [segment for segment in segments(encoder, lines) if not segment.is_fallback]
        assert sum(len(segment.objects) for segment in taken) == len(lines)
    assert len(taken) < len(lines) / 2, "alternating streams have one decoder in the end"


def test_decoders_cost_about_as_much_as_there_are_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that come one by one, each with its records, build a decoder each."""
    built = []
    decoder = msgspec.json.Decoder

    def counted(kinds: Any = Any, **options: Any) -> Any:
        built.append(len(getattr(kinds, "__args__", ())))
        return decoder(kinds, **options)

    names = tuple(f"stream{number}" for number in range(500))
    theirs = plans({"id": {"type": "integer"}, "name": {"type": "string"}}, ["id"], None, names)
    encoder = BlockEncoder(100)
    compiled = {name: compile_stream(plan, max_depth=100) for name, plan in theirs.items()}
    monkeypatch.setattr(msgspec.json, "Decoder", counted)
    for name in names:
        encoder.set_stream(name, compiled[name])
        lines = [line({"id": 1, "name": "x"}, name)] * 3
        assert [len(segment.objects) for segment in segments(encoder, lines)] == [3]
    assert sum(built) == 2 * len(names), "a stream's line, and the type that no line has"


def test_a_value_that_is_dropped_is_counted_once() -> None:
    """Though the general path takes the record, which it leaves empty."""
    columns = {"id": {"type": "integer"}, "any": {}}
    lines = [line({"id": 1, "any": "x" * 33_000})]
    assert taken(lines, columns, ["id"], PlanOptions(oversized_values="drop")) == 0


def test_the_law_is_not_empty() -> None:
    """Of random lines of random schemas, a good part is taken."""
    count = {"lines": 0, "taken": 0}

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def sample(data: st.DataObject) -> None:
        schema, key_properties, record = data.draw(tame_streams())
        try:
            plan = compile_plan("rooms", schema, key_properties, data.draw(options()))
        except SchemaError:
            return
        lines = data.draw(st.lists(messages("rooms", record), min_size=4, max_size=4))
        count["lines"] += len(lines)
        count["taken"] += take_fast_path(lines, {"rooms": plan}, allow_long_strings=True)[1]

    sample()
    assert count["taken"] > count["lines"] / 4, count
