"""Records with unusual values, and the verdicts according to `docs/names-ids-values.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.byte_inputs import Input
from tests.faults.input_run import CANARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["value_inputs"]

_HUGE = b"9" * 5_000

NUMBERS: Mapping[str, bytes] = {
    "zero": b"0",
    "minus-zero": b"-0",
    "minus-zero-point": b"-0.0",
    "integral": b"2.0",
    "integral-exponent": b"2e3",
    "half": b"0.5",
    "above-53-bits": b"9007199254740993",
    "above-64-bits": b"18446744073709551616",
    "thousands-of-digits": _HUGE,
    "thousands-of-decimals": b"0." + _HUGE,
    "tiny": b"1e-400",
    "absurdly-tiny": b"1e-99999999999",
}
"""JSON numbers, some of which a double cannot represent."""

NON_FINITE: Mapping[str, bytes] = {
    "nan": b"NaN",
    "infinity": b"Infinity",
    "minus-infinity": b"-Infinity",
    "1e400": b"1e400",
    "minus-1e400": b"-1e400",
    "1e99999999999": b"1e99999999999",
}

NO_JSON: Mapping[str, bytes] = {
    "leading-zero": b"01",
    "no-digit-before": b".5",
    "no-digit-after": b"1.",
    "plus": b"+1",
    "hex": b"0x10",
    "underscore": b"1_000",
    "comma": b"1,5",
    "exponent-alone": b"1e",
    "two-signs": b"--1",
    "nan-lower": b"nan",
    "inf": b"inf",
    "plus-infinity": b"+Infinity",
    "minus-nan": b"-NaN",
    "none": b"None",
    "true-capital": b"True",
    "null-capital": b"NULL",
    "undefined": b"undefined",
    "single-quotes": b"'a'",
    "bare": CANARY.encode(),
    "nothing": b"",
    "two-values": b"1 2",
    "unended-string": b'"a',
    "bad-escape": b'"\\x41"',
    "half-escape": b'"\\u12"',
    "unended-list": b"[1",
    "comma-in-list": b"[1,]",
    "colon-in-list": b"[1:2]",
    "comma-in-object": b'{"a":1,}',
    "number-as-key": b"{1:2}",
    "no-value": b'{"a"}',
    "date": b"2020-01-01",
    "base64": b"b'abc'",
}

WORDS: Mapping[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "empty": b'""',
    "text": b'"' + CANARY.encode() + b'"',
    "text-true": b'"true"',
    "text-1": b'"1"',
    "text-01": b'"01"',
    "text-1.5": b'"1.5"',
    "text-1e400": b'"1e400"',
    "text-NaN": b'"NaN"',
    "text-blank": b'" "',
    "text-nul": b'"a\\u0000b"',
    "text-emoji": b'"\\ud83d\\ude00"',
    "text-bidi": b'"\\u202e\\u0007"',
    "text-32767": b'"' + b"x" * 32_767 + b'"',
    "text-32768": b'"' + b"x" * 32_768 + b'"',
    "text-surrogate": b'"\\ud800"',
    "list": b'["' + CANARY.encode() + b'"]',
    "list-empty": b"[]",
    "list-surrogate": b'["\\udc00"]',
    "list-nan": b"[[NaN]]",
    "object": b'{"a":"' + CANARY.encode() + b'"}',
    "object-empty": b"{}",
    "object-twice": b'{"a":1,"a":2}',
    "object-1e400": b'{"a":1e400}',
    "object-surrogate-key": b'{"\\ud800":1}',
}

_NOT_SENT = {
    "text-32768": "reject value_too_large",
    "text-surrogate": "reject unicode",
    "list-surrogate": "reject unicode",
    "list-nan": "reject non_finite",
    "object-1e400": "reject non_finite",
    "object-surrogate-key": "reject unicode",
}
"""Values that no column accepts."""

_TEXTS = frozenset(name for name in WORDS if name.startswith("text") or name == "empty")
_CONTAINERS = frozenset(name for name in WORDS if name.startswith(("list", "object")))
_TAKES_TEXT: Mapping[str, frozenset[str]] = {
    "beds": frozenset({"text-1"}),
    "price": frozenset({"text-1", "text-1.5"}),
    "open": frozenset({"text-true"}),
}
"""Which texts columns of other types accept with `coerce`."""


def _words(column: str, name: str) -> str:
    if column in {"beds", "price", "open"}:
        if name in _CONTAINERS or (name in _TEXTS and name not in _TAKES_TEXT[column]):
            return "reject type"
        if name in {"true", "false"} and column != "open":
            return "reject type"
    if column in {"at", "tags"} and name == "text-32767":  # as JSON text it also has quotes
        return "reject value_too_large"
    return _NOT_SENT.get(name, "sent")


def _numbers(column: str, name: str) -> str:
    if column == "beds" and name in {"half", "thousands-of-decimals", "tiny", "absurdly-tiny"}:
        return "reject type"
    if column == "open" and name not in {"zero", "minus-zero", "minus-zero-point"}:
        return "reject type"
    return "sent"


def _non_finite(column: str, name: str) -> str:  # noqa: ARG001  as the others
    return "reject non_finite"


_COLUMNS = ("name", "beds", "price", "open", "built", "at", "tags", "undeclared")


def value_inputs() -> Iterator[Input]:
    """Yield every value in every kind of column, as an element of a list, and as the key."""
    for column in _COLUMNS:
        for table, rule in ((NUMBERS, _numbers), (NON_FINITE, _non_finite), (WORDS, _words)):
            for name, token in table.items():
                yield Input(f"{column}-{name}", _record(column, token), rule(column, name))
    for column in ("name", "undeclared"):
        for name, token in NO_JSON.items():
            yield Input(f"{column}-{name}", _record(column, token), "MessageError @4")
    for name, token in {**NUMBERS, **NON_FINITE, **WORDS}.items():
        inside = name in NON_FINITE
        verdict = "reject non_finite" if inside else _NOT_SENT.get(name, "sent")
        if name == "text-32767":
            verdict = "reject value_too_large"
        yield Input(f"in-list-{name}", _record("tags", b"[%b]" % token), verdict)
    yield from _keys()
    yield from _names()
    yield from _whole_records()


def _record(column: str, token: bytes) -> bytes:
    note = b'"note":"%b"' % CANARY.encode()
    return b'{"type":"RECORD","stream":"rooms","record":{"id":"odd",%b,"%b":%b}}' % (
        note,
        column.encode(),
        token,
    )


def _keys() -> Iterator[Input]:
    """An id is never created from an empty value."""
    for name, token in {**NUMBERS, **WORDS}.items():
        verdict = {"null": "reject key_empty", "empty": "reject key_empty"}.get(
            name, _NOT_SENT.get(name, "sent")
        )
        if name == "text-32768":  # the id is its digest, and the value is not a property
            verdict = "sent"
        yield Input(f"key-{name}", _keyed(token), verdict)
    for name, token in NON_FINITE.items():
        yield Input(f"key-{name}", _keyed(token), "reject key_empty")


def _keyed(token: bytes) -> bytes:
    return b'{"type":"RECORD","stream":"rooms","record":{"id":%b,"note":"%b"}}' % (
        token,
        CANARY.encode(),
    )


def _names() -> Iterator[Input]:
    """Names of undeclared properties, which occur only in the record."""
    names = {
        "empty": ("", "reject name"),
        "blank": (" ", "reject name"),
        "signs": ("!?", "reject name"),
        "clash-case": ("NAME", "reject clash"),
        "clash-path": ("at_lat", "reject clash"),
        "own": ("received_at", "sent"),
        "id-again": ("ID", "sent"),
        "long": ("x" * 5_000, "sent"),
        "chinese": ("\\u540d\\u524d", "sent"),
        "emoji": ("\\ud83d\\ude00", "sent"),
        "dollar": ("$ref", "sent"),
        "dots": ("a.b.c", "sent"),
        "quote": ('a\\"b', "sent"),
        "nul": ("a\\u0000b", "sent"),
        "number": ("2", "sent"),
        "dunder": ("__proto__", "sent"),
        "sdc": ("_sdc_batched_at", "sent"),
    }
    for name, (text, verdict) in names.items():
        yield Input(f"property-{name}", _record(text, b"1"), verdict)


def _whole_records() -> Iterator[Input]:
    """Records without properties, with too many, and with repeated ones."""
    for name, (record, verdict) in {
        "no-key": (b'{"name":"%b"}' % CANARY.encode(), "reject key_missing"),
        "key-alone": (b'{"id":"odd"}', "sent"),
        "empty": (b"{}", "reject key_missing"),
        "key-twice": (b'{"id":null,"id":"odd"}', "sent"),
        "key-twice-null-last": (b'{"id":"odd","name":"x","id":null}', "reject key_empty"),
        "name-twice": (b'{"id":"odd","name":NaN,"name":"x"}', "sent"),
        "501-properties": (_many(501), "sent"),
        "5000-properties": (_many(5_000), "sent"),
        "too-large": (_large(14), "reject object_too_large"),
        "as-large-as-may-be": (_large(12), "sent"),
        "all-faults": (
            b'{"name":"\\ud800","beds":"x","price":NaN,"!":1,"NAME":2}',
            "reject clash key_missing name non_finite type unicode",
        ),
    }.items():
        line = b'{"type":"RECORD","stream":"rooms","record":%b}' % record
        yield Input(f"record-{name}", line, verdict)


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _many(count: int) -> bytes:
    pairs = ",".join(f'"p{_letters(number)}":1' for number in range(count))
    return b'{"id":"odd",%b}' % pairs.encode()


def _large(count: int) -> bytes:
    pairs = ",".join(f'"p{_letters(number)}":"{"x" * 32_000}"' for number in range(count))
    return b'{"id":"odd",%b}' % pairs.encode()
