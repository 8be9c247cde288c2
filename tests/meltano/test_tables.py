"""`meltano run tap-postgres target-segment-objects`: the rows of the database are in Segment."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.meltano.conftest import taken
from tests.meltano.tables import BOOKINGS, NOTHING_YET, TABLES
from tests.running import KEY

if TYPE_CHECKING:
    from target_segment_objects.emulator import Emulator
    from tests.meltano.conftest import Compare, MakeProject
    from tests.meltano.database import Database

RUN = ("tap-postgres", "target-segment-objects")
STATE = "prod:tap-postgres-to-target-segment-objects"
CHANGES = """
UPDATE bookings SET paid = NULL, changed_at = '2026-05-01 00:00Z' WHERE id % 1000 = 1;
INSERT INTO bookings VALUES (20000, '2026-05-02 00:00Z', 'late', 1, 99.99);
UPDATE "Guest Book" SET "HomeTown" = NULL WHERE "GuestId" % 10 = 1;
INSERT INTO nothing_yet VALUES (1, 'the first');
"""
# These rows, and the bookmark's, since others may have the same timestamp.
CHANGED_BOOKINGS = 18 + 1 + 1
TWICE = 100  # duplicate rows of `page_visits`: sent, and merged

both_methods = pytest.mark.parametrize("method", ["bulk", "set"])


@both_methods
def test_a_database_arrives_and_then_its_changes(
    method: str,
    database: Database,
    segment: Emulator,
    make_project: MakeProject,
    compare: Compare,
) -> None:
    """All rows of all tables, configured by variables only; then the changes since the state.

    Meltano understands each line of the log, warnings as warnings, and no line shows the key.
    """
    project = make_project(segment, TARGET_SEGMENT_OBJECTS_METHOD=method, **database.tap_settings)
    first = project.run(*RUN)
    assert first.code == 0, first.events
    assert segment.refusals == []
    assert {request.call for request in segment.requests} == (
        {"set"} if method == "set" else {"start", "upload", "finish"}
    )
    assert set(segment.tables()) == {table.collection for table in TABLES}
    assert segment.lost_values == {}
    compare(*TABLES)

    assert len(first.other_lines) == 1, first.other_lines
    assert first.messages("error") == []
    warnings = first.messages("warning")
    assert [line for line in warnings if "no key properties" not in line] == []
    assert sorted(re.findall(r"stream '(.*?)'", line)[0] for line in warnings) == [
        "public-page_visits",
        "public-spending",
    ]
    assert KEY not in json.dumps(first.events)
    metrics = [
        event["metric_info"]
        for event in first.events
        if event["event"] == "METRIC" and event["name"] == "tap-postgres"
    ]
    read = sum(metric["value"] for metric in metrics if metric["metric"] == "record_count")
    assert read == taken(segment) > 0

    bookmarks = project.state(STATE)["singer_state"]["bookmarks"]
    assert set(bookmarks) == {table.stream for table in (*TABLES, NOTHING_YET)}
    assert bookmarks[BOOKINGS.stream]["replication_key_value"].startswith("2026-04-01T05:00:00")

    before = taken(segment)
    database.execute(CHANGES)
    assert project.run(*RUN).code == 0
    assert segment.refusals == []
    whole = sum(len(database.query(table.source)) for table in (*TABLES[1:], NOTHING_YET))
    assert taken(segment) - before == CHANGED_BOOKINGS + whole + TWICE
    compare(*TABLES, NOTHING_YET)
