"""The kill matrix: the command is stopped at every point of the protocol, and no data is lost.

Each case is a run that is stopped, followed by a run from the last state that the first one
printed.
"""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import Hold
from tests.faults.fork_server import ForkServer
from tests.faults.kill_cases import KILLS, POINTS, SOURCE, Kill, Point, Story, tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CASES = [
    pytest.param(*case, id="-".join(part.name for part in case)) for case in product(POINTS, KILLS)
]
ONE_AND_TWO = [kill for kill in KILLS if kill.name in {"term", "int-term"}]
CALLS = [
    point for point in POINTS if point.call and point.at == "arrival" and point.call != "keep-alive"
]


class _Summary:
    """Prints the number of cases and their time at the end of the tests."""

    def __init__(self) -> None:
        self.cases = 0
        self.seconds = 0.0

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(f"kill matrix: {self.cases} cases in {self.seconds:.0f} s")


@pytest.fixture(scope="module")
def server(pytestconfig: pytest.Config) -> Iterator[ForkServer]:
    """Forks the command for every case."""
    summary = _Summary()
    pytestconfig.pluginmanager.register(summary)
    began = time.monotonic()
    with ForkServer() as server:
        yield server
        summary.cases = server.count // 2
    summary.seconds = time.monotonic() - began


def _and_again(server: ForkServer, folder: Path, point: Point, first: Story) -> None:
    """Check that the next run completes, and that both together have sent everything, in order."""
    second = tell(server, folder, point, after=first.position)
    second.check()
    assert (second.code, second.position) == (0, SOURCE.states()[-1]), second.stderr
    assert set(second.sessions) <= {"finished"}
    both = {name: first.turns.get(name, []) + second.turns.get(name, []) for name in SOURCE.names}
    assert SOURCE.missing(both) == []
    assert all(turns[-1] == max(turns) for turns in both.values())


@pytest.mark.parametrize(("point", "kill"), CASES)
def test_nothing_is_lost(server: ForkServer, tmp_path: Path, point: Point, kill: Kill) -> None:
    """The invariants hold; a clean stop delivers what was read, and the next run the rest."""
    first = tell(server, tmp_path, point, kill)
    first.check()
    if point.at_the_end:
        assert first.code in {0, *kill.codes}
    else:
        assert first.code in kill.codes, first.stderr
    if kill.clean:
        if point.method == "set":  # the rest of a block is not processed
            delivered = SOURCE.delivered(first.turns)
            assert first.position >= SOURCE.states(delivered - 1)[-1]
        else:
            assert SOURCE.missing(first.turns, point.fed) == []
            assert first.position == SOURCE.states(point.fed)[-1]
        assert set(first.sessions) <= {"finished"}
    _and_again(server, tmp_path, point, first)


@pytest.mark.parametrize("kill", ONE_AND_TWO, ids=lambda kill: kill.name)
@pytest.mark.parametrize("point", CALLS, ids=lambda point: f"{point.name}-refused")
def test_a_stop_that_fails(server: ForkServer, tmp_path: Path, point: Point, kill: Kill) -> None:
    """If the delivery fails after a signal, the exit status is 1, and a session is failed."""
    first = tell(server, tmp_path, point, kill, then={"status": 501})
    first.check()
    assert first.code == 1, first.stderr
    assert first.position < SOURCE.states()[-1]
    # A finish may have taken effect despite its response: nothing is sent after it.
    assert set(first.sessions) <= {"finished", "failed", *(["open"] * (point.call == "finish"))}
    _and_again(server, tmp_path, point, first)


@pytest.mark.parametrize("kill", ONE_AND_TWO[-1:], ids=lambda kill: kill.name)
@pytest.mark.parametrize("point", CALLS, ids=lambda point: f"{point.name}-silent")
def test_a_stop_that_takes_too_long(
    server: ForkServer, tmp_path: Path, point: Point, kill: Kill
) -> None:
    """Missing responses delay a stop for `shutdown_seconds`; then the exit status is 1."""
    short = Point(**{**vars(point), "more": {**point.more, "shutdown_seconds": 0.05}})
    first = tell(server, tmp_path, short, kill, then={"hold": Hold()})
    first.check()
    assert first.code == 1, first.stderr
    assert first.position < SOURCE.states()[-1]
    _and_again(server, tmp_path, point, first)
