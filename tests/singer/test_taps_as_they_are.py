"""What real taps and settings do that a specification does not expect.

Each case was reported by users of this or of other targets. Both methods give the same rows.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import ConfigurationError, RejectedRecordError, SchemaError
from tests.running import (
    COMMAND,
    KEY,
    ROOT,
    RunResult,
    config_file,
    environment,
    lines,
    load,
    record,
    run,
    schema,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

both_methods = pytest.mark.parametrize("method", ["set", "bulk"])
TEXT = {"type": ["null", "string"]}
NUMBER = {"type": ["null", "integer"]}


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator; at the end no rule was broken."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator
        assert emulator.refusals == []


@pytest.fixture
def refusing() -> Iterator[Emulator]:
    """An emulator that refuses what a test chooses."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


def config(segment: Emulator, method: str, **more: Any) -> dict[str, Any]:
    """The minimal settings."""
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return {"write_key": KEY, "method": method, "pluralize": False, **urls, **more}


def warnings(ran: RunResult, words: str) -> list[str]:
    """The warnings with these words in them."""
    return [line for line in ran.log.splitlines() if "WARNING" in line and words in line]


# --- Values ----------------------------------------------------------------------------

PARTS: dict[str, Any] = {
    "parents": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
    "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "list": {"type": ["array", "null"]},
    "o": {"anyOf": [{"type": "object", "properties": {"k": TEXT}}, {"type": "null"}]},
    "oo": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"k": TEXT}}]},
    "d": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
    "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    "open": {},
    "host": {"type": ["null", "object"], "properties": {"name": TEXT, "tel": TEXT}},
}
PARTED = [
    schema("c", id="string", **PARTS),
    record(
        "c",
        id="1",
        parents=["PA", "é"],
        n=5,
        list=["é"],
        o={"k": "é"},
        oo={"k": "v"},
        d="2020-01-01 00:00:00",
        price=515,
        open=1.5,
        host={"name": "K", "tel": "5"},
    ),
    record("c", id="2", parents=None, n=None, o=None, open=["é", 1.5], host=None, more={"x": 1}),
    record("c", id="3", open="é", host={"name": "K"}),
]
EXPECTED = [
    {
        "id": "1",
        "parents": '["PA","é"]',
        "n": 5,
        "list": '["é"]',
        "o_k": "é",
        "oo_k": "v",
        "d": "2020-01-01T00:00:00Z",
        "price": 515.0,
        "open": 1.5,
        "host_name": "K",
        "host_tel": "5",
    },
    {
        "id": "2",
        "parents": None,
        "n": None,
        "o_k": None,
        "open": '["é",1.5]',
        "host_name": None,
        "host_tel": None,
        "more": '{"x":1}',
    },
    {"id": "3", "open": "é", "host_name": "K", "host_tel": None},
]


@both_methods
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"flattening_enabled": True, "flattening_max_depth": 1}, id="depth 1"),
        pytest.param({"flattening_enabled": True, "flattening_max_depth": 9}, id="depth 9"),
        pytest.param({"flattening_enabled": True, "flattening_max_depth": 0}, id="depth 0"),
        pytest.param({"stream_maps": {"c": {}}}, id="empty map"),
        pytest.param({"stream_maps": {"c": {"open": "open", "host": "host"}}}, id="passing map"),
        pytest.param(
            {
                "stream_maps": {"c": {"open": "record.get('open')"}},
                "flattening_enabled": True,
                "flattening_max_depth": 2,
                "flattening_separator": "_",
            },
            id="map and depth 2",
        ),
    ],
)
def test_what_is_not_asked_for_changes_no_value(
    segment: Emulator, method: str, more: dict[str, Any]
) -> None:
    """Maps and flattening do not change values, types and nulls."""
    load(config(segment, method, **more), lines(*PARTED))
    rows = segment.rows("c")
    assert rows == EXPECTED
    assert type(rows[0]["price"]) is float


