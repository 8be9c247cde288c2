"""`meltano.yml` offers what the target takes: Meltano drops an undeclared setting in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from target_segment_objects.settings import config_jsonschema

ROOT = Path(__file__).resolve().parents[1]

KINDS = {
    "array": {"array"},
    "boolean": {"boolean"},
    "integer": {"integer"},
    "number": {"string"},  # Meltano cannot write a decimal of the environment into its file
    "object": {"object"},
    "string": {"options", "password", "string"},
}


def _loader() -> dict[str, Any]:
    project = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    (loader,) = project["plugins"]["loaders"]
    assert isinstance(loader, dict)
    return loader


SETTINGS: dict[str, dict[str, Any]] = {each["name"]: each for each in _loader()["settings"]}
PROPERTIES: dict[str, dict[str, Any]] = config_jsonschema()["properties"]


def test_meltano_knows_every_setting() -> None:
    """The settings of meltano.yml are those of the target, in their order."""
    assert list(SETTINGS) == list(PROPERTIES)


@pytest.mark.parametrize("name", PROPERTIES)
def test_meltano_knows_a_setting_by_its_kind(name: str) -> None:
    """A setting's kind fits its type, its options are its words, and a secret is marked so."""
    offered, taken = SETTINGS[name], PROPERTIES[name]
    types = taken["type"] if isinstance(taken["type"], list) else [taken["type"]]
    assert offered["kind"] in set().union(*(KINDS[each] for each in types if each != "null"))
    words = [each for each in taken.get("enum", []) if each is not None]
    assert [option["value"] for option in offered.get("options", [])] == words
    assert offered.get("sensitive", False) is taken.get("secret", False)
