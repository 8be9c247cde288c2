"""Features between a tap and Segment: stream maps, a mapper, a replay, and wrong settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from target_segment_objects.emulator import Emulator
from tests.meltano.tables import Table
from tests.running import KEY, ROOT, lines, record, schema, state

if TYPE_CHECKING:
    from pathlib import Path

    from tests.meltano.conftest import Compare, MakeProject
    from tests.meltano.database import Database
    from tests.meltano.project import Tally

DATA = ROOT / "tests" / "data"
CAPTURES = ("billing", "helpdesk", "shop")

GREETED = Table(
    "public-Guest Book",
    "public_guest_books",
    """
    SELECT "GuestId"::text AS id, "Guest Name" AS guest_name, 'Aloha ' || "Guest Name" AS greeting
    FROM "Guest Book"
    """,
    "SELECT id, guest_name, greeting FROM public_guest_books",
)
PATHS = Table(
    "public-page_visits",
    "paths",
    """
    SELECT DISTINCT milliseconds::text AS id, milliseconds, btrim(page, '/') AS path
    FROM page_visits
    """,
    "SELECT id, milliseconds, path FROM paths",
)
MAPS = {
    PATHS.stream: {
        "__alias__": "path",
        "__key_properties__": ["milliseconds"],
        "__else__": "__NULL__",
        "milliseconds": "milliseconds",
        "path": "page.strip('/')",
    }
}


def test_a_mapper_and_stream_maps_change_what_arrives(
    database: Database, segment: Emulator, make_project: MakeProject, compare: Compare
) -> None:
    """A mapper adds a property; the target's stream maps rename, select and set keys."""
    selected = [f"{GREETED.stream}.*", f"{PATHS.stream}.*"]
    project = make_project(
        segment,
        TAP_POSTGRES__SELECT=json.dumps(selected),
        TARGET_SEGMENT_OBJECTS_STREAM_MAPS=json.dumps(MAPS),
        **database.tap_settings,
    )
    ended = project.run("tap-postgres", "greet", "target-segment-objects")
    assert ended.code == 0, ended.events
    assert segment.refusals == []
    compare(GREETED, PATHS)
    (row, *_) = segment.rows(PATHS.collection)
    assert set(row) == {"id", "milliseconds", "path"}


def test_captures_are_replayed(make_project: MakeProject, tally: Tally) -> None:
    """Output of other taps is replayed by a tap of the project, in the order of its files."""
    files = [str(DATA / f"{name}.singer") for name in CAPTURES]
    expected = {
        table: rows
        for name in CAPTURES
        for table, rows in json.loads((DATA / f"{name}.rows.json").read_text("utf-8")).items()
    }
    with Emulator(write_key=KEY) as segment:
        project = make_project(segment, TAP_REPLAY_FILES=json.dumps(files))
        ended = project.run("tap-replay", "target-segment-objects")
        assert ended.code == 0, ended.events
        assert segment.refusals == []
        assert segment.tables() == expected
    tally.rows += sum(map(len, expected.values()))
    read = [json.loads(line) for line in (DATA / "shop.singer").read_text("utf-8").splitlines()]
    last = [message["value"] for message in read if message["type"] == "STATE"][-1]
    assert project.state("prod:tap-replay-to-target-segment-objects") == {"singer_state": last}


@pytest.mark.parametrize("removed", ["__NULL__", None])
def test_names_with_dots_and_nulls(
    tmp_path: Path, make_project: MakeProject, removed: str | None
) -> None:
    """Meltano splits dotted names, which are joined again; it drops null, with a warning."""
    fed = lines(
        schema("public.users", id="integer", name="string", email="string"),
        record("public.users", id=1, name="ana", email="ana@example.com"),
        state(1),
    )
    (tmp_path / "fed.singer").write_bytes(fed)
    with Emulator(write_key=KEY) as segment:
        files = json.dumps([str(tmp_path / "fed.singer")])
        project = make_project(segment, TAP_REPLAY_FILES=files)
        described = yaml.safe_load((project.folder / "meltano.yml").read_text(encoding="utf-8"))
        (loader,) = described["plugins"]["loaders"]
        loader.setdefault("config", {}).update(
            collections={"public.users": "people"},
            stream_maps={"public.users": {"name": "name.upper()", "email": removed}},
        )
        (project.folder / "meltano.yml").write_text(yaml.safe_dump(described), encoding="utf-8")
        ended = project.run("tap-replay", "target-segment-objects")
        assert ended.code == 0, ended.events
        email = {} if removed else {"email": "ana@example.com"}
        assert segment.tables() == {"people": [{"id": "1", "name": "ANA", **email}]}
        warnings = ended.messages("warning")
        assert [text for text in warnings if "differ in" in text] == (
            [] if removed else [text for text in warnings if "`public.users.email`" in text]
        )
        assert len(warnings) == (0 if removed else 1), warnings


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("MAX_CONCURRENCY", "100", "max_concurrency must be an integer from 1 to 20"),
        ("WRITE_KEY", "", "write_key"),
    ],
)
def test_a_wrong_setting_is_one_error(
    make_project: MakeProject, variable: str, value: str, sentence: str
) -> None:
    """A wrong setting in the environment ends the run with one line at the level of an error."""
    with Emulator(write_key=KEY) as segment:
        project = make_project(segment)
        wrong = {f"TARGET_SEGMENT_OBJECTS_{variable}": value}
        ended = project.run("tap-replay", "target-segment-objects", **wrong)
        assert ended.code == 1
        (error,) = ended.messages("error")
        assert sentence in error
        assert segment.requests == []
