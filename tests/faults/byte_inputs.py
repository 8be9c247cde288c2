"""Unusual inputs and their expected verdicts: bytes, cuts, order, sizes, text.

Unusual JSON messages are in `message_inputs`, unusual values in `value_inputs`. The verdicts, in
the words of `input_run.verdict_of`, are written by hand and not taken from the target.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.faults.input_run import CANARY

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BAD", "RECORD", "Input", "byte_inputs", "message", "written"]

BAD = "MessageError @4"
"""The first tested line is not a message, and the error names it."""


class Input(NamedTuple):
    """Lines to test, and the verdict that is expected.

    Attributes:
        id: a unique name.
        lines: the bytes; their first line is the input's fourth.
        verdict: see `input_run.verdict_of`.
    """

    id: str
    lines: bytes
    verdict: str


def written(value: object) -> bytes:
    """Return a message as a tap writes it, without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()


def message(**values: object) -> dict[str, Any]:
    """Return a RECORD of the stream `rooms` with a canary and these properties."""
    return {
        "type": "RECORD",
        "stream": "rooms",
        "record": {"id": "odd", "name": CANARY, **values},
    }


RECORD = written(
    {
        **message(
            beds=2,
            price=1.5,
            open=True,
            built="2020-01-01T00:00:00Z",
            at={"lat": 1.0},
            tags=["a"],
        ),
        "time_extracted": "2020-01-01T00:00:00Z",
    }
)


def byte_inputs() -> Iterator[Input]:
    """Yield all inputs of this module."""
    yield from _cut_and_torn()
    yield from _bytes_in_strings()
    yield from _bytes_between()
    yield from _whole_lines()
    yield from _blanks_and_breaks()
    yield from _depths()
    yield from _order()


def _cut_and_torn() -> Iterator[Input]:
    """A part of a message, or a message without one of its brackets, is not a message."""
    for at in range(1, len(RECORD)):
        yield Input(f"cut-{at}", RECORD[:at], BAD)
    for at in range(1, len(RECORD), 3):
        yield Input(f"behead-{at}", RECORD[at:], BAD)
    for at, character in enumerate(RECORD):
        sign = bytes([character])
        # The colons in a time are not structure.
        if sign == b'"' or (sign in b"{}[]:," and not _in_string(at)):
            yield Input(f"drop-{at}", RECORD[:at] + RECORD[at + 1 :], BAD)
            yield Input(f"twice-{at}", RECORD[:at] + sign + RECORD[at:], BAD)
    for at in range(5, len(RECORD), 7):
        # The line before the break is the first wrong one.
        yield Input(f"break-{at}", RECORD[:at] + b"\n" + RECORD[at:], BAD)


def _in_string(at: int) -> bool:
    return RECORD[:at].count(b'"') % 2 == 1


_STRING = re.compile(rb'"([^"]*)"')
_INVALID_UNICODE = {
    "ff": b"\xff",
    "overlong": b"\xc0\x80",
    "lone-continuation": b"\xa9",
    "cut-sequence": b"\xe2\x82",
    "raw-surrogate": b"\xed\xa0\x80",
    "above-10ffff": b"\xf4\x90\x80\x80",
    "escaped-surrogate": b"\\ud800",
    "escaped-low-surrogate": b"\\udc00x",
}
"""Invalid Unicode: as bytes, and as escapes that JSON allows."""

_OF_ENVELOPE = {
    # A changed name: the field is missing.
    "type": BAD,
    "RECORD": BAD,
    "stream": BAD,
    "rooms": "MissingSchemaError @4",
    "record": BAD,
}
_UNHARMED = {"time_extracted", "2020-01-01T00:00:00Z"}


def _bytes_in_strings() -> Iterator[Input]:
    """Bytes that are not UTF-8, and control characters, in every string of a record's line."""
    inside = RECORD.index(b'"record":') + len(b'"record":')
    outside = RECORD.index(b',"time_extracted"')
    for number, found in enumerate(_STRING.finditer(RECORD)):
        text = found[1].decode()
        in_record = inside <= found.start() < outside
        verdict = "reject unicode" if in_record else _OF_ENVELOPE.get(text, "sent")
        if in_record and text == "id":
            verdict = "reject key_missing unicode"
        for name, invalid in _INVALID_UNICODE.items():
            mutated = RECORD[: found.end(1)] + invalid + RECORD[found.end(1) :]
            if in_record and not name.startswith("escaped"):
                # Bytes that are not UTF-8 make the whole record unreadable, which is one fault.
                yield Input(f"{name}-in-{number}-{text}", mutated, "reject unicode")
            else:
                yield Input(f"{name}-in-{number}-{text}", mutated, verdict)
        for name, control in {"nul": b"\0", "tab": b"\t", "escape": b"\x1b"}.items():
            mutated = RECORD[: found.end(1)] + control + RECORD[found.end(1) :]
            yield Input(f"{name}-in-{number}-{text}", mutated, BAD)


def _bytes_between() -> Iterator[Input]:
    """Between its tokens a line may have blanks, and nothing else."""
    for at in [found.start() for found in re.finditer(rb"[{}:,]", RECORD)]:
        for name, inserted in {"nul": b"\0", "bom": b"\xef\xbb\xbf", "nbsp": b"\xc2\xa0"}.items():
            verdict = "sent" if _in_string(at) and name != "nul" else BAD
            yield Input(f"{name}-at-{at}", RECORD[:at] + inserted + RECORD[at:], verdict)
        for name, inserted in {"blank": b"  ", "tabs": b"\t", "return": b"\r"}.items():
            # `2020-01-01T00:00:00Z` has colons too: there it is a control character in a string.
            verdict = BAD if _in_string(at) and name != "blank" else "sent"
            yield Input(f"{name}-at-{at}", RECORD[:at] + inserted + RECORD[at:], verdict)


