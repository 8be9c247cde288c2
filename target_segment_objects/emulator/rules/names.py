"""How Segment's warehouses rename collections and properties [client].

Written from the rule and its vectors, apart from the target's own naming, so that one wrong
reading of the rule cannot hide in both.
"""

from __future__ import annotations

import re
from functools import lru_cache

_KEPT_STRETCH = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_RUN = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+")
_OWNED = frozenset({"id", "received_at", "uuid", "uuid_ts", "loaded_at"})
_KEPT_WHOLE = frozenset(f"{name}_" for name in _OWNED)


def snake_case(name: str) -> str:
    """Return the name that a warehouse gives to `name`; empty without an ASCII letter or digit."""
    kept = _KEPT_STRETCH.match(name)
    stretch = kept.group() if kept else ""
    rest = name[len(stretch) :]
    runs = [run.lower() for run in _RUN.findall(rest)]
    if not stretch:
        return "_".join(runs)
    last_piece = stretch.rpartition("_")[2]
    if runs and rest[0].isascii() and rest[0].isupper() and last_piece.isdigit():
        stretch += runs.pop(0)
    return "_".join([stretch, *runs])


@lru_cache(maxsize=65536)
def column_name(name: str) -> str | None:
    """Return the column that property `name` lands in, or None when the warehouse has none for it.

    None for a name that becomes empty, and for the columns that belong to Segment (`id`,
    `received_at`, `uuid`, `uuid_ts`, `loaded_at` [doc]). Those names with one `_` behind are kept
    as sent, an exception of this emulator [unknown]: it is how the target steps out of their way.
    """
    if name in _KEPT_WHOLE:
        return name
    column = snake_case(name)
    return None if not column or column in _OWNED else column


@lru_cache(maxsize=4096)
def table_name(collection: str) -> str:
    """Return the table that a collection becomes."""
    return snake_case(collection)