@both_methods
@pytest.mark.parametrize("depth", [None, 3])
def test_an_object_that_is_nulled_leaves_nothing_standing(
    segment: Emulator, method: str, depth: int | None
) -> None:
    """Null, or an object without a leaf, sets the leaves of the earlier object to null."""
    more = {"flattening_enabled": True, "flattening_max_depth": depth} if depth else {}
    host = PARTS["host"]
    fed = [schema("t", id="integer", host=host, note="string")]
    fed += [record("t", id=1, host={"name": "K", "tel": "5"}), record("t", id=1, host=None)]
    fed += [record("t", id=2, host={"name": "K", "tel": "5"}), record("t", id=2, host={"tel": "6"})]
    load(config(segment, method, **more), lines(*fed))
    assert segment.rows("t") == [
        {"id": "1", "host_name": None, "host_tel": None},
        {"id": "2", "host_name": None, "host_tel": "6"},
    ]


@both_methods
@pytest.mark.parametrize("more", [{}, {"stream_maps": {"t": {}}}, {"nested": "json"}])
def test_an_undeclared_object_is_json_text(
    segment: Emulator, method: str, more: dict[str, Any]
) -> None:
    """This holds at the top and in a declared object, so that no leaf of an older one is kept."""
    fed = [schema("t", id="integer", host={"type": "object", "properties": {"name": TEXT}})]
    for assignee in ({"id": 7, "admin": False}, None, {}, {"id": 8}):
        fed += [record("t", id=1, assignee=assignee, host={"name": "a", "more": assignee})]
    load(config(segment, method, **more), lines(*fed))
    (row,) = segment.rows("t")
    host = {"host_name": "a", "host_more": '{"id":8}'}
    if more == {"nested": "json"}:
        host = {"host": '{"name":"a","more":{"id":8}}'}
    assert row == {"id": "1", "assignee": '{"id":8}', **host}


@both_methods
@pytest.mark.parametrize("length", [12, 30, 255])
def test_a_short_name_is_no_other_key(segment: Emulator, method: str, length: int) -> None:
    """`flattening_max_key_length` shortens the names of properties; ids do not change."""
    long = "a_rather_long_identifier_of_the_customer"
    head = schema(
        "m", [long], **{long: TEXT, "address": {"type": "object", "properties": {"zip": TEXT}}}
    )
    more = {"flattening_enabled": True, "flattening_max_depth": 2}
    fed = lines(head, record("m", **{long: "k1", "address": {"zip": "y"}}))
    load(config(segment, method, flattening_max_key_length=length, **more), fed)
    (row,) = segment.rows("m")
    assert row["id"] == "k1"
    assert (long in row) == (length == 255)
    assert row["address_zip" if length > 12 else "a_zip" if "a_zip" in row else "add_zip"] == "y"


@both_methods
def test_short_offsets_are_completed(segment: Emulator, method: str) -> None:
    """`+0000` and `+00`, as PostgreSQL and strftime write them, are valid dates."""
    head = schema("t", id="integer", at={"type": "string", "format": "date-time"})
    written = ["2020-01-01T00:00:00+0000", "2020-01-01 00:00:00+00", "2020-01-01 00:00:00.5-0330"]
    fed = lines(head, *(record("t", id=n, at=text) for n, text in enumerate(written)))
    ran = load(config(segment, method), fed)
    assert [row["at"] for row in segment.rows("t")] == [
        "2020-01-01T00:00:00+00:00",
        "2020-01-01T00:00:00+00:00",
        "2020-01-01T00:00:00.5-03:30",
    ]
    assert len(warnings(ran, "Dates completed to RFC 3339")) == 1


@both_methods
@pytest.mark.parametrize("more", [{}, {"stream_maps": {"t": {}}}])
def test_a_nul_is_counted(segment: Emulator, method: str, more: dict[str, Any]) -> None:
    """This holds in values and ids, on every path; the string is sent unchanged."""
    head = schema("t", id="string", name="string", any={})
    fed = lines(
        head,
        record("t", id="a", name="b\0c"),
        record("t", id="d\0", name="x", any="\0"),
        record("t", id="e", name="\\u0000"),
        record("t", id="f", name="y"),
    )
    ran = load(config(segment, method, **more), fed)
    assert [row["name"] for row in segment.rows("t")] == ["b\0c", "x", "\\u0000", "y"]
    (warning,) = warnings(ran, "U+0000")
    assert "values=3 properties=" in warning


# --- Schemas ---------------------------------------------------------------------------


