"""Unusual JSON messages: missing and repeated fields, wrong types, unusual schemas."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from tests.faults.byte_inputs import BAD, Input, message, written
from tests.faults.input_run import CANARY, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["message_inputs"]

_NO_SCHEMA = "MissingSchemaError @4"

JSON_VALUES: Mapping[str, str] = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "negative": "-1",
    "float": "1.5",
    "huge": "9" * 5_000,
    "1e400": "1e400",
    "nan": "NaN",
    "empty-text": '""',
    "text": f'"{CANARY}"',
    "nul-text": '"\\u0000"',
    "surrogate": '"\\ud800"',
    "empty-list": "[]",
    "list": f'["{CANARY}"]',
    "list-of-null": "[null]",
    "empty-object": "{}",
    "object": f'{{"{CANARY[:3]}":"{CANARY}"}}',
}
"""Values of every type, for fields that require another type."""

_TEXTS = {"empty-text", "text", "nul-text", "surrogate"}
_OBJECTS = {"empty-object", "object"}

MESSAGES: Mapping[str, Mapping[str, str]] = {
    "RECORD": {
        "type": '"RECORD"',
        "stream": '"rooms"',
        "record": f'{{"id":"odd","name":"{CANARY}"}}',
        "time_extracted": '"2020-01-01T00:00:00Z"',
        "version": "1",
        "sequence": "1",
    },
    "SCHEMA": {
        "type": '"SCHEMA"',
        "stream": '"others"',
        "schema": '{"type":"object","properties":{"id":{"type":"string"}}}',
        "key_properties": '["id"]',
        "bookmark_properties": '["id"]',
    },
    "STATE": {"type": '"STATE"', "value": '{"seen":1.5}', "bookmarks": "{}"},
    "ACTIVATE_VERSION": {"type": '"ACTIVATE_VERSION"', "stream": '"rooms"', "version": "1"},
    "BATCH": {
        "type": '"BATCH"',
        "stream": '"rooms"',
        "encoding": '{"format":"jsonl","compression":"gzip"}',
        "manifest": f'["file:///{CANARY}.gz"]',
    },
}
_GOOD = {"RECORD": "sent", "BATCH": BAD}


def message_inputs() -> Iterator[Input]:
    """Yield all inputs of this module."""
    for kind, fields in MESSAGES.items():
        yield Input(f"{kind}-as-it-should-be", _message(fields), _GOOD.get(kind, "passed"))
        for field in fields:
            for name, json_text in JSON_VALUES.items():
                if field == "stream" and name == "text":
                    json_text = '"elsewhere"'  # noqa: PLW2901  a stream's name is told
                yield Input(
                    f"{kind}-{field}-{name}",
                    _message({**fields, field: json_text}),
                    _verdict(kind, field, name),
                )
            without = {other: value for other, value in fields.items() if other != field}
            yield Input(f"{kind}-{field}-missing", _message(without), _verdict(kind, field, ""))
            yield Input(
                f"{kind}-{field}-capital",
                _message({**without, field.upper(): fields[field]}),
                _verdict(kind, field, ""),
            )
            # The last value wins.
            twice = b'{"%b":null,' % field.encode() + _message(fields)[1:]
            yield Input(f"{kind}-{field}-twice", twice, _GOOD.get(kind, "passed"))
            last = _message(fields)[:-1] + b',"%b":null}' % field.encode()
            yield Input(f"{kind}-{field}-twice-null", last, _verdict(kind, field, "null"))
    yield from _types()
    yield from _keys()
    yield from _schemas()
    yield from _changes()
    yield from _streams()
    yield from _states()


def _message(fields: Mapping[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode()


def _verdict(kind: str, field: str, name: str) -> str:
    """Return the expected verdict on a message with this value in this field; "" for none."""
    if field == "type" or (kind == "BATCH" and field != "stream"):
        return BAD
    if field == "stream":
        return _stream_verdict(kind, name)
    if field == "record":
        return {"": BAD, **dict.fromkeys(_OBJECTS, "reject key_missing")}.get(name, "reject record")
    if field == "value":
        return BAD if name == "" else "passed"
    if field == "schema":
        return "passed" if name in _OBJECTS else BAD
    if field == "key_properties":
        return "passed" if name in {"", "null", "empty-list", "list"} else BAD
    return _GOOD.get(kind, "passed")


def _stream_verdict(kind: str, name: str) -> str:
    if name not in _TEXTS:
        return BAD
    if kind == "ACTIVATE_VERSION":
        return "passed"
    if kind != "SCHEMA":
        return _NO_SCHEMA
    return {"text": "passed", "surrogate": BAD}.get(name, "SchemaError")


def _types() -> Iterator[Input]:
    """Message types that Singer does not define, or spells otherwise."""
    for kind in ("record", "Record", "RECORDS", " RECORD", "RECORD\0", "LOG", "METRIC", "", "🦜"):
        line = written({**message(), "type": kind})
        yield Input(f"type-{kind.encode('unicode-escape').decode()}", line, BAD)


def _schema(schema: object, keys: object = ("id",), stream: str = "others") -> bytes:
    return written({"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": keys})


def _properties(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"id": {"type": "string"}, **properties}}


def _keys() -> Iterator[Input]:
    """Key properties of every form."""
    record = written({"type": "RECORD", "stream": "others", "record": {"id": "odd", "n": CANARY}})
    for name, (keys, verdict) in {
        "none": ([], "passed"),
        "null": (None, "passed"),
        "one": (["id"], "passed"),
        "the-same-twice": (["id", "id"], "passed"),
        "two": (["id", "n"], "passed"),
        "not-there": (["nobody"], "reject key_missing"),
        "one-not-there": (["id", "nobody"], "reject key_missing"),
        "empty-name": ([""], "reject key_missing"),
        "capital": (["ID"], "reject key_missing"),
        "hundred": ([f"k{number}" for number in range(100)], "reject key_missing"),
        "surrogate": (["\ud800"], BAD),
        "text": ("id", BAD),
        "object": ({"id": 1}, BAD),
        "number": (1, BAD),
        "false": (False, BAD),
        "numbers": ([1], BAD),
        "mixed": (["id", None], BAD),
        "nested": ([["id"]], BAD),
    }.items():
        yield Input(f"keys-{name}", _schema(_properties(), keys) + b"\n" + record, verdict)


def _schemas() -> Iterator[Input]:
    """Schemas that are accepted leniently, and schemas that cannot be."""
    taken: dict[str, object] = {
        "no-type": {"properties": {"id": {}}},
        "no-properties-listed": {"properties": {}},
        # No properties are listed, which is allowed if there are keys.
        "empty": {},
        "type-alone": {"type": "object"},
        "root-ref-to-itself": {"$ref": "#"},
        "true-property": _properties(a=True),
        "false-property": _properties(a=False),
        "null-property": _properties(a=None),
        "text-property": _properties(a="string"),
        "list-property": _properties(a=["string"]),
        "unknown-type": _properties(a={"type": "decimal"}),
        "number-as-type": _properties(a={"type": 17}),
        "null-type": _properties(a={"type": "null"}),
        "empty-types": _properties(a={"type": []}),
        "types-of-types": _properties(a={"type": [["string"]]}),
        "all-types": _properties(a={"type": ["string", "object", "array", "number", "null"]}),
        "enum": _properties(a={"enum": [1, "a", None, [], {}]}),
        "const": _properties(a={"const": 1}),
        "any-of": _properties(a={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "any-of-nothing": _properties(a={"anyOf": []}),
        "any-of-no-list": _properties(a={"anyOf": {"type": "string"}}),
        "one-of-numbers": _properties(a={"oneOf": [1, 2]}),
        "ref-nowhere": _properties(a={"$ref": "#/definitions/nobody"}),
        "ref-to-itself": _properties(a={"$ref": "#/properties/a"}),
        "ref-to-root": _properties(a={"$ref": "#"}),
        "ref-abroad": _properties(a={"$ref": "http://127.0.0.1:9/schema.json"}),
        "ref-file": _properties(a={"$ref": "file:///etc/passwd"}),
        "ref-number": _properties(a={"$ref": 17}),
        "ref-circle": {
            **_properties(a={"$ref": "#/definitions/b"}),
            "definitions": {"b": {"$ref": "#/definitions/c"}, "c": {"$ref": "#/definitions/b"}},
        },
        "format-unknown": _properties(a={"type": "string", "format": "nobody"}),
        "format-number": _properties(a={"type": "string", "format": 17}),
        "items-list": _properties(a={"type": "array", "items": [{}, {}]}),
        "items-text": _properties(a={"type": "array", "items": "string"}),
        "properties-null": _properties(a={"type": "object", "properties": None}),
        "properties-list": _properties(a={"type": "object", "properties": []}),
        "required-missing": {**_properties(), "required": ["nobody"]},
        "closed": {**_properties(), "additionalProperties": False},
        "pattern": {**_properties(), "patternProperties": {"(": {}}},
        "root-any-of": {"anyOf": [_properties()]},
        "root-all-of": {"allOf": [_properties(), {}]},
        "root-array": {"type": "array", "properties": {"id": {}}},
        "many": _properties(**{f"p{'abcdefghij'[n % 10] * (n // 10 + 1)}": {} for n in range(900)}),
    }
    for name, schema in taken.items():
        yield Input(f"schema-{name}", _schema(schema), "passed")
    refused: dict[str, object] = {
        "properties-null-at-top": {"properties": None},
        "properties-list-at-top": {"properties": ["id"]},
        "properties-text-at-top": {"properties": CANARY},
        "type-of-a-text": {"type": "string"},
        "name-empty": _properties(**{"": {}}),
        "name-signs": _properties(**{"!": {}}),
        "clash-case": _properties(a={}, A={}),
        "clash-accent": _properties(naïve={}, naive={}),
        "clash-path": _properties(a={"type": "object", "properties": {"b": {}}}, a_b={}),
    }
    for name, schema in refused.items():
        yield Input(f"schema-{name}", _schema(schema), "SchemaError")
    rejected = written({"type": "RECORD", "stream": "others", "record": {"n": CANARY}})
    for name, (schema_json, verdict) in {
        "nan": ("NaN", "reject key_missing"),
        "1e400": ("1e400", "reject key_missing"),
        # Python cannot parse an integer with so many digits, and a schema needs none.
        "huge": ("9" * 5_000, BAD),
    }.items():
        line = _schema(_properties(a={"type": "integer", "maximum": "@"}))
        line = line.replace(b'"@"', schema_json.encode()) + b"\n" + rejected
        yield Input(f"schema-maximum-{name}", line, verdict)
    line = _schema(_properties(a={"description": "\ud800"})) + b"\n" + rejected
    yield Input("schema-surrogate", line, "reject key_missing")


def _changes() -> Iterator[Input]:
    """Another SCHEMA of the stream: the same, with more or fewer properties, and invalid ones."""
    same = copy.deepcopy(SCHEMA)
    record = written(message(fresh=1))

    def changed(name: str, verdict: str, **more: object) -> Input:
        lines = [written({**same, **more}), record, written(same)]
        return Input(f"change-{name}", b"\n".join(lines), verdict)

    yield changed("none", "sent")
    yield changed("keys-order", "sent", key_properties=["id"])
    yield changed("more", "sent", schema=_properties(fresh={"type": "integer"}, name={}))
    yield changed("less", "sent", schema=_properties())
    yield changed("type", "sent", schema=_properties(fresh={"type": "string"}, name={}))
    yield changed("no-keys", "sent", key_properties=[])
    yield changed("other-keys", "sent", key_properties=["id", "fresh"])
    yield changed("keys-gone", "reject key_missing", key_properties=["nobody"])
    yield changed("clash", "SchemaError", schema=_properties(fresh={}, Fresh={}))
    yield changed("no-properties", "sent", schema={})
    yield changed("no-properties-nor-keys", "SchemaError", schema={}, key_properties=[])
    yield changed("no-schema", BAD, schema=None)
    for times in (2, 100):
        both = [written({**same, "schema": _properties(**{"ab"[n % 2]: {}})}) for n in range(times)]
        yield Input(f"change-{times}-times", b"\n".join([*both, record, written(same)]), "sent")


def _streams() -> Iterator[Input]:
    """Names of streams: some become collections, others cannot."""
    for name, (stream, verdict) in {
        "digits": ("s3_files", "passed"),
        "accents": ("Zimmer à 2", "passed"),
        "chinese": ("房间", "passed"),
        "path": ("../../etc/passwd", "passed"),
        "schema-dot-table": ("public.users", "passed"),
        "of-segment": ("tracks", "passed"),
        "empty": ("", "SchemaError"),
        "signs": ("!!!", "SchemaError"),
        "long": ("x" * 101, "SchemaError"),
        "surrogate": ("\ud800", BAD),
        "surrogate-within": ("others\ud800", BAD),
    }.items():
        yield Input(f"stream-{name}", _schema(_properties(), stream=stream), verdict)


def _states() -> Iterator[Input]:
    """A state may be any value; the target does not inspect it."""
    for name, value in {
        "large": json.dumps({"bookmarks": {f"s{n}": {"at": "x" * 50} for n in range(5_000)}}),
        "twice": '{"a":1,"a":2}',
        "decimals": '{"at":1.10000000000000000000001}',
        "surrogate-pair": '"\\ud83d\\ude00"',
        "blanks": "{  }",
    }.items():
        yield Input(f"state-{name}", b'{"type":"STATE","value":%b}' % value.encode(), "passed")
    for name, value in {"cut": '{"a":', "none": "None", "empty": "", "01": "01"}.items():
        yield Input(f"state-{name}", b'{"type":"STATE","value":%b}' % value.encode(), BAD)
