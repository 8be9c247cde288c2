"""Blocks of lines become segments: runs of encoded objects, and lines for the general path.

Invariants: segments are in the order of their lines, and are returned, not passed to a callback. If
the caller changes a stream between two segments, it must encode the rest of the block again.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections import Counter, defaultdict
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import MsgspecError

from target_segment_objects.fastpath.compiled_stream import EncodedLines, line_decoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from target_segment_objects.fastpath.compiled_stream import CompiledStream, Decode
    from target_segment_objects.fastpath.line_block import LineBlock
    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.plan import ConversionCode, Conversions

__all__ = ["BlockEncoder", "BlockSegment"]

_FREE_SWITCHES: Final = 64
"""How often lines may alternate between decoders before all streams get one decoder."""


class BlockSegment(NamedTuple):
    """Consecutive lines of a block: encoded objects, or a single fallback line.

    Attributes:
        first: index of the first line in its block.
        end: index of the line after the last one.
        objects: one for each line; none for a fallback line.
        streams: the stream of each object.
        conversions: counts of conversions, once for each stream that has any.
    """

    first: int
    end: int
    objects: Sequence[ObjectLine] = ()
    streams: Sequence[CompiledStream] = ()
    conversions: Sequence[tuple[CompiledStream, Conversions]] = ()

    @property
    def is_fallback(self) -> bool:
        """Whether this is a single line that must be handled as a message."""
        return not self.objects


class BlockEncoder:
    """The compiled streams of a run, and the decoders of their lines.

    Streams arrive one after another, often with their records in between, and building a decoder
    costs time for each of its streams. So each stream starts with a decoder of its own, and all
    streams get one decoder together when many lines have alternated between decoders. A stream
    whose SCHEMA changes has its own decoder again, which is kept with its compiled stream.

    Args:
        max_depth: objects and arrays inside each other that a line may have.
    """

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._compiled: dict[str, CompiledStream] = {}
        self._group_of: dict[str, _Group] = {}
        self._current: _Group | None = None
        self._changes = 0
        self._switches = 0
        # Never reset: what one stream needs does no harm to another.
        self._must_scan_numbers = self._must_verify_text = False
        self._max_lines = 1 << 30

    def set_stream(self, stream: str, compiled: CompiledStream | None) -> None:
        """From here on, lines of a stream are encoded by this; `None`: they are fallback lines."""
        self._changes += 1
        self._current = None
        old = self._compiled.pop(stream, None)
        if old is not None:
            self._group_of.pop(stream).remove(old)
        if compiled is None:
            return
        self._compiled[stream] = compiled
        self._must_scan_numbers |= compiled.must_scan_numbers
        self._must_verify_text |= compiled.must_verify_text
        self._max_lines = min(self._max_lines, compiled.max_lines)
        self._set_current(_Group({compiled.line_type: compiled}))

    def _set_current(self, group: _Group) -> None:
        """Make a new group, which takes its streams from all others, the current one."""
        self._group_of.update((stream.plan.stream, group) for stream in group.streams.values())
        self._current = group

    def encode(self, block: LineBlock, start: int = 0) -> Iterator[BlockSegment]:
        """Encode the lines of a block from an index on, until its end or until the streams change.

        Each segment is made when it is asked for. After a change of the streams the iterator ends:
        call again with the `end` of the last segment.
        """
        changes, count = self._changes, len(block.lines)
        excluded = block.excluded(
            must_scan_numbers=self._must_scan_numbers,
            must_verify_text=self._must_verify_text,
            max_depth=self._max_depth,
        )
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

    def _encode_run(self, block: LineBlock, start: int, stop: int) -> Iterator[BlockSegment]:
        """The lines that the current decoder accepts, then the line that none does, if any."""
        group = self._current or next(iter(self._group_of.values()), None)
        if group is None:
            yield BlockSegment(start, start + 1)
            return
        decoded: list[Any] = []
        decode = group.decode
        # Lines that were decoded before an error stay in the list.
        with contextlib.suppress(MsgspecError, UnicodeDecodeError, RecursionError):
            decoded.extend(map(decode, islice(block.lines, start, stop)))
        if decoded:
            yield from _segments(decoded, group.streams, start)
        refused = start + len(decoded)
        if refused < stop and not self._switch(group, block.lines[refused]):
            yield BlockSegment(refused, refused + 1)

    def _switch(self, group: _Group, line: bytes) -> bool:
        """Make the group that accepts a line the current one; false when no other group does."""
        with contextlib.suppress(MsgspecError, UnicodeDecodeError, RecursionError):
            other = self._group_of.get(_decode_name(line).stream)
            if other is not None and other is not group:
                other.decode(line)
                self._current = other
                self._switches += 1
                if self._switches > _FREE_SWITCHES + 2 * len(self._compiled):
                    self._unite()
                return True
        return False

    def _unite(self) -> None:
        self._switches = 0
        self._set_current(_Group({stream.line_type: stream for stream in self._compiled.values()}))


class _StreamName(msgspec.Struct):
    stream: str = ""


_decode_name = msgspec.json.Decoder(_StreamName).decode


class _Group:
    """Streams with one decoder of their lines, which is built when it is first needed."""

    def __init__(self, streams: dict[type, CompiledStream]) -> None:
        self.streams = streams

    def remove(self, compiled: CompiledStream) -> None:
        """Do not accept the lines of a stream any more."""
        del self.streams[compiled.line_type]
        self.__dict__.pop("decode", None)

    @cached_property
    def decode(self) -> Decode:
        streams = list(self.streams.values())
        return streams[0].decode if len(streams) == 1 else line_decoder(streams)


def _segments(
    decoded: Sequence[Any], stream_of: dict[type, CompiledStream], first: int
) -> Iterator[BlockSegment]:
    """The segments of decoded lines, the first of which has this index in its block."""
    streams = list(map(stream_of.__getitem__, map(type, decoded)))
    objects, fallback, conversions = _encode_mixed_streams(
        [line.record for line in decoded], streams
    )
    start = 0
    for stop in [*sorted(fallback), len(decoded)]:
        if stop > start:
            yield BlockSegment(
                first + start,
                first + stop,
                objects[start:stop],
                streams[start:stop],
                _sums_by_stream(conversions, streams, start, stop) if conversions else (),
            )
        if stop < len(decoded):
            yield BlockSegment(first + stop, first + stop + 1)
        start = stop + 1


def _sums_by_stream(
    conversions: dict[int, Conversions], streams: Sequence[CompiledStream], start: int, stop: int
) -> Sequence[tuple[CompiledStream, Conversions]]:
    """The counts of conversions of the lines from `start` to before `stop`, summed by stream."""
    sums: defaultdict[CompiledStream, Counter[tuple[ConversionCode, str]]] = defaultdict(Counter)
    for index in conversions.keys() & range(start, stop):
        sums[streams[index]].update(conversions[index])
    return list(sums.items())


def _encode_mixed_streams(
    records: Sequence[Any], streams: Sequence[CompiledStream]
) -> EncodedLines:
    """As `CompiledStream.encode_records`, for records of several streams."""
    if streams.count(streams[0]) == len(streams):
        return streams[0].encode_records(records)
    indexes_of: defaultdict[CompiledStream, list[int]] = defaultdict(list)
    for index, stream in enumerate(streams):
        indexes_of[stream].append(index)
    encoded = EncodedLines.empty(len(records))
    for stream, indexes in indexes_of.items():
        encoded.insert(stream.encode_records([records[index] for index in indexes]), indexes)
    return encoded
