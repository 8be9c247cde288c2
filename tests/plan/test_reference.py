"""The reference itself, checked with expectations that were written by hand from the rules."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

import pytest

from target_segment_objects.errors import SchemaError
from target_segment_objects.plan import PlanOptions
from tests.reference import ExpectedObject, Rejected, encoded, transform

ANYTHING: dict[str, Any] = {}
STRING = {"type": ["null", "string"]}
INTEGER = {"type": "integer"}
NUMBER = {"type": ["number", "null"]}
BOOLEAN = {"type": "boolean"}
DATE_TIME = {"type": "string", "format": "date-time"}
MAP = {"type": "object"}
LIST = {"type": "array"}
OPEN = {"type": ["string", "integer"]}
ADDRESS = {"type": "object", "properties": {"street": STRING, "zip": STRING}}
SEND = {"type_mismatches": "send"}
REJECT = {"type_mismatches": "reject"}


def become(
    properties: dict[str, Any], record: str, keys: list[str] | None = None, **options: str
) -> ExpectedObject | Rejected:
    """The record as an object of the collection `rooms`."""
    schema = {"type": "object", "properties": properties}
    return transform(
        "rooms", schema, keys or [], PlanOptions(**cast("Any", options)), record.encode()
    )


def sent(properties: dict[str, Any], record: str, keys: list[str] | None = None, **o: str) -> str:
    """The properties of a valid record, as they are sent."""
    row = become(properties, record, keys, **o)
    assert isinstance(row, ExpectedObject), row
    return encoded(row.properties).decode()


def identified(
    properties: dict[str, Any], record: str, keys: list[str] | None = None, **o: str
) -> str:
    """The id of a valid record."""
    row = become(properties, record, keys, **o)
    assert isinstance(row, ExpectedObject), row
    return row.id


def faults(
    properties: dict[str, Any], record: str, keys: list[str] | None = None, **o: str
) -> set[tuple[str, str]]:
    """The faults of an invalid record, with dotted paths."""
    rejected = become(properties, record, keys, **o)
    assert isinstance(rejected, Rejected), rejected
    return {(".".join(path), code) for path, code in rejected.faults}


VALUES = [
    pytest.param(ANYTHING, "1E+2", "1E+2", {}, id="untyped: a number's token"),
    pytest.param(ANYTHING, '{"a" : [1.50]}', '"{\\"a\\":[1.50]}"', {}, id="untyped: JSON text"),
    pytest.param(ANYTHING, "-0", "0", {}, id="untyped: the integer -0 is 0"),
    pytest.param(LIST, "[-0,-0.0]", '"[0,-0.0]"', {}, id="json: -0 is 0 inside, too"),
    pytest.param(STRING, '"é\\u00e9\\n"', '"éé\\n"', {}, id="string: UTF-8, few escapes"),
    pytest.param(STRING, "515.0", '"515.0"', {}, id="string: a number as written"),
    pytest.param(STRING, "true", '"true"', {}, id="string: a boolean as in JSON"),
    pytest.param(
        STRING, '{"b":1,"a":2}', '"{\\"b\\":1,\\"a\\":2}"', {}, id="string: record's order"
    ),
    pytest.param(STRING, "515.0", "515.0", SEND, id="string, send: unchanged"),
    pytest.param(STRING, "[1]", '"[1]"', SEND, id="string, send: an array is JSON text"),
    pytest.param(INTEGER, "9" * 400, "9" * 400, {}, id="integer: all digits at any size"),
    pytest.param(INTEGER, "515.0", "515", REJECT, id="integer: an integral number"),
    pytest.param(INTEGER, "1e5", "100000", {}, id="integer: an exponent"),
    pytest.param(INTEGER, "9007199254740993.0", "9007199254740993", {}, id="integer: not a double"),
    pytest.param(INTEGER, "-0.0", "0", {}, id="integer: zero has no sign"),
    pytest.param(INTEGER, '"42"', "42", {}, id="integer: a string"),
    pytest.param(NUMBER, "515", "515.0", {}, id="number: written with a point"),
    pytest.param(NUMBER, "1e5", "100000.0", {}, id="number: shortest, with a point"),
    pytest.param(NUMBER, "1E22", "1e22", {}, id="number: shortest, with an exponent"),
    pytest.param(NUMBER, "-0.0", "-0.0", {}, id="number: a signed zero"),
    pytest.param(NUMBER, "0.10", "0.1", {}, id="number: as its double is written"),
    pytest.param(NUMBER, "9007199254740993", "9007199254740993", {}, id="number: keeps digits"),
    pytest.param(
        NUMBER,
        "0.30000000000000000001",
        "0.30000000000000000001",
        {},
        id="number: all",
    ),
    pytest.param(NUMBER, "1e-400", "1e-400", {}, id="number: too small for a double"),
    pytest.param(NUMBER, "9" * 400, "9" * 400, {}, id="number: an integer beyond the doubles"),
    pytest.param(NUMBER, '"5e-1"', "0.5", {}, id="number: a string"),
    pytest.param({"type": ["integer", "number"]}, "5", "5.0", {}, id="integer or number: number"),
    pytest.param(BOOLEAN, "1.0", "true", {}, id="boolean: a number equal to 1"),
    pytest.param(BOOLEAN, '"false"', "false", {}, id="boolean: a string"),
    pytest.param(
        MAP, '{"b":{"c":1.0}}', '"{\\"b\\":{\\"c\\":1.0}}"', {}, id="json: a free-form map"
    ),
    pytest.param(LIST, '"a"', '"\\"a\\""', {}, id="json: the JSON of a string"),
    pytest.param(LIST, "5", '"5"', {}, id="json: the JSON of a number"),
    pytest.param(LIST, "5", "5", SEND, id="json, send: a number"),
    pytest.param(OPEN, "515.0", "515.0", REJECT, id="union with string: scalars"),
    pytest.param(OPEN, "[]", '"[]"', {}, id="union with string: an array"),
    pytest.param({"type": ["boolean", "integer"]}, '"1"', "1", {}, id="union: integer comes first"),
    pytest.param({"type": ["boolean", "integer"]}, '"true"', "true", {}, id="union: then boolean"),
    pytest.param({"type": ["array", "number"]}, "5", "5.0", {}, id="union: number"),
    pytest.param({"type": ["array", "number"]}, "true", '"true"', {}, id="union: JSON comes last"),
    pytest.param(INTEGER, "null", "null", REJECT, id="null is null in every column"),
    pytest.param(ADDRESS, "null", None, {"nested": "json", "nulls": "drop"}, id="null is dropped"),
    pytest.param(NUMBER, "NaN", "null", {"non_finite_numbers": "null"}, id="NaN becomes null"),
    pytest.param(
        LIST, "[1e400]", '"[null]"', {"non_finite_numbers": "null"}, id="null inside JSON text"
    ),
    pytest.param(DATE_TIME, '"2024-02-29 10:00:00.5"', '"2024-02-29T10:00:00.5Z"', {}, id="dates"),
    pytest.param(DATE_TIME, '"2024-02-29"', '"2024-02-29"', {}, id="date: a full date is RFC 3339"),
    pytest.param(
        DATE_TIME, '"2024-01-01t10:00:00z"', '"2024-01-01t10:00:00z"', {}, id="date: unchanged"
    ),
    pytest.param(
        DATE_TIME, '"2023-02-29 10:00:00"', '"2023-02-29 10:00:00"', {}, id="date: no such day"
    ),
    pytest.param(DATE_TIME, '"2024-01-01 10:00"', '"2024-01-01 10:00"', {}, id="date: other form"),
    pytest.param(
        STRING, '"2024-01-01 10:00:00"', '"2024-01-01 10:00:00"', {}, id="string: no date"
    ),
    pytest.param({"enum": ["a", None]}, "1", '"1"', {}, id="enum: the types of its values"),
    pytest.param(
        {"anyOf": [DATE_TIME, {"type": "null"}]},
        '"2024-01-01 10:00:00"',
        '"2024-01-01T10:00:00Z"',
        {},
        id="anyOf: every branch with a string says date-time",
    ),
    pytest.param({"anyOf": [INTEGER, {"title": "x"}]}, '"a"', '"a"', REJECT, id="anyOf: untyped"),
    pytest.param({"allOf": [INTEGER, {"title": "x"}]}, '"5"', "5", {}, id="allOf: untyped branch"),
    pytest.param({"$ref": "#/properties/other"}, "5", '"5"', {}, id="$ref: any JSON pointer"),
    pytest.param({"$ref": "#/nowhere"}, "5", "5", REJECT, id="$ref: without a target"),
    pytest.param({"$ref": "#/properties/v"}, "5", "5", REJECT, id="$ref: to itself"),
]


@pytest.mark.parametrize(("schema", "value", "token", "options"), VALUES)
def test_values(
    schema: dict[str, Any], value: str, token: str | None, options: dict[str, Any]
) -> None:
    """A value of a column is sent as the page's table says."""
    properties = {"v": schema, "other": STRING}
    record = f'{{"other":"x","v":{value}}}'
    expected = f'{{"v":{token},"other":"x"}}' if token else '{"other":"x"}'
    assert sent(properties, record, **options) == expected


