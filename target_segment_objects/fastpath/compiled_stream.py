"""The fast path of a stream: typed decoders and encoders, made at SCHEMA, for records as declared.

The rule that it guards: what becomes of a record here is byte for byte what becomes of it on the
plan's own way. Where that cannot be proved at SCHEMA there is no fast path; where a record leaves
what was proved (a property that the schema does not list, a value of another type, a date without
an offset), it is odd, and takes the plan's own way alone.

A line is decoded whole, into a struct that is tagged by its stream, so that one decoder takes the
lines of all streams as they come. What is left to Python is done a column at a time.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import cached_property
from itertools import repeat, starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Union

import msgspec
from msgspec import UNSET, Meta, MsgspecError, Raw, Struct, defstruct

from target_segment_objects.fastpath.structs import Shape
from target_segment_objects.fastpath.untyped_values import closer_looks
from target_segment_objects.objects import MAX_ID_LENGTH, MAX_OBJECT_BYTES, ObjectLine
from target_segment_objects.plan import values
from target_segment_objects.plan.conversion import Notes, Unfit
from target_segment_objects.plan.ids import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from target_segment_objects.plan.stream_plan import StreamPlan

    Records = Sequence[Struct]
    Get = Callable[[Struct], Any]
    Decode = Callable[[bytes], Any]

__all__ = ["LONGEST_LINE", "CompiledStream", "Made", "compile_stream", "line_decoder"]

LONGEST_LINE: Final = 40_000
"""Bytes of a line up to which an object stays below the API's limit: no value grows sixfold."""
_MOST_NAMES: Final = MAX_OBJECT_BYTES - 6 * LONGEST_LINE - 2_000
_NAME_EXTRA: Final = 30
"""Bytes that a property may have beside its name where the record has none: `"":null,`, widely."""
_MOST_AT_ONCE: Final = 8 << 20
_MOST_DATES: Final = 50_000
_NO_OBJECT: Final = ObjectLine("", "", None)
_NOTHING = Annotated[str, Meta(min_length=1, max_length=0)]
"""A type that no value is of."""


def compile_stream(
    plan: StreamPlan,
    *,
    max_depth: int,
    roomy: bool = False,
    is_valid: Callable[[Raw], bool] | None = None,
) -> CompiledStream | None:
    """The fast path of a plan; `None` where it cannot be proved to be the same.

    Args:
        plan: what is to be compiled.
        max_depth: objects and arrays inside each other that a line may have.
        roomy: whether strings beyond what most warehouses take are expected, and looked at.
        is_valid: says of a record whether it is one that may be taken at all.
    """
    keys = plan.key_properties
    if not keys or len(set(keys)) < len(keys) or not plan.columns:
        return None
    if any(_kind(plan, key) not in _KEY_TEXT for key in keys):
        return None
    if _widest(plan) > _MOST_NAMES:
        return None
    try:
        shape = Shape(plan, roomy=roomy)
    except ValueError:  # a name with a quote in it, or a lone surrogate
        return None
    if shape.depth + 1 > max_depth:
        return None
    return CompiledStream(plan, shape, roomy=roomy, is_valid=is_valid)


def _widest(plan: StreamPlan) -> int:
    """Bytes that an object may have though its record has next to nothing."""
    return sum(len(each.name.encode()) + _NAME_EXTRA for each in plan.columns)


def _kind(plan: StreamPlan, key: str) -> str:
    column = plan.declared.get(key)
    return column.kind if column is not None else ""


class Made(NamedTuple):
    """What became of lines.

    Attributes:
        objects: one a line.
        odd: the places of those lines whose objects mean nothing: they go their own way.
        notes: what happened to values, by the place of their line; of odd ones too, to no avail.
    """

    objects: list[ObjectLine]
    odd: set[int]
    notes: dict[int, dict[tuple[str, str], int]]

    def at(self, objects: list[ObjectLine], places: Sequence[int], odd: set[int]) -> Made:
        """The same with lines at other places, and more odd ones."""
        return Made(
            objects,
            odd | {places[place] for place in self.odd},
            {places[place]: notes for place, notes in self.notes.items()},
        )


