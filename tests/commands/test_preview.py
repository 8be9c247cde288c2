"""`segment-objects preview`: it shows what a run does, and sends nothing."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.commands.main import main
from target_segment_objects.commands.preview.command import preview
from target_segment_objects.commands.preview.table import lines as table_lines
from target_segment_objects.emulator import Emulator
from target_segment_objects.emulator.store.querying import query_file
from target_segment_objects.errors import ConfigurationError
from tests.builders import rejects_in
from tests.running import WARNINGS_AS_ERRORS, environment, lines, load, record, schema, state

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
KEY = "preview-key-7Hq2nVb9"
DATE = {"type": "string", "format": "date-time"}
HOST = {"type": ["object", "null"], "properties": {"name": {"type": "string"}, "since": DATE}}

# One example of each kind of thing that a preview shows.
ROOMS = schema(
    "Room",
    id="integer",
    name="string",
    reviewCount="integer",
    price="number",
    host=HOST,
    tags="array",
    uuid="string",
    seen=DATE,
)
HOTEL = (
    ROOMS,
    record("Room", id=1, name="Room", reviewCount=47, price=515, tags=["a"], seen="2024-01-31"),
    record("Room", id=2, name="é" * 600, reviewCount="48", host={"since": "2024-01-31 12:00:00"}),
    record("Room", id=3, price=1e400, seen="tomorrow", uuid="u", Floor=1, extra={"a": 1}),
    record("Room", id=4, reviewCount="many", host={"name": "secret-name"}),
    record("Room", id=5, seen="yesterday", Floor=2.5, extra={"note": "y" * 513}),
    state({"at": 5}),
)


CLASH: dict[str, Any] = {"a-b": "string", "a_b": "string"}


def see(*messages: Mapping[str, Any] | str, values: bool = False, **config: Any) -> dict[str, Any]:
    """The preview of messages."""
    return preview(config, io.BytesIO(lines(*messages)), values=values)[0]


def by_name(rows: list[dict[str, Any]], key: str = "name") -> dict[str, dict[str, Any]]:
    """The rows, by one of their members."""
    return {row[key]: row for row in rows}


def conversions(collection: dict[str, Any]) -> dict[tuple[str, str], tuple[int, str, int]]:
    """(code, property) → count, path and line of the first one."""
    return {
        (row["code"], row["property"]): (row["count"], ".".join(row["path"]), row["line"])
        for row in collection["conversions"]
    }


def test_a_stream_that_returns_to_an_earlier_schema() -> None:
    """The path of an undeclared property comes from the plan of the present SCHEMA."""
    first, other = schema("rooms", id="integer"), schema("rooms", id="integer", name="string")
    columns = see(first, other, first, record("rooms", id=1, FloorNo=2))["collections"][0][
        "columns"
    ]
    assert {column["name"]: column["path"] for column in columns} == {
        "name": ["name"],
        "floor_no": ["FloorNo"],
    }


def test_columns_and_their_origins() -> None:
    """Names, paths, types and marks of declared and undeclared columns."""
    (rooms,) = see(*HOTEL)["collections"]
    assert rooms["collection"] == "rooms"
    assert rooms["streams"] == [
        {"stream": "Room", "id": "keys", "keys": ["id"], "omitted_key": "id"}
    ]
    assert rooms["objects"] == 3
    columns = {
        row["name"]: (".".join(row["path"]), row["type"], row["values"], row["nulls"])
        for row in rooms["columns"]
    }
    assert columns == {
        "name": ("name", "string", 2, 0),
        "review_count": ("reviewCount", "integer", 2, 0),
        "price": ("price", "number", 1, 0),
        "host_name": ("host.name", "string", 0, 1),
        "host_since": ("host.since", "timestamp", 1, 0),
        "tags": ("tags", "string", 1, 0),
        "uuid_": ("uuid", "string", 0, 0),
        "seen": ("seen", "timestamp", 2, 0),
        "floor": ("Floor", "number", 1, 0),
        "extra": ("extra", "string", 1, 0),
    }
    marks = ("renamed", "flattened", "json_text")
    marked = {row["name"]: [mark for mark in marks if row[mark]] for row in rooms["columns"]}
    assert {name: found for name, found in marked.items() if found} == {
        "review_count": ["renamed"],
        "host_name": ["flattened"],
        "host_since": ["flattened"],
        "tags": ["json_text"],
        "uuid_": ["renamed"],
        "floor": ["renamed"],
    }
    undeclared = [row["name"] for row in rooms["columns"] if row["schema"] is None]
    assert undeclared == ["floor", "extra"]


def test_conversions_have_counts_paths_and_lines() -> None:
    """Conversions are counted, those of undeclared properties too."""
    (rooms,) = see(*HOTEL)["collections"]
    assert conversions(rooms) == {
        ("long_string", "name"): (1, "name", 3),
        ("coerced", "review_count"): (1, "reviewCount", 3),
        ("date_normalized", "host_since"): (1, "host.since", 3),
        ("invalid_date", "seen"): (1, "seen", 6),  # that of the rejected record 3 is not sent
        ("long_string", "(undeclared)"): (1, "extra", 6),
    }


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("oversized_values", "drop", "dropped"),
        ("oversized_values", "truncate", "truncated"),
        ("non_finite_numbers", "null", "nulled"),
    ],
)
def test_settings_decide(setting: str, value: Any, code: str) -> None:
    """With a lenient setting, what would be rejected is a conversion with its path."""
    fed = (
        schema("rooms", id="integer", note="string", price="number"),
        '{"type":"RECORD","stream":"rooms","record":{"id":1,"price":NaN}}',
        record("rooms", id=2, note="x" * 33_000),
    )
    name, line = ("price", 2) if code == "nulled" else ("note", 3)
    (rooms,) = see(*fed, **{setting: value})["collections"]
    assert conversions(rooms)[code, name] == (1, name, line)
    document = see(*fed)
    found = {(reject["code"], *reject["path"], reject["line"]) for reject in document["rejects"]}
    assert found == {("non_finite", "price", 2), ("value_too_large", "note", 3)}


def test_ids() -> None:
    """Long ids are hashed; without keys the id is the record's hash; a key may be an object."""
    document = see(
        schema("rooms", ["code", "town"], code="string", town="string"),
        record("rooms", code="x" * 100, town="a"),
        schema("visits", [], at="string"),
        record("visits", at="now"),
        schema("guests", host=HOST),
        record("guests", id=1, host=5),
    )
    rooms, visits, guests = document["collections"]
    assert rooms["streams"][0]["keys"] == ["code", "town"]
    assert conversions(rooms) == {("hashed_id", "code:town"): (1, "", 2)}
    assert visits["streams"][0]["id"] == "hash of the record"
    assert "no key properties" in document["warnings"][0]
    assert conversions(guests) == {("coerced", "host"): (1, "host", 6)}
    assert by_name(guests["columns"])["host"]["path"] == ["host"]


