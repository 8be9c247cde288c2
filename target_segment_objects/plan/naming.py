"""Derives names: of collections from streams, of properties from paths.

Invariant: a name is sent in the form that Segment would give it anyway (its snake-case rule). So
Segment does not rename it, and two names that would become one column are detected before sending.
The column table checks for such clashes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import inflection
from anyascii import anyascii

from target_segment_objects.errors import ConfigurationError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.plan.options import PlanOptions

__all__ = [
    "SEGMENT_TABLES",
    "WAREHOUSE_OWNED",
    "Flattening",
    "collection_name",
    "property_name",
    "snake_case",
    "transliterate",
]

WAREHOUSE_OWNED = frozenset({"id", "received_at", "uuid", "uuid_ts", "loaded_at"})
"""Columns that belong to Segment in every table [doc; `loaded_at` on BigQuery]."""

SEGMENT_TABLES = frozenset(
    {"accounts", "aliases", "groups", "identifies", "pages", "screens", "tracks", "users"}
)
"""Tables of Segment's event sources, which may share the schema [doc]: the plan warns of them."""

# What Segment keeps unchanged at the start of a name, and the runs that it splits the rest into.
_KEPT = re.compile(r"(?:[a-z0-9]+(?:_[a-z0-9]+)*)?")
_RUN = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z][a-z0-9]*")
_UPPER_CASE = re.compile(r"[A-Z]")
_LOWER_CASE = re.compile(r"[a-z]")

_DIGIT = re.compile(r"[0-9]")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_LETTERS = re.compile(r"[a-z]+(?:_[a-z]+)*")
_LETTERS_AND_DIGITS = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")

# Words that `inflection` gets wrong (`germen`, `kine`, `foots`) or takes for plurals (`gas`). The
# list is short: users can name any collection in `collections`.
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
    """The name as Segment's warehouses would write it; empty if it has no ASCII letter or digit.

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
    # An upper-case run joins the piece before it if that has no lower-case letter: `6N`.
    if _UPPER_CASE.match(name, end) and not _LOWER_CASE.search(first.rpartition("_")[2]):
        run = _RUN.match(name, end)
        if run:
            first += run[0].lower()
            end = run.end()
    runs = [run.lower() for run in _RUN.findall(name, end)]
    return "_".join([first, *runs] if first else runs)


def transliterate(name: str) -> str:
    """The name in ASCII: `naïve` is `naive`, `名前` is `MingQian`.

    The name is composed (NFC) first, so that `ï` and `i` with a combining diaeresis, or a Hangul
    syllable and its letters, give the same name.

    Args:
        name: any text. Lone surrogates and characters without a transliteration are removed.
    """
    if name.isascii():
        return name
    return anyascii(unicodedata.normalize("NFC", name))


_SDK_METADATA: Final = "_sdc_"


@dataclass(frozen=True)
class Flattening:
    """Names and depth of flattened properties, as the SDK's `flattening_…` settings define them.

    Attributes:
        max_depth: how many levels of nested objects become properties, at least 1. Objects below
            are values.
        separator: stands between the parts of a name.
        max_key_length: a name of this many characters or more is shortened, beginning with its
            first part, until it is shorter: a part becomes its capitals, or its first 3 letters.
    """

    max_depth: int
    separator: str = "__"
    max_key_length: int = 255

    def key(self, path: Sequence[str]) -> str:
        """The name that the SDK gives to a flattened property; its own metadata keeps its names."""
        parts = list(path)
        if path[0].startswith(_SDK_METADATA):
            return self.separator.join(parts)
        for index, part in enumerate(parts):
            if len(self.separator.join(parts)) < self.max_key_length:
                break
            capitals = _LOWER_CASE.sub("", inflection.camelize(part))
            parts[index] = (capitals if len(capitals) > 1 else part[:3]).lower()
        return self.separator.join(parts)


def property_name(path: Sequence[str], flattening: Flattening | None = None) -> str:
    """The name of the property for a value of a record.

    Args:
        path: where the value stands in its record: property names from the top.
        flattening: how the SDK joins the path, if its `flattening_enabled` is set.

    Returns:
        The name. It ends in `_` if and only if the warehouse owns the name without it. Empty if
        the path has no letter or digit.
    """
    if flattening is not None:
        path = [flattening.key(path)]
    name = snake_case("_".join(map(transliterate, path)))
    return f"{name}_" if name in WAREHOUSE_OWNED else name


def collection_name(stream: str, options: PlanOptions) -> str:
    """The collection that a stream's records go to.

    The plural of the last word is used if `pluralize` is set; plurals, and words that end in a
    digit, stay unchanged. Digits are spelled out unless `allow_collection_digits` is set. A name in
    `collections` is used unchanged.

    Args:
        stream: the stream's name, after stream maps.
        options: the plan's options.

    Returns:
        A name of 1 to 100 characters. Applying the function to it again changes nothing.

    Raises:
        ConfigurationError: if the user's name is not valid in Segment.
        SchemaError: if the name would be empty or too long.
    """
    if stream in options.collections:
        return _checked_user_name(stream, options)
    name = snake_case(transliterate(stream))
    if not options.allow_collection_digits:
        name = _spell_digits(name)
    if options.pluralize:
        name = _pluralize(name)
    if not name:
        raise SchemaError(
            f"stream {stream!r}: its name has no letter or digit, so it cannot name a collection; "
            "name its collection in the setting `collections`",
        )
    max_length = options.limits.collection_characters
    if len(name) > max_length:
        raise SchemaError(
            f"stream {stream!r}: the name of its collection, {name!r}, has {len(name)} characters "
            f"and Segment accepts at most {max_length}; name its collection in the "
            "setting `collections`",
        )
    return name


def _checked_user_name(stream: str, options: PlanOptions) -> str:
    name, max_length = options.collections[stream], options.limits.collection_characters
    allow_digits = options.allow_collection_digits
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
        f"setting `collections`: {name!r}, given for stream {stream!r}, is not a valid "
        f"collection name; allowed are {what} and single underscores between them, "
        f"1 to {max_length} characters{hint}",
    )


def _spell_digits(name: str) -> str:
    spelled = _DIGIT.sub(lambda digit: f"_{_DIGITS[int(digit[0])]}_", name)
    return "_".join(word for word in spelled.split("_") if word)


def _pluralize(name: str) -> str:
    """Pluralize the last word: `inflection` knows words, but not `user_news`."""
    rest, underscore, word = name.rpartition("_")
    if not word or word[-1].isdigit():
        return name
    word = _PLURALS.get(word, word)
    # Repeat until stable: a few plurals (`zebus`) look singular to `inflection`, and a stream that
    # is named by the plural must keep its name.
    while word not in _KNOWN_PLURALS and (plural := inflection.pluralize(word)) != word:
        word = _PLURALS.get(plural, plural)
    return f"{rest}{underscore}{word}"
