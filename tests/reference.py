"""A slow and obvious implementation of `docs/names-ids-values.md`, which the plan is compared with.

It decides nothing ahead and remembers nothing: every record starts from the schema again. Each
function is one rule of that page, in the page's order. It shares only `naming`, which has its own
tests, and the form of a line (`objects`) with the package.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

import msgspec
from singer_sdk.helpers._flattening import flatten_key

from target_segment_objects.errors import SchemaError
from target_segment_objects.objects import SegmentObject
from target_segment_objects.plan.naming import WAREHOUSE_OWNED, collection_name, property_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_segment_objects.plan import PlanOptions

__all__ = [
    "METADATA",
    "Column",
    "Declared",
    "Expected",
    "ExpectedObject",
    "Number",
    "Rejected",
    "depth_of",
    "encoded",
    "has_properties",
    "mapped",
    "nodes_of",
    "properties_of",
    "read",
    "resolve",
    "transform",
    "transform_value",
]


@dataclass(frozen=True)
class ExpectedObject:
    """The object that a record becomes; its properties have the exact JSON of their values."""

    collection: str
    id: str
    properties: list[tuple[str, str]]


Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Rejected:
    """What is wrong with a record: where, and which code."""

    faults: set[tuple[Path, str]]


Expected: TypeAlias = ExpectedObject | Rejected


# --- The record, with its numbers as they are written --------------------------------


@dataclass(frozen=True)
class Number:
    """A number's token."""

    token: str


Json: TypeAlias = "bool | str | Number | list[Json] | dict[str, Json] | None"


def read(raw: bytes) -> Json:
    """Parse a raw record; of duplicate keys, the last one counts."""
    value: Json = json.loads(raw, parse_int=integer, parse_float=Number, parse_constant=Number)
    return value


def integer(token: str) -> Number:
    """The integer `-0` is `0`."""
    return Number("0" if token == "-0" else token)


def write(value: Json, *, sort: bool = False) -> str:
    """JSON text: compact, number tokens as written, not escaped beyond what JSON demands."""
    if isinstance(value, Number):
        return value.token
    if isinstance(value, list):
        return "[" + ",".join(write(item, sort=sort) for item in value) + "]"
    if isinstance(value, dict):
        keys = sorted(value) if sort else list(value)
        return "{" + ",".join(write(k) + ":" + write(value[k], sort=sort) for k in keys) + "}"
    return json.dumps(value, ensure_ascii=False)


def has_lone_surrogate(text: str) -> bool:
    """Whether the text cannot be written in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


# --- Numbers -------------------------------------------------------------------------


@dataclass(frozen=True)
class Decimal:
    """The exact value of a number: digits without zeros at either end, times a power of ten."""

    negative: bool
    digits: str
    exponent: int

    @property
    def is_integral(self) -> bool:
        """Whether the number is an integer, however it is written."""
        return self.exponent >= 0

    def plain(self) -> str:
        """The number without an exponent and without superfluous zeros."""
        sign = "-" if self.negative else ""
        if self.exponent >= 0:
            return sign + (self.digits or "0") + "0" * self.exponent
        decimals = -self.exponent
        digits = self.digits.rjust(decimals + 1, "0")
        return sign + digits[:-decimals] + "." + digits[-decimals:]


JSON_NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")


def decimal_of(token: str) -> Decimal:
    """The exact value of a number's token; zero has no sign."""
    match = JSON_NUMBER.fullmatch(token)
    assert match is not None, token
    sign, whole, fraction, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or "0") - len(fraction)
    stripped = digits.rstrip("0")
    if not stripped:
        return Decimal(negative=False, digits="", exponent=0)
    return Decimal(sign == "-", stripped, power + len(digits) - len(stripped))


def is_non_finite(value: Json) -> bool:
    """Whether a value is NaN, infinite, or a token with a point or exponent beyond the doubles."""
    if not isinstance(value, Number):
        return False
    if value.token in {"NaN", "Infinity", "-Infinity"}:
        return True
    return not value.token.lstrip("-").isdigit() and math.isinf(float(value.token))


def as_float(token: str) -> str:
    """A number in a *number* column: its nearest double, if that is equal to it."""
    nearest = float(token)
    if math.isinf(nearest):
        return token
    shortest = msgspec.json.encode(nearest).decode()
    return shortest if decimal_of(shortest) == decimal_of(token) else token