BAD_VALUES = [
    pytest.param(INTEGER, "1.5", "type", {}, id="integer: a fraction cannot be coerced"),
    pytest.param(INTEGER, "true", "type", {}, id="integer: booleans never"),
    pytest.param(INTEGER, '"042"', "type", {}, id="integer: a string with a leading zero"),
    pytest.param(INTEGER, '"5\\n"', "type", {}, id="integer: a string with a line break"),
    pytest.param(NUMBER, "true", "type", {}, id="number: booleans never"),
    pytest.param(NUMBER, '"1e400"', "type", {}, id="number: a string that is not finite"),
    pytest.param(NUMBER, '"+1"', "type", {}, id="number: a string that is not JSON"),
    pytest.param(BOOLEAN, "2", "type", {}, id="boolean: no other number"),
    pytest.param(BOOLEAN, '"True"', "type", {}, id="boolean: no other word"),
    pytest.param(BOOLEAN, "[true]", "type", {}, id="boolean: no array"),
    pytest.param({"type": ["boolean", "integer"]}, "1.5", "type", {}, id="union: no type matches"),
    pytest.param(STRING, "5", "type", REJECT, id="reject: no coercion"),
    pytest.param(ANYTHING, "-Infinity", "non_finite", SEND, id="non-finite in any column"),
    pytest.param(STRING, "1e400", "non_finite", {}, id="a token beyond the doubles"),
    pytest.param(ANYTHING, '"\\ud800"', "unicode", {}, id="a lone surrogate"),
    pytest.param(ANYTHING, '["\\ud800"]', "unicode", {}, id="a lone surrogate in JSON text"),
    pytest.param(ANYTHING, f'"{"x" * 32_768}"', "value_too_large", {}, id="a string of 32 KB"),
    pytest.param(
        INTEGER,
        "1" * 32_768,
        "value_too_large",
        {"oversized_values": "truncate"},
        id="a number cannot be cut",
    ),
    pytest.param(ANYTHING, "{}", "nested", {"nested": "reject"}, id="an object under reject"),
    pytest.param(LIST, "[NaN]", "nested", {"nested": "reject"}, id="contents are not checked"),
]