@both_methods
@pytest.mark.parametrize(
    "more", [{}, {"stream_maps": {"orders": {}}}, {"add_record_metadata": True}]
)
def test_a_schema_without_properties(segment: Emulator, method: str, more: dict[str, Any]) -> None:
    """tap-mongodb writes it for every stream: with keys it is accepted, without any column."""
    head = {
        "type": "SCHEMA",
        "stream": "orders",
        "schema": {"type": "object"},
        "key_properties": ["_id"],
    }
    order = {"_id": "5f1", "total": 12.5, "lines": [{"sku": "a"}], "ship": {"city": "Oslo"}}
    load(config(segment, method, **more), lines(head, record("orders", **order)))
    (row,) = segment.rows("orders")
    assert {name: value for name, value in row.items() if not name.startswith("sdc_")} == {
        "id": "5f1",
        "total": 12.5,
        "lines": '[{"sku":"a"}]',
        "ship": '{"city":"Oslo"}',
    }
    with pytest.raises(SchemaError, match="lists no `properties`"):
        load(config(segment, method, **more), lines({**head, "key_properties": []}))


@both_methods
@pytest.mark.parametrize("more", [{}, {"stream_maps": {"t": {}}}])
@pytest.mark.parametrize(
    "wrong",
    [{"properties": 5}, {"properties": None}, {"allOf": [{"properties": []}]}, {"type": "string"}],
)
def test_properties_that_are_no_object(
    segment: Emulator, method: str, more: dict[str, Any], wrong: dict[str, Any]
) -> None:
    """It is an error at the SCHEMA, instead of a stream without columns."""
    head = {"type": "SCHEMA", "stream": "t", "schema": wrong, "key_properties": ["id"]}
    if "type" in wrong and more:
        pytest.skip("a map gives a schema of its own")
    with pytest.raises(SchemaError, match="SCHEMA of stream 't'"):
        load(config(segment, method, **more), lines(head, record("t", id=1)))


@both_methods
@pytest.mark.parametrize(
    "maps",
    [
        {},
        {"orders": {"total_eur": "float(total)"}},
        {"orders": {"total": "total", "__else__": None}},
        {"orders": {"__key_properties__": ["_id", "no"]}},
    ],
)
def test_keys_that_the_schema_lacks(segment: Emulator, method: str, maps: dict[str, Any]) -> None:
    """They are accepted, with and without stream maps."""
    head = schema("orders", ["_id"], total="number")
    load(
        config(segment, method, stream_maps=maps),
        lines(head, record("orders", _id="a", total=1, no=7)),
    )
    (row,) = segment.rows("orders")
    assert row["id"] == ("a:7" if "__key_properties__" in maps.get("orders", {}) else "a")
    assert row["total"] == 1.0


@both_methods
def test_references_and_branches_go_through_maps(segment: Emulator, method: str) -> None:
    """The SDK's mapper reads neither; the columns are the same as without maps."""
    head = {
        "type": "SCHEMA",
        "stream": "t",
        "schema": {
            "allOf": [{"properties": {"id": NUMBER}}, {"properties": {"yes": True}}],
            "properties": {"at": {"$ref": "#/definitions/place"}},
            "definitions": {"place": {"properties": {"lat": {"type": "number"}}}},
        },
        "key_properties": ["id"],
    }
    fed = lines(head, record("t", id=1, yes=[1], at={"lat": 5}))
    for maps in ({}, {"t": {"added": "'x'"}}, {"t": {"at": "at", "yes": "yes", "__else__": None}}):
        load(config(segment, method, stream_maps=maps), fed)
        (row,) = segment.rows("t")
        assert {name: row[name] for name in ("id", "yes", "at_lat")} == {
            "id": "1",
            "yes": "[1]",
            "at_lat": 5.0,
        }
        assert type(row["at_lat"]) is float


@both_methods
@pytest.mark.parametrize(
    "dropped", [{"price": None, "cost": "price"}, {"cost": "price", "price": None}]
)
def test_what_is_renamed_keeps_its_column(
    segment: Emulator, method: str, dropped: dict[str, Any]
) -> None:
    """This holds whether the old name is removed before or after the new one."""
    fed = lines(schema("t", id="integer", price="number"), record("t", id=1, price=5))
    load(config(segment, method, stream_maps={"t": dropped}), fed)
    (row,) = segment.rows("t")
    assert row == {"id": "1", "cost": 5.0}
    assert type(row["cost"]) is float


