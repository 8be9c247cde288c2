"""Bytes become messages: nothing dropped, changed or guessed at, and a stop is never held."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from target_segment_objects.errors import MessageError, SegmentObjectsError
from target_segment_objects.input import Message, MessageReader, ReaderOptions
from target_segment_objects.input.messages import parse_message
from target_segment_objects.stopping import WakeupPipe
from tests.builders import PATIENCE, BackgroundCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BOM = b"\xef\xbb\xbf"
STATE = b'{"type":"STATE","value":{}}'


class Reading:
    """One reader, and what it handed on."""

    def __init__(self, **options: int) -> None:
        self.wake_up = WakeupPipe()
        self.blocks: list[tuple[int, int]] = []
        self.messages: list[Message] = []
        self.unknown: list[Message] = []
        self.failures: list[SegmentObjectsError] = []
        self.on_message: Callable[[Message], None] = lambda _: None
        self.before_wait: Callable[[], float | None] = lambda: None
        self.reader = MessageReader(
            ReaderOptions(**options),
            self.wake_up,
            before_wait=lambda: self.before_wait(),  # noqa: PLW0108  tests replace it later
            on_unknown=self.unknown.append,
            on_error=self.failures.append,
            process_block=self._process_block,
        )

    def _process_block(
        self,
        first: int,
        block: bytes,
        lines: list[bytes],
        process_as_message: Callable[[int], None],
    ) -> None:
        assert b"\n".join(lines) == block.removesuffix(b"\n")
        self.blocks.append((first, len(lines)))
        for index in range(len(lines)):
            process_as_message(index)

    def _take(self, message: Message) -> None:
        self.messages.append(message)
        self.on_message(message)

    def read(self, source: Any) -> list[Message]:
        """Read a source to its end, or to the stop."""
        if isinstance(source, bytes):
            source = io.BytesIO(source)
        kinds = ("RECORD", "STATE", "SCHEMA")
        self.reader.process_lines(source, dict.fromkeys(kinds, self._take))
        return self.messages

    def error(self, source: Any) -> str:
        """Read a source that must end in an error; its text."""
        with pytest.raises(MessageError) as caught:
            self.read(source)
        assert self.failures == [caught.value], "reported before it is raised"
        return str(caught.value)


@pytest.fixture
def reading() -> Iterator[Reading]:
    """A reader with the usual bounds."""
    reading = Reading()
    yield reading
    reading.wake_up.close()


class Pipe:
    """A pipe to read from, as a tap's output is."""

    def __init__(self) -> None:
        reads, self._writes = os.pipe()
        self.file = os.fdopen(reads, "rb")

    def write(self, content: bytes) -> None:
        """Write bytes that fit into the pipe."""
        os.write(self._writes, content)

    def end(self) -> None:
        """End the output."""
        os.close(self._writes)
        self._writes = -1

    def close(self) -> None:
        """Give back both ends."""
        self.file.close()
        if self._writes >= 0:
            self.end()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """An open pipe."""
    pipe = Pipe()
    yield pipe
    pipe.close()


def raw(part: Any) -> bytes:
    """The bytes of a message's part."""
    assert isinstance(part, Raw)
    return bytes(part)


def parse(line: bytes, max_depth: int = 100) -> Message:
    """The message of a line."""
    return parse_message(line, 1, max_depth=max_depth)


def deep(levels: int) -> bytes:
    """A message with so many levels, itself being the first."""
    return b'{"type":"STATE","value":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def long(size: int) -> bytes:
    """A message of so many bytes."""
    head, tail = b'{"type":"STATE","value":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


# What a message is.


def test_a_message_says_what_it_is_and_keeps_its_bytes(reading: Reading) -> None:
    """Parts that others read stand as the tap wrote them, and so does the line."""
    line = (
        b'{"type": "RECORD", "stream": "rooms", "record": {"a" : 1.10}, "version": 3, "more": [1]}'
    )
    message = reading.read(line + b"\n")[0]
    assert (message.type, message.stream, message.version, message.line) == (
        "RECORD",
        "rooms",
        3,
        1,
    )
    assert raw(message.record) == b'{"a" : 1.10}'
    assert message.raw == line
    assert message.value is UNSET
    assert message.schema is UNSET


