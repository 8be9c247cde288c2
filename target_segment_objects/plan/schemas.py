"""Reads the columns of a SCHEMA leniently: `$ref`, `anyOf`, draft 4, properties without a type.

Invariant: a stream is never refused for its schema, as long as that lists properties.
`docs/names-ids-values.md`, "Schemas are read leniently", has the exact rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Literal
from urllib.parse import unquote

from target_segment_objects.errors import SchemaError

__all__ = [
    "UNTYPED",
    "Column",
    "ColumnKind",
    "plain_column",
    "read_columns",
    "resolved_schema",
]

ColumnKind = Literal[
    "untyped",
    "string",
    "date",
    "integer",
    "number",
    "boolean",
    "object",
    "json",
    "union_with_string",
    "union",
]

_TYPE_OF: Final[Mapping[type, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
    type(None): "null",
}
_TYPES: Final = frozenset(_TYPE_OF.values())
_MAX_NODES: Final = 200_000
_BRANCHES: Final = ("anyOf", "oneOf", "allOf")
_NO_PROPERTIES: Final[Mapping[str, Column]] = {}


@dataclass(frozen=True, slots=True)
class Column:
    """A declared property.

    Attributes:
        kind: which values match, and how they are written. `object` has declared properties;
            `json` is any other object or array, which is sent as JSON text; `untyped` has no type;
            `union_with_string` and `union` have several types.
        types: the JSON Schema types, without `null`; none if it is untyped.
        properties: the properties of an `object` by name, in the schema's order.
    """

    kind: ColumnKind
    types: frozenset[str] = frozenset()
    properties: Mapping[str, Column] = field(default_factory=lambda: _NO_PROPERTIES)


@lru_cache(maxsize=1_000)
def plain_column(kind: ColumnKind, types: frozenset[str]) -> Column:
    """A column without properties. Columns are many and kinds few, so they are shared."""
    return Column(kind, types)


UNTYPED: Final = Column("untyped")
"""The column of an undeclared property."""


@dataclass(frozen=True)
class _Node:
    """A schema with its `$ref`s resolved, and the references followed so far.

    A recursive reference is treated as untyped.
    """

    schema: Mapping[str, Any]
    followed: frozenset[str]


@dataclass
class _Root:
    """The schema of a stream, and the number of its nodes that were read."""

    schema: Mapping[str, Any]
    stream: str
    nodes: int = 0


def read_columns(
    schema: Mapping[str, Any], *, stream: str, has_keys: bool = False
) -> dict[str, Column]:
    """The declared properties of a stream, by name, in the schema's order.

    Args:
        schema: the JSON Schema of the stream's records.
        stream: the stream's name, for errors.
        has_keys: whether the stream has key properties. Its schema may then list no properties, as
            that of tap-mongodb: all properties of its records are undeclared.

    Raises:
        SchemaError: if it lists no properties and must, or has too many nodes.
    """
    root = _Root(schema, stream)
    top = _follow(schema, root, frozenset())
    lists_none = not _has_properties(top, root)
    if lists_none and not (has_keys and _types(top, root) <= {"object", "null"}):
        raise SchemaError(
            f"the SCHEMA of stream {stream!r} lists no `properties`; "
            "check that the tap writes a JSON Schema of its records"
        )
    return {name: _column(nodes, root) for name, nodes in _properties([top], root).items()}


def _has_properties(top: _Node, root: _Root) -> bool:
    """Whether a stream's schema, or one of its branches, has `properties`, even empty ones.

    Raises:
        SchemaError: if they are no object.
    """
    parts = [node.schema for node in _with_branches(top, root)]
    lists = [part["properties"] for part in parts if "properties" in part]
    if not all(isinstance(properties, Mapping) for properties in lists):
        raise SchemaError(
            f"the `properties` in the SCHEMA of stream {root.stream!r} are not a JSON object; "
            "check that the tap writes a JSON Schema of its records"
        )
    return bool(lists)


def resolved_schema(schema: Mapping[str, Any], *, stream: str) -> dict[str, Any]:
    """Return a schema with the same columns, written as types, without references and branches.

    Raises:
        SchemaError: if the schema has too many nodes, or its `properties` are no object.
    """
    root = _Root(schema, stream)
    top = _follow(schema, root, frozenset())
    _has_properties(top, root)
    others = {key: value for key, value in top.schema.items() if key not in _BRANCHES}
    properties = _properties([top], root).items()
    return others | {
        "type": "object",
        "properties": {name: _resolved_property(nodes, root) for name, nodes in properties},
    }


def _resolved_property(nodes: list[_Node], root: _Root) -> dict[str, Any]:
    schema = nodes[0].schema
    if len(nodes) == 1 and "type" in schema and not {*_BRANCHES, "properties"} & schema.keys():
        return dict(schema)
    return _schema_of(_column(nodes, root))


def _schema_of(column: Column) -> dict[str, Any]:
    if column.kind == "untyped":
        return {"additionalProperties": True}  # the SDK does not accept an empty schema
    if column.kind == "object":
        inner = {name: _schema_of(part) for name, part in column.properties.items()}
        return {"type": ["object", "null"], "properties": inner}
    date_format = {"format": "date-time"} if column.kind == "date" else {}
    return {"type": [*sorted(column.types), "null"], **date_format}


def _follow(schema: Any, root: _Root, followed: frozenset[str]) -> _Node:
    """Replace `$ref` by the schema that it points to; its siblings are kept."""
    root.nodes += 1
    if root.nodes > _MAX_NODES:  # references that each lead to several others can make so many
        raise SchemaError(
            f"the SCHEMA of stream {root.stream!r} has more than {_MAX_NODES} parts when its "
            "references are followed; deselect what is not needed in the tap's catalog"
        )
    if not isinstance(schema, Mapping):
        return _Node({}, followed)
    while isinstance(reference := schema.get("$ref"), str):
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        if reference in followed:
            return _Node(siblings, followed)
        followed |= {reference}
        schema = {**_pointed_to(reference, root.schema), **siblings}
    return _Node(schema, followed)


def _pointed_to(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    if not reference.startswith("#"):
        return {}
    target: Any = root
    for part in unquote(reference[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping):
            target = target.get(name)
        elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
            target = target[int(name)]
        else:
            return {}
    return target if isinstance(target, Mapping) else {}


def _branches(node: _Node, root: _Root, *keywords: str) -> list[_Node]:
    return [
        _follow(branch, root, node.followed)
        for keyword in keywords
        if isinstance(branches := node.schema.get(keyword), list)
        for branch in branches
    ]


def _with_branches(node: _Node, root: _Root) -> Iterator[_Node]:
    yield node
    for branch in _branches(node, root, *_BRANCHES):
        yield from _with_branches(branch, root)


def _properties(nodes: Iterable[_Node], root: _Root) -> dict[str, list[_Node]]:
    """The properties of schemas and their branches, each with all of its schemas."""
    found: dict[str, list[_Node]] = {}
    for part in chain.from_iterable(_with_branches(node, root) for node in nodes):
        properties = part.schema.get("properties")
        if isinstance(properties, Mapping):
            for name, schema in properties.items():
                found.setdefault(name, []).append(_follow(schema, root, part.followed))
    return found


def _types(node: _Node, root: _Root) -> frozenset[str]:
    """The types that a schema allows, `null` included; none if it is untyped."""
    schema = node.schema
    if "type" in schema:
        named = schema["type"]
        names = named if isinstance(named, list) else [named]
        return frozenset(name for name in names if isinstance(name, str)) & _TYPES
    if any(isinstance(schema.get(keyword), list) for keyword in _BRANCHES):
        choices = [_types(branch, root) for branch in _branches(node, root, "anyOf", "oneOf")]
        parts = [_types(branch, root) for branch in _branches(node, root, "allOf")]
        return frozenset() if frozenset() in choices else frozenset().union(*choices, *parts)
    if "properties" in schema:
        return frozenset({"object"})
    if "items" in schema:
        return frozenset({"array"})
    values = schema["enum"] if isinstance(schema.get("enum"), list) else []
    if "const" in schema:
        values = [*values, schema["const"]]
    return frozenset(_TYPE_OF[type(value)] for value in values if type(value) in _TYPE_OF)


def _are_dates(nodes: Iterable[_Node], root: _Root) -> bool:
    """Whether all schemas of strings among these are schemas of dates."""
    strings = [node for node in nodes if "string" in _types(node, root)]
    return bool(strings) and all(
        node.schema.get("format") in {"date-time", "date"}
        or _are_dates(_branches(node, root, *_BRANCHES), root)
        for node in strings
    )


def _column(nodes: list[_Node], root: _Root) -> Column:
    """The column of a property. If it has several schemas, its values may match any."""
    choices = [_types(node, root) for node in nodes]
    types = frozenset().union(*choices) - {"null"} if frozenset() not in choices else frozenset()
    if types == {"object"}:
        properties = _properties(nodes, root)
        if properties:
            inner = {name: _column(schemas, root) for name, schemas in properties.items()}
            return Column("object", types, inner)
    is_date = types == {"string"} and _are_dates(nodes, root)
    return plain_column("date" if is_date else _kind(types), types)


def _kind(types: frozenset[str]) -> ColumnKind:
    if not types:
        return "untyped"
    if types == {"string"}:
        return "string"
    if types == {"integer"}:
        return "integer"
    if types <= {"integer", "number"}:
        return "number"
    if types == {"boolean"}:
        return "boolean"
    if types <= {"object", "array"}:
        return "json"
    return "union_with_string" if "string" in types else "union"
