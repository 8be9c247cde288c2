"""Bulk sessions: open until finished, failed or silent for too long [doc: 10 minutes].

What a finish with an error text does to the parts is [unknown]. Here they are dropped, as are those
of an expired session, because a client must not rely on either.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal

from target_segment_objects.emulator.errors import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.emulator.rules.parts import PartFile

_REMEMBERED = 10_000


@dataclass
class EmulatorSession:
    """One bulk session. Times are the emulator's monotonic clock, in seconds."""

    sync_id: str
    write_key: str = field(repr=False)
    started_at: float
    last_call_at: float
    state: Literal["open", "finished", "failed", "expired"] = "open"
    error: str = ""
    """The text that the client finished it with."""
    parts: list[PartFile] = field(default_factory=list)
    """In the order in which they were accepted."""
    calls_running: int = field(default=0, repr=False)
    objects: int = 0
    """Objects in its parts."""
    part_bytes: int = 0
    """Bytes of its parts as sent, compressed."""


class SessionRegistry:
    """The last 10,000 sessions of an emulator."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        """Expire sessions after `seconds` without a call, measured by `clock`."""
        self._clock = clock
        self._seconds = seconds
        self._lock = threading.Lock()
        self._sessions: dict[str, EmulatorSession] = {}

    def start(self, sync_id: str, write_key: str) -> EmulatorSession:
        """Open a session."""
        now = self._clock()
        session = EmulatorSession(sync_id, write_key, now, now)
        with self._lock:
            if len(self._sessions) >= _REMEMBERED:
                self._drop(self._sessions.pop(next(iter(self._sessions))))
            self._sessions[sync_id] = session
        return session

    def enter(self, sync_id: str, write_key: str) -> EmulatorSession:
        """Begin a call on an open session; a `RefusalError` 400 when it is not open.

        A session does not expire while a call of it is running.
        """
        with self._lock:
            session = self._sessions.get(sync_id)
            if session is None or session.write_key != write_key:
                raise RefusalError(400, "the session is unknown")
            self._expire_if_silent(session)
            if session.state != "open":
                raise RefusalError(400, f"the session is {session.state}")
            session.calls_running += 1
            return session

    def leave(self, session: EmulatorSession) -> None:
        """End a call; the time of silence starts again."""
        with self._lock:
            session.calls_running -= 1
            session.last_call_at = self._clock()

    def add(self, session: EmulatorSession, part: PartFile) -> None:
        """Accept a part; a `RefusalError` 400 when the session was closed meanwhile."""
        with self._lock:
            if session.state != "open":
                raise RefusalError(400, f"the session is {session.state}")
            session.parts.append(part)
            session.objects += part.objects
            session.part_bytes += part.compressed_bytes

    def close(self, session: EmulatorSession, error: str) -> None:
        """Finish a session, or fail it when `error` is not empty, which drops its parts."""
        with self._lock:
            if session.state != "open":
                raise RefusalError(400, f"the session is {session.state}")
            session.state, session.error = ("failed", error) if error else ("finished", "")
            if error:
                self._drop(session)

    def reopen(self, session: EmulatorSession) -> None:
        """Open a session again, because the objects of its finish could not be stored."""
        with self._lock:
            session.state = "open"

    def expire(self, sync_id: str | None = None) -> None:
        """Expire a session, or all open ones, whatever the clock says."""
        with self._lock:
            for session in self._sessions.values():
                if session.state == "open" and sync_id in {None, session.sync_id}:
                    self._expire(session)

    def all(self) -> dict[str, EmulatorSession]:
        """Return the sessions by id, oldest first; sessions that are due expire first."""
        with self._lock:
            for session in self._sessions.values():
                self._expire_if_silent(session)
            return dict(self._sessions)

    def latest(self, count: int) -> list[EmulatorSession]:
        """Return the last `count` sessions, newest first; sessions that are due expire first."""
        with self._lock:
            sessions = list(islice(reversed(self._sessions.values()), count))
            for session in sessions:
                self._expire_if_silent(session)
            return sessions

    def _expire_if_silent(self, session: EmulatorSession) -> None:
        silent = self._clock() - session.last_call_at
        if session.state == "open" and not session.calls_running and silent >= self._seconds:
            self._expire(session)

    def _expire(self, session: EmulatorSession) -> None:
        session.state = "expired"
        self._drop(session)

    @staticmethod
    def _drop(session: EmulatorSession) -> None:
        for part in session.parts:
            part.path.unlink(missing_ok=True)
