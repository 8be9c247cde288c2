"""The kinds of settings: what each allows, how the environment writes it, and its JSON schema.

A sentence about a wrong value says what is allowed and which type came, never the value itself: it
may be a secret, or stand where a secret should.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from target_segment_objects.settings.nested_names import AmbiguousNamesError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Boolean",
    "Choice",
    "FilePath",
    "Integer",
    "IntegerOrWord",
    "JsonObject",
    "Kind",
    "Number",
    "Text",
    "WrongValueError",
    "not_a_number",
]

T = TypeVar("T")
S = TypeVar("S", bound=str)

_DECIMAL = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"-?[0-9]{1,300}")
_TYPES = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class WrongValueError(ValueError):
    """A value that its setting does not allow. The message goes on after the setting's name."""


def not_a_number(name: str) -> float:
    """Refuse `NaN`, `Infinity` and `-Infinity`, which Python's JSON reader would take."""
    raise ValueError(f"{name} is not JSON")


class Kind(ABC, Generic[T]):
    """What a setting may be. `T` is the type that the program gets."""

    secret = False
    in_repr = True  # in a repr

    @property
    @abstractmethod
    def allowed(self) -> str:
        """What is allowed, to go on after `must be`."""

    @abstractmethod
    def validate(self, value: object) -> T:
        """The value as the program uses it.

        Raises:
            WrongValueError: it is not allowed.
        """

    @abstractmethod
    def schema(self) -> dict[str, object]:
        """The JSON schema of the values that a configuration file may have."""

    def from_variable(self, text: str) -> object:
        """The value that a variable's text stands for, to be given to `take`. JSON, if not text.

        Raises:
            WrongValueError: the text is not of this kind.
        """
        try:
            return json.loads(text, parse_constant=not_a_number)
        except (ValueError, RecursionError):
            pass
        raise WrongValueError(f"must be {self.allowed}")

    def error(self, value: object, *types: type) -> WrongValueError:
        """The sentence for a value: with the type that came, when that is what is wrong."""
        if type(value) in types:
            return WrongValueError(f"must be {self.allowed}")
        came = _TYPES.get(type(value), "a value of another type")
        return WrongValueError(f"must be {self.allowed}, not {came}")


class Boolean(Kind[bool]):
    """True or false, strictly."""

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return "`true` or `false`"

    def validate(self, value: object) -> bool:
        """The boolean."""
        if isinstance(value, bool):
            return value
        raise self.error(value)

    def schema(self) -> dict[str, object]:
        """A boolean."""
        return {"type": ["boolean", "null"]}

    def from_variable(self, text: str) -> object:
        """`true`, `false`, `1` or `0`, in any case."""
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower())
        if value is None:
            raise WrongValueError("must be `true` or `false` (or `1` or `0`)")
        return value


@dataclass(frozen=True)
class Integer(Kind[int]):
    """An integer within bounds, both included. `10.0` is one too: YAML and JSON tools write it."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"an integer from {self.least} to {self.most}"

    def validate(self, value: object) -> int:
        """The integer."""
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(whole, int) and not isinstance(whole, bool):
            if self.least <= whole <= self.most:
                return whole
            raise WrongValueError(f"must be {self.allowed}")
        raise self.error(value)

    def schema(self) -> dict[str, object]:
        """An integer within the bounds."""
        return {"type": ["integer", "null"], "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class IntegerOrWord(Kind["int | S"]):
    """A word, or an integer within bounds, both included.

    An integer in a string is one too: to Meltano, a setting of two types is a string.
    """

    word: S
    least: int
    most: int

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"`{self.word}` or an integer from {self.least} to {self.most}"

    def validate(self, value: object) -> int | S:
        """The word or the integer."""
        if value == self.word:
            return self.word
        if isinstance(value, str):
            if not _WHOLE.fullmatch(value.strip()):
                raise self.error(value, str)
            value = int(value)
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(whole, int) and not isinstance(whole, bool):
            if self.least <= whole <= self.most:
                return whole
            raise WrongValueError(f"must be {self.allowed}")
        raise self.error(value)

    def schema(self) -> dict[str, object]:
        """The word, an integer within the bounds, or that in a string."""
        numbers = "|".join(map(str, range(self.least, self.most + 1)))
        return {
            "type": ["string", "integer", "null"],
            "pattern": rf"^({self.word}|{numbers})$",
            "minimum": self.least,
            "maximum": self.most,
        }

    def from_variable(self, text: str) -> object:
        """The text itself."""
        return text


@dataclass(frozen=True)
class Number(Kind[float]):
    """A finite number within bounds. `above` and `below` are not themselves allowed.

    A number in a string is one too: Meltano has no kind of setting that brings a fraction from its
    environment into the file that it writes, other than text.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    @property
    def allowed(self) -> str:
        """What is allowed."""
        low = f"from {self.least}" if self.least is not None else f"greater than {self.above}"
        high = f"at most {self.most}" if self.most is not None else f"less than {self.below}"
        return f"a number {low} and {high}" if self.above is not None else f"a number {low}, {high}"

    def validate(self, value: object) -> float:
        """The number, as a float."""
        given = value
        if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
            value = float(value)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.error(given)
        inside = (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )
        # NaN compares false with every bound, and an infinity is beyond one of them.
        if not inside or (isinstance(value, float) and not math.isfinite(value)):
            raise WrongValueError(f"must be {self.allowed}")
        return float(value)

    def schema(self) -> dict[str, object]:
        """A number within the bounds."""
        bounds = {
            "minimum": self.least,
            "exclusiveMinimum": self.above,
            "maximum": self.most,
            "exclusiveMaximum": self.below,
        }
        given = {word: bound for word, bound in bounds.items() if bound is not None}
        return {"type": ["number", "null"], **given}


