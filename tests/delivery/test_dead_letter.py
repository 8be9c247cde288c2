"""The dead letter: what is in it, who may read it, when it is safe; and when rejects are too many.

Records go the whole way, through the command or the target, to an emulator.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.delivery.dead_letter import DeadLetter
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import DeadLetterError, RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.singer.target import TargetSegmentObjects
from target_segment_objects.source import SourceRecord, SourceStream
from tests.builders import ROOMS as SOURCE
from tests.builders import origin, rejects_in
from tests.running import KEY, lines, load, record, run, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

both_methods = pytest.mark.parametrize("method", ["set", "bulk"])
ROOMS = schema("rooms", id="integer", name="string")
BAD = record("rooms", id="x", name="Attic")
ERROR = RejectedRecordError([Fault(("id",), FaultCode.KEY_TYPE)])


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the dead letter, which does not exist yet."""
    return tmp_path / "rejects.jsonl"


def config(segment: Emulator, path: Path, method: str = "set", **more: Any) -> dict[str, Any]:
    """Any number of rejects is tolerated by default."""
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    letter = {"max_rejects": -1, "dead_letter_path": str(path)}
    return {"write_key": KEY, "method": method, **urls, **letter, **more}


def entries(path: Path) -> list[dict[str, Any]]:
    """The rejects of a dead letter, each with its schema."""
    assert path.read_bytes().endswith(b"\n")
    return rejects_in(path)


def schemas(path: Path) -> list[dict[str, Any]]:
    """The lines of a dead letter that hold a schema."""
    whole = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [entry for entry in whole if entry["stage"] == "schema"]


def ids(segment: Emulator) -> list[str]:
    """The rooms that arrived."""
    return sorted(str(row["id"]) for row in segment.rows("rooms"))


@both_methods
def test_a_line_has_all_that_a_replay_needs(segment: Emulator, path: Path, method: str) -> None:
    """Run id, time, stream, key properties, schema, line number, faults and the record."""
    ran = load(config(segment, path, method), lines(ROOMS, record("rooms", id=1), BAD, state(1)))
    assert ran.states == ["1"]
    assert ids(segment) == ["1"]
    (entry,) = entries(path)
    run_id, time = entry.pop("run_id"), datetime.fromisoformat(entry.pop("time"))
    assert len(run_id) == 32
    assert time.utcoffset() == timedelta(0)
    (fault,) = entry.pop("faults")
    assert (fault["path"], fault["code"]) == (["id"], "key_type")
    assert "Attic" not in fault["message"]
    assert entry == {
        "stage": "record",
        "stream": "rooms",
        "key_properties": ["id"],
        "schema": ROOMS["schema"],
        "line": 3,
        "record": {"id": "x", "name": "Attic"},
    }
    (fields,) = schemas(path)
    assert datetime.fromisoformat(fields.pop("time")).utcoffset() == timedelta(0)
    assert fields == {
        "run_id": run_id,
        "stage": "schema",
        "schema_id": 1,
        "stream": "rooms",
        "key_properties": ["id"],
        "schema": ROOMS["schema"],
    }
    assert KEY not in path.read_text()


@both_methods
def test_a_schema_is_written_once_a_run_and_stream(
    segment: Emulator, path: Path, method: str
) -> None:
    """300 rejects of a stream with a schema of 40 kB take some kB a run, not 12 MB."""
    column: object = {"type": "string", "title": "x" * 100}
    wide = {f"column_{number:03}": column for number in range(300)}
    head = schema("rooms", None, id="integer", **wide)
    whole = config(segment, path, method)
    for _ in range(2):
        load(whole, lines(head, *[record("rooms", id="x")] * 300))
    assert len(entries(path)) == 600
    assert len({(fields["run_id"], fields["schema_id"]) for fields in schemas(path)}) == 2
    assert len(schemas(path)) == 2
    assert path.stat().st_size < 2 * len(json.dumps(head)) + 600 * 500


def test_a_changed_schema_is_written_again(segment: Emulator, path: Path) -> None:
    """Each schema is written once, also if the tap returns to an earlier one, or changes keys."""
    other = schema("rooms", id="integer", name="string", floor="integer")
    keys = schema("rooms", ["id", "name"], id="integer", name="string")
    guests = schema("guests", id="integer", name="string")
    fed = [line for head in (ROOMS, other, keys, ROOMS, other) for line in (head, BAD, BAD)]
    load(config(segment, path), lines(*fed, guests, record("guests", id="x"), ROOMS, BAD))
    forms = (ROOMS, other, keys, guests)
    assert [(fields["schema"], fields["key_properties"]) for fields in schemas(path)] == [
        (head["schema"], head["key_properties"]) for head in forms
    ]
    assert [fields["schema_id"] for fields in schemas(path)] == [1, 2, 3, 4]
    found = [(entry["schema"], entry["key_properties"]) for entry in entries(path)]
    heads = [ROOMS, ROOMS, other, other, keys, keys, ROOMS, ROOMS, other, other, guests, ROOMS]
    assert found == [(head["schema"], head["key_properties"]) for head in heads]


