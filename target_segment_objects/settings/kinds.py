"""The kinds of settings: what each allows, how a variable writes it, and its JSON schema.

A sentence about a wrong value says what is allowed and which type was given, never the value: it
may be a secret, or stand where a secret should.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Kind",
    "WrongValueError",
    "boolean",
    "choice",
    "file_path",
    "integer",
    "integer_or_word",
    "json_object",
    "not_a_number",
    "number",
    "text",
]

T = TypeVar("T")
S = TypeVar("S", bound=str)

_NUMBER: Final = re.compile(r"\s*-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,4})?\s*")
_INTEGER: Final = re.compile(r"\s*-?[0-9]{1,300}\s*")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_BOUNDS: Final = {
    "minimum": "from {},",
    "exclusiveMinimum": "greater than {} and",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}
_TYPES: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class WrongValueError(ValueError):
    """A value that its setting does not allow. The message continues the setting's name."""


def not_a_number(name: str) -> float:
    """Refuse `NaN`, `Infinity` and `-Infinity`, which Python's JSON reader accepts."""
    raise ValueError(f"{name} is not JSON")


def _parse_json(text: str) -> object:
    return json.loads(text, parse_constant=not_a_number)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What a setting may be. `T` is the type that the program gets.

    Attributes:
        allowed: what is allowed; it continues `must be`.
        schema: the JSON schema of the values that a configuration file may have.
        convert: converts a value that fits the schema to `T`. Returns `None` or raises
            `WrongValueError` if it is not allowed.
        types: the types that its values have in JSON.
        normalize: returns the value that is checked: a number in another form becomes a number.
        parse: returns the value that a variable's text stands for; raises `ValueError` if it stands
            for none.
        secret: never shown, and marked so in the JSON schema.
        in_repr: whether a repr may show the value.
    """

    allowed: str
    schema: Mapping[str, object]
    convert: Callable[[Any], T | None] = lambda value: value
    types: tuple[type, ...] = (str,)
    normalize: Callable[[object], object] = lambda value: value
    parse: Callable[[str], object] = str
    secret: bool = False
    in_repr: bool = True

    def validate(self, value: object) -> T:
        """Return the value as the program uses it.

        Raises:
            WrongValueError: it is not allowed.
        """
        value = self.normalize(value)
        is_boolean = isinstance(value, bool) and bool not in self.types
        if is_boolean or not isinstance(value, self.types):
            given = _TYPES.get(type(value), "a value of another type")
            raise WrongValueError(f"must be {self.allowed}, not {given}")
        error = best_match(Draft202012Validator(self.schema).iter_errors(value))
        if error is not None and error.absolute_path:
            # The path consists of names that the user chose; the error's message has the values.
            path = ".".join(map(str, error.absolute_path))
            raise WrongValueError(f"must be {self.allowed}; check `{path}`")
        converted = self.convert(value) if error is None else None
        if converted is None:
            raise WrongValueError(f"must be {self.allowed}")
        return converted

    def from_variable(self, text: str) -> object:
        """Return the value that a variable's text stands for, which `validate` would accept.

        Raises:
            WrongValueError: it is not allowed.
        """
        try:
            value = self.parse(text)
        except WrongValueError:
            raise
        except (ValueError, RecursionError):
            raise WrongValueError(f"must be {self.allowed}") from None
        self.validate(value)
        return value


def boolean() -> Kind[bool]:
    """True or false; a variable may also have `1` or `0`."""

    def parse(text: str) -> bool:
        value = _BOOLEANS.get(text.strip().lower())
        if value is None:
            raise WrongValueError("must be `true` or `false` (or `1` or `0`)")
        return value

    return Kind("`true` or `false`", {"type": ["boolean", "null"]}, types=(bool,), parse=parse)


def integer(least: int, most: int) -> Kind[int]:
    """An integer within bounds, both included. `10.0` is one too: YAML and JSON tools write it."""
    return Kind(
        f"an integer from {least} to {most}",
        {"type": ["integer", "null"], "minimum": least, "maximum": most},
        types=(int,),
        normalize=_integral,
        parse=_parse_json,
    )


def integer_or_word(word: S, least: int, most: int) -> Kind[int | S]:
    """A word, or an integer within bounds, both included.

    An integer in a string is one too: to Meltano, a setting of two types is a string.
    """
    words: list[str] = [word, *map(str, range(least, most + 1))]
    return Kind(
        f"`{word}` or an integer from {least} to {most}",
        {
            "type": ["string", "integer", "null"],
            "pattern": rf"^({'|'.join(words)})$",
            "minimum": least,
            "maximum": most,
        },
        lambda value: value if str(value) in words else None,
        types=(int, str),
        normalize=lambda value: _integral(_number_in(value, _INTEGER)),
    )


def number(**bounds: float) -> Kind[float]:
    """A finite number within bounds.

    A number in a string is one too: Meltano has no kind of setting that brings a fraction from its
    environment into the file that it writes, other than text.

    Args:
        bounds: a lower bound and then an upper one, by their keywords in a JSON schema.
    """
    return Kind(
        f"a number {' '.join(_BOUNDS[word].format(bound) for word, bound in bounds.items())}",
        {"type": ["number", "null"], **bounds},
        # NaN compares false with every bound, so it is within all of them.
        lambda value: float(value) if math.isfinite(value) else None,
        types=(int, float),
        normalize=lambda value: _number_in(value, _NUMBER),
        parse=_parse_json,
    )


def choice(*words: S) -> Kind[S]:
    """One of a few words."""
    *others, last = (f"`{word}`" for word in words)
    # `null` is allowed by the type alone, as the SDK declares choices.
    schema = {"type": ["string", "null"], "enum": list(words)}
    return Kind(f"{', '.join(others)} or {last}", schema)


def text(allowed: str, check: Callable[[str], str] = str, *, secret: bool = False) -> Kind[str]:
    """A string that is not blank.

    Args:
        allowed: what it is.
        check: returns the string as it is used, or raises a `ValueError` whose text continues the
            setting's name.
        secret: never shown, and marked so in the JSON schema.
    """

    def convert(value: str) -> str:
        if not value.strip():
            raise WrongValueError(f"must be {allowed}, not an empty string")
        try:
            return check(value)
        except ValueError as error:
            raise WrongValueError(str(error)) from None

    marks = {"secret": True, "writeOnly": True} if secret else {}
    return Kind(allowed, {"type": ["string", "null"], **marks}, convert, secret=secret)


def file_path(allowed: str, predicate: Callable[[Path], bool]) -> Kind[Path]:
    """A path on this machine.

    Args:
        allowed: what must be there.
        predicate: whether a path is allowed.
    """

    def convert(value: str) -> Path | None:
        path = Path(value)
        try:
            return path if value.strip() and predicate(path) else None
        except (OSError, ValueError):  # no permission, a name too long, a NUL, a lone surrogate
            return None

    return Kind(allowed, {"type": ["string", "null"]}, convert)


def json_object(
    allowed: str,
    body: Mapping[str, object],
    *,
    in_repr: bool = True,
    join: Callable[[Mapping[str, object]], Mapping[str, Any]] = dict,
) -> Kind[Mapping[str, Any]]:
    """An object that fits a JSON schema.

    Args:
        allowed: what it is.
        body: the JSON schema.
        in_repr: whether a repr may show it.
        join: joins names in it that Meltano has split at their dots.
    """
    return Kind(
        allowed,
        {**body, "type": ["object", "null"]},
        types=(dict,),
        normalize=lambda value: join(value) if isinstance(value, dict) else value,
        parse=_parse_json,
        in_repr=in_repr,
    )


def _number_in(value: object, pattern: re.Pattern[str]) -> object:
    """The number that a string holds; any other value itself."""
    return float(value) if isinstance(value, str) and pattern.fullmatch(value) else value


def _integral(value: object) -> object:
    """An integral float as an integer; any other value itself."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
