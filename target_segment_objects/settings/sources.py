"""Configuration files and the environment → one mapping of names and JSON values.

Where each value comes from is decided here (`docs/decisions/0009-environment.md`); what is right is
decided by `settings`. A file that cannot be read is one sentence with its path and the rule; its
content is never repeated, nor kept in an exception's chain.
"""

from __future__ import annotations

import difflib
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from target_segment_objects.errors import ConfigurationError
from target_segment_objects.settings.declared import DECLARED, check
from target_segment_objects.settings.kinds import JsonObject, WrongValueError, not_a_number
from target_segment_objects.settings.nested_names import flattened_names
from target_segment_objects.settings.rules import UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["PREFIX", "document", "read_configuration"]

logger = logging.getLogger(__name__)

PREFIX = "TARGET_SEGMENT_OBJECTS_"
"""What the name of every variable begins with."""

_ENVIRONMENT = "ENV"
_WITH_NAMES = ("collections", "stream_maps")
_DIFFERENCES_SHOWN = 3
_NEARLY = 0.85  # of 1, how alike a variable and a setting must be to be called a slip


def read_configuration(
    paths: Sequence[str],
    environ: Mapping[str, str],
    warn: Callable[[str], None] = logger.warning,
) -> dict[str, object]:
    """The configuration that the command line and the environment give, for `Settings.from_config`.

    Args:
        paths: the values of `--config` in their order, later ones winning: files of JSON, and
            `ENV`, which also reads `.env` in the working directory.
        environ: the environment, which wins over `.env`. Its variables give what no file gives;
            after `ENV` they win over files.
        warn: takes a sentence for each thing that looks like a mistake and is none.

    Raises:
        ConfigurationError: a file cannot be read or is no JSON object, or a variable is wrong. Then
            it names whatever else is wrong with the configuration too.
    """
    config: dict[str, object] = {}
    for path in paths:
        if path != _ENVIRONMENT:
            config.update(_read_file(path, warn))
    of_files = dict(config)
    env_requested = _ENVIRONMENT in paths
    variables = {**(_read_dotenv() if env_requested else {}), **environ}
    faults: dict[str, str] = {}
    for name, declaration in DECLARED.items():
        variable = PREFIX + name.upper()
        # Meltano exports what it wrote into the file, nested objects in a form of its own: a
        # variable beside a file's value does not count, unless it was asked for.
        if variable not in variables or (not env_requested and of_files.get(name) is not None):
            continue
        text = variables[variable]
        if not text.strip():
            faults[name] = f"{variable} is empty: unset it, or make it {declaration.kind.allowed}"
            continue
        try:
            value = declaration.kind.from_variable(text)
            declaration.kind.validate(value)
        except WrongValueError as error:
            faults[name] = f"{variable} {error}"
        else:
            config[name] = value
    differences = () if env_requested else _difference_warnings(variables, of_files)
    for remark in (*_variable_warnings(variables), *differences):
        warn(remark)
    if faults:
        told = {**check(config)[1], **faults}
        raise ConfigurationError("; ".join(told[name] for name in DECLARED if name in told))
    return config


def _difference_warnings(
    variables: Mapping[str, str], of_files: Mapping[str, object]
) -> Iterator[str]:
    """A sentence for each variable that is not what its file says: Meltano loses some names."""
    for name in _WITH_NAMES:
        variable = PREFIX + name.upper()
        names = _difference(variables.get(variable, ""), of_files.get(name))
        if names:
            yield (
                f"{variable} and the configuration file differ in {names}; the file counts. "
                f"Meltano drops null, and names with dots in a variable: set {name} in "
                "meltano.yml, and write `__NULL__` for null"
            )