def test_a_schema_that_was_cut_off_is_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full in the middle of it, no record refers to half a line."""
    real = os.write

    def full(descriptor: int, line: bytes) -> int:
        monkeypatch.setattr(os, "write", real)
        return real(descriptor, line[:20])

    monkeypatch.setattr(os, "write", full)
    letter = DeadLetter(path)
    with pytest.raises(DeadLetterError, match="the disk is full"):
        letter.write(origin(), ERROR)
    letter.write(origin(), ERROR)
    letter.close()
    half, rest = path.read_bytes().split(b"\n", 1)
    assert len(half) == 20
    path.write_bytes(rest)
    (entry,) = entries(path)
    assert entry["schema"] == json.loads(SOURCE.schema)


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_a_file_that_is_taken_away_meanwhile(path: Path, how: str) -> None:
    """If it is emptied or deleted during a run, later rejects are in it with their schema."""
    letter = DeadLetter(path)
    letter.write(origin(1), ERROR)
    if how == "emptied":
        os.truncate(path, 0)
    else:
        path.unlink()
    letter.write(origin(2), ERROR)
    letter.write(origin(3), ERROR)
    letter.close()
    assert [entry["line"] for entry in entries(path)] == [2, 3]
    assert len(schemas(path)) == 1


def test_a_half_line_of_another_run(path: Path) -> None:
    """A run that is killed meanwhile does not damage a line of this one."""
    letter = DeadLetter(path)
    letter.write(origin(1), ERROR)
    half = b'{"run_id":"0","li'
    for number in (2, 3):
        with path.open("ab") as other:
            other.write(half)
        source = SourceStream(f"stream_{number}", SOURCE.schema, ["id"])
        letter.write(SourceRecord(source, b"{}", number), ERROR)
    letter.close()
    whole = [line for line in path.read_bytes().splitlines() if line != half]
    path.write_bytes(b"\n".join(whole) + b"\n")
    assert len(whole) == 6
    assert [entry["line"] for entry in entries(path)] == [1, 2, 3]


def test_every_fault_of_a_record_is_listed(segment: Emulator, path: Path) -> None:
    """A record is one line, however many faults it has."""
    load(config(segment, path), lines(ROOMS, record("rooms", id="x", name=[1], more=float("nan"))))
    (entry,) = entries(path)
    assert {fault["code"] for fault in entry["faults"]} >= {"key_type", "non_finite"}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id": 1, "name": "\xff"}',
        b'{"id": 1, "name": NaN, "x": NaN}',
        b'{"id": 1, "name": "\\ud800"}',
    ],
    ids=["not UTF-8", "NaN", "a lone surrogate"],
)
def test_a_record_that_is_no_json_keeps_its_bytes(
    segment: Emulator, path: Path, raw: bytes
) -> None:
    """Byte for byte: as `record` if JSON can contain it, otherwise as base64 in `raw`."""
    message = b'{"type": "RECORD", "stream": "rooms", "record": %b}\n' % raw
    target = TargetSegmentObjects(config=config(segment, path))
    target.listen(BytesIO(lines(ROOMS) + message))  # type: ignore[arg-type]
    (entry,) = entries(path)
    assert ("record" in entry) is not ("raw" in entry)
    if "raw" in entry:
        assert base64.b64decode(entry["raw"]) == raw
    else:
        assert raw in path.read_bytes()


def test_a_record_is_written_digit_for_digit(segment: Emulator, path: Path) -> None:
    """Records are not parsed and written again."""
    raw = '{"id":"x","a":1.10,"b":123456789012345678901234567890,"c":1E2}'
    message = '{"type":"RECORD","stream":"rooms","record":%s}' % raw  # noqa: UP031  braces
    load(config(segment, path), lines(ROOMS, message))
    assert raw in path.read_text()


def test_the_file_is_the_users_alone(path: Path) -> None:
    """Its mode is 0600, whatever the umask is."""
    mask = os.umask(0)
    try:
        letter = DeadLetter(path)
        letter.write(origin(), ERROR)
        letter.close()
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_there_becomes_the_users_alone(path: Path) -> None:
    """A mode of 0666 is changed, since other users must not read records."""
    path.touch()
    path.chmod(0o666)
    letter = DeadLetter(path)
    letter.write(origin(), ERROR)
    letter.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No record is written to a file that others can read and we cannot protect."""
    path.touch()
    path.chmod(0o666)

    def not_ours(_descriptor: int, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", not_ours)
    with pytest.raises(DeadLetterError, match="belongs to another user"):
        DeadLetter(path).write(origin(), ERROR)
    assert path.read_bytes() == b""


def test_inode_numbers_that_do_not_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without stable inode numbers is an error, and no endless loop."""
    real, numbers = os.fstat, itertools.count(1)

    def unstable(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[1] += next(numbers)
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", unstable)
    with pytest.raises(DeadLetterError, match="inode numbers"):
        DeadLetter(path).write(origin(), ERROR)


def test_no_reject_no_file(segment: Emulator, path: Path) -> None:
    """The file is created for the first reject."""
    load(config(segment, path), lines(ROOMS, record("rooms", id=1)))
    assert not path.exists()


def test_runs_append(segment: Emulator, path: Path) -> None:
    """Each run has its own id, and removes nothing of the others."""
    for _ in range(3):
        load(config(segment, path), lines(ROOMS, BAD, BAD))
    runs = [entry["run_id"] for entry in entries(path)]
    assert len(runs) == 6
    assert runs[0::2] == runs[1::2]
    assert len(set(runs)) == 3


def test_a_half_line_is_closed(path: Path) -> None:
    """The incomplete line of a killed run stays, and does not damage the next line."""
    path.write_bytes(b'{"run_id":"0","li')
    letter = DeadLetter(path)
    letter.write(origin(), ERROR)
    letter.close()
    half, *whole = path.read_bytes().splitlines()
    assert half == b'{"run_id":"0","li'
    assert [json.loads(line)["stage"] for line in whole] == ["schema", "record"]


def test_a_symbolic_link_is_refused(segment: Emulator, path: Path, tmp_path: Path) -> None:
    """Records are written only to the path that the user named."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    path.symlink_to(victim)
    with pytest.raises(DeadLetterError, match="dead_letter_path"):
        load(config(segment, path), lines(ROOMS, BAD))
    assert victim.read_bytes() == b""


def test_two_runs_at_once(path: Path) -> None:
    """Every line is complete, whichever run wrote it."""
    letters = [DeadLetter(path), DeadLetter(path)]

    def write(letter: DeadLetter) -> None:
        for number in range(300):
            letter.write(origin(number), ERROR)

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(write, letter) for letter in letters]:
            done.result()
    for letter in letters:
        letter.close()
    found = entries(path)
    for letter in letters:
        mine = [entry["line"] for entry in found if entry["run_id"] == letter.run_id]
        assert mine == list(range(300))
    assert len(found) == 600