def as_integer(token: str) -> str:
    """An integral number in an *integer* column: its digits."""
    return decimal_of(token).plain()


# --- Schemas are read leniently ------------------------------------------------------

Schema: TypeAlias = dict[str, Any]

KNOWN_TYPES = {"string", "integer", "number", "boolean", "object", "array", "null"}


def resolve_pointer(root: Schema, ref: str) -> object:
    """What a JSON pointer into the same schema points to; `None` if to nothing."""
    if ref == "#":
        return root
    if not ref.startswith("#/"):
        return None
    target: object = root
    for escaped in unquote(ref)[2:].split("/"):
        part = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and part in target:
            target = target[part]
        elif isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        else:
            return None
    return target


def resolve(schema: object, root: Schema, following: tuple[str, ...] = ()) -> Schema:
    """The schema with each reference replaced by its target, siblings kept."""
    if not isinstance(schema, dict):
        return {}
    target: Schema = {}
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref not in following:
        target = resolve(resolve_pointer(root, ref), root, (*following, ref))
    resolved: Schema = {key: value for key, value in schema.items() if key != "$ref"}
    if isinstance(schema.get("properties"), dict):
        resolved["properties"] = {
            name: resolve(inner, root, following) for name, inner in schema["properties"].items()
        }
    for keyword in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(keyword), list):
            resolved[keyword] = [resolve(branch, root, following) for branch in schema[keyword]]
    return {**target, **resolved}


def branches(schema: Schema, *keywords: str) -> list[Schema]:
    """The branches of a resolved schema under some keywords."""
    return [branch for keyword in keywords for branch in schema.get(keyword, [])]


def type_of_value(value: object) -> str:
    """The type of a value that stands in `enum` or `const`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def types_of(schema: Schema) -> set[str]:
    """The types that a resolved schema names, `null` included; none if it is untyped."""
    if "type" in schema:
        named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {name for name in named if name in KNOWN_TYPES}
    either = [types_of(branch) for branch in branches(schema, "anyOf", "oneOf")]
    if set() in either:
        return set()
    every = [types_of(branch) for branch in branches(schema, "allOf")]
    union = set().union(*either, *every)
    if union:
        return union
    if "properties" in schema:
        return {"object"}
    if "items" in schema:
        return {"array"}
    values = [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]
    return {type_of_value(value) for value in values}


def is_date_schema(schema: Schema) -> bool:
    """Whether the schema, or every branch of it that has a string, has one of the two formats."""
    if schema.get("format") in {"date", "date-time"}:
        return True
    strings = [
        branch
        for branch in branches(schema, "anyOf", "oneOf", "allOf")
        if "string" in types_of(branch)
    ]
    return bool(strings) and all(is_date_schema(branch) for branch in strings)


def listed_properties(schema: Schema) -> list[tuple[str, Schema]]:
    """The properties that the schema and its branches list, with repetitions."""
    found = list(schema.get("properties", {}).items())
    for branch in branches(schema, "anyOf", "oneOf", "allOf"):
        found += listed_properties(branch)
    return found


def properties_of(schema: Schema) -> dict[str, Schema]:
    """The properties by name; one that is listed several times has the `anyOf` of its schemas."""
    found: dict[str, list[Schema]] = {}
    for name, inner in listed_properties(schema):
        found.setdefault(name, []).append(inner)
    return {
        name: schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        for name, schemas in found.items()
    }


def has_properties(schema: Schema) -> bool:
    """Whether the schema, or one of its branches, has `properties`, even empty ones."""
    return "properties" in schema or any(
        has_properties(branch) for branch in branches(schema, "anyOf", "oneOf", "allOf")
    )


@dataclass(frozen=True)
class Column:
    """Which values a property accepts."""

    kind: str
    types: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Declared:
    """A declared object: the nodes of its properties."""

    children: dict[str, Column | Declared]


UNTYPED = Column("untyped")
JSON_TEXT = Column("json")


def depth_of(options: PlanOptions) -> float:
    """How many levels of nested objects are flattened."""
    if options.flattening is not None:
        return options.flattening.max_depth
    return math.inf if options.nested == "flatten" else 0


def name_of(path: Path, options: PlanOptions) -> str:
    """The name of a property; with `flattening`, the SDK joins its path."""
    flattening = options.flattening
    if flattening is None:
        return property_name(path)
    joined = flattening.separator.join(path)
    if not path[0].startswith("_sdc_"):
        joined = flatten_key(
            path[-1],
            list(path[:-1]),
            flattening.separator,
            max_key_length=flattening.max_key_length,
        )
    return property_name([joined])


def node_of(schema: Schema, depth: float) -> Column | Declared:
    """The table of columns."""
    types = frozenset(types_of(schema) - {"null"})
    if not types:
        return UNTYPED
    if types == {"string"}:
        return Column("date" if is_date_schema(schema) else "string", types)
    if types == {"integer"}:
        return Column("integer", types)
    if types in ({"number"}, {"integer", "number"}):
        return Column("number", types)
    if types == {"boolean"}:
        return Column("boolean", types)
    if types == {"object"} and properties_of(schema) and depth > 0:
        return Declared(nodes_of(schema, depth - 1))
    if types <= {"object", "array"}:
        return JSON_TEXT
    return Column("union_with_string" if "string" in types else "union", types)


def nodes_of(schema: Schema, depth: float) -> dict[str, Column | Declared]:
    """The nodes of a schema's properties, in the schema's order."""
    return {name: node_of(inner, depth) for name, inner in properties_of(schema).items()}


def leaves_under(node: Column | Declared, path: Path) -> Iterator[Path]:
    """The declared leaves of a node, depth first."""
    if isinstance(node, Column):
        yield path
        return
    for name, child in node.children.items():
        yield from leaves_under(child, (*path, name))


# --- Values --------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """A value that becomes JSON text."""

    value: Json


class Mismatch:
    """The result for a value that is not of the column's types."""