@dataclass(frozen=True)
class Choice(Kind[S]):
    """One of a few words."""

    words: tuple[S, ...]

    @property
    def allowed(self) -> str:
        """What is allowed."""
        *others, last = (f"`{word}`" for word in self.words)
        return f"{', '.join(others)} or {last}"

    def validate(self, value: object) -> S:
        """The word."""
        for word in self.words:
            if value == word:
                return word
        raise self.error(value, str)

    def schema(self) -> dict[str, object]:
        """A string out of the words; null is let in by the type alone, as the SDK does."""
        return {"type": ["string", "null"], "enum": list(self.words)}

    def from_variable(self, text: str) -> object:
        """The text itself."""
        return text


@dataclass(frozen=True)
class Text(Kind[str]):
    """A string that is not blank.

    Attributes:
        what: what it is, to go on after `must be`.
        check: gives the string as it is used, or raises `WrongValueError`.
        secret: never shown, and marked so in the JSON schema.
    """

    what: str
    check: Callable[[str], str] = str
    secret: bool = False

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return self.what

    def validate(self, value: object) -> str:
        """The string."""
        if not isinstance(value, str):
            raise self.error(value)
        if not value.strip():
            raise WrongValueError(f"must be {self.what}, not an empty string")
        return self.check(value)

    def schema(self) -> dict[str, object]:
        """A string, marked if it is a secret."""
        marks: dict[str, object] = {"secret": True, "writeOnly": True} if self.secret else {}
        return {"type": ["string", "null"], **marks}

    def from_variable(self, text: str) -> object:
        """The text itself."""
        return text


@dataclass(frozen=True)
class FilePath(Kind[Path]):
    """A path on this machine.

    Attributes:
        what: what must be there, to go on after `must be`.
        holds: whether the path is right.
    """

    what: str
    predicate: Callable[[Path], bool]

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return self.what

    def validate(self, value: object) -> Path:
        """The path."""
        if not isinstance(value, str):
            raise self.error(value)
        try:
            right = bool(value.strip()) and self.predicate(Path(value))
        except (OSError, ValueError):  # no permission, a name too long, a NUL, a lone surrogate
            right = False
        if not right:
            raise WrongValueError(f"must be {self.what}")
        return Path(value)

    def schema(self) -> dict[str, object]:
        """A string."""
        return {"type": ["string", "null"]}

    def from_variable(self, text: str) -> object:
        """The text itself."""
        return text


@dataclass(frozen=True)
class JsonObject(Kind[T]):
    """An object of the shape that a JSON schema gives. `T` is a mapping that the schema fits.

    Attributes:
        what: what it is, to go on after `must be`.
        body: the JSON schema.
        shown: whether a repr may show it.
        joined: joins names in it that Meltano has split at their dots.
    """

    what: str
    body: Mapping[str, object]
    in_repr: bool = True
    joined: Callable[[Mapping[str, object]], dict[str, object]] = dict

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return self.what

    def validate(self, value: object) -> T:
        """The object."""
        if not isinstance(value, dict):
            raise self.error(value)
        try:
            value = self.joined(value)
        except AmbiguousNamesError as ambiguous:
            raise WrongValueError(
                "has names with dots that Meltano has split, and how to join them is not clear: "
                f"{ambiguous}"
            ) from None
        error = best_match(Draft202012Validator(self.body).iter_errors(value))
        if error is not None:
            # The path is made of names that the user chose; the error's message has the values.
            where = ".".join(str(part) for part in error.absolute_path)
            raise WrongValueError(f"must be {self.what}; look at `{where}`")
        return cast("T", value)

    def schema(self) -> dict[str, object]:
        """The given schema."""
        return {**self.body, "type": ["object", "null"]}
