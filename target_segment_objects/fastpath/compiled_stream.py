"""The fast path of a stream: typed decoders and encoders, built at SCHEMA, for records as declared.

Invariant: a record gets the same bytes here as on the general path. A stream for which that cannot
be proved at SCHEMA has no fast path. A record outside of what was proved (an undeclared property, a
value of another type, a date without an offset) is a fallback line: the general path takes it.

A line is decoded into a struct that is tagged with its stream, so that one decoder takes the lines
of all streams. Work that is left for Python is done column by column.
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

from target_segment_objects.fastpath.structs import StreamStructs
from target_segment_objects.fastpath.untyped_values import compile_value_checks
from target_segment_objects.objects import MAX_ID_LENGTH, MAX_OBJECT_BYTES, ObjectLine
from target_segment_objects.plan import (
    ConversionCounts,
    UnsendableValue,
    canonical_number,
    join_key_texts,
    normalize_datetime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from target_segment_objects.plan import Conversions, StreamPlan

    Records = Sequence[Struct]
    Get = Callable[[Struct], Any]
    Decode = Callable[[bytes], Any]

__all__ = ["MAX_LINE_BYTES", "CompiledStream", "EncodedLines", "compile_stream", "line_decoder"]

MAX_LINE_BYTES: Final = 40_000
"""Bytes of a line up to which an object stays below the API's limit: no value grows sixfold."""
_MAX_OVERHEAD_BYTES: Final = MAX_OBJECT_BYTES - 6 * MAX_LINE_BYTES - 2_000
_EXTRA_BYTES_PER_NAME: Final = 30
"""Bytes that a property may have beside its name where the record has none: `"":null,`, widely."""
_MAX_CALL_BYTES: Final = 8 << 20
_MAX_DATES: Final = 50_000
_NO_OBJECT: Final = ObjectLine("", "", None)
_NOTHING = Annotated[str, Meta(min_length=1, max_length=0)]
"""A type that no value is of."""


def compile_stream(
    plan: StreamPlan,
    *,
    max_depth: int,
    allow_long_strings: bool = False,
    is_valid: Callable[[Raw], bool] | None = None,
) -> CompiledStream | None:
    """The fast path of a plan; `None` where it cannot be proved to be the same.

    Args:
        plan: what is to be compiled.
        max_depth: objects and arrays inside each other that a line may have.
        allow_long_strings: accept strings over 512 characters, and count them.
        is_valid: says of a record whether it is one that may be taken at all.
    """
    keys = plan.key_properties
    if not keys or len(set(keys)) < len(keys) or not plan.columns:
        return None
    if any(_kind(plan, key) not in _KEY_TEXT for key in keys):
        return None
    if _max_overhead_bytes(plan) > _MAX_OVERHEAD_BYTES:
        return None
    try:
        shape = StreamStructs(plan, allow_long_strings=allow_long_strings)
    except ValueError:  # a name with a quote in it, or a lone surrogate
        return None
    if shape.depth + 1 > max_depth:
        return None
    return CompiledStream(plan, shape, allow_long_strings=allow_long_strings, is_valid=is_valid)


def _max_overhead_bytes(plan: StreamPlan) -> int:
    """Bytes that an object may have though its record has next to nothing."""
    return sum(len(each.name.encode()) + _EXTRA_BYTES_PER_NAME for each in plan.columns)


def _kind(plan: StreamPlan, key: str) -> str:
    column = plan.declared.get(key)
    return column.kind if column is not None else ""


class EncodedLines(NamedTuple):
    """The objects of lines.

    Attributes:
        objects: one for each line.
        fallback: indexes of the lines for the general path; their objects are meaningless.
        notes: conversion counts by line index. Entries of fallback lines are ignored.
    """

    objects: list[ObjectLine]
    fallback: set[int]
    notes: dict[int, Conversions]

    def at(
        self, objects: list[ObjectLine], indexes: Sequence[int], fallback: set[int]
    ) -> EncodedLines:
        """The same with other line indexes, and with more fallback lines."""
        return EncodedLines(
            objects,
            fallback | {indexes[index] for index in self.fallback},
            {indexes[index]: notes for index, notes in self.notes.items()},
        )


