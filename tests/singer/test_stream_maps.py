"""The SDK's stream maps and flattening work as documented, and change no digit."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.errors import ConfigurationError
from tests.running import KEY, RunResult, lines, load, record, run, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PEOPLE = schema("people", id="integer", name="string", email="string", age="integer")
ANA = record("people", id=1, name="Ana", email="ana@example.com", age=31)
BO = record("people", id=2, name="Bo", email="bo@example.com", age=12)
FED = lines(PEOPLE, ANA, BO, state(1))


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator; at the end no rule was broken."""
    with Emulator() as emulator:
        yield emulator
        assert emulator.refusals == []


def _load(
    segment: Emulator, maps: dict[str, Any] | None, fed: bytes = FED, **more: Any
) -> RunResult:
    config = {"write_key": KEY, "bulk_url": segment.url, **more}
    return load(config if maps is None else {**config, "stream_maps": maps}, fed)


def test_a_property_is_renamed_removed_and_computed(segment: Emulator) -> None:
    """An expression creates a property, null removes one, and the others stay."""
    maps = {"people": {"mail": "email.upper()", "email": None, "adult": "bool(age >= 18)"}}
    _load(segment, maps)
    assert segment.rows("people") == [
        {"id": "1", "name": "Ana", "age": 31, "mail": "ANA@EXAMPLE.COM", "adult": True},
        {"id": "2", "name": "Bo", "age": 12, "mail": "BO@EXAMPLE.COM", "adult": False},
    ]


def test_else_null_keeps_only_what_is_named(segment: Emulator) -> None:
    """`__else__: null` in a stream removes what it does not name; the key may be sent as the id."""
    _load(segment, {"people": {"id": "id", "name": "name", "__else__": None}})
    assert segment.rows("people") == [{"id": "1", "name": "Ana"}, {"id": "2", "name": "Bo"}]


def test_records_are_filtered(segment: Emulator) -> None:
    """`__filter__` drops records, and the state covers them."""
    assert _load(segment, {"people": {"__filter__": "age >= 18"}}).states == ["1"]
    assert [row["id"] for row in segment.rows("people")] == ["1"]


def test_when_all_is_filtered_state_goes_on(segment: Emulator) -> None:
    """If no record is left, nothing is sent, and the state is printed."""
    assert _load(segment, {"people": {"__filter__": "False"}}).states == ["1"]
    assert segment.requests == []


def test_a_stream_has_an_alias(segment: Emulator) -> None:
    """`__alias__` names the collection; `collections` uses that name."""
    _load(segment, {"people": {"__alias__": "guest"}})
    assert list(segment.tables()) == ["guests"]
    _load(segment, {"people": {"__alias__": "guest"}}, collections={"guest": "visitors"})
    assert list(segment.tables()) == ["guests", "visitors"]


def test_a_stream_is_duplicated(segment: Emulator) -> None:
    """`__source__` sends a stream's records to another collection too."""
    _load(segment, {"minors": {"__source__": "people", "__filter__": "age < 18"}})
    assert [row["id"] for row in segment.rows("people")] == ["1", "2"]
    assert [row["id"] for row in segment.rows("minors")] == ["2"]


def test_keys_are_chosen(segment: Emulator) -> None:
    """`__key_properties__` makes the id of other properties, including computed ones."""
    maps = {"people": {"mail": "email.lower()", "__key_properties__": ["mail", "age"]}}
    _load(segment, maps)
    assert [row["id"] for row in segment.rows("people")] == [
        "ana@example.com:31",
        "bo@example.com:12",
    ]


def test_hashes(segment: Emulator) -> None:
    """`md5` and `sha256` hash a value, with a salt of `stream_map_config`."""
    maps = {"people": {"email": "md5(config['salt'] + email)", "name": "sha256(name)"}}
    _load(segment, maps, stream_map_config={"salt": "s"})
    (ana, _) = segment.rows("people")
    assert ana["email"] == hashlib.md5(b"sana@example.com").hexdigest()  # noqa: S324 as asked
    assert ana["name"] == hashlib.sha256(b"Ana").hexdigest()