Accepted: TypeAlias = "bool | str | Number | Text | Mismatch"

STRING_OF_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


def accept_any(value: Json) -> Accepted:
    """The untyped column: scalars unchanged, objects and arrays as JSON text."""
    assert value is not None
    return Text(value) if isinstance(value, (dict, list)) else value


def accept(column: Column, value: Json) -> Accepted:  # noqa: C901, PLR0912
    """What the column accepts unchanged: the table's second column."""
    container = isinstance(value, (dict, list))
    match column.kind:
        case "untyped":
            return accept_any(value)
        case "union_with_string":
            if container and not column.types & {"object", "array"}:
                return Mismatch()
            return accept_any(value)
        case "string" | "date":
            return value if isinstance(value, str) else Mismatch()
        case "integer":
            if isinstance(value, Number) and decimal_of(value.token).is_integral:
                return Number(as_integer(value.token))
            return Mismatch()
        case "number":
            return Number(as_float(value.token)) if isinstance(value, Number) else Mismatch()
        case "boolean":
            return value if isinstance(value, bool) else Mismatch()
        case "json":
            return Text(value) if container else Mismatch()
        case "union":
            if isinstance(value, bool) and "boolean" in column.types:
                return value
            if isinstance(value, Number) and column.types & {"number", "integer"}:
                return accept(Column("number" if "number" in column.types else "integer"), value)
            if container and column.types & {"object", "array"}:
                return Text(value)
            return Mismatch()
    raise AssertionError(column)


def coerce(column: Column, value: Json) -> Accepted:
    """What the column also accepts under `coerce`: the table's third column."""
    match column.kind:
        case "union_with_string" | "json":
            return Text(value)
        case "string" | "date":
            return coerce_to_string(value)
        case "integer":
            return coerce_to_integer(value)
        case "number":
            return coerce_to_number(value)
        case "boolean":
            return coerce_to_boolean(value)
        case "union":
            return coerce_to_union(column, value)
    raise AssertionError(column)


def coerce_to_string(value: Json) -> Accepted:
    """Numbers as their token, `true` and `false`, objects and arrays as JSON text."""
    if isinstance(value, Number):
        return value.token
    if isinstance(value, bool):
        return "true" if value else "false"
    return Text(value)


def coerce_to_integer(value: Json) -> Accepted:
    """Strings of an integer."""
    if isinstance(value, str) and STRING_OF_INTEGER.fullmatch(value):
        return Number(value)
    return Mismatch()


def coerce_to_number(value: Json) -> Accepted:
    """Strings that are a JSON number and finite."""
    if isinstance(value, str) and JSON_NUMBER.fullmatch(value) and not is_non_finite(Number(value)):
        return Number(as_float(value))
    return Mismatch()