class CompiledStream:
    """The fast path of one stream.

    Attributes:
        plan: what it was made of.
        line_type: the struct of its lines, tagged by the stream's name.
        must_scan_numbers: numbers are decoded as doubles, so lines with inexact numbers must be
            excluded.
        must_verify_text: some values are kept undecoded; their depth and UTF-8 are unchecked when a
            later duplicate key replaces them, so lines must be verified first.
        max_lines: maximum lines per call, which bounds memory even where short lines become wide
            objects.
        allow_long_strings: see `compile_stream`.
    """

    def __init__(
        self,
        plan: StreamPlan,
        shape: StreamStructs,
        *,
        allow_long_strings: bool,
        is_valid: Callable[[Raw], bool] | None,
    ) -> None:
        self.plan = plan
        # The JSON Schema validator decodes numbers as doubles, too.
        self.must_scan_numbers = shape.must_scan_numbers or is_valid is not None
        self.must_verify_text = shape.must_verify_text or is_valid is not None
        self.max_lines = max(1, _MAX_CALL_BYTES // _max_overhead_bytes(plan))
        self.allow_long_strings = allow_long_strings
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
        self._notes = ConversionCounts()
        self._value_checks = compile_value_checks(
            plan, shape, self._notes, allow_long_strings=allow_long_strings
        )
        self._left_out = shape.left_out
        self._flatten = _flattener(shape)
        self._empty = _empty(shape) if shape.left_out is not None else None

    @cached_property
    def decode(self) -> Decode:
        """The decoder of lines of this stream alone."""
        return line_decoder([self])

    def encode_records(self, records: Sequence[Any]) -> EncodedLines:
        """What becomes of the records of decoded lines."""
        if self._is_valid is None:
            return self._encode(records)
        valid = self._valid(records, self._is_valid)
        invalid = {*range(len(records))} - valid.keys()
        objects = [_NO_OBJECT] * len(records)
        if not valid:
            return EncodedLines(objects, invalid, {})
        indexes = list(valid)
        made = self._encode(list(valid.values()))
        for index, each in zip(indexes, made.objects, strict=True):
            objects[index] = each
        return made.at(objects, indexes, invalid)

    def _valid(self, raws: Iterable[Raw], is_valid: Callable[[Raw], bool]) -> dict[int, Struct]:
        """The valid records, by their indexes."""
        found: dict[int, Struct] = {}
        for index, raw in enumerate(raws):
            with contextlib.suppress(MsgspecError, UnicodeDecodeError):
                if is_valid(raw):
                    found[index] = self._decode_record(raw)
        return found

    def _encode(self, records: Records) -> EncodedLines:
        for branch in self._branches:
            branch.fill_missing(records)
        fallback: set[int] = set()
        for get in self._dates:
            self._check_dates(get, records, fallback)
        ids = self._ids(records, fallback)
        notes = self._check_values(records, fallback) if self._value_checks else {}
        if self._left_out is not None:
            # A loop of C: this is done for each record of most streams.
            deque(map(setattr, records, repeat(self._left_out), repeat(UNSET)), maxlen=0)
        properties = records if self._flatten is None else list(self._flatten(records))
        if self._empty is not None and self._empty in properties:
            fallback.update(index for index, each in enumerate(properties) if each == self._empty)
        objects = list(map(ObjectLine, ids, repeat(self.plan.collection), properties))
        return EncodedLines(objects, fallback, notes)

    def _check_dates(self, get: Get, records: Records, fallback: set[int]) -> None:
        """Dates that are not RFC 3339 already make fallback lines. Most dates repeat: a cache."""
        fresh = set(map(get, records)) - _known_rfc3339
        if not fresh:
            return
        right = {text for text in fresh if normalize_datetime(text) == (text, True)}
        if len(_known_rfc3339) > _MAX_DATES:
            _known_rfc3339.clear()
            _known_rfc3339.update(_NO_DATES)
        _known_rfc3339.update(right)
        if wrong := fresh - right:
            fallback.update(index for index, record in enumerate(records) if get(record) in wrong)

    def _ids(self, records: Records, fallback: set[int]) -> Iterable[str]:
        parts = [map(text, map(get, records)) for get, text in self._keys]
        ids = (
            list(parts[0]) if len(parts) == 1 else [*map(join_key_texts, zip(*parts, strict=True))]
        )
        if max(map(len, ids)) > MAX_ID_LENGTH:
            fallback.update(index for index, told in enumerate(ids) if len(told) > MAX_ID_LENGTH)
        return ids

    def _check_values(self, records: Records, fallback: set[int]) -> dict[int, Conversions]:
        """What no type says: raw values, and strings that may be long. Notes are a record's own."""
        found: dict[int, Conversions] = {}
        notes, checks = self._notes, self._value_checks
        for index, record in enumerate(records):
            if index in fallback:
                continue
            try:
                for check in checks:
                    check(record)
            except (UnsendableValue, MsgspecError, UnicodeDecodeError):
                fallback.add(index)
                notes.clear()
            if notes:
                found[index] = dict(notes)
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
_known_rfc3339: set[Any] = {*_NO_DATES}
"""Dates that go as they are, of all streams: whether one does is no stream's own."""


def _text(key: str) -> str:
    return key


_KEY_TEXT: Final[dict[str, Callable[[Any], str]]] = {
    "string": _text,
    "date": _text,
    "integer": str,
    "number": canonical_number,
    "boolean": {True: "true", False: "false"}.__getitem__,
}
"""The text of a key in an id, by its column's kind."""


def _empty(shape: StreamStructs) -> Struct:
    """The properties of a record that has nothing but its key, which is none of them."""
    if shape.flat_type is not None:
        return shape.flat_type()
    return shape.record_type(**{str(shape.left_out): UNSET})


def _flattener(shape: StreamStructs) -> Callable[[Records], Iterable[Struct]] | None:
    """The function from records to structs of their properties, where those are not the same."""
    flat = shape.flat_type
    if flat is None:
        return None
    get: Get = attrgetter(*(leaf.path for leaf in shape.leaves))
    if len(shape.leaves) == 1:
        return lambda records: map(flat, map(get, records))
    return lambda records: starmap(flat, map(get, records))