@both_methods
def test_copies_of_a_stream_have_their_own_keys(segment: Emulator, method: str) -> None:
    """Every copy follows its own map, and the stream the stream's."""
    maps = {
        "first": {"__source__": "t", "__key_properties__": ["a"], "b": None},
        "t": {"c": "'c'"},
        "second": {"__source__": "t", "__key_properties__": ["b"], "a": None},
    }
    fed = lines(schema("t", id="integer", a="string", b="string"), record("t", id=1, a="x", b="y"))
    load(config(segment, method, stream_maps=maps), fed)
    assert segment.tables() == {
        "t": [{"id": "1", "a": "x", "b": "y", "c": "c"}],
        "first": [{"id": "x", "id_": 1, "a": "x"}],
        "second": [{"id": "y", "id_": 1, "b": "y"}],
    }


# --- Streams that meet -------------------------------------------------------------------

ISSUE = [schema("issues", id="integer", t="string"), record("issues", id=1, t="an issue")]
PULL = [schema("pulls", id="integer", t="string"), record("pulls", id=1, t="a pull")]


@both_methods
@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ({"stream_maps": {"issues": {"__alias__": "pulls"}}}, True),
        ({"stream_maps": {"pulls": {"__source__": "issues"}}}, True),
        ({"stream_maps": {"issues": {"__alias__": "pull"}}, "pluralize": True}, True),
        ({"stream_maps": {"issues": {"__alias__": "both"}, "pulls": {"__alias__": "both"}}}, False),
        ({"stream_maps": {"*s": {"__alias__": "both"}}}, False),
        ({"stream_maps": {"issues": {"__alias__": "pulls"}}, "collections": {"pulls": "p"}}, False),
        ({"collections": {"issues": "pulls"}}, True),
        ({"collections": {"issues": "pulls", "pulls": "pulls"}}, False),
    ],
)
def test_two_streams_of_one_collection(
    segment: Emulator,
    method: str,
    more: dict[str, Any],
    refused: bool,  # noqa: FBT001
) -> None:
    """They are refused at the SCHEMA, unless the user mapped both."""
    for fed in (ISSUE + PULL, PULL + ISSUE):
        if refused:
            with pytest.raises(SchemaError, match=r"'issues'.*collection") as found:
                load(config(segment, method, **more), lines(*fed))
            assert "pulls" in str(found.value)
        else:
            load(config(segment, method, **more), lines(*fed))


def test_one_stream_may_change_its_schema(segment: Emulator) -> None:
    """A stream that is planned again does not collide with itself."""
    maps = {"issues": {"__alias__": "pulls"}}
    load(config(segment, "set", stream_maps=maps), lines(*ISSUE, schema("issues", id="string")))


# --- Expressions -------------------------------------------------------------------------

CITIES = [
    schema("u", id="integer", addr={"type": ["null", "object"], "properties": {"city": TEXT}}),
    record("u", id=1, addr={"city": "Oslo"}),
    state(0),
    record("u", id=2, addr=None),
    record("u", id=3, addr={"city": "Rome"}),
    state(1),
]


