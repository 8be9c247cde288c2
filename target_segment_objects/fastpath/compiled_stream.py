"""The fast path of a stream: typed decoders and encoders, built at SCHEMA, for records as declared.

Invariant: a record gets the same bytes here as on the general path. A stream for which that cannot
be proved at SCHEMA has no fast path. A record outside of what was proved (an undeclared property, a
value of another type, a date without an offset) is in a fallback line: the general path takes it.

A line is decoded into a struct that is tagged with its stream, so that one decoder takes the lines
of all streams. What is left for Python is done column by column.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import cached_property
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Union

import msgspec
from msgspec import UNSET, Meta, MsgspecError, Raw, Struct, defstruct

from target_segment_objects.fastpath.line_block import MAX_LINE_BYTES
from target_segment_objects.fastpath.structs import StreamStructs
from target_segment_objects.fastpath.untyped_values import compile_value_checks
from target_segment_objects.objects import ObjectLine
from target_segment_objects.plan import (
    ConversionCounts,
    UnsendableValue,
    canonical_number,
    join_key_texts,
    normalize_datetime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from target_segment_objects.plan import Conversions, StreamPlan

    Records = Sequence[Struct]
    Get = Callable[[Struct], Any]
    Decode = Callable[[bytes], Any]

__all__ = ["CompiledStream", "EncodedLines", "compile_stream", "line_decoder"]

_MAX_VALUES_BYTES: Final = 6 * MAX_LINE_BYTES + 2_000
"""Bytes of the values of such a line in its object at most, with id and collection."""
_EXTRA_BYTES_PER_NAME: Final = 30
"""More than a property takes beside its name where the record has no value: `"":null,`."""
_MAX_CALL_BYTES: Final = 8 << 20
_MAX_DATES: Final = 50_000
_NO_OBJECT: Final = ObjectLine("", "", None)
_NEVER = Annotated[str, Meta(min_length=1, max_length=0)]
"""A type without values."""


def compile_stream(
    plan: StreamPlan,
    *,
    max_depth: int,
    allow_long_strings: bool = False,
    is_valid: Callable[[Raw], bool] | None = None,
) -> CompiledStream | None:
    """The fast path of a plan; `None` where equality with the general path cannot be proved.

    Args:
        plan: the plan of the stream.
        max_depth: objects and arrays inside each other that a line may have.
        allow_long_strings: accept strings over 512 characters, and count them.
        is_valid: says whether a record is valid; a line with an invalid one is a fallback line.
    """
    keys = plan.key_properties
    declared = plan.columns.declared
    if (
        not keys
        or len(set(keys)) < len(keys)
        or not plan.columns.rows
        or any(key not in declared or declared[key].kind not in _KEY_TEXT for key in keys)
        or _max_overhead_bytes(plan) + _MAX_VALUES_BYTES > plan.options.limits.object_bytes
    ):
        return None
    try:
        structs = StreamStructs(plan, allow_long_strings=allow_long_strings)
    except ValueError:  # a name with a quote in it, or a lone surrogate
        return None
    if structs.depth + 1 > max_depth:
        return None
    return CompiledStream(plan, structs, allow_long_strings=allow_long_strings, is_valid=is_valid)


def _max_overhead_bytes(plan: StreamPlan) -> int:
    """Bytes that an object may have although its record has hardly any."""
    return sum(len(row.name.encode()) + _EXTRA_BYTES_PER_NAME for row in plan.columns.rows)


class EncodedLines(NamedTuple):
    """The objects of lines.

    Attributes:
        objects: one for each line.
        fallback: indexes of the lines for the general path; their objects are meaningless.
        conversions: counts of conversions by line index; those of fallback lines are to be ignored.
    """

    objects: list[ObjectLine]
    fallback: set[int]
    conversions: dict[int, Conversions]

    @classmethod
    def empty(cls, count: int) -> EncodedLines:
        """A meaningless object for each line, which `insert` replaces."""
        return cls([_NO_OBJECT] * count, set(), {})

    def insert(self, lines: EncodedLines, indexes: Sequence[int]) -> None:
        """Insert lines, the first of which has the first of these indexes here."""
        for index, encoded in zip(indexes, lines.objects, strict=True):
            self.objects[index] = encoded
        self.fallback.update(indexes[index] for index in lines.fallback)
        for index, conversions in lines.conversions.items():
            self.conversions[indexes[index]] = conversions


class CompiledStream:
    """The fast path of one stream.

    Attributes:
        plan: the plan that was compiled.
        line_type: the struct of its lines, tagged with the stream's name.
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
        structs: StreamStructs,
        *,
        allow_long_strings: bool,
        is_valid: Callable[[Raw], bool] | None,
    ) -> None:
        self.plan = plan
        # The JSON Schema validator decodes numbers as doubles, too.
        self.must_scan_numbers = structs.has_numbers or is_valid is not None
        self.must_verify_text = structs.has_raws or is_valid is not None
        self.max_lines = max(1, _MAX_CALL_BYTES // _max_overhead_bytes(plan))
        self.allow_long_strings = allow_long_strings
        self.line_type = defstruct(
            "Line",
            [
                ("type", Literal["RECORD"]),
                ("record", structs.record_type if is_valid is None else Raw),
                ("time_extracted", str | None, None),
                ("version", int | None, None),
            ],
            tag_field="stream",
            tag=plan.stream,
            forbid_unknown_fields=True,
            gc=False,
        )
        self._is_valid = is_valid
        self._decode_record = msgspec.json.Decoder(structs.record_type).decode
        self._branches = structs.branches
        self._dates = [
            attrgetter(leaf.path) for leaf in structs.leaves if leaf.column.kind == "date"
        ]
        self._keys = [(attrgetter(path), _KEY_TEXT[kind]) for path, kind in structs.keys]
        self._conversions = ConversionCounts()
        self._value_checks = compile_value_checks(
            plan, structs, self._conversions, allow_long_strings=allow_long_strings
        )
        self._omitted_key = structs.omitted_key
        self._flatten = structs.flattener()
        self._empty_properties = structs.empty_properties()

    @cached_property
    def decode(self) -> Decode:
        """The decoder of lines of this stream alone."""
        return line_decoder([self])

    def encode_records(self, records: Sequence[Any]) -> EncodedLines:
        """The objects of the records of decoded lines, of which there is at least one."""
        if self._is_valid is None:
            return self._to_objects(records)
        encoded = EncodedLines.empty(len(records))
        valid: dict[int, Struct] = {}
        for index, raw in enumerate(records):
            with contextlib.suppress(MsgspecError, UnicodeDecodeError):
                if self._is_valid(raw):
                    valid[index] = self._decode_record(raw)
        encoded.fallback.update({*range(len(records))} - valid.keys())
        if valid:
            encoded.insert(self._to_objects(list(valid.values())), list(valid))
        return encoded

    def _to_objects(self, records: Records) -> EncodedLines:
        """The objects of decoded records, which are changed in place; the encoder runs later."""
        for branch in self._branches:
            branch.fill_missing(records)
        fallback: set[int] = set()
        for get in self._dates:
            self._check_dates(get, records, fallback)
        ids = self._ids(records, fallback)
        conversions = self._check_values(records, fallback) if self._value_checks else {}
        if self._omitted_key is not None:
            # After the ids are made of it. `deque` runs the loop in C: most streams need it.
            deque(map(setattr, records, repeat(self._omitted_key), repeat(UNSET)), maxlen=0)
        properties = records if self._flatten is None else list(self._flatten(records))
        if self._empty_properties is not None and self._empty_properties in properties:
            fallback.update(
                index for index, row in enumerate(properties) if row == self._empty_properties
            )
        objects = list(map(ObjectLine, ids, repeat(self.plan.collection), properties))
        return EncodedLines(objects, fallback, conversions)

    def _check_dates(self, get: Get, records: Records, fallback: set[int]) -> None:
        """Make dates that are not RFC 3339 fallback lines. Most dates repeat, hence the cache."""
        unknown = set(map(get, records)) - _known_rfc3339
        if not unknown:
            return
        valid = {text for text in unknown if normalize_datetime(text) == (text, True)}
        if len(_known_rfc3339) > _MAX_DATES:
            _known_rfc3339.clear()
            _known_rfc3339.update(_NO_DATES)
        _known_rfc3339.update(valid)
        if invalid := unknown - valid:
            fallback.update(index for index, record in enumerate(records) if get(record) in invalid)

    def _ids(self, records: Records, fallback: set[int]) -> list[str]:
        texts = [map(text, map(get, records)) for get, text in self._keys]
        ids = [*texts[0]] if len(texts) == 1 else [*map(join_key_texts, zip(*texts, strict=True))]
        if max(map(len, ids)) > (max_length := self.plan.options.limits.id_characters):
            fallback.update(
                index for index, object_id in enumerate(ids) if len(object_id) > max_length
            )
        return ids

    def _check_values(self, records: Records, fallback: set[int]) -> dict[int, Conversions]:
        """Check and convert what the struct types cannot; the counts of conversions by record."""
        conversions: dict[int, Conversions] = {}
        counts, checks = self._conversions, self._value_checks
        for index, record in enumerate(records):
            if index in fallback:
                continue
            try:
                for check in checks:
                    check(record)
            except (UnsendableValue, MsgspecError, UnicodeDecodeError):
                fallback.add(index)
                counts.clear()
            if counts:
                conversions[index] = dict(counts)
                counts.clear()
        return conversions


def line_decoder(streams: Collection[CompiledStream]) -> Decode:
    """The function from a line of one of these streams to its struct."""
    # msgspec ignores the tag of a single struct; of two, it reads the tag.
    tag = max(stream.plan.stream for stream in streams) + "\0"
    never = defstruct("Never", [("never", _NEVER)], tag_field="stream", tag=tag)
    types: Any = (*(stream.line_type for stream in streams), never)
    return msgspec.json.Decoder(Union[types]).decode  # noqa: UP007


_NO_DATES: Final = (None, UNSET)
_known_rfc3339: set[Any] = {*_NO_DATES}
"""Dates that are sent as they are, of all streams."""


_KEY_TEXT: Final[dict[str, Callable[[Any], str]]] = {
    "string": str,
    "date": str,
    "integer": str,
    "number": canonical_number,
    "boolean": {True: "true", False: "false"}.__getitem__,
}
"""The text of a key in an id, by its column's kind."""
