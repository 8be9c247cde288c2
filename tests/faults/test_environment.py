"""Failures of the machine: disks, pipes, permissions, clocks, and another run."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.commands.replay.command import replay
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import ConfigurationError
from tests.builders import rejects_in
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
    start,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from target_segment_objects.emulator import RecordedRequest

both_methods = pytest.mark.parametrize("method", ["set", "bulk"])
ROOMS = schema("rooms", id="integer", name="string")
GOOD = [record("rooms", id=number, name="Beach") for number in (1, 2)]
BAD = record("rooms", id=None, name="Nowhere")
# Every spool is on the disk from the first byte on, as large ones are.
SMALL_SPOOL = """
from target_segment_objects.delivery.bulk import spool

assert spool._MEMORY_BYTES
spool._MEMORY_BYTES = 0
"""


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator that accepts one key; the test must break no rule of the API."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator
        assert [
            request for request in emulator.refusals if request.reason != "an injected fault"
        ] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def _config(segment: Emulator, method: str, **more: Any) -> dict[str, Any]:
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return {"write_key": KEY, "method": method, **urls, **more}


def _patched(folder: Path, code: str) -> dict[str, str]:
    """Return an environment in which every Python process runs this code first."""
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return environment(PYTHONPATH=str(folder))


def _is_one_sentence(ran: RunResult, *named: str) -> None:
    assert (ran.code, len(ran.sentences)) == (1, 1), ran.log
    assert "Traceback" not in ran.log
    assert KEY not in ran.log
    for name in named:
        assert name in ran.sentences[0]


def test_a_full_disk_under_the_spool(tmp_path: Path, segment: Emulator, small_disk: Path) -> None:
    """Exit 1, one sentence with the setting's name; no state, no open session, no file."""
    fed = [ROOMS]
    fed += [record("rooms", id=n, name=os.urandom(12_000).hex()) for n in range(100)]
    ran = run(
        tmp_path,
        _config(segment, "bulk", spool_dir=str(small_disk)),
        lines(*fed, state(1)),
        env=_patched(tmp_path, SMALL_SPOOL),
    )
    _is_one_sentence(ran, "spool_dir", "No space left on device")
    assert ran.states == []
    assert "open" not in [session.state for session in segment.sessions.values()]
    assert segment.tables() == {}
    assert list(small_disk.iterdir()) == []


@both_methods
def test_a_full_disk_under_the_dead_letter(
    tmp_path: Path, segment: Emulator, small_disk: Path, method: str
) -> None:
    """Exit 1, one sentence; the state does not cover a reject that could not be written."""
    bad = record("rooms", id=None, name="x" * 20_000)
    fed = lines(ROOMS, GOOD[0], state(1), *[bad] * 10, GOOD[1], state(12))
    dead = small_disk / "dead.jsonl"
    config = _config(segment, method, max_rejects=-1, dead_letter_path=str(dead))
    ran = run(tmp_path, config, fed)
    _is_one_sentence(ran, "dead_letter_path")
    assert ran.states in ([], ["1"])
    # What was written before the disk was full is complete, and a later run appends to it.
    dead.write_bytes(dead.read_bytes()[:30_000])
    assert run(tmp_path, config, lines(ROOMS, BAD, GOOD[1], state(2))).states == ["2"]
    half = [line for line in dead.read_bytes().splitlines() if not line.endswith(b"}")]
    assert len(half) == 1
    dead.write_bytes(dead.read_bytes().replace(half[0], b""))
    kept = rejects_in(dead)
    assert kept[0]["record"]["name"] == "x" * 20_000
    assert kept[-1]["record"]["name"] == "Nowhere"


def _no_folder(path: Path) -> None:
    path.parent.rmdir()


def _symbolic_link(path: Path) -> None:
    path.symlink_to("/dev/null")


def _folder(path: Path) -> None:
    path.mkdir()


def _read_only(path: Path) -> None:
    if not os.geteuid():
        pytest.skip("root may write everything")
    path.touch(mode=stat.S_IRUSR)


@both_methods
@pytest.mark.parametrize("spoil", [_no_folder, _symbolic_link, _folder, _read_only])
def test_an_unwritable_dead_letter(
    tmp_path: Path, segment: Emulator, method: str, spoil: Callable[[Path], None]
) -> None:
    """It becomes unwritable during the run: exit 1 at the first reject, and no state covers it."""
    path = tmp_path / "letters" / "dead.jsonl"
    path.parent.mkdir()
    config = _config(segment, method, max_rejects=-1, dead_letter_path=str(path))
    with start(tmp_path, config) as command:
        command.write(state(0))
        command.read_until(states=1)
        spoil(path)
        command.write(ROOMS, GOOD[0], state(1), BAD, GOOD[1], state(3))
        ran = command.end()
    _is_one_sentence(ran, "dead_letter_path")
    assert ran.states in (["0"], ["0", "1"])
    assert "open" not in [session.state for session in segment.sessions.values()]


def test_a_spool_directory_that_vanishes(tmp_path: Path, segment: Emulator) -> None:
    """If removed before the spool needs it: exit 1, one sentence; later it is not needed."""
    folder = tmp_path / "spool"
    folder.mkdir()
    config = _config(segment, "bulk", spool_dir=str(folder))
    with start(tmp_path, config, _patched(tmp_path, SMALL_SPOOL)) as command:
        command.write(state(0))
        command.read_until(states=1)
        folder.rmdir()
        command.write(ROOMS, GOOD[0], state(1))
        ran = command.end()
    _is_one_sentence(ran, "spool_dir")
    assert ran.states == ["0"]
    folder.mkdir()
    segment.fault(InjectedFault(call="upload", callback=lambda _: folder.rmdir()))
    ran = run(
        tmp_path, config, lines(ROOMS, GOOD[0], state(1)), env=_patched(tmp_path, SMALL_SPOOL)
    )
    assert (ran.code, ran.states) == (0, ["1"])


