"""Names: stream → collection, path → property.

The rule it guards: a name is sent in the form that Segment would give it anyway (its snake-case
rule), so that a name that we send is a name that stays, and two names that would land in one column
are seen here and not in the warehouse. Who clashes with whom is the plan's business; this room only
says what a name becomes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import inflection
from anyascii import anyascii

from target_segment_objects.errors import ConfigurationError, SchemaError
from target_segment_objects.objects import API_LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "SEGMENT_TABLES",
    "WAREHOUSE_OWNED",
    "Flattening",
    "collection_name",
    "is_warehouse_owned",
    "property_name",
    "snake_case",
    "transliterate",
]

WAREHOUSE_OWNED = frozenset({"id", "received_at", "uuid", "uuid_ts", "loaded_at"})
"""Columns that belong to Segment in every table [doc; `loaded_at` on BigQuery]."""

SEGMENT_TABLES = frozenset(
    {"accounts", "aliases", "groups", "identifies", "pages", "screens", "tracks", "users"}
)
"""Tables of Segment's event sources, which may share the schema [doc]: worth a warning."""

# What Segment keeps as it is at a name's start, and the runs that it cuts the rest into.
_KEPT = re.compile(r"(?:[a-z0-9]+(?:_[a-z0-9]+)*)?")
_RUN = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z][a-z0-9]*")
_UPPER_CASE = re.compile(r"[A-Z]")
_LOWER_CASE = re.compile(r"[a-z]")

_DIGIT = re.compile(r"[0-9]")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_LETTERS = re.compile(r"[a-z]+(?:_[a-z]+)*")
_LETTERS_AND_DIGITS = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")

# Words that `inflection` gets wrong (`germen`, `kine`, `foots`) or takes for plurals (`gas`). Short
# on purpose: a collection's name should not surprise, and `collections` names any stream by hand.
_PLURALS = {
    "alumnus": "alumni",
    "atlas": "atlases",
    "bias": "biases",
    "bonus": "bonuses",
    "campus": "campuses",
    "canvas": "canvases",
    "census": "censuses",
    "corpus": "corpora",
    "cow": "cows",
    "criterion": "criteria",
    "foot": "feet",
    "gas": "gases",
    "german": "germans",
    "goose": "geese",
    "lens": "lenses",
    "ottoman": "ottomans",
    "phenomenon": "phenomena",
    "quota": "quotas",
    "roman": "romans",
    "shaman": "shamans",
    "talisman": "talismans",
    "tooth": "teeth",
    "virus": "viruses",
}
_KNOWN_PLURALS = frozenset(_PLURALS.values())


def snake_case(name: str) -> str:
    """The name as Segment's warehouses would write it; empty when nothing of it is ASCII.

    Args:
        name: any text.

    Returns:
        Lower-case ASCII letters, digits and single inner underscores. Applying it again changes
        nothing.
    """
    kept = _KEPT.match(name)
    end = kept.end() if kept else 0
    if end == len(name):
        return name
    first = name[:end]
    # An upper-case run belongs to the piece before it when that has no lower-case letter: `6N`.
    if _UPPER_CASE.match(name, end) and not _LOWER_CASE.search(first.rpartition("_")[2]):
        run = _RUN.match(name, end)
        if run:
            first += run[0].lower()
            end = run.end()
    runs = [run.lower() for run in _RUN.findall(name, end)]
    return "_".join([first, *runs] if first else runs)


def transliterate(name: str) -> str:
    """The name in ASCII: `naïve` is `naive`, `名前` is `MingQian`.

    Text that looks the same is the same: composed (NFC) first, so that `ï` and `i` with a combining
    diaeresis, or a syllable of Hangul and its letters, give one name.

    Args:
        name: any text. Lone surrogates and characters that nobody has a spelling for vanish.
    """
    if name.isascii():
        return name
    return anyascii(unicodedata.normalize("NFC", name))


_LOWER_CASE_LETTERS = re.compile(r"[a-z]")
_SDK_METADATA: Final = "_sdc_"


