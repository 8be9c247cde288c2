"""What errors say, as a log may hold it."""

from __future__ import annotations

from target_segment_objects.errors import one_line


def test_a_line_of_a_log_is_one_line() -> None:
    """Names of a tap's making cannot forge lines nor fill a log."""
    assert one_line("a\nERROR b\x1b[31m\ud800") == "a\\nERROR b\\x1b[31m\\ud800"
    assert len(one_line("x" * 50_000)) < 1_000
    assert one_line("Ålesund 名前") == "Ålesund 名前"
