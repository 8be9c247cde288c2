"""What a SCHEMA says of each column, read leniently: `$ref`, `anyOf`, draft 4, no type at all.

The rule that it guards: a schema is a remark about columns, never a reason to refuse a stream, as
long as it lists properties. The exact reading is in `docs/names-ids-values.md`, "Schemas are read
leniently".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import unquote

from target_segment_objects.errors import SchemaError

__all__ = ["Column", "Kind", "plain_column", "read_columns", "resolved_schema"]

Kind = Literal[
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

_TYPES: Final = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})
_TYPE_OF: Final[Mapping[type, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
    type(None): "null",
}
_MAX_NODES: Final = 200_000
_BRANCHES: Final = ("anyOf", "oneOf", "allOf")
_NO_TYPE: Final[Mapping[str, Any]] = {"additionalProperties": True}
"""The schema of a property without a type, for those who take an empty one for none."""


_NO_PROPERTIES: Final[Mapping[str, Column]] = {}


@dataclass(frozen=True, slots=True)
class Column:
    """A declared property.

    Attributes:
        kind: which values fit, and how they look.
        types: the JSON Schema types behind it, without `null`; empty when typeless.
        properties: of a `declared` object, its properties by name, in the schema's order.
    """

    kind: Kind
    types: frozenset[str] = frozenset()
    properties: Mapping[str, Column] = field(default_factory=lambda: _NO_PROPERTIES)


@lru_cache(maxsize=1_000)
def plain_column(kind: Kind, types: frozenset[str]) -> Column:
    """A column that is no declared object: one for all of its kind, since taps have many."""
    return Column(kind, types)


@dataclass(frozen=True)
class _Node:
    """A schema with its references followed, and which ones led here: a circle ends as typeless."""

    schema: Mapping[str, Any]
    followed: frozenset[str]


@dataclass
class _Root:
    """The whole schema of a stream, and how many of its parts were looked at."""

    schema: Mapping[str, Any]
    stream: str
    nodes: int = 0

    def count_node(self) -> None:
        """References that each lead to several others can make a schema without end."""
        self.nodes += 1
        if self.nodes > _MAX_NODES:
            raise SchemaError(
                f"the SCHEMA of stream {self.stream!r} has more than {_MAX_NODES} parts when its "
                "references are followed; leave out what is not wanted in the tap's catalog"
            )


def read_columns(
    schema: Mapping[str, Any], *, stream: str, has_keys: bool = False
) -> dict[str, Column]:
    """The declared properties of a stream, by name, in the schema's order.

    Args:
        schema: the JSON Schema of the stream's records.
        stream: the stream's name, for errors.
        has_keys: whether the stream has key properties. Then its schema may list no properties, as
            tap-mongodb writes it: all properties of its records are undeclared.

    Raises:
        SchemaError: when there is no list of properties in it and must be, or it has no end.
    """
    root = _Root(schema, stream)
    top = _follow(schema, root, frozenset())
    lists_none = not _has_properties(top, root)
    if lists_none and not (has_keys and _types(top, root) <= {"object", "null"}):
        raise SchemaError(
            f"the SCHEMA of stream {stream!r} lists no `properties`; "
            "check that the tap writes a JSON Schema of its records"
        )
    return {name: _column(nodes, root) for name, nodes in _properties(top, root).items()}


def _has_properties(top: _Node, root: _Root) -> bool:
    """Whether a stream's schema lists properties, be they none, by itself or by a branch.

    Raises:
        SchemaError: when they are no object.
    """
    parts = [node.schema for node in _with_branches(top, root)]
    lists = [part["properties"] for part in parts if "properties" in part]
    if not all(isinstance(properties, Mapping) for properties in lists):
        raise SchemaError(
            f"the `properties` in the SCHEMA of stream {root.stream!r} are no JSON object; "
            "check that the tap writes a JSON Schema of its records"
        )
    return bool(lists)


def resolved_schema(schema: Mapping[str, Any], *, stream: str) -> dict[str, Any]:
    """A schema with the same columns, each spelled by its types: no reference, no branch.

    Raises:
        SchemaError: when the schema has no end, or its `properties` are no object.
    """
    root = _Root(schema, stream)
    top = _follow(schema, root, frozenset())
    _has_properties(top, root)
    whole = {key: value for key, value in top.schema.items() if key not in _BRANCHES}
    properties = _properties(top, root).items()
    return whole | {
        "type": "object",
        "properties": {name: _spelled(nodes, root) for name, nodes in properties},
    }


def _spelled(nodes: list[_Node], root: _Root) -> dict[str, Any]:
    schema = nodes[0].schema
    if len(nodes) == 1 and "type" in schema and not {*_BRANCHES, "properties"} & schema.keys():
        return dict(schema)
    return _schema_of(_column(nodes, root))


def _schema_of(column: Column) -> dict[str, Any]:
    if column.kind == "untyped":
        return dict(_NO_TYPE)
    if column.kind == "object":
        inner = {name: _schema_of(part) for name, part in column.properties.items()}
        return {"type": ["object", "null"], "properties": inner}
    dated = {"format": "date-time"} if column.kind == "date" else {}
    return {"type": [*sorted(column.types), "null"], **dated}


def _follow(schema: Any, root: _Root, followed: frozenset[str]) -> _Node:
    """The schema with `$ref` replaced by what it points to, siblings kept."""
    root.count_node()
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
    found: Any = root
    for part in unquote(reference[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return {}
    return found if isinstance(found, Mapping) else {}


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


def _properties(node: _Node, root: _Root) -> dict[str, list[_Node]]:
    """The properties of a schema and all its branches; each with every schema that it has there."""
    found: dict[str, list[_Node]] = {}
    for part in _with_branches(node, root):
        properties = part.schema.get("properties")
        if isinstance(properties, Mapping):
            for name, schema in properties.items():
                found.setdefault(name, []).append(_follow(schema, root, part.followed))
    return found


def _types(node: _Node, root: _Root) -> frozenset[str]:
    """The types that a schema allows, `null` among them; none when it is typeless."""
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


def _is_date(node: _Node, root: _Root) -> bool:
    if node.schema.get("format") in {"date-time", "date"}:
        return True
    branches = [
        branch for branch in _branches(node, root, *_BRANCHES) if "string" in _types(branch, root)
    ]
    return bool(branches) and all(_is_date(branch, root) for branch in branches)


def _column(nodes: list[_Node], root: _Root) -> Column:
    """One property's column; of several schemas for it, any may hold."""
    choices = [_types(node, root) for node in nodes]
    types = frozenset().union(*choices) - {"null"} if frozenset() not in choices else frozenset()
    if types == {"object"}:
        properties: dict[str, list[_Node]] = {}
        for node in nodes:
            for name, found in _properties(node, root).items():
                properties.setdefault(name, []).extend(found)
        if properties:
            inner = {name: _column(found, root) for name, found in properties.items()}
            return Column("object", types, inner)
    stringy = [node for node, choice in zip(nodes, choices, strict=True) if "string" in choice]
    dated = bool(stringy) and all(_is_date(node, root) for node in stringy)
    return plain_column(_kind(types, dated=dated), types)


def _kind(types: frozenset[str], *, dated: bool) -> Kind:
    if not types:
        return "untyped"
    if types == {"string"}:
        return "date" if dated else "string"
    if types == {"integer"}:
        return "integer"
    if types <= {"integer", "number"}:
        return "number"
    if types == {"boolean"}:
        return "boolean"
    if types <= {"object", "array"}:
        return "json"
    return "union_with_string" if "string" in types else "union"
