"""Every setting has a visible effect, here on messages, names and values."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.errors import (
    ConfigurationError,
    MessageError,
    RejectedRecordError,
    SchemaError,
    SegmentObjectsError,
)
from tests.builders import rejects_in
from tests.client.raw_server import RawServer, answer, answering
from tests.running import KEY, lines, load, record, schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = schema("room", id="integer", name="string")
FED = lines(ROOM, record("room", id=1, name="Beach"))
ANY: dict[str, Any] = {}


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator that allows digits in collections; no other rule is broken."""
    with Emulator(collection_digits=True) as emulator:
        yield emulator
        assert emulator.refusals == []


def _sent(segment: Emulator, fed: bytes, **settings: Any) -> dict[str, Any]:
    """The first row of every table, after a load by `set`."""
    config = {"write_key": KEY, "method": "set", "objects_url": segment.url, **settings}
    load(config, fed)
    return {table: rows[0] for table, rows in segment.tables().items()}


def _rejected(segment: Emulator, fed: bytes, code: str, **settings: Any) -> None:
    with pytest.raises(RejectedRecordError) as rejected:
        _sent(segment, fed, **settings)
    assert [fault.code for fault in rejected.value.faults] == [code]


def test_collections(segment: Emulator) -> None:
    """A stream's collection is named."""
    assert list(_sent(segment, FED, collections={"room": "chamber"})) == ["chamber"]


def test_pluralize(segment: Emulator) -> None:
    """The last word is made plural, or stays."""
    assert list(_sent(segment, FED)) == ["rooms"]
    assert list(_sent(segment, FED, pluralize=False)) == ["rooms", "room"]


def test_allow_collection_digits(segment: Emulator) -> None:
    """Digits are spelled out, or kept."""
    fed = lines(schema("s3_files", id="integer"), record("s3_files", id=1))
    assert list(_sent(segment, fed)) == ["s_three_files"]
    assert list(_sent(segment, fed, allow_collection_digits=True)) == ["s_three_files", "s3_files"]


def test_nested(segment: Emulator) -> None:
    """An object becomes properties, or JSON text, or a reject."""
    inner = {"type": "object", "properties": {"b": {"type": "integer"}}}
    fed = lines(schema("room", id="integer", a=inner), record("room", id=1, a={"b": 2}))
    assert _sent(segment, fed) == {"rooms": {"id": "1", "a_b": 2}}
    assert _sent(segment, fed, nested="json")["rooms"]["a"] == '{"b":2}'
    _rejected(segment, fed, "nested", nested="reject")


def test_nulls(segment: Emulator) -> None:
    """Null is sent, or omitted."""
    fed = lines(ROOM, record("room", id=1, name=None, more=1))
    _sent(segment, fed)
    assert b'"name":null' in segment.requests[-1].body
    _sent(segment, fed, nulls="drop")
    assert b'"name"' not in segment.requests[-1].body


def test_non_finite_numbers(segment: Emulator) -> None:
    """NaN is a reject, or null."""
    fed = lines(schema("room", id="integer", x="number"), record("room", id=1, x=float("nan")))
    _rejected(segment, fed, "non_finite")
    assert _sent(segment, fed, non_finite_numbers="null") == {"rooms": {"id": "1", "x": None}}


def test_oversized_values(segment: Emulator) -> None:
    """A value of 32 KB is rejected, truncated or omitted."""
    fed = lines(ROOM, record("room", id=1, name="x" * 32_768, more=1))
    _rejected(segment, fed, "value_too_large")
    assert "name" not in _sent(segment, fed, oversized_values="drop")["rooms"]
    assert _sent(segment, fed, oversized_values="truncate")["rooms"]["name"] == "x" * 32_767


def test_type_mismatches(segment: Emulator) -> None:
    """A number in a string column becomes a string, is sent unchanged, or is rejected."""
    fed = lines(ROOM, record("room", id=1, name=1234))
    assert _sent(segment, fed)["rooms"]["name"] == "1234"
    assert _sent(segment, fed, type_mismatches="send")["rooms"]["name"] == 1234
    _rejected(segment, fed, "type", type_mismatches="reject")


def test_long_ids(segment: Emulator) -> None:
    """An id of 101 characters is hashed, or is a reject."""
    fed = lines(schema("room", id="string"), record("room", id="x" * 101))
    assert len(_sent(segment, fed)["rooms"]["id"]) == 64
    _rejected(segment, fed, "long_id", long_ids="reject")


TWO_BAD = lines(
    ROOM, *(record("room", **properties) for properties in ({}, {"id": 1}, {"name": "y"}))
)


def test_max_rejects(segment: Emulator, tmp_path: Path) -> None:
    """This many rejects are tolerated, one more fails the run; -1 tolerates any number."""
    path = str(tmp_path / "rejects.jsonl")
    _rejected(segment, TWO_BAD, "key_missing")
    _rejected(segment, TWO_BAD, "key_missing", max_rejects=1, dead_letter_path=path)
    for tolerated in (2, -1):
        sent = _sent(segment, TWO_BAD, max_rejects=tolerated, dead_letter_path=path)
        assert sent["rooms"]["id"] == "1"


def test_dead_letter_path(segment: Emulator, tmp_path: Path) -> None:
    """Rejected records are in the file, also the one that fails a run."""
    path = tmp_path / "rejects.jsonl"
    _rejected(segment, TWO_BAD, "key_missing", dead_letter_path=str(path))
    (reject,) = rejects_in(path)
    assert reject["record"] == {}


def test_report_path(segment: Emulator, tmp_path: Path) -> None:
    """The report is written there when the run ends."""
    path = tmp_path / "report.json"
    _sent(segment, FED, report_path=str(path))
    assert json.loads(path.read_bytes())["total"]["sent"] == 1