def test_counts_and_unknown_types(reading: Reading) -> None:
    """Every type is counted; one without a callback goes to its own."""
    lines = [STATE, b'{"type":"OTHER"}', STATE]
    kinds = {"STATE": reading.messages.append}
    counts = reading.reader.process_lines(io.BytesIO(b"\n".join(lines)), kinds)
    assert counts == {"STATE": 2, "OTHER": 1}
    assert [message.type for message in reading.unknown] == ["OTHER"]


@pytest.mark.parametrize(
    "value",
    [
        b'{ "a"\t:  1.10 ,"b":[ ]}',
        b'"\\u0041\\/"',
        b"1E+2",
        b'{"a":1,"a":2}',
        b'{"a":NaN , "b": 1.50}',
        b'{"a": "\\ud800" }',
        b'{"a" : 123456789012345678901234567890}',
        b"9" * 5000,
        b"null",
    ],
)
def test_a_states_value_is_byte_for_byte(reading: Reading, value: bytes) -> None:
    """Spacing, escapes, digits and duplicates stay, with both parsers."""
    message = reading.read(b'{"type":"STATE" , "value" : ' + value + b' , "x":1 }')[0]
    assert raw(message.value) == value


@pytest.mark.parametrize("other", [b"1", b"NaN"])
def test_the_last_of_duplicate_keys_wins(reading: Reading, other: bytes) -> None:
    """With the fast parser and with the lenient one."""
    line = b'{"type":"RECORD","type":"STATE","value":1,"x":' + other + b',"value":2}'
    message = reading.read(line)[0]
    assert message.type == "STATE"
    assert raw(message.value) == b"2"


def test_invalid_utf_8_is_a_message_with_its_bytes(reading: Reading) -> None:
    """Which stream's record it is can be read, and the bytes go on as they are."""
    lines = [
        b'{"type":"RECORD","stream":"rooms","record":{"a":"\xff"}}',
        b'{"type":"RECORD","stream":"rooms","record":{"a":"\xc3\x28","b":NaN}}',
        b'{"type":"RECORD","stream":"rooms","time_extracted":"\xff","record":{"a":"\xe2\x82"}}',
    ]
    messages = reading.read(b"\n".join(lines))
    assert [message.stream for message in messages] == ["rooms"] * 3
    assert [message.raw for message in messages] == lines
    assert raw(messages[0].record) == b'{"a":"\xff"}'
    assert raw(messages[1].record) == b'{"a":"\xc3\x28","b":NaN}'
    assert raw(messages[2].record) == b'{"a":"\xe2\x82"}'


@pytest.mark.parametrize(
    "record",
    [
        b'{"a": NaN,"b":[Infinity, -Infinity]}',
        b'{"a":"\\ud800"}',
        b'{"a":1e400}',
        b'{"a":' + b"7" * 5000 + b"}",
        b"null",
        b"[1]",
    ],
)
def test_any_record_is_read(reading: Reading, record: bytes) -> None:
    """The reader does not look at the values of a record."""
    message = reading.read(b'{"type":"RECORD","stream":"rooms","record":' + record + b"}")[0]
    assert raw(message.record) == record


@pytest.mark.parametrize("version", [b"9" * 25, b"9" * 5000, b"1e999", b"-" + b"9" * 5000])
def test_huge_numbers_in_the_envelope_do_no_harm(reading: Reading, version: bytes) -> None:
    """A line is a message whatever its version is."""
    line = b'{"type":"RECORD","stream":"rooms","version":' + version + b',"record":{"a":1}}'
    assert raw(reading.read(line)[0].record) == b'{"a":1}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), JSON, st.sampled_from([None, 1]))