@dataclass(frozen=True)
class Flattening:
    """Names and depth as the SDK's `flattening_…` settings ask for.

    Attributes:
        max_depth: how many objects inside each other become properties, at least 1. Objects
            further inside are values.
        separator: what stands between the parts of a name.
        max_key_length: a name of so many characters or more is shortened, part by part from its
            first, until it is shorter: a part becomes its capital letters, or its first three.
    """

    max_depth: int
    separator: str = "__"
    max_key_length: int = 255

    def key(self, path: Sequence[str]) -> str:
        """The name of a leaf as the SDK flattens it; the SDK's own metadata keeps its names."""
        parts = list(path)
        if path[0].startswith(_SDK_METADATA):
            return self.separator.join(parts)
        for index, part in enumerate(parts):
            if len(self.separator.join(parts)) < self.max_key_length:
                break
            capitals = _LOWER_CASE_LETTERS.sub("", inflection.camelize(part))
            parts[index] = (capitals if len(capitals) > 1 else part[:3]).lower()
        return self.separator.join(parts)


def property_name(path: Sequence[str], flattening: Flattening | None = None) -> str:
    """The property that a leaf becomes.

    Args:
        path: where the leaf stands in its record: property names from the top.
        flattening: how the SDK would join the path, if it is asked to.

    Returns:
        The name, with a trailing `_` when the warehouse owns it otherwise (`is_warehouse_owned`).
        Empty when nothing is left: the caller knows what kind of error that is.
    """
    if flattening is not None:
        path = [flattening.key(path)]
    name = snake_case("_".join(map(transliterate, path)))
    return f"{name}_" if name in WAREHOUSE_OWNED else name


def is_warehouse_owned(name: str) -> bool:
    """Whether `property_name` had to add the trailing `_`, which is worth a warning."""
    return name.endswith("_") and name[:-1] in WAREHOUSE_OWNED


def collection_name(
    stream: str,
    *,
    collections: Mapping[str, str],
    pluralize: bool,
    allow_digits: bool,
    max_length: int = API_LIMITS.collection_characters,
) -> str:
    """The collection that a stream's records go to.

    Args:
        stream: the stream's name, after stream maps.
        collections: names given by the user, by stream; they are taken as given.
        pluralize: whether the last word becomes plural. A plural stays, and so does a word that
            ends in a digit.
        allow_digits: whether digits stay. Else they are spelled one by one.
        max_length: characters that a name may have.

    Returns:
        A name of 1 to 100 characters. Applied to its own result, this function changes nothing.

    Raises:
        ConfigurationError: the user's name is not one that Segment takes.
        SchemaError: the stream's name leaves nothing, or too much.
    """
    if stream in collections:
        return _checked_user_name(
            stream, collections[stream], allow_digits=allow_digits, max_length=max_length
        )
    name = snake_case(transliterate(stream))
    if not allow_digits:
        name = _spell_digits(name)
    if pluralize:
        name = _pluralize(name)
    if not name:
        raise SchemaError(
            f"stream {stream!r}: its name has no letter or digit to make a collection's name of; "
            "name its collection in the setting `collections`",
        )
    if len(name) > max_length:
        raise SchemaError(
            f"stream {stream!r}: its collection's name {name!r} has {len(name)} characters and "
            f"Segment takes {max_length}; name its collection in the setting "
            "`collections`",
        )
    return name


def _checked_user_name(stream: str, name: str, *, allow_digits: bool, max_length: int) -> str:
    allowed = _LETTERS_AND_DIGITS if allow_digits else _LETTERS
    if allowed.fullmatch(name) and len(name) <= max_length:
        return name
    what = "lower-case letters, digits" if allow_digits else "lower-case letters"
    hint = (
        "; with the setting `allow_collection_digits` it may have digits"
        if not allow_digits and _LETTERS_AND_DIGITS.fullmatch(name)
        else ""
    )
    raise ConfigurationError(
        f"setting `collections`: {name!r}, given for stream {stream!r}, is not a collection's "
        f"name; allowed are {what} and single underscores between them, "
        f"1 to {max_length} characters{hint}",
    )


def _spell_digits(name: str) -> str:
    spelled = _DIGIT.sub(lambda digit: f"_{_DIGITS[int(digit[0])]}_", name)
    return "_".join(word for word in spelled.split("_") if word)


def _pluralize(name: str) -> str:
    """The last word alone: `inflection` knows words, and takes `user_news` for none."""
    rest, underscore, word = name.rpartition("_")
    if not word or word[-1].isdigit():
        return name
    return f"{rest}{underscore}{_plural(word)}"


def _plural(word: str) -> str:
    word = _PLURALS.get(word, word)
    # To the end of the rope: for a few words (`zebu`) the plural looks like a singular (`zebus`, as
    # `bus`), and a name must not change when a tap names its stream by it.
    while word not in _KNOWN_PLURALS and (plural := inflection.pluralize(word)) != word:
        word = _PLURALS.get(plural, plural)
    return word