def test_unknown_messages(segment: Emulator) -> None:
    """A message of an unknown type fails the run, or is skipped."""
    fed = lines({"type": "FIRE"}, ROOM, record("room", id=1))
    with pytest.raises(MessageError, match="line 1"):
        _sent(segment, fed)
    assert list(_sent(segment, fed, unknown_messages="ignore")) == ["rooms"]


def test_max_line_bytes(segment: Emulator) -> None:
    """A line of this length is accepted, a line with one byte more is not."""
    longest = max(map(len, FED.splitlines()))
    _sent(segment, FED, max_line_bytes=longest)
    with pytest.raises(MessageError, match="max_line_bytes"):
        _sent(segment, FED, max_line_bytes=longest - 1)


def test_max_depth(segment: Emulator) -> None:
    """A line of this depth is accepted, a line with one level more is not."""
    fed = lines(schema("room", id="integer", a=ANY), record("room", id=1, a=[[[[[]]]]]))
    _sent(segment, fed, max_depth=7)
    with pytest.raises(MessageError, match="max_depth"):
        _sent(segment, fed, max_depth=6)


def test_stream_maps(segment: Emulator) -> None:
    """A map renames a stream."""
    assert list(_sent(segment, FED, stream_maps={"room": {"__alias__": "hut"}})) == ["huts"]


def test_stream_map_config(segment: Emulator) -> None:
    """Expressions can use these values."""
    maps = {"room": {"name": "name + config['end']"}}
    sent = _sent(segment, FED, stream_maps=maps, stream_map_config={"end": "!"})
    assert sent["rooms"]["name"] == "Beach!"


def test_faker_config(segment: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed and locale reach the package `faker`; without the package, a message says so."""
    given: list[object] = []

    class Faker:
        def __init__(self, locale: str) -> None:
            given.append(locale)

        @staticmethod
        def seed(seed: int) -> None:
            given.append(seed)

        def name(self) -> str:
            return "Fake"

    maps = {"room": {"name": "fake.name()"}}
    if importlib.util.find_spec("faker") is None:
        with pytest.raises(ConfigurationError, match="fake"):
            _sent(segment, FED, stream_maps=maps, faker_config={"seed": 7})
    module = types.ModuleType("faker")
    module.__spec__ = importlib.util.spec_from_loader("faker", None)
    vars(module)["Faker"] = Faker
    monkeypatch.setitem(sys.modules, "faker", module)
    sent = _sent(segment, FED, stream_maps=maps, faker_config={"seed": 7, "locale": "de_DE"})
    assert sent["rooms"]["name"] == "Fake"
    assert given == [7, "de_DE"]


TREE = lines(
    schema(
        "tree",
        id="integer",
        long_name={"type": "object", "properties": {"b": {"type": ["integer", "null"]}}},
    ),
    record("tree", id=1, long_name={"b": 2}),
)
FLAT: dict[str, Any] = {"nested": "json", "flattening_enabled": True, "flattening_max_depth": 5}


def test_flattening_enabled(segment: Emulator) -> None:
    """The SDK flattens what `nested: json` would leave as text."""
    assert _sent(segment, TREE, nested="json")["trees"] == {"id": "1", "long_name": '{"b":2}'}
    assert _sent(segment, TREE, **FLAT)["trees"]["long_name_b"] == 2


def test_flattening_max_depth(segment: Emulator) -> None:
    """At depth 0 nothing is flattened; without a depth it is an error that names it."""
    flat = {**FLAT, "flattening_max_depth": 0}
    assert _sent(segment, TREE, **flat)["trees"] == {"id": "1", "long_name": '{"b":2}'}
    with pytest.raises(ConfigurationError, match="flattening_max_depth"):
        _sent(segment, TREE, flattening_enabled=True)


def test_flattening_max_key_length(segment: Emulator) -> None:
    """A longer name is shortened by the SDK."""
    sent = _sent(segment, TREE, **FLAT, flattening_max_key_length=5)
    assert list(sent["trees"].values()) == ["1", 2]
    assert "long_name_b" not in sent["trees"]


def test_flattening_separator(segment: Emulator) -> None:
    """The separator is put between the parts, as far as Segment's rule for names allows."""
    sent = _sent(segment, TREE, **FLAT, flattening_separator="_of_")
    assert sent["trees"] == {"id": "1", "long_name_of_b": 2}


def test_add_record_metadata(segment: Emulator) -> None:
    """The SDK's properties are added."""
    assert set(_sent(segment, FED)["rooms"]) == {"id", "name"}
    assert "sdc_batched_at" in _sent(segment, FED, add_record_metadata=True)["rooms"]


def test_validate_records(segment: Emulator) -> None:
    """A record that violates its schema, but no column's type, is rejected on request."""
    short = {"type": "string", "maxLength": 3}
    fed = lines(schema("room", id="integer", name=short), record("room", id=1, name="Beach"))
    assert _sent(segment, fed)["rooms"]["name"] == "Beach"
    with pytest.raises(SegmentObjectsError) as rejected:
        _sent(segment, fed, validate_records=True)
    assert "Beach" not in str(rejected.value)
    _rejected(segment, fed, "schema", validate_records=True)


def test_validation_asks_nobody(segment: Emulator) -> None:
    """A reference to another machine in a schema is an error of that schema, and not followed."""
    with RawServer(answering(answer(200))) as server:
        far = {"$ref": f"{server.url}/schema.json"}
        fed = lines(schema("room", id="integer", name=far), record("room", id=1, name="Beach"))
        assert _sent(segment, fed)["rooms"]["name"] == "Beach"
        with pytest.raises(SchemaError, match="validate_records"):
            _sent(segment, fed, validate_records=True)
        assert server.connections == 0
