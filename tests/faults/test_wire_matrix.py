"""The wire matrix: whatever the network or Segment does, no data is lost and no state is early.

Each case is a run with a fault, followed by a run without it, from the last state that the first
one printed.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.delivery.bulk import spool as spooling
from target_segment_objects.emulator import Emulator, Hold, InjectedFault
from target_segment_objects.errors import (
    AuthenticationError,
    RefusedError,
    RejectedRecordError,
    SessionRefusedError,
    UnavailableError,
)
from tests.faults.instant_clock import EmulatorPort, InstantClock
from tests.faults.wire_cases import CASES, Case, Reaction
from tests.faults.wire_run import Outcome, Source, in_order, run
from tests.running import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEADLINE = 0.1
"""The deadline of a request, in real seconds, if the fault is a missing response."""
_KEPT_ALIVE = 4
"""How many keep-alives an upload waits for if they keep failing."""

_ERRORS = {
    Reaction.RETRIED: UnavailableError,
    Reaction.HALVED: RejectedRecordError,
    Reaction.SPLIT: RejectedRecordError,
    Reaction.REPLACED: SessionRefusedError,
    Reaction.KEY: AuthenticationError,
    Reaction.END: RefusedError,
}


class _Summary:
    """Prints the number of cases and their time at the end of the tests."""

    def __init__(self) -> None:
        self.cases = 0
        self.began = time.monotonic()
        self.seconds = 0.0

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(
            f"fault matrix: {self.cases} wire cases in {self.seconds:.0f} s"
        )


@pytest.fixture(scope="module")
def summary(pytestconfig: pytest.Config) -> Iterator[_Summary]:
    """Counts the cases."""
    summary = _Summary()
    pytestconfig.pluginmanager.register(summary)
    yield summary
    summary.seconds = time.monotonic() - summary.began


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for spools, empty after every case."""
    return tmp_path_factory.mktemp("spool")


@pytest.fixture
def port() -> Iterator[EmulatorPort]:
    """The port of one case's emulator."""
    port = EmulatorPort()
    yield port
    port.forget()


