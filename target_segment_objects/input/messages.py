"""A line becomes a Singer message, whose parts are still the tap's bytes.

Invariant: nothing is changed or guessed. A line is a message, or an error that names the line by
its number and never shows it.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from target_segment_objects.errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Message", "parse_message"]


class _Envelope(msgspec.Struct):
    """What the decoder reads of a line."""

    type: str | UnsetType = UNSET
    stream: Any = UNSET
    record: Raw | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    schema: Raw | UnsetType = UNSET
    key_properties: Any = None
    time_extracted: Any = None
    version: Any = None


class Message(_Envelope):
    """A Singer message. `record`, `value` and `schema` are the bytes that the tap wrote.

    Attributes:
        record, value, schema: JSON as it stands in the line, `UNSET` when the line has none.
        line: the line's number, from 1.
        raw: the whole line.
    """

    line: int = 0
    raw: bytes = b""


_PARTS: Final = frozenset({"record", "value", "schema"})
_FIELDS: Final = frozenset(_Envelope.__struct_fields__)
_decode = msgspec.json.Decoder(_Envelope).decode


def parse_message(line: bytes, number: int, *, max_depth: int, is_cut: bool = False) -> Message:
    """The message of a line.

    Args:
        line: the line without its break.
        number: its number, from 1.
        max_depth: how many objects and arrays may be inside each other.
        is_cut: whether the input ended before the line did.

    Raises:
        MessageError: when the line is no message.
    """
    if line.count(b"{") + line.count(b"[") > max_depth:
        _check_depth(line, number, max_depth)
    try:
        fields = msgspec.structs.astuple(_decode(line))
        message = Message(*fields, number, line)  # type: ignore[call-arg]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = Message(**_parse_leniently(line, number, is_cut=is_cut), line=number, raw=line)
    if not isinstance(message.type, str):
        raise MessageError("a message without a `type`", line=number)
    return message


def _parse_leniently(line: bytes, number: int, *, is_cut: bool) -> dict[str, Any]:
    """The fields of a line that msgspec refuses: NaN, a lone surrogate, bytes that are no UTF-8.

    Raises:
        MessageError: when it is no JSON object.
    """
    # Whatever its bytes are, the stream of a record should be known.
    text = line.decode("utf-8", "surrogateescape")
    try:
        if not isinstance(json.loads(text, parse_int=str, parse_float=str), dict):
            raise MessageError(
                "not a JSON object; a Singer message is one object a line", line=number
            )
        members = dict(_object_members(text))
    except (ValueError, RecursionError) as error:
        if is_cut and text.startswith("{"):
            raise MessageError(
                "the input ends in the middle of a message; the tap was probably stopped or has "
                "failed: look at its log",
                line=number,
            ) from None
        raise MessageError(
            "not JSON; check that the tap prints nothing but Singer messages on stdout",
            line=number,
            column=error.colno if isinstance(error, json.JSONDecodeError) else 0,
        ) from None
    fields: dict[str, Any] = {}
    for name, json_text in members.items():
        if name in _PARTS:
            fields[name] = Raw(json_text.encode("utf-8", "surrogateescape"))
        elif name in _FIELDS:
            fields[name] = json.loads(json_text, parse_int=_short_integer)
    return fields


def _object_members(text: str) -> Iterator[tuple[str, str]]:
    """The members of a text that is a JSON object, each value as it stands there."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    at = text.index("{") + 1
    while True:
        at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
        if text[at] == "}":
            return
        name, at = decoder.raw_decode(text, at)
        at = _COLON.match(text, at).end()  # type: ignore[union-attr]
        _, end = decoder.raw_decode(text, at)
        yield name, text[at:end]
        at = end


def _short_integer(digits: str) -> int | float:
    """An integer, or infinity for a long one, which is no valid value of any field.

    Python refuses integers beyond 4,300 digits.
    """
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


_MAX_DIGITS: Final = 19
_BLANKS: Final = re.compile(r"[ \t\r\n,]*")
_COLON: Final = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_STRING: Final = re.compile(rb'"[^"]*"?')
_NO_BRACKETS: Final = bytes({*range(256)} - {*b"[]{}"})


def _check_depth(line: bytes, number: int, max_depth: int) -> None:
    # Without escapes a string is one run of characters.
    outside = _STRING.sub(b"", line.replace(b"\\\\", b"").replace(b'\\"', b""))
    brackets = outside.translate(None, _NO_BRACKETS)
    depths = accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
    if any(depth > max_depth for depth in depths):
        raise MessageError(
            f"objects and arrays nested deeper than {max_depth} levels; "
            "raise `max_depth` if this is intended",
            line=number,
        )
