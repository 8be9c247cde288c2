"""Bulk parts: gzip of one object per line, read and checked with bounded memory.

The first broken rule refuses the whole part, with the number of the line. Whether Segment checks
the lines of a part before it responds is [unknown]; the emulator does, so that the call that sent
a wrong line fails.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from target_segment_objects.emulator.errors import RefusalError
from target_segment_objects.emulator.rules.requests import MAX_OBJECT_BYTES, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_PART_BYTES = 512_000_000
"""Most bytes of a part, uncompressed [doc]; an MB is 10^6 bytes."""
MAX_UPLOAD_BYTES = MAX_PART_BYTES + MAX_PART_BYTES // 100
"""Most bytes of the compressed body; gzip makes incompressible data a little longer [infer]."""
_CHUNK_BYTES = 1 << 20
_GZIP_WBITS = 31


@dataclass(frozen=True)
class PartFile:
    """A part's file on disk, and what it contains."""

    part_id: str
    path: Path
    gzipped: bool
    objects: int
    uncompressed_bytes: int
    compressed_bytes: int
    properties: dict[str, list[str]] = field(repr=False)
    """Property names as sent, in order of appearance, by collection as sent."""


def check_part(part_id: str, path: Path, rules: Rules) -> PartFile:
    """Read and check the gzip file at `path`.

    A `RefusalError` 400 names the first line that breaks a rule; 413 when it is over 512 MB.
    """
    names_by_collection: dict[str, dict[str, None]] = {}
    number = size = 0
    with path.open("rb") as file:
        for number, line in enumerate(part_lines(file, gzipped=True), 1):
            if b"\r" in line:
                raise RefusalError(400, f"line {number}: has a carriage return; lines end with \\n")
            try:
                item = rules.parse_part_line(line)
            except RefusalError as error:
                reason = f"line {number}: {error.reason}"
                raise RefusalError(error.status, reason) from None
            size += len(line) + 1
            names = names_by_collection.setdefault(item.collection, {})
            if not item.properties.keys() <= names.keys():
                names.update(dict.fromkeys(item.properties))
    if not number:
        raise RefusalError(400, "the part has no object")
    properties = {collection: list(names) for collection, names in names_by_collection.items()}
    compressed_size = path.stat().st_size
    return PartFile(part_id, path, True, number, size, compressed_size, properties)


def part_lines(file: BinaryIO, *, gzipped: bool) -> Iterator[bytes]:
    """Yield the lines of a part without their line feeds; the last one may lack its own."""
    number = 0
    rest = b""
    for chunk in _inflated(file) if gzipped else iter(lambda: file.read(_CHUNK_BYTES), b""):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        number += len(lines)
        yield from lines
        if len(rest) > MAX_OBJECT_BYTES:
            raise RefusalError(400, f"line {number + 1}: over {MAX_OBJECT_BYTES} bytes")
    if rest:
        yield rest


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    total = 0
    member = zlib.decompressobj(_GZIP_WBITS)
    data = file.read(_CHUNK_BYTES)
    has_begun = False
    while data or not member.eof:
        if not data:
            break
        has_begun = True
        try:
            chunk = member.decompress(data, _CHUNK_BYTES)
        except zlib.error:
            raise RefusalError(400, "the body is not gzip") from None
        total += len(chunk)
        if total > MAX_PART_BYTES:
            raise RefusalError(413, f"the part is over {MAX_PART_BYTES} bytes uncompressed")
        if chunk:
            yield chunk
        if member.eof:
            # Several gzip members in a row are one gzip stream.
            data = member.unused_data or file.read(_CHUNK_BYTES)
            if data:
                member = zlib.decompressobj(_GZIP_WBITS)
        else:
            data = member.unconsumed_tail or file.read(_CHUNK_BYTES)
    if not has_begun or not member.eof:
        raise RefusalError(400, "the gzip stream is truncated")
