"""`segment-objects replay`: what was mended is sent, what is still refused stays."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.cli import main
from target_segment_objects.emulator import Emulator, Fault
from target_segment_objects.errors import ConfigurationError, InputError, RefusedError
from target_segment_objects.replay import Replayed, replay
from target_segment_objects.target import SegmentObjectsTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "replay-key"
SCHEMA = {"properties": {"id": {"type": "integer"}, "n": {"type": "integer"}}}


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator of its own."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(params=["set", "bulk"])
def config(request: pytest.FixtureRequest, segment: Emulator) -> dict[str, Any]:
    """A configuration without rejects, by both methods."""
    return {
        "write_key": KEY,
        "method": request.param,
        "objects_url": segment.url,
        "bulk_url": segment.url,
    }


def messages(*records: bytes) -> BytesIO:
    """A stream of rooms with these records."""
    head = {"type": "SCHEMA", "stream": "rooms", "schema": SCHEMA, "key_properties": ["id"]}
    lines = [json.dumps(head).encode()]
    lines += [b'{"type":"RECORD","stream":"rooms","record":%b}' % record for record in records]
    return BytesIO(b"\n".join(lines) + b"\n")


def rejected(config: dict[str, Any], path: Path, *records: bytes) -> None:
    """Run the target so that bad records go to the dead letter."""
    target = SegmentObjectsTarget(
        config={**config, "max_rejects": -1, "dead_letter_path": str(path)}
    )
    target.listen(messages(*records))  # type: ignore[arg-type]


def entries(path: Path) -> list[dict[str, Any]]:
    """What stands in the dead letter."""
    return [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]


def test_what_was_mended_is_sent_and_the_rest_stays(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """A mended record arrives; one that is still wrong stays, with its faults."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":1}', b'{"id":2,"n":"x"}', b'{"id":null,"n":3}')
    first, second = entries(path)
    first["record"]["n"] = 2
    path.write_text(json.dumps(first) + "\n" + json.dumps(second) + "\n")
    assert replay(path, config) == Replayed(sent=1, kept=1)
    assert {row["id"]: row["n"] for row in segment.rows("rooms")} == {"1": 1, "2": 2}
    (left,) = entries(path)
    assert [fault["code"] for fault in left["faults"]] == ["key_empty"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_changed_settings_let_records_pass(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """A record that JSON cannot hold is kept in base64, and goes when a setting allows it."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":NaN}')
    assert "raw" in entries(path)[0]
    assert replay(path, {**config, "non_finite_numbers": "null"}) == Replayed(sent=1, kept=0)
    assert path.read_bytes() == b""
    assert segment.rows("rooms") == [{"id": "1", "n": None}]


def test_a_delivery_that_fails_leaves_the_file(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """When Segment cannot be reached the dead letter is as it was, and nothing lies beside it."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    whole = path.read_bytes()
    segment.fault(Fault(call="set", count=None, status=501))
    segment.fault(Fault(call="start", count=None, status=501))
    with pytest.raises(RefusedError, match="501"):
        replay(path, {**config, "type_mismatches": "send"})
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_old_rejects_want_a_yes(segment: Emulator, config: dict[str, Any], tmp_path: Path) -> None:
    """A record rejected over a day ago would overwrite newer ones: only with `yes`."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    (entry,) = entries(path)
    entry["time"] = (datetime.now(timezone.utc) - timedelta(days=3)).isoformat()
    entry["record"]["n"] = 1
    path.write_text(json.dumps(entry) + "\n")
    with pytest.raises(ConfigurationError, match=r"3 days ago.*--yes"):
        replay(path, config)
    assert replay(path, config, yes=True).sent == 1
    assert segment.rows("rooms") == [{"id": "2", "n": 1}]


def test_an_object_that_was_too_large_goes_to_its_collection(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """By bulk the reject of a refused object is made of the object; a given name stays given."""
    if config["method"] == "set":
        pytest.skip("by `set` the tap's own record is kept")
    path = tmp_path / "rejects.jsonl"
    config["collections"] = {"rooms": "zimmer"}
    segment.fault(Fault(call="upload", count=1, status=413))
    rejected(config, path, b'{"id":7,"n":1}')
    (entry,) = entries(path)
    assert entry["stage"] == "object"
    assert entry["object"] == {"id": "7", "collection": "zimmer", "properties": {"n": 1}}
    assert replay(path, config) == Replayed(sent=1, kept=0)
    assert segment.tables() == {"zimmer": [{"id": "7", "n": 1}]}


def test_what_is_refused_again_stays_what_it_was(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """Its age, its run and its line in the tap's output are kept; only the faults are new."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":1}', b'{"id":\r2,"n":"x"}')
    (entry,) = entries(path)
    entry |= {"time": "2026-01-02T03:04:05", "line": 42}
    path.write_text(json.dumps(entry) + "\n")
    assert replay(path, config, yes=True) == Replayed(sent=0, kept=1)
    (left,) = entries(path)
    assert {name: left[name] for name in ("time", "line", "run_id")} == {
        name: entry[name] for name in ("time", "line", "run_id")
    }
    with pytest.raises(ConfigurationError, match="--yes"):
        replay(path, config)
    assert len(segment.rows("rooms")) == 1


def test_a_carriage_return_between_tokens_is_no_end_of_a_line(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """The record stands in the file as the tap wrote it, breaks between its tokens included."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":\r2,"n":\r"x"}')
    assert replay(path, {**config, "type_mismatches": "send"}) == Replayed(sent=1, kept=0)
    assert segment.rows("rooms") == [{"id": "2", "n": "x"}]


def test_files_beside_the_dead_letter_stay(config: dict[str, Any], tmp_path: Path) -> None:
    """A replay deletes nothing that it has not made, whatever its name is."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    mine = [tmp_path / f".rejects.jsonl.{end}" for end in ("swp", "backup", "1", "replay-1")]
    for each in mine:
        each.write_bytes(b"mine")
    replay(path, config)
    assert sorted(tmp_path.iterdir()) == sorted([path, *mine])
    assert [each.read_bytes() for each in mine] == [b"mine"] * 4


def test_what_maps_filter_out_stays(config: dict[str, Any], tmp_path: Path) -> None:
    """A reject leaves the dead letter only when it was delivered: filtered is not delivered."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    whole = path.read_bytes()
    config |= {"stream_maps": {"rooms": {"__filter__": "id != 2"}}}
    assert replay(path, config) == Replayed(sent=0, kept=1)
    assert path.read_bytes() == whole
    config |= {"stream_maps": {"rooms": None}}
    assert replay(path, config) == Replayed(sent=0, kept=1)
    assert path.read_bytes() == whole


def test_an_object_that_is_mended_wrongly_sends_nothing(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """An object with an empty id, or with a nested property, is a broken line."""
    path = tmp_path / "rejects.jsonl"
    for made in ({"id": "", "n": 1}, {"id": "1", "n": {"a": 1}}):
        thing = {"id": made["id"], "collection": "rooms", "properties": {"n": made["n"]}}
        path.write_text(json.dumps({"time": "2026-01-01T00:00:00Z", "object": thing}) + "\n")
        with pytest.raises(InputError, match="line 1 of the dead letter"):
            replay(path, config, yes=True)
    assert not segment.requests


def test_an_object_of_an_older_version(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """Lines that have a record in place of the object are sent as the object, too."""
    path = tmp_path / "rejects.jsonl"
    entry = '{"time":"2026-01-01","stream":"zimmer","schema":{"properties":{}},"line":0,'
    entry = entry.replace("2026-01-01", "2026-01-01T00:00:00Z")
    entry += '"key_properties":["id"],"is_collection":true,"record":{"id":"7","n":7.50}}\n'
    path.write_text(entry)
    config |= {"collections": {"zimmer": "elsewhere"}}
    assert replay(path, config, yes=True) == Replayed(sent=1, kept=0)
    assert segment.tables() == {"zimmer": [{"id": "7", "n": 7.5}]}


def test_a_disk_that_fills_after_the_sending(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, and the dead letter is as it was: what is sent twice is merged."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    whole = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"were sent, but .* No space left on device"):
        replay(path, {**config, "type_mismatches": "send"})
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_not_followed(config: dict[str, Any], tmp_path: Path) -> None:
    """A replay puts a file in place of the one that it was given: never in place of a link."""
    path, link = tmp_path / "rejects.jsonl", tmp_path / "link"
    rejected(config, path, b'{"id":2,"n":"x"}')
    link.symlink_to(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        replay(link, config)


def test_a_broken_line_sends_nothing(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """A line that is no reject is named, and nothing is sent before it is mended."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    before = len(segment.requests)
    path.write_bytes(path.read_bytes() + b'{"stream":"rooms"}\n')
    with pytest.raises(InputError, match="line 2 of the dead letter"):
        replay(path, config)
    assert len(segment.requests) == before


def test_a_file_in_use_is_left_alone(config: dict[str, Any], tmp_path: Path) -> None:
    """While a run of the target has the dead letter open, a replay refuses."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(ConfigurationError, match="in use"):
            replay(path, config)


def test_the_command_says_what_it_did(
    segment: Emulator,
    config: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command prints how many went; a missing file is a sentence and exit 1."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    settings.write_text(json.dumps({**config, "type_mismatches": "send"}))
    rejected(config, path, b'{"id":2,"n":"x"}')
    assert main(["replay", str(path), "--config", str(settings)]) == 0
    assert capsys.readouterr().out.startswith("1 records were sent, 0 are still rejected")
    assert segment.rows("rooms") == [{"id": "2", "n": "x"}]
    assert main(["replay", str(tmp_path / "none"), "--config", str(settings)]) == 1
    assert "cannot be read" in capsys.readouterr().err
