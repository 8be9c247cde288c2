"""SIGINT and SIGTERM: two different ones are one stop, with a deadline, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.run.signals import SignalWatcher
from target_segment_objects.singer.target import TargetSegmentObjects
from target_segment_objects.stopping import WakeupPipe
from tests.builders import PATIENCE, BackgroundCall
from tests.running import KEY, environment, record, schema, start, state

if TYPE_CHECKING:
    from collections.abc import Iterator

both_methods = pytest.mark.parametrize("method", ["set", "bulk"])
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ROOMS = schema("rooms", id="integer", name="string")
LONG = 600.0
"""Seconds after which a test that waits for them would time out."""


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def _handlers() -> Iterator[None]:
    kept = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, kept, strict=True):
        signal.signal(number, handler)


def config(segment: Emulator, method: str, **more: Any) -> dict[str, Any]:
    """A delivery to it."""
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return {"write_key": KEY, "method": method, **urls, **more}


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("numbers", [SIGNALS, SIGNALS[::-1]])
def test_two_different_signals_are_one_stop(numbers: tuple[signal.Signals, ...]) -> None:
    """The first one decides the exit status, and there is one stop."""
    stops: list[None] = []
    shutdown = SignalWatcher(lambda: stops.append(None), lambda: None, LONG)
    shutdown.install()
    assert shutdown.exit_status is None
    for number in numbers:
        signal.raise_signal(number)
    shutdown.close()
    assert len(stops) == 1
    assert shutdown.exit_status == 128 + numbers[0]


@pytest.mark.usefixtures("_handlers")
def test_a_stop_that_lasts_too_long_expires() -> None:
    """A stop that ends in time does not, nor does a run without a stop."""
    expired = threading.Event()
    shutdown = SignalWatcher(lambda: None, expired.set, 0.01)
    shutdown.install()
    signal.raise_signal(signal.SIGTERM)
    assert expired.wait(PATIENCE)
    shutdown.close()
    for stopped in (True, False):
        expired.clear()
        shutdown = SignalWatcher(lambda: None, expired.set, LONG)
        shutdown.install()
        if stopped:
            signal.raise_signal(signal.SIGTERM)
        shutdown.close()
        assert not expired.is_set()


@pytest.mark.usefixtures("_handlers")
def test_after_the_end_signals_do_nothing() -> None:
    """A late Ctrl-C cannot damage what was printed and counted."""
    shutdown = SignalWatcher(lambda: None, lambda: None, LONG)
    shutdown.install()
    shutdown.close()
    for number in SIGNALS:
        signal.raise_signal(number)
    assert shutdown.exit_status is None


@pytest.mark.parametrize("number", SIGNALS)
def test_the_same_signal_twice_ends_at_once(
    segment: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    """This holds whatever is in flight, however long the deadline. No state is wrong."""
    with start(tmp_path, config(segment, "bulk", shutdown_seconds=LONG)) as command:
        hold = segment.hold("finish")
        command.write(ROOMS, record("rooms", id=1), state(1))
        command.read_until(logged="session started")
        command.process.send_signal(number)
        assert hold.wait_for(1), "the first signal is a stop"
        command.process.send_signal(number)
        ran = command.ended()
        hold.release()
    assert (ran.code, ran.states) == (128 + number, [])


@pytest.mark.parametrize("number", SIGNALS)
def test_the_deadline(segment: Emulator, tmp_path: Path, number: signal.Signals) -> None:
    """Without a response in time: exit 1, the durable state and no other."""
    settings = config(segment, "set", shutdown_seconds=0.2, request_timeout_seconds=LONG)
    with start(tmp_path, settings) as command:
        command.write(ROOMS, record("rooms", id=1), state(1))
        command.read_until(states=1)
        hold = segment.hold("set", first=2)
        command.write(record("rooms", id=2), state(2))
        assert hold.wait_for(1)
        command.process.send_signal(number)
        took = command.read_until(ended=True)
        ran = command.ended()
        hold.release()
    assert (ran.code, ran.states) == (1, ["1"])
    assert took < PATIENCE
    assert "Traceback" not in ran.log


def test_the_deadline_of_a_session(segment: Emulator, tmp_path: Path) -> None:
    """By bulk too: a finish without a response does not count."""
    settings = config(segment, "bulk", shutdown_seconds=0.2, request_timeout_seconds=LONG)
    with start(tmp_path, settings) as command:
        hold = segment.hold("finish")
        command.write(ROOMS, record("rooms", id=1), state(1))
        command.read_until(logged="session started")
        command.process.terminate()
        took = command.read_until(ended=True)
        ran = command.ended()
        hold.release()
    assert (ran.code, ran.states) == (1, [])
    assert took < PATIENCE
    assert "Traceback" not in ran.log


@both_methods
def test_a_stop_ends_a_wait_for_retry_after(segment: Emulator, tmp_path: Path, method: str) -> None:
    """A wait that would last beyond the stop ends at once, not after `shutdown_seconds`."""
    seen = threading.Event()
    call = "set" if method == "set" else "start"
    segment.fault(
        InjectedFault(
            call=call,
            count=None,
            status=429,
            headers={"Retry-After": "300"},
            callback=lambda _request: seen.set(),
        )
    )
    with start(tmp_path, config(segment, method, shutdown_seconds=250)) as command:
        command.write(ROOMS, record("rooms", id=1), state(1))
        assert seen.wait(PATIENCE)
        command.process.terminate()
        took = command.read_until(ended=True)
        ran = command.ended()
    assert (ran.code, ran.states) == (1, [])
    assert took < PATIENCE


@both_methods
def test_a_signal_in_the_stream_loses_nothing(
    segment: Emulator, tmp_path: Path, method: str
) -> None:
    """Everything read before the signal is delivered, and the state says how much that was."""
    started = threading.Event()
    child: list[Any] = []

    def stop(_request: object) -> None:
        assert started.wait(PATIENCE)
        child[0].terminate()

    segment.fault(
        InjectedFault(call="set" if method == "set" else "upload", first=3, callback=stop)
    )
    fed: list[dict[str, Any]] = [ROOMS]
    for number in range(1, 301):
        fed += [record("rooms", id=number), state(number)]
    with start(tmp_path, config(segment, method, part_size_bytes=1)) as command:
        child.append(command.process)
        started.set()
        command.write(*fed)
        ran = command.ended()
    assert ran.code == 143
    covered = json.loads(ran.states[-1])
    arrived = {int(str(row["id"])) for row in segment.rows("rooms")}
    assert covered >= 1
    assert arrived in (set(range(1, covered + 1)), set(range(1, covered + 2)))
    assert [session.state for session in segment.sessions.values()] in ([], ["finished"])


@pytest.mark.usefixtures("_handlers")
def test_whatever_ends_a_run_may_come_twice_and_late(segment: Emulator) -> None:
    """A stop, abort, wake-up or close after the end does nothing, on any thread."""
    target = TargetSegmentObjects(config=config(segment, "set"))
    run = target.run
    shutdown = SignalWatcher(run.stop, run.abort, LONG)
    run.wake_up.open()
    steps = [run.stop, run.abort, run.close, run.wake_up.set, run.wake_up.close, run.finish]
    shutdown.install()
    for first in steps:
        for second in steps:
            for step in (first, second, first):
                BackgroundCall(step).join()
        shutdown.close()


def test_a_wake_up_that_has_begun_writes_to_no_closed_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread is waking the reader while the pipe is closed."""
    begun, closed = threading.Event(), threading.Event()
    write = os.write

    def slow(descriptor: int, data: bytes) -> int:
        begun.set()
        closed.wait(0.1)  # it is not closed meanwhile, so this is a slow write
        return write(descriptor, data)

    def close() -> None:
        wake_up.close()
        closed.set()

    wake_up = WakeupPipe()
    wake_up.open()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", slow)
        waking = BackgroundCall(wake_up.set)
        assert begun.wait(PATIENCE)
        closing = BackgroundCall(close)
        waking.join()
    closing.join()