def _difference(text: str, of_file: object) -> str:
    """The names that a variable and a file's value do not agree on; empty when they do."""
    try:
        of_variable = json.loads(text)
    except ValueError:
        return ""  # it is not looked at
    if not (isinstance(of_variable, dict) and isinstance(of_file, dict)):
        return ""
    one, other = flattened_names(of_variable), flattened_names(of_file)
    missing = object()
    names = [
        name
        for name in dict.fromkeys([*one, *other])
        if one.get(name, missing) != other.get(name, missing)
    ]
    more = len(names) - _DIFFERENCES_SHOWN
    shown = ", ".join(f"`{name[:60]}`" for name in names[:_DIFFERENCES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _read_file(path: str, warn: Callable[[str], None]) -> dict[str, object]:
    repeated: list[str] = []
    content, problem = _load(path, repeated)
    # Raised out here, so that no error with the file's content hangs in the chain.
    if not isinstance(content, dict):
        problem = problem or "must hold one JSON object of settings"
        raise ConfigurationError(f"the configuration file {path!r} {problem}")
    for name in dict.fromkeys(repeated):
        warn(f"the configuration file {path!r} names {name[:60]!r} more than once; the last counts")
    return content


def _load(path: str, repeated: list[str]) -> tuple[object, str]:
    """What a file of JSON holds, or `None` and what is wrong with it."""

    def last_wins(pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(name for name in made if names.count(name) > 1)
        return made

    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        content: object = json.loads(text, object_pairs_hook=last_wins, parse_constant=not_a_number)
    except FileNotFoundError:
        return None, "does not exist"
    except OSError as error:
        return None, f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError as error:
        return None, f"is not UTF-8: byte {error.start + 1} begins no character"
    except json.JSONDecodeError as error:
        return None, f"is not JSON: look at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        return None, "is not JSON: it holds NaN, an endless number, or is nested too deeply"
    return content, ""


def _read_dotenv() -> dict[str, str]:
    """The variables of `.env` in the working directory, which the SDK documents for `ENV`."""
    path = Path(".env")
    problem = ""
    found: dict[str, str | None] = {}
    try:
        if path.is_file():
            found = dotenv_values(path, encoding="utf-8-sig")
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    if problem:
        raise ConfigurationError(f"the file '.env' {problem}")
    return {name: text or "" for name, text in found.items()}


def _variable_warnings(variables: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that is nearly a setting's, and for those of other targets.

    Meltano exports more variables with the same beginning (`…__LOAD_SCHEMA`, `…_COLLECTIONS_USERS`
    for a part of `collections`), and the SDK reads `…_LOGLEVEL`: those are nobody's mistake.
    """
    objects = tuple(
        f"{name}_" for name, each in DECLARED.items() if isinstance(each.kind, JsonObject)
    )
    for variable in variables:
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in DECLARED or name.startswith(objects):
            continue
        meant = difflib.get_close_matches(name, DECLARED, n=1, cutoff=_NEARLY)
        if name in UNSUPPORTED:
            yield f"the variable {variable} has no effect here: {UNSUPPORTED[name]}"
        elif meant:
            right = PREFIX + meant[0].upper()
            yield f"the unknown variable {variable} is ignored; did you mean {right}?"


def document() -> str:
    """`docs/settings.md`: what the declarations say, in their order."""
    lines = [_INTRODUCTION]
    for name, each in DECLARED.items():
        if name in _HEADINGS:
            lines.append(f"## {_HEADINGS[name]}\n")
        default = "none" if each.default is None else f"`{json.dumps(each.default)}`"
        secret = " It is a secret: never logged nor shown." if each.kind.secret else ""
        lines.append(f"### `{name}`\n")
        lines.append(f"{each.description}{secret}\n")
        lines.append(f"- Allowed: {each.kind.allowed}")
        lines.append(f"- Default: {default}")
        lines.append(f"- Variable: `{PREFIX}{name.upper()}`\n")
    return "\n".join(lines)


_HEADINGS = {
    "write_key": "Segment",
    "collections": "Names and values",
    "synchronous": "Delivery",
    "unknown_messages": "Input",
    "stream_maps": "Of the Meltano Singer SDK",
}
"""Section titles, each by the first setting of its section."""

_INTRODUCTION = """\
# Settings

Made from the declarations in `target_segment_objects/settings/declared.py` by
`python -m target_segment_objects.settings.sources > docs/settings.md`; a test holds it current.

A setting comes from a JSON file (`--config FILE`, several times if need be, the later wins) or
from an environment variable. A variable gives what no file gives. With `--config ENV`, variables
win over files, and the file `.env` in the working directory is read too, below the environment.

In a variable, what is not text is written as JSON: `10`, `{"users": "people"}`; a boolean is
`true`, `false`, `1` or `0`. An empty variable is an error. In a file, null is as if the setting
were not there.

A wrong setting ends the run before anything is read, with one error that names every wrong setting
and what is allowed, and shows no value. An unknown setting is a warning with the nearest name.
"""

if __name__ == "__main__":
    sys.stdout.write(document())
