"""Fixtures for Meltano, PostgreSQL and the emulator, and a count of what was compared."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault
from tests.meltano.database import serve
from tests.meltano.installation import Installation, NotInstalledError, install
from tests.meltano.project import Project, Tally
from tests.meltano.tables import SEED
from tests.running import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.emulator import RecordedRequest
    from tests.meltano.database import Database
    from tests.meltano.project import Running
    from tests.meltano.tables import Table

_TALLY = pytest.StashKey[Tally]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print how much was compared."""
    tally = config.stash.get(_TALLY, Tally())
    if tally.runs:
        terminalreporter.write_line(f"Meltano: {tally.runs} runs, {tally.rows:,} rows compared")


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """The counts of this session."""
    return pytestconfig.stash.setdefault(_TALLY, Tally())


@pytest.fixture(scope="session")
def installation() -> Installation:
    """Meltano and its plugins. Without PyPI the tests are skipped; in CI they fail."""
    try:
        return install()
    except NotInstalledError as error:
        if "CI" in os.environ:
            pytest.fail(f"real Meltano must be tested here: {error}", pytrace=False)
        pytest.skip(f"needs Meltano from PyPI: {error}")


@pytest.fixture(scope="session")
def seeded(installation: Installation) -> Iterator[Database]:
    """A PostgreSQL with the tables, to be copied."""
    with serve(installation.packages) as database:
        seeded = database.named("seeded")
        seeded.execute(SEED.read_text(encoding="utf-8"))
        yield seeded


@pytest.fixture
def database(seeded: Database) -> Database:
    """A copy of the tables, which one test may change."""
    return seeded.copy()


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Emulator]:
    """The emulator with a warehouse."""
    with Emulator(write_key=KEY, warehouse=tmp_path / "segment.duckdb") as segment:
        yield segment


class MakeProject(Protocol):
    """A function that creates a project."""

    def __call__(self, segment: Emulator | None = None, **variables: str) -> Project:
        """Create it; its configuration comes only from environment variables."""


@pytest.fixture
def make_project(tmp_path: Path, installation: Installation, tally: Tally) -> MakeProject:
    """A project that delivers to an emulator as to Segment; otherwise to a local warehouse."""

    def make(segment: Emulator | None = None, **variables: str) -> Project:
        if segment is not None:
            variables |= {
                "MELTANO_ENVIRONMENT": "prod",
                "TARGET_SEGMENT_OBJECTS_WRITE_KEY": KEY,
                "TARGET_SEGMENT_OBJECTS_OBJECTS_URL": segment.url,
                "TARGET_SEGMENT_OBJECTS_BULK_URL": segment.url,
            }
        return Project.make(tmp_path / "project", installation, tally, variables)

    return make


class Compare(Protocol):
    """A function that compares tables."""

    def __call__(self, *tables: Table) -> None:
        """Compare all rows on both sides."""


@pytest.fixture
def compare(database: Database, segment: Emulator, tally: Tally) -> Compare:
    """Compares tables, row by row."""

    def compare(*tables: Table) -> None:
        tally.rows += sum(table.compare(database, segment) for table in tables)

    return compare


class Midway:
    """A point within a run: this many objects were accepted, and responses are withheld."""

    def __init__(self, segment: Emulator, objects: int) -> None:
        self._segment = segment
        self._objects = objects
        self._reached = threading.Event()
        self._passed = threading.Event()
        for call in ("set", "upload"):
            fault = InjectedFault(call=call, count=None, at="applied", callback=self._hold)
            segment.fault(fault)

    def _hold(self, _: RecordedRequest) -> None:
        if not self._passed.is_set() and taken(self._segment) >= self._objects:
            self._reached.set()
            self._passed.wait()

    def wait(self, running: Running) -> None:
        """Wait until the run has reached it."""
        running.wait_with(self._reached)

    def go_on(self) -> None:
        """Release the responses."""
        self._passed.set()


def taken(segment: Emulator) -> int:
    """How many objects the emulator has taken."""
    return sum(request.objects for request in segment.requests)


@contextmanager
def midway(segment: Emulator, objects: int) -> Iterator[Midway]:
    """Hold the run after this many objects, until `go_on` or the end of the block."""
    point = Midway(segment, objects)
    try:
        yield point
    finally:
        point.go_on()
        segment.clear_faults()
