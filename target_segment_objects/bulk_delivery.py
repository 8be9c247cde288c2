"""Delivery by bulk sessions: parts go up in order while the next fills; finish makes them durable.

The reading thread owns the part writer and the books. One thread makes a session's calls, one
after another: start, uploads, finish; so a new session never overtakes an old one. Another keeps
the session alive through silence.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from target_segment_objects.errors import DeliveryError, SessionRefusedError
from target_segment_objects.parts import Part, PartLimits, PartWriter, Spool

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.objects import SegmentObject

__all__ = ["BulkCalls", "BulkDelivery", "SessionLimits"]

logger = logging.getLogger(__name__)


class BulkCalls(Protocol):
    """What the delivery needs of `client.BulkApi`; each call raises `DeliveryError`."""

    def start(self) -> str:
        """Open a session; its sync id."""

    def upload(self, sync_id: str, file: BinaryIO, size: int) -> str:
        """Upload a part; its part id."""

    def keep_alive(self, sync_id: str) -> object:
        """Keep the session alive."""

    def finish(self, sync_id: str, error: str = "") -> object:
        """End the session."""


@dataclass(frozen=True)
class SessionLimits:
    """How long sessions last.

    Attributes:
        keep_alive_seconds: silence after which a session is kept alive.
        checkpoint_seconds: age at which a session is finished; 0: only at the end of the input.
    """

    keep_alive_seconds: float = 240.0
    checkpoint_seconds: float = 1800.0


@dataclass
class _Session:
    """One session's books.

    Attributes:
        first: the position of its first record.
        opened: when its first record came, on the monotonic clock.
        parts: what was sealed for it, all of it kept until finish: a session that is lost is sent
            again.
        uploaded: how many of the parts Segment has, in this session.
        finished: whether its finish was answered 202.
    """

    first: int
    opened: float
    spool: Spool
    writer: PartWriter
    parts: list[Part] = field(default_factory=list)
    uploaded: int = 0
    sync_id: str = ""
    replaced: bool = False
    finished: bool = False
    quiet_since: float = 0.0


_Step = tuple[_Session, Literal["start", "upload", "finish", "abandon"]]


class BulkDelivery:
    """See `delivery.Delivery`.

    Args:
        api: makes the calls, with their retries.
        limits: how parts are made.
        sessions: how long sessions last.
        monotonic: the clock.
        wake: called from another thread when there is an outcome to look at.
    """

    def __init__(
        self,
        api: BulkCalls,
        *,
        limits: PartLimits,
        sessions: SessionLimits,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._api = api
        self._limits = limits
        self._sessions = sessions
        self._monotonic = monotonic
        self._wake = wake
        self._open: _Session | None = None
        self._unfinished: dict[int, _Session] = {}
        self._steps: queue.SimpleQueue[_Step | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[_Session, BaseException | None]] = (
            queue.SimpleQueue()
        )
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._in_call: _Session | None = None

    def put(self, made: SegmentObject, position: int) -> None:
        """Take an object; never waits, since what cannot go up yet stays in the spool."""
        if not self._outcomes.empty():
            self._take_outcomes()
        if self._failure is not None:
            raise self._failure
        session = self._open or self._new_session(position)
        part = session.writer.feed(made.line_bytes())
        if part is not None:
            self._seal(session, part)

    def tick(self) -> float | None:
        """Finish a session that has reached its age; the next record begins another."""
        self._take_outcomes()
        if self._failure is not None:
            raise self._failure
        if self._open is None or not self._sessions.checkpoint_seconds:
            return None
        due = self._open.opened + self._sessions.checkpoint_seconds
        if self._monotonic() < due:
            return due
        self._end_session()
        return None

    def durable(self, position: int) -> int:
        """Everything before the first session that is not finished."""
        return (
            min((session.first for session in self._unfinished.values()), default=position + 1) - 1
        )

    def finish(self) -> None:
        """Finish the session, and wait for it."""
        self._end_session()
        while self._unfinished:
            if self._failure is not None:
                raise self._failure
            self._take_outcome(*self._outcomes.get())
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the threads, give back the spool, and finish an open session with an error."""
        self._closing.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._steps.get_nowait()
        for session in self._unfinished.values():
            self._steps.put((session, "abandon"))
        self._steps.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._take_outcomes()
        for session in self._unfinished.values():
            session.spool.close()

    def _new_session(self, position: int) -> _Session:
        spool = Spool(self._limits.spool_dir)
        session = _Session(position, self._monotonic(), spool, PartWriter(self._limits, spool))
        self._open = self._unfinished[id(session)] = session
        if not self._threads:
            for run, name in ((self._make_calls, "bulk"), (self._keep_alive, "keep-alive")):
                thread = threading.Thread(target=run, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._steps.put((session, "start"))
        return session

    def _seal(self, session: _Session, part: Part) -> None:
        session.parts.append(part)
        self._steps.put((session, "upload"))

    def _end_session(self) -> None:
        session, self._open = self._open, None
        if session is not None:
            part = session.writer.flush()
            if part is not None:
                self._seal(session, part)
            self._steps.put((session, "finish"))

    def _take_outcomes(self) -> None:
        while not self._outcomes.empty():
            self._take_outcome(*self._outcomes.get())

    def _take_outcome(self, session: _Session, failure: BaseException | None) -> None:
        if failure is not None:
            # The session stays in the books: its records are not durable.
            self._failure = self._failure or failure
            return
        del self._unfinished[id(session)]
        session.spool.close()

    # What follows runs on the threads.

    def _make_calls(self) -> None:
        while (step := self._steps.get()) is not None:
            session, what = step
            if what == "abandon":
                self._in_call = None
                self._end_failed(session, "the run ended before this sync was complete")
                continue
            try:
                self._make_call(session, what)
            except BaseException as error:  # noqa: BLE001  raised again where it is seen
                self._in_call = None
                self._outcomes.put((session, error))
                self._wake()
                # After the word of the failure: this may be tried for long.
                self._end_failed(session, _told(error))
                return
            if what == "finish":
                self._outcomes.put((session, None))
                self._wake()

    def _make_call(self, session: _Session, what: str) -> None:
        try:
            if what == "start":
                self._start(session)
            elif what == "upload":
                self._upload(session)
            else:
                self._finish(session)
        except SessionRefusedError as error:
            # An expired session looks like a refusal: a new one tells them apart, once.
            if session.replaced:
                raise
            logger.warning(
                "A bulk session was refused and is replaced: sync_id=%s parts=%d reason=%s",
                session.sync_id,
                session.uploaded,
                error,
            )
            session.replaced = True
            parts, session.uploaded = session.uploaded, 0
            self._start(session)
            for _ in range(parts if what == "finish" else parts + 1):
                self._upload(session)
            if what == "finish":
                self._finish(session)

    def _start(self, session: _Session) -> None:
        session.sync_id = self._api.start()
        logger.info("Bulk session started: sync_id=%s", session.sync_id)
        session.quiet_since = self._monotonic()
        self._in_call = session

    def _upload(self, session: _Session) -> None:
        part = session.parts[session.uploaded]
        with contextlib.closing(part.open()) as content:
            part_id = self._api.upload(session.sync_id, cast("BinaryIO", content), part.compressed)
        session.uploaded += 1
        session.quiet_since = self._monotonic()
        logger.info(
            "Part uploaded: sync_id=%s part_id=%s part=%d objects=%d bytes=%d compressed_bytes=%d",
            session.sync_id,
            part_id,
            part.number,
            part.objects,
            part.size,
            part.compressed,
        )

    def _finish(self, session: _Session) -> None:
        self._in_call = None
        self._api.finish(session.sync_id)
        session.finished = True
        logger.info("Bulk session finished: sync_id=%s parts=%d", session.sync_id, session.uploaded)

    def _end_failed(self, session: _Session, reason: str) -> None:
        """Tell Segment that the session has failed; whether that succeeds changes nothing."""
        if session.sync_id and not session.finished:
            with contextlib.suppress(DeliveryError):
                self._api.finish(session.sync_id, reason)

    def _keep_alive(self) -> None:
        wait = self._sessions.keep_alive_seconds
        while not self._closing.wait(wait):
            session = self._in_call
            wait = self._sessions.keep_alive_seconds
            if session is None:
                continue
            silence = self._monotonic() - session.quiet_since
            if silence < wait:
                wait -= silence
                continue
            try:
                self._api.keep_alive(session.sync_id)
            except DeliveryError as error:
                # The session's next call will tell whether it is lost.
                logger.warning("Keep-alive failed: sync_id=%s reason=%s", session.sync_id, error)
            except BaseException as error:  # noqa: BLE001  a bug: raised again where it is seen
                self._outcomes.put((session, error))
                self._wake()
                return
            session.quiet_since = self._monotonic()


def _told(error: BaseException) -> str:
    """Our error's text, for Segment; of a bug only its kind, since its text may hold data."""
    return str(error) if isinstance(error, DeliveryError) else f"bug: {type(error).__name__}"