def _whole_lines() -> Iterator[Input]:
    """Other texts that taps print on stdout, and JSON that is not a message."""
    texts = {
        "log": f"INFO  syncing {CANARY}",
        "log-json": json.dumps({"level": "info", "message": CANARY}),
        "traceback": f'Traceback (most recent call last):\n  File "{CANARY}.py", line 1',
        "progress": f"\r 50% {CANARY}\r 90% {CANARY}",
        "colours": f"\x1b[32m{CANARY}\x1b[0m",
        "csv": f"id,name\nodd,{CANARY}",
        "html": f"<html>{CANARY}</html>",
        "python": "{'type': 'RECORD', 'stream': 'rooms', 'record': {'id': 'odd'}}",
        "python-none": '{"type": "STATE", "value": None}',
        "javascript": '{type: "STATE", value: {}}',
        "comment": '{"type": "STATE", "value": {}} // ' + CANARY,
        "comma": '{"type": "STATE", "value": {},}',
        "two": '{"type": "STATE", "value": {}}{"type": "STATE", "value": {}}',
        "two-comma": '{"type": "STATE", "value": {}},{"type": "STATE", "value": {}}',
        "list": '[{"type": "STATE", "value": {}}]',
        "string": json.dumps(CANARY),
        "string-of-json": json.dumps('{"type": "STATE", "value": {}}'),
        "null": "null",
        "true": "true",
        "number": "17",
        "nan": "NaN",
        "empty-object": "{}",
        "empty-list": "[]",
        "brace": "{",
        "end-brace": "}",
        "nul": "\0",
        "nuls": "\0" * 5_000,
        "zero-width": "\u200b",
        "snowman": "\u2603",
        "long-text": CANARY * 10_000,
    }
    for name, text in texts.items():
        yield Input(f"line-{name}", text.encode(), BAD)
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-8-sig"):
        yield Input(f"line-{encoding}", RECORD.decode().encode(encoding), BAD)
    yield Input("line-latin-1", written(message()).replace(b"vogel", b"v\xf6gel"), "reject unicode")


def _blanks_and_breaks() -> Iterator[Input]:
    """Blank lines, and blanks around a message, are ignored; blank lines count as lines."""
    for name, blank in {
        "empty": b"",
        "blanks": b"   ",
        "tab": b"\t",
        "returns": b"\r",
        "many": b"\n\n\r\n \n\t\n",
        "thousand": b"\n" * 1_000,
    }.items():
        yield Input(f"nothing-{name}", blank, "passed")
        line = 4 + blank.count(b"\n") + 1
        yield Input(f"nothing-{name}-then-bad", blank + b"\n{", f"MessageError @{line}")
    for name, (before, after) in {
        "crlf": (b"", b"\r"),
        "blanks": (b"  ", b"  "),
        "tabs": (b"\t", b"\t\t"),
        "returns": (b"\r\r", b"\r\r"),
    }.items():
        yield Input(f"around-{name}", before + RECORD + after, "sent")
        yield Input(f"around-{name}-cut", before + RECORD[:-1] + after, BAD)
    for name, character in {"form-feed": b"\f", "vertical": b"\v", "nel": b"\xc2\x85"}.items():
        yield Input(f"around-{name}", character + RECORD, BAD)


def _depths() -> Iterator[Input]:
    """A hundred levels are accepted, including the message; 101 and 200,000 are not."""
    for kind, (start, end) in {"lists": (b"[", b"]"), "objects": (b'{"a":', b"}")}.items():
        inner = b"" if kind == "lists" else b"1"
        for levels in (2, 50, 98, 99, 100, 500, 2_000, 200_000):
            deep = start * levels + inner + end * levels
            for position, (line, above) in {
                "record": (b'{"type":"RECORD","stream":"rooms","record":{"id":"odd","x":%b}}', 2),
                "state": (b'{"type":"STATE","value":%b}', 1),
                "unknown": (b'{"type":"STATE","value":{},"more":%b}', 1),
            }.items():
                good = "sent" if position == "record" else "passed"
                verdict = good if levels + above <= 100 else BAD
                yield Input(f"deep-{kind}-{position}-{levels}", line % deep, verdict)
        for levels in (200, 200_000):
            yield Input(f"deep-{kind}-unclosed-{levels}", start * levels, BAD)
            yield Input(f"deep-{kind}-in-string-{levels}", _quoted(start * levels), "sent")


def _quoted(text: bytes) -> bytes:
    """Brackets in a string are not levels; a value has at most 32 KB."""
    return written(message(note=text.decode()[:30_000]))


def _order() -> Iterator[Input]:
    """Messages of a stream before its SCHEMA."""
    for stream in ("other", "Rooms", "rooms ", "", "room", "rooms\0", "r\u00f6oms", "x" * 5_000):
        kinds: dict[str, dict[str, object]] = {
            "RECORD": {"record": {"id": CANARY}},
            "ACTIVATE_VERSION": {"version": 1},
            "BATCH": {"encoding": {"format": "jsonl"}, "manifest": ["file:///etc/passwd"]},
        }
        for kind, more in kinds.items():
            name = stream[:8].encode("unicode-escape").decode()
            yield Input(
                f"before-schema-{kind}-{name}",
                written({"type": kind, "stream": stream, **more}),
                "passed" if kind == "ACTIVATE_VERSION" else "MissingSchemaError @4",
            )