@both_methods
@pytest.mark.parametrize(
    ("map_", "path"),
    [
        ({"city": "addr['city']"}, ["city"]),
        ({"__filter__": "addr['city'] != ''", "city": "addr['city']"}, ["__filter__"]),
        ({"city": "record.get('addr').get('city')"}, ["city"]),
    ],
)
def test_an_expression_that_fails_on_one_record(
    tmp_path: Path, segment: Emulator, method: str, map_: dict[str, Any], path: list[str]
) -> None:
    """It is a reject at the expression's property; the other records arrive."""
    dead = tmp_path / "dead.jsonl"
    more = {"stream_maps": {"u": map_}, "max_rejects": -1, "dead_letter_path": str(dead)}
    ran = load(config(segment, method, **more), lines(*CITIES))
    assert ran.states[-1] == "1"
    assert {row["id"]: row["city"] for row in segment.rows("u")} == {"1": "Oslo", "3": "Rome"}
    entries = [json.loads(line) for line in dead.read_text().splitlines()]
    (fault,) = [fault for entry in entries for fault in entry.get("faults", ())]
    assert (fault["path"], fault["code"]) == (path, "expression")
    assert f"`stream_maps`, `u.{path[0]}`, fails on this record" in fault["message"]
    assert len(warnings(ran, "Records rejected: stream=u records=1 reasons=expression:1")) == 1
    with pytest.raises(RejectedRecordError, match=rf"line 4: .*stream 'u'.*{path[0]}"):
        load(config(segment, method, stream_maps={"u": map_}), lines(*CITIES))


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("no_such(id)", "no function 'no_such'"),
        ("fake.name()", "`faker_config`"),
        ("[x for x in record].__class__", "is wrong"),
    ],
)
def test_an_expression_that_no_record_can_mend(
    tmp_path: Path, segment: Emulator, expression: str, words: str
) -> None:
    """It ends the run like a wrong setting, however many rejects are tolerated."""
    more = {"max_rejects": -1, "dead_letter_path": str(tmp_path / "dead")}
    maps = {"u": {"city": expression}}
    with pytest.raises(
        ConfigurationError, match=r"stream_maps, for stream 'u': .*`u\.city`"
    ) as found:
        load(config(segment, "set", stream_maps=maps, **more), lines(*CITIES))
    assert words in str(found.value)


@both_methods
def test_text_that_an_expression_makes(segment: Emulator, method: str) -> None:
    """Its type is that of the expression, not the tap's."""
    head = schema("t", id="integer", amount="number", n="string")
    maps = {"t": {"a": "record['amount']", "b": "amount", "c": "float(record['amount'])"}}
    fed = lines(head, record("t", id=1, amount=1.5, n=7))
    ran = load(config(segment, method, stream_maps=maps), fed)
    (row,) = segment.rows("t")
    assert (row["a"], row["b"], row["c"], row["n"]) == ("1.5", 1.5, 1.5, "7")
    (own,) = warnings(ran, "properties=a;")
    assert "float(…)" in own
    (other,) = warnings(ran, "properties=n;")
    assert "in the tap" in other
    assert "float(…)" not in other


# --- Names that match nothing --------------------------------------------------------------


@both_methods
def test_names_that_match_no_stream(segment: Emulator, method: str) -> None:
    """There is a warning at the end with the stream that is probably meant: nothing was hashed."""
    more = {
        "collections": {"customer": "people", "Custommer": "x_y", "Order": "orders"},
        "stream_maps": {"customer": {"email": "md5(email)"}, "Order": {"__alias__": "sale"}},
    }
    fed = lines(schema("Customer", id="integer"), schema("Order", id="integer"), state(1))
    ran = load(config(segment, method, **more), fed)
    sentences = warnings(ran, "no stream is called")
    assert [text.partition(": ")[0].split()[-1] for text in sentences] == [
        "stream_maps",
        *["collections"] * 3,
    ]
    assert all("did you mean 'Customer'?" in text for text in sentences[:3])
    assert "`stream_maps` rename" in sentences[3]
    whole = load(config(segment, method, stream_maps={"Cust*": {}}), fed)
    assert warnings(whole, "no stream is called") == []


def test_a_run_that_failed_has_not_seen_all_streams(tmp_path: Path, segment: Emulator) -> None:
    """It does not warn of names: their streams may have followed the error."""
    more = {"collections": {"later": "people"}}
    ran = run(tmp_path, config(segment, "set", **more), lines(*ISSUE, "no message"))
    assert ran.code == 1
    assert "no stream is called" not in ran.log


@both_methods
def test_names_that_meltano_has_split(segment: Emulator, method: str) -> None:
    """`public.users` arrives as nested objects, and becomes one name again."""
    more = {
        "collections": {"public": {"users": "people"}},
        "stream_maps": {"public": {"users": {"name": "name.upper()"}}},
    }
    fed = lines(
        schema("public.users", id="integer", name="string"), record("public.users", id=1, name="a")
    )
    ran = load(config(segment, method, **more), fed)
    assert segment.tables() == {"people": [{"id": "1", "name": "A"}]}
    assert warnings(ran, "no stream") == []


# --- Columns and nulls ----------------------------------------------------------------------


