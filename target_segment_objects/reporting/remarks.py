"""Sentences about values that were changed but not rejected, each with advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from target_segment_objects.faults import FaultCode
from target_segment_objects.plan import ConversionCode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONVERSION_REMARKS", "EXPRESSION_ADVICE", "REJECT_ADVICE"]

CONVERSION_REMARKS: Final[Mapping[ConversionCode, tuple[str, str]]] = {
    ConversionCode.COERCED: (
        "Values that did not match the schema's type, converted without loss",
        "correct the schema in the tap, or see `type_mismatches`",
    ),
    ConversionCode.MISMATCHED: (
        "Values that did not match the schema's type, sent unchanged",
        "correct the schema in the tap, or see `type_mismatches`",
    ),
    ConversionCode.DATE_NORMALIZED: (
        "Dates completed to RFC 3339: `T` for a space, `Z` for a missing offset, full offsets",
        "if dates without an offset are not in UTC, make the tap write the offset",
    ),
    ConversionCode.INVALID_DATE: (
        "Values of date columns that are not RFC 3339 dates, sent as text",
        "correct them in the tap or with `stream_maps`, if the column should hold dates",
    ),
    ConversionCode.LONG_STRING: (
        "Values of more than 512 characters, where most warehouses cut a string",
        "shorten them with `stream_maps`, or make sure that your warehouse accepts them",
    ),
    ConversionCode.NUL_CHARACTER: (
        "Values with the character U+0000, which most warehouses refuse",
        "remove it in the tap or with `stream_maps`",
    ),
    ConversionCode.HASHED_ID: (
        "Ids of more than 100 characters, replaced by their SHA-256",
        "choose shorter keys with `stream_maps`, or see `long_ids`",
    ),
    ConversionCode.DROPPED: (
        "Values of 32 KB or more, omitted",
        "shorten them with `stream_maps`, or see `oversized_values`",
    ),
    ConversionCode.TRUNCATED: (
        "Values of 32 KB or more, truncated",
        "shorten them with `stream_maps`, or see `oversized_values`",
    ),
    ConversionCode.NON_FINITE_NULLED: (
        "Numbers that are not finite, replaced by null",
        "correct them in the tap, or see `non_finite_numbers`",
    ),
}
"""What was done to values, and what the user can do about it."""

REJECT_ADVICE: Final[Mapping[str, str]] = {
    FaultCode.EXPRESSION: "correct the expression in `stream_maps`",
    FaultCode.REFUSED: "follow what Segment's response says",
    "": "correct them in the tap, or see the settings that the reasons name",
}
"""What to do about rejects, by their most frequent code."""

EXPRESSION_ADVICE: Final = (
    "they are made by expressions of `stream_maps`, whose type is text unless they say another: "
    "write `float(…)`, `int(…)`, `bool(…)` or `json.dumps(…)` around them"
)
"""What to do about coerced properties that are made by expressions."""
