"""The entry for Meltano Hub: `hub/` is a Hub with one plugin, generated from the declarations.

`python -m tests.meltano.hub` writes `hub/_data` (`make docs` runs it, and a test checks it);
`python -m tests.meltano.hub CLONE` puts the entry into a clone of the real Hub. The logo is drawn
by hand. The repository and the maintainer come from `pyproject.toml`: the Hub names a variant after
the account of its repository.
"""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import yaml

from tests.meltano.plugin import capabilities, settings

__all__ = ["HUB", "LOGO", "NAME", "definition", "files", "main", "put", "repository", "write"]

NAME = "target-segment-objects"
HUB = Path(__file__).resolve().parents[2] / "hub"
LOGO = "/assets/logos/loaders/segment-objects.svg"

_ABOUT = metadata(NAME)
_DEFAULTS, _MAINTAINERS = "_data/default_variants.yml", "_data/maintainers.yml"

_BEFORE_THE_SETTINGS = """\
The only required setting is `write_key`, the write key of the Segment source that receives the \
objects. To try the target without a key, set `local_warehouse` instead; then nothing leaves your \
machine.
"""
_USAGE = """\
## Trying it without Segment

With `local_warehouse`, the target runs a complete sync against a built-in emulator of Segment, \
and loads the resulting tables into a DuckDB file:

```bash
meltano config set target-segment-objects local_warehouse warehouse.duckdb
meltano run tap-your-choice target-segment-objects
meltano invoke target-segment-objects:query "select * from rooms"
```

## When a run fails

Run it again. The target prints state only for data that Segment has accepted, so nothing is \
missing, and objects that are sent twice are merged by id. A record that cannot become an object \
ends the run, unless `max_rejects` tolerates some; these are written to the file in \
`dead_letter_path`.
"""


def repository() -> str | None:
    """Return the repository's address, if `pyproject.toml` has one."""
    urls = [url.partition(", ") for url in _ABOUT.get_all("Project-URL") or []]
    return next((address for label, _, address in urls if label == "Repository"), None)


def files(repository: str | None) -> dict[str, str]:
    """Return the files that the Hub needs for a new plugin and variant, except the logo.

    Args:
        repository: the address of the target's source, `https://HOST/ACCOUNT/NAME`.

    Returns:
        Path in the Hub → text.
    """
    variant = _variant(repository)
    maintainer = {"label": _ABOUT["Author"], "name": variant}
    if repository is not None:
        maintainer["url"] = repository.rpartition("/")[0]
    return {
        _DEFAULTS: _text({"loaders": {NAME: variant}}),
        _MAINTAINERS: _text({variant: maintainer}),
        f"_data/meltano/loaders/{NAME}/{variant}.yml": _text(definition(repository)),
    }


def definition(repository: str | None) -> dict[str, Any]:
    """Return the loader's definition; `repository` as for `files`."""
    defined = {
        "name": NAME,
        "namespace": NAME.replace("-", "_"),
        "variant": _variant(repository),
        "label": "Segment Objects",
        "description": "Customer data platform: warehouse rows that are updated as records change",
        "domain_url": "https://segment.com",
        "logo_url": LOGO,
        "keywords": ["meltano_sdk", "segment"],
        "maintenance_status": "beta",
        "quality": "unknown",
        "pip_url": f"{NAME}[emulator]",
        "executable": NAME,
        "supported_python_versions": _pythons(),
        "capabilities": capabilities(),
        "log_parser": "singer-sdk",
        "settings": sorted(map(_of_the_hub, settings()), key=lambda setting: str(setting["name"])),
        "settings_group_validation": [["write_key"], ["local_warehouse"]],
        "commands": {
            "query": {
                "executable": "segment-objects",
                "args": "query $TARGET_SEGMENT_OBJECTS_LOCAL_WAREHOUSE",
                "description": "Query the local warehouse with SQL.",
            }
        },
        "next_steps": "",
        "settings_preamble": _BEFORE_THE_SETTINGS,
        "usage": _USAGE,
    }
    return defined if repository is None else {**defined, "repo": repository}


def _variant(repository: str | None) -> str:
    return NAME if repository is None else repository.split("/")[-2].lower()


def _pythons() -> list[str]:
    """Return the Python versions that the package supports."""
    classifiers = _ABOUT.get_all("Classifier") or []
    named = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", c) for c in classifiers)
    return [match[1] for match in named if match]


def _of_the_hub(setting: dict[str, Any]) -> dict[str, Any]:
    """Return a setting without an empty object as its value, which the Hub does not allow."""
    return {name: value for name, value in setting.items() if value != {}}


class _Dumper(yaml.SafeDumper):
    """Writes multi-line texts as blocks, and does not indent lists, as the Hub does."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def _text(content: object) -> str:
    """Return YAML as the Hub writes it: in blocks, sorted by key."""
    return yaml.dump(content, Dumper=_Dumper, allow_unicode=True, width=80)


def write() -> None:
    """Write `hub/_data`."""
    shutil.rmtree(HUB / "_data", ignore_errors=True)
    for path, text in files(repository()).items():
        _write(HUB / path, text)


def put(clone: Path, repository: str) -> None:
    """Put the entry into a clone of the Hub: two new files, and items in two lists."""
    for path, text in files(repository).items():
        target = clone / path
        if path in {_DEFAULTS, _MAINTAINERS}:
            _write(target, _listed(target.read_text(encoding="utf-8"), text))
        else:
            _write(target, text)
    _write(clone / "static" / LOGO[1:], (HUB / "static" / LOGO[1:]).read_text(encoding="utf-8"))


def _listed(theirs: str, ours: str) -> str:
    """Return a list of the Hub with our item, sorted, or in place of one with its name.

    The rest is unchanged. Default variants have a list per kind of plugin; the first line of `ours`
    names the kind.
    """
    section = "loaders:\n" if ours.startswith("loaders:\n") else ""
    item = ours.removeprefix(section)
    head = f"(?:.*\n)*?{section}" if section else ""
    indent = "  " if section else ""
    found = re.match(rf"({head})((?:{indent}.*\n)+)", theirs)
    assert found is not None, "this is no clone of the Hub"
    items = re.findall(rf"{indent}\S.*\n(?:{indent} .*\n)*", found[2])
    kept = [entry for entry in items if _name(entry) != _name(item)]
    at = next((index for index, entry in enumerate(kept) if _name(entry) > _name(item)), len(kept))
    kept.insert(at, item)
    return found[1] + "".join(kept) + theirs[found.end() :]


def _name(item: str) -> str:
    return item.strip().partition(":")[0]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main(arguments: list[str], address: str | None) -> None:
    """Run the command.

    Args:
        arguments: none, or the folder of a clone of the Hub.
        address: the repository's address, if any.
    """
    if not arguments:
        write()
    elif address is None:
        sys.exit("Say in pyproject.toml where the repository is: [project.urls] Repository = …")
    else:
        put(Path(arguments[0]), address)


if __name__ == "__main__":
    main(sys.argv[1:], repository())
