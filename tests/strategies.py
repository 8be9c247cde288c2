"""Strategies for schemas, keys, options and raw records: mostly valid, often invalid.

Records are raw JSON, written token by token, since the text of a number or a string is the tap's
choice and must be kept.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import strategies as st

from target_segment_objects.plan import PlanOptions
from target_segment_objects.plan.naming import Flattening

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["keys", "options", "records", "schemas"]

Schema: TypeAlias = dict[str, Any]
Strategy: TypeAlias = st.SearchStrategy[Any]


def weighted(*choices: tuple[int, Strategy]) -> Strategy:
    """One of several strategies, by weight: `one_of` would also count their branches."""
    table = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.sampled_from(range(len(table))).flatmap(table.__getitem__)


# Names that clash: by case, accent, path (`b_c` in `a`, `c` in `a_b`), reserved columns, or by what
# transliteration leaves of them.
TAME_NAMES = [f"field{letter}" for letter in "ABCDEFGHIJ"] + ["name", "email", "city", "zip code"]
HOSTILE_NAMES = [
    "id",
    "Id",
    "_id",
    "ID",
    "uuid",
    "received_at",
    "naïve",
    "naive",
    "名前",
    "ming qian",
    "!",
    "",
    "a",
    "A",
    "a_b",
    "b",
    "b_c",
    "c",
    "some-thing",
    "someThing",
    "2FA Enabled",
    "_sdc_batched_at",
    'quo"te',
    "$ref",
    "type",
]
property_names = st.sampled_from(TAME_NAMES) | st.sampled_from(HOSTILE_NAMES)
# Mostly tame, since few schemas would be without a clash otherwise.
schema_names = weighted((4, st.sampled_from(TAME_NAMES)), (1, st.sampled_from(HOSTILE_NAMES)))

# --- Schemas -------------------------------------------------------------------------

SCALARS = ["string", "integer", "number", "boolean"]
TYPES = [*SCALARS, "object", "array"]


def nullable(types: list[str]) -> Strategy:
    """The types as a name or a list, with `null` or without."""
    forms: list[object] = [types, [*types, "null"], ["null", *types]]
    return st.sampled_from(forms + types if len(types) == 1 else forms)


plain = st.one_of(
    st.sampled_from(SCALARS).flatmap(lambda name: nullable([name])).map(lambda t: {"type": t}),
    nullable(["string"]).flatmap(
        lambda t: st.sampled_from(["date-time", "date", "uri", "time"]).map(
            lambda form: {"type": t, "format": form}
        )
    ),
)
unions = (
    st.lists(st.sampled_from(TYPES), min_size=2, max_size=3, unique=True)
    .flatmap(nullable)
    .map(lambda types: {"type": types})
)
containers = st.sampled_from(
    [
        {"type": "object"},
        {"type": ["null", "object"], "properties": {}},
        {"type": "array", "items": {"type": "string"}},
        {"type": ["null", "array"]},
        {"type": ["object", "array"]},
        {"items": {"type": "number"}},
    ]
)
oddities = st.sampled_from(
    [
        {},
        {"description": "what it is"},
        {"type": "null"},
        {"type": []},
        {"type": "date"},
        {"type": ["uuid", "integer"]},
        {"enum": ["a", 1, None]},
        {"enum": [1, 2.5]},
        {"const": True},
        {"const": None},
        {"format": "date-time"},
    ]
)
references = st.sampled_from(
    [
        {"$ref": "#/definitions/text"},
        {"$ref": "#/definitions/moment", "description": "a sibling"},
        {"$ref": "#/definitions/place"},
        {"$ref": "#/definitions/tree"},
        {"$ref": "#/$defs/a~1b"},
        {"$ref": "#/definitions/list/0"},
        {"$ref": "#/definitions/chain"},
        {"$ref": "#/definitions/nowhere"},
        {"$ref": "#/definitions/circle"},
        {"$ref": "elsewhere.json#/a"},
        {"$ref": "#/definitions/nowhere", "type": "integer"},
        {"$ref": "#/definitions/text", "type": ["null", "integer"]},
    ]
)
DEFINITIONS = {
    "definitions": {
        "text": {"type": "string"},
        "moment": {"type": ["null", "string"], "format": "date-time"},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {}}},
        "tree": {
            "properties": {
                "leaf": {"type": "integer"},
                "child": {"$ref": "#/definitions/tree"},
            }
        },
        "list": [{"type": "boolean"}],
        "chain": {"$ref": "#/definitions/moment"},
        "circle": {"$ref": "#/definitions/circle"},
    },
    "$defs": {"a/b": {"type": "integer"}},
}
simple = weighted((4, plain), (1, unions), (1, containers), (1, oddities), (1, references))


def objects(inner: Strategy) -> Strategy:
    """Objects that list their properties."""
    listed = st.dictionaries(schema_names, inner, min_size=1, max_size=3)
    return st.tuples(listed, st.sampled_from(["object", ["null", "object"], None])).map(
        lambda pair: {"properties": pair[0], **({"type": pair[1]} if pair[1] else {})}
    )


def combined(inner: Strategy) -> Strategy:
    """Branches, mostly without a type beside them."""
    some = st.lists(st.one_of(inner, st.just({"type": "null"})), min_size=1, max_size=3)
    keyword = st.sampled_from(["anyOf", "oneOf", "allOf"])
    beside = st.sampled_from([{}, {}, {}, {"type": "string"}, {"title": "x"}])
    return st.tuples(keyword, some, beside).map(lambda drawn: {drawn[0]: drawn[1], **drawn[2]})


nested = st.recursive(simple, lambda inner: objects(inner) | combined(inner), max_leaves=6)
properties = weighted((6, simple), (3, nested), (1, objects(objects(nested))))


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """A stream's schema; sometimes one that cannot be planned."""
    fewest = draw(st.sampled_from([0, 1, 2, 2]))
    drawn: Schema = {
        "type": "object",
        "properties": draw(st.dictionaries(schema_names, properties, min_size=fewest, max_size=6)),
        **DEFINITIONS,
    }
    form = draw(st.sampled_from(range(20)))
    if form == 0:
        del drawn["properties"]
    if form in {1, 2}:
        more = draw(st.dictionaries(schema_names, properties, max_size=3))
        drawn["allOf" if form == 1 else "anyOf"] = [{"properties": more}]
    if form == 3:
        drawn = {"$ref": "#/definitions/place", **DEFINITIONS}
    return drawn