def test_a_stream_is_removed(segment: Emulator) -> None:
    """Null instead of a stream's map drops the stream."""
    fed = lines(PEOPLE, schema("pets", id="integer"), ANA, record("pets", id=7), state(1))
    assert _load(segment, {"people": None}, fed).states == ["1"]
    assert segment.tables() == {"pets": [{"id": "7"}]}


def test_other_streams_are_removed(segment: Emulator) -> None:
    """`__else__: null` at the top drops the streams that are not named."""
    fed = lines(PEOPLE, schema("pets", id="integer"), ANA, record("pets", id=7), state(1))
    _load(segment, {"pets": {}, "__else__": None}, fed)
    assert list(segment.tables()) == ["pets"]


def test_numbers_keep_their_digits_through_maps(segment: Emulator) -> None:
    """What no expression changes is sent as without maps, digit for digit."""
    fed = lines(
        schema("sums", id="integer", exact="number", big="integer", any={}, nested="object"),
        '{"type":"RECORD","stream":"sums","record":{"id":1,"exact":0.30000000000000000001,'
        '"big":123456789012345678901234567890,"any":1.50,"nested":{"n":[1.10,-0.0]}}}',
    )
    _load(segment, None, fed, method="set", objects_url=segment.url)
    plain = segment.requests[-1].body
    _load(segment, {"sums": {"made": "1"}}, fed, method="set", objects_url=segment.url)
    mapped = segment.requests[-1].body
    assert b'"exact":0.30000000000000000001' in plain
    assert b'"big":123456789012345678901234567890' in plain
    assert b'"any":1.50' in plain
    assert mapped.replace(b',"made":"1"', b"") == plain


def test_without_keys_the_id_is_the_original_records(segment: Emulator) -> None:
    """A record without keys has the same id with and without maps."""
    keyless = lines(schema("logs", [], event="string"), record("logs", event="login"))
    _load(segment, None, keyless)
    _load(segment, {"logs": {"event": "event.upper()"}}, keyless)
    (row,) = segment.rows("logs")
    assert row["event"] == "LOGIN"


def test_ids_without_keys_are_never_empty_and_never_shared(segment: Emulator) -> None:
    """A map may remove a property with a lone surrogate, which no warehouse accepts."""
    head = {
        "type": "SCHEMA",
        "stream": "rooms",
        "schema": {"properties": {"name": {"type": "string"}, "note": {"type": "string"}}},
    }
    rows = [
        f'{{"type":"RECORD","stream":"rooms","record":'
        f'{{"name":"n{number}","note":"\\ud800","rate":{rate}}}}}'
        for number, rate in ((1, "1.0"), (2, "1.0"), (2, "NaN"), (2, "1.0"))
    ]
    config = {
        "write_key": "key",
        "method": "set",
        "objects_url": segment.url,
        "stream_maps": {"rooms": {"note": None, "rate": None}},
    }
    load(config, "\n".join([json.dumps(head), *rows]).encode())
    ids = [row["id"] for row in segment.rows("rooms")]
    assert len(ids) == len(set(ids)) == 3
    assert all(len(str(identifier)) == 64 for identifier in ids)


def test_flattening_to_a_depth(segment: Emulator) -> None:
    """`flattening_max_depth` limits the depth; `nested` decides about deeper objects."""
    nested = {
        "type": "object",
        "properties": {"b": {"type": "object", "properties": {"c": {"type": "integer"}}}},
    }
    fed = lines(schema("trees", id="integer", a=nested), record("trees", id=1, a={"b": {"c": 1}}))
    _load(segment, None, fed, flattening_enabled=True, flattening_max_depth=1, nested="json")
    assert segment.rows("trees") == [{"id": "1", "a_b": '{"c":1}'}]
    _load(segment, None, fed, flattening_enabled=True, flattening_max_depth=2, nested="json")
    assert segment.rows("trees") == [{"id": "1", "a_b": '{"c":1}', "a_b_c": 1}]


def test_metadata_is_added(segment: Emulator) -> None:
    """`add_record_metadata` adds the SDK's properties; without keys, ids stay what they were."""
    fed = lines(
        schema("logs", [], event="string"),
        {**record("logs", event="login"), "time_extracted": "2026-01-01T00:00:00Z", "version": 7},
    )
    _load(segment, None, fed)
    _load(segment, None, fed, add_record_metadata=True)
    (row,) = segment.rows("logs")
    assert str(row["sdc_extracted_at"]).startswith("2026-01-01T00:00:00")
    assert row["sdc_table_version"] == 7
    assert {"sdc_received_at", "sdc_batched_at", "sdc_sequence"} <= set(row)


