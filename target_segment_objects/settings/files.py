"""The files that a configuration is read from: JSON files, and `.env`.

If a file cannot be read, the error is one sentence with the path and the reason. Its content may
hold a secret: it is never repeated, nor kept in an exception's chain.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from target_segment_objects.errors import ConfigurationError
from target_segment_objects.settings.kinds import not_a_number

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_dotenv", "read_json_file"]


def read_json_file(path: str, warn: Callable[[str], None]) -> dict[str, object]:
    """Return the settings of a JSON file.

    Args:
        path: the file.
        warn: called with a sentence for each name that an object in the file has twice.

    Raises:
        ConfigurationError: it cannot be read, or contains no JSON object.
    """
    repeated: list[str] = []

    def to_dict(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members = dict(pairs)
        if len(members) < len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(name for name in members if names.count(name) > 1)
        return members

    content: object = None
    problem = "must contain one JSON object of settings"
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=to_dict, parse_constant=not_a_number)
    except FileNotFoundError:
        problem = "does not exist"
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: byte {error.start + 1} begins no character"
    except json.JSONDecodeError as error:
        problem = f"is not JSON: check line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        problem = "is not JSON: it contains NaN, a number with too many digits, or deep nesting"
    # Raised out here, so that no error with the file's content is in the chain.
    if not isinstance(content, dict):
        raise ConfigurationError(f"the configuration file {path!r} {problem}")
    for name in dict.fromkeys(repeated):
        warn(
            f"the configuration file {path!r} names {name[:60]!r} more than once; the last value "
            "is used"
        )
    return content


def read_dotenv() -> dict[str, str]:
    """Return the variables of `.env` in the working directory, which the SDK documents for `ENV`.

    Raises:
        ConfigurationError: it cannot be read.
    """
    path = Path(".env")
    problem = ""
    variables: dict[str, str | None] = {}
    try:
        if path.is_file():
            variables = dotenv_values(path, encoding="utf-8-sig")
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    if problem:
        raise ConfigurationError(f"the file '.env' {problem}")
    return {name: text or "" for name, text in variables.items()}
