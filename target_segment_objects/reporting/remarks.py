"""The words for what happened to values without a reject, and what to do about each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONVERSION_REMARKS", "EXPRESSION_ADVICE", "REJECT_ADVICE"]

CONVERSION_REMARKS: Final[Mapping[str, tuple[str, str]]] = {
    "coerced": (
        "Values of another type than the schema says, converted without loss",
        "correct the schema in the tap, or see `type_mismatches`",
    ),
    "mismatched": (
        "Values of another type than the schema says, sent as they came",
        "correct the schema in the tap, or see `type_mismatches`",
    ),
    "date_normalized": (
        "Dates written as RFC 3339: `T` for a blank, `Z` for no offset, an offset in full",
        "if dates without an offset are not in UTC, let the tap write the offset",
    ),
    "invalid_date": (
        "Values of date columns that are no RFC 3339 dates, left as text",
        "for a column of dates, correct them in the tap or with `stream_maps`",
    ),
    "long_string": (
        "Values of more than 512 characters, where most warehouses cut a string",
        "shorten them with `stream_maps`, or see to it that your warehouse takes them",
    ),
    "nul_character": (
        "Values with the character U+0000, which most warehouses refuse",
        "remove it in the tap or with `stream_maps`",
    ),
    "hashed_id": (
        "Ids of more than 100 characters, replaced by their SHA-256",
        "choose shorter keys with `stream_maps`, or see `long_ids`",
    ),
    "dropped": (
        "Values of 32 KB or more, left out",
        "shorten them with `stream_maps`, or see `oversized_values`",
    ),
    "truncated": (
        "Values of 32 KB or more, cut",
        "shorten them with `stream_maps`, or see `oversized_values`",
    ),
    "nulled": (
        "Numbers that are not finite, replaced by null",
        "correct them in the tap, or see `non_finite_numbers`",
    ),
}
"""By `plan.ConversionCode`: what happened to values, and what to do about it."""

REJECT_ADVICE: Final[Mapping[str, str]] = {
    "expression": "correct the expression in `stream_maps`",
    "refused": "do what Segment's own words ask for",
    "": "correct them in the tap, or see the settings that the reasons name",
}
"""What to do about rejects, by the code of most of them."""

EXPRESSION_ADVICE: Final = (
    "they are made by expressions of `stream_maps`, whose type is text unless they say another: "
    "write `float(…)`, `int(…)`, `bool(…)` or `json.dumps(…)` around them"
)
"""What to do where the schema is not the tap's."""
