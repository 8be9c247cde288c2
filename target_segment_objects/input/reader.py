"""Bytes from stdin become Singer messages, with their line numbers.

The rule that it guards: no line is dropped, changed or guessed at. A line is a message, or an
error that names the line and never shows it. Reading never holds a stop: it waits for the input
and for the wake-up pipe at once, and for no longer than the caller's next deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import select
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from singer_sdk.io_base import GenericSingerReader

from target_segment_objects.errors import InputError, MessageError, SegmentObjectsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    BlockHandler = Callable[[int, bytes, list[bytes], Callable[[int], None]], None]

__all__ = ["Message", "MessageReader", "ReaderOptions", "WakeUp"]

_BLOCK: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ReaderOptions:
    """Bounds of an input line.

    Attributes:
        max_line_bytes: a line's bytes, its line break not counted.
        max_depth: objects and arrays inside each other, the message itself being the first.
    """

    max_line_bytes: int = 16_777_216
    max_depth: int = 100


class Message(msgspec.Struct):
    """One line: what it says of itself, the parts that others read still as the tap's bytes.

    Attributes:
        record, value: JSON as it stands in the line, `UNSET` when the line has no such part.
        line: the line's number, from 1.
        raw: the whole line.
    """

    type: str | UnsetType = UNSET
    stream: Any = UNSET
    record: Raw | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    schema: Raw | UnsetType = UNSET
    key_properties: Any = None
    time_extracted: Any = None
    version: Any = None
    line: int = 0
    raw: bytes = b""


class _Envelope(msgspec.Struct):
    """A line as the fast decoder sees it: `Message` without what the reader adds."""

    type: str | UnsetType = UNSET
    stream: Any = UNSET
    record: Raw | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    schema: Raw | UnsetType = UNSET
    key_properties: Any = None
    time_extracted: Any = None
    version: Any = None


_PARTS: Final = frozenset({"record", "value", "schema"})
_FIELDS: Final = frozenset(_Envelope.__struct_fields__)
_decode = msgspec.json.Decoder(_Envelope).decode


class WakeUp:
    """The stop flag, and the pipe that ends a wait. Any thread may use it, after `close` too."""

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._reads = self._writes = -1

    def open(self) -> None:
        """Make the pipe, unless it is there."""
        if self._reads < 0:
            self._reads, self._writes = os.pipe()
            os.set_blocking(self._reads, False)
            os.set_blocking(self._writes, False)

    def fileno(self) -> int:
        """The end to wait for."""
        return self._reads

    def set(self) -> None:
        """End the reader's present or next wait, if there is one."""
        with self._lock:  # or the number could be that of another file by now
            if self._writes >= 0:
                # A full pipe wakes as well as one byte more.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._writes, b"\0")

    def stop(self) -> None:
        """Ask the reader to read no more."""
        self.stopped = True
        self.set()

    def clear(self) -> None:
        """Take back what `set` has done."""
        with self._lock, contextlib.suppress(BlockingIOError):
            while self._reads >= 0 and os.read(self._reads, 4096):
                pass

    def close(self) -> None:
        """Give back the pipe. What comes later does nothing."""
        with self._lock:
            reads, writes, self._reads, self._writes = self._reads, self._writes, -1, -1
            if reads >= 0:
                os.close(reads)
                os.close(writes)


