"""Blocks of lines, of all streams as they come: what the compiled streams take, they take at once.

The rule that it guards: order. Lines are worked off one after the other; a line that no compiled
stream takes goes the messages' own way at its place, and its neighbours do not.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Union

import msgspec
from msgspec import Meta, MsgspecError, defstruct

from target_segment_objects.compiled import LONGEST_LINE, Made
from target_segment_objects.digits import doubtful_lines, may_be_doubtful

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from target_segment_objects.compiled import CompiledStream
    from target_segment_objects.objects import ObjectLine

    _Decode = Callable[[bytes], Any]

__all__ = ["FastLane", "Take"]


class Take(Protocol):
    """What is called with the objects of lines that follow each other."""

    def __call__(
        self, objects: Sequence[ObjectLine], streams: Sequence[CompiledStream], first: int, /
    ) -> None:
        """Deliver objects, each with its stream; the first is that of the line at this place."""


_NOTHING = Annotated[str, Meta(min_length=1, max_length=0)]
"""A type that no value is of."""


class FastLane:
    """Works off blocks of lines.

    Args:
        max_depth: objects and arrays inside each other that a line may have.
    """

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._streams: dict[type, CompiledStream] = {}
        self._decode: _Decode | None = None
        self._most_lines = 1

    def use(self, streams: Iterable[CompiledStream]) -> None:
        """From here on these are the streams whose lines are taken."""
        self._streams = {stream.line_type: stream for stream in streams}
        self._decode = None
        if self._streams:
            self._most_lines = min(stream.most_lines for stream in self._streams.values())
            # One struct alone is taken without its tag: the second makes the tag be looked at.
            tag = max(stream.plan.stream for stream in self._streams.values()) + "\0"
            nobody = defstruct("Nobody", [("never", _NOTHING)], tag_field="stream", tag=tag)
            types: Any = (*self._streams, nobody)
            self._decode = msgspec.json.Decoder(Union[types]).decode  # noqa: UP007

    def work_off(
        self, block: bytes, lines: Sequence[bytes], take: Take, own_way: Callable[[int], None]
    ) -> None:
        """Take each line, or let it go its own way.

        Args:
            block: the lines with their breaks.
            lines: the lines without.
            take: called with what the compiled streams have made of lines.
            own_way: called with the place of a line that is not taken, when all before it are; it
                may call `use`.
        """
        work = _Work(block, lines, take, own_way)
        at = 0
        while at < len(lines):
            if self._decode is None:
                own_way(at)
                at += 1
            else:
                at = self._work_off(self._decode, work, at)

    def _work_off(self, decode: _Decode, work: _Work, at: int) -> int:
        """The same from one place on, until the streams change; the place where they have."""
        closed = self._closed(work)
        for stop in [*closed[bisect_left(closed, at) :], len(work.lines)]:
            while at < stop:
                wanted = min(stop - at, self._most_lines)
                taken = self._take(decode, work, at, at + wanted)
                at += taken
                if taken < wanted:
                    work.own_way(at)
                    at += 1
                    if self._decode is not decode:
                        return at
            if at < len(work.lines):
                work.own_way(at)
                at += 1
                if self._decode is not decode:
                    return at
        return at

    def _closed(self, work: _Work) -> list[int]:
        """The places of lines that must not be taken, however they are decoded."""
        closed = work.long
        if any(stream.has_numbers for stream in self._streams.values()):
            closed = closed | work.doubtful
        if any(stream.has_raws for stream in self._streams.values()):
            closed = closed | work.unread(self._max_depth)
        return sorted(closed)

    def _take(self, decode: _Decode, work: _Work, at: int, stop: int) -> int:
        """Take lines from a place on, up to one that is refused; how many there were."""
        decoded: list[Any] = []
        # What was decoded before a refusal stays in the list.
        with contextlib.suppress(MsgspecError, UnicodeDecodeError, RecursionError):
            decoded.extend(map(decode, islice(work.lines, at, stop)))
        if not decoded:
            return 0
        kinds = set(map(type, decoded))
        if len(kinds) == 1:
            streams = [self._streams[kinds.pop()]] * len(decoded)
        else:
            streams = list(map(self._streams.__getitem__, map(type, decoded)))
        made = _made(decoded, streams)
        done = 0
        for place in [*sorted(made.odd), len(decoded)]:
            if place > done:
                for noted in made.notes.keys() & range(done, place) if made.notes else ():
                    streams[noted].note(made.notes[noted])
                work.take(made.objects[done:place], streams[done:place], at + done)
            if place < len(decoded):
                work.own_way(at + place)
            done = place + 1
        return len(decoded)


class _Work:
    """See `FastLane.work_off`. What is known of a block's lines is found out once, and if needed.

    Attributes:
        long: the places of lines whose objects might be too large.
        doubtful: the places of lines with a number that a double may not keep.
    """

    def __init__(
        self, block: bytes, lines: Sequence[bytes], take: Take, own_way: Callable[[int], None]
    ) -> None:
        self.lines = lines
        self.take = take
        self.own_way = own_way
        self._block = block
        self._unread: set[int] | None = None

    @cached_property
    def long(self) -> set[int]:
        if len(self._block) <= LONGEST_LINE or max(map(len, self.lines)) <= LONGEST_LINE:
            return set()
        return {place for place, line in enumerate(self.lines) if len(line) > LONGEST_LINE}

    @cached_property
    def doubtful(self) -> set[int]:
        return set(doubtful_lines(self.lines)) if may_be_doubtful(self._block) else set()

    def unread(self, max_depth: int) -> set[int]:
        """The places of lines that may be too deep, or are no UTF-8."""
        if self._unread is None:
            self._unread = {
                place
                for place, line in enumerate(self.lines)
                if line.count(b"{") + line.count(b"[") > max_depth
            }
            if not _is_utf8(self._block):
                self._unread.update(
                    place for place, line in enumerate(self.lines) if not _is_utf8(line)
                )
        return self._unread


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or text.decode() is not None
    except UnicodeDecodeError:
        return False


def _made(decoded: Sequence[Any], streams: Sequence[CompiledStream]) -> Made:
    """As `CompiledStream.objects`, of lines of any streams."""
    if streams.count(streams[0]) == len(streams):
        return streams[0].objects(decoded)
    places: dict[CompiledStream, list[int]] = {}
    for place, stream in enumerate(streams):
        places.setdefault(stream, []).append(place)
    objects: dict[int, ObjectLine] = {}
    odd: set[int] = set()
    notes: dict[int, dict[tuple[str, str], int]] = {}
    for stream, own in places.items():
        made = stream.objects([decoded[place] for place in own])
        objects.update(zip(own, made.objects, strict=True))
        odd.update(own[place] for place in made.odd)
        notes.update((own[place], found) for place, found in made.notes.items())
    return Made([objects[place] for place in range(len(decoded))], odd, notes)