@pytest.mark.parametrize(("schema", "value", "code", "options"), BAD_VALUES)
def test_bad_values(schema: dict[str, Any], value: str, code: str, options: dict[str, Any]) -> None:
    """A value that no rule accepts is one fault, at its path."""
    assert faults({"v": schema}, f'{{"v":{value}}}', **options) == {("v", code)}


IDS = [
    pytest.param(INTEGER, "515", "515", {}, id="an integer"),
    pytest.param(INTEGER, "515.0", "515", {}, id="an integral number is the same key"),
    pytest.param(NUMBER, "515.0", "515", {}, id="in a number column too"),
    pytest.param(INTEGER, '"515"', "515", REJECT, id="coerced, whatever type_mismatches says"),
    pytest.param(INTEGER, '"abc"', "abc", SEND, id="send: unchanged"),
    pytest.param(STRING, "515.0", "515.0", {}, id="in a string column: the token"),
    pytest.param(NUMBER, "1e-7", "1e-07", {}, id="Python's repr of the double"),
    pytest.param(
        NUMBER, "0.300000000000000000010", "0.30000000000000000001", {}, id="plain digits"
    ),
    pytest.param(ANYTHING, "1e3", "1000", {}, id="digits of an integral number"),
    pytest.param(BOOLEAN, "0", "false", {}, id="a boolean"),
    pytest.param(STRING, '"a:b"', "a:b", {}, id="one key is not escaped"),
    pytest.param(
        DATE_TIME, '"2024-01-01 10:00:00"', "2024-01-01 10:00:00", {}, id="a date is not normalized"
    ),
    pytest.param(MAP, '{"b":1,"a":2.0}', '{"a":2.0,"b":1}', {}, id="JSON text with sorted keys"),
    pytest.param(ADDRESS, '{"zip":"1"}', '{"zip":"1"}', {}, id="a declared object counts as text"),
]


