"""Configuration files and the environment become one mapping of names and JSON values.

The order of precedence is `docs/decisions/0009-environment.md`; which values are allowed is for
`declared` to say.
"""

from __future__ import annotations

import difflib
import json
import logging
from typing import TYPE_CHECKING

from target_segment_objects.errors import ConfigurationError
from target_segment_objects.settings.declared import DECLARED, check
from target_segment_objects.settings.files import read_dotenv, read_json_file
from target_segment_objects.settings.kinds import WrongValueError
from target_segment_objects.settings.nested_names import flattened_names
from target_segment_objects.settings.rules import UNSUPPORTED, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["PREFIX", "read_configuration"]

logger = logging.getLogger(__name__)

PREFIX = "TARGET_SEGMENT_OBJECTS_"
"""What the name of every variable begins with."""

_ENVIRONMENT = "ENV"
_SETTINGS_KEYED_BY_NAMES = ("collections", "stream_maps")
_DIFFERENCES_SHOWN = 3
_SIMILARITY = 0.85
"""From 0 to 1: how similar a variable and a setting must be for the one to be a misspelling."""


def read_configuration(
    paths: Sequence[str],
    environ: Mapping[str, str],
    warn: Callable[[str], None] = logger.warning,
) -> dict[str, object]:
    """Return the configuration of the command line and the environment, for `Settings.from_config`.

    Args:
        paths: the values of `--config` in their order, later ones winning: JSON files, and `ENV`,
            with which `.env` in the working directory is read too.
        environ: the environment, which wins over `.env`. A variable is used where no file has the
            setting; with `ENV` variables win over files.
        warn: called with a sentence for each thing that looks like a mistake and is allowed.

    Raises:
        ConfigurationError: a file cannot be read or is no JSON object, or a variable is wrong. In
            the latter case it names everything else that is wrong with the configuration too.
    """
    config: dict[str, object] = {}
    for path in paths:
        if path != _ENVIRONMENT:
            config.update(read_json_file(path, warn))
    from_files = dict(config)
    env_requested = _ENVIRONMENT in paths
    variables = {**(read_dotenv() if env_requested else {}), **environ}
    errors: dict[str, str] = {}
    for name, declaration in DECLARED.items():
        variable = PREFIX + name.upper()
        # Meltano exports what it wrote into the file, with nested objects flattened: unless `ENV`
        # was given, a variable is ignored where a file has the setting.
        if variable not in variables or (not env_requested and from_files.get(name) is not None):
            continue
        text = variables[variable]
        if not text.strip():
            errors[name] = f"{variable} is empty: unset it, or make it {declaration.kind.allowed}"
            continue
        try:
            config[name] = declaration.kind.from_variable(text)
        except WrongValueError as error:
            errors[name] = f"{variable} {error}"
    for sentence in _variable_warnings(variables):
        warn(sentence)
    for sentence in () if env_requested else _difference_warnings(variables, from_files):
        warn(sentence)
    if errors:
        errors = {**check(config)[1], **errors}
        raise ConfigurationError("; ".join(errors[name] for name in DECLARED if name in errors))
    return config


def _difference_warnings(
    variables: Mapping[str, str], from_files: Mapping[str, object]
) -> Iterator[str]:
    """A sentence for each variable that differs from the file: Meltano loses some names."""
    missing = object()
    for name in _SETTINGS_KEYED_BY_NAMES:
        variable = PREFIX + name.upper()
        try:
            from_variable = json.loads(variables.get(variable, ""))
        except ValueError:
            continue  # the variable is not used
        from_file = from_files.get(name)
        if not (isinstance(from_variable, dict) and isinstance(from_file, dict)):
            continue
        in_variable, in_file = flattened_names(from_variable), flattened_names(from_file)
        names = [
            f"`{path[:60]}`"
            for path in {**in_variable, **in_file}
            if in_variable.get(path, missing) != in_file.get(path, missing)
        ]
        if names:
            yield (
                f"{variable} and the configuration file differ in "
                f"{listed(names, _DIFFERENCES_SHOWN)}; the file is used. "
                f"Meltano drops null, and names with dots in a variable: set {name} in "
                "meltano.yml, and write `__NULL__` for null"
            )


def _variable_warnings(variables: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable with a misspelled name, or with another target's setting.

    Meltano exports more variables with the same prefix (`…__LOAD_SCHEMA`, `…_COLLECTIONS_USERS`
    for a part of `collections`), and the SDK reads `…_LOGLEVEL`: those are no mistakes.
    """
    parents = tuple(f"{name}_" for name, setting in DECLARED.items() if dict in setting.kind.types)
    for variable in variables:
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in DECLARED or name.startswith(parents):
            continue
        similar = difflib.get_close_matches(name, DECLARED, n=1, cutoff=_SIMILARITY)
        if name in UNSUPPORTED:
            yield f"the variable {variable} has no effect here: {UNSUPPORTED[name]}"
        elif similar:
            right = PREFIX + similar[0].upper()
            yield f"the unknown variable {variable} is ignored; did you mean {right}?"
