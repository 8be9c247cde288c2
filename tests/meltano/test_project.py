"""The checkout's own project, and the commands of docs/meltano.md as written."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.meltano.project import ROOT, Project, copy_checkout, quiet
from tests.running import environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.meltano.conftest import MakeProject
    from tests.meltano.installation import Installation
    from tests.meltano.project import Tally

PAGE = (ROOT / "docs" / "meltano.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PLUGINS: dict[str, Any] = yaml.safe_load((ROOT / "meltano.yml").read_text("utf-8"))["plugins"]


def _about(project: Project, plugin: str) -> dict[str, Any]:
    """Return a plugin's `--about`, called through Meltano."""
    ended = project.call("invoke", "--no-install", plugin, "--about", "--format=json")
    assert ended.code == 0, ended
    about = json.loads(ended.out)
    assert isinstance(about, dict)
    return about


@pytest.mark.parametrize("kind", ["extractors", "loaders"])
def test_a_plugin_is_declared_as_it_is(make_project: MakeProject, kind: str) -> None:
    """Settings, secrets and capabilities of tap-postgres and of the target match `--about`.

    Meltano silently drops settings that are not declared.
    """
    declared = PLUGINS[kind][-1]
    about = _about(make_project(), declared["name"])
    settings = {setting["name"]: setting for setting in declared["settings"]}
    properties = about["settings"]["properties"]
    assert set(settings) == set(properties)
    secrets = {name for name, setting in properties.items() if setting.get("secret")}
    assert secrets <= {name for name, setting in settings.items() if setting.get("sensitive")}
    assert sorted(about["capabilities"]) == declared["capabilities"]


def test_the_project_is_well_formed(make_project: MakeProject) -> None:
    """Meltano compiles it for every environment, and knows all of it but one capability."""
    ended = make_project().call("compile", "--lint")
    assert ended.code == 0, ended
    said = [event["event"] for event in ended.events if event["level"] != "info"]
    faults = {line.partition("::$.")[2] for text in said for line in text.splitlines()[2:]}
    unknown = re.compile(
        r"plugins\.loaders\.0(\.capabilities\.\d: 'validate-records'|: .*'capabilities')"
    )
    assert [fault for fault in faults if not unknown.match(fault)] == []


def test_the_commands_of_the_page_work(
    tmp_path: Path, installation: Installation, tally: Tally
) -> None:
    """In a clone, the page's commands run in order and print what the page says."""
    shells = [text for language, text in BLOCKS if language == "sh"]
    (printed,) = [text for language, text in BLOCKS if language == "text"]
    clone = tmp_path / "clone"
    copy_checkout(clone)
    env = quiet(environment()) | {
        "PATH": f"{installation.commands}{os.pathsep}{os.environ['PATH']}",
        **installation.without_network(),
    }
    commands = [line for line in shells[0].splitlines() if not line.startswith("pip install ")]
    assert [shlex.split(line)[1] for line in commands] == ["install", "run", "invoke"]
    tally.runs += 1
    for command in commands:
        ended = subprocess.run(
            shlex.split(command),
            cwd=clone,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
    assert ended.stdout == printed
    tally.rows += len(printed.splitlines()) - 1


@pytest.mark.parametrize("text", [text for language, text in BLOCKS if language == "yaml"])
def test_the_configuration_of_the_page_is_right(text: str) -> None:
    """Each block of YAML contains only settings of its plugin."""
    described = yaml.safe_load(text)
    loaders = described.get("plugins", {}).get("loaders", [])
    for item in described.get("environments", []):
        loaders += item["config"]["plugins"]["loaders"]
    assert loaders
    (declared,) = PLUGINS["loaders"]
    names = {setting["name"] for setting in declared["settings"]}
    for loader in loaders:
        assert loader["name"] == declared["name"]
        assert set(loader.get("config", {})) <= names