@both_methods
@pytest.mark.parametrize("more", [{}, {"stream_maps": {"t": {}}}])
def test_too_many_columns_are_one_warning(
    segment: Emulator, method: str, more: dict[str, Any]
) -> None:
    """This counts the schemas of two streams and the properties of records."""
    declared: dict[str, Any] = {f"d{name}": TEXT for name in _names(200)}
    others: dict[str, Any] = {f"u{name}": TEXT for name in _names(200)}
    collections = {"collections": {"t": "all_of_it", "u": "all_of_it"}}
    fed = [schema("t", id="integer", **declared), schema("u", id="integer", **others)]
    few = [record("t", id=1, **{f"x{name}": 1 for name in _names(100)})]
    ran = load(config(segment, method, **collections, **more), lines(*fed, *few))
    assert warnings(ran, "columns") == []
    many = [
        record("t", id=number, **{f"x{number}{name}": 1 for name in _names(11)})
        for number in range(1, 40)
    ]
    ran = load(config(segment, method, **collections, **more), lines(*fed, *many))
    (warning,) = warnings(ran, "columns")
    assert "'all_of_it' has more than 500 columns" in warning


def _names(count: int) -> list[str]:
    return [f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghij"][:count]


WIDE: dict[str, Any] = {
    f"o{name}": {"type": "object", "properties": {f"leaf_{n}": TEXT for n in "abcd"}}
    for name in _names(200)
}


@both_methods
def test_objects_of_nulls(segment: Emulator, method: str) -> None:
    """For a stream of mostly null values there is a warning at the end that names `nulls: drop`."""
    twice: dict[str, Any] = {name: {"type": "object", "properties": WIDE} for name in "ab"}
    fed = [schema("t", id="integer", **twice)]
    few = [record("t", id=n, a={"oaa": {"leaf_a": "x"}}) for n in range(20)]
    ran = load(config(segment, method), lines(*fed, *few))
    (warning,) = warnings(ran, "Objects that are mostly nulls")
    assert "stream=t" in warning
    assert "`nulls` to `drop`" in warning
    for more in ({"nulls": "drop"}, {}):
        filled = few if more else [record("t", id=n, note="x" * 500) for n in range(500)]
        ran = load(config(segment, method, **more), lines(*fed, *filled))
        assert warnings(ran, "mostly of nulls") == []


@both_methods
def test_an_object_too_large_for_its_nulls(segment: Emulator, method: str) -> None:
    """The reject names `nulls: drop`, with which the record is sent."""
    deep: dict[str, Any] = {f"p{n}": {"type": "object", "properties": WIDE} for n in _names(30)}
    fed = lines(
        schema("t", id="integer", **deep),
        record("t", id=1, **{f"p{n}": {} for n in _names(30)}, x=1),
    )
    with pytest.raises(RejectedRecordError, match=r"400 KB.*`nulls` to `drop`"):
        load(config(segment, method), fed)
    load(config(segment, method, nulls="drop"), fed)
    assert segment.rows("t") == [{"id": "1", "x": 1}]
    large = lines(
        schema("t", id="integer"), record("t", id=1, **{f"p{n}": "x" * 30_000 for n in _names(20)})
    )
    with pytest.raises(RejectedRecordError, match="400 KB") as found:
        load(config(segment, method), large)
    assert "nulls" not in str(found.value)


# --- Messages -------------------------------------------------------------------------------


@both_methods
def test_activate_version_before_its_schema(segment: Emulator, method: str) -> None:
    """It is ignored, with one warning for each stream."""
    active = {"type": "ACTIVATE_VERSION", "stream": "t", "version": 3}
    fed = lines(
        state({"a": 1}), active, schema("t", id="integer"), active, record("t", id=1), state(1)
    )
    ran = load(config(segment, method), fed)
    assert ran.states[-1] == "1"
    assert segment.rows("t") == [{"id": "1"}]
    assert len(warnings(ran, "ACTIVATE_VERSION")) == 1


@both_methods
def test_a_removed_stream_says_nothing(segment: Emulator, method: str) -> None:
    """Neither its keys nor its names matter, nor whether it can be planned."""
    head = schema("t", [], id="integer", received_at="string", **{"a-b": TEXT, "a_b": TEXT})
    fed = lines(head, record("t", id=1), state(1))
    ran = load(config(segment, method, stream_maps={"t": None}), fed)
    assert ran.states == ["1"]
    assert warnings(ran, "") == []
    assert "Stream removed by `stream_maps`: stream=t records=1" in ran.log
    assert segment.tables() == {}


@both_methods
@pytest.mark.parametrize("more", [{}, {"stream_maps": {"u": {}}}])
def test_a_key_of_another_case(segment: Emulator, method: str, more: dict[str, Any]) -> None:
    """The reject names the property that is probably meant."""
    fed = lines(schema("u", ["id"], ID="integer"), record("u", ID=1))
    with pytest.raises(RejectedRecordError, match=r"key property is missing.*'ID'.*case"):
        load(config(segment, method, **more), fed)


@both_methods
def test_refused_records_are_one_warning(tmp_path: Path, refusing: Emulator, method: str) -> None:
    """80 refused records make one warning, and one line at the end with their number."""
    status, call = (413, "upload") if method == "bulk" else (400, "set")
    refusing.fault(InjectedFault(call=call, count=10_000, status=status))
    dead = tmp_path / "dead.jsonl"
    more = {"max_rejects": -1, "dead_letter_path": str(dead), "max_concurrency": 2}
    fed = [schema("t", [], n="integer"), *(record("t", n=n) for n in range(80)), state(1)]
    ran = load(config(refusing, method, **more), lines(*fed))
    assert ran.states == ["1"]
    assert len(warnings(ran, "has rejected records")) == 1
    (warning,) = warnings(ran, "Records rejected")
    assert "records=80 reasons=refused:80" in warning
    assert len(warnings(ran, "no key properties")) == 1
    (row,) = [line for line in ran.log.splitlines() if "Collection done: collection=t" in line]
    assert "rejected=80" in row


@both_methods
def test_merged_records_that_are_refused_are_all_recorded(
    tmp_path: Path, refusing: Emulator, method: str
) -> None:
    """With too many rejects, every record of the refused object is recorded and counted."""
    status, call = (413, "upload") if method == "bulk" else (400, "set")
    refusing.fault(InjectedFault(call=call, count=10_000, status=status))
    dead = tmp_path / "dead.jsonl"
    fed = lines(schema("t", id="integer", n="integer"), *(record("t", id=1, n=n) for n in range(6)))
    ran = run(tmp_path, config(refusing, method, max_rejects=3, dead_letter_path=str(dead)), fed)
    assert ran.code == 1
    (warning,) = warnings(ran, "Records rejected")
    (row,) = [line for line in ran.log.splitlines() if "Collection when" in line]
    entries = [json.loads(line) for line in dead.read_text().splitlines()]
    rejects = [entry for entry in entries if "faults" in entry]
    assert f"records={len(rejects)} " in warning
    assert f"rejected={len(rejects)} " in row


# --- What is told of a failed run -------------------------------------------------------------


@both_methods
def test_the_first_error_is_reported(tmp_path: Path, segment: Emulator, method: str) -> None:
    """A bad record with a closed stdout: the error of the record comes with its line."""
    fed = lines(
        schema("t", id="integer"), record("t", id=1), state(1), record("t", id=2), record("t", x=1)
    )
    whole = [*COMMAND, "--config", config_file(tmp_path, config(segment, method))]
    ended = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" "$@" >&-', *whole],
        input=fed,
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    ran = RunResult(ended.returncode, [], ended.stderr.decode())
    assert ran.code == 1
    first, second = ran.sentences
    assert first.startswith("line 5: a record of stream 't' is rejected: id: the key property")
    assert second.startswith("While the run ended: stdout is closed")
    assert "Traceback" not in ran.log


@both_methods
def test_the_end_of_a_failed_run(tmp_path: Path, refusing: Emulator, method: str) -> None:
    """No summary claims that anything was sent, and no missing dead letter is named."""
    refusing.fault(InjectedFault(count=10_000, status=403))
    fed = lines(schema("t", id="integer", n="string"), record("t", id=1, n=7), record("t", x=1))
    ran = run(tmp_path, config(refusing, method), fed)
    assert ran.code == 1
    assert "Collection when the run failed: collection=t " in ran.log
    assert " done: " not in ran.log
    assert "were sent" not in ran.log
    assert "replay" not in ran.log
