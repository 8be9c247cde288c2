"""The last moments of a run: a signal that comes while it ends does no harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Emulator
from tests.running import (
    KEY,
    WARNINGS_AS_ERRORS,
    config_file,
    environment,
    lines,
    record,
    schema,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """
import importlib, os, signal, sys, threading
module, owner, name, when, number = sys.argv[1:6]
del sys.argv[1:6]
from target_segment_objects.singer.target import main
whole = importlib.import_module(module)
namespace = getattr(whole, owner) if owner else whole
function = getattr(namespace, name)
begun, over, write, struck = threading.Event(), threading.Event(), os.write, []

def slow(descriptor, data):
    # The shutdown's thread wakes the reader as late as it can.
    if threading.current_thread().name == "shutdown":
        begun.set()
        over.wait(0.2)
    return write(descriptor, data)

def strike():
    if not struck:  # a second one would end the process at once, as it should
        struck.append(number)
        os.kill(os.getpid(), int(number))
        begun.wait(0.2)

def ending(*args, **kwargs):
    if when == "before":
        strike()
    try:
        return function(*args, **kwargs)
    finally:
        over.set()
        if when == "after":
            strike()

os.write = slow
setattr(namespace, name, ending)
main()
"""
ENDS = [
    ("target_segment_objects.run.run", "Run", "finish"),
    ("target_segment_objects.delivery.set_calls", "SetDelivery", "close"),
    ("target_segment_objects.delivery.checkpoint", "Checkpoint", "print_now"),
    ("target_segment_objects.delivery.dead_letter", "DeadLetter", "close"),
    ("target_segment_objects.stopping", "WakeupPipe", "close"),
    ("target_segment_objects.run.run", "Run", "close"),
    ("target_segment_objects.run.supervisor", "RunSupervisor", "conclude"),
    ("target_segment_objects.run.supervisor", "RunSupervisor", "_write_report"),
    ("target_segment_objects.run.signals", "SignalWatcher", "close"),
    ("target_segment_objects.reporting.terminal", "Terminal", "close"),
]


@pytest.fixture(scope="module")
def segment() -> Iterator[Emulator]:
    """An emulator."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("module", "owner", "name"), ENDS, ids=lambda text: text.split(".")[-1])
def test_a_signal_as_the_run_ends(  # noqa: PLR0913, PLR0917  a place, a moment and a signal
    segment: Emulator,
    tmp_path: Path,
    module: str,
    owner: str,
    name: str,
    when: str,
    number: signal.Signals,
) -> None:
    """Everything is delivered, the last state printed once, the report written; no traceback."""
    report = tmp_path / "report.json"
    settings = {
        "write_key": KEY,
        "method": "set",
        "objects_url": segment.url,
        "report_path": str(report),
    }
    config = config_file(tmp_path, settings)
    arguments = (module, owner, name, when, str(int(number)))
    ran = subprocess.run(
        [sys.executable, *WARNINGS_AS_ERRORS, "-c", PROGRAM, *arguments, "--config", config],
        input=lines(schema("rooms", id="integer"), record("rooms", id=1, name="x"), state(1)),
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert ran.returncode in {0, 128 + number}, ran.stderr.decode()
    assert b"Traceback" not in ran.stderr, ran.stderr.decode()
    assert b"ERROR" not in ran.stderr
    assert ran.stdout == b"1\n"
    assert json.loads(report.read_text())["status"] in {"stopped", "succeeded"}
