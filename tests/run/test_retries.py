"""Warnings about retries: the first one at once, then one every 30 seconds for the whole run."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.client import (
    BulkApi,
    Caller,
    Clock,
    Retry,
    RetryPolicy,
    SetApi,
    Transport,
    TransportOptions,
)
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import Attempt, DeliveryError, UnavailableError
from target_segment_objects.run.retry_warnings import RetryWarnings
from tests.builders import ManualClock
from tests.client.builders import ROOM, StillTime
from tests.running import (
    KEY,
    WARNINGS_AS_ERRORS,
    config_file,
    environment,
    lines,
    load,
    record,
    run,
    schema,
)
from tests.screens import watch

if TYPE_CHECKING:
    from pathlib import Path

METHODS = pytest.mark.parametrize("method", ["set", "bulk"])
FED = lines(schema("rooms", id="integer", name="string"), record("rooms", id=1, name="a"))
SEGMENT_OBJECTS = [
    sys.executable,
    *WARNINGS_AS_ERRORS,
    "-m",
    "target_segment_objects.commands.main",
]


def _config(url: str, method: str, **more: Any) -> dict[str, Any]:
    return {"write_key": KEY, "method": method, "objects_url": url, "bulk_url": url, **more}


@pytest.fixture
def dead() -> str:
    """An address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@METHODS
def test_the_first_retry_of_a_run_is_a_warning(tmp_path: Path, dead: str, method: str) -> None:
    """The command with a dead address: what failed, why, when the next attempt comes, how long."""
    ran = run(tmp_path, _config(dead, method, retry_seconds=0), FED)
    assert ran.code == 1
    (warning,) = [line for line in ran.log.splitlines() if "WARNING" in line]
    call = "set of rooms" if method == "set" else "start"
    assert re.search(
        rf"{call} at 127\.0\.0\.1:\d+ failed: could not connect: connection refused "
        r"\(attempt 1\)\. "
        r"The next attempt comes in \d\.\d s; retries go on until the waits add up to \d+ s "
        r"\(`retry_seconds`\), with at least 3 attempts$",
        warning,
    )


@METHODS
def test_replay_tells_of_its_retries_too(tmp_path: Path, dead: str, method: str) -> None:
    """The same holds, on stderr."""
    letter = tmp_path / "dead.jsonl"
    entry = {
        "time": "2999-01-01T00:00:00Z",
        "object": {"id": "1", "collection": "rooms", "properties": {"name": "a"}},
    }
    letter.write_text(json.dumps(entry) + "\n")
    config = config_file(tmp_path, _config(dead, method, retry_seconds=0))
    ran = subprocess.run(
        [*SEGMENT_OBJECTS, "replay", str(letter), "--config", config],
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
    )
    assert ran.returncode == 1
    warned = [line for line in ran.stderr.splitlines() if "The next attempt comes in" in line]
    assert len(warned) == 1


@METHODS
def test_a_run_without_retries_says_nothing_of_them(method: str) -> None:
    """There is no warning when all requests are answered."""
    with Emulator() as segment:
        ran = load(_config(segment.url, method), FED)
    assert "attempt" not in ran.log


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, entry: logging.LogRecord) -> None:
        self.lines.append(entry.getMessage())


@pytest.fixture
def kept() -> _Kept:
    """Collects log records."""
    return _Kept()


def _logger(kept: _Kept) -> logging.Logger:
    logger = logging.Logger("retries")  # noqa: LOG001  of this test alone
    logger.addHandler(kept)
    return logger


def _retry(number: int = 1, call: str = "set", collection: str = "rooms") -> Retry:
    attempt = Attempt(503, "Service Unavailable", call=call, collection=collection, number=number)
    return Retry(attempt, "objects.segment.com", wait_seconds=0.5, left_seconds=600.0)


def test_there_is_one_line_in_half_a_minute(kept: _Kept) -> None:
    """This holds for all calls together; a warning has the number of retries since the last one."""
    clock = ManualClock()
    warnings = RetryWarnings(_logger(kept), clock, 600.0)
    warnings(_retry())
    for second in range(1, 61):
        clock.now = float(second)
        warnings(_retry(2))
        warnings(_retry(1, call="upload", collection=""))
    assert len(kept.lines) == 3
    assert kept.lines[0].startswith("set of rooms at objects.segment.com failed: 503 Service ")
    assert "(attempt 1)" in kept.lines[0]
    assert "(attempt 2, 59 retries since the last warning)" in kept.lines[1]
    assert "(attempt 2, 60 retries since the last warning)" in kept.lines[2]
    assert max(map(len, kept.lines)) < 250


