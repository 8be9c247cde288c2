"""The rules of both APIs about what a request may hold, written from the API's description.

Each limit names its source: [doc] Segment's documentation, [client] a client that Segment
published, [infer] a conclusion, [unknown] this emulator's choice. A broken rule is a `RefusalError`
whose reason names the rule and the object, never a property's value.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

from target_segment_objects.emulator.errors import RefusalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_objects.emulator.rules.columns import Scalar

MAX_OBJECTS = 10
"""Most objects in one set call [doc]."""
MAX_NAME_CHARS = 100
"""Most characters of a collection and of an id [doc]."""
MAX_VALUE_BYTES = 32 * 1024
"""A value must be smaller than this [doc]; a KB is 1024 bytes, as in Segment's client [client]."""
MAX_OBJECT_BYTES = 400 * 1024
"""Most bytes of an object as it is written in the request [doc]."""
MAX_SET_BODY_BYTES = MAX_OBJECTS * MAX_OBJECT_BYTES + 65536
"""Most bytes of a set call's body; no valid call is longer [infer]."""
MAX_FINISH_BODY_BYTES = 1024 * 1024
"""Most bytes of a finish call's body [unknown]."""
MAX_CONCURRENCY = 20
"""Most simultaneous requests per write key and per IP address [doc]."""

_MAX_PYTHON_INT_DIGITS = 4300
_LETTERS_COLLECTION = re.compile(r"[a-z](?:[a-z_]*[a-z])?")
_DIGITS_COLLECTION = re.compile(r"[a-z0-9](?:[a-z0-9_]*[a-z0-9])?")
_INTEGER = re.compile(rb"-?[0-9]+")

_Value = str | int | float | bool | None


