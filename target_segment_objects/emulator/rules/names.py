"""How Segment's warehouses rename collections and properties [client].

Written from the rule and its test vectors, independently of the target's own naming, so that a
mistake in one is noticed by the other.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SNAKE_CASE_PREFIX = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_WORD = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+")
_RESERVED_COLUMNS = frozenset({"id", "received_at", "uuid", "uuid_ts", "loaded_at"})
_KEPT_AS_SENT = frozenset(f"{name}_" for name in _RESERVED_COLUMNS)


def snake_case(name: str) -> str:
    """Return the name that a warehouse gives to `name`; empty without an ASCII letter or digit."""
    match = _SNAKE_CASE_PREFIX.match(name)
    prefix = match.group() if match else ""
    rest = name[len(prefix) :]
    words = [word.lower() for word in _WORD.findall(rest)]
    if not prefix:
        return "_".join(words)
    last_word = prefix.rpartition("_")[2]
    if words and rest[0].isascii() and rest[0].isupper() and last_word.isdigit():
        prefix += words.pop(0)
    return "_".join([prefix, *words])


@lru_cache(maxsize=65536)
def column_name(name: str) -> str | None:
    """Return the column of the property `name`, or None when the warehouse has no column for it.

    That is so for a name that becomes empty, and for the columns that belong to Segment (`id`,
    `received_at`, `uuid`, `uuid_ts`, `loaded_at` [doc]). Those names with one `_` appended are kept
    as sent. This is an exception of the emulator [unknown], since the target appends that `_` to
    avoid a conflict.
    """
    if name in _KEPT_AS_SENT:
        return name
    column = snake_case(name)
    return None if not column or column in _RESERVED_COLUMNS else column


@lru_cache(maxsize=4096)
def table_name(collection: str) -> str:
    """Return the name of a collection's table."""
    return snake_case(collection)