def test_all_rejects_are_counted_by_code_and_path() -> None:
    """All rejects of a kind are counted, whatever `max_rejects` is, with the first line."""
    document = see(
        ROOMS,
        record("Room", id=None, reviewCount="many"),
        *[record("Room", id=number, reviewCount="many", host={"since": 1}) for number in range(20)],
        record("Room", id=99, review_count=1),
    )
    rows = {
        (reject["code"], ".".join(reject["path"])): (reject["count"], reject["line"])
        for reject in document["rejects"]
    }
    assert rows == {
        ("type", "reviewCount"): (21, 2),
        ("key_empty", "id"): (1, 2),
        ("clash", "review_count"): (1, 23),
    }
    assert (document["records"], document["rejected"], document["objects"]) == (22, 22, 0)
    assert document["would_fail"]


def test_all_fatal_errors_are_shown() -> None:
    """The preview goes on after each error; a wrong SCHEMA is one error."""
    document = see(
        "a line of a log",
        record("guests", id=1),
        record("guests", id=2),
        schema("stays", **CLASH),
        record("stays", id=1),
        {"type": "ACTIVATE_VERSION", "stream": "stays", "version": 1},
        schema("room"),
        schema("rooms"),
        "[1]",
        {"type": "STATE"},
        {"type": "BATCH", "stream": "room"},
        {"type": "WHAT"},
        {"type": "RECORD", "stream": ["room"]},
        record("room", id=1, a=1),
    )
    errors = [
        (error["line"], error["count"], error["message"][:40]) for error in document["errors"]
    ]
    assert errors == [
        (1, 1, "not JSON; check that the tap prints noth"),
        (2, 2, "a RECORD of stream 'guests' before its S"),
        (4, 1, "stream 'stays': properties 'a-b' and 'a_"),
        (8, 1, "streams 'room' and 'rooms' would both be"),
        (9, 1, "not a JSON object; a Singer message is o"),
        (10, 1, "a STATE without a `value`"),
        (11, 1, "BATCH messages are not supported; turn b"),
        (12, 1, "a message of the unknown type WHAT; set "),
        (13, 1, "a RECORD without a `stream`"),
    ]
    assert by_name(document["streams"], "stream")["stays"]["not_checked"] == 1
    assert (document["objects"], document["complete"]) == (1, True)