@pytest.mark.parametrize(("schema", "value", "text", "options"), IDS)
def test_ids(schema: dict[str, Any], value: str, text: str, options: dict[str, Any]) -> None:
    """The canonical text of a single key is the id."""
    properties = {"id": schema, "v": STRING}
    assert identified(properties, f'{{"id":{value},"v":"x"}}', ["id"], **options) == text


BAD_KEYS = [
    pytest.param("null", "key_empty", {}, id="null"),
    pytest.param('""', "key_empty", {}, id="empty"),
    pytest.param("NaN", "key_empty", {}, id="not finite"),
    pytest.param("1.5", "key_type", {}, id="cannot be coerced"),
]


@pytest.mark.parametrize(("value", "code", "options"), BAD_KEYS)
def test_bad_keys(value: str, code: str, options: dict[str, Any]) -> None:
    """A key that gives no id is a fault at its path."""
    properties = {"id": INTEGER, "v": STRING}
    record = f'{{"id":{value},"v":"x"}}'
    assert faults(properties, record, ["id"], **options) == {("id", code)}


def test_a_missing_key() -> None:
    """A key that the record lacks has its own fault."""
    assert faults({"id": INTEGER, "v": STRING}, '{"v":"x"}', ["id"]) == {("id", "key_missing")}


def test_a_long_id_is_hashed() -> None:
    """Over 100 characters the id is the SHA-256 of its UTF-8; 100 are accepted."""
    properties = {"k": STRING}
    assert identified(properties, json.dumps({"k": "é" * 100}), ["k"]) == "é" * 100
    rejected = faults(properties, json.dumps({"k": "x" * 101}), ["k"], long_ids="reject")
    assert rejected == {("", "long_id")}
    hashed = hashlib.sha256(("é" * 101).encode()).hexdigest()
    assert identified(properties, json.dumps({"k": "é" * 101}), ["k"]) == hashed


def test_several_keys_never_share_an_id() -> None:
    """Texts are escaped before they are joined, and every key stays a property."""
    properties = {"id": STRING, "b": STRING}
    record = r'{"id":"a:b","b":"c\\d"}'
    assert identified(properties, record, ["id", "b"]) == r"a\:b:c\\d"
    assert sent(properties, record, ["id", "b"]) == r'{"id_":"a:b","b":"c\\d"}'


def test_no_keys_hash_the_record_as_the_tap_wrote_it() -> None:
    """Sorted, compact, numbers as written, without the SDK's top-level metadata."""
    hashed = hashlib.sha256('{"a":{"_sdc_x":"é","b":1.50}}'.encode()).hexdigest()
    record = '{"_sdc_batched_at":"now", "a":{"b":1.50,"_sdc_x":"\\u00e9"}}'
    assert identified({"a": MAP}, record) == hashed


@pytest.mark.parametrize("key", ["id", "Id", "ID", "_id"])
def test_the_key_that_is_the_id_is_no_property(key: str) -> None:
    """A single key whose name becomes `id` is not sent, since the table has that column."""
    assert sent({key: INTEGER, "v": STRING}, f'{{"{key}":1,"v":"x"}}', [key]) == '{"v":"x"}'


def test_the_key_that_is_the_id_clashes_with_no_property() -> None:
    """Another `Id` is sent with a trailing underscore."""
    properties = {"id": INTEGER, "Id": INTEGER}
    assert sent(properties, '{"id":1,"Id":2}', ["id"]) == '{"id_":2}'


def test_a_record_with_only_its_key() -> None:
    """The key is sent as `id` if the object would have no other property."""
    assert sent({"id": NUMBER}, '{"id":5}', ["id"]) == '{"id":5.0}'
    properties = {"id": INTEGER, "v": STRING}
    assert sent(properties, '{"id":5,"v":null}', ["id"], nulls="drop") == '{"id":5}'


