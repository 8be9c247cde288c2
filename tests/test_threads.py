"""If the system cannot start more threads, a run ends with one sentence and releases everything."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, EmulatorError
from target_segment_objects.errors import ThreadError
from tests.running import (
    KEY,
    ROOT,
    WARNINGS_AS_ERRORS,
    config_file,
    environment,
    lines,
    load,
    record,
    schema,
    state,
)
from tests.screens import watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FED = lines(
    schema("rooms", id="integer", name="string"),
    *(record("rooms", id=number, name="a") for number in range(100)),
    state(1),
)
METHODS = pytest.mark.parametrize("method", ["set", "bulk"])
SENTENCE = "the system cannot start more threads"

# Refuses threads as the system does, from the n-th thread with a given name on.
REFUSING = """
import sys, threading
name, first = sys.argv.pop(1), int(sys.argv.pop(1))
start, seen = threading.Thread.start, []
def refuse(thread):
    if thread.name.startswith(name):
        seen.append(thread)
        if len(seen) >= first:
            raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refuse
from target_segment_objects.commands.entry import target
target()
"""


def _config(url: str, method: str, **more: Any) -> dict[str, Any]:
    urls = {"objects_url": url, "bulk_url": url}
    return {"write_key": KEY, "method": method, **urls, "retry_seconds": 0, **more}


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator in this process, whose threads can always be started."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("set", "set"),
        ("set", "segment-deadlines"),
        ("set", "segment-names"),
        ("set", "shutdown"),
        ("bulk", "compress"),
        ("bulk", "bulk"),
        ("bulk", "keep-alive"),
        ("bulk", "segment-deadlines"),
        ("bulk", "segment-names"),
        ("bulk", "shutdown"),
    ],
)
def test_the_first_error_is_one_sentence(
    segment: Emulator, tmp_path: Path, method: str, name: str
) -> None:
    """It says what to do, for any thread; no state is printed, no traceback, and nothing hangs."""
    config = config_file(tmp_path, _config(segment.url, method))
    ended = subprocess.run(
        [sys.executable, *WARNINGS_AS_ERRORS, "-c", REFUSING, name, "1", "--config", config],
        input=FED,
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
    )
    log = ended.stderr.decode()
    assert ended.returncode == 1, log
    assert ended.stdout == b""
    assert "Traceback" not in log
    assert "cannot join" not in log
    errors = [line for line in log.splitlines() if "ERROR" in line]
    assert len(errors) == 1, log
    assert SENTENCE in errors[0]
    assert "`ulimit -u`" in errors[0]


class _Refusal:
    """Refuses to start threads as the system does, from the n-th thread with a given name on."""

    def __init__(self, patch: pytest.MonkeyPatch, *names: str, first: int = 1) -> None:
        start = threading.Thread.start
        self.seen = 0

        def refuse(thread: threading.Thread) -> None:
            if thread.name in names:
                self.seen += 1
                if self.seen >= first:
                    raise RuntimeError("can't start new thread")
            start(thread)

        patch.setattr(threading.Thread, "start", refuse)


OURS = ("set", "bulk", "compress", "keep-alive", "segment-deadlines", "segment-names")


@METHODS
@pytest.mark.parametrize("first", range(1, 7))
def test_a_run_ends_whichever_thread_is_the_first_to_be_refused(
    segment: Emulator, monkeypatch: pytest.MonkeyPatch, method: str, first: int
) -> None:
    """It ends for every thread, from the first to the last; threads that were started are ended."""
    refusal = _Refusal(monkeypatch, *OURS, first=first)
    # One call at a time needs three threads with `set`, and five with `bulk`.
    if first <= (3 if method == "set" else 5):
        with pytest.raises(ThreadError, match=SENTENCE):
            load(_config(segment.url, method, max_concurrency=1), FED)
    else:
        assert load(_config(segment.url, method, max_concurrency=1), FED).states == ["1"]
    assert refusal.seen >= min(first, 3)
    ours = [thread for thread in threading.enumerate() if thread.name in OURS]
    assert [thread.name for thread in ours if thread.name != "segment-names"] == []


def test_fewer_workers_deliver_all_the_same(
    segment: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `set`, the threads that run do the work of one that cannot be started."""
    refusal = _Refusal(monkeypatch, "set", first=3)
    assert load(_config(segment.url, "set", max_concurrency=10), FED).states == ["1"]
    assert refusal.seen >= 1
    assert len(segment.rows("rooms")) == 100


def test_a_name_is_looked_up_again_after_a_refusal(
    segment: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later lookups do not wait for one that could not be started."""
    from target_segment_objects.client import SetApi, Transport  # noqa: PLC0415
    from tests.client.builders import ROOM  # noqa: PLC0415

    with Transport(segment.url, KEY) as transport:
        with monkeypatch.context() as patch:
            _Refusal(patch, "segment-names")
            with pytest.raises(ThreadError):
                SetApi(transport).send("rooms", [ROOM])
        assert SetApi(transport).send("rooms", [ROOM]).number == 1


@pytest.mark.parametrize("name", ["segment-emulator", "segment-emulator-flush"])
def test_an_emulator_that_cannot_start_is_gone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One sentence; the port is free, no folder and no thread is left; `stop` does nothing."""
    before = threading.active_count()
    with monkeypatch.context() as patch:
        _Refusal(patch, name)
        emulator = Emulator()
        with pytest.raises(EmulatorError, match="The system cannot start more threads"):
            emulator.start()
    emulator.stop()
    assert threading.active_count() == before
    with Emulator(port=int(emulator.url.rpartition(":")[2])):
        pass


@METHODS
def test_an_emulator_loses_a_connection_and_not_itself(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A connection without a thread is closed; the next one is served."""
    with Emulator(write_key=KEY) as segment:
        start = threading.Thread.start
        refused: list[threading.Thread] = []

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "segment-emulator-connection" and not refused:
                refused.append(thread)
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
        config = _config(segment.url, method, retry_seconds=60, max_concurrency=1)
        assert load(config, FED).states == ["1"]
        assert len(refused) == 1
        assert len(segment.rows("rooms")) == 100


def test_without_its_thread_there_is_no_progress_line(segment: Emulator, tmp_path: Path) -> None:
    """A run on a terminal continues without the line, and ends with its table."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import threading\n"
        "start = threading.Thread.start\n"
        "def refuse(thread):\n"
        "    if thread.name == 'progress':\n"
        '        raise RuntimeError("can\'t start new thread")\n'
        "    start(thread)\n"
        "threading.Thread.start = refuse\n"
    )
    path = f"{site}{os.pathsep}{ROOT}"
    with watch(tmp_path, _config(segment.url, "set"), PYTHONPATH=path) as command:
        command.write(schema("rooms", id="integer"), record("rooms", id=1), state(1))
        assert command.end() == 0
        assert command.out == b"1\n"
        assert any(line.startswith("rooms") for line in command.shown)
        assert not any("objects/s" in line for line in command.shown)
