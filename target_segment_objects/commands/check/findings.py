"""The result of one check."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from target_segment_objects.errors import one_line

__all__ = ["Finding", "Verdict"]


class Verdict(Enum):
    """How a check ended."""

    OK = "OK"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        subject: what was checked.
        verdict: how the check ended.
        detail: what was found, and what to do; without secrets.
    """

    subject: str
    verdict: Verdict
    detail: str

    def __str__(self) -> str:
        return f"{self.verdict.value:<7}  {self.subject:<15}  {one_line(self.detail)}"
