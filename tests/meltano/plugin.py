"""The loader as Meltano declares it, generated from the declarations of the settings.

`python -m tests.meltano.plugin` writes the settings in `meltano.yml` between two marks; the rest of
that file is written by hand. `make docs` runs it, and a test checks that the file is current.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from target_segment_objects.singer.target import TargetSegmentObjects

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PROJECT", "capabilities", "settings", "written"]

PROJECT = Path(__file__).resolve().parents[2] / "meltano.yml"

_BEGIN = "      # `make docs` generates the rest of this plugin.\n"
_END = "      # End of the part that `make docs` generates.\n"
_WIDTH = 100

# A number that may have a fraction is a string here: Meltano 4.4 fails on a decimal from the
# environment. The target reads numbers from strings too.
_KINDS = {
    frozenset({"boolean"}): "boolean",
    frozenset({"integer"}): "integer",
    frozenset({"number"}): "string",
    frozenset({"object"}): "object",
    frozenset({"array"}): "array",
    frozenset({"string"}): "string",
    frozenset({"integer", "string"}): "string",
}


def capabilities() -> list[str]:
    """Return the target's capabilities, sorted, in Meltano's words."""
    return sorted(capability.value for capability in TargetSegmentObjects.capabilities)


def settings() -> list[dict[str, Any]]:
    """Return all settings as Meltano declares them, in the order of the declarations."""
    return [
        dict(_setting(name, schema))
        for name, schema in TargetSegmentObjects.config_jsonschema["properties"].items()
    ]


def _setting(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    types = frozenset(schema["type"]) - {"null"}
    words = schema.get("enum")
    yield "name", name
    yield "label", schema["title"]
    yield "description", schema["description"]
    if words:
        yield "kind", "options"
        yield "options", [{"label": word, "value": word} for word in words]
    elif schema.get("secret"):
        yield "kind", "password"
        yield "sensitive", True
    else:
        yield "kind", _KINDS[types]
    if schema.get("default") is not None:
        default = schema["default"]
        yield "value", str(default) if types == {"number"} else default


class _Dumper(yaml.SafeDumper):
    """Indents lists by two spaces, as in the rest of the file."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, indentless=False)


def written(project: str) -> str:
    """Return the text of a `meltano.yml` with the part between its marks replaced."""
    before, _, rest = project.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    settings_yaml = yaml.dump(
        {"capabilities": capabilities(), "settings": settings()},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=_WIDTH - len("      "),
    )
    return before + _BEGIN + textwrap.indent(settings_yaml, "      ") + _END + after


if __name__ == "__main__":
    PROJECT.write_text(written(PROJECT.read_text(encoding="utf-8")), encoding="utf-8")
