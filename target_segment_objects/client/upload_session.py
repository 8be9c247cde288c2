"""A bulk session for objects: they become gzip parts within the API's limits, uploaded in order.

One part is kept at a time: compressed, in memory up to 8 MiB and in a temporary file beyond that.
"""

from __future__ import annotations

import tempfile
import zlib
from typing import IO, TYPE_CHECKING, Final

from target_segment_objects.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.client.bulk_api import BulkApi
    from target_segment_objects.objects import SegmentObject

__all__ = ["UploadSession"]

_MEMORY_BYTES: Final = 8 << 20
_BLOCK_BYTES: Final = 256 << 10
"""Lines are compressed in blocks of this size."""
_KEEP_ALIVE_SHARE: Final = 0.4
"""Share of the session's time limit after which a silent session is kept alive."""
_GZIP: Final = 31
"""zlib's window bits for a gzip header and trailer."""


class UploadSession:
    """One bulk session, as `BulkApi.session` opens it. It belongs to one thread.

    Attributes:
        sync_id: the API's id of the session.
        objects: the number of objects that `upload` has taken.
        parts: the number of parts that were uploaded.
    """

    def __init__(self, api: BulkApi, sync_id: str, max_part_bytes: int) -> None:
        limits = api.caller.transport.options.limits
        self.sync_id = sync_id
        self.objects = 0
        self.parts = 0
        self._api = api
        self._monotonic = api.caller.clock.monotonic
        self._max_part_bytes = max_part_bytes
        self._max_object_bytes = limits.object_bytes
        self._keep_alive_seconds = limits.session_seconds * _KEEP_ALIVE_SHARE
        self._last_call_at = self._monotonic()
        self._failure: BaseException | None = None
        self._new_part()

    def upload(self, objects: Iterable[SegmentObject]) -> None:
        """Upload objects, of any number and of any collections, in their order.

        Objects are gathered until a part is full. The last part is uploaded when the session's
        `with` block ends, and Segment has all of them when that block has ended without an error.

        The session is kept alive while the iterable yields objects slowly. Call `keep_alive`
        when several minutes pass outside of this method.

        Args:
            objects: read as a stream; none of them is kept.

        Raises:
            ValueError: an object is too large for the API, or its properties have a line break.
            SessionRefusedError: Segment refused a part: the session may have expired.
            PartTooLargeError: Segment refused a part as too large; use a smaller `part_size_bytes`.
            DeliveryError: as `BulkApi.upload`.
        """
        if self._failure is not None:
            raise self._failure
        for segment_object in objects:
            line = _line_of(segment_object, self._max_object_bytes)
            if self._part_bytes and self._part_bytes + len(line) > self._max_part_bytes:
                self.flush()
            self._lines += line
            self._part_bytes += len(line)
            self.objects += 1
            if len(self._lines) >= _BLOCK_BYTES:
                self._compress()
            if self._monotonic() - self._last_call_at > self._keep_alive_seconds:
                self.keep_alive()

    def keep_alive(self) -> None:
        """Keep the session alive; it expires 10 minutes after its last call [doc].

        Raises:
            DeliveryError: as `BulkApi.keep_alive`.
        """
        self._api.keep_alive(self.sync_id)
        self._last_call_at = self._monotonic()

    def flush(self) -> None:
        """Upload the objects that were gathered so far, if there are any, as a part.

        Raises:
            DeliveryError: as `BulkApi.upload`; again the first one, once an upload has failed.
        """
        if self._failure is not None:
            raise self._failure
        if not self._part_bytes:
            return
        try:
            self._compress(is_last=True)
            self._api.upload(self.sync_id, self._file, self._file.tell())
        except BaseException as error:
            self._failure = error  # a caller may catch it, but the part is missing
            raise
        self._last_call_at = self._monotonic()
        self.parts += 1
        self._file.close()
        self._new_part()

    def close(self) -> None:
        """Discard what was gathered and not uploaded. May be called more than once."""
        self._file.close()

    def _new_part(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115
        self._lines = bytearray()
        self._part_bytes = 0
        self._compressor = zlib.compressobj(wbits=_GZIP)

    def _compress(self, *, is_last: bool = False) -> None:
        """Write the gathered lines to the part."""
        compressed = self._compressor.compress(self._lines)
        self._lines.clear()
        try:
            self._file.write(compressed + self._compressor.flush() if is_last else compressed)
        except OSError as error:
            raise SpoolError(
                f"a part cannot be written to a temporary file: {error.strerror or error}; make "
                "room there, or set TMPDIR to another folder"
            ) from None


def _line_of(segment_object: SegmentObject, max_bytes: int) -> bytes:
    line = segment_object.line_bytes()
    if len(line) > max_bytes:
        raise ValueError(
            f"an object of collection {segment_object.collection!r} has {len(line):,} bytes; the "
            f"API takes at most {max_bytes:,}"
        )
    if b"\n" in line:
        raise ValueError(
            f"an object of collection {segment_object.collection!r} has a line break in its "
            "properties: encode them as JSON on one line"
        )
    return line + b"\n"
