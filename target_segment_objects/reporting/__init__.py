"""What a run has done: counts, warnings, the summary, the report file, the terminal."""

from __future__ import annotations

from target_segment_objects.reporting.counts import RunCounts, StreamCounts
from target_segment_objects.reporting.document import report_document
from target_segment_objects.reporting.observer import DeliveryObserver
from target_segment_objects.reporting.remarks import CONVERSION_REMARKS
from target_segment_objects.reporting.report_file import ReportFile
from target_segment_objects.reporting.summary import summaries
from target_segment_objects.reporting.table import text_table
from target_segment_objects.reporting.terminal import Terminal
from target_segment_objects.reporting.warnings import Report

__all__ = [
    "CONVERSION_REMARKS",
    "DeliveryObserver",
    "Report",
    "ReportFile",
    "RunCounts",
    "StreamCounts",
    "Terminal",
    "report_document",
    "summaries",
    "text_table",
]
