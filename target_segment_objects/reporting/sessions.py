"""The bulk sessions of a run and their parts, as the report has them.

Invariant: the lists are bounded, and what is not listed is counted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from target_segment_objects.delivery import PartUploaded, SessionState

__all__ = ["Sessions"]

_MAX_PARTS: Final = 1_000
_MAX_SESSIONS: Final = 1_000


class Sessions:
    """The newest bulk sessions. Written by the thread that makes their calls.

    Attributes:
        listed: the newest sessions, oldest first, with the fields of the report.
        opened: how many were opened.
        parts: how many parts were uploaded.
        parts_listed: how many of these are in `listed`.
    """

    def __init__(self) -> None:
        self.listed: deque[dict[str, Any]] = deque(maxlen=_MAX_SESSIONS)
        self.opened = 0
        self.parts = 0
        self.parts_listed = 0

    def open(self, sync_id: str, request_id: str) -> None:
        """A session was opened by this request."""
        if len(self.listed) == _MAX_SESSIONS:
            self.parts_listed -= len(self.listed[0]["parts"])
        self.opened += 1
        self.listed.append(
            {
                "sync_id": sync_id,
                "state": "open",
                "start_request_id": request_id or None,
                "finish_request_id": None,
                "parts": [],
            }
        )

    def add_part(self, part: PartUploaded, request_id: str) -> None:
        """A part was uploaded by this request."""
        self.parts += 1
        session = self._find(part.sync_id)
        if session is None:
            return
        fields = msgspec.structs.asdict(part)
        del fields["sync_id"]
        session["parts"].append({**fields, "request_id": request_id or None})
        self.parts_listed += 1
        if self.parts_listed > _MAX_PARTS:
            next(session for session in self.listed if session["parts"])["parts"].pop(0)
            self.parts_listed -= 1

    def set_state(self, sync_id: str, state: SessionState, finish_request_id: str = "") -> None:
        """A session has reached this state."""
        session = self._find(sync_id)
        if session is not None:
            session["state"] = state
            session["finish_request_id"] = finish_request_id or None

    def _find(self, sync_id: str) -> dict[str, Any] | None:
        newest_first = reversed(self.listed)
        return next((session for session in newest_first if session["sync_id"] == sync_id), None)
