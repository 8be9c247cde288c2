"""A SCHEMA becomes a plan, and a record an object."""

from __future__ import annotations

from target_segment_objects.plan.conversion import (
    FAULTS,
    OMIT,
    UNDECLARED,
    Converters,
    Notes,
    Unfit,
)
from target_segment_objects.plan.ids import joined
from target_segment_objects.plan.naming import Flattening, property_name
from target_segment_objects.plan.nulls import NullShare
from target_segment_objects.plan.number_text import PICTURE, may_be_infinite
from target_segment_objects.plan.parsing import parse_record
from target_segment_objects.plan.schemas import Column, read_columns, spelled_out
from target_segment_objects.plan.stream_plan import (
    Encoded,
    NoteCounts,
    PlannedColumn,
    PlanOptions,
    StreamPlan,
    compile_plan,
)
from target_segment_objects.plan.values import (
    LONGEST_INT,
    NonFinite,
    as_number,
    canonical_number,
    exact,
    json_text,
    normal_date,
    short_double,
    without_non_finite,
)

__all__ = [
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
