"""What a run tells: every warning once, and what became of values by stream and property."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from target_segment_objects.errors import Fault, RejectedRecordError
from target_segment_objects.plan import Notes
from target_segment_objects.report import Report

if TYPE_CHECKING:
    import pytest

LOGGER = logging.getLogger("tests.report")


def test_a_warning_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is found."""
    report = Report(LOGGER)
    for sentence in ("one", "two", "one"):
        report.warn(sentence)
    assert caplog.messages == ["one", "two"]


def test_the_summary(caplog: pytest.LogCaptureFixture) -> None:
    """One line a stream and kind of remark, with the properties that have most of them first."""
    caplog.set_level(logging.INFO)
    report = Report(LOGGER)
    for number in range(7):
        report.remember("rooms", Notes({("coerced", f"p{number}"): number + 1}))
    report.remember("rooms", Notes({("coerced", "p0"): 20, ("dated", "at"): 1}))
    report.count("rooms", "rooms")
    report.count("rooms", "rooms")
    report.summarize(delivered=True)
    report.summarize(delivered=True)
    coerced, dated, delivered = caplog.messages
    assert "stream=rooms values=48 properties=p0,p6,p5,p4,p3 and 2 more" in coerced
    assert dated.startswith("Values were dates")
    assert delivered == "Records delivered: stream=rooms collection=rooms records=2"


def test_a_failed_run_does_not_say_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """When the run failed, or Segment refused an object, it is only known what was read."""
    caplog.set_level(logging.INFO)
    for delivered, code in ((False, "type"), (True, "refused")):
        report = Report(LOGGER)
        report.count("rooms", "rooms")
        report.reject(RejectedRecordError([Fault((), code, "why")], stream="rooms"))
        report.summarize(delivered=delivered)
        assert caplog.messages[-1] == "Records read: stream=rooms collection=rooms records=1"
