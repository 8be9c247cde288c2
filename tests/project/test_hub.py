"""The entry for Meltano Hub is current, and has the form that the Hub's checks require."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from target_segment_objects.settings.declared import DECLARED
from tests.meltano import hub, plugin

if TYPE_CHECKING:
    from pathlib import Path

FILES = hub.files(hub.repository())
ENTRY = hub.definition(hub.repository())
REPOSITORY = "https://git.example/Some-Account/target-segment-objects"

# The configuration of the Hub's linter (its .yamllint.yaml).
RULES = """
extends: default
rules:
  braces: {forbid: non-empty}
  document-start: {present: false}
  indentation: {indent-sequences: false, spaces: 2}
  key-ordering: enable
  line-length: disable
  trailing-spaces: disable
  truthy: disable
"""
# The keys of a loader in the Hub's schema: the first ones are required, others are not allowed.
WANTED = {
    *("capabilities", "description", "domain_url", "executable", "keywords", "label", "logo_url"),
    *("maintenance_status", "name", "namespace", "next_steps", "pip_url", "quality", "repo"),
    *("settings", "settings_group_validation", "settings_preamble", "usage", "variant"),
}
KNOWN = WANTED | {
    *("commands", "definition", "dialect", "docs", "hidden", "log_parser", "prereq", "python"),
    *("requires", "supported_python_versions", "target_schema"),
}
SETTING = {"name", "label", "description", "kind", "options", "sensitive", "value"}
KINDS = {"password", "integer", "options", "object", "boolean", "string"}
DEFAULTS = """\
extractors:
  tap-{neighbour}: somebody
loaders:
  target-{neighbour}: somebody
mappers:
  transform-field: transferwise
"""
MAINTAINERS = """\
{neighbour}:
  label: Ångström & Söhne
  name: {neighbour}
  url: https://git.example/{neighbour}
"""


def test_the_entry_is_current() -> None:
    """`make docs` would not change anything in hub/_data."""
    committed = {
        path.relative_to(hub.HUB).as_posix(): path.read_text(encoding="utf-8")
        for path in (hub.HUB / "_data").rglob("*")
        if path.is_file()
    }
    assert committed == FILES


@pytest.mark.parametrize("repository", [None, REPOSITORY])
def test_the_hubs_linter_finds_nothing(tmp_path: Path, repository: str | None) -> None:
    """Its rules hold in every file: sorted keys, two spaces of indentation, no braces."""
    paths = []
    for number, text in enumerate(hub.files(repository).values()):
        paths.append(tmp_path / f"{number}.yml")
        paths[-1].write_text(text, encoding="utf-8")
    linted = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-d", RULES, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def test_the_entry_has_what_an_entry_has() -> None:
    """It has all the keys that the Hub requires and no unknown ones; its lists are sorted."""
    entry = hub.definition(REPOSITORY)
    assert set(entry) >= WANTED
    assert set(entry) <= KNOWN
    assert {key for setting in entry["settings"] for key in setting} <= SETTING
    assert {setting["kind"] for setting in entry["settings"]} <= KINDS
    names = [setting["name"] for setting in entry["settings"]]
    assert names == sorted(DECLARED)
    assert entry["capabilities"] == sorted(entry["capabilities"])
    assert [set(group) <= set(names) for group in entry["settings_group_validation"]] == [True] * 2
    assert all(re.fullmatch(r"3\.\d+", setting) for setting in entry["supported_python_versions"])
    assert "3.10" in entry["supported_python_versions"]


def test_the_entry_and_the_project_describe_the_same_loader() -> None:
    """`hub/` and `meltano.yml` agree about the loader; an empty value counts as missing."""
    loader: dict[str, Any]
    (loader,) = yaml.safe_load(plugin.PROJECT.read_text(encoding="utf-8"))["plugins"]["loaders"]
    for key in ("name", "namespace", "executable", "capabilities"):
        assert ENTRY[key] == loader[key]
    assert list(ENTRY["commands"]) == list(loader["commands"])
    settings = {setting["name"]: setting for setting in loader["settings"]}
    del settings["collections"]["value"]
    assert {setting["name"]: setting for setting in ENTRY["settings"]} == settings


def test_the_entry_is_at_the_path_of_the_hub() -> None:
    """Folder, file, default variant and maintainer have the entry's names."""
    variant = ENTRY["variant"]
    assert f"_data/meltano/loaders/{ENTRY['name']}/{variant}.yml" in FILES
    assert yaml.safe_load(FILES["_data/default_variants.yml"]) == {
        "loaders": {ENTRY["name"]: variant}
    }
    ((name, maintainer),) = yaml.safe_load(FILES["_data/maintainers.yml"]).items()
    assert name == maintainer["name"] == variant
    assert maintainer["label"]


def test_the_variant_is_the_account_of_the_repository() -> None:
    """If the repository has an address, the variant is its account in lower case."""
    files = hub.files(REPOSITORY)
    path = "_data/meltano/loaders/target-segment-objects/some-account.yml"
    entry = yaml.safe_load(files[path])
    assert (entry["variant"], entry["repo"]) == ("some-account", REPOSITORY)
    assert yaml.safe_load(files["_data/maintainers.yml"])["some-account"]["url"] == (
        "https://git.example/Some-Account"
    )


@pytest.mark.parametrize("neighbour", ["acme", "zacme"])
def test_a_clone_of_the_hub_gets_the_entry(tmp_path: Path, neighbour: str) -> None:
    """Its lists contain our items once, in order, and are otherwise unchanged.

    Nothing else in them changes.
    """
    data = tmp_path / "_data"
    data.mkdir()
    before = {
        data / "default_variants.yml": DEFAULTS.format(neighbour=neighbour),
        data / "maintainers.yml": MAINTAINERS.format(neighbour=neighbour),
    }
    for path, text in before.items():
        path.write_text(text, encoding="utf-8")
    hub.main([str(tmp_path)], REPOSITORY)
    hub.main([str(tmp_path)], REPOSITORY)
    ours = {
        "default_variants.yml": "  target-segment-objects: some-account\n",
        "maintainers.yml": hub.files(REPOSITORY)["_data/maintainers.yml"],
    }
    for path, text in before.items():
        after = path.read_text(encoding="utf-8")
        assert after.count(ours[path.name]) == 1
        assert after.replace(ours[path.name], "") == text
    variants = yaml.safe_load((data / "default_variants.yml").read_text("utf-8"))["loaders"]
    maintainers = yaml.safe_load((data / "maintainers.yml").read_text("utf-8"))
    assert list(variants) == sorted(variants)
    assert list(maintainers) == sorted(maintainers)
    logo = "static" + hub.LOGO
    assert (tmp_path / logo).read_bytes() == (hub.HUB / logo).read_bytes()


def test_nothing_is_handed_in_without_an_address(tmp_path: Path) -> None:
    """A clone of the Hub is not changed if the repository's address is unknown."""
    with pytest.raises(SystemExit, match=r"pyproject\.toml"):
        hub.main([str(tmp_path)], None)
    assert list(tmp_path.iterdir()) == []


def test_the_logo_is_a_drawing_and_nothing_else() -> None:
    """It is an SVG with a square view box and a title, without external resources or scripts."""
    assert ENTRY["logo_url"] == hub.LOGO
    root = ET.parse(hub.HUB / "static" / hub.LOGO[1:]).getroot()  # noqa: S314 our own file
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (left, top, width) == (0, 0, height)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags == {"svg", "title", "g", "path"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or name.endswith("href")}