def test_a_missing_faker_is_a_warning(segment: Emulator) -> None:
    """Without the package `faker`, `faker_config` is a warning."""
    assert "`faker` is not installed" in _load(segment, None, faker_config={"seed": 1}).log


@pytest.mark.parametrize(
    "maps",
    [
        pytest.param({"people": {"name": "name +"}}, id="no expression"),
        pytest.param({"people": {"name": "unknown_name"}}, id="unknown name"),
        pytest.param({"people": {"name": "age / 0"}}, id="fails on a record"),
        pytest.param({"people": {"name": "fake.name()"}}, id="no faker"),
        pytest.param({"people": {"__filter__": "age >"}}, id="no filter"),
        pytest.param({"people": {"__else__": 5}}, id="no else"),
        pytest.param({"people": {"__key_properties__": ["nothing"]}}, id="no key"),
        pytest.param({"people": "drop"}, id="no map"),
        pytest.param({"people": {"id": None}}, id="key removed"),
    ],
)
def test_a_wrong_map_is_one_sentence(
    tmp_path: Path, segment: Emulator, maps: dict[str, Any]
) -> None:
    """A wrong map is one error line that names `stream_maps`, without a traceback."""
    config = {"write_key": KEY, "bulk_url": segment.url, "stream_maps": maps}
    ran = run(tmp_path, config, FED)
    assert "Traceback" not in ran.log
    assert (ran.code, len(ran.sentences)) == (1, 1), json.dumps(ran.states)
    assert "stream_maps" in ran.sentences[0]
    assert "ana@example.com" not in ran.log


def test_a_wrong_map_is_an_error_of_ours(segment: Emulator) -> None:
    """In a program it is a `ConfigurationError`."""
    with pytest.raises(ConfigurationError, match="stream_maps"):
        _load(segment, {"people": {"name": "age /"}})


def test_an_id_is_never_empty(segment: Emulator) -> None:
    """Records that a map makes valid, by removing a lone surrogate, have different ids."""
    head = {
        "type": "SCHEMA",
        "stream": "notes",
        "schema": {"properties": {"n": {"type": "integer"}, "bad": {}}},
        "key_properties": [],
    }
    bad = [r'"\ud800"', r'"\udfff"', r'"\\ud800"', r'["\ud800",1.5]', r'["\ud800","1.5"]']
    bad.append(bad[0])
    rows = [
        '{"type":"RECORD","stream":"notes","record":{"n":1,"bad":%s}}' % text  # noqa: UP031
        for text in bad
    ]
    _load(segment, {"notes": {"bad": None}}, lines(head, *rows))
    ids = [row["id"] for row in segment.rows("notes")]
    assert len(ids) == 5
    assert {len(str(object_id)) for object_id in ids} == {64}


@pytest.mark.parametrize(
    "more",
    [
        {"stream_maps": {"rooms": {"double": "1"}}},
        {"flattening_enabled": True, "flattening_max_depth": 1},
        {"add_record_metadata": True},
    ],
    ids=["map", "flattening", "metadata"],
)
@pytest.mark.parametrize("token", ["0.00000010", "1e5", "1.10", "-0.0", "1E-7"])
def test_a_number_stays_as_the_tap_wrote_it(
    segment: Emulator, more: dict[str, Any], token: str
) -> None:
    """A map that does not change a number changes neither id nor value."""
    head = {
        "type": "SCHEMA",
        "stream": "rooms",
        "schema": {"properties": {"key": {"type": "string"}, "list": {"type": "array"}}},
        "key_properties": ["key"],
    }
    room = '{"type":"RECORD","stream":"rooms","record":{"key":%s,"list":[%s]}}' % (token, token)  # noqa: UP031
    _load(segment, None, lines(head, room))
    (before,) = segment.rows("rooms")
    _load(segment, None, lines(head, room), **more)
    (after,) = segment.rows("rooms")
    assert before.items() <= after.items()
    assert before["id"] == token
    assert before["list"] == f"[{token}]"