def test_a_corrected_schema_is_used() -> None:
    """A later right SCHEMA replaces a wrong one; a wrong one drops the right one before it."""
    wrong = schema("stays", **CLASH)
    right = schema("stays", a="string")
    stay = record("stays", id=1, a="x")
    document = see(wrong, stay, right, stay, stay, wrong, stay)
    (stays,) = document["collections"]
    assert (stays["objects"], document["not_checked"], document["records"]) == (2, 2, 4)


def test_a_line_that_is_too_long() -> None:
    """Within a block it is one error; one that does not end in time ends the preview."""
    fed = (schema("rooms", a="string"), record("rooms", id=1, a="x" * 400), record("rooms", id=2))
    document = see(*fed, max_line_bytes=300)
    assert [error["line"] for error in document["errors"]] == [2]
    assert (document["objects"], document["complete"]) == (1, True)
    document = see(fed[0], "x" * 3_000_000, fed[2], max_line_bytes=300)
    assert [error["line"] for error in document["errors"]] == [2]
    assert (document["objects"], document["complete"]) == (0, False)


def test_the_first_value_decides_the_type() -> None:
    """A column has the type of its first value; later incompatible ones are counted."""
    (rooms,) = see(
        schema("rooms", id="integer", any={}, when="string", text="string", number="number"),
        record("rooms", id=1, any=1, when="2024-01-31", text="x", number=9007199254740993),
        record("rooms", id=2, any=1.5, when="2024-02-01T00:00:00Z", text="2024-01-31", number=1.5),
        record("rooms", id=3, any=True, when="soon", number=9007199254740993),
        record("rooms", id=4, any=2, when=None, flag=True),
        record("rooms", id=5, flag="no"),
    )["collections"]
    columns = by_name(rooms["columns"])
    types = {name: (column["type"], column["incompatible"]) for name, column in columns.items()}
    assert types["any"] == ("integer", 2)
    assert types["when"] == ("timestamp", 1)
    assert types["text"] == ("string", 0)
    assert types["flag"] == ("boolean", 1)
    assert (columns["any"]["incompatible_line"], columns["when"]["incompatible_line"]) == (3, 4)


def test_examples_are_shown_only_on_request() -> None:
    """Without `values` no value of a record is shown; with it, an example of each kind."""
    fed = (*HOTEL, '{"type":"RECORD","stream":"Room","record":{"id":9,"price":NaN}}')
    silent = json.dumps(see(*fed))
    for value in ("secret-name", "many", "yesterday", "2024-01-31", "éé", '"example"'):
        assert value not in silent
    document = see(*fed, values=True)
    (rooms,) = document["collections"]
    rejected = [
        (reject["code"], ".".join(reject["path"]), reject["example"])
        for reject in document["rejects"]
    ]
    assert rejected == [
        ("non_finite", "price", "Infinity"),
        ("type", "reviewCount", '"many"'),
    ]
    examples = {row["code"]: row["example"] for row in rooms["conversions"]}
    assert examples["coerced"] == '"48"'
    assert examples["invalid_date"] == '"yesterday"'
    assert len(examples["long_string"]) == 60
    assert by_name(rooms["columns"])["host_since"]["example"] == '"2024-01-31T12:00:00Z"'


def test_stream_maps_come_first() -> None:
    """Streams are renamed, filtered and removed as in a run."""
    maps = {
        "Room": {"__alias__": "zimmer", "__filter__": "record['id'] > 1", "twice": "id * 2"},
        "noise": None,
    }
    document = see(
        *HOTEL[:3], schema("noise"), record("noise", id=1), stream_maps=maps, pluralize=False
    )
    (zimmer,) = document["collections"]
    assert (zimmer["collection"], zimmer["streams"][0]["stream"]) == ("zimmer", "zimmer")
    assert zimmer["objects"] == 1
    assert by_name(zimmer["columns"])["twice"]["values"] == 1
    filtered = {stream["stream"]: stream["filtered"] for stream in document["streams"]}
    assert filtered == {"Room": 1, "noise": 1}
    broken = see(*HOTEL[:3], stream_maps={"Room": {"x": "name + 1"}})
    assert [(reject["code"], reject["path"], reject["count"]) for reject in broken["rejects"]] == [
        ("expression", ["x"], 2)
    ]