def test_an_empty_record() -> None:
    """An object without properties is a fault of the whole record, if there is no other."""
    assert faults({"v": STRING}, "{}") == {("", "empty")}
    assert faults({"v": STRING}, '{"v":null}', nulls="drop") == {("", "empty")}
    assert faults({"v": STRING}, '{"w":null}', nulls="drop") == {("", "empty")}
    assert faults({"v": STRING}, "{}", ["k"]) == {("k", "key_missing")}


def test_what_the_warehouse_owns_gets_an_underscore() -> None:
    """`uuid` and the other reserved columns."""
    assert (
        sent({"uuid": STRING}, '{"uuid":"x","Received At":1}') == '{"uuid_":"x","received_at_":1}'
    )


def test_declared_first_then_undeclared() -> None:
    """Declared properties in the schema's order, then undeclared ones in the record's."""
    properties = {"b": STRING, "a": ADDRESS}
    record = '{"z":1,"a":{"y":2,"zip":"3"},"x":[4],"b":"5"}'
    expected = '{"b":"5","a_street":null,"a_zip":"3","z":1,"a_y":2,"x":"[4]"}'
    assert sent(properties, record) == expected


def test_missing_properties() -> None:
    """Omitted at the top, but null in an object: Segment keeps the old value of what is omitted."""
    properties = {"v": STRING, "w": STRING, "a": {"type": "object", "properties": {"b": ADDRESS}}}
    assert sent(properties, '{"v":"x"}') == '{"v":"x"}'
    nulls = '{"a_b_street":null,"a_b_zip":null}'
    assert sent(properties, '{"a":{}}') == nulls
    assert sent(properties, '{"a":null}') == nulls
    assert sent(properties, '{"a":{"b":null}}') == nulls
    assert sent(properties, '{"v":"x","a":{"b":{"zip":"1"}}}', nulls="drop") == (
        '{"v":"x","a_b_zip":"1"}'
    )


def test_undeclared_objects() -> None:
    """They are JSON text, unless `nested` is `reject`."""
    record = '{"v":"x","u":{"a":{"b":1},"c":{},"d":null}}'
    text = '{"v":"x","u":"{\\"a\\":{\\"b\\":1},\\"c\\":{},\\"d\\":null}"}'
    assert sent({"v": STRING}, record) == text
    assert sent({"v": STRING}, record, nested="json") == text
    assert faults({"v": STRING}, record, nested="reject") == {("u", "nested")}


def test_a_declared_object_under_json_is_text() -> None:
    """With `nested: json`, an object is one property."""
    assert sent({"a": ADDRESS}, '{"a":{"zip":1.0}}', nested="json") == '{"a":"{\\"zip\\":1.0}"}'


def test_a_value_where_an_object_is_declared() -> None:
    """It is a property with the object's name, before the object's properties, which are null."""
    nulls = '"a_street":null,"a_zip":null'
    assert sent({"a": ADDRESS}, '{"a":"x"}') == f'{{"a":"\\"x\\"",{nulls}}}'
    assert sent({"a": ADDRESS}, '{"a":"x"}', type_mismatches="send") == f'{{"a":"x",{nulls}}}'
    assert faults({"a": ADDRESS}, '{"a":"x"}', type_mismatches="reject") == {("a", "type")}
    assert faults({"a": ADDRESS, "A": STRING}, '{"a":"x"}') == {("a", "clash")}


def test_names_in_a_record() -> None:
    """An undeclared property without a name is a fault, and so is one whose name is in use."""
    record = '{"v":"x","!":1,"V":2,"w":3,"W":4,"名前":5}'
    assert faults({"v": STRING}, record) == {("!", "name"), ("V", "clash"), ("W", "clash")}
    assert sent({"v": STRING}, '{"名前":5,"naïve":6}') == '{"ming_qian":5,"naive":6}'
    assert faults({"v": STRING}, '{"a\\ud800":1}') == {("a\ud800", "unicode")}


