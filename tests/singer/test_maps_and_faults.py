"""What stream maps must not do: end a run at a record, send half of one, or change values.

And what is told of it. Each case was found by somebody who tried to break an earlier state.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.commands.replay.command import replay
from target_segment_objects.emulator import Emulator
from target_segment_objects.errors import (
    ConfigurationError,
    MessageError,
    RejectedRecordError,
    SchemaError,
)
from tests.commands.test_preview import see
from tests.running import KEY, lines, load, record, run, schema, state
from tests.singer.test_taps_as_they_are import both_methods, config, segment, warnings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["segment"]

STRICT = {
    "type": "SCHEMA",
    "stream": "v",
    "schema": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [{"required": ["b"]}],
        "properties": {
            "id": {"type": "integer"},
            "b": {"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]},
            "e": {"enum": ["p", 1]},
            "o": {"properties": {"k": {"type": "string", "minLength": 2}}, "required": ["k"]},
            "d": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "l": {"type": "array", "items": {"$ref": "#/properties/id"}},
        },
    },
    "key_properties": ["id"],
}
VALID: list[dict[str, Any]] = [
    {"b": "x", "e": "p", "o": {"k": "kk"}, "d": "2020-01-01", "l": [1]},
    {"b": None, "n": 1.5},
]
INVALID: list[dict[str, Any]] = [
    {"b": "y"},
    {},
    {"b": "x", "e": 2},
    {"b": "x", "o": {"k": "k"}},
    {"b": "x", "o": {}},
]


@both_methods
@pytest.mark.parametrize(
    "map_",
    [
        None,
        {},
        {"x": "record.get('b')"},
        {"id": "id", "l": "record.get('l')", "__else__": None},
        {"e": None, "o": None},
    ],
)
def test_records_are_validated_as_the_tap_wrote_them(
    tmp_path: Path, segment: Emulator, method: str, map_: dict[str, Any] | None
) -> None:
    """This holds with and without stream maps, for branches and references too."""
    more: dict[str, Any] = {} if map_ is None else {"stream_maps": {"v": map_}}
    more |= {"max_rejects": -1, "dead_letter_path": str(tmp_path / "dead")}
    rows = [record("v", id=n, **values) for n, values in enumerate([*VALID, *INVALID])]
    ran = load(config(segment, method, validate_records=True, **more), lines(STRICT, *rows))
    assert {row["id"] for row in segment.rows("v")} == {"0", "1"}
    assert len(warnings(ran, f"records={len(INVALID)} reasons=schema:{len(INVALID)}")) == 1


@both_methods
def test_validation_takes_any_number_and_any_expression(segment: Emulator, method: str) -> None:
    """For example a date from an expression, and a number beyond `Decimal`'s range."""
    fed = lines(
        schema("v", id="integer", b="string", n="number"),
        '{"type":"RECORD","stream":"v","record":{"id":1,"b":"2020-01-01","n":1e-99999999999999999999}}',
    )
    maps = {"v": {"d": "datetime.datetime.fromisoformat(b)"}}
    load(config(segment, method, validate_records=True, stream_maps=maps), fed)
    (row,) = segment.rows("v")
    assert (row["d"], row["n"]) == ("2020-01-01T00:00:00Z", 0.0)


S = schema("s", id="integer", a="integer", b="string", n="number")


@both_methods
@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("b.upper", {"b": "x"}),
        ("[b.upper]", {"b": "x"}),
        ("b.encode()", {"b": "x"}),
        ("md5", {"b": "x"}),
        ("10**4300", {}),
        ("int(n)", {"n": "1e5000"}),
        ("{1: b}", {"b": "x"}),
    ],
)
def test_what_is_no_value_is_a_reject(
    tmp_path: Path, segment: Emulator, method: str, expression: str, values: dict[str, Any]
) -> None:
    """A method without parentheses, bytes, an infinite number: Python's text is never sent."""
    more = {"max_rejects": -1, "dead_letter_path": str(tmp_path / "dead")}
    written = json.dumps({"id": 1, **values}).replace('"1e5000"', "1e5000")
    fed = lines(S, '{"type":"RECORD","stream":"s","record":%s}' % written, record("s", id=2, b=""))  # noqa: UP031
    maps = {"s": {"x": f"({expression}) if id == 1 else 'fine'"}}
    if expression == "md5":
        maps = {"s": {"x": "md5", "__filter__": "id == 1"}}
    ran = load(config(segment, method, stream_maps=maps, **more), fed)
    assert [row["x"] for row in segment.rows("s")] == (["fine"] if expression != "md5" else [])
    assert len(warnings(ran, "records=1 reasons=expression:1")) == 1