class SetObject(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One object of a set call."""

    id: str
    properties: dict[str, _Value]


class SetBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of a set call."""

    collection: str
    objects: list[SetObject]


class PartLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One line of a bulk part."""

    id: str
    collection: str
    properties: dict[str, _Value]


class _RawObject(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    properties: dict[str, msgspec.Raw]


class _RawLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    collection: str
    properties: dict[str, msgspec.Raw]


class _RawCall(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    collection: str
    objects: list[msgspec.Raw]


class _Finish(msgspec.Struct, forbid_unknown_fields=True):
    error: str


_SET = msgspec.json.Decoder(SetBody)
_LINE = msgspec.json.Decoder(PartLine)
_RAW_OBJECT = msgspec.json.Decoder(_RawObject)
_RAW_LINE = msgspec.json.Decoder(_RawLine)
_RAW_CALL = msgspec.json.Decoder(_RawCall)
_FINISH = msgspec.json.Decoder(_Finish)


@dataclass(frozen=True)
class Rules:
    """The rules, with a choice for each of two points that the API's description leaves open."""

    nulls: Literal["clear", "refuse"] = "clear"
    collection_digits: bool = False

    def parse_set_body(self, body: bytes) -> SetBody:
        """Parse and check the body of a set call; a `RefusalError` 400 when it breaks a rule."""
        call = _decode_set(body)
        self._check_collection(call.collection)
        if not 1 <= len(call.objects) <= MAX_OBJECTS:
            raise RefusalError(
                400, f"objects: 1 to {MAX_OBJECTS} in a call, got {len(call.objects)}"
            )
        if len(body) > MAX_OBJECT_BYTES:
            for index, raw in enumerate(_RAW_CALL.decode(body).objects):
                _check_size(memoryview(raw).nbytes, f"objects[{index}]")
        large = len(body) >= MAX_VALUE_BYTES
        keys = 2
        for index, item in enumerate(call.objects):
            keys += 2 + len(item.properties)
            self._check_object(item, f"objects[{index}]", large=large)
        if len({item.id for item in call.objects}) < len(call.objects):
            raise RefusalError(400, "objects: two objects of a call have the same id")
        _check_keys(body, keys)
        return call

    def parse_part_line(self, line: bytes) -> PartLine:
        """Parse and check one line of a part; a `RefusalError` 400 when it breaks a rule."""
        _check_size(len(line), "the object")
        try:
            item = _LINE.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            item = _decode_line_with_long_integers(line, error)
        self._check_collection(item.collection)
        self._check_object(item, "the object", large=len(line) >= MAX_VALUE_BYTES)
        _check_keys(line, 3 + len(item.properties))
        return item

    def _check_object(self, item: SetObject | PartLine, index: str, *, large: bool) -> None:
        if not 1 <= len(item.id) <= MAX_NAME_CHARS:
            raise RefusalError(400, f"{index}: id must have 1 to {MAX_NAME_CHARS} characters")
        properties = item.properties
        if not properties:
            raise RefusalError(400, f"{index}: properties must hold at least one property")
        if "" in properties:
            raise RefusalError(400, f"{index}: a property's name is empty")
        if self.nulls == "refuse" and None in properties.values():
            raise RefusalError(400, f"{index}: a property is null")
        if large:
            for name, value in properties.items():
                if _bytes_of(value) >= MAX_VALUE_BYTES:
                    raise RefusalError(400, f"{index}: property {name[:100]!r} has 32 KB or more")

    def _check_collection(self, collection: str) -> None:
        if not _is_collection(collection, digits=self.collection_digits):
            letters = "letters, digits" if self.collection_digits else "letters"
            raise RefusalError(
                400,
                f"collection: 1 to {MAX_NAME_CHARS} lower-case {letters} and underscores, "
                "no underscore first or last",
            )


def parse_finish_body(body: bytes) -> str:
    """Return the error text of a finish call, empty for success.

    A `RefusalError` 400 when the body is malformed.
    """
    try:
        return _FINISH.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusalError(400, f"malformed body: {error}") from None


def check_content(headers: Mapping[str, str], content_type: str, encoding: str | None) -> None:
    """Refuse with 400 a request without the content type and encoding of its call [doc]."""
    sent = headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != content_type:
        raise RefusalError(400, f"Content-Type must be {content_type}")
    if headers.get("content-encoding", "").strip().lower() not in (
        {encoding} if encoding else {""}
    ):
        rule = f"must be {encoding}" if encoding else "is not supported for this call"
        raise RefusalError(400, f"Content-Encoding {rule}")


def check_key(key: str | None, expected: str | None) -> str:
    """Return the write key; 401 when it is missing, empty or not the expected one."""
    challenge = {"WWW-Authenticate": 'Basic realm="Segment"'}
    if key is None:
        reason = "HTTP Basic with the write key as user name and an empty password is required"
        raise RefusalError(401, reason, challenge)
    if expected is not None and not hmac.compare_digest(key.encode(), expected.encode()):
        raise RefusalError(401, "unknown write key", challenge)
    return key


@lru_cache(maxsize=64)
def write_key_of(authorization: str) -> str | None:
    """Return the user name of a Basic header, the base64 of `KEY:` [doc]; None for any other."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    key, colon, password = pair.partition(":")
    return key if key and colon and not password else None


@lru_cache(maxsize=1024)
def _is_collection(collection: str, *, digits: bool) -> bool:
    pattern = _DIGITS_COLLECTION if digits else _LETTERS_COLLECTION
    return len(collection) <= MAX_NAME_CHARS and pattern.fullmatch(collection) is not None


def _check_size(size: int, index: str) -> None:
    if size > MAX_OBJECT_BYTES:
        raise RefusalError(400, f"{index}: {size} bytes, at most {MAX_OBJECT_BYTES} are allowed")


def _bytes_of(value: Scalar) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return len(value.as_tuple().digits) if isinstance(value, Decimal) else 0


def _decode_set(body: bytes) -> SetBody:
    try:
        return _SET.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        try:
            raw = _RAW_CALL.decode(body)
            items = [_RAW_OBJECT.decode(memoryview(item)) for item in raw.objects]
            objects = [SetObject(item.id, _decode_properties(item.properties)) for item in items]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RefusalError):
            raise RefusalError(400, f"malformed body: {error}") from None
    return SetBody(raw.collection, objects)


def _decode_line_with_long_integers(line: bytes, error: Exception) -> PartLine:
    try:
        raw = _RAW_LINE.decode(line)
        properties = _decode_properties(raw.properties)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RefusalError):
        raise RefusalError(400, f"malformed object: {error}") from None
    return PartLine(raw.id, raw.collection, properties)


def _decode_properties(raw: dict[str, msgspec.Raw]) -> dict[str, _Value]:
    # JSON integers may have any number of digits; one that Python cannot parse becomes a Decimal.
    properties: dict[str, _Value] = {}
    for name, value in raw.items():
        text = bytes(memoryview(value))
        if len(text) > _MAX_PYTHON_INT_DIGITS and _INTEGER.fullmatch(text):
            properties[name] = Decimal(text.decode())  # type: ignore[assignment]
        else:
            properties[name] = msgspec.json.decode(text, type=_Value)
    return properties


def _check_keys(document: bytes, expected: int) -> None:
    # A key ends in `":` and a quote inside a string is escaped, so counting proves nearly every
    # document free of repeated keys; only the others are parsed a second time.
    if document.count(b'":') - document.count(b'\\":') == expected:
        return
    try:
        json.loads(
            document, object_pairs_hook=_reject_repeated_keys, parse_int=str, parse_float=str
        )
    except RecursionError:
        raise RefusalError(400, "malformed body: nested too deeply") from None


def _reject_repeated_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise RefusalError(400, "a JSON object has the same key twice")
    return unique