@dataclass
class _World:
    """One case: an emulator, its fault, and the clock of the run that meets it."""

    case: Case
    segment: Emulator
    source: Source
    clock: InstantClock
    hold: Hold
    upload: Hold | None = None

    @classmethod
    def of(cls, case: Case, port: EmulatorPort) -> _World:
        """Create the world before its first run."""
        crowd = case.point.name == "set-crowd"
        source = Source(120, 45, 6) if crowd else Source()
        segment = Emulator(write_key=KEY, port=port.port)
        return cls(case, segment, source, InstantClock(), Hold())

    def arm(self) -> None:
        """Inject the fault."""
        point, fault, hits = self.case.point, self.case.fault, self.case.hits
        script = dict(fault.script)
        if fault.holds:
            script["hold"] = self.hold
        if fault.refuses:
            # The request is cut, and no new connection is accepted. If the fault stays, existing
            # connections are cut too, since a retry could use an idle one.
            script["callback"] = lambda _: self._close_port()
            if self.case.heals:
                hits = 1
        if fault.refuses and point.name in {"set-first", "start"}:
            EmulatorPort.close(self.segment)
        else:
            self.segment.fault(
                InjectedFault(call=point.call, first=point.first, count=hits, **script)
            )
        if point.call == "keep-alive":
            self._keep_silent()
        elif fault.refuses and self.case.heals:
            self.clock.on_wait = lambda count: (
                EmulatorPort.open(self.segment) if count == 2 else None
            )

    def _close_port(self) -> None:
        if self.upload is not None:
            self.upload.wait_for(1)  # it already has a connection, and is held
        EmulatorPort.close(self.segment)

    def _keep_silent(self) -> None:
        """Withhold the first upload until the keep-alives have met the fault."""
        upload = self.upload = self.segment.hold("upload")
        hits = self.case.hits or _KEPT_ALIVE - 1
        if not self.case.fault.refuses:
            after = InjectedFault(
                call="keep-alive", first=hits + 1, callback=lambda _: upload.release()
            )
            self.segment.fault(after)
            return

        def waited(count: int) -> None:
            if count == hits:
                EmulatorPort.open(self.segment)
                upload.release()

        self.clock.on_wait = waited

    def disarm(self) -> None:
        """Remove the fault; withheld requests are cut."""
        self.hold.cut()
        self.segment.clear_faults()
        if self.case.fault.refuses:
            EmulatorPort.open(self.segment)

    def run(self, spool: Path, *, after: int = 0) -> Outcome:
        """Run the target with the point's settings; deadlines are short only where needed."""
        config = dict(self.case.point.settings)
        meets = self.case.fault.slow and not after
        if meets and self.case.point.call == "upload":
            config["upload_timeout_seconds"] = _DEADLINE
        elif meets:
            config["request_timeout_seconds"] = _DEADLINE
        if meets and not self.case.heals:
            config["retry_seconds"] = 0
        in_turn = config.get("max_concurrency") == 1
        return run(
            self.segment,
            self.source,
            config,
            spool,
            clock=self.clock,
            after=after,
            in_turn=in_turn and not after,
        )

    def count(self, call: str) -> int:
        """Return how many requests of a call have arrived."""
        return sum(request.call == call for request in self.segment.requests)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_nothing_is_lost_on_the_wire(
    case: Case,
    port: EmulatorPort,
    summary: _Summary,
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit status, states, order, limits and waits are as documented; a second run ends well."""
    summary.cases += 1
    monkeypatch.setattr(spooling, "_MEMORY_BYTES", 64)  # so that there are spool files
    descriptors = _descriptors()
    world = _World.of(case, port)
    with world.segment:
        world.arm()
        outcome = world.run(spool)
        _check_end(world, outcome)
        _check_books(world, outcome)
        _check_attempts(world)
        in_order(world.segment, world.source, merged=case.point.call == "set")
        world.disarm()
        if outcome.error is not None:
            world.clock.on_wait = None
            assert world.run(spool, after=outcome.last).error is None
        assert world.segment.in_flight_peak <= _most_at_once(case)
    if _descriptors() > descriptors:
        gc.collect()  # a broken connection may exist until then
    assert _descriptors() <= descriptors


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
@pytest.mark.parametrize("uploads", [(1,), (3,), (1, 3), (1, 6), (2, 5), (2, 6), (3, 7, 9)])
@pytest.mark.parametrize("status", [0, 400, 404, 410])
def test_a_session_is_lost_more_than_once(
    spool: Path, monkeypatch: pytest.MonkeyPatch, status: int, uploads: tuple[int, ...]
) -> None:
    """At some uploads and the finish, at a different part each time: exit 0, all in order."""
    monkeypatch.setattr(spooling, "_MEMORY_BYTES", 64)
    with Emulator(write_key=KEY) as segment:
        for call, first in (*(("upload", number) for number in uploads), ("finish", 1)):
            lost = InjectedFault(call=call, first=first, expire=not status, status=status or None)
            segment.fault(lost)
        source = Source()
        bulk = {"method": "bulk", "part_size_bytes": 320, "checkpoint_seconds": 0}
        outcome = run(segment, source, bulk, spool)
        assert outcome.error is None, outcome.error
        assert len(segment.sessions) == 1 + len(uploads) + 1
        in_order(segment, source, merged=False)


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _check_end(world: _World, outcome: Outcome) -> None:
    """Check the exit status, and that the error says what to do."""
    case, error = world.case, outcome.error
    if not case.code:
        assert error is None, error
        return
    assert type(error) is _ERRORS[case.reaction], error
    message = str(error)
    if case.reaction is Reaction.KEY:
        assert "write_key" in message
        assert "objects_url" in message or "bulk_url" in message
    if case.fault.status and case.reaction is not Reaction.RETRIED:
        assert str(case.fault.status) in message


def _check_books(world: _World, outcome: Outcome) -> None:
    """Check that states before the fault are printed, and that no session stays open needlessly."""
    case, segment = world.case, world.segment
    states = [session.state for session in segment.sessions.values()]
    assert case.leaves_open or "open" not in states
    if not case.code:
        assert case.point.settings["method"] != "bulk" or states[-1] == "finished"
    elif case.point.before >= 0:
        # A busy machine may miss a short deadline by itself; then the fault hits an earlier call.
        assert outcome.last == case.point.before or (
            case.fault.slow and outcome.last < case.point.before
        )
    elif case.point.name.startswith("next-"):
        finished = [session for session in segment.sessions.values() if session.state == "finished"]
        first = sum(part.objects for part in finished[0].parts)
        assert outcome.last == max(state for state in (0, *world.source.states) if state <= first)
    for request in segment.refusals:
        if request.reason != "an injected fault":
            gone = case.fault.expires or case.point.call in {"finish", "keep-alive"}
            assert gone, request.reason
            assert request.reason.startswith("the session is")


def _check_attempts(world: _World) -> None:
    """Check that a request is retried within its budget, and waits as long as required."""
    case = world.case
    calls = world.count(case.point.call) - case.point.first + 1
    if not case.point.in_turn:
        asks = case.fault.asks or case.fault.until
        if asks and case.reaction is Reaction.RETRIED:
            assert max(world.clock.waits) >= min(asks, 300.0)
        return
    if case.reaction is not Reaction.RETRIED:
        assert world.clock.waits == []
    elif not case.fault.slow:
        waits = case.fault.waits()[: case.hits]
        assert world.clock.waits[: len(waits)] == waits
        if not case.heals and not case.fault.refuses:
            assert calls == len(waits) + 1
    if case.reaction in {Reaction.KEY, Reaction.END}:
        assert calls == 1
    if case.reaction is Reaction.REPLACED and not case.heals:
        assert len(world.segment.sessions) == 2 + case.point.name.startswith("next-")


def _most_at_once(case: Case) -> int:
    """Return the maximum of requests in flight; a withheld response stands for a lost one."""
    most = case.point.settings["max_concurrency"]
    assert isinstance(most, int)
    return 20 if case.fault.slow else most
