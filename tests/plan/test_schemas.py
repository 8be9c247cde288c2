"""Schemas are read leniently: what real taps write is a remark about columns, never a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from target_segment_objects.errors import SchemaError
from target_segment_objects.plan.schemas import Column, read_columns


def column(schema: Any, **root: Any) -> Column:
    """The one property of a stream."""
    return read_columns({"properties": {"a": schema}, **root}, stream="rooms")["a"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({}, "untyped"),
        (True, "untyped"),
        (None, "untyped"),
        ([], "untyped"),
        ({"type": []}, "untyped"),
        ({"type": "null"}, "untyped"),
        ({"type": ["null"]}, "untyped"),
        ({"type": "decimal"}, "untyped"),
        ({"type": 5}, "untyped"),
        ({"type": ["null", "string"]}, "string"),
        ({"type": ["string", 7, None]}, "string"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "time"}, "string"),
        ({"type": ["integer", "number"]}, "number"),
        ({"type": ["integer", "boolean"]}, "union"),
        ({"type": ["integer", "string"]}, "union_with_string"),
        ({"type": "object"}, "json"),
        ({"type": "object", "properties": {}}, "json"),
        ({"type": ["object", "array"]}, "json"),
        ({"items": {}}, "json"),
        ({"enum": ["a", "b", None]}, "string"),
        ({"enum": [1, 2.5]}, "number"),
        ({"const": True}, "boolean"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer"),
        ({"anyOf": [{"type": "integer"}, {}]}, "untyped"),
        ({"anyOf": {"type": "integer"}}, "untyped"),
        ({"allOf": [{"type": "string"}, {"format": "date-time"}]}, "string"),
        ({"oneOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, "date"),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "string"}]}, "string"),
    ],
)
def test_kinds(schema: Any, kind: str) -> None:
    """A property's kind, whatever draft or mistake its schema is."""
    assert column(schema).kind == kind


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("#/definitions/word", "string"),
        ("#/definitions/a~1b~0c", "integer"),
        ("#/definitions/a%2Fb", "untyped"),
        ("#/definitions/with%20blank", "boolean"),
        ("#/definitions/list/1", "number"),
        ("#/definitions/list/7", "untyped"),
        ("#/definitions/again", "string"),
        ("#/definitions/circle", "untyped"),
        ("#/nowhere", "untyped"),
        ("other.json#/a", "untyped"),
        (5, "untyped"),
    ],
)
def test_references(reference: Any, kind: str) -> None:
    """Pointers lead into the schema; one that leads in a circle or to nothing is untyped."""
    definitions = {
        "word": {"type": "string"},
        "a/b~c": {"type": "integer"},
        "with blank": {"type": "boolean"},
        "list": [{}, {"type": "number"}],
        "again": {"$ref": "#/definitions/word"},
        "circle": {"$ref": "#/definitions/circle"},
    }
    assert column({"$ref": reference}, definitions=definitions).kind == kind


def test_siblings_of_a_reference_win() -> None:
    """As in draft 2019."""
    schema = {"$ref": "#/$defs/b", "type": ["null", "number"]}
    assert column(schema, **{"$defs": {"b": {"type": "string"}}}).kind == "number"


def test_a_tree_is_declared_once() -> None:
    """Its node refers to itself; that reference is untyped."""
    tree = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "up": {"$ref": "#/$defs/t"}},
    }
    found = column({"$ref": "#/$defs/t"}, **{"$defs": {"t": tree}})
    assert found.kind == "object"
    assert {name: inner.kind for name, inner in found.properties.items()} == {
        "name": "string",
        "up": "untyped",
    }


def test_properties_keep_the_schemas_order() -> None:
    """Those of branches come last."""
    schema = {
        "properties": {"z": {}, "a": {}},
        "allOf": [{"properties": {"m": {}, "z": {"type": "string"}}}],
    }
    found = read_columns(schema, stream="rooms")
    assert list(found) == ["z", "a", "m"]
    assert found["z"].kind == "untyped"


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"allOf": [{}]}, {"$ref": "#"}])
def test_a_schema_without_properties_is_an_error(schema: dict[str, Any]) -> None:
    """A schema must list properties; the error names the stream."""
    with pytest.raises(SchemaError, match="'rooms' lists no `properties`"):
        read_columns(schema, stream="rooms")


def test_properties_may_be_none() -> None:
    """An empty list is accepted."""
    assert read_columns({"properties": {}}, stream="rooms") == {}


@pytest.mark.parametrize("keyword", ["properties", "anyOf"])
def test_references_that_multiply_are_an_error(keyword: str) -> None:
    """Definitions that each refer twice to the next one are an error, and do not run forever."""
    twice = [{"$ref": f"#/definitions/d{n}"} for n in range(1, 41)]
    links = {
        f"d{n}": {keyword: {"a": link, "b": link} if keyword == "properties" else [link, link]}
        for n, link in enumerate(twice)
    }
    schema = {"definitions": links, "properties": {"top": {"$ref": "#/definitions/d0"}}}
    with pytest.raises(SchemaError, match="more than 200000 parts"):
        read_columns(schema, stream="rooms")
