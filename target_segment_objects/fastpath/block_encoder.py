"""Blocks of lines become segments: runs of encoded objects, and lines for the general path.

The rules that it guards. Order: segments follow each other as their lines do. And no callbacks: a
segment is data, so whoever applies one may change the streams; the rest of the block is then
encoded anew, by the streams that hold from there on.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import MsgspecError

from target_segment_objects.fastpath.compiled_stream import (
    MAX_LINE_BYTES,
    EncodedLines,
    line_decoder,
)
from target_segment_objects.fastpath.exact_numbers import (
    lines_with_inexact_numbers,
    may_have_inexact_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from target_segment_objects.fastpath.compiled_stream import CompiledStream, Decode
    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.plan import ConversionCode, Conversions

    NotesOf = Sequence[tuple[CompiledStream, Conversions]]

__all__ = ["BlockEncoder", "BlockSegment", "LineBlock", "may_be_deeper"]

_NUL: Final = b"\\u0000"
_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NO_BRACES: Final = bytes(code for code in range(256) if code not in b'[]{}"')
_FREE_SWITCHES: Final = 64
"""So many times lines may go from one decoder to another before all become one."""


class BlockSegment(NamedTuple):
    """What became of lines that follow each other.

    Attributes:
        first: index of the first line in its block.
        end: index of the line after the last one.
        objects: one for each line; none when the segment is a single line for the general path.
        streams: the stream of each object.
        conversions: conversion counts, once for each stream.
    """

    first: int
    end: int
    objects: Sequence[ObjectLine] = ()
    streams: Sequence[CompiledStream] = ()
    conversions: NotesOf = ()

    @property
    def is_fallback(self) -> bool:
        """Whether this is one line that the general path must process."""
        return not self.objects


class LineBlock:
    """Whole lines of input. What is known of all of them is found out once, and if needed.

    Args:
        content: the lines with their breaks.
        lines: the lines without.

    Attributes:
        closed: what a lane has found out of it, for each of its needs.
    """

    def __init__(self, content: bytes, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self._content = content
        self._unverified: set[int] | None = None
        self.excluded: dict[tuple[bool, bool], list[int]] = {}

    @cached_property
    def oversized(self) -> set[int]:
        """The indexes of lines whose objects might be too large."""
        if len(self._content) <= MAX_LINE_BYTES or max(map(len, self.lines)) <= MAX_LINE_BYTES:
            return set()
        return {index for index, line in enumerate(self.lines) if len(line) > MAX_LINE_BYTES}

    @cached_property
    def with_nul(self) -> set[int]:
        """The indexes of lines that may have the character U+0000, which is counted."""
        # One character alone is found much faster, and most blocks have none.
        if b"\\" not in self._content or _NUL not in self._content:
            return set()
        return {index for index, line in enumerate(self.lines) if _NUL in line}

    @cached_property
    def inexact(self) -> set[int]:
        """The indexes of lines with a number that a double may not keep."""
        return (
            set(lines_with_inexact_numbers(self.lines))
            if may_have_inexact_numbers(self._content)
            else set()
        )

    def unverified(self, max_depth: int) -> set[int]:
        """The indexes of lines that may be too deep, or are not UTF-8."""
        if self._unverified is None:
            self._unverified = {
                index
                for index, line in enumerate(self.lines)
                if line.count(b"{") + line.count(b"[") > max_depth
                and may_be_deeper(line, max_depth)
            }
            if not _is_utf8(self._content):
                self._unverified.update(
                    index for index, line in enumerate(self.lines) if not _is_utf8(line)
                )
        return self._unverified


class BlockEncoder:
    """The compiled streams of a run, and the decoders of their lines.

    Streams come one after another, often each with its records, and a decoder costs as much as it
    has streams. So they are kept in groups with a decoder each, and two groups become one when the
    newer has grown as large as the older: n streams cost n log n. Where lines of several groups
    alternate, all groups become one. A stream that changes may change again, and back: it has a
    decoder of its own, which is kept with its form.

    Args:
        max_depth: objects and arrays inside each other that a line may have.
    """

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._compiled: dict[str, CompiledStream] = {}
        self._groups: list[_Group] = []
        self._group_of: dict[str, _Group] = {}
        self._changed: set[str] = set()
        self._current: _Group | None = None
        self._changes = 0
        self._switches = 0
        # Once true, always true: what a stream needs may be done for one that does not.
        self._must_scan_numbers = self._must_verify_text = False
        self._max_lines = 1 << 30

    def set_stream(self, stream: str, compiled: CompiledStream | None) -> None:
        """From here on the lines of a stream are encoded by this; by nothing when it is `None`."""
        self._changes += 1
        self._current = None
        old = self._compiled.pop(stream, None)
        if old is not None:
            self._changed.add(stream)
            self._group_of.pop(stream).remove(old)
        if compiled is None:
            return
        self._compiled[stream] = compiled
        self._must_scan_numbers |= compiled.must_scan_numbers
        self._must_verify_text |= compiled.must_verify_text
        self._max_lines = min(self._max_lines, compiled.max_lines)
        group = _Group({compiled.line_type: compiled})
        if stream not in self._changed:
            while self._groups and len(self._groups[-1].streams) <= len(group.streams):
                group = _Group(self._groups.pop().streams | group.streams)
            self._groups.append(group)
        self._use(group)

    def _use(self, group: _Group) -> None:
        """A group is new: its streams are in no other one."""
        self._group_of.update((each.plan.stream, group) for each in group.streams.values())
        self._current = group

    def encode(self, block: LineBlock, start: int = 0) -> Iterator[BlockSegment]:
        """Encode the lines of a block from one on, until its end or until the streams change.

        A segment is made when it is asked for. After a change of the streams there is none more:
        ask again, from the `end` of the last one.
        """
        changes, count = self._changes, len(block.lines)
        excluded = self._excluded_indexes(block)
        index = start
        for at in range(bisect_left(excluded, start), len(excluded) + 1):
            stop = excluded[at] if at < len(excluded) else count
            while index < stop:
                for segment in self._encode_run(block, index, min(stop, index + self._max_lines)):
                    yield segment
                    index = segment.end
                    if self._changes != changes:
                        return
            if index < count:
                yield BlockSegment(index, index + 1)
                index += 1
                if self._changes != changes:
                    return

    def _excluded_indexes(self, block: LineBlock) -> list[int]:
        """The indexes of lines that must not be decoded here."""
        if not self._compiled:
            return []
        needs = self._must_scan_numbers, self._must_verify_text
        if (known := block.excluded.get(needs)) is not None:
            return known
        excluded = block.oversized | block.with_nul
        if self._must_scan_numbers:
            excluded = excluded | block.inexact
        if self._must_verify_text:
            excluded = excluded | block.unverified(self._max_depth)
        return block.excluded.setdefault(needs, sorted(excluded))

    def _encode_run(self, block: LineBlock, start: int, stop: int) -> Iterator[BlockSegment]:
        """The lines that one decoder takes, and the line that none takes; maybe none of both."""
        group = self._current or next(iter(self._group_of.values()), None)
        if group is None:
            yield BlockSegment(start, start + 1)
            return
        decoded: list[Any] = []
        decode = group.decode
        # What was decoded before a refusal stays in the list.
        with contextlib.suppress(MsgspecError, UnicodeDecodeError, RecursionError):
            decoded.extend(map(decode, islice(block.lines, start, stop)))
        if decoded:
            yield from _encode(decoded, group.streams, start)
        refused = start + len(decoded)
        if refused < stop and not self._switch(group, block.lines[refused]):
            yield BlockSegment(refused, refused + 1)

    def _switch(self, group: _Group, line: bytes) -> bool:
        """Let the group that takes a line be the current one; false when no other does."""
        with contextlib.suppress(MsgspecError, UnicodeDecodeError, RecursionError):
            other = self._group_of.get(_name(line).stream)
            if other is not None and other is not group:
                other.decode(line)
                self._current = other
                self._switches += 1
                if self._switches > _FREE_SWITCHES + 2 * len(self._compiled):
                    self._unite()
                return True
        return False

    def _unite(self) -> None:
        group = _Group({stream.line_type: stream for stream in self._compiled.values()})
        self._groups = [group]
        self._switches = 0
        self._use(group)


class _Named(msgspec.Struct):
    stream: str = ""


_name = msgspec.json.Decoder(_Named).decode


class _Group:
    """Streams whose lines one decoder takes; the decoder is built when it is first needed."""

    def __init__(self, streams: dict[type, CompiledStream]) -> None:
        self.streams = streams

    def remove(self, compiled: CompiledStream) -> None:
        """Let the lines of a stream be taken no more."""
        del self.streams[compiled.line_type]
        self.__dict__.pop("decode", None)

    @cached_property
    def decode(self) -> Decode:
        streams = list(self.streams.values())
        return streams[0].decode if len(streams) == 1 else line_decoder(streams)


def may_be_deeper(line: bytes, max_depth: int) -> bool:
    """Whether a line has more than so many objects and arrays inside each other.

    Exact for JSON; of other text this may say yes though it is not so.
    """
    if b"\\" in line:
        line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes side by side change for no brace whether it stands in a string.
    braces = line.translate(_BRACES, _NO_BRACES).replace(b'""', b"")
    if b'"' in braces:
        braces = b"".join(braces.split(b'"')[::2])
    for _ in range(max_depth):  # the innermost ones go
        if not braces:
            return False
        braces = braces.replace(b"{}", b"")
    return bool(braces)


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or text.decode() is not None
    except UnicodeDecodeError:
        return False


def _encode(
    decoded: Sequence[Any], stream_of: dict[type, CompiledStream], first: int
) -> Iterator[BlockSegment]:
    """The segments of decoded lines, of which this is the first one's index."""
    streams = list(map(stream_of.__getitem__, map(type, decoded)))
    objects, fallback, notes = _encode_mixed_streams([line.record for line in decoded], streams)
    start = 0
    for stop in [*sorted(fallback), len(decoded)]:
        if stop > start:
            yield BlockSegment(
                first + start,
                first + stop,
                objects[start:stop],
                streams[start:stop],
                _added_up(notes, streams, start, stop) if notes else (),
            )
        if stop < len(decoded):
            yield BlockSegment(first + stop, first + stop + 1)
        start = stop + 1