@pytest.mark.parametrize(
    "map_",
    [
        {"x": ""},
        {"x": "a = 1"},
        {"__filter__": "a = 1"},
        {"x": "a b"},
        {"__alias__": "1/0"},
        {"__alias__": "42"},
    ],
)
def test_what_is_no_expression_is_one_sentence(
    tmp_path: Path, segment: Emulator, map_: dict[str, Any]
) -> None:
    """This happens before any record, however many rejects are tolerated."""
    more = {"max_rejects": -1, "dead_letter_path": str(tmp_path / "dead")}
    ran = run(tmp_path, config(segment, "set", stream_maps={"s": map_}, **more), lines(S))
    assert (ran.code, len(ran.sentences)) == (1, 1)
    assert ran.sentences[0].startswith("stream_maps")
    assert "Traceback" not in ran.log
    assert "Warning" not in ran.log


@both_methods
@pytest.mark.parametrize("more", [{}, {"stream_maps": {"t": {}}}])
def test_metadata_beside_a_reference(segment: Emulator, method: str, more: dict[str, Any]) -> None:
    """A schema that is a reference keeps its columns with the SDK's metadata."""
    nested = {"type": "object", "properties": {"k": {"type": "string"}}}
    row = {"properties": {"id": {}, "n": {"type": "number"}, "o": nested}}
    head = {
        "type": "SCHEMA",
        "stream": "t",
        "schema": {"$ref": "#/definitions/row", "definitions": {"row": row}},
        "key_properties": ["id"],
    }
    fed = lines(head, record("t", id=1, n=515, o={"k": "v"}), record("t", id=2, n=1, o=None))
    load(config(segment, method, add_record_metadata=True, **more), fed)
    first, second = segment.rows("t")
    assert (type(first["n"]), first["o_k"], second["o_k"]) == (float, "v", None)
    assert "o" not in second


@both_methods
@pytest.mark.parametrize("tolerated", [0, -1])
def test_nothing_of_a_faulty_record_is_sent(
    tmp_path: Path, segment: Emulator, method: str, tolerated: int
) -> None:
    """When a copy of a stream fails on a record, the stream does not send it either."""
    dead = tmp_path / "dead.jsonl"
    more = {"max_rejects": tolerated, "dead_letter_path": str(dead)}
    maps: dict[str, Any] = {"t": {"__source__": "s", "x": "str(10/a)"}}
    settings = config(segment, method, stream_maps=maps, **more)
    fed = lines(S, record("s", id=1, a=5), record("s", id=2, a=0))
    if tolerated:
        ran = load(settings, fed)
        rows = [line for line in ran.log.splitlines() if "Collection done" in line]
        assert all("read=2 sent=1 merged=0 rejected=1 " in line for line in rows)
    else:
        with pytest.raises(RejectedRecordError, match=r"line 3: .*`t\.x`"):
            load(settings, fed)
    assert {table: [row["id"] for row in rows] for table, rows in segment.tables().items()} == {
        "s": ["1"],
        "t": ["1"],
    }
    corrected = {**maps["t"], "x": "str(a)"}
    done = replay(dead, config(segment, method, stream_maps={"t": corrected}))
    assert (done.sent, done.refused) == (1, 0)
    assert [row["id"] for row in segment.rows("t")] == ["1", "2"]


@both_methods
def test_a_schema_that_comes_back_with_its_keys(segment: Emulator, method: str) -> None:
    """Every SCHEMA of a stream has its own maps, and none changes another's."""
    maps = {"t": {"__source__": "s", "__else__": None, "b": "b"}}
    fed: list[Any] = []
    for number, keys in enumerate((["id"], ["a"], ["id"], ["a"])):
        fed += [{**S, "key_properties": keys}, record("s", id=number, a=number + 10, b="x")]
    load(config(segment, method, stream_maps=maps), lines(*fed))
    assert {row["id"] for row in segment.rows("t")} == {"0", "11", "2", "13"}


def test_an_expression_is_wrong_for_any_record_after_any_schema(
    tmp_path: Path, segment: Emulator
) -> None:
    """A repeated SCHEMA does not change the meaning of its errors."""
    more = {"max_rejects": -1, "dead_letter_path": str(tmp_path / "dead")}
    other = {**S, "key_properties": ["a"]}
    for name, words in (("no_such(b)", "no function"), ("fake.name()", "`faker_config`")):
        maps = {"s": {"x": name}}
        with pytest.raises(ConfigurationError, match=words):
            load(
                config(segment, "set", stream_maps=maps, **more),
                lines(S, other, S, other, record("s", id=1, a=1, b="x")),
            )


