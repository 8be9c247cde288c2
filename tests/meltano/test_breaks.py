"""A run that is interrupted: the state is kept, and the next run completes the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from target_segment_objects.emulator import InjectedFault
from tests.meltano.conftest import midway, taken
from tests.meltano.tables import BOOKINGS

if TYPE_CHECKING:
    from target_segment_objects.emulator import Emulator
    from tests.meltano.conftest import Compare, MakeProject
    from tests.meltano.database import Database

RUN = ("tap-postgres", "target-segment-objects")
STATE = "prod:tap-postgres-to-target-segment-objects"
SAVED = "Incremental state has been updated"  # logged by Meltano
# The tap prints a state every 10,000 of 18,000 rows. With `bulk`, sessions are so small that one
# is finished after that state; Meltano buffers so little that the tap is still running.
STATE_AT = 10_000
HELD_AT = 13_000
SMALL = {
    "TAP_POSTGRES__SELECT": f'["{BOOKINGS.stream}.*"]',
    "TARGET_SEGMENT_OBJECTS_PART_SIZE_BYTES": "200000",
    "TARGET_SEGMENT_OBJECTS_SPOOL_MAX_BYTES": "1",
    "MELTANO_ELT_BUFFER_SIZE": "65536",
}

both_methods = pytest.mark.parametrize("method", ["bulk", "set"])


@both_methods
@pytest.mark.parametrize("broken_by", ["refusal", "ctrl-c"])
def test_the_next_run_completes_the_rows(  # noqa: PLR0913, PLR0917 fixtures
    method: str,
    broken_by: str,
    database: Database,
    segment: Emulator,
    make_project: MakeProject,
    compare: Compare,
) -> None:
    """In the middle of a table, Segment refuses all requests, or the user presses Ctrl-C.

    The run fails. The state that Meltano had by then stays, the next run reads from there on, and
    after it every row is there.
    """
    variables = {**database.tap_settings, **SMALL, "TARGET_SEGMENT_OBJECTS_METHOD": method}
    project = make_project(segment, **variables)
    with midway(segment, HELD_AT) as point, project.start_run(*RUN) as running:
        point.wait(running)
        running.wait_for(SAVED)
        if broken_by == "refusal":
            segment.fault(InjectedFault(count=None, status=401))
        else:
            running.interrupt()
        point.go_on()
        broken = running.end()

    assert broken.code == 1
    if broken_by == "refusal":
        (error,) = broken.messages("error")
        assert "Segment rejected this key" in error
    else:
        assert broken.messages("error") == []
        assert [line for line in broken.other_lines if "Traceback" in line] == []
    bookmark = project.state(STATE)["singer_state"]["bookmarks"][BOOKINGS.stream]
    (kept,) = database.query(
        f"SELECT id FROM bookings WHERE changed_at = '{bookmark['replication_key_value']}'"  # noqa: S608
    )
    rows = len(database.query(BOOKINGS.source))
    assert STATE_AT <= kept["id"] < rows

    before = taken(segment)
    assert HELD_AT <= before < rows
    assert project.run(*RUN).code == 0
    assert taken(segment) - before == rows - kept["id"] + 1
    compare(BOOKINGS)