def test_a_crowd_of_requests_is_one_line(kept: _Kept) -> None:
    """Twenty calls fail at once, on as many threads."""
    warnings = RetryWarnings(_logger(kept), ManualClock(), 600.0)
    options = TransportOptions(max_concurrency=20)
    with Emulator() as segment, Transport(segment.url, KEY, options) as transport:
        segment.fault(InjectedFault(call="set", count=20, status=503))
        api = SetApi(Caller(transport, clock=StillTime().clock(), on_retry=warnings))
        threads = [threading.Thread(target=api.send, args=("rooms", [ROOM])) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(segment.requests) == 40
    assert len(kept.lines) == 1


def _calls(api: BulkApi | SetApi, call: str) -> None:
    if isinstance(api, SetApi):
        api.send("rooms", [ROOM])
    elif call == "start":
        api.start()
    elif call == "upload":
        api.upload("some", io.BytesIO(b"12"), 2)
    elif call == "keep-alive":
        api.keep_alive("some")
    else:
        api.finish("some")


@pytest.mark.parametrize("call", ["set", "start", "upload", "keep-alive", "finish"])
def test_every_call_reports_its_retries_before_they_wait(call: str) -> None:
    """It has the attempt, cause, wait and remaining budget; there is none after the last one."""
    time = StillTime()
    warned: list[tuple[Retry, int]] = []

    def on_retry(retry: Retry) -> None:
        warned.append((retry, len(time.waits)))

    policy = RetryPolicy(budget_seconds=4.0)
    kind = SetApi if call == "set" else BulkApi
    with Emulator() as segment, Transport(segment.url, KEY) as transport:
        segment.fault(InjectedFault(call=call, count=None, status=503))
        api = kind(Caller(transport, policy=policy, clock=time.clock(), on_retry=on_retry))
        with pytest.raises(UnavailableError):
            _calls(api, call)
    assert [retry.attempt.call for retry, _ in warned] == [call] * 3
    assert [(retry.attempt.number, waits) for retry, waits in warned] == [(1, 0), (2, 1), (3, 2)]
    assert [retry.wait_seconds for retry, _ in warned] == time.waits == [0.5, 1.0, 2.0]
    assert [retry.left_seconds for retry, _ in warned] == [4.0, 3.5, 2.5]
    assert {str(retry.attempt) for retry, _ in warned} == {"503 Service Unavailable"}


def test_a_wait_for_the_gate_is_the_time_to_the_next_attempt() -> None:
    """`Retry-After` of another call delays this one too, and the retry has that wait."""
    warned: list[Retry] = []
    with Emulator() as segment, Transport(segment.url, KEY) as transport:
        headers = {"Retry-After": "120"}
        segment.fault(InjectedFault(call="set", count=1, status=429, headers=headers))
        api = SetApi(Caller(transport, clock=StillTime().clock(), on_retry=warned.append))
        api.send("rooms", [ROOM])
    assert [(retry.wait_seconds, retry.left_seconds) for retry in warned] == [(120.0, 600.0)]


@METHODS
def test_the_clock_of_the_run_is_the_one_that_is_asked(method: str) -> None:
    """Without real waits: 16 attempts in 543 s make ten warnings."""
    from target_segment_objects.singer.target import TargetSegmentObjects  # noqa: PLC0415

    time = StillTime()
    kept = _Kept()
    logger = TargetSegmentObjects.logger
    logger.addHandler(kept)
    try:
        with Emulator() as segment:
            call = "set" if method == "set" else "start"
            segment.fault(InjectedFault(call=call, count=None, status=503))
            target = TargetSegmentObjects(config=_config(segment.url, method))
            target.run.make_clock = lambda _: _still(time)
            with pytest.raises(DeliveryError):
                target.listen(io.StringIO(FED.decode()))
    finally:
        logger.removeHandler(kept)
    # At 0 s, 31.5 s, 63.5 s, then each minute up to 483.5 s: the attempt at 543.5 s is the last.
    assert len(kept.lines) == 10
    assert "(attempt 7, 6 retries since the last warning)" in kept.lines[1]


def _still(time: StillTime) -> Clock:
    return time.clock()


@METHODS
def test_the_progress_line_shows_the_wait(tmp_path: Path, method: str) -> None:
    """It is shown before the numbers while nothing is answered."""
    with Emulator(write_key=KEY) as segment:
        headers = {"Retry-After": "200"}
        segment.fault(InjectedFault(count=1, status=503, headers=headers))
        with watch(tmp_path, _config(segment.url, method, shutdown_seconds=0)) as command:
            command.write(schema("rooms", id="integer"), record("rooms", id=1))
            command.read_until(
                lambda shown: any(re.match(r"trying again in 1\d\d s: 1 rec", x) for x in shown)
            )
            command.process.terminate()
            assert command.end() == 1
