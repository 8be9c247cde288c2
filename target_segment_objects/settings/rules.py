"""Rules between settings, and warnings about settings that have no effect.

A rule names the settings that it is about, beginning with the one to change. It applies only if
each of them is valid by itself.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import stat
from typing import TYPE_CHECKING

from target_segment_objects.client import Address
from target_segment_objects.objects import API_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from target_segment_objects.settings.declared import Settings

__all__ = ["UNSUPPORTED", "listed", "no_effect_warnings", "unknown_setting_warning", "violations"]

UNSUPPORTED = {
    "load_method": "Segment merges objects of one id, whatever it says",
    "batch_size_rows": "batches are as large as Segment accepts",
    "batch_wait_limit_seconds": "an object never waits long for its batch to fill",
    "batch_config": "BATCH messages are not supported",
    "hard_delete": "Segment's API cannot delete",
    "soft_delete": "Segment's API cannot delete",
    "process_activate_version_messages": "Segment's API cannot delete",
    "default_target_schema": "the schema is chosen in Segment",
}
"""Settings of other targets, which tools send to every target, and why they have no effect."""

_PLAIN = re.compile(r"[a-z](?:[a-z_]*[a-z])?")
_WITH_DIGITS = re.compile(r"[a-z0-9](?:[a-z0-9_]*[a-z0-9])?")
_NAME_SHOWN = 60
_LEAST_KEY_LENGTH = 8
_STREAMS_SHOWN = 5


def violations(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """The rules that settings violate.

    Yields:
        The names of the rule's settings, beginning with the one to change, and a sentence.
    """
    local = settings.local_warehouse is not None
    if settings.write_key is None and not local:
        yield (
            ("write_key", "local_warehouse"),
            "write_key is required: the write key of a Segment source (or set local_warehouse)",
        )
    if settings.max_rejects != 0 and settings.dead_letter_path is None:
        yield (
            ("dead_letter_path", "max_rejects"),
            "dead_letter_path is required if max_rejects is not 0: rejects are written to it",
        )
    yield from _shared_file_violations(settings)
    yield from _standard_stream_violations(settings)
    dublin_bulk = settings.region == "dublin" and settings.method == "bulk"
    if dublin_bulk and settings.bulk_url is None and not local:
        yield (
            ("bulk_url", "region", "method", "local_warehouse"),
            (
                "bulk_url is required with region: dublin and method: bulk, since Segment "
                "documents no bulk address for it (or set method: set)"
            ),
        )
    for name in ("objects_url", "bulk_url"):
        url = getattr(settings, name)
        if url and not settings.allow_http and Address.parse(url, allow_http=True).is_in_the_clear:
            sentence = f"{name} must be https, or loopback, or allow_http must be true"
            yield (name, "allow_http"), sentence
    valid = _WITH_DIGITS if settings.allow_collection_digits else _PLAIN
    invalid = [
        repr(stream[:_NAME_SHOWN])
        for stream, collection in settings.collections.items()
        if len(collection) > API_LIMITS.collection_characters or not valid.fullmatch(collection)
    ]
    if invalid:
        digits = ", digits" if settings.allow_collection_digits else ""
        hint = "" if settings.allow_collection_digits else " (digits: allow_collection_digits)"
        yield (
            ("collections", "allow_collection_digits"),
            (
                f"collections must give names of lower-case letters{digits} and underscores{hint}, "
                f"with at most {API_LIMITS.collection_characters} characters and no underscore at "
                f"the beginning or end; check {listed(invalid, _STREAMS_SHOWN)}"
            ),
        )
    if settings.flattening_enabled and settings.flattening_max_depth is None:
        yield (
            ("flattening_max_depth", "flattening_enabled"),
            "flattening_max_depth is required with flattening_enabled",
        )


def _shared_file_violations(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """A file that two settings name: one of them would overwrite the other's content."""
    paths = (settings.report_path, settings.dead_letter_path, settings.local_warehouse)
    report, dead_letter, warehouse = (path and path.resolve() for path in paths)
    for name, other in (("dead_letter_path", dead_letter), ("local_warehouse", warehouse)):
        if report is not None and report == other:
            yield (
                ("report_path", name),
                f"report_path and {name} are the same file: the report would replace it",
            )
    if warehouse and dead_letter in {warehouse, warehouse.with_name(f"{warehouse.name}.wal")}:
        yield (
            ("dead_letter_path", "local_warehouse"),
            (
                "dead_letter_path is the file of local_warehouse, or the `.wal` that DuckDB keeps "
                "beside it: rejects would be lost"
            ),
        )


def _standard_stream_violations(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """A file that is also stdin or stdout: states would be mixed with other lines, or lost."""
    for name in ("report_path", "dead_letter_path", "local_warehouse"):
        path = getattr(settings, name)
        for descriptor, stream in ((0, "stdin"), (1, "stdout")):
            if path is not None and _is_same_file(path, descriptor):
                yield (name,), f"{name} is the same file as {stream}: name another file"


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        status, opened = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    # Of the character devices, only a terminal mixes the output of two writers.
    is_device = stat.S_ISCHR(opened.st_mode) and not os.isatty(descriptor)
    return os.path.samestat(status, opened) and not is_device


def no_effect_warnings(settings: Settings) -> Iterator[str]:
    """A sentence for each setting that is valid, but has no effect or is probably a mistake."""
    key = settings.write_key
    if settings.local_warehouse is None and key is not None and len(key) < _LEAST_KEY_LENGTH:
        yield (
            f"write_key has fewer than {_LEAST_KEY_LENGTH} characters: check that it is the whole "
            "key; a key this short cannot be removed from messages reliably"
        )
    if settings.faker_config is not None and importlib.util.find_spec("faker") is None:
        yield (
            "faker_config has no effect: the package `faker` is not installed in the target's "
            "environment"
        )
    if settings.local_warehouse is not None:
        for name in ("objects_url", "bulk_url"):
            if getattr(settings, name) is not None:
                yield f"{name} has no effect with local_warehouse: nothing leaves the machine"


def unknown_setting_warning(name: str, known: Iterable[str]) -> str:
    """Why a setting that is not declared has no effect, or which setting is probably meant."""
    if name in UNSUPPORTED:
        return f"the setting {name} has no effect here: {UNSUPPORTED[name]}"
    similar = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    return f"unknown setting {name[:_NAME_SHOWN]!r} is ignored{hint}"


def listed(texts: Sequence[str], most: int) -> str:
    """Return the first texts, at most that many, and how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
