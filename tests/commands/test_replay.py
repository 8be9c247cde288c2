"""`segment-objects replay`: corrected rejects are sent; the others stay in the file."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import tracemalloc
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.commands.main import main
from target_segment_objects.commands.replay.command import ReplayResult, replay
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import ConfigurationError, InputError, RefusedError
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.builders import rejects_in
from tests.running import WARNINGS_AS_ERRORS, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "replay-key"
SEGMENT_OBJECTS = [
    sys.executable,
    *WARNINGS_AS_ERRORS,
    "-m",
    "target_segment_objects.commands.main",
]
SCHEMA = {"properties": {"id": {"type": "integer"}, "n": {"type": "integer"}}}


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator for one test."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(params=["set", "bulk"])
def config(request: pytest.FixtureRequest, segment: Emulator) -> dict[str, Any]:
    """A configuration that tolerates no rejects, for each method."""
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
    target = TargetSegmentObjects(
        config={**config, "max_rejects": -1, "dead_letter_path": str(path)}
    )
    target.listen(messages(*records))  # type: ignore[arg-type]


def entries(path: Path) -> list[dict[str, Any]]:
    """The rejects in the dead letter, which must not have a schema that no reject needs."""
    whole = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    schemas = [(line["run_id"], line["schema_id"]) for line in whole if line["stage"] == "schema"]
    found = [line for line in whole if line["stage"] != "schema"]
    assert len(schemas) == len(set(schemas))
    assert {(entry["run_id"], entry["schema_id"]) for entry in found if "record" in entry} <= {
        *schemas
    }
    assert rejects_in(path) is not None
    return found


def rewrite(path: Path, *rejects: dict[str, Any]) -> None:
    """Replace the rejects in the file, after its schemas."""
    whole = [line for line in path.read_bytes().split(b"\n") if b'"stage":"schema"' in line]
    whole += [json.dumps(reject).encode() for reject in rejects]
    path.write_bytes(b"\n".join(whole) + b"\n")


def test_corrected_rejects_are_sent_and_the_others_stay(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """A corrected record is sent; one that is still wrong stays, with its faults."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":1}', b'{"id":2,"n":"x"}', b'{"id":null,"n":3}')
    first, second = entries(path)
    first["record"]["n"] = 2
    rewrite(path, first, second)
    assert replay(path, config) == ReplayResult(sent=1, refused=1)
    assert {row["id"]: row["n"] for row in segment.rows("rooms")} == {"1": 1, "2": 2}
    (left,) = entries(path)
    assert [fault["code"] for fault in left["faults"]] == ["key_empty"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_changed_settings_accept_records(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """A record that is not valid JSON is kept in base64, and sent once a setting allows it."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":NaN}')
    assert "raw" in entries(path)[0]
    assert replay(path, {**config, "non_finite_numbers": "null"}) == ReplayResult(sent=1, refused=0)
    assert path.read_bytes() == b""
    assert segment.rows("rooms") == [{"id": "1", "n": None}]


def test_a_delivery_that_fails_leaves_the_file(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """When Segment is unreachable, the dead letter is unchanged and no other file is left."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    whole = path.read_bytes()
    segment.fault(InjectedFault(call="set", count=None, status=501))
    segment.fault(InjectedFault(call="start", count=None, status=501))
    sentence = "501.* Segment confirmed no object, and the dead letter is unchanged$"
    with pytest.raises(RefusedError, match=sentence):
        replay(path, {**config, "type_mismatches": "send"})
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_delivery_that_fails_in_between_says_what_was_sent(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """By `set` two calls are answered and the third is not; by bulk nothing is confirmed yet."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, *[b'{"id":%d,"n":"x"}' % number for number in range(30)])
    whole = path.read_bytes()
    segment.fault(InjectedFault(call="set", first=3, count=None, status=501))
    segment.fault(InjectedFault(call="finish", count=None, status=501))
    config |= {"type_mismatches": "send", "max_concurrency": 1}
    confirmed = "20 objects" if config["method"] == "set" else "no object"
    with pytest.raises(RefusedError, match=f" Segment confirmed {confirmed}, and the dead letter"):
        replay(path, config)
    assert path.read_bytes() == whole


def test_a_replay_that_is_stopped_says_what_was_sent(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """After a signal, what was read is delivered, and the file is unchanged."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    rejected(config, path, b'{"id":1,"n":"x"}', b'{"id":null,"n":1}')
    whole = path.read_bytes()
    settings.write_text(json.dumps({**config, "type_mismatches": "send"}))
    command = [*SEGMENT_OBJECTS, "replay", str(path), "--config", str(settings)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for call in ("set", "finish"):
            segment.fault(
                InjectedFault(call=call, callback=lambda _: process.send_signal(signal.SIGTERM))
            )
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == (
        "the replay was stopped by a signal: start it again. Segment confirmed 1 object, and the "
        "dead letter is unchanged"
    )
    assert path.read_bytes() == whole
    assert len(segment.rows("rooms")) == 1


def test_old_rejects_need_a_flag(segment: Emulator, config: dict[str, Any], tmp_path: Path) -> None:
    """A record that was rejected over a day ago is sent only with `include_old`."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    (entry,) = entries(path)
    entry["time"] = (datetime.now(timezone.utc) - timedelta(days=3)).isoformat()
    entry["record"]["n"] = 1
    rewrite(path, entry)
    with pytest.raises(ConfigurationError, match=r"3 days ago.*--yes"):
        replay(path, config)
    assert replay(path, config, include_old=True).sent == 1
    assert segment.rows("rooms") == [{"id": "2", "n": 1}]


def test_an_object_that_was_too_large_is_sent_to_its_collection(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """By bulk the reject of a refused object holds the object, with its name unchanged."""
    if config["method"] == "set":
        pytest.skip("by `set` the tap's own record is kept")
    path = tmp_path / "rejects.jsonl"
    config["collections"] = {"rooms": "zimmer"}
    segment.fault(InjectedFault(call="upload", count=1, status=413))
    rejected(config, path, b'{"id":7,"n":1}')
    (entry,) = entries(path)
    assert entry["stage"] == "object"
    assert entry["object"] == {"id": "7", "collection": "zimmer", "properties": {"n": 1}}
    assert replay(path, config) == ReplayResult(sent=1, refused=0)
    assert segment.tables() == {"zimmer": [{"id": "7", "n": 1}]}


def test_a_reject_that_is_rejected_again_keeps_its_fields(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """It keeps its time, its run and its line in the tap's output; only the faults are new."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":1}', b'{"id":\r2,"n":"x"}')
    (entry,) = entries(path)
    entry |= {"time": "2026-01-02T03:04:05", "line": 42}
    rewrite(path, entry)
    assert replay(path, config, include_old=True) == ReplayResult(sent=0, refused=1)
    (left,) = entries(path)
    assert {name: left[name] for name in ("time", "line", "run_id")} == {
        name: entry[name] for name in ("time", "line", "run_id")
    }
    with pytest.raises(ConfigurationError, match="--yes"):
        replay(path, config)
    assert len(segment.rows("rooms")) == 1


def test_a_carriage_return_between_tokens_does_not_end_a_line(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """The file has the record as the tap wrote it, with line breaks between its tokens."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":\r2,"n":\r"x"}')
    assert replay(path, {**config, "type_mismatches": "send"}) == ReplayResult(sent=1, refused=0)
    assert segment.rows("rooms") == [{"id": "2", "n": "x"}]


def test_files_beside_the_dead_letter_are_kept(config: dict[str, Any], tmp_path: Path) -> None:
    """A replay deletes only files that it created, whatever the name of others is."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    mine = [tmp_path / f".rejects.jsonl.{end}" for end in ("swp", "backup", "1", "replay-1")]
    for own_path in mine:
        own_path.write_bytes(b"mine")
    replay(path, config)
    assert sorted(tmp_path.iterdir()) == sorted([path, *mine])
    assert [own_path.read_bytes() for own_path in mine] == [b"mine"] * 4


def test_filtered_rejects_stay(config: dict[str, Any], tmp_path: Path) -> None:
    """A reject that stream maps filter out is not delivered, so it stays in the dead letter."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    whole = path.read_bytes()
    config |= {"stream_maps": {"rooms": {"__filter__": "id != 2"}}}
    assert replay(path, config) == ReplayResult(sent=0, refused=0, filtered=1)
    assert path.read_bytes() == whole
    config |= {"stream_maps": {"rooms": None}}
    assert replay(path, config) == ReplayResult(sent=0, refused=0, filtered=1)
    assert path.read_bytes() == whole


def test_an_object_that_is_corrected_wrongly_sends_nothing(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """An object with an empty id, or with a nested property, is an invalid line."""
    path = tmp_path / "rejects.jsonl"
    for fields in ({"id": "", "n": 1}, {"id": "1", "n": {"a": 1}}):
        thing = {"id": fields["id"], "collection": "rooms", "properties": {"n": fields["n"]}}
        path.write_text(json.dumps({"time": "2026-01-01T00:00:00Z", "object": thing}) + "\n")
        with pytest.raises(InputError, match="line 1 of the dead letter"):
            replay(path, config, include_old=True)
    assert not segment.requests


def test_a_disk_that_is_full_after_sending(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, and the dead letter is unchanged: what is sent twice is merged."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    whole = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"No space left.* confirmed 1 object, and"):
        replay(path, {**config, "type_mismatches": "send"})
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_not_followed(config: dict[str, Any], tmp_path: Path) -> None:
    """A replay replaces the file that it was given, but never a link."""
    path, link = tmp_path / "rejects.jsonl", tmp_path / "link"
    rejected(config, path, b'{"id":2,"n":"x"}')
    link.symlink_to(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        replay(link, config)


def lines_of(path: Path, stage: str) -> list[bytes]:
    """The lines of the dead letter of one stage."""
    mark = b'"stage":"%b"' % stage.encode()
    return [line for line in path.read_bytes().split(b"\n") if mark in line]


def test_the_remaining_file_is_complete(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """With several runs and streams, the schema of each remaining record is before it, once.

    A schema that no record needs any more is removed, and the file can be replayed again.
    """
    path = tmp_path / "rejects.jsonl"
    for _ in range(3):
        rejected(config, path, *[b'{"id":%d,"n":"x"}' % number for number in range(4)])
    guests = messages(b'{"id":null,"n":1}').read().replace(b"rooms", b"guests")
    whole = {**config, "max_rejects": -1, "dead_letter_path": str(path)}
    TargetSegmentObjects(config=whole).listen(BytesIO(guests))  # type: ignore[arg-type]
    heads, records = lines_of(path, "schema"), lines_of(path, "record")
    first, second, third = records[:4], records[4:8], records[8:12]
    corrected = [line.replace(b'"n":"x"', b'"n":1') for line in [*first, second[0], *third[:3]]]
    mixed = [*corrected, second[3], third[3], second[1], records[12], second[2]]
    path.write_bytes(b"\n".join([*heads, *mixed]))
    assert replay(path, config) == ReplayResult(sent=8, refused=5)
    assert len(lines_of(path, "schema")) == 3
    left = entries(path)
    assert [entry["line"] for entry in left] == [5, 5, 3, 2, 4]
    assert replay(path, config) == ReplayResult(sent=0, refused=5)
    assert entries(path) == left
    sends = {**config, "type_mismatches": "send"}
    assert replay(path, sends) == ReplayResult(sent=4, refused=1)
    assert [entry["stream"] for entry in entries(path)] == ["guests"]
    assert len(lines_of(path, "schema")) == 1
    assert len(segment.rows("rooms")) == 4


def test_a_record_is_read_with_its_own_schema(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """Two runs of one stream have two schemas, and their lines are interleaved."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":"x"}', b'{"id":2,"n":"x"}')
    other = messages(b'{"id":3,"n":"x"}', b'{"id":4,"n":"x"}').read()
    other = other.replace(b'"n": {"type": "integer"}', b'"n": {"type": "boolean"}')
    whole = {**config, "max_rejects": -1, "dead_letter_path": str(path)}
    TargetSegmentObjects(config=whole).listen(BytesIO(other))  # type: ignore[arg-type]
    lines = path.read_bytes().replace(b'"n":"x"', b'"n":"1"').split(b"\n")
    order = [0, 3, 4, 1, 5, 2]
    path.write_bytes(b"\n".join(lines[index] for index in order) + b"\n")
    assert replay(path, config).sent == 2
    assert {row["id"]: row["n"] for row in segment.rows("rooms")} == {"1": 1, "2": 1}
    assert [entry["record"]["id"] for entry in entries(path)] == [3, 4]


def test_a_schema_is_corrected_in_its_line(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """One correction applies to all records that refer to it."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, *[b'{"id":%d,"n":"x"}' % number for number in range(20)])
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"n": {"type": "integer"}', b'"n": {"type": "string"}'))
    assert replay(path, config) == ReplayResult(sent=20, refused=0)
    assert {row["n"] for row in segment.rows("rooms")} == {"x"}


@pytest.mark.parametrize("how", ["deleted", "behind", "another stream", "another run"])
def test_a_schema_that_is_missing(
    segment: Emulator, config: dict[str, Any], tmp_path: Path, how: str
) -> None:
    """One sentence names the line of the record, and nothing is sent."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":"x"}')
    head, record = path.read_bytes().splitlines()
    run_id = json.loads(head)["run_id"].encode()
    path.write_bytes(
        {
            "deleted": b"\n" + record,
            "behind": b"\n%b\n%b" % (record, head),
            "another stream": head.replace(b'"rooms"', b'"guests"') + b"\n" + record,
            "another run": head.replace(run_id, b"0") + b"\n" + record,
        }[how]
    )
    whole, before = path.read_bytes(), len(segment.requests)
    with pytest.raises(
        InputError, match=r"^line 2 of the dead letter refers to schema 1 .* Nothing was sent$"
    ):
        replay(path, config)
    assert path.read_bytes() == whole
    assert len(segment.requests) == before


@pytest.mark.parametrize("damage", [b'"schema":{', b'"schema_id":', b'"stream":"rooms"'])
def test_a_schema_that_is_damaged(
    segment: Emulator, config: dict[str, Any], tmp_path: Path, damage: bytes
) -> None:
    """Cut off or damaged, its own line is named, and nothing is sent."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":"x"}')
    head, record = path.read_bytes().splitlines()
    before = len(segment.requests)
    for spoilt in (head[: head.index(damage) + 3], head.replace(damage, damage[:-1] + b"5")):
        path.write_bytes(spoilt + b"\n" + record + b"\n")
        with pytest.raises(InputError, match=r"^line 1 of the dead letter is not .* Nothing was s"):
            replay(path, config)
    assert len(segment.requests) == before


def test_a_file_with_schemas_only_has_no_rejects(
    segment: Emulator,
    config: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When the last record was deleted, the replay says that there is nothing to send."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    settings.write_text(json.dumps(config))
    rejected(config, path, b'{"id":1,"n":"x"}')
    before = len(segment.requests)
    rewrite(path)
    assert lines_of(path, "schema") != []
    assert main(["replay", str(path), "--config", str(settings)]) == 0
    assert capsys.readouterr().out == "The dead letter contains no rejects. Nothing was sent.\n"
    assert path.read_bytes() == b""
    assert len(segment.requests) == before


def test_a_replay_that_is_killed_leaves_the_file(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """Killed while Segment answers, it leaves the dead letter unchanged and replayable."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    rejected(config, path, b'{"id":1,"n":"x"}', b'{"id":null,"n":1}')
    whole = path.read_bytes()
    config["type_mismatches"] = "send"
    settings.write_text(json.dumps(config))
    asked, goes_on = threading.Event(), threading.Event()

    def hold(_request: object) -> None:
        asked.set()
        goes_on.wait(20)

    for call in ("set", "start"):
        segment.fault(InjectedFault(call=call, callback=hold))
    command = [*SEGMENT_OBJECTS, "replay", str(path), "--config", str(settings)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        assert asked.wait(20)
        process.kill()
    goes_on.set()
    assert path.read_bytes() == whole
    segment.clear_faults()
    assert replay(path, config) == ReplayResult(sent=1, refused=1)
    assert [entry["record"]["n"] for entry in entries(path)] == [1]


KILLED_AT = """
import os, signal, sys, tempfile
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "cleanup": tempfile.TemporaryDirectory.cleanup = kill
else: setattr(os, sys.argv[1], kill)
from target_segment_objects.commands.main import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("at", ["fsync", "replace", "cleanup"])
def test_a_replay_that_is_killed_at_its_end_leaves_a_complete_file(
    segment: Emulator, config: dict[str, Any], tmp_path: Path, at: str
) -> None:
    """It is the old file until the new one is on the disk, and then the new one."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    rejected(config, path, b'{"id":1,"n":"x"}', b'{"id":null,"n":1}')
    rejected(config, path, b'{"id":2,"n":"x"}', b'{"id":null,"n":2}')
    whole = path.read_bytes()
    config["type_mismatches"] = "send"
    settings.write_text(json.dumps(config))
    command = [sys.executable, *WARNINGS_AS_ERRORS, "-c", KILLED_AT, at]
    ended = subprocess.run(
        [*command, "replay", str(path), "--config", str(settings)],
        env=environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")
    left = [entry["record"]["n"] for entry in entries(path)]
    if at == "cleanup":
        assert left == [1, 2]
        assert replay(path, config) == ReplayResult(sent=0, refused=2)
    else:
        assert path.read_bytes() == whole
        assert replay(path, config) == ReplayResult(sent=2, refused=2)
    assert [entry["record"]["n"] for entry in entries(path)] == [1, 2]
    assert len(segment.rows("rooms")) == 2


HANGING = """
import os, sys, threading
def hang(_descriptor):
    print("hangs", file=sys.stderr, flush=True)
    threading.Event().wait()
os.fsync = hang
from target_segment_objects.commands.main import main
main(sys.argv[1:])
"""


def test_a_stop_that_hangs_says_so(segment: Emulator, tmp_path: Path) -> None:
    """When the disk never answers, the replay ends with exit 1, and its last line says so."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    config = {"write_key": KEY, "method": "set", "objects_url": segment.url}
    rejected(config, path, b'{"id":null,"n":1}')
    whole = path.read_bytes()
    settings.write_text(json.dumps({**config, "shutdown_seconds": 0.1}))
    command = [sys.executable, *WARNINGS_AS_ERRORS, "-c", HANGING, "replay", str(path)]
    with subprocess.Popen(
        [*command, "--config", str(settings)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line == "hangs\n":
                break
        process.send_signal(signal.SIGTERM)
        err = process.stderr.read()
    assert process.returncode == 1
    assert err == (
        "the stop took longer than `shutdown_seconds`, so the replay was ended: some objects may "
        "have been sent, and the dead letter is unchanged\n"
    )
    assert path.read_bytes() == whole


def test_a_signal_while_the_file_is_written(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent is gone from the file: the replay does not stop half-way."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":"x"}', b'{"id":null,"n":1}')
    fsync = os.fsync

    def interrupted(descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    config |= {"type_mismatches": "send"}
    assert replay(path, config) == ReplayResult(sent=1, refused=1)
    assert [entry["record"]["n"] for entry in entries(path)] == [1]


def test_a_large_file_takes_little_memory(config: dict[str, Any], tmp_path: Path) -> None:
    """24 MB of rejects, and as much of schemas, take less than 8 MB: one line is held at a time."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":null,"n":"%b"}' % (b"x" * 40_000))
    head, record = path.read_bytes().splitlines()
    wide = json.loads(head)
    wide["schema"]["title"] = "x" * 40_000
    with path.open("wb") as file:
        for number in range(600):
            run_id = b"%032d" % number
            head = json.dumps(wide, separators=(",", ":")).encode()
            file.write(head.replace(wide["run_id"].encode(), run_id) + b"\n")
            file.write(record.replace(wide["run_id"].encode(), run_id) + b"\n")
    del head, record, wide
    size = path.stat().st_size
    assert size > 48_000_000
    tracemalloc.start()
    try:
        assert replay(path, config) == ReplayResult(sent=0, refused=600)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    assert len(lines_of(path, "schema")) == 600


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        ("> /dev/full", "stdout cannot be written: No space left on device"),
        (">&-", "stdout is closed"),
        ("", "stdout cannot be written: Broken pipe"),
    ],
)
def test_the_result_is_shown_without_stdout(
    segment: Emulator, config: dict[str, Any], tmp_path: Path, redirection: str, reason: str
) -> None:
    """When stdout fails, stderr shows the result in one line, exit 1: the file has changed."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    rejected(config, path, b'{"id":1,"n":"x"}')
    settings.write_text(json.dumps({**config, "type_mismatches": "send"}))
    command = shlex.join([*SEGMENT_OBJECTS, "replay", str(path), "--config", str(settings)])
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as unverified:
        ended = subprocess.run(
            ["/bin/sh", "-c", f"exec {command} {redirection}"],
            env=environment(),
            stdout=unverified,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"The replay is done, but {reason}")
    assert last.endswith("Rejects sent: 1. Left in the file: 0.")
    assert "Traceback" not in ended.stderr
    assert path.read_bytes() == b""
    assert len(segment.rows("rooms")) == 1


def test_a_replay_gives_no_advice_for_a_run(
    config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It names no other dead letter, and no setting of streams that are not in the file."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":null,"n":1}')
    caplog.clear()
    caplog.set_level(logging.WARNING)
    config |= {"collections": {"guests": "visitors"}, "stream_maps": {"guests": {"id": "id"}}}
    assert replay(path, config).refused == 1
    assert [entry.message for entry in caplog.records if "rooms" in entry.message] != []
    log = " ".join(entry.message for entry in caplog.records)
    for word in ("dead_letter_path", "segment-objects replay", "max_rejects", "guests"):
        assert word not in log


@pytest.mark.parametrize("then", [["unlink", "rmdir"], ["fsync"]])
def test_the_first_error_is_the_one_that_is_raised(
    segment: Emulator,
    config: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: list[str],
) -> None:
    """Segment refuses, and then the disk or the folder fails: the error is that of Segment."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":null,"n":1}', b'{"id":2,"n":"x"}')
    whole = path.read_bytes()
    segment.fault(InjectedFault(call="set", count=None, status=501))
    segment.fault(InjectedFault(call="start", count=None, status=501))

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for function in then:
        monkeypatch.setattr(os, function, failing)
    with pytest.raises(RefusedError, match="501"):
        replay(path, {**config, "type_mismatches": "send"})
    assert path.read_bytes() == whole


def test_equal_objects_are_counted_twice(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """Two entries with the same object stay two entries when they are rejected again."""
    if config["method"] == "set":
        pytest.skip("by `set` the tap's own record is kept")
    path = tmp_path / "rejects.jsonl"
    segment.fault(InjectedFault(call="upload", count=None, status=413))
    rejected(config, path, b'{"id":7,"n":1}', b'{"id":7,"n":1}', b'{"id":8,"n":1}')
    assert len(entries(path)) == 3
    assert replay(path, config) == ReplayResult(sent=0, refused=3)
    assert [entry["object"]["id"] for entry in entries(path)] == ["7", "7", "8"]
    segment.clear_faults()
    assert replay(path, config) == ReplayResult(sent=3, refused=0)


def test_a_record_that_segment_refuses_stays_a_record(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """By bulk too, and once, when stream maps make two objects of it and both are refused."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":"x"}', b'{"id":2,"n":"x"}', b'{"id":3,"n":"x"}')
    before = entries(path)
    maps = {"rooms": {}, "suites": {"__source__": "rooms"}}
    config |= {"type_mismatches": "send", "stream_maps": maps, "part_size_bytes": 1}
    calls = {"set": 400, "upload": 413}
    for call, status in calls.items():
        segment.fault(InjectedFault(call=call, first=1, count=4, status=status))
    first = replay(path, config)
    left = entries(path)
    assert first.sent + first.refused == 3
    assert 1 <= first.refused == len(left)
    for reject in left:
        (was,) = [entry for entry in before if entry["line"] == reject["line"]]
        assert [fault["code"] for fault in reject.pop("faults")] == ["refused"]
        assert reject == {name: value for name, value in was.items() if name != "faults"}
    segment.clear_faults()
    assert replay(path, config) == ReplayResult(sent=first.refused, refused=0)
    for collection in ("rooms", "suites"):
        assert {row["id"]: row["n"] for row in segment.rows(collection)} == {
            str(number): "x" for number in (1, 2, 3)
        }


def test_an_error_of_the_reader_names_the_line_of_the_file(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """A record that is too deep for a changed setting: the error names its line in the file."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":null,"n":1}', b'{"id":2,"n":[[[[[1]]]]],"m":NaN}')
    with pytest.raises(
        InputError,
        match=r"^line 3 of the dead letter: objects .* deeper than 6 .* confirmed no obj",
    ):
        replay(path, {**config, "max_depth": 6})
    assert len(entries(path)) == 2


def test_an_invalid_line_sends_nothing(
    segment: Emulator, config: dict[str, Any], tmp_path: Path
) -> None:
    """A line that is not a reject is named, and nothing is sent before it is corrected."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    before = len(segment.requests)
    path.write_bytes(path.read_bytes() + b'{"stream":"rooms"}\n')
    with pytest.raises(InputError, match=r"line 3 of the dead letter.* Nothing was sent$"):
        replay(path, config)
    assert len(segment.requests) == before


@pytest.mark.parametrize("raw", ["e30", "e30=!", base64.b64encode(b'{"id":1,\n"n":NaN}').decode()])
def test_base64_that_is_corrected_wrongly_sends_nothing(
    segment: Emulator, config: dict[str, Any], tmp_path: Path, raw: str
) -> None:
    """Invalid base64, or a value with a line break: its line is named, and nothing is sent."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":1,"n":NaN}')
    (entry,) = entries(path)
    rewrite(path, entry | {"raw": raw})
    before = len(segment.requests)
    with pytest.raises(InputError, match=r"^line 2 of the dead letter is not .* Nothing was sent$"):
        replay(path, config)
    assert len(segment.requests) == before


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_only_a_file_can_be_replayed(
    config: dict[str, Any], tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A folder is refused, and so is a pipe, on which the replay could wait forever."""
    path = tmp_path / "rejects.jsonl"
    make(path)
    with pytest.raises(ConfigurationError, match="is not a file: name the file itself"):
        replay(path, config)


def test_a_file_in_use_is_left_alone(config: dict[str, Any], tmp_path: Path) -> None:
    """A replay refuses a dead letter that a run or another replay has open."""
    path = tmp_path / "rejects.jsonl"
    rejected(config, path, b'{"id":2,"n":"x"}')
    for lock in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        with path.open("rb") as held:
            fcntl.flock(held, lock)
            with pytest.raises(ConfigurationError, match="in use by a running sync or another rep"):
                replay(path, config)


def test_the_command_says_what_it_did(
    segment: Emulator,
    config: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command prints how many were sent; a missing file is one sentence and exit 1."""
    path, settings = tmp_path / "rejects.jsonl", tmp_path / "config.json"
    settings.write_text(json.dumps({**config, "type_mismatches": "send"}))
    rejected(config, path, b'{"id":2,"n":"x"}')
    assert main(["replay", str(path), "--config", str(settings)]) == 0
    assert capsys.readouterr().out.startswith("Rejects sent: 1. Left in the file: 0.\n")
    assert segment.rows("rooms") == [{"id": "2", "n": "x"}]
    assert main(["replay", str(tmp_path / "none"), "--config", str(settings)]) == 1
    assert "cannot be read" in capsys.readouterr().err
