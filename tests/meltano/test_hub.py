"""The entry of `hub/` in real Meltano, as the Hub's checks and its users use it."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from target_segment_objects.emulator import Emulator
from tests.meltano import hub
from tests.meltano.project import ROOT, Project, copy_checkout
from tests.running import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.meltano.installation import Installation
    from tests.meltano.project import Tally

DATA = ROOT / "tests" / "data"
CAPTURES = ("billing", "helpdesk", "shop")
QUERY = "count(*) as rows from tickets"  # the entry's own example uses a table of the hotel
REPOSITORY = "https://git.example/Some-Account/target-segment-objects"
# Keys that the Hub uses for its pages and omits from its API.
ON_PAGES = {
    *("definition", "domain_url", "keywords", "maintenance_status"),
    *("next_steps", "prereq", "settings_preamble", "usage"),
}


def _entry() -> Path:
    (path,) = (hub.HUB / "_data" / "meltano" / "loaders" / hub.NAME).iterdir()
    return path


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path: Path, installation: Installation, tally: Tally) -> Project:
    """A project with a replay tap and without a loader."""
    folder = tmp_path / "project"
    folder.mkdir()
    described = _read(ROOT / "meltano.yml")
    (tap,) = [
        extractor
        for extractor in described["plugins"]["extractors"]
        if extractor["name"] == "tap-replay"
    ]
    tap["executable"] = str(ROOT / tap["executable"])
    tap["config"] = {"files": [str(DATA / f"{name}.singer") for name in CAPTURES]}
    described["plugins"] = {"extractors": [tap]}
    described["environments"] = [{"name": "dev"}]
    described["default_environment"] = "dev"
    (folder / "meltano.yml").write_text(yaml.safe_dump(described), encoding="utf-8")
    # Meltano caches a Hub's responses for an hour, for all projects of a user.
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache"), **installation.without_network()}
    return Project(folder, installation, tally, variables)


def _kept(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return settings as Meltano stores them: a password is a sensitive string."""
    return [
        {**setting, "kind": "string"} if setting["kind"] == "password" else setting
        for setting in settings
    ]


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder on loopback; yields its address and the requested paths."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A Hub with one plugin: the two files that the Hub's API generates from `hub/`."""
    plugins = folder / "meltano" / "api" / "v1" / "plugins" / "loaders"
    plugins.mkdir(parents=True)
    variants = _read(hub.HUB / "_data" / "default_variants.yml")["loaders"]
    defined = _read(_entry())
    with _served(folder) as (url, asked):
        logo = url + defined["logo_url"]
        reference = f"{hub.NAME}--{defined['variant']}"
        said = {name: value for name, value in defined.items() if name not in ON_PAGES}
        said |= {"logo_url": logo, "docs": f"{url}/loaders/{reference}"}
        (plugins / reference).write_text(json.dumps(said), encoding="utf-8")
        index = {
            hub.NAME: {
                "default_variant": variants[hub.NAME],
                "logo_url": logo,
                "variants": {
                    defined["variant"]: {"ref": f"{url}/meltano/api/v1/plugins/loaders/{reference}"}
                },
            }
        }
        (plugins / "index").write_text(json.dumps(index), encoding="utf-8")
        yield url, asked


@pytest.mark.parametrize("repository", [None, REPOSITORY])
def test_the_hubs_checks_pass(
    tmp_path: Path, shared: Path, installation: Installation, repository: str | None
) -> None:
    """In a clone of the Hub they report only that the repository has no address yet."""
    clone = tmp_path / "hub"
    (clone / "schemas").parent.mkdir()
    (clone / "schemas").symlink_to(shared / "hub" / "schemas")
    (clone / ".yamllint.yaml").symlink_to(shared / "hub" / ".yamllint.yaml")
    for path, text in hub.files(repository).items():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text, encoding="utf-8")
    (clone / "static").symlink_to(hub.HUB / "static")
    (entry,) = (clone / "_data" / "meltano" / "loaders" / hub.NAME).iterdir()
    script = shared / "hub" / "validate_hub.py"
    checked = subprocess.run(
        [installation.commands / "python", script, "--hub", clone, "--strict", entry],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.strip() for line in checked.stdout.splitlines() if line.startswith(" ")]
    assert found == ([] if repository else ["WARN  no repo (hub-utils writes it)"]), checked.stderr
    assert checked.returncode == (0 if repository else 1)


def test_the_definition_can_be_added_as_it_is(project: Project) -> None:
    """The command of docs/hub.md and of the Hub's own checks; Meltano writes all of it."""
    page = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^meltano (add .*)$", page, re.MULTILINE)
    (project.folder / "hub").symlink_to(hub.HUB)
    ended = project.call(*shlex.split(command), "--no-install")
    assert ended.code == 0, ended
    (loader,) = _read(project.folder / "meltano.yml")["plugins"]["loaders"]
    defined = _read(_entry())
    assert loader["settings"] == _kept(defined["settings"])
    for key in ("name", "namespace", "variant", "pip_url", "executable", "capabilities"):
        assert loader[key] == defined[key]


def test_a_user_adds_it_from_the_hub(tmp_path: Path, project: Project, tally: Tally) -> None:
    """`meltano add target-segment-objects` from a Hub installs it, and the rows arrive.

    Then what the entry says about trying it without Segment does what it says.
    """
    with _hub(tmp_path / "served") as (url, asked):
        ended = project.call("add", "--no-install", hub.NAME, MELTANO_HUB_URL=url)
    assert ended.code == 0, ended
    assert [path.rpartition("/")[2].partition("--")[0] for path in asked] == ["index", hub.NAME]
    defined = _read(_entry())
    described = _read(project.folder / "meltano.yml")
    (loader,) = described["plugins"]["loaders"]
    assert loader == {key: defined[key] for key in ("name", "variant", "pip_url")}
    (lock,) = (project.folder / "plugins" / "loaders").glob("*.lock")
    locked = json.loads(lock.read_text(encoding="utf-8"))
    assert locked["settings"] == _kept(defined["settings"])

    copy_checkout(tmp_path / "clone")
    loader["pip_url"] = loader["pip_url"].replace(hub.NAME, f"-e {tmp_path / 'clone'}")
    (project.folder / "meltano.yml").write_text(yaml.safe_dump(described), encoding="utf-8")
    ended = project.call("install", hub.NAME)
    assert ended.code == 0, ended

    expected = {
        table: rows
        for name in CAPTURES
        for table, rows in json.loads((DATA / f"{name}.rows.json").read_text("utf-8")).items()
    }
    with Emulator(write_key=KEY) as segment:
        urls = {"OBJECTS_URL": segment.url, "BULK_URL": segment.url}
        given = {"WRITE_KEY": KEY, "METHOD": "set", **urls}
        variables = {f"TARGET_SEGMENT_OBJECTS_{name}": value for name, value in given.items()}
        ended = project.run("tap-replay", hub.NAME, **variables)
        assert ended.code == 0, ended.events
        assert not [event for event in ended.events if event["event"].startswith("{")]
        assert ended.messages("info", hub.NAME)
        assert segment.refusals == []
        assert segment.tables() == expected
        assert {request.call for request in segment.requests} == {"set"}
    tally.rows += sum(map(len, expected.values()))

    commands = re.findall(r"^meltano (.*)$", defined["usage"], re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["config", "run", "invoke"]
    for command in commands:
        here = command.replace("tap-your-choice", "tap-replay").replace("* from rooms", QUERY)
        ended = project.call(*shlex.split(here))
        assert ended.code == 0, ended
    assert ended.out == f"rows\n{len(expected['tickets'])}\n"
