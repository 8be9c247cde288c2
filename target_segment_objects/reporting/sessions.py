"""The bulk sessions of a run and their parts, as the report lists them.

The rule that it guards: the lists are bounded, and what is left out of them is counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from target_segment_objects.delivery import PartUploaded, SessionState

__all__ = ["SentPart", "SessionSummary", "Sessions"]

_MAX_PARTS: Final = 1_000
_MAX_SESSIONS: Final = 1_000


class SentPart(NamedTuple):
    """A part that Segment took, and the id of the request that brought it."""

    uploaded: PartUploaded
    request_id: str


@dataclass
class SessionSummary:
    """A bulk session.

    Attributes:
        sync_id: what Segment calls it.
        request_id: of its start.
        state: see `delivery.SessionState`.
        finish_request_id: of its finish.
        parts: the newest that were uploaded.
    """

    sync_id: str
    request_id: str
    state: SessionState = "open"
    finish_request_id: str = ""
    parts: list[SentPart] = field(default_factory=list)


class Sessions:
    """The newest bulk sessions. Written by the thread that makes their calls.

    Attributes:
        listed: the newest sessions.
        opened: how many were opened.
        parts: how many parts were uploaded.
        parts_listed: how many of these are in `listed`.
    """

    def __init__(self) -> None:
        self.listed: deque[SessionSummary] = deque(maxlen=_MAX_SESSIONS)
        self.opened = 0
        self.parts = 0
        self.parts_listed = 0

    def open(self, sync_id: str, request_id: str) -> None:
        """A session was opened."""
        if len(self.listed) == _MAX_SESSIONS:
            self.parts_listed -= len(self.listed[0].parts)
        self.listed.append(SessionSummary(sync_id, request_id))
        self.opened += 1

    def add_part(self, part: PartUploaded, request_id: str) -> None:
        """A part was uploaded."""
        self.parts += 1
        session = self._find(part.sync_id)
        if session is None:
            return
        session.parts.append(SentPart(part, request_id))
        self.parts_listed += 1
        if self.parts_listed > _MAX_PARTS:
            next(session for session in self.listed if session.parts).parts.pop(0)
            self.parts_listed -= 1

    def set_state(self, sync_id: str, state: SessionState, finish_request_id: str = "") -> None:
        """A session has reached this state."""
        session = self._find(sync_id)
        if session is not None:
            session.state = state
            session.finish_request_id = finish_request_id

    def _find(self, sync_id: str) -> SessionSummary | None:
        for session in reversed(self.listed):
            if session.sync_id == sync_id:
                return session
        return None