class Syncs:
    """Replaces `os.fsync`; keeps the contents of the dead letter and of stdout at each call."""

    def __init__(self, path: Path, failure: OSError | None = None) -> None:
        self._path = path
        self._failure = failure
        self.seen: list[tuple[int, bytes]] = []

    def __call__(self, _descriptor: int) -> None:
        """Keep the contents."""
        printed = sys.stdout.buffer.getvalue()  # type: ignore[union-attr]
        self.seen.append((len(entries(self._path)), printed))
        if self._failure is not None:
            raise self._failure


@both_methods
def test_rejects_are_on_the_disk_before_a_state_covers_them(
    segment: Emulator, path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced with all of its lines before the state is printed."""
    syncs = Syncs(path)
    monkeypatch.setattr(os, "fsync", syncs)
    fed = lines(ROOMS, record("rooms", id=1), BAD, BAD, state(2))
    assert load(config(segment, path, method), fed).states == ["2"]
    assert syncs.seen[0] == (2, b"")
    assert [count for count, _ in syncs.seen] == [2]


def test_a_disk_that_does_not_sync_ends_the_run(
    segment: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No state covers a reject that may be lost."""
    monkeypatch.setattr(os, "fsync", Syncs(path, OSError(5, "Input/output error")))
    with pytest.raises(DeadLetterError, match=r"rejects\.jsonl cannot be written"):
        load(config(segment, path), lines(ROOMS, BAD, state(1)))


@both_methods
@pytest.mark.parametrize("tolerated", [0, 1, 2])
def test_one_reject_too_many(
    segment: Emulator, path: Path, tmp_path: Path, method: str, tolerated: int
) -> None:
    """N are tolerated; the next one ends the run, after all before it and its state."""
    fed = [ROOMS]
    for number in range(tolerated):
        fed += [record("rooms", id=number), BAD]
    whole = config(segment, path, method, max_rejects=tolerated)
    ran = run(tmp_path, whole, lines(*fed, state("within")))
    assert (ran.code, ran.states) == (0, ['"within"'])
    fed += [record("rooms", id=8), state("before"), BAD, record("rooms", id=9), state("after")]
    ran = run(tmp_path, whole, lines(*fed))
    assert (ran.code, ran.states) == (1, ['"before"'])
    assert ids(segment) == sorted([*map(str, range(tolerated)), "8"])
    assert [session.error for session in segment.sessions.values() if session.error] == []
    assert len(ran.sentences) == 1
    assert "Attic" not in ran.log
    assert len(entries(path)) == tolerated * 2 + 1


def test_the_bound_is_exact() -> None:
    """It raises at the first reject that is not tolerated, and at all later ones."""
    for tolerated in range(4):
        rejects = DeadLetter(None, tolerated)
        for _ in range(tolerated):
            rejects.record(ERROR, origin())
        for _ in range(2):
            with pytest.raises(RejectedRecordError):
                rejects.record(ERROR, origin())
    endless = DeadLetter(None)
    for _ in range(1000):
        endless.record(ERROR, origin())
    assert endless.count == 1000


def test_every_record_of_a_refused_object_has_its_line(segment: Emulator, path: Path) -> None:
    """Records that were merged into one object are separate again."""
    segment.fault(InjectedFault(call="set", count=None, status=400))
    fed = lines(ROOMS, record("rooms", id=1, name="a"), record("rooms", id=1, more=2), state(2))
    assert load(config(segment, path), fed).states == ["2"]
    first, second = entries(path)
    assert (first["line"], first["record"]) == (2, {"id": 1, "name": "a"})
    assert (second["line"], second["record"]) == (3, {"id": 1, "more": 2})
    assert {fault["code"] for entry in (first, second) for fault in entry["faults"]} == {"refused"}


def test_a_refused_object_is_not_covered_by_a_state(
    segment: Emulator, path: Path, tmp_path: Path
) -> None:
    """If it is one too many, none of its records is durable."""
    segment.fault(InjectedFault(call="set", count=None, status=400))
    whole = config(segment, path, max_rejects=0)
    ran = run(tmp_path, whole, lines(ROOMS, record("rooms", id=1), state(1)))
    assert (ran.code, ran.states) == (1, [])
    assert "Traceback" not in ran.log


def test_a_merged_object_counts_its_records(segment: Emulator, path: Path, tmp_path: Path) -> None:
    """A tolerated reject is a record, not an object."""
    segment.fault(InjectedFault(call="set", count=None, status=400))
    fed = lines(ROOMS, record("rooms", id=1, name="a"), record("rooms", id=1, name="b"), state(2))
    ran = run(tmp_path, config(segment, path, max_rejects=1), fed)
    assert (ran.code, ran.states) == (1, [])
    assert len(entries(path)) == 2


def test_nulls_that_segment_may_not_take(segment: Emulator, path: Path) -> None:
    """The reject of an object with a null names the setting to try."""
    segment.fault(InjectedFault(call="set", count=None, status=400))
    load(config(segment, path), lines(ROOMS, record("rooms", id=1, name=None)))
    ((fault,),) = (entry["faults"] for entry in entries(path))
    assert "`nulls` to `drop`" in fault["message"]


def test_an_object_that_bulk_refuses(segment: Emulator, path: Path) -> None:
    """Its line has the object that was sent: by bulk the record is not kept."""
    segment.fault(InjectedFault(call="upload", first=2, status=413))
    whole = config(segment, path, "bulk", part_size_bytes=1)
    fed = lines(ROOMS, *(record("rooms", id=number, name="a") for number in (1, 2, 3)), state(3))
    assert load(whole, fed).states == ["3"]
    assert ids(segment) == ["1", "3"]
    (entry,) = entries(path)
    assert entry["stage"] == "object"
    assert entry["object"] == {"id": "2", "collection": "rooms", "properties": {"name": "a"}}


def test_a_dead_letter_in_use_by_a_replay_is_not_waited_for(path: Path) -> None:
    """The run does not wait for the replay: it ends with an error, and can be run again."""
    letter = DeadLetter(path)
    path.touch()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DeadLetterError, match="in use by `segment-objects replay`"):
            letter.write(origin(), ERROR)
    letter.close()