def test_a_closed_wake_up_does_nothing() -> None:
    """This holds for all methods, in any order and twice, also before it is open."""
    for opened in (False, True):
        wake_up = WakeupPipe()
        if opened:
            wake_up.open()
        for step in (wake_up.clear, wake_up.close, wake_up.close, wake_up.clear, wake_up.set):
            BackgroundCall(step).join()
        wake_up.stop()
        assert wake_up.stopped


def test_a_stop_while_nobody_reads_the_states_says_so(segment: Emulator, tmp_path: Path) -> None:
    """The run cannot end by itself, so the process is ended: exit 1, a last line, the report."""
    report = tmp_path / "report.json"
    more = {"shutdown_seconds": 0.1, "report_path": str(report)}
    with start(tmp_path, config(segment, "set", **more)) as command:
        command.read_until(logged="target-segment-objects v")
        arrived = segment.hold("set")
        command.write(ROOMS, record("rooms", id=1, name="x"), state("s" * 300_000))
        assert arrived.wait_for(1)
        arrived.release()  # and the state is printed into a pipe that is full
        _wait_for_output(command.process.stdout)
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(PATIENCE) == 1
        ran = command.ended()
    assert len(ran.sentences) == 1
    assert "the stop took longer than `shutdown_seconds`" in ran.sentences[0]
    assert "Traceback" not in ran.log
    assert json.loads(report.read_text())["status"] == "failed"