def test_names_that_match_no_stream_are_warnings() -> None:
    """They are warnings as at the end of a run that has read all its input."""
    document = see(*HOTEL, collections={"room": "rooms_too"}, stream_maps={"rooom": {}})
    warnings = [text for text in document["warnings"] if "no stream is called" in text]
    assert [sentence.partition(":")[0] for sentence in warnings] == ["stream_maps", "collections"]
    assert all("did you mean 'Room'?" in sentence for sentence in warnings)


def test_a_wrong_configuration_is_an_error() -> None:
    """A wrong setting is an error as in a run, except the write key, which is not used."""
    with pytest.raises(ConfigurationError, match="nested"):
        see(nested="no")
    assert not see(write_key=" not a key ")["would_fail"]


def test_memory_is_bounded_by_kinds() -> None:
    """Any number of names is counted, and listed up to a limit."""
    names = [f"n{chr(97 + a)}{chr(97 + b)}{chr(97 + c)}" for a in range(5) for b in range(26)
             for c in range(26)]  # fmt: skip
    document = see(
        schema("rooms", value="integer"),
        *[record("rooms", **{"id": at, name: "x"}) for at, name in enumerate(names)],
        *[record("rooms", id=at, **{name: float("nan")}) for at, name in enumerate(names)],
        *[record(f"none {at}", id=1) for at in range(1_500)],
    )
    (rooms,) = document["collections"]
    assert len(rooms["columns"]) == 2_001
    assert rooms["objects"] == len(names)
    assert rooms["values_beyond_limit"] == len(names) - 2_000
    assert (len(document["rejects"]), document["rejects_beyond_limit"]) == (
        1_000,
        len(names) - 1_000,
    )
    assert (len(document["errors"]), document["errors_beyond_limit"]) == (1_000, 500)
    shown = list(table_lines(document))
    assert len(shown) < 150
    assert max(map(len, shown)) <= 120


def test_the_table_is_of_bounded_width() -> None:
    """Long names and values are cut, so that the table has at most 120 columns."""
    long = "veryLongName" * 12
    document = see(
        schema("room" * 20, [long], **{long: "string", "x" + long: HOST}),
        *[record("room" * 20, **{long: "k" * 120, "x" + long: {"name": "v" * 600}, long + "y": 1})],
        record("room" * 20, **{"other" + long: 1}),
        values=True,
    )
    shown = list(table_lines(document))
    assert max(map(len, shown)) <= 120
    assert any("would fail: `max_rejects` is 0" in line for line in shown)


DATA = sorted((ROOT / "tests" / "data").glob("*.singer"))


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_a_run_does_what_the_preview_shows(path: Path, tmp_path: Path) -> None:
    """For a real tap's output, collections, objects, columns, types and rejects are the same."""
    pytest.importorskip("duckdb")
    _compare(path.read_bytes(), tmp_path)


def test_a_run_of_the_hotel_does_what_the_preview_shows(tmp_path: Path) -> None:
    """The same for an input with one example of each kind."""
    pytest.importorskip("duckdb")
    _compare(lines(*HOTEL), tmp_path)


_TYPES = {
    "VARCHAR": "string",
    "BIGINT": "integer",
    "HUGEINT": "integer",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}


def _compare(fed: bytes, folder: Path) -> None:
    document, _ = preview({}, io.BytesIO(fed))
    file, letter = folder / "w.duckdb", folder / "rejects.jsonl"
    with Emulator(warehouse=file) as segment:
        config = {"write_key": KEY, "bulk_url": segment.url, "max_rejects": -1}
        load(config | {"dead_letter_path": str(letter)}, fed)
        sent = sum(request.objects for request in segment.requests)
        lost = sum(segment.lost_values.values())
    actual: dict[str, dict[str, str]] = {}
    asked = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
    for table, column, kind in query_file(file, asked).rows:
        actual.setdefault(table, {})[column] = _TYPES[kind]
    for columns in actual.values():
        for own in ("id", "received_at", "uuid", "uuid_ts", "loaded_at"):
            columns.pop(own, None)
    shown = {
        collection["collection"]: {
            column["name"]: column["type"] for column in collection["columns"] if column["values"]
        }
        for collection in document["collections"]
        if collection["objects"]
    }
    assert shown == actual
    assert actual
    assert document["objects"] == sent
    rejected = len(rejects_in(letter)) if letter.exists() else 0
    assert document["rejected"] == rejected
    assert (
        sum(row["incompatible"] for found in document["collections"] for row in found["columns"])
        >= lost
    )


