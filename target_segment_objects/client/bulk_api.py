"""The Objects Bulk API: one session of gzip parts, uploaded in order and then finished.

`POST /v0/start`, `/v0/upload/:id`, `/v0/keep-alive/:id`, `/v0/finish/:id` [doc]. What was uploaded
is delivered when `finish` is answered, and not before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

import msgspec

from target_segment_objects.client.calls import Caller, Exchange, Receipt, Request, Retry
from target_segment_objects.client.transport import FileBody
from target_segment_objects.errors import (
    PartTooLargeError,
    RefusedError,
    SessionRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_segment_objects.client.answers import Answer
    from target_segment_objects.client.clock import Clock
    from target_segment_objects.client.gate import Gate
    from target_segment_objects.client.retry import RetryPolicy
    from target_segment_objects.client.transport import Transport

__all__ = ["BULK_URLS", "BulkApi"]

BULK_URLS = {"oregon": "https://objects-bulk-api.segmentapis.com"}
"""Base addresses by region [doc]; none is documented for Dublin."""

_MAX_ID_CHARACTERS = 256

# An expired session looks like any of these; no code tells it from a refusal.
_SESSION_REFUSALS: Mapping[int, type[RefusedError]] = {
    400: SessionRefusedError,
    404: SessionRefusedError,
    410: SessionRefusedError,
}
_UPLOAD_REFUSALS = {**_SESSION_REFUSALS, 413: PartTooLargeError}


class BulkApi:
    """The four calls of a bulk session.

    Safe for threads; the parts of one session go up one after the other, since Segment processes
    objects in order [doc]. The transport stays its owner's to close.

    Args:
        transport: over one of `BULK_URLS`.
        policy: when to try again.
        gate: shared by all that use one write key; else one of the transport's `max_concurrency`.
        clock: time, waiting and dice.
        on_receipt: told of every call that succeeded, on the thread that made it.
        on_exchange: told of every request when it has ended, on the thread that made it.
        on_retry: told before every wait for another attempt, on the thread that waits.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and is the caller's to choose
        self,
        transport: Transport,
        *,
        policy: RetryPolicy | None = None,
        gate: Gate | None = None,
        clock: Clock | None = None,
        on_receipt: Callable[[Receipt], None] | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        self._caller = Caller(
            transport,
            setting="bulk_url",
            segments_own=BULK_URLS.values(),
            policy=policy,
            gate=gate,
            clock=clock,
            on_receipt=on_receipt,
            on_exchange=on_exchange,
            on_retry=on_retry,
        )
        self._transport = transport
        self._options = transport.options

    def start(self) -> str:
        """Open a session.

        Returns:
            Its `sync_id`. A 2xx answer without a readable one is tried again, as an answer lost.

        Raises:
            RefusedError: refused, and would be again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        request = Request(
            call="start", path="/v0/start", timeout_seconds=self._options.timeout_seconds
        )
        return self._caller.call(request, self._id_reader("sync_id"), wanted="sync_id")[0]

    def upload(self, sync_id: str, file: BinaryIO, size: int) -> str:
        """Upload one part.

        Args:
            sync_id: the session.
            file: gzip of one object a line (`SegmentObject.line_bytes`), seekable; sent from its
                start, and again from there at each retry. It is not closed.
            size: its compressed bytes. Uncompressed, a part is at most 512 MB [doc].

        Returns:
            The `part_id`. A 2xx answer without a readable one is tried again, as an answer lost.

        Raises:
            PartTooLargeError: 413.
            SessionRefusedError: 400, 404 or 410: the session may be gone.
            RefusedError: refused otherwise, and would be again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
            SpoolError: the file cannot be read, or is shorter than `size`.
        """
        request = Request(
            call="upload",
            path=f"/v0/upload/{_segment(sync_id)}",
            headers={"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"},
            body=FileBody(file, size),
            timeout_seconds=self._options.upload_timeout_seconds,
            refusals=_UPLOAD_REFUSALS,
        )
        return self._caller.call(request, self._id_reader("part_id"), wanted="part_id")[0]

    def keep_alive(self, sync_id: str) -> Receipt:
        """Tell Segment that the session goes on; it ends 10 minutes after its last call [doc].

        Raises:
            SessionRefusedError: 400, 404 or 410: the session may be gone.
            RefusedError: refused otherwise, and would be again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        request = Request(
            call="keep-alive",
            path=f"/v0/keep-alive/{_segment(sync_id)}",
            timeout_seconds=self._options.timeout_seconds,
            refusals=_SESSION_REFUSALS,
            urgent=True,  # behind an upload that takes longer than a session lives, it is too late
        )
        return self._caller.call(request, lambda _: True)[1]

    def finish(self, sync_id: str, error: str = "") -> Receipt:
        """End the session; from here on Segment has what was uploaded.

        Args:
            sync_id: the session.
            error: why the sync failed, when it did. What Segment then does with the parts is not
                documented.

        Raises:
            SessionRefusedError: 400, 404 or 410: the session may be gone, its parts with it.
            RefusedError: refused otherwise, and would be again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        request = Request(
            call="finish",
            path=f"/v0/finish/{_segment(sync_id)}",
            headers={"Content-Type": "application/json"},
            body=json.dumps({"error": error}).encode(),
            timeout_seconds=self._options.timeout_seconds,
            refusals=_SESSION_REFUSALS,
        )
        return self._caller.call(request, lambda _: True)[1]

    def _id_reader(self, name: str) -> Callable[[Answer], str | None]:
        def read(answer: Answer) -> str | None:
            try:
                found = msgspec.json.decode(answer.body, type=dict[str, object]).get(name)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
            if not isinstance(found, str) or not found.isprintable():
                return None
            if self._transport.is_secret_in(found):
                return None  # a server that echoes the write key: an id is logged
            # A segment of dots would climb up the path.
            return found if 1 <= len(found) <= _MAX_ID_CHARACTERS and found.strip(". ") else None

        return read


def _segment(sync_id: str) -> str:
    """The id as one segment of a path, whatever characters it has."""
    return quote(sync_id, safe="")
