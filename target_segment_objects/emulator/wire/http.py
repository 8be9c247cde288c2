"""The parts of HTTP/1.1 that both APIs need: heads, bodies and responses.

`http.server` is not used, because faults must be able to cut at any byte, and because it would
limit the benchmarks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from target_segment_objects.emulator.api.request_log import Headers
from target_segment_objects.emulator.errors import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from target_segment_objects.emulator.api.app import HttpResponse

_MAX_LINE_BYTES = 65536
_MAX_HEADERS = 100
_MAX_LENGTH_DIGITS = 18
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_CHUNK_BYTES = 1 << 18
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BLANK = frozenset({b"\r\n", b"\n"})
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


@dataclass
class Head:
    """The request line and the headers of a request."""

    method: str
    path: str
    headers: Headers
    authorization: str
    keep_alive: bool
    expects_continue: bool


def read_head(reader: BufferedReader) -> Head | None:
    """Read the head of a request; None at the end of the connection.

    The values of secret headers are hidden; only the field `authorization` has its value.

    Raises:
        RefusalError: 400 if it is malformed, 431 if it is too long.
    """
    line = reader.readline(_MAX_LINE_BYTES)
    if line in _BLANK:  # some clients end a body with one; RFC 9112, 2.2
        line = reader.readline(_MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        if len(line) >= _MAX_LINE_BYTES:
            raise RefusalError(431, "the request line is too long")
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or words[2] not in {"HTTP/1.1", "HTTP/1.0"}:  # noqa: PLR2004
        raise RefusalError(400, "malformed request line")
    headers = Headers()
    secrets = Headers()
    lines = 0
    while (line := reader.readline(_MAX_LINE_BYTES)) not in _BLANK:
        if not line.endswith(b"\n"):
            if len(line) >= _MAX_LINE_BYTES:
                raise RefusalError(431, "a header is too long")
            return None
        lines += 1  # not the names: a repeated header makes one value longer
        if lines > _MAX_HEADERS:
            raise RefusalError(431, "too many headers")
        _add_header(line, headers, secrets)
    connection = headers.get("connection").lower()
    keep_alive = "close" not in connection and (
        words[2] == "HTTP/1.1" or "keep-alive" in connection
    )
    expects = headers.get("expect").lower() == "100-continue"
    return Head(words[0], words[1], headers, secrets.get("authorization"), keep_alive, expects)


def body_length(head: Head, limit: int) -> int | None:
    """Return the length of the body in bytes, None when it is chunked.

    A `RefusalError` 413 when it is over `limit`, 400 when the length is malformed.
    """
    coding = head.headers.get("transfer-encoding").lower()
    if coding:
        if coding != "chunked":
            raise RefusalError(400, "Transfer-Encoding must be chunked")
        return None
    text = head.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise RefusalError(400, "malformed Content-Length")
    digits = text.lstrip("0") or "0"
    length = int(digits[:_MAX_LENGTH_DIGITS])  # a longer number is over any limit in any case
    if length > limit:
        raise RefusalError(413, f"the body is over {limit} bytes")
    return length


def read_body(reader: BufferedReader, length: int | None, limit: int) -> Iterator[bytes]:
    """Yield the body in pieces.

    Raises:
        EOFError: the connection ends inside the body.
        RefusalError: 400 if a chunk is malformed, 413 if the body is too large.
    """
    if length is not None:
        yield from _exactly(reader, length)
        return
    total = 0
    while True:
        line = reader.readline(_MAX_LINE_BYTES)
        digits = line.partition(b";")[0].strip()
        if not _CHUNK_SIZE.fullmatch(digits):
            if not line.endswith(b"\n"):
                raise EOFError
            raise RefusalError(400, "malformed chunk")
        size = int(digits, 16)
        total += size
        if total > limit:
            raise RefusalError(413, f"the body is over {limit} bytes")
        if not size:
            break
        yield from _exactly(reader, size)
        if reader.readline(3) not in _BLANK:
            raise RefusalError(400, "malformed chunk")
    for _ in range(_MAX_HEADERS):
        if reader.readline(_MAX_LINE_BYTES) in {*_BLANK, b""}:
            return
    raise RefusalError(431, "too many trailers")


def encode_response(
    response: HttpResponse, request_id: str, *, keep_alive: bool
) -> tuple[bytes, bytes]:
    """Return the head and the body of a response as bytes."""
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(response.body)),
        "X-Request-Id": request_id,
        "Connection": "keep-alive" if keep_alive else "close",
        **response.headers,
    }
    phrase = _REASONS.get(response.status, "Unknown")
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), response.body


def _add_header(line: bytes, headers: Headers, secrets: Headers) -> None:
    name, colon, value = line.decode("latin-1").partition(":")
    name = name.lower()
    if not colon or not name or name != name.strip():
        raise RefusalError(400, "malformed header")
    value = value.strip()
    if name in _SECRET_HEADERS:
        secrets[name] = value
        value = "[hidden]"
    headers[name] = f"{headers[name]}, {value}" if name in headers else value


def _exactly(reader: BufferedReader, length: int) -> Iterator[bytes]:
    while length:
        piece = reader.read(min(length, _CHUNK_BYTES))
        if not piece:
            raise EOFError
        length -= len(piece)
        yield piece
