"""What `target_segment_objects.reporting` offers, pinned."""

from __future__ import annotations

from target_segment_objects import reporting


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert reporting.__all__ == [
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