class MessageReader(GenericSingerReader[Any]):
    """Reads messages from stdin, a file, or the SDK's test runner, and hands each to its callback.

    Args:
        options: bounds of a line.
        wake_up: ends a wait for input; its flag stops the reading.
        between: called whenever input has been worked off, before each wait; answers how many
            seconds the wait may last at most, `None` for any time.
        unknown: called with a message of a type that has no callback.
        failed: called with the error that ends the reading, before it is raised: what was read
            before it is still to be delivered.
        process_block: called with the number of a block's first line, the block, its lines, and a
            function that handles one of them, by its index, as a message.
    """

    def __init__(  # noqa: PLR0913
        self,
        options: ReaderOptions,
        wake_up: WakeUp,
        *,
        between: Callable[[], float | None],
        unknown: Callable[[Message], None],
        failed: Callable[[SegmentObjectsError], None],
        process_block: BlockHandler,
    ) -> None:
        super().__init__()
        self._options = options
        self._wake_up = wake_up
        self._between = between
        self._unknown = unknown
        self._failed = failed
        self._process_block = process_block
        self._is_cut = False  # whether the line has no end, since the input has ended
        self.line = 0

    @property
    def default_input(self) -> IO[bytes]:
        """Stdin, as bytes."""
        if sys.stdin is None:
            raise InputError("stdin is closed; pipe a tap into the command, or name an `--input`")
        return sys.stdin.buffer

    def deserialize_json(self, line: Any) -> dict[str, Any]:
        """Not used: `process_lines` reads messages its own way."""
        raise NotImplementedError

    def process_lines(
        self,
        file_input: IO[Any] | None,
        callbacks: dict[str, Callable[[Any], None]],
    ) -> Counter[str]:
        """Hand every message to the callback of its type, until the input ends.

        After a stop no more is read; whether the whole lines that were read already are still
        handed on is for `process_block` to say.

        Returns:
            How many messages of each type there were.

        Raises:
            MessageError: for a line that is no message.
        """
        counts: Counter[str] = Counter()
        first = 1
        gone = 0

        def process_as_message(index: int) -> None:
            nonlocal gone
            gone += 1
            self.line = first + index
            self._is_cut = index == len(lines) - 1 and not block.endswith(b"\n")
            if (line := self._whole_line(lines[index])) is not None:
                message = self.read_message(line)
                kind = str(message.type)
                callbacks.get(kind, self._unknown)(message)
                counts[kind] += 1

        self._wake_up.open()
        try:
            for block in self._blocks_of_lines(file_input):
                lines = block.split(b"\n")
                if not lines[-1]:
                    lines.pop()
                if self._has_long_lines(block, lines):
                    for index in range(len(lines)):
                        process_as_message(index)
                else:
                    self._process_block(first, block, lines, process_as_message)
                if taken := len(lines) - gone:  # only records are taken at once
                    counts["RECORD"] += taken
                gone = 0
                self.line = first + len(lines) - 1
                first += len(lines)
        except SegmentObjectsError as error:
            self._failed(error)
            raise
        return counts

    def read_message(self, line: bytes) -> Message:
        """The message of one line.

        Raises:
            MessageError: when it is none.
        """
        if line.count(b"{") + line.count(b"[") > self._options.max_depth:
            self._check_depth(line)
        try:
            found = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            message = Message(**self._read_odd(line), line=self.line, raw=line)
        else:
            message = Message(
                found.type,
                found.stream,
                found.record,
                found.value,
                found.schema,
                found.key_properties,
                found.time_extracted,
                found.version,
                self.line,
                line,
            )
        if not isinstance(message.type, str):
            raise MessageError("a message without a `type`", line=self.line)
        return message

    def _read_odd(self, line: bytes) -> dict[str, Any]:
        """What the fast decoder refuses: no JSON, NaN, a lone surrogate, a `type` not text."""
        try:
            text = line.decode()
        except UnicodeDecodeError:
            # Read on, so that it is known which stream's record it is; the bytes go on as they are.
            text = line.decode("utf-8", "surrogateescape")
        try:
            if not isinstance(json.loads(text, parse_int=str, parse_float=str), dict):
                raise MessageError(
                    "not a JSON object; a Singer message is one object a line", line=self.line
                )
            spans = dict(_members(text))
        except (ValueError, RecursionError) as error:
            if self._is_cut and text.startswith("{"):
                raise MessageError(
                    "the input ends in the middle of a message; the tap was probably stopped, or "
                    "has failed: look at its log",
                    line=self.line,
                ) from None
            column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise MessageError(
                f"not JSON{column}; "
                "check that the tap prints nothing but Singer messages on stdout",
                line=self.line,
            ) from None
        parts: dict[str, Any] = {}
        for name, span in spans.items():
            if name in _PARTS:
                parts[name] = Raw(span.encode("utf-8", "surrogateescape"))
            elif name in _FIELDS:
                parts[name] = json.loads(span, parse_int=_short_integer)
        return parts

    def _check_depth(self, line: bytes) -> None:
        depth = 0
        # Without escapes a string is one run of characters, which the pattern takes at one go.
        for token in _BRACKETS.finditer(line.replace(b"\\\\", b"").replace(b'\\"', b"")):
            character = token[0][:1]
            if character in b"{[":
                depth += 1
                if depth > self._options.max_depth:
                    raise MessageError(
                        f"objects and arrays inside each other beyond "
                        f"{self._options.max_depth} levels; "
                        "raise `max_depth` if the tap means it",
                        line=self.line,
                    )
            elif character in b"}]":
                depth -= 1

    def _blocks_of_lines(self, file_input: IO[Any] | None) -> Iterator[bytes]:
        """Blocks of whole lines with their breaks; of the last line the break may be missing."""
        rest = bytearray()
        for block in self._blocks(file_input):
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join((rest, memoryview(block)[:end]))
                rest = bytearray(memoryview(block)[end:])
            else:
                rest += block
            self._check_length(rest, self.line + 1)
        if rest and not self._wake_up.stopped:
            yield bytes(rest)

    def _has_long_lines(self, block: bytes, lines: list[bytes]) -> bool:
        longest = self._options.max_line_bytes
        return len(block) > longest and max(map(len, lines)) > longest

    def _whole_line(self, line: bytes) -> bytes | None:
        """A line without blanks around it; a blank one and a byte order mark are passed over."""
        self._check_length(line, self.line)
        if self.line == 1:
            line = line.removeprefix(_BOM)
        return line.strip(b" \t\r") or None

    def _check_length(self, line: bytes | bytearray, number: int) -> None:
        length = len(line) - line.endswith(b"\r")
        if number == 1 and line.startswith(_BOM):
            length -= len(_BOM)
        if length > self._options.max_line_bytes:
            raise MessageError(
                f"longer than {self._options.max_line_bytes} bytes; "
                "raise `max_line_bytes` if the tap means it",
                line=number,
            )

    def _blocks(self, file_input: IO[Any] | None) -> Iterator[bytes]:
        """What can be read at once, as it comes."""
        source = file_input if file_input is not None else self.default_input
        source = getattr(source, "buffer", source)
        try:
            descriptor = source.fileno()
        except (AttributeError, OSError):  # the SDK's test runner has text in memory
            yield from self._from_memory(source)
            return
        _widen(descriptor)
        while self._wait(descriptor):
            block = os.read(descriptor, _BLOCK)
            if not block:
                return
            yield block

    def _from_memory(self, source: IO[Any]) -> Iterator[bytes]:
        while block := source.read(_BLOCK):
            self._between()
            if self._wake_up.stopped:
                return
            yield block.encode() if isinstance(block, str) else block

    def _wait(self, descriptor: int) -> bool:
        """Wait for input; False when it is a stop that ended the wait."""
        while not self._wake_up.stopped:
            timeout = self._between()
            ready, _, _ = select.select([descriptor, self._wake_up.fileno()], [], [], timeout)
            if self._wake_up.fileno() in ready:
                self._wake_up.clear()
            elif ready:
                return True
        return False


def _widen(descriptor: int) -> None:
    """Let a pipe hold a block, so that the tap and the target wait for each other less often."""
    with contextlib.suppress(OSError, AttributeError):  # no pipe; not on this system
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _BLOCK)


_BRACKETS = re.compile(rb'"[^"]*"?|[\[\]{}]')


def _members(text: str) -> Iterator[tuple[str, str]]:
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
    """Python refuses integers beyond 4,300 digits, of which the reader needs none.

    Another one is infinite: nobody takes it for a number that it is not, nor for nothing.
    """
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


_MOST_DIGITS: Final = 19
_BLANKS = re.compile(r"[ \t\r\n,]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