def keys(schema: Schema) -> Strategy:
    """Key properties: none, one or several, usually declared."""
    declared = list(schema.get("properties", {}))
    if not declared:
        return weighted((3, st.just([])), (1, st.lists(property_names, min_size=1, max_size=1)))
    names = st.sampled_from(declared)
    own_ids = [name for name in declared if name.strip("_").lower() == "id"]
    return weighted(
        (2, st.just([])),
        (2, st.lists(names, min_size=1, max_size=1)),
        (2, st.just(own_ids[:1])),
        (2, st.lists(names, min_size=1, max_size=3, unique=True)),
        (1, st.lists(st.one_of(names, property_names), min_size=1, max_size=3, unique=True)),
    )


def options() -> st.SearchStrategy[PlanOptions]:
    """All options with all values, defaults more often."""
    return st.builds(
        PlanOptions,
        collections=st.sampled_from([{}, {}, {"rooms": "suites"}]),
        pluralize=st.booleans(),
        allow_collection_digits=st.booleans(),
        nested=st.sampled_from(["flatten", "flatten", "flatten", "json", "reject"]),
        nulls=st.sampled_from(["send", "send", "drop"]),
        non_finite_numbers=st.sampled_from(["reject", "null"]),
        oversized_values=st.sampled_from(["reject", "truncate", "drop"]),
        type_mismatches=st.sampled_from(["coerce", "coerce", "coerce", "send", "reject"]),
        long_ids=st.sampled_from(["hash", "hash", "reject"]),
        flattening=weighted(
            (3, st.none()),
            (
                1,
                st.builds(
                    Flattening,
                    max_depth=st.integers(1, 3),
                    separator=st.sampled_from(["__", "__", "_", ".", ""]),
                    max_key_length=st.sampled_from([255, 255, 12, 5, 1]),
                ),
            ),
        ),
    )


# --- Raw values ----------------------------------------------------------------------

integers = st.one_of(
    st.integers(-1000, 1000).map(str),
    st.sampled_from(
        [
            "0",
            "1",
            "-0",
            "9007199254740992",
            "9007199254740993",
            "-9007199254740993",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "100000000000000000000000",
            "7" * 400,
            "-" + "7" * 400,
        ]
    ),
)
floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            "515.0",
            "515.50",
            "1.0",
            "0.0",
            "0e0",
            "1e5",
            "1E+2",
            "1e-7",
            "-0.0",
            "0.1",
            "0.30000000000000000001",
            "9007199254740993.0",
            "1e22",
            "1e23",
            "1.7976931348623157e308",
            "5e-324",
            "1e-400",
            "-1e-400",
            "0e400",
            "123456789012345678901234567890.5",
            "0.1e1",
            "1e16",
        ]
    ),
)
not_finite = st.sampled_from(["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1.5E999"])

