"""Blocks of lines, of all streams as they come: what the compiled streams take, they take at once.

The rule that it guards: order. Lines are worked off one after the other; a line that no compiled
stream takes goes the messages' own way at its place, and its neighbours do not.
"""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Union

import msgspec
from msgspec import MsgspecError

from target_segment_objects.compiled import LONGEST_LINE
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


class FastLane:
    """Works off blocks of lines."""

    def __init__(self) -> None:
        self._streams: dict[type, CompiledStream] = {}
        self._decode: _Decode | None = None

    def use(self, streams: Iterable[CompiledStream]) -> None:
        """From here on these are the streams whose lines are taken."""
        self._streams = {stream.line_type: stream for stream in streams}
        self._decode = None
        if self._streams:
            self._decode = msgspec.json.Decoder(Union[tuple(self._streams)]).decode  # noqa: UP007

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
        at = 0
        while at < len(lines):
            if self._decode is None:
                own_way(at)
                at += 1
            else:
                at = self._work_off(self._decode, _Block(block, lines, take, own_way), at)

    def _work_off(self, decode: _Decode, block: _Block, at: int) -> int:
        """The same from one place on, until the streams change; the place where they have."""
        for stop in [*self._closed(block, at), len(block.lines)]:
            while at < stop:
                at += self._take(decode, block, at, stop)
                if at == stop:
                    break
                block.own_way(at)
                at += 1
                if self._decode is not decode:
                    return at
            if at < len(block.lines):
                block.own_way(at)
                at += 1
                if self._decode is not decode:
                    return at
        return at

    def _closed(self, block: _Block, at: int) -> list[int]:
        """The places of lines that must not be taken, however they are decoded."""
        closed: set[int] = set()
        has_numbers = any(stream.has_numbers for stream in self._streams.values())
        if has_numbers and may_be_doubtful(block.text):
            closed.update(doubtful_lines(block.lines))
        if len(block.text) > LONGEST_LINE and max(map(len, block.lines)) > LONGEST_LINE:
            closed.update(
                place for place, line in enumerate(block.lines) if len(line) > LONGEST_LINE
            )
        return sorted(place for place in closed if place >= at)

    def _take(self, decode: _Decode, block: _Block, at: int, stop: int) -> int:
        """Take lines from a place on, up to one that is refused; how many there were."""
        decoded: list[Any] = []
        # What was decoded before a refusal stays in the list.
        with contextlib.suppress(MsgspecError, UnicodeDecodeError, RecursionError):
            decoded.extend(map(decode, islice(block.lines, at, stop)))
        if not decoded:
            return 0
        kinds = set(map(type, decoded))
        if len(kinds) == 1:
            streams = [self._streams[kinds.pop()]] * len(decoded)
        else:
            streams = list(map(self._streams.__getitem__, map(type, decoded)))
        objects, odd = _objects(decoded, streams)
        done = 0
        for place in [*sorted(odd), len(decoded)]:
            if place > done:
                block.take(objects[done:place], streams[done:place], at + done)
            if place < len(decoded):
                block.own_way(at + place)
            done = place + 1
        return len(decoded)


class _Block(NamedTuple):
    """See `FastLane.work_off`."""

    text: bytes
    lines: Sequence[bytes]
    take: Take
    own_way: Callable[[int], None]


def _objects(
    decoded: Sequence[Any], streams: Sequence[CompiledStream]
) -> tuple[list[ObjectLine], set[int]]:
    """As `CompiledStream.objects`, of lines of any streams."""
    if streams.count(streams[0]) == len(streams):
        return streams[0].objects(decoded)
    places: dict[CompiledStream, list[int]] = {}
    for place, stream in enumerate(streams):
        places.setdefault(stream, []).append(place)
    made: dict[int, ObjectLine] = {}
    odd: set[int] = set()
    for stream, own in places.items():
        objects, strange = stream.objects([decoded[place] for place in own])
        made.update(zip(own, objects, strict=True))
        odd.update(own[place] for place in strange)
    return [made[place] for place in range(len(decoded))], odd
