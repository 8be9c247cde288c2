"""Splits the bytes of stdin into lines, and parses lines as messages.

Invariant: no line is dropped, and reading never delays a stop: it waits for the input and the
wake-up pipe at the same time, and no longer than the caller's next deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
from collections import Counter
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from target_segment_objects.errors import InputError, MessageError, SegmentObjectsError
from target_segment_objects.input.messages import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_segment_objects.input.messages import Message
    from target_segment_objects.stopping import WakeupPipe

    BlockHandler = Callable[[int, bytes, list[bytes], Callable[[int], None]], None]

__all__ = ["MessageReader", "ReaderOptions"]

_BLOCK_BYTES: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ReaderOptions:
    """Limits of an input line.

    Attributes:
        max_line_bytes: a line's bytes, without its line break.
        max_depth: objects and arrays inside each other, the message itself being the first.
    """

    max_line_bytes: int = 16_777_216
    max_depth: int = 100


class MessageReader:
    """Reads messages from stdin, a file, or the SDK's test runner, and hands each to its callback.

    It takes the place of the SDK's reader, of which it uses nothing.

    Args:
        options: limits of a line.
        wake_up: ends a wait for input; its flag stops the reading.
        before_wait: called before each wait for input; returns the longest time to wait in seconds,
            `None` for any time.
        on_unknown: called with a message of a type that has no callback.
        on_error: called with the error that ends the reading, before it is raised: what was read
            before it is still to be delivered.
        process_block: called with the number of a block's first line, the block, its lines, and a
            function that handles one of them, by its index, as a message. `None`: every line is
            handled as a message.
        on_line_error: called with an error of one line, its message if it is one, and its number;
            the reading goes on with the next line. `None`: the error is raised.

    Attributes:
        line: the number of the line that is handled as a message, or of the last one read.
    """

    def __init__(  # noqa: PLR0913
        self,
        options: ReaderOptions,
        wake_up: WakeupPipe,
        *,
        before_wait: Callable[[], float | None],
        on_unknown: Callable[[Message], None],
        on_error: Callable[[SegmentObjectsError], None],
        process_block: BlockHandler | None,
        on_line_error: Callable[[SegmentObjectsError, Message | None, int], None] | None = None,
    ) -> None:
        self._options = options
        self._wake_up = wake_up
        self._before_wait = before_wait
        self._on_unknown = on_unknown
        self._on_error = on_error
        self._process_block = process_block
        self._on_line_error = on_line_error
        self._is_cut = False  # whether the input ended before the line did
        self.line = 0

    def process_lines(
        self,
        file_input: IO[Any] | None,
        callbacks: dict[str, Callable[[Any], None]],
    ) -> Counter[str]:
        """Hand every message to the callback of its type, until the input ends.

        After a stop nothing more is read; `process_block` decides whether the lines that were
        already read are handled.

        Returns:
            How many messages of each type there were.

        Raises:
            MessageError: for a line that is no message.
        """
        counts: Counter[str] = Counter()
        first = 1
        fallback_count = 0
        max_line_bytes = self._options.max_line_bytes

        def process_as_message(index: int) -> None:
            nonlocal fallback_count
            fallback_count += 1
            self.line = first + index
            self._is_cut = index == len(lines) - 1 and not block.endswith(b"\n")
            self._process_line(lines[index], callbacks, counts)

        self._wake_up.open()
        try:
            for block in self._blocks_of_lines(file_input):
                lines = block.split(b"\n")
                if not lines[-1]:
                    lines.pop()
                if self._process_block is None or (
                    len(block) > max_line_bytes and max(map(len, lines)) > max_line_bytes
                ):
                    for index in range(len(lines)):
                        process_as_message(index)
                else:
                    self._process_block(first, block, lines, process_as_message)
                if others := len(lines) - fallback_count:  # only records are handled as a block
                    counts["RECORD"] += others
                fallback_count = 0
                self.line = first + len(lines) - 1
                first += len(lines)
        except SegmentObjectsError as error:
            self._on_error(error)
            raise
        return counts

    def _process_line(
        self, line: bytes, callbacks: dict[str, Callable[[Any], None]], counts: Counter[str]
    ) -> None:
        message = None
        try:
            message = self.read_message(line)
            if message is not None:
                message_type = str(message.type)
                callbacks.get(message_type, self._on_unknown)(message)
                counts[message_type] += 1
        except SegmentObjectsError as error:
            if self._on_line_error is None:
                raise
            self._on_line_error(error, message, self.line)

    def read_message(self, line: bytes) -> Message | None:
        """The message of the present line; `None` for a blank line.

        Raises:
            MessageError: when it is no message.
        """
        self._check_length(line, self.line)
        if self.line == 1:
            line = line.removeprefix(_BOM)
        line = line.strip(b" \t\r")
        if not line:
            return None
        max_depth = self._options.max_depth
        return parse_message(line, self.line, max_depth=max_depth, is_cut=self._is_cut)

    def _blocks_of_lines(self, file_input: IO[Any] | None) -> Iterator[bytes]:
        """Blocks of whole lines with their breaks; only the last line may lack its break."""
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

    def _check_length(self, line: bytes | bytearray, number: int) -> None:
        length = len(line) - line.endswith(b"\r")
        if number == 1 and line.startswith(_BOM):
            length -= len(_BOM)
        if length > self._options.max_line_bytes:
            raise MessageError(
                f"longer than {self._options.max_line_bytes} bytes; "
                "raise `max_line_bytes` if this is intended",
                line=number,
            )

    def _blocks(self, file_input: IO[Any] | None) -> Iterator[bytes]:
        """The input in blocks, as it arrives."""
        source = file_input if file_input is not None else sys.stdin
        if source is None:
            raise InputError("stdin is closed; pipe a tap into the command, or name an `--input`")
        source = getattr(source, "buffer", source)
        try:
            descriptor = source.fileno()
        except (AttributeError, OSError):  # the SDK's test runner has text in memory
            yield from self._from_memory(source)
            return
        _grow_pipe_buffer(descriptor)
        while self._wait(descriptor):
            block = os.read(descriptor, _BLOCK_BYTES)
            if not block:
                return
            yield block

    def _from_memory(self, source: IO[Any]) -> Iterator[bytes]:
        while block := source.read(_BLOCK_BYTES):
            self._before_wait()
            if self._wake_up.stopped:
                return
            yield block.encode() if isinstance(block, str) else block

    def _wait(self, descriptor: int) -> bool:
        """Wait for input; false when a stop ended the wait."""
        while not self._wake_up.stopped:
            timeout = self._before_wait()
            ready, _, _ = select.select([descriptor, self._wake_up.fileno()], [], [], timeout)
            if self._wake_up.fileno() in ready:
                self._wake_up.clear()
            elif ready:
                return True
        return False


def _grow_pipe_buffer(descriptor: int) -> None:
    """Let a pipe hold a block, so that the tap and the target wait for each other less often."""
    with contextlib.suppress(OSError, AttributeError):  # no pipe; not on this system
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _BLOCK_BYTES)
