"""What `target_segment_objects.plan` offers, pinned."""

from __future__ import annotations

from target_segment_objects import plan


def test_the_face_is_pinned() -> None:
    """Adding or removing a name is a decision."""
    assert plan.__all__ == [
        "CHARACTER_CLASSES",
        "MAX_INT_DIGITS",
        "OMIT",
        "UNDECLARED",
        "Column",
        "ColumnTable",
        "ConversionCode",
        "ConversionCounts",
        "Conversions",
        "Converters",
        "EncodedRecord",
        "Flattening",
        "NonFinite",
        "NullShare",
        "PlanOptions",
        "PlannedColumn",
        "StreamPlan",
        "UnsendableValue",
        "as_number",
        "canonical_number",
        "compile_plan",
        "exact_double",
        "join_key_texts",
        "json_text",
        "may_be_infinite",
        "normalize_datetime",
        "parse_record",
        "property_name",
        "read_columns",
        "resolved_schema",
        "to_decimal",
        "without_non_finite",
    ]