def test_the_lenient_parser_reads_what_the_fast_one_reads(
    others: dict[str, Any], value: Any, indent: int | None
) -> None:
    """Law: a line with a NaN in it keeps the bytes of its parts, whatever is around them."""
    json_text = json.dumps(value, indent=indent).replace("\n", " ").encode()
    rest = json.dumps({**others, "nan": float("nan")}).encode()[1:]
    message = parse(b'{"type":"STATE","value":%b,"a":%b' % (json_text, b"{" + rest) + b"}")
    assert raw(message.value) == json_text


# Lines.


def test_line_numbers_count_every_line(reading: Reading) -> None:
    """Blank lines too, so that an editor shows the line of the error."""
    text = reading.error(STATE + b"\n\n  \r\n" + STATE + b"\nsecret\n")
    assert text.startswith("line 5: not JSON")
    assert [message.line for message in reading.messages] == [1, 4]


def test_blank_lines_and_line_breaks(reading: Reading) -> None:
    """Blank lines are passed over, CRLF is a line break, and the last line needs none."""
    messages = reading.read(b"\n\r\n \t\n" + STATE + b"\r\n\n" + STATE)
    assert [message.raw for message in messages] == [STATE, STATE]


def test_one_leading_byte_order_mark_is_passed_over(reading: Reading) -> None:
    """The first only: anywhere else it is no JSON."""
    assert reading.read(BOM + STATE + b"\n")[0].raw == STATE
    for content in (BOM + BOM + STATE, STATE + b"\n" + BOM + STATE):
        again = Reading()
        assert "not JSON" in again.error(content)
        again.wake_up.close()
    assert Reading().read(BOM) == []


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", BOM])
@pytest.mark.parametrize("block", [1 << 20, 7, 1])
def test_max_line_bytes_is_exact(
    monkeypatch: pytest.MonkeyPatch, ending: bytes, start: bytes, block: int
) -> None:
    """A line of the bound is read and one byte more is an error, however the line comes in.

    Its line break and the byte order mark are not counted.
    """
    monkeypatch.setattr("target_segment_objects.input.reader._BLOCK_BYTES", block)
    reading = Reading(max_line_bytes=100)
    assert reading.read(start + long(100) + ending)[0].raw == long(100)
    for content in (start + long(101) + ending, start + long(100) + b" " + ending):
        text = Reading(max_line_bytes=100).error(content)
        assert text.startswith("line 1: longer than 100 bytes")
        assert "max_line_bytes" in text


def test_a_line_without_end_is_not_read_to_its_end(pipe: Pipe) -> None:
    """The bound holds before the line break comes: memory is bounded."""
    reading = Reading(max_line_bytes=1000)
    pipe.write(STATE + b"\n" + b"x" * 1001)
    assert reading.error(pipe.file).startswith("line 2: longer than 1000 bytes")
    assert len(reading.messages) == 1
    reading.wake_up.close()


@pytest.mark.parametrize("levels", [1, 2, 3, 100])
def test_max_depth_is_exact(levels: int) -> None:
    """The message itself is the first level."""
    line = deep(levels) if levels > 1 else STATE.replace(b"{}", b"0")
    assert Reading(max_depth=levels).read(line)[0].raw == line
    text = Reading(max_depth=levels).error(STATE.replace(b"{}", b"0") + b"\n" + deep(levels + 1))
    assert text.startswith(f"line 2: objects and arrays nested deeper than {levels} levels")
    assert "max_depth" in text


@pytest.mark.parametrize(
    "text", ["[" * 50, '\\"' + "[{" * 50, "\\\\", '\\\\\\"' + "{" * 50, "}" * 50 + "[" * 50]
)
def test_brackets_in_strings_are_no_levels(text: str) -> None:
    """Whatever is escaped around them; what comes after the string counts again."""
    inside = f'"{text}",[[["{text}"]]]'.encode()
    line = b'{"type":"STATE","value":[' + inside + b"]}"
    assert json.loads(line)
    assert Reading(max_depth=5).read(line)[0].raw == line
    assert "deeper than 4 levels" in Reading(max_depth=4).error(line)


def test_neighbouring_brackets_are_no_levels() -> None:
    """Depth is counted, not brackets."""
    line = b'{"type":"STATE","value":[' + b"{},[]," * 1000 + b"1]}"
    assert Reading(max_depth=3).read(line)[0].raw == line
    assert "deeper than 2 levels" in Reading(max_depth=2).error(line)