@both_methods
def test_a_reader_of_states_that_goes(tmp_path: Path, segment: Emulator, method: str) -> None:
    """The reader of stdout closes it after a state: records are delivered, exit 1, one sentence."""
    with start(tmp_path, _config(segment, method)) as command:
        command.write(state(0))
        command.read_until(states=1)
        assert command.process.stdout is not None
        command.process.stdout.close()
        command.write(ROOMS, *GOOD, state(2))
        ran = command.end()
    _is_one_sentence(ran, "stdout")
    assert len(segment.rows("rooms")) == 2
    assert "open" not in [session.state for session in segment.sessions.values()]


@both_methods
def test_a_full_stdout(tmp_path: Path, segment: Emulator, method: str) -> None:
    """Stdout cannot be written (/dev/full): exit 1, one sentence, everything is delivered."""
    path = config_file(tmp_path, _config(segment, method))
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ended = subprocess.run(
            [*COMMAND, "--config", path],
            input=lines(ROOMS, *GOOD, state(2)),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(ROOT)),
            timeout=60,
        )
    _is_one_sentence(RunResult(ended.returncode, [], ended.stderr.decode()), "stdout")
    assert len(segment.rows("rooms")) == 2


# Each reading of the wall clock jumps: a year ahead, then two years back, and so on.
JUMPING = """
import itertools
import time

_jumps = itertools.cycle([31_536_000.0, -63_072_000.0, 0.0])
_time = time.time
time.time = lambda: max(0.0, _time() + next(_jumps))
"""


@both_methods
def test_a_wall_clock_that_jumps(tmp_path: Path, segment: Emulator, method: str) -> None:
    """The clock jumps years ahead and back at every reading, also in retries: no effect."""
    # The delay of `Retry-After` does not depend on the clock; here it is 0.
    segment.fault(InjectedFault(status=429, count=2, headers={"Retry-After": "0"}))
    with start(tmp_path, _config(segment, method), _patched(tmp_path, JUMPING)) as command:
        command.write(ROOMS, *GOOD, state(2))
        command.write(record("rooms", id=1, name="Lake"), state(3))
        ran = command.end()
    assert (ran.code, ran.states[-1]) == (0, "3")
    assert [row["name"] for row in segment.rows("rooms")] == ["Lake", "Beach"]
    assert "Traceback" not in ran.log


def _together(segment: Emulator, call: str) -> None:
    """Make the first two calls wait for each other, so that two runs overlap."""
    both = threading.Barrier(2)

    def wait(_request: RecordedRequest) -> None:
        both.wait(20)

    segment.fault(InjectedFault(call=call, count=2, callback=wait))


@both_methods
def test_two_runs_at_once(tmp_path: Path, segment: Emulator, method: str) -> None:
    """With the same spool directory and dead letter, each run is complete and no line is torn."""
    spool, dead = tmp_path / "spool", tmp_path / "dead.jsonl"
    spool.mkdir()
    config: Mapping[str, Any] = _config(
        segment, method, spool_dir=str(spool), max_rejects=-1, dead_letter_path=str(dead)
    )
    env = _patched(tmp_path, SMALL_SPOOL)
    _together(segment, "set" if method == "set" else "start")
    with (
        start(tmp_path, config, env) as one,
        start(tmp_path, config, env) as other,
    ):
        for command, name in ((one, "rooms"), (other, "guests")):
            fed: list[dict[str, Any]] = [schema(name, id="integer", name="string")]
            for number in range(200):
                fed.append(record(name, id=number, name=name))
                fed.append(record(name, id=None, name=f"{name}-{number}"))
            command.write(*fed, state({name: 400}))
        ends = [command.end() for command in (one, other)]
    assert [(ran.code, ran.states) for ran in ends] == [
        (0, ['{"rooms": 400}']),
        (0, ['{"guests": 400}']),
    ]
    assert [len(segment.rows(name)) for name in ("rooms", "guests")] == [200, 200]
    kept = rejects_in(dead)
    assert {reject["record"]["name"] for reject in kept} == {
        f"{name}-{number}" for name in ("rooms", "guests") for number in range(200)
    }
    assert len({reject["run_id"] for reject in kept}) == 2
    assert len(kept) == 400
    assert list(spool.iterdir()) == []


def test_the_disk_fills_when_a_replay_writes_the_rest(segment: Emulator, small_disk: Path) -> None:
    """The disk is full after reading: one sentence, and the dead letter is unchanged."""
    path = small_disk / "rejects.jsonl"
    config = _config(segment, "set", max_rejects=-1, dead_letter_path=str(path))
    bad = [record("rooms", id="x", text="y" * 4000) for _ in range(9)]
    load(config, lines(schema("rooms", id="integer", text="string"), *bad))
    whole = path.read_bytes()
    assert len(whole) > 36_000
    config["stream_maps"] = {"rooms": {"__filter__": "False"}}
    with pytest.raises(ConfigurationError, match=r"No space left.* confirmed no object, and"):
        replay(path, config)
    assert path.read_bytes() == whole
    assert list(small_disk.iterdir()) == [path]