dates = st.sampled_from(
    [
        "2024-02-29",
        "2023-02-29",
        "2024-01-01T10:00:00Z",
        "2024-01-01t10:00:00z",
        "2024-01-01T10:00:00+02:00",
        "2024-01-01T10:00:00.123456789-00:00",
        "2024-01-01T10:00:00+0200",
        "2024-01-01T10:00:00+02",
        "2024-01-01T10:00:00",
        "2024-01-01t10:00:00",
        "2024-01-01 10:00:00",
        "2024-01-01 10:00:00.5",
        "2024-01-01 10:00:00+00:00",
        "2024-01-01 10:00:00 UTC",
        "2024-01-01 10:00:00z",
        "2024-01-01 10:00",
        "2024-01-01  10:00:00",
        "2024-13-01 10:00:00",
        "2024-01-01 24:00:00",
        "2024-01-01 10:61:00",
        "2023-02-29 10:00:00",
        "2023-02-29T10:00:00",
        "2024-01-01 10:00:00,5",
        "2024-01-01 10:00:00.",
        "2024-01-01 10:00:00+24:00",
        "2024-01-01 10:00:00\n",
        "2024-1-1 1:00:00",
        "20240101T100000Z",
        "٢٠٢٤-01-01 10:00:00",
        "1/2/2024",
        "10:00:00",
    ]
)
awkward_words = st.sampled_from(
    [
        "",
        "true",
        "false",
        "True",
        "0",
        "1",
        "42",
        "-5",
        "-0",
        "042",
        "+1",
        " 1",
        "1\n",
        "1.0",
        "1e5",
        "1.",
        ".5",
        "0x1f",
        "1_000",
        "٣",
        "NaN",
        "1e400",
        "9007199254740993",
        "7" * 400,
        "null",
        "{}",
        'a:b\\c"d',
        "\x00\x1f\x7f\u2028",
        "😀",
    ]
)
words = weighted(
    (5, st.text(max_size=8)),
    (6, awkward_words),
    (2, dates),
    (3, st.sampled_from(["x" * 100, "x" * 100, "x" * 101, "é" * 101])),
)
LARGE = [
    json.dumps("x" * 32_767),
    json.dumps("x" * 32_768),
    json.dumps("é" * 16_383 + "x", ensure_ascii=False),
    json.dumps("x" + "é" * 16_384, ensure_ascii=False),
    json.dumps("xx" + "😀" * 8_192, ensure_ascii=False),
    json.dumps('"' * 20_000),
    json.dumps("\x01" * 30_000),
    json.dumps(["x" * 32_763]),
    json.dumps(["x" * 32_764]),
    "8" * 32_768,
]


def written(text: str) -> Strategy:
    """A string as different taps write it."""
    return st.booleans().map(lambda ascii_only: json.dumps(text, ensure_ascii=ascii_only))


surrogates = st.sampled_from(
    [r'"\ud800"', r'"a\udfffb"', r'"\ude00\ud83d"', r'"\ud83d\ude00"', r'"\ud83dx\ude00"']
)
strings = weighted((40, words.flatmap(written)), (1, surrogates))
large = st.sampled_from(LARGE)


def arrays_of(inner: Strategy) -> Strategy:
    """Arrays, with and without blanks."""
    return st.tuples(st.lists(inner, max_size=3), st.sampled_from([",", " , "])).map(
        lambda drawn: "[" + drawn[1].join(drawn[0]) + "]"
    )


# A name with a lone surrogate can only be written with its escape.
raw_names = weighted(
    (20, property_names.flatmap(written)),
    (2, st.sampled_from(['""', '"!"', '"A"', '"Field A"'])),
    (1, st.sampled_from([r'"x\ud800"', r'"\ud800"', r'"\u0069\u0064"'])),
)


def maps_of(inner: Strategy) -> Strategy:
    """Objects, sometimes with duplicate names."""
    return st.lists(st.tuples(raw_names, inner), max_size=3).map(
        lambda pairs: "{" + ",".join(f"{name}: {value}" for name, value in pairs) + "}"
    )