@given(JSON)
def test_depth_is_that_of_the_value(value: Any) -> None:
    """Law: a message is read by a bound of its depth, and not by one less."""

    def depth(part: Any) -> int:
        if isinstance(part, dict):
            return 1 + max(map(depth, part.values()), default=0)
        return 1 + max(map(depth, part), default=0) if isinstance(part, list) else 0

    line = json.dumps({"type": "STATE", "value": value}).encode()
    levels = 1 + depth(value)
    assert parse(line, levels).raw == line
    if levels > 1:
        with pytest.raises(MessageError, match="levels"):
            parse(line, levels - 1)


@pytest.mark.parametrize(
    "line",
    [
        deep(200_000),
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"type":"STATE","value":' + b"[" * 200_000,
    ],
)
@pytest.mark.parametrize("bound", [100, 1_000_000])
def test_200_000_levels_are_an_error_and_no_crash(line: bytes, bound: int) -> None:
    """Whatever the bound: the decoders' own bounds hold too."""
    assert Reading(max_depth=bound).error(line).startswith("line 1: ")


def test_a_string_of_brackets_costs_no_memory() -> None:
    """Looking at depth takes a few copies of the line at most."""
    line = b'{"type":"STATE","value":"' + b'[\\"' * 1_000_000 + b'"}'
    reader = Reading().reader
    tracemalloc.start()
    try:
        reader.read_message(line)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(line)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"secret", "on stdout (column 1)"),
        (b'{"type":"STATE","secret":1,}', "not JSON"),
        (b'{"type":"STATE"} secret', "not JSON"),
        (b'{"type":"STATE","value":"secret', "not JSON"),
        (b'"secret"', "not a JSON object"),
        (b'["secret"]', "not a JSON object"),
        (b"NaN", "not a JSON object"),
        (b'{"secret":1}', "without a `type`"),
        (b'{"type":null,"secret":1}', "without a `type`"),
        (b'{"type":5,"secret":1}', "without a `type`"),
        (b'{"type":["secret"]}', "without a `type`"),
        (b'{"secret":NaN}', "without a `type`"),
        (b"\xff\xfesecret", "not JSON"),
        (b'{"type":"STATE","value":"\x01secret"}', "not JSON"),
        (b"{'type':'secret'}", "not JSON"),
    ],
)
def test_what_is_no_message(reading: Reading, line: bytes, sentence: str) -> None:
    """One error with the line's number and the kind of fault, and never the line itself."""
    text = reading.error(STATE + b"\n" + line + b"\n" + STATE)
    assert text.startswith("line 2: ")
    assert sentence in text
    assert "secret" not in text
    assert len(reading.messages) == 1, "what came before was handed on, what comes after was not"


# Sources.


def test_every_source_gives_the_same(tmp_path: Path, pipe: Pipe) -> None:
    """A pipe, a file as bytes or as text, and text or bytes in memory."""
    content = BOM + STATE + b'\r\n{"type":"RECORD","record":{"a":"\xc3\xa9"}}\n\n' + STATE
    path = tmp_path / "tap.jsonl"
    path.write_bytes(content)
    pipe.write(content)
    pipe.end()
    with path.open("rb") as binary, path.open(encoding="utf-8") as text:
        sources = [
            pipe.file,
            binary,
            text,
            io.BytesIO(content),
            io.StringIO(content.decode(), newline=""),
        ]
        read = [Reading().read(source) for source in sources]
    assert all(messages == read[0] for messages in read)
    assert len(read[0]) == 3