@pytest.mark.parametrize("maps", [{}, {"s": {}}, {"*": {"b": "record.get('b')"}}])
def test_a_missing_key_that_is_declared(segment: Emulator, maps: dict[str, Any]) -> None:
    """The message does not mention upper and lower case; an empty record is a normal reject."""
    for fed in ({"a": 1}, {}):
        with pytest.raises(RejectedRecordError, match="choose keys that every record has") as found:
            load(config(segment, "set", stream_maps=maps), lines(S, record("s", **fed)))
        assert "case" not in str(found.value)


@both_methods
def test_a_map_that_another_one_overrides(segment: Emulator, method: str) -> None:
    """The last match is used, as in the SDK; a warning says that nothing was hashed."""
    maps = {"s": {"b": "md5(b)"}, "*": {"q": None}}
    ran = load(config(segment, method, stream_maps=maps), lines(S, record("s", id=1, b="x")))
    (warning,) = warnings(ran, "has no effect on stream 's'")
    assert "put 's' last" in warning
    (row,) = segment.rows("s")
    assert row["b"] == "x"


def test_a_copy_has_a_name_of_its_own(segment: Emulator) -> None:
    """A copy with the name of its source would overwrite it."""
    for maps in (
        {"s": {"__source__": "s", "x": "'copy'"}},
        {"t": {"__source__": "s"}, "s": {"__alias__": "t"}},
    ):
        with pytest.raises(ConfigurationError, match="it creates 2 streams"):
            load(config(segment, "set", stream_maps=maps), lines(S, record("s", id=1)))


@both_methods
def test_what_is_passed_on_keeps_its_column(segment: Emulator, method: str) -> None:
    """To a new or existing name, declared or not; the tap is responsible for its values."""
    fed = lines(S, record("s", id=1, a="42", n=1.5, m=1.0))
    maps = {"s": {"total": "a", "a": "n", "z": "m"}}
    ran = load(config(segment, method, stream_maps=maps), fed)
    (row,) = segment.rows("s")
    assert {name: row[name] for name in ("total", "a", "z")} == {"total": 42, "a": 1.5, "z": 1.0}
    assert type(row["z"]) is float
    (warning,) = warnings(ran, "properties=total")
    assert "in the tap" in warning


def test_schemas_under_maps_are_as_sound_as_without(segment: Emulator) -> None:
    """An array is refused, with and without maps; a removed stream may have any schema."""
    for body in ({"type": "array"}, {"properties": 5}):
        head = {**S, "schema": body}
        several: list[dict[str, Any]] = [{}, {"s": {}}, {"s": None, "t": {"__source__": "s"}}]
        for maps in several:
            with pytest.raises(SchemaError, match=r"line 1: .*SCHEMA of stream 's'"):
                load(config(segment, "set", stream_maps=maps), lines(head))
        load(config(segment, "set", stream_maps={"s": None}), lines(head, record("s", id=1)))
        load(config(segment, "set", stream_maps={"__else__": None}), lines(head))


def test_names_that_nobody_has_split() -> None:
    """A name with a dot was not split: an object nested in it is a mistake."""
    maps = {"public.users": {"billing": {"email": "__NULL__"}}}
    with pytest.raises(ConfigurationError, match=r"check `public\.users\.billing`"):
        see(S, stream_maps=maps)


def test_preview_of_a_long_integer() -> None:
    """Very long numbers are previewed as a run sends them."""
    text = '{"type":"RECORD","stream":"s","record":{"id":1,"a":%s}}' % ("7" * 4_301)
    document = see(S, text)
    assert (document["would_fail"], document["objects"]) == (False, 1)


# --- Words -----------------------------------------------------------------------------------


@both_methods
def test_what_type_mismatches_say(segment: Emulator, method: str) -> None:
    """A value sent unchanged is not called converted, nor a forbidden one impossible."""
    fed = lines(S, record("s", id=1, n="abc"), record("s", id=2, n="42"))
    ran = load(config(segment, method, type_mismatches="send"), fed)
    (warning,) = warnings(ran, "Values that did not match the schema's type")
    assert "sent unchanged: stream=s values=2" in warning
    with pytest.raises(RejectedRecordError, match=r"n: not of the type.*not converted to it"):
        load(config(segment, method, type_mismatches="reject"), fed)