def test_nothing_is_sent_or_created(tmp_path: Path) -> None:
    """There is no request, no dead letter, no warehouse and no state."""
    letter, file = tmp_path / "rejects.jsonl", tmp_path / "w.duckdb"
    config: dict[str, Any] = {"max_rejects": -1, "dead_letter_path": str(letter)}
    with Emulator() as segment:
        document = see(*HOTEL, objects_url=segment.url, bulk_url=segment.url, **config)
        assert document["rejected"] == 2
        see(*HOTEL, local_warehouse=str(file))
        assert segment.requests == []
    assert list(tmp_path.iterdir()) == []


def command(*arguments: str) -> list[str]:
    """The command line."""
    return [
        sys.executable,
        *WARNINGS_AS_ERRORS,
        "-m",
        "target_segment_objects.commands.main",
        "preview",
        *arguments,
    ]


def run(fed: bytes, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """The command, to its end."""
    return subprocess.run(
        command(*arguments),
        input=fed,
        capture_output=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env=environment(**variables),
    )


def test_the_exit_status() -> None:
    """0 when nothing would be rejected, otherwise 1; no configuration is needed."""
    right = run(lines(*HOTEL[:3], HOTEL[-1]))
    assert (right.returncode, right.stderr) == (0, b"")
    assert right.stdout.decode().splitlines()[-1] == "No record would be rejected."
    for fed in (lines(*HOTEL), b"a line of a log\n"):
        assert run(fed).returncode == 1


def test_the_command_prints_json(tmp_path: Path) -> None:
    """It prints the same JSON object as the function returns, without any key."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"write_key": KEY, "proxy": "http://ann:hunter2@127.0.0.1:1"}))
    ran = run(
        lines(*HOTEL), "--json", "--config", str(path), TARGET_SEGMENT_OBJECTS_WRITE_KEY="variable"
    )
    assert json.loads(ran.stdout) == see(*HOTEL)
    for secret in (KEY, "hunter2", "variable"):
        assert secret.encode() not in ran.stdout + ran.stderr


def test_wrong_settings_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong setting is one sentence and exit 1, before anything is read."""
    path = tmp_path / "config.json"
    path.write_text('{"nested": "no"}')
    assert main(["preview", "--config", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("nested must be")
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_a_signal_ends_the_reading_and_shows_what_was_read() -> None:
    """Ctrl-C on a tap that goes on gives the preview so far, and exit status 130."""
    with subprocess.Popen(
        command("--json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # More than a pipe holds: when all of it is written, most of it has been read.
        process.stdin.write(lines(ROOMS, *[record("Room", id=1, name="x" * 900)] * 5_000))
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        document = json.loads(process.stdout.read())
        process.stdin.close()
        assert process.wait(20) == 130
    assert (document["stopped"], document["complete"]) == (True, False)
    assert document["objects"] > 2_000


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_the_command_prints() -> None:
    """The input in `docs/preview.md` gives the output there; each JSON member is described."""
    page = (ROOT / "docs" / "preview.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    (fed,) = [text for kind, text in blocks if kind == "json" and '"SCHEMA"' in text]
    shown = [text for kind, text in blocks if kind == "text" and "records read" in text]
    assert run(fed.encode()).stdout.decode() == shown[0]
    document = json.loads(run(fed.encode(), "--json", "--values").stdout)
    members = set(re.findall(r"`(\w+)`", page))
    assert set(_members(document)) <= members


def _members(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for part in value.values() for name in _members(part))]
    return [name for part in value for name in _members(part)] if isinstance(value, list) else []


def test_the_environment_is_not_changed() -> None:
    """The placeholder for the key is not put into the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", None)
        assert main(["preview"]) == 1
    assert "TARGET_SEGMENT_OBJECTS_WRITE_KEY" not in os.environ