def test_stdin_is_the_default(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """As bytes: the locale has no say."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(STATE), encoding="ascii"))
    assert reading.read(None)[0].raw == STATE


@given(st.lists(st.integers(1, 40), max_size=20), st.data())
def test_blocks_make_no_difference(sizes: list[int], data: st.DataObject) -> None:
    """Law: wherever a pipe's blocks end, the lines are the same."""
    content = b"\n".join(b'{"type":"STATE","value":%d}' % (10**size) for size in sizes)
    cuts = data.draw(st.sets(st.integers(0, len(content)), max_size=5))
    edges = [0, *sorted(cuts), len(content)]
    source = Pipe()
    pieces = [content[start:end] for start, end in pairwise(edges) if end > start]

    def feed() -> None:
        # One block at each wait: what is read at once is what was written at once.
        if pieces:
            source.write(pieces.pop(0))
        else:
            source.end()

    reading = Reading()
    reading.before_wait = feed
    read = [message.raw for message in reading.read(source.file)]
    assert read == [line for line in content.split(b"\n") if line]
    source.close()
    reading.wake_up.close()


# Stops and waits.


def test_a_stop_ends_an_idle_wait_at_once(reading: Reading, pipe: Pipe) -> None:
    """A tap that is silent for ever does not hold it."""
    waiting = threading.Event()
    reading.before_wait = waiting.set
    run = BackgroundCall(reading.read, pipe.file)
    assert waiting.wait(PATIENCE)
    reading.wake_up.stop()
    assert run.join() == []


def test_a_stop_before_the_reading(reading: Reading, pipe: Pipe) -> None:
    """Nothing is read, although something is there."""
    pipe.write(STATE + b"\n")
    reading.wake_up.stop()
    assert reading.read(pipe.file) == []


def test_lines_that_were_read_are_handed_on_after_a_stop(reading: Reading, pipe: Pipe) -> None:
    """The whole ones; half a line is not a message yet."""
    pipe.write((STATE + b"\n") * 3 + STATE)
    reading.on_message = lambda _: reading.wake_up.stop()
    assert len(reading.read(pipe.file)) == 3


def test_a_stop_ends_reading_from_memory(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's runner is stopped between blocks."""
    monkeypatch.setattr("target_segment_objects.input.reader._BLOCK_BYTES", len(STATE) + 1)
    reading.on_message = lambda _: reading.wake_up.stop()
    assert len(reading.read((STATE + b"\n") * 3)) == 1


def test_a_wake_without_a_stop_calls_before_wait_again(reading: Reading, pipe: Pipe) -> None:
    """Another thread has something for the reading one; then the wait goes on."""
    calls: list[int] = []

    def before_wait() -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            reading.wake_up.set()
            reading.wake_up.set()
        elif len(calls) == 3:
            pipe.write(STATE + b"\n")
        else:
            pipe.end()

    reading.before_wait = before_wait
    assert len(reading.read(pipe.file)) == 1
    assert calls == [0, 1, 2, 3], "a wake is used up by the wait that it ends"


def test_the_timeout_of_before_wait_ends_the_wait(reading: Reading, pipe: Pipe) -> None:
    """A deadline passes without any input: `before_wait` is asked again."""
    answers = [0.0, 0.001, 0.0]

    def before_wait() -> float:
        if not answers:
            reading.wake_up.stop()
            return 0.0
        return answers.pop()

    reading.before_wait = before_wait
    assert reading.read(pipe.file) == []
    assert answers == []


def test_a_full_pipe_wakes_too(reading: Reading, pipe: Pipe) -> None:
    """However often it is woken, `set` does not block."""
    reading.wake_up.open()
    for _ in range(100_000):
        reading.wake_up.set()
    reading.wake_up.stop()
    assert reading.read(pipe.file) == []


def test_a_wake_up_that_is_not_open_or_closed_is_harmless() -> None:
    """A signal may come before the reading and after it."""
    wake_up = WakeupPipe()
    wake_up.set()
    wake_up.stop()
    wake_up.open()
    wake_up.open()
    wake_up.close()
    wake_up.close()
    wake_up.set()
    assert wake_up.stopped


def test_an_error_of_a_callback_is_reported_too(reading: Reading) -> None:
    """What was read before it is still to be delivered, whoever found the error."""
    wrong = MessageError("a stream without a schema", line=1)

    def refuse(_: Message) -> None:
        raise wrong

    reading.on_message = refuse
    with pytest.raises(MessageError):
        reading.read(STATE)
    assert reading.failures == [wrong]