class CompiledStream:
    """The fast path of one stream.

    Attributes:
        plan: what it was made of.
        line_type: the struct of its lines, tagged by the stream's name.
        has_numbers: whether a line may hold a number that a double does not keep: such a line must
            not be decoded here.
        has_raws: whether values are passed over by the decoder: neither how deep they are nor
            whether they are UTF-8 is known, if another one of the same name follows.
        most_lines: how many lines may be taken at once, so that memory stays bounded by bytes
            however wide the objects of short lines are.
        roomy: see `compile_stream`.
    """

    def __init__(
        self,
        plan: StreamPlan,
        shape: Shape,
        *,
        roomy: bool,
        is_valid: Callable[[Raw], bool] | None,
    ) -> None:
        self.plan = plan
        # What says that a record is valid reads its numbers as doubles, too.
        self.has_numbers = shape.has_numbers or is_valid is not None
        self.has_raws = shape.has_raws or is_valid is not None
        self.most_lines = max(1, _MOST_AT_ONCE // _widest(plan))
        self.roomy = roomy
        self.line_type = defstruct(
            "Line",
            [
                ("type", Literal["RECORD"]),
                ("record", shape.record_type if is_valid is None else Raw),
                ("time_extracted", str | None, None),
                ("version", int | None, None),
            ],
            tag_field="stream",
            tag=plan.stream,
            forbid_unknown_fields=True,
            gc=False,
        )
        self._is_valid = is_valid
        self._decode_record = msgspec.json.Decoder(shape.record_type).decode
        self._branches = shape.branches
        self._dates = [attrgetter(leaf.path) for leaf in shape.leaves if leaf.column.kind == "date"]
        self._keys = [(attrgetter(path), _KEY_TEXT[kind]) for path, kind in shape.keys]
        self._notes = Notes()
        self._closer_looks = closer_looks(plan, shape, self._notes, roomy=roomy)
        self._left_out = shape.left_out
        self._flatten = _flattener(shape)
        self._empty = _empty(shape) if shape.left_out is not None else None

    @cached_property
    def decode(self) -> Decode:
        """The decoder of lines of this stream alone."""
        return line_decoder([self])

    def objects(self, records: Sequence[Any]) -> Made:
        """What becomes of the records of decoded lines."""
        if self._is_valid is None:
            return self._objects(records)
        valid = self._valid(records, self._is_valid)
        invalid = {*range(len(records))} - valid.keys()
        objects = [_NO_OBJECT] * len(records)
        if not valid:
            return Made(objects, invalid, {})
        places = list(valid)
        made = self._objects(list(valid.values()))
        for place, each in zip(places, made.objects, strict=True):
            objects[place] = each
        return made.at(objects, places, invalid)

    def _valid(self, raws: Iterable[Raw], is_valid: Callable[[Raw], bool]) -> dict[int, Struct]:
        """The records that are valid, by their places."""
        found: dict[int, Struct] = {}
        for place, raw in enumerate(raws):
            with contextlib.suppress(MsgspecError, UnicodeDecodeError):
                if is_valid(raw):
                    found[place] = self._decode_record(raw)
        return found

    def _objects(self, records: Records) -> Made:
        for branch in self._branches:
            branch.fill(records)
        odd: set[int] = set()
        for get in self._dates:
            self._look_at_dates(get, records, odd)
        ids = self._ids(records, odd)
        notes = self._look_closely(records, odd) if self._closer_looks else {}
        if self._left_out is not None:
            # A loop of C: this is done for each record of most streams.
            deque(map(setattr, records, repeat(self._left_out), repeat(UNSET)), maxlen=0)
        properties = records if self._flatten is None else list(self._flatten(records))
        if self._empty is not None and self._empty in properties:
            odd.update(place for place, each in enumerate(properties) if each == self._empty)
        objects = list(map(ObjectLine, ids, repeat(self.plan.collection), properties))
        return Made(objects, odd, notes)

    def _look_at_dates(self, get: Get, records: Records, odd: set[int]) -> None:
        """Dates that would be changed, or are none, are odd; most are seen again and again."""
        fresh = set(map(get, records)) - _right_dates
        if not fresh:
            return
        right = {text for text in fresh if values.normal_date(text) == (text, True)}
        if len(_right_dates) > _MOST_DATES:
            _right_dates.clear()
            _right_dates.update(_NO_DATES)
        _right_dates.update(right)
        if wrong := fresh - right:
            odd.update(place for place, record in enumerate(records) if get(record) in wrong)

    def _ids(self, records: Records, odd: set[int]) -> Iterable[str]:
        parts = [map(text, map(get, records)) for get, text in self._keys]
        ids = list(parts[0]) if len(parts) == 1 else list(map(joined, zip(*parts, strict=True)))
        if max(map(len, ids)) > MAX_ID_LENGTH:
            odd.update(place for place, told in enumerate(ids) if len(told) > MAX_ID_LENGTH)
        return ids

    def _look_closely(
        self, records: Records, odd: set[int]
    ) -> dict[int, dict[tuple[str, str], int]]:
        """What no type says: raw values, and strings that may be long. Notes are a record's own."""
        found: dict[int, dict[tuple[str, str], int]] = {}
        notes, looks = self._notes, self._closer_looks
        for place, record in enumerate(records):
            if place in odd:
                continue
            try:
                for look in looks:
                    look(record)
            except (Unfit, MsgspecError, UnicodeDecodeError):
                odd.add(place)
                notes.clear()
            if notes:
                found[place] = dict(notes)
                notes.clear()
        return found


def line_decoder(streams: Collection[CompiledStream]) -> Decode:
    """The function from a line of one of these streams to its struct."""
    # One struct alone is taken without its tag: the second makes the tag be looked at.
    tag = max(stream.plan.stream for stream in streams) + "\0"
    nobody = defstruct("Nobody", [("never", _NOTHING)], tag_field="stream", tag=tag)
    types: Any = (*(stream.line_type for stream in streams), nobody)
    return msgspec.json.Decoder(Union[types]).decode  # noqa: UP007


_NO_DATES: Final = (None, UNSET)
_right_dates: set[Any] = {*_NO_DATES}
"""Dates that go as they are, of all streams: whether one does is no stream's own."""


def _text(key: str) -> str:
    return key


_KEY_TEXT: Final[dict[str, Callable[[Any], str]]] = {
    "string": _text,
    "date": _text,
    "integer": str,
    "number": values.canonical_number,
    "boolean": {True: "true", False: "false"}.__getitem__,
}
"""The text of a key in an id, by its column's kind."""


def _empty(shape: Shape) -> Struct:
    """The properties of a record that has nothing but its key, which is none of them."""
    if shape.flat_type is not None:
        return shape.flat_type()
    return shape.record_type(**{str(shape.left_out): UNSET})


def _flattener(shape: Shape) -> Callable[[Records], Iterable[Struct]] | None:
    """The function from records to structs of their properties, where those are not the same."""
    flat = shape.flat_type
    if flat is None:
        return None
    get: Get = attrgetter(*(leaf.path for leaf in shape.leaves))
    if len(shape.leaves) == 1:
        return lambda records: map(flat, map(get, records))
    return lambda records: starmap(flat, map(get, records))
