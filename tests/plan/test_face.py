"""What `target_segment_objects.plan` offers, pinned."""

from __future__ import annotations

from target_segment_objects import plan


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert plan.__all__ == [
        "FAULTS",
        "LONGEST_INT",
        "OMIT",
        "PICTURE",
        "UNDECLARED",
        "Column",
        "Converters",
        "Encoded",
        "Flattening",
        "NonFinite",
        "NoteCounts",
        "Notes",
        "NullShare",
        "PlanOptions",
        "PlannedColumn",
        "StreamPlan",
        "Unfit",
        "as_number",
        "canonical_number",
        "compile_plan",
        "exact",
        "joined",
        "json_text",
        "may_be_infinite",
        "normal_date",
        "parse_record",
        "property_name",
        "read_columns",
        "short_double",
        "spelled_out",
        "without_non_finite",
    ]
