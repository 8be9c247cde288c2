"""One bulk session: its calls (start, uploads, keep-alive, finish), and its replacement.

Invariants: parts are uploaded in order, and all of them again in a new session when this one is
lost. A part that is too large is split at a line. Parts are kept until finish is answered. An
expired session cannot be told apart from a refusal [infer]: a lost session is replaced, but if the
new one is refused at the same part, or before it accepted any part, the run fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import logging
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from target_segment_objects.delivery.bulk.level import SMALL
from target_segment_objects.delivery.bulk.parts import Block, Part, PartSplitter, PartWriter
from target_segment_objects.delivery.bulk.spool import Spool
from target_segment_objects.delivery.contract import PartUploaded, SessionStateChanged
from target_segment_objects.errors import DeliveryError, PartTooLargeError, SessionRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_segment_objects.delivery.contract import DeliveryHooks, SessionState
    from target_segment_objects.delivery.durability import Receipt
    from target_segment_objects.delivery.limits import BulkLimits

__all__ = ["BulkCalls", "BulkSession"]

logger = logging.getLogger(__name__)

_LINES_AT_ONCE: Final = 32
"""Lines of a part that are in memory while it is split."""


class BulkCalls(Protocol):
    """What a session needs of `client.BulkApi`; each call raises `DeliveryError`."""

    def start(self) -> str:
        """Open a session; its sync id."""

    def upload(self, sync_id: str, file: BinaryIO, size: int) -> str:
        """Upload a part; its part id."""

    def keep_alive(self, sync_id: str) -> object:
        """Keep the session alive."""

    def finish(self, sync_id: str, error: str = "") -> object:
        """End the session."""


class BulkSession:
    """One session.

    The reading thread uses `splitter`, `objects` and `parts`, the compressing thread `writer`. A
    third thread makes the calls.

    Attributes:
        receipt: the receipt of its records.
        opened: when it was created, on the monotonic clock.
        splitter: makes blocks of its lines.
        writer: makes parts of the blocks.
        refused: parts of single objects that Segment refused as too large, with the error.
        objects: its number of objects of each collection.
        parts: its number of parts.
    """

    def __init__(
        self,
        api: BulkCalls,
        limits: BulkLimits,
        hooks: DeliveryHooks,
        receipt: Receipt,
    ) -> None:
        self._api = api
        self._observer = hooks.observer
        self.objects: Counter[str] = Counter()
        self.parts = 0
        level = limits.compression_level
        self._level_of_halves = SMALL if level == "auto" else level
        self._monotonic = hooks.monotonic
        self._spool = Spool(limits.spool_dir)
        # A spool of their own, since the compressing thread appends to the other one.
        self._halves = Spool(limits.spool_dir)
        self._sent: list[Part] = []
        self._sync_id = ""
        self._parts_taken = 0
        self._too_large: dict[Part, PartTooLargeError] = {}
        self._open = False
        self._keep_alive_failed = self._has_split = False  # one warning of each per session
        self._last_call_at = 0.0
        self.receipt = receipt
        self.opened = hooks.monotonic()
        self.splitter = PartSplitter(limits.part_size_bytes)
        self.writer = PartWriter(self._spool)
        self._refusals = Spool(limits.spool_dir)
        self.refused: list[tuple[Part, PartTooLargeError]] = []

    @property
    def spooled(self) -> int:
        """Compressed bytes that it keeps."""
        return self._spool.size + self._halves.size + self._refusals.size

    def start(self) -> None:
        """Open the session at Segment."""
        self._sync_id = self._api.start()
        self._parts_taken = 0
        self._open = True
        self._last_call_at = self._monotonic()
        self._set_state("open")

    def upload(self, part: Part) -> None:
        """Upload the next part; in a new session, after all before it, when this one is lost."""
        self._retry_in_new_session(lambda: self._upload(part))
        self._sent.append(part)

    def finish(self) -> None:
        """Finish the session; afterwards Segment has all of it."""
        self._retry_in_new_session(self._finish)

    def keep_alive(self, after_seconds: float) -> float:
        """Keep the session alive if its last call was so long ago.

        Returns:
            The seconds until this must be called again.
        """
        silence = self._monotonic() - self._last_call_at
        if not self._open:
            return after_seconds
        if silence < after_seconds:
            return after_seconds - silence
        try:
            self._api.keep_alive(self._sync_id)
        except DeliveryError as error:
            # If the session is lost, its next call fails too.
            if self._open and not self._keep_alive_failed:
                self._keep_alive_failed = True
                logger.warning("Keep-alive failed: sync_id=%s %s", self._sync_id, error.summary)
        self._last_call_at = self._monotonic()
        return after_seconds

    def abandon(self, reason: str) -> None:
        """Finish the session with an error, if possible."""
        if self._open:
            self._open = False
            self._set_state("failed")
            with contextlib.suppress(DeliveryError):
                self._api.finish(self._sync_id, reason)

    def refused_lines(self) -> Iterator[tuple[bytes, PartTooLargeError]]:
        """The lines of the objects in `refused`, one after the other, with the error."""
        for part, error in self.refused:
            with part.open() as zipped:
                yield gzip.decompress(zipped.readall()).removesuffix(b"\n"), error

    def close(self) -> None:
        """Give back the spool. May be called more than once."""
        for spool in (self._spool, self._halves, self._refusals):
            spool.close()

    def _retry_in_new_session(self, call: Callable[[], None]) -> None:
        """Make a call; when the session is lost, make it in a new one, after all earlier parts.

        A session that took nothing, or is refused at the same point as the one before it, was not
        lost: what it was sent is wrong.
        """
        refused, refusals_size = len(self.refused), self._refusals.size
        refused_after: set[int] = set()
        while True:
            try:
                if refused_after:
                    self.start()
                    for part in self._sent:
                        self._upload(part)
                call()
            except SessionRefusedError as error:
                if self._parts_taken in refused_after or (refused_after and not self._parts_taken):
                    raise _with_hint(error) from None
                refused_after.add(self._parts_taken)
                self._set_state("replaced")
                logger.warning(
                    "A bulk session was refused and is replaced: sync_id=%s parts=%d reason=%s",
                    self._sync_id,
                    self._parts_taken,
                    error.summary,
                )
                # Whatever this call had uploaded, split parts included, is uploaded again.
                del self.refused[refused:]
                self._refusals.truncate(refusals_size)
                self._halves.truncate(0)
            else:
                return

    def _upload(self, part: Part) -> None:
        if part in self._too_large:
            self._split(part, self._too_large[part])
            return
        try:
            with contextlib.closing(part.open()) as content:
                part_id = self._api.upload(
                    self._sync_id, cast("BinaryIO", content), part.compressed
                )
        except PartTooLargeError as error:
            if part.spool is self._spool:  # the place of a half is used again
                self._too_large[part] = error
            self._split(part, error)
            return
        self._parts_taken += 1
        self._last_call_at = self._monotonic()
        self._observer(
            PartUploaded(
                self._sync_id, part_id, part.number, part.objects, part.size, part.compressed
            )
        )

    def _split(self, part: Part, error: PartTooLargeError) -> None:
        """Upload the part's two halves, split at a line; a single object becomes a reject."""
        if part.objects == 1:
            # In a spool of its own: the place of a half is used again.
            start = self._refusals.size
            with contextlib.closing(part.open()) as content:
                self._refusals.append(content.read())
            kept = dataclasses.replace(part, start=start, spool=self._refusals)
            self.refused.append((kept, error))
            return
        level = logging.DEBUG if self._has_split else logging.WARNING
        self._has_split = True
        logger.log(
            level,
            "A part is too large for Segment and is split, and so are the next ones: sync_id=%s "
            "part=%d objects=%d bytes=%d",
            self._sync_id,
            part.number,
            part.objects,
            part.size,
        )
        for half in self._split_spool(part):
            self._upload(half)

    def _split_spool(self, part: Part) -> Iterator[Part]:
        """The halves of a part, each in the spool until the next one is requested.

        So halves, their halves and so on take no more of the disk than the part.
        """
        first = part.objects // 2
        with part.open() as zipped, gzip.GzipFile(fileobj=zipped) as content:
            for objects in (first, part.objects - first):
                start = self._halves.size
                writer = PartWriter(self._halves)
                half, missing = None, objects
                while half is None:
                    lines = list(islice(content, min(missing, _LINES_AT_ONCE)))
                    missing -= len(lines)
                    block = Block(b"".join(lines), len(lines), ends_part=not missing)
                    half = writer.write(block, self._level_of_halves)
                yield half
                self._halves.truncate(start)

    def _finish(self) -> None:
        # Before the call: no keep-alive must overtake it, and if only the answer is lost, no error
        # text must follow a finish that may have succeeded.
        self._open = False
        self._set_state("unknown")
        try:
            self._api.finish(self._sync_id)
        except SessionRefusedError:
            self._open = True  # it did not succeed
            raise
        self._set_state("finished")

    def _set_state(self, state: SessionState) -> None:
        self._observer(SessionStateChanged(self._sync_id, state, self._parts_taken))


def _with_hint(error: SessionRefusedError) -> SessionRefusedError:
    """The error of a part that two sessions refused: the cause is not the session."""
    hint = "A new session refused it too: if objects have nulls, try `nulls: drop`"
    return SessionRefusedError(
        f"{error.summary}. {hint}",
        call=error.call,
        status=error.status,
        excerpt=error.excerpt,
        attempts=error.attempts,
    )