bare_words = st.sampled_from(["null", "true", "false"])
tame_scalars = weighted((2, bare_words), (2, integers), (2, floats), (4, strings))
scalars = weighted((9, tame_scalars), (1, not_finite))
raw_containers = weighted(
    (2, arrays_of(scalars)),
    (2, maps_of(tame_scalars)),
    (1, maps_of(weighted((1, scalars), (1, arrays_of(tame_scalars)), (1, maps_of(tame_scalars))))),
)
anything = weighted((12, tame_scalars), (4, raw_containers), (1, not_finite))
RIGHT: Mapping[str, Strategy] = {
    "string": strings,
    "integer": integers,
    "number": integers | floats,
    "boolean": st.sampled_from(["true", "false"]),
    "object": maps_of(tame_scalars),
    "array": arrays_of(tame_scalars),
    "null": st.just("null"),
}


# Values at the limits of what a column accepts unchanged, or can coerce.
NEARLY: Mapping[str, list[str]] = {
    "string": ["0", "515.0", "1e5", "true", "null", "[1.50]", '{"a":1e400}'],
    "integer": ['"42"', '"042"', '"1.0"', '"1e3"', "515.0", "1e3", "1.5", "true", "1e-400"],
    "number": ['"1e400"', '"NaN"', '"9007199254740993"', '"1e5"', '"042"', "true", "1e-400"],
    "boolean": ["0", "1", "2", "-1", "0.0", "1.0", "1e-400", '"true"', '"True"', '"0"'],
}


def nearly_right(schema: Schema) -> Strategy:
    """A value that is nearly of the schema's type, or of it in another form."""
    named = schema.get("type", [])
    types = [named] if isinstance(named, str) else named
    edges = [edge for name in types for edge in NEARLY.get(name, ())]
    return st.sampled_from(edges) if edges else anything


def resolved(schema: Schema, root: Schema) -> Schema:
    """Roughly the resolved schema of a property: good enough to draw values, no rule needs it."""
    for _ in range(3):
        for keyword in ("anyOf", "oneOf", "allOf"):
            if "type" not in schema and schema.get(keyword):
                schema = schema[keyword][0]
        ref = str(schema.get("$ref", ""))
        if ref.startswith("#/definitions/"):
            schema = root["definitions"].get(ref.removeprefix("#/definitions/"), {})
    return schema


def right_value(schema: Schema, root: Schema, depth: int) -> Strategy:
    """A value of one of the schema's types."""
    if schema.get("properties") and depth < 5:
        return raw_object(schema["properties"], root, depth + 1)
    named = schema.get("type", [])
    types = [name for name in ([named] if isinstance(named, str) else named) if name in RIGHT]
    choices = [RIGHT[name] for name in types]
    if "format" in schema and "string" in types:
        choices += [dates.flatmap(written)] * 2
    return weighted(*((1, choice) for choice in choices)) if choices else anything


@st.composite
def raw_object(draw: st.DrawFn, listed: Schema, root: Schema, depth: int) -> str:
    """An object with some of its properties, in any order, and some that are undeclared."""
    pairs: list[str] = []
    for name, schema in listed.items():
        # One in twenty is missing, another one is anything, a few more are nearly right.
        dice = draw(st.sampled_from(range(40)))
        if dice < 2:
            continue
        if dice < 5:
            value = draw(anything)
        elif dice < 9:
            value = draw(nearly_right(resolved(schema, root)))
        else:
            value = draw(right_value(resolved(schema, root), root, depth))
        pairs.append(f"{draw(written(name))}:{value}")
    if draw(st.sampled_from(range(5))) == 0:
        more = draw(st.lists(st.tuples(raw_names, anything), min_size=1, max_size=3))
        pairs += [f"{name}: {value}" for name, value in more]
        pairs = draw(st.permutations(pairs))
    return "{" + ",".join(pairs) + "}"


@st.composite
def records(draw: st.DrawFn, schema: Schema) -> bytes:
    """A raw record; sometimes with a value of 32 KB, or of the maximum size."""
    declared = dict(schema.get("properties", {}))
    for branch in [*schema.get("allOf", []), *schema.get("anyOf", [])]:
        declared.update(branch["properties"])
    raw = draw(raw_object(declared, schema, 0))
    size = draw(st.sampled_from(range(80)))
    if size < 5:
        name = json.dumps(draw(st.sampled_from([*declared, "large"])))
        more = [f"{name}:{draw(large)}"]
    elif size < 7:
        more = [f'"large {part}":{json.dumps("x" * 31_000)}' for part in "pqrstuvwxyzklmn"]
    else:
        return raw.encode()
    body = raw.removeprefix("{").removesuffix("}")
    return ("{" + ",".join([*more, body] if body else more) + "}").encode()