@both_methods
def test_a_key_is_reported_once(tmp_path: Path, segment: Emulator, method: str) -> None:
    """A key of another type is one fault; a converted one is counted once."""
    more = {"max_rejects": -1, "dead_letter_path": str(tmp_path / "dead")}
    fed = lines(schema("c", ["c"], c="integer"), record("c", c="x"))
    ran = load(config(segment, method, **more), fed)
    assert len(warnings(ran, "has rejected records")) == 1
    assert len(warnings(ran, "records=1 reasons=key_type:1;")) == 1
    head = schema("d", id="string", n="integer")
    ran = load(config(segment, method), lines(head, record("d", id=5, n=1), record("d", id=6)))
    (warning,) = warnings(ran, "converted without loss")
    assert "values=2 properties=id;" in warning


def test_a_clash_names_both(segment: Emulator) -> None:
    """It names the property that already has the name, even if only the record has it."""
    nested = {"type": "object", "properties": {"a": {"type": "string"}}}
    head = schema("s", id="integer", e=nested)
    with pytest.raises(RejectedRecordError, match=r"e\.\$a: the property 'e\.a' has the same name"):
        load(config(segment, "set"), lines(head, record("s", id=1, e={"$a": "x"})))
    head = schema("s", id="integer", user=nested, user_a="string")
    with pytest.raises(SchemaError, match="set `nested` to `json`"):
        load(config(segment, "set"), lines(head))
    load(config(segment, "set", nested="json"), lines(head))


def test_messages_of_an_unknown_type(segment: Emulator) -> None:
    """The message has their type and how many were ignored."""
    deleted = '{"type":"DELETED_RECORD","stream":"s"}'
    fed = lines(S, deleted, deleted, state(1))
    with pytest.raises(Exception, match="line 2: a message of the unknown type DELETED_RECORD;"):
        load(config(segment, "set"), fed)
    ran = load(config(segment, "set", unknown_messages="ignore"), fed)
    assert len(warnings(ran, "of the type DELETED_RECORD, which Singer does not know")) == 1
    assert "Messages ignored: type=DELETED_RECORD messages=2" in ran.log


@both_methods
def test_an_input_that_is_cut_off(segment: Emulator, method: str) -> None:
    """The tap was stopped within its last line. What came before has arrived."""
    whole = lines(S, record("s", id=1), state(1))
    cut = whole + b'{"type": "RECORD", "stream": "s", "rec'
    with pytest.raises(MessageError, match="line 4: the input ends in the middle of a message"):
        load(config(segment, method), cut)
    assert segment.rows("s") == [{"id": "1"}]
    with pytest.raises(MessageError, match="line 4: not JSON"):
        load(config(segment, method), cut + b"\n")
    with pytest.raises(MessageError, match="line 4: not JSON"):
        load(config(segment, method), whole + b"Connected.")


@both_methods
def test_what_never_went_out_has_no_bytes(tmp_path: Path, method: str) -> None:
    """Nobody listens at the address: no byte was sent in any attempt."""
    with Emulator() as gone:
        url = gone.url
    settings = {"write_key": KEY, "method": method, "objects_url": url, "bulk_url": url}
    ran = run(tmp_path, {**settings, "retry_seconds": 0}, lines(S, record("s", id=1)))
    assert ran.code == 1
    (warning,) = [
        line
        for line in ran.log.splitlines()
        if ("Collection when" if method == "set" else "Bulk sessions when") in line
    ]
    assert " bytes=0 " in warning


def test_a_key_has_no_blanks() -> None:
    """The error comes before anything is read, not at the first request."""
    with pytest.raises(ConfigurationError, match="write_key must not contain spaces"):
        load({"write_key": "abcdefgh ijklmnop"}, lines(S))


def test_a_property_without_a_name_is_not_the_filter(segment: Emulator, tmp_path: Path) -> None:
    """An object may be called `""`, since its leaves have names; its expression is its own."""
    dead = tmp_path / "dead.jsonl"
    settings = {"max_rejects": -1, "dead_letter_path": str(dead)}
    maps = {"u": {"": "place"}}
    nested = schema(
        "u", id="integer", place={"type": "object", "properties": {"city": {"type": "string"}}}
    )
    load(
        config(segment, "bulk", stream_maps=maps, **settings),
        lines(nested, record("u", id=1, place={"city": "Oslo"}), record("u", id=2)),
    )
    (fault,) = json.loads(dead.read_text().splitlines()[-1])["faults"]
    assert (fault["path"], fault["code"]) == ([""], "expression")