def coerce_to_boolean(value: Json) -> Accepted:
    """Numbers equal to 0 or 1; `"true"`, `"false"`."""
    if isinstance(value, Number):
        return {"0": False, "1": True}.get(decimal_of(value.token).plain(), Mismatch())
    if isinstance(value, str):
        return {"false": False, "true": True}.get(value, Mismatch())
    return Mismatch()


def coerce_to_union(column: Column, value: Json) -> Accepted:
    """Number or integer, boolean, JSON text: the first of the column's types that matches."""
    tries: list[Accepted] = []
    if "number" in column.types:
        tries += [accept(Column("number"), value), coerce_to_number(value)]
    elif "integer" in column.types:
        tries += [accept(Column("integer"), value), coerce_to_integer(value)]
    if "boolean" in column.types:
        tries += [accept(Column("boolean"), value), coerce_to_boolean(value)]
    if column.types & {"object", "array"}:
        tries += [Text(value)]
    return next((result for result in tries if not isinstance(result, Mismatch)), Mismatch())


DATE = r"(?P<date>(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2}))"
TIME = r"(?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?)"
OFFSET = r"(?P<offset>[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
DATE_TIME = re.compile(rf"{DATE}(?P<between>[Tt ]){TIME}{OFFSET}?")


def normalized_date(text: str) -> str:
    """A blank becomes `T`, a missing offset `Z`, a short one complete; other text is unchanged."""
    match = DATE_TIME.fullmatch(text)
    if match is None:
        return text
    try:
        dt.date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return text
    between = match["between"].replace(" ", "T")
    offset = match["offset"] or "Z"
    if len(offset) > 1:
        digits = offset[1:].replace(":", "").ljust(4, "0")
        offset = f"{offset[0]}{digits[:2]}:{digits[2:]}"
    return match["date"] + between + match["time"] + offset


# --- One record ----------------------------------------------------------------------


@dataclass
class Builder:
    """The object that is being made of one record."""

    options: PlanOptions
    declared_names: set[str]
    faults: set[tuple[Path, str]] = field(default_factory=set)
    properties: list[tuple[str, str]] = field(default_factory=list)
    undeclared_names: set[str] = field(default_factory=set)

    def put(self, name: str, token: str | None) -> None:
        """Add a property, unless it is omitted."""
        if token is not None:
            self.properties.append((name, token))


def text_of(value: Json, path: Path, builder: Builder, *, sort: bool = False) -> str | None:
    """JSON text; `None` if there is a fault in it."""
    faults: set[tuple[Path, str]] = set()

    def clean(inner: Json, at: Path) -> Json:
        if isinstance(inner, dict):
            return {key: clean(part, (*at, key)) for key, part in inner.items()}
        if isinstance(inner, list):
            return [clean(part, (*at, str(index))) for index, part in enumerate(inner)]
        if is_non_finite(inner):
            if builder.options.non_finite_numbers == "reject":
                faults.add((at, "non_finite"))
            return None
        return inner

    text = write(clean(value, path), sort=sort)
    if has_lone_surrogate(text):
        faults.add((path, "unicode"))
    builder.faults |= faults
    return None if faults else text


def null(builder: Builder) -> str | None:
    """The JSON of a null; `None` if `nulls` is `drop`."""
    return "null" if builder.options.nulls == "send" else None