def _added_up(
    notes: dict[int, Conversions], streams: Sequence[CompiledStream], start: int, stop: int
) -> NotesOf:
    """The notes of lines from one on and before another, added up by stream."""
    totals: dict[CompiledStream, dict[tuple[ConversionCode, str], int]] = {}
    for index in notes.keys() & range(start, stop):
        total = totals.setdefault(streams[index], {})
        for note, count in notes[index].items():
            total[note] = total.get(note, 0) + count
    return list(totals.items())


def _encode_mixed_streams(
    records: Sequence[Any], streams: Sequence[CompiledStream]
) -> EncodedLines:
    """As `CompiledStream.encode_records`, of records of any streams."""
    if streams.count(streams[0]) == len(streams):
        return streams[0].encode_records(records)
    indexes: dict[CompiledStream, list[int]] = {}
    for index, stream in enumerate(streams):
        indexes.setdefault(stream, []).append(index)
    objects: dict[int, ObjectLine] = {}
    fallback: set[int] = set()
    notes: dict[int, Conversions] = {}
    for stream, own in indexes.items():
        made = stream.encode_records([records[index] for index in own])
        objects.update(zip(own, made.objects, strict=True))
        fallback.update(own[index] for index in made.fallback)
        notes.update((own[index], found) for index, found in made.notes.items())
    return EncodedLines([objects[index] for index in range(len(records))], fallback, notes)
