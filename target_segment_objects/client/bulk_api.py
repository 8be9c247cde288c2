"""The Objects Bulk API: one session of gzip parts, uploaded in order and then finished.

`POST /v0/start`, `/v0/upload/:id`, `/v0/keep-alive/:id`, `/v0/finish/:id` [doc]. The objects are
delivered when `finish` is answered, and not before.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from target_segment_objects.client.advice import Destination
from target_segment_objects.client.calls import ApiCall, Caller
from target_segment_objects.client.file_body import FileBody
from target_segment_objects.client.upload_session import UploadSession
from target_segment_objects.errors import (
    DeliveryError,
    PartTooLargeError,
    RefusedError,
    SessionRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_segment_objects.client.transport import Transport
    from target_segment_objects.errors import Attempt

__all__ = ["BULK_URLS", "BulkApi"]

BULK_URLS = {"oregon": "https://objects-bulk-api.segmentapis.com"}
"""Base addresses by region [doc]; none is documented for Dublin."""

# An expired session answers any of these; no status distinguishes it from a refusal.
_SESSION_REFUSALS: Mapping[int, type[RefusedError]] = {
    400: SessionRefusedError,
    404: SessionRefusedError,
    410: SessionRefusedError,
}
_UPLOAD_REFUSALS = {**_SESSION_REFUSALS, 413: PartTooLargeError}


class BulkApi:
    """The four calls of a bulk session, and whole sessions.

    Safe for threads, but upload the parts of a session one after the other, since Segment
    processes objects in order [doc]. It does not close the transport.

    Every call raises the errors of `Caller.call`. `upload`, `keep_alive` and `finish` raise
    `SessionRefusedError` at 400, 404 or 410: the session may be gone, its parts with it.

    Args:
        caller: makes the calls; a `Transport` over one of `BULK_URLS` will do.

    Attributes:
        caller: makes the calls.
        destination: where they go, for messages.
    """

    def __init__(self, caller: Caller | Transport) -> None:
        self.caller = Caller.of(caller)
        self.destination = Destination.of(self.caller.transport, "bulk_url", BULK_URLS)

    @contextmanager
    def session(self, *, part_size_bytes: int | None = None) -> Iterator[UploadSession]:
        """A whole session: started, filled in the `with` block, and finished at its end.

            with bulk_api.session() as session:
                session.upload(objects)

        When the block ends without an error, Segment has all objects. When it ends with one, the
        session is finished with an error text and the error is raised. What Segment then does
        with the parts that were uploaded is not documented, so upload all objects again in a new
        session; objects that arrive twice are merged by id.

        Args:
            part_size_bytes: uncompressed bytes of a part, at most 512,000,000, the default.

        Raises:
            ValueError: `part_size_bytes` is not between 1 and 512,000,000.
            SessionRefusedError: the session is lost, and its parts with it.
            DeliveryError: as `start`, `upload` and `finish`.
        """
        largest = self.caller.transport.options.limits.part_bytes
        size = largest if part_size_bytes is None else part_size_bytes
        if not 1 <= size <= largest:
            raise ValueError(f"part_size_bytes is 1 to {largest:,}, not {size:,}")
        sync_id = self.start()
        session = UploadSession(self, sync_id, size)
        try:
            yield session
            session.flush()
        except BaseException as error:
            # Our own texts hold no data of an object; those of other errors may.
            text = str(error) if isinstance(error, DeliveryError) else type(error).__name__
            with suppress(DeliveryError):
                BulkApi(self.caller.without_retries()).finish(sync_id, text)
            raise
        finally:
            session.close()
        self.finish(sync_id)

    def start(self) -> str:
        """Start a session.

        Returns:
            Its `sync_id`. A 2xx response without a readable one is retried, as if it were lost.
        """
        call = ApiCall("start", "/v0/start", self.destination, id_name="sync_id")
        return self.caller.call(call)[0]

    def upload(self, sync_id: str, file: IO[bytes], size: int) -> str:
        """Upload one part.

        Args:
            sync_id: the session.
            file: gzip of one object per line (`SegmentObject.line_bytes`), seekable. It is sent
                from its start, at every attempt, and not closed.
            size: its compressed bytes. Uncompressed, a part is at most 512 MB [doc].

        Returns:
            The `part_id`. A 2xx response without a readable one is retried, as if it were lost.

        Raises:
            PartTooLargeError: 413.
            SpoolError: the file cannot be read, or is shorter than `size`.
        """
        call = ApiCall(
            "upload",
            f"/v0/upload/{_segment(sync_id)}",
            self.destination,
            headers={"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"},
            body=FileBody(file, size),
            refusals=_UPLOAD_REFUSALS,
            id_name="part_id",
        )
        return self.caller.call(call)[0]

    def keep_alive(self, sync_id: str) -> Attempt:
        """Keep the session alive; it expires 10 minutes after its last call [doc]."""
        call = ApiCall(
            "keep-alive",
            f"/v0/keep-alive/{_segment(sync_id)}",
            self.destination,
            refusals=_SESSION_REFUSALS,
            urgent=True,  # after an upload that takes longer than a session lives, it is too late
        )
        return self.caller.call(call)[1]

    def finish(self, sync_id: str, error: str = "") -> Attempt:
        """Finish the session: then Segment has what was uploaded.

        Args:
            sync_id: the session.
            error: why the sync failed, if it did. What Segment then does with the parts is not
                documented.
        """
        call = ApiCall(
            "finish",
            f"/v0/finish/{_segment(sync_id)}",
            self.destination,
            headers={"Content-Type": "application/json"},
            body=json.dumps({"error": error}).encode(),
            refusals=_SESSION_REFUSALS,
        )
        return self.caller.call(call)[1]


def _segment(sync_id: str) -> str:
    """The id as one segment of a path, whatever characters it contains."""
    return quote(sync_id, safe="")