@pytest.mark.parametrize(
    "properties",
    [
        {"!": STRING},
        {"a": STRING, "A": STRING},
        {"a_zip": STRING, "a": ADDRESS},
        {"id": STRING, "Id": STRING},
    ],
)
def test_names_in_a_schema(properties: dict[str, Any]) -> None:
    """Empty names and shared names in a schema are an error before any record."""
    with pytest.raises(SchemaError):
        become(properties, "{}")


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"anyOf": [{"type": "object"}]}])
def test_a_stream_without_properties(schema: dict[str, Any]) -> None:
    """A stream's schema must have `properties`, even if they are empty."""
    with pytest.raises(SchemaError):
        transform("rooms", schema, [], PlanOptions(), b'{"a":1}')


def test_properties_of_branches_are_joined() -> None:
    """Branches and references add properties; one that several have may have any of their types."""
    schema = {
        "definitions": {"base": {"properties": {"a": INTEGER, "b": BOOLEAN}}},
        "allOf": [{"$ref": "#/definitions/base"}, {"properties": {"a": STRING}}],
    }
    row = transform("rooms", schema, [], PlanOptions(), b'{"b":1,"a":1.0}')
    assert isinstance(row, ExpectedObject)
    assert row.properties == [("a", "1.0"), ("b", "true")]


def test_a_schema_that_contains_itself() -> None:
    """The node of a tree is declared once; the reference to itself in it is untyped."""
    node = {"properties": {"v": INTEGER, "child": {"$ref": "#/definitions/node"}}}
    schema = {"definitions": {"node": node}, "properties": {"n": {"$ref": "#/definitions/node"}}}
    record = b'{"n":{"v":"1","child":{"v":"2"}}}'
    row = transform("rooms", schema, [], PlanOptions(), record)
    assert isinstance(row, ExpectedObject)
    assert row.properties == [("n_v", "1"), ("n_child", '"{\\"v\\":\\"2\\"}"')]


def test_faults_inside_json_text_say_where() -> None:
    """The path leads to the number that is not finite, with indexes as text."""
    assert faults({"v": LIST}, '{"v":[1,{"a":NaN}]}') == {("v.1.a", "non_finite")}


def test_oversized_strings() -> None:
    """A string is cut between characters, below 32 KB of UTF-8, or dropped."""
    record = json.dumps({"v": "a" + "é" * 20_000, "w": "x"})
    cut = "a" + "é" * 16_383
    assert sent({"v": STRING}, record, oversized_values="truncate") == f'{{"v":"{cut}","w":"x"}}'
    assert sent({"v": STRING}, record, oversized_values="drop") == '{"w":"x"}'
    fits = json.dumps({"v": "x" * 32_767})
    assert sent({"v": STRING}, fits) == fits.replace(" ", "")


def test_an_object_is_its_line() -> None:
    """409,600 bytes are accepted, one more is a fault of the whole record."""
    properties = {"id": STRING}
    frame = len('{"id":"k","collection":"rooms","properties":{}}')
    sizes = [32_000] * 12
    filled = sum(len(f'"p{n:02}":"{"x" * size}",') for n, size in enumerate(sizes))
    last = 409_600 - frame - filled - len('"z":""')
    record = {
        "id": "k",
        **{f"p{n:02}": "x" * size for n, size in enumerate(sizes)},
        "z": "x" * last,
    }
    assert isinstance(become(properties, json.dumps(record), ["id"]), ExpectedObject)
    record["z"] += "x"
    assert faults(properties, json.dumps(record), ["id"]) == {("", "object_too_large")}


def test_all_faults_at_once() -> None:
    """Every fault of a record is reported: of keys, names and values."""
    properties = {"k": INTEGER, "a": ADDRESS, "n": NUMBER}
    record = '{"k":"x","a":{"zip":"\\ud800","?":1e400,"ZIP":[NaN]},"n":false}'
    assert faults(properties, record, ["k"]) == {
        ("k", "key_type"),
        ("a.zip", "unicode"),
        ("a.?", "non_finite"),
        ("a.ZIP", "clash"),
        ("a.ZIP.0", "non_finite"),
        ("n", "type"),
    }


def test_the_collection() -> None:
    """It is derived from the stream's name."""
    row = transform("S3 File", {"properties": {}}, [], PlanOptions(), b'{"a":1}')
    assert isinstance(row, ExpectedObject)
    assert row.collection == "s_three_files"
