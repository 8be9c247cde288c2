"""`docs/settings.md`, written from the declarations of the settings.

`python -m tests.settings.page` writes the page anew; a test checks that it is current.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from target_segment_objects.settings.declared import DECLARED
from target_segment_objects.settings.sources import PREFIX

__all__ = ["PAGE", "page"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "settings.md"

_HEADINGS: Final = {
    "write_key": "Segment",
    "collections": "Names and values",
    "synchronous": "Delivery",
    "unknown_messages": "Input",
    "stream_maps": "Settings of the Meltano Singer SDK",
}
"""Section titles, each by the first setting of its section."""

_INTRODUCTION: Final = """\
# Settings

Generated from `target_segment_objects/settings/declared.py` by `make docs`; do not edit it.

A setting comes from a JSON file (`--config FILE`, which may be given several times; the later file
takes precedence) or from an environment variable. A variable is used if no file has the setting.
With `--config ENV`, variables take precedence over files. The file `.env` in the working directory
is read too; variables of the environment take precedence over it.

In a variable, a value that is not text is written as JSON: `10`, `{"users": "people"}`. A boolean
is `true`, `false`, `1` or `0`. An empty variable is an error. In a file, null means that the
setting is not set.

A wrong setting ends the run before anything is read. One error names every wrong setting and what
is allowed; it shows no values. An unknown setting causes a warning that names the most similar
setting.
"""


def page() -> str:
    """The whole page: one section for each setting, in the order of the declarations."""
    lines = [_INTRODUCTION]
    for name, setting in DECLARED.items():
        if name in _HEADINGS:
            lines.append(f"## {_HEADINGS[name]}\n")
        default = "none" if setting.default is None else f"`{json.dumps(setting.default)}`"
        secret = (
            " This value is secret: it is never logged or shown." if setting.kind.secret else ""
        )
        lines.append(f"### `{name}`\n")
        lines.append(f"{setting.description}{secret}\n")
        lines.append(f"- Allowed: {setting.kind.allowed}")
        lines.append(f"- Default: {default}")
        lines.append(f"- Variable: `{PREFIX}{name.upper()}`\n")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
