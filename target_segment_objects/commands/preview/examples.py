"""Text that a preview shows: example values, and names that may not be valid Unicode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.errors import RejectedRecordError
from target_segment_objects.plan import NonFinite, json_text, parse_record, without_non_finite

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["encodable", "example_at", "shown"]

_SHOWN_CHARACTERS: Final = 60


def example_at(raw: bytes, path: Iterable[str]) -> str | None:
    """The value at a path of a record, as `shown`; `None` when there is none."""
    try:
        value: Any = parse_record(raw)
    except RejectedRecordError:
        return None
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return shown(value)


def shown(value: Any) -> str:
    """A value as JSON on one line, cut at 60 characters."""
    if isinstance(value, NonFinite):
        return str(value.token)
    finite = without_non_finite(value, (), [])
    try:
        text = json_text(finite)
    except UnicodeEncodeError:
        text = ascii(finite)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def encodable(value: Any) -> Any:
    """A JSON value whose text can be encoded: lone surrogates become their escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(name): encodable(member) for name, member in value.items()}
    return [encodable(item) for item in value] if isinstance(value, (list, tuple)) else value