def within_size(text: str, path: Path, builder: Builder, *, is_string: bool) -> str | None:
    """Apply the limit of 32 KB to the text of a string, or to a token."""
    if len(text.encode()) < 32_768:
        return text
    if builder.options.oversized_values == "drop":
        return None
    if builder.options.oversized_values == "truncate" and is_string:
        while len(text.encode()) >= 32_768:
            # A character has at most four bytes, so this never cuts too many.
            text = text[: -max(1, (len(text.encode()) - 32_767) // 4)]
        return text
    builder.faults.add((path, "value_too_large"))
    return None


def scalar_of(accepted: Accepted, path: Path, builder: Builder) -> str | None:
    """The JSON of an accepted value; `None` if it is omitted or a fault."""
    if isinstance(accepted, Mismatch):
        builder.faults.add((path, "type"))
        return None
    if isinstance(accepted, bool):
        return "true" if accepted else "false"
    if isinstance(accepted, Number):
        return within_size(accepted.token, path, builder, is_string=False)
    text = text_of(accepted.value, path, builder) if isinstance(accepted, Text) else accepted
    if text is None:
        return None
    if has_lone_surrogate(text):
        builder.faults.add((path, "unicode"))
        return None
    kept = within_size(text, path, builder, is_string=True)
    return None if kept is None else write(kept)


def value_of(column: Column, value: Json, path: Path, builder: Builder) -> str | None:
    """The JSON of a property's value; `None` if it is omitted or a fault."""
    options = builder.options
    if is_non_finite(value):
        if options.non_finite_numbers == "reject":
            builder.faults.add((path, "non_finite"))
            return None
        value = None
    if value is None:
        return null(builder)
    if options.nested == "reject" and isinstance(value, (dict, list)):
        builder.faults.add((path, "nested"))
        return None
    accepted = accept(column, value)
    if isinstance(accepted, Mismatch) and options.type_mismatches == "coerce":
        accepted = coerce(column, value)
    elif isinstance(accepted, Mismatch) and options.type_mismatches == "send":
        return scalar_of(accept_any(value), path, builder)
    if column.kind == "date" and isinstance(accepted, str):
        accepted = normalized_date(accepted)
    return scalar_of(accepted, path, builder)


def reserve_name(path: Path, builder: Builder) -> str:
    """The name of an undeclared property; its faults are added."""
    if any(has_lone_surrogate(part) for part in path):
        builder.faults.add((path, "unicode"))
        return ""
    name = name_of(path, builder.options)
    if not name:
        builder.faults.add((path, "name"))
    elif name in builder.declared_names | builder.undeclared_names:
        builder.faults.add((path, "clash"))
    builder.undeclared_names.add(name)
    return name


def put_node(node: Column | Declared, value: Json, path: Path, builder: Builder) -> None:
    """Add a declared property that is present, or null in an object that is present."""
    if isinstance(node, Column):
        builder.put(name_of(path, builder.options), value_of(node, value, path, builder))
    elif isinstance(value, dict):
        put_declared(node.children, value, path, builder)
    else:
        put_non_object(value, path, builder)
        for leaf in leaves_under(node, path):
            builder.put(name_of(leaf, builder.options), null(builder))


def put_non_object(value: Json, path: Path, builder: Builder) -> None:
    """Add a value that is not an object where an object is declared."""
    if is_non_finite(value):
        if builder.options.non_finite_numbers == "reject":
            builder.faults.add((path, "non_finite"))
        return
    if value is None:
        return
    if builder.options.nested == "reject" and isinstance(value, list):
        builder.faults.add((path, "nested"))
        reserve_name(path, builder)
        return
    if builder.options.type_mismatches == "reject":
        builder.faults.add((path, "type"))
        return
    accepted = Text(value) if builder.options.type_mismatches == "coerce" else accept_any(value)
    name = reserve_name(path, builder)
    builder.put(name, scalar_of(accepted, path, builder))


def put_declared(
    children: Mapping[str, Column | Declared], record: dict[str, Json], path: Path, builder: Builder
) -> None:
    """Add declared properties in the schema's order; what is missing inside an object is null."""
    for name, child in children.items():
        if name in record or path:
            put_node(child, record.get(name), (*path, name), builder)


def put_rest(
    children: Mapping[str, Column | Declared], record: dict[str, Json], path: Path, builder: Builder
) -> None:
    """Add undeclared properties in the record's order."""
    for name, value in record.items():
        child = children.get(name)
        if child is None:
            put_undeclared(value, (*path, name), builder)
        elif isinstance(child, Declared) and isinstance(value, dict):
            put_rest(child.children, value, (*path, name), builder)


def put_undeclared(value: Json, path: Path, builder: Builder) -> None:
    """Add an undeclared property, whatever its value is."""
    name = reserve_name(path, builder)
    builder.put(name, value_of(UNTYPED, value, path, builder))


# --- Ids -----------------------------------------------------------------------------


def canonical_number(token: str) -> str:
    """The digits of an integral number; else the `repr` of its double if equal, or plain digits."""
    exact = decimal_of(token)
    if exact.is_integral:
        return exact.plain()
    shortest = repr(float(token))
    return shortest if decimal_of(shortest) == exact else exact.plain()


def key_text(key: str, node: Column | Declared, record: dict[str, Json], builder: Builder) -> str:
    """The canonical text of one key; empty when it has a fault."""
    path = (key,)
    if key not in record:
        builder.faults.add((path, "key_missing"))
        return ""
    value = record[key]
    if value is None or value == "" or is_non_finite(value):
        builder.faults.add((path, "key_empty"))
        return ""
    if builder.options.nested == "reject" and isinstance(value, (dict, list)):
        builder.faults.add((path, "nested"))
    accepted = accepted_key(JSON_TEXT if isinstance(node, Declared) else node, value, builder)
    if isinstance(accepted, Mismatch):
        builder.faults.add((path, "key_type"))
        return ""
    if (path, "nested") in builder.faults:
        # Its contents are not checked.
        return ""
    return canonical_text(accepted, path, builder)


def accepted_key(column: Column, value: Json, builder: Builder) -> Accepted:
    """The key's value after coercion; `type_mismatches` matters only if it is `send`."""
    accepted = accept(column, value)
    if isinstance(accepted, Mismatch):
        accepted = coerce(column, value)
    if isinstance(accepted, Mismatch) and builder.options.type_mismatches == "send":
        accepted = accept_any(value)
    return accepted


def canonical_text(accepted: bool | str | Number | Text, path: Path, builder: Builder) -> str:  # noqa: FBT001
    """The text of a key's value."""
    if isinstance(accepted, bool):
        return "true" if accepted else "false"
    if isinstance(accepted, Number):
        return canonical_number(accepted.token)
    if isinstance(accepted, Text):
        return text_of(accepted.value, path, builder, sort=True) or ""
    if has_lone_surrogate(accepted):
        builder.faults.add((path, "unicode"))
    return accepted


def record_hash(record: dict[str, Json]) -> str:
    """The id of a record without keys."""
    own = {name: value for name, value in record.items() if not name.startswith("_sdc_")}
    text = write(own, sort=True)
    if has_lone_surrogate(text):
        text = "\\" + write(with_escapes(own), sort=True)
    return hashlib.sha256(text.encode()).hexdigest()


def with_escapes(value: Json) -> Json:
    """The value with backslashes doubled and lone surrogates escaped."""
    if isinstance(value, str):
        return value.replace("\\", "\\\\").encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {str(with_escapes(name)): with_escapes(part) for name, part in value.items()}
    if isinstance(value, list):
        return [with_escapes(part) for part in value]
    return value


def id_of(
    keys: list[str], nodes: dict[str, Column | Declared], record: dict[str, Json], builder: Builder
) -> str:
    """The object's id."""
    if not keys:
        return record_hash(record)
    texts = [key_text(key, nodes.get(key, UNTYPED), record, builder) for key in keys]
    if len(texts) > 1:
        texts = [text.replace("\\", "\\\\").replace(":", "\\:") for text in texts]
    joined = ":".join(texts)
    if len(joined) <= 100:
        return joined
    if builder.options.long_ids == "reject":
        builder.faults.add(((), "long_id"))
    return hashlib.sha256(joined.encode(errors="replace")).hexdigest()


# --- Stream maps and metadata ----------------------------------------------------------

METADATA = {
    "_sdc_extracted_at": "date-time",
    "_sdc_received_at": "date-time",
    "_sdc_batched_at": "date-time",
    "_sdc_deleted_at": "date-time",
    "_sdc_sequence": None,
    "_sdc_table_version": None,
    "_sdc_sync_started_at": None,
}


def with_metadata(schema: Schema, record: dict[str, Json]) -> tuple[Schema, dict[str, Json]]:
    """Add the SDK's metadata to the schema and the record; most of its values are null here."""
    columns = {
        name: {"type": ["null", "string"], "format": form}
        if form
        else {"type": ["null", "integer"]}
        for name, form in METADATA.items()
    }
    properties = {**schema.get("properties", {}), **columns}
    return {**schema, "properties": properties}, {
        **record,
        **dict.fromkeys(METADATA),
        "_sdc_sequence": Number("1"),
    }


def mapped(
    definition: dict[str, Any], schema: Schema, keys: list[str], record: dict[str, Json]
) -> tuple[Schema, list[str], dict[str, Json] | Rejected | None]:
    """The schema, keys and record after a stream map; the record is `None` if it is filtered out.

    Expressions are names, `'texts'` and `float(2)`.
    """
    columns = properties_of(resolve(schema, schema))
    nothing_else = "__else__" in definition
    properties = {} if nothing_else else dict(columns)
    chosen = definition.get("__key_properties__", keys) or []
    values = {name: record[name] for name in chosen if name in record}
    values = values if nothing_else else dict(record)
    fault: Rejected | None = None
    named = {
        name: expression for name, expression in definition.items() if not name.startswith("__")
    }
    for name, expression in named.items():
        if expression is None:
            properties.pop(name, None)
            values.pop(name, None)
            continue
        passed_on = expression.isidentifier()
        known = columns.get(expression, {}) if passed_on else properties.get(name)
        properties[name] = {"type": "string"} if known is None else known
        if expression.startswith("'"):
            properties[name] = {"type": "string"}
            values[name] = expression[1:-1]
        elif expression == "float(2)":
            properties[name] = {"type": "number"}
            values[name] = Number("2.0")
        elif expression in record:
            values[name] = record[expression]
        else:
            fault = fault or Rejected({((name,), "expression")})
    for name in chosen:
        if name in columns:
            properties.setdefault(name, columns[name])
    if definition.get("__filter__") == "False":
        return {"properties": properties}, chosen, None
    return {"properties": properties}, chosen, fault or values


# --- The object ----------------------------------------------------------------------


def check_names(stream: str, names: list[str]) -> None:
    """Refuse empty names, and two declared properties of one name."""
    if "" in names:
        raise SchemaError(f"stream {stream!r}: a property has no name")
    if len(set(names)) < len(names):
        raise SchemaError(f"stream {stream!r}: two properties have one name")


def transform(
    stream: str,
    schema: Schema,
    key_properties: list[str],
    options: PlanOptions,
    record: bytes,
) -> Expected:
    """What a record must become.

    Raises:
        SchemaError: the schema cannot be planned.
        ConfigurationError: the stream's name in `collections` is wrong.
    """
    value = read(record)
    assert isinstance(value, dict)
    return transform_value(stream, schema, key_properties, options, value, value)


def transform_value(  # noqa: PLR0913, PLR0917  as many as the rules need
    stream: str,
    schema: Schema,
    key_properties: list[str],
    options: PlanOptions,
    value: dict[str, Json],
    original: dict[str, Json],
) -> Expected:
    """What a record must become after stream maps; without keys its id is the original's.

    Raises:
        SchemaError: the schema cannot be planned.
        ConfigurationError: the stream's name in `collections` is wrong.
    """
    collection = collection_name(stream, options)
    resolved = resolve(schema, schema)
    if not has_properties(resolved) and not key_properties:
        raise SchemaError(f"stream {stream!r}: the schema has no properties")
    nodes = nodes_of(resolved, depth_of(options))

    # The key that is the id is no property, and its name clashes with no other.
    id_key = None
    if len(key_properties) == 1 and property_name(key_properties) == "id_":
        id_key = key_properties[0]
    others = {name: node for name, node in nodes.items() if name != id_key}
    leaves = [leaf for name, node in others.items() for leaf in leaves_under(node, (name,))]
    names = [name_of(leaf, options) for leaf in leaves]
    check_names(stream, names)

    rest = {name: part for name, part in value.items() if name != id_key}
    builder = Builder(options, set(names))
    put_declared(others, rest, (), builder)
    put_rest(others, rest, (), builder)
    if not builder.properties and not builder.faults and id_key is not None and id_key in value:
        node = nodes.get(id_key, UNTYPED)
        column = JSON_TEXT if isinstance(node, Declared) else node
        builder.put("id", value_of(column, value[id_key], (id_key,), builder))
    identity = id_of(key_properties, nodes, value if key_properties else original, builder)
    if not builder.properties and not builder.faults:
        builder.faults.add(((), "empty"))
    # A key of the wrong type is one fault: its property's own fault is removed.
    builder.faults -= {(path, "type") for path, code in builder.faults if code == "key_type"}
    if builder.faults:
        return Rejected(builder.faults)
    assert not {name for name, _ in builder.properties} & (WAREHOUSE_OWNED - {"id"})
    if len(SegmentObject(collection, identity, encoded(builder.properties)).line_bytes()) > 409_600:
        return Rejected({((), "object_too_large")})
    return ExpectedObject(collection, identity, builder.properties)


def encoded(properties: list[tuple[str, str]]) -> bytes:
    """The properties as they are sent."""
    return ("{" + ",".join(f"{write(name)}:{token}" for name, token in properties) + "}").encode()
