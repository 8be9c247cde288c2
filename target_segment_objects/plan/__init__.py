"""A SCHEMA becomes a plan, and a record an object."""

from __future__ import annotations

from target_segment_objects.plan.column_table import ColumnTable, PlannedColumn
from target_segment_objects.plan.conversion import OMIT, Converters, UnsendableValue
from target_segment_objects.plan.conversion_counts import (
    UNDECLARED,
    ConversionCode,
    ConversionCounts,
    Conversions,
)
from target_segment_objects.plan.ids import join_key_texts
from target_segment_objects.plan.naming import Flattening, property_name
from target_segment_objects.plan.nulls import NullShare
from target_segment_objects.plan.number_text import CHARACTER_CLASSES, may_be_infinite
from target_segment_objects.plan.options import PlanOptions
from target_segment_objects.plan.parsing import parse_record
from target_segment_objects.plan.schemas import Column, read_columns, resolved_schema
from target_segment_objects.plan.stream_plan import EncodedRecord, StreamPlan, compile_plan
from target_segment_objects.plan.values import (
    MAX_INT_DIGITS,
    NonFinite,
    as_number,
    canonical_number,
    exact_double,
    json_text,
    normalize_datetime,
    to_decimal,
    without_non_finite,
)

__all__ = [
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