def _wait_for_output(pipe: Any) -> None:
    """The pipe has data, and nobody reads it."""
    ready, _, _ = select.select([pipe], [], [], PATIENCE)
    assert ready, "nothing was printed"


@both_methods
def test_a_stop_that_takes_too_long_says_so(segment: Emulator, tmp_path: Path, method: str) -> None:
    """Exit 1 with one last line and the report, though Segment never answers."""
    report = tmp_path / "report.json"
    hold = segment.hold("set" if method == "set" else "start", count=None, before=True)
    more = {"shutdown_seconds": 0.2, "report_path": str(report)}
    with start(tmp_path, config(segment, method, **more)) as command:
        command.write(ROOMS, record("rooms", id=1), record("rooms", id=2), state(2))
        assert hold.wait_for(1)
        command.process.send_signal(signal.SIGTERM)
        ran = command.ended()
    assert (ran.code, ran.states) == (1, [])
    assert len(ran.sentences) == 1
    assert "run again" in ran.sentences[0]
    assert json.loads(report.read_text())["status"] == "failed"


def test_a_stop_that_nothing_ends_says_so(segment: Emulator, tmp_path: Path) -> None:
    """Exit 1 with one last line and the report, though nobody reads the printed state."""
    report = tmp_path / "report.json"
    more = {"shutdown_seconds": 0.2, "report_path": str(report)}
    with start(tmp_path, config(segment, "set", **more)) as command:
        # More than a pipe takes.
        command.write(ROOMS, record("rooms", id=1), state("x" * 1_000_000))
        stdout = command.process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], PATIENCE)
        assert readable, "the state is being printed"
        command.process.send_signal(signal.SIGTERM)
        command.process.wait(PATIENCE)
        ran = command.ended()
    assert ran.code == 1
    (sentence,) = ran.sentences
    assert "`shutdown_seconds`" in sentence
    assert json.loads(report.read_text())["status"] == "failed"


def test_a_stop_ends_at_the_present_record(segment: Emulator, tmp_path: Path) -> None:
    """By `set`, with a slow Segment a stop does not wait until the whole block is delivered."""
    rooms = [record("rooms", id=number, name="x") for number in range(5000)]
    held = segment.hold("set", first=3, count=None)
    more = {"max_concurrency": 1, "shutdown_seconds": 30}
    with start(tmp_path, config(segment, "set", **more)) as command:
        command.read_until(logged="target-segment-objects v")
        writing = BackgroundCall(command.write, ROOMS, *rooms, state(5000))
        assert held.wait_for(1)
        command.process.send_signal(signal.SIGTERM)
        command.read_until(logged="target-segment-objects v")
        held.release()
        ran = command.ended()
        with contextlib.suppress(BrokenPipeError):
            writing.join()
    assert ran.code == 143
    assert len(segment.rows("rooms")) < 100
    assert ran.states == []


SILENT = """
import socket, threading

def getaddrinfo(*_, **__):
    print("RESOLVING", file=__import__("sys").stderr, flush=True)
    threading.Event().wait()

socket.getaddrinfo = getaddrinfo
"""


@both_methods
def test_a_resolver_that_does_not_answer_holds_no_stop(tmp_path: Path, method: str) -> None:
    """The durable state is printed, and an error says why the rest was not sent."""
    (tmp_path / "sitecustomize.py").write_text(SILENT, encoding="utf-8")
    address = "https://segment.invalid"
    settings = {
        "write_key": KEY,
        "method": method,
        "objects_url": address,
        "bulk_url": address,
        "shutdown_seconds": 0.5,
    }
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2])])
    with start(tmp_path, settings, environment(PYTHONPATH=path)) as command:
        command.read_until(logged="target-segment-objects v")
        command.write(state(1))
        command.read_until(states=1)
        command.write(ROOMS, state(2), *(record("rooms", id=n, name="x") for n in range(10)))
        command.read_until(logged="RESOLVING")
        command.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        ran = command.ended()
        assert time.monotonic() - began < 4.0
    assert (ran.code, ran.states) == (1, ["1", "2"])
    assert len(ran.sentences) == 1
    assert "Traceback" not in ran.log
