"""`meltano.yml` declares all settings of the target; Meltano silently drops undeclared ones."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from target_segment_objects.settings.declared import DECLARED, config_jsonschema
from tests.meltano import plugin

TEXT = plugin.PROJECT.read_text(encoding="utf-8")
PROJECT: dict[str, Any] = yaml.safe_load(TEXT)
(LOADER,) = PROJECT["plugins"]["loaders"]
SETTINGS: dict[str, dict[str, Any]] = {setting["name"]: setting for setting in LOADER["settings"]}
KINDS = {"boolean": "boolean", "integer": "integer", "number": "string"}


def test_the_project_is_current() -> None:
    """`make docs` would not change meltano.yml."""
    assert plugin.written(TEXT) == TEXT


def test_meltano_knows_every_setting() -> None:
    """The settings in meltano.yml are those of the target, in the same order."""
    assert list(SETTINGS) == list(config_jsonschema()["properties"]) == list(DECLARED)


@pytest.mark.parametrize("name", DECLARED)
def test_meltano_knows_a_setting_by_its_kind(name: str) -> None:
    """Kind, options, secrecy and default of a setting are right.

    The target takes the default as Meltano hands it over.
    """
    offered, declared = SETTINGS[name], DECLARED[name]
    schema: Any = declared.kind.schema
    words = schema.get("enum", [])
    if declared.kind.secret:
        assert (offered["kind"], offered["sensitive"]) == ("password", True)
    else:
        kind = "options" if words else KINDS.get(schema["type"][0], offered["kind"])
        assert offered["kind"] == kind
        assert "sensitive" not in offered
    assert [option["value"] for option in offered.get("options", [])] == words
    assert offered["label"].strip()
    assert offered["description"] == declared.description
    if declared.default is None:
        assert "value" not in offered
    else:
        assert declared.kind.validate(offered["value"]) == declared.default


def test_nothing_goes_to_segment_unasked() -> None:
    """By default, the project uses an environment that sends nothing to Segment."""
    environments = {environment["name"]: environment for environment in PROJECT["environments"]}
    assert list(environments) == ["local", "prod"]
    assert PROJECT["default_environment"] == "local"
    (local,) = environments["local"]["config"]["plugins"]["loaders"]
    assert local["name"] == LOADER["name"]
    assert set(local["config"]) == {"local_warehouse"}


def test_no_plugin_needs_the_hub() -> None:
    """Every plugin is a custom one, which Meltano does not look up in the Hub."""
    plugins = [plugin for kind in PROJECT["plugins"].values() for plugin in kind]
    assert [plugin["name"] for plugin in plugins if "namespace" not in plugin] == []
