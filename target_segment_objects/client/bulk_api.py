"""The Objects Bulk API: one session of gzip parts, uploaded in order and then finished.

`POST /v0/start`, `/v0/upload/:id`, `/v0/keep-alive/:id`, `/v0/finish/:id` [doc]. The objects are
delivered when `finish` is answered, and not before.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

import msgspec

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
    from collections.abc import Callable, Iterator, Mapping

    from target_segment_objects.client.outcomes import Response
    from target_segment_objects.client.transport import Transport
    from target_segment_objects.errors import Attempt

__all__ = ["BULK_URLS", "BulkApi"]

BULK_URLS = {"oregon": "https://objects-bulk-api.segmentapis.com"}
"""Base addresses by region [doc]; none is documented for Dublin."""

_MAX_ID_CHARACTERS = 256

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

    Args:
        caller: makes the calls; a `Transport` over one of `BULK_URLS` will do.
    """

    def __init__(self, caller: Caller | Transport) -> None:
        self._caller = Caller.of(caller)
        self._transport = self._caller.transport
        self._options = self._transport.options
        self._destination = Destination.of(self._transport, "bulk_url", BULK_URLS)

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
        limits = self._options.limits
        size = limits.part_bytes if part_size_bytes is None else part_size_bytes
        if not 1 <= size <= limits.part_bytes:
            raise ValueError(f"part_size_bytes is 1 to {limits.part_bytes:,}, not {size:,}")
        sync_id = self.start()
        session = UploadSession(
            sync_id,
            upload_part=partial(self.upload, sync_id),
            keep_alive=partial(self.keep_alive, sync_id),
            monotonic=self._caller.clock.monotonic,
            limits=replace(limits, part_bytes=size),
        )
        try:
            yield session
            session.flush()
        except BaseException as error:
            # Our own texts hold no data of an object; those of other errors may.
            text = str(error) if isinstance(error, DeliveryError) else type(error).__name__
            with suppress(DeliveryError):
                BulkApi(self._caller.without_retries()).finish(sync_id, text)
            raise
        finally:
            session.close()
        self.finish(sync_id)

    def start(self) -> str:
        """Start a session.

        Returns:
            Its `sync_id`. A 2xx response without a readable one is retried, as if it were lost.

        Raises:
            RefusedError: Segment refused the call, and would again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        call = ApiCall(
            name="start",
            path="/v0/start",
            destination=self._destination,
        )
        return self._caller.call(call, self._id_reader("sync_id"), wanted="sync_id")[0]

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
            SessionRefusedError: 400, 404 or 410: the session may be gone.
            RefusedError: Segment refused the call otherwise, and would again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
            SpoolError: the file cannot be read, or is shorter than `size`.
        """
        call = ApiCall(
            name="upload",
            path=f"/v0/upload/{_segment(sync_id)}",
            destination=self._destination,
            headers={"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"},
            body=FileBody(file, size),
            refusals=_UPLOAD_REFUSALS,
        )
        return self._caller.call(call, self._id_reader("part_id"), wanted="part_id")[0]

    def keep_alive(self, sync_id: str) -> Attempt:
        """Keep the session alive; it expires 10 minutes after its last call [doc].

        Raises:
            SessionRefusedError: 400, 404 or 410: the session may be gone.
            RefusedError: Segment refused the call otherwise, and would again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        call = ApiCall(
            name="keep-alive",
            path=f"/v0/keep-alive/{_segment(sync_id)}",
            destination=self._destination,
            refusals=_SESSION_REFUSALS,
            urgent=True,  # after an upload that takes longer than a session lives, it is too late
        )
        return self._caller.call(call, lambda _: True)[1]

    def finish(self, sync_id: str, error: str = "") -> Attempt:
        """Finish the session: then Segment has what was uploaded.

        Args:
            sync_id: the session.
            error: why the sync failed, if it did. What Segment then does with the parts is not
                documented.

        Raises:
            SessionRefusedError: 400, 404 or 410: the session may be gone, its parts with it.
            RefusedError: Segment refused the call otherwise, and would again.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        call = ApiCall(
            name="finish",
            path=f"/v0/finish/{_segment(sync_id)}",
            destination=self._destination,
            headers={"Content-Type": "application/json"},
            body=json.dumps({"error": error}).encode(),
            refusals=_SESSION_REFUSALS,
        )
        return self._caller.call(call, lambda _: True)[1]

    def _id_reader(self, name: str) -> Callable[[Response], str | None]:
        def read(response: Response) -> str | None:
            try:
                value = msgspec.json.decode(response.body, type=dict[str, object]).get(name)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
            if not isinstance(value, str) or not value.isprintable():
                return None
            if self._transport.is_secret_in(value):
                return None  # ids are logged, and this server echoes the write key
            # A segment of dots would climb up the path.
            return value if 1 <= len(value) <= _MAX_ID_CHARACTERS and value.strip(". ") else None

        return read


def _segment(sync_id: str) -> str:
    """The id as one segment of a path, whatever characters it contains."""
    return quote(sync_id, safe="")
