"""The command `target-segment-objects`: options, configuration, and mistakes in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.settings.declared import DECLARED
from tests.running import KEY, config_file, environment, lines, record, run, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOMS = (schema("rooms", name="string", id="integer"), record("rooms", id=1, name="Beach"))
FED = lines(*ROOMS, state({"rooms": 1}))
PREFIX = "TARGET_SEGMENT_OBJECTS_"


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator that accepts one key; the test must not break a rule of the API."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator
        assert emulator.refusals == []


def _config(segment: Emulator, **more: Any) -> dict[str, Any]:
    return {"write_key": KEY, "objects_url": segment.url, "bulk_url": segment.url, **more}


def test_version(tmp_path: Path) -> None:
    """`--version` prints name and version on one line, and needs no configuration."""
    ran = run(tmp_path, None, b"", "--version")
    assert ran.code == 0
    assert ran.states[0].startswith("target-segment-objects v")


def test_help(tmp_path: Path) -> None:
    """`--help` names the options, and needs no configuration."""
    ran = run(tmp_path, None, b"", "--help")
    assert ran.code == 0
    assert {"--config", "--about", "--input", "--version"} <= set("\n".join(ran.states).split())


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_about_names_every_setting(tmp_path: Path, form: str) -> None:
    """`--about` shows every declared setting in every format, and no key of the environment."""
    env = environment(**{f"{PREFIX}WRITE_KEY": KEY})
    arguments = ["--about"] if form == "text" else ["--about", f"--format={form}"]
    ran = run(tmp_path, None, b"", *arguments, env=env)
    output = "\n".join(ran.states)
    assert ran.code == 0
    assert [name for name in DECLARED if name not in output] == []
    assert KEY not in output + ran.log


def test_about_as_json_is_for_programs(tmp_path: Path) -> None:
    """`--about --format=json` prints one JSON document with exactly the declared settings."""
    ran = run(tmp_path, None, b"", "--about", "--format=json")
    about = json.loads("\n".join(ran.states))
    assert set(about["settings"]["properties"]) == set(DECLARED)
    assert about["settings"]["properties"]["write_key"]["secret"] is True


def test_input_from_a_file(tmp_path: Path, segment: Emulator) -> None:
    """`--input FILE` is the same as the file on stdin."""
    (tmp_path / "tap.singer").write_bytes(FED)
    ran = run(tmp_path, _config(segment), b"", "--input", "tap.singer")
    assert (ran.code, ran.states) == (0, ['{"rooms": 1}'])
    assert segment.rows("rooms") == [{"id": "1", "name": "Beach"}]


def test_several_files_of_configuration(tmp_path: Path, segment: Emulator) -> None:
    """Of several `--config` files, the last one that has a setting decides it."""
    more = config_file(tmp_path, {"method": "set", "pluralize": False}, "more.json")
    ran = run(tmp_path, _config(segment, method="bulk"), FED, "--config", more)
    assert ran.code == 0
    assert {request.call for request in segment.requests} == {"set"}
    assert list(segment.tables()) == ["rooms"]


def test_the_environment_alone(tmp_path: Path, segment: Emulator) -> None:
    """Variables are enough, without an option and with `--config ENV`."""
    env = environment(
        **{
            f"{PREFIX}WRITE_KEY": KEY,
            f"{PREFIX}METHOD": "set",
            f"{PREFIX}OBJECTS_URL": segment.url,
            f"{PREFIX}MAX_CONCURRENCY": "3",
            f"{PREFIX}COLLECTIONS": '{"rooms": "chambers"}',
        }
    )
    for arguments in ((), ("--config", "ENV")):
        ran = run(tmp_path, None, FED, *arguments, env=env)
        assert (ran.code, ran.states) == (0, ['{"rooms": 1}'])
    assert list(segment.tables()) == ["chambers"]


def test_a_file_and_env(tmp_path: Path, segment: Emulator) -> None:
    """A variable gives a setting that the file does not have; with `--config ENV` it wins."""
    env = environment(**{f"{PREFIX}METHOD": "set"})
    config = _config(segment, method="bulk")
    assert run(tmp_path, config, FED, env=env).code == 0
    assert {request.call for request in segment.requests} == {"start", "upload", "finish"}
    assert run(tmp_path, config, FED, "--config", "ENV", env=env).code == 0
    assert segment.requests[-1].call == "set"


@pytest.mark.parametrize(
    ("config", "text", "variables", "names"),
    [
        pytest.param(None, None, {}, "write_key", id="no key"),
        pytest.param(None, "", {}, "no.json", id="no file"),
        pytest.param(None, f'{{"write_key": "{KEY}",', {}, "broken.json", id="broken"),
        pytest.param(None, f'["{KEY}"]', {}, "broken.json", id="no object"),
        pytest.param({"method": "stream"}, None, {}, "method", id="wrong choice"),
        pytest.param(
            {}, None, {"MAX_CONCURRENCY": "abc"}, f"{PREFIX}MAX_CONCURRENCY", id="no number"
        ),
        pytest.param({}, None, {"REGION": ""}, f"{PREFIX}REGION", id="empty variable"),
        pytest.param({"write_key": f"{KEY}\n"}, None, {}, "write_key", id="key with a break"),
        pytest.param({"region": "dublin"}, None, {}, "bulk_url", id="no address"),
        pytest.param(
            {"bulk_url": f"https://{KEY}@example.com"}, None, {}, "bulk_url", id="user info"
        ),
    ],
)
def test_a_wrong_configuration_is_one_sentence(
    tmp_path: Path,
    config: dict[str, Any] | None,
    text: str | None,
    variables: dict[str, str],
    names: str,
) -> None:
    """One error names the setting, exit 1, and nothing is read; the key is never shown."""
    env = environment(**{PREFIX + name: value for name, value in variables.items()})
    arguments: list[str] = []
    if text is not None:
        arguments = ["--config", names]
        if text:
            (tmp_path / names).write_text(text, encoding="utf-8")
    given = None if config is None else {"write_key": KEY, **config}
    ran = run(tmp_path, given, FED, *arguments, env=env)
    assert (ran.code, ran.states, len(ran.sentences)) == (1, [], 1)
    assert names in ran.sentences[0]
    assert "Traceback" not in ran.log
    assert KEY not in ran.log
    assert "completed processing" not in ran.log


def test_an_unknown_setting_is_a_warning(tmp_path: Path, segment: Emulator) -> None:
    """An unknown setting is ignored with a warning that has the nearest name."""
    ran = run(tmp_path, _config(segment, max_concurency=3, write_kee=KEY), FED)
    assert ran.code == 0
    warnings = [line for line in ran.log.splitlines() if "WARNING" in line]
    assert len(warnings) == 2
    assert "did you mean max_concurrency?" in warnings[0]
    assert "did you mean write_key?" in warnings[1]
    assert KEY not in ran.log


def test_no_input_is_no_sync(tmp_path: Path, segment: Emulator) -> None:
    """With an empty stdin, or one with only states and schemas, Segment is not called."""
    assert run(tmp_path, _config(segment)).states == []
    ran = run(tmp_path, _config(segment), lines(state({"a": 1}), ROOMS[0], state({"a": 2})))
    assert (ran.code, ran.states) == (0, ['{"a": 2}'])
    assert segment.requests == []
