"""Objects become gzip parts: in order, within the limit, and spooled where nobody else reads."""

from __future__ import annotations

import gzip
import io
import os
import resource
import stat
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.bulk.parts import Block, Part, PartSplitter, PartWriter
from target_segment_objects.delivery.bulk.spool import Spool
from target_segment_objects.errors import SpoolError
from tests.builders import BackgroundCall

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 8 << 20


def written(
    lines: list[bytes], size: int = 512_000_000, level: int = 6, at_once: int = 1
) -> list[Part]:
    """All parts of some lines, fed in blocks of this many."""
    cutter, writer = PartSplitter(size), PartWriter(Spool())
    blocks: list[Block] = []
    for start in range(0, len(lines), at_once):
        some = lines[start : start + at_once]
        blocks += cutter.feed(b"".join(line + b"\n" for line in some), len(some))
    blocks += cutter.flush()
    assert not cutter.flush()
    return [part for block in blocks if (part := writer.write(block, level)) is not None]


def content(part: Part) -> bytes:
    """A part's lines, unzipped."""
    with part.open() as file:
        zipped = file.read()
    assert zipped is not None
    assert len(zipped) == part.compressed
    return gzip.decompress(zipped)


def random_bytes(size: int) -> bytes:
    """Bytes that cannot be compressed, without line breaks."""
    return os.urandom(size).replace(b"\n", b"\r")


@given(
    st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b""))),
    st.integers(1, 150),
    st.integers(0, 9),
    st.integers(1, 20),
)
def test_unzipped_in_order_the_parts_are_the_lines(
    lines: list[bytes], size: int, level: int, at_once: int
) -> None:
    """Law: nothing is lost or moved; only a part of one object may exceed the limit."""
    parts = written(lines, size, level, at_once)
    assert b"".join(map(content, parts)) == b"".join(line + b"\n" for line in lines)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert sum(part.objects for part in parts) == len(lines)
    for part, after in zip(parts, [*parts[1:], None], strict=False):
        found = content(part)
        assert len(found) == part.size
        assert found.count(b"\n") == part.objects >= 1
        assert part.size <= size or part.objects == 1
        if after is not None:
            first = content(after).split(b"\n")[0]
            assert part.size + len(first) + 1 > size, "a part is closed when it must be"


def test_the_limit_is_exact() -> None:
    """Lines of exactly the limit are one part, line breaks counted; one byte more makes two."""
    assert [part.size for part in written([b"x" * 9] * 3, 30)] == [30]
    assert [part.size for part in written([b"x" * 9] * 3, 29)] == [20, 10]


def test_a_limit_of_one_byte_makes_a_part_of_every_object() -> None:
    """A part has at least one object."""
    parts = written([b"{}", b"{}", b"{}"], 1)
    assert [part.objects for part in parts] == [1, 1, 1]


def test_lines_are_gathered_to_a_mib() -> None:
    """The compressor gets smaller blocks only where a part ends."""
    line = b"x" * 99_999 + b"\n"
    cutter = PartSplitter(5_000_000)
    blocks = [block for _ in range(50) for block in cutter.feed(line, 1)]
    assert [(len(block.lines), block.objects) for block in blocks] == [(1_100_000, 11)] * 4
    assert not any(block.ends_part for block in blocks)
    (last,) = cutter.feed(line, 1)
    assert (len(last.lines), last.objects, last.ends_part) == (600_000, 6, True)


def test_what_comes_in_a_large_block_stays_in_it() -> None:
    """It is not copied, and follows the lines that were collected before it."""
    line = b"x" * 99_999 + b"\n"
    cutter = PartSplitter(1_000_000)
    assert not cutter.feed(line, 1)
    many = line * 7
    before, whole = cutter.feed(many, 7)
    assert before == (line, 1, False)
    assert whole.lines is many
    assert whole == (many, 7, False)
    assert cutter.feed(line * 3, 3) == [(line * 2, 2, True)]
    assert cutter.flush() == [(line, 1, True)]


def test_lines_that_straddle_a_limit_are_cut_between_two_objects() -> None:
    """The objects of each block are counted; an object larger than a part is a part alone."""
    lines = b"aaaa\nbb\n" + b"c" * 20 + b"\nd\ne\n"
    cutter = PartSplitter(10)
    blocks = [*cutter.feed(b"first\n", 1), *cutter.feed(lines, 5), *cutter.flush()]
    assert blocks == [
        (b"first\n", 1, True),
        (b"aaaa\nbb\n", 2, True),
        (b"c" * 20 + b"\n", 1, True),
        (b"d\ne\n", 2, True),
    ]


def test_no_object_no_part() -> None:
    """Without an object there is no part."""
    assert written([]) == []


def test_a_part_is_read_as_often_as_it_must_be_sent() -> None:
    """It is read from its start, also after seeking, and never beyond its end."""
    parts = written([b"a" * 50, b"b" * 50, b"c" * 50], 1)
    middle = parts[1]
    with middle.open() as file:
        whole = file.read()
        assert file.read(10) == b""
        assert (file.readable(), file.seekable()) == (True, True)
        assert file.seek(0) == 0
        assert file.read(5) == (whole or b"")[:5]
        assert file.tell() == 5
        assert file.seek(-1, os.SEEK_END) == middle.compressed - 1
        assert file.seek(100_000) == middle.compressed
        assert file.seek(-100_000, os.SEEK_CUR) == 0
    assert gzip.decompress(whole or b"") == content(middle) == b"b" * 50 + b"\n"


def test_moving_to_disk_keeps_the_bytes(tmp_path: Path) -> None:
    """Above 8 MiB the spool is a file; the bytes read before and after are the same."""
    spool = Spool(str(tmp_path))
    pieces = [random_bytes(3 << 20) for _ in range(4)]
    for number, piece in enumerate(pieces, 1):
        spool.append(piece)
        assert (spool._file is not None) is (number * len(piece) > MEMORY)
        together = b"".join(pieces[:number])
        assert spool.read(0, len(together)) == together
        assert spool.read(len(together) - 10, 100) == together[-10:]
    assert spool.size == sum(map(len, pieces))
    spool.close()


def test_exactly_8_mib_stay_in_memory(tmp_path: Path) -> None:
    """One byte more is written to disk."""
    spool = Spool(str(tmp_path))
    spool.append(bytes(MEMORY))
    in_memory = spool._file is None
    spool.append(b"x")
    assert (in_memory, spool._file is None) == (True, False)
    assert spool.read(MEMORY - 1, 2) == b"\0x"
    spool.close()


def test_the_file_has_no_name_and_is_the_users_alone(tmp_path: Path) -> None:
    """A run that is killed leaves nothing behind, and nobody else can read it."""
    spool = Spool(str(tmp_path))
    spool.append(bytes(MEMORY + 1))
    assert list(tmp_path.iterdir()) == []
    assert spool._file is not None
    found = os.fstat(spool._file.fileno())
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_dev == tmp_path.stat().st_dev
    assert found.st_nlink == 0
    spool.close()


def test_a_sealed_part_is_read_while_another_thread_appends(tmp_path: Path) -> None:
    """Reading continues through the move to disk."""
    spool = Spool(str(tmp_path))
    writer = PartWriter(spool)
    block = Block(random_bytes(1 << 20) + b"\n", 1, ends_part=True)
    sealed = writer.write(block, 0)
    assert sealed is not None
    expected = content(sealed)
    ready, enough = threading.Event(), threading.Event()

    def read() -> int:
        reads = 0
        while not enough.is_set():
            assert content(sealed) == expected
            reads += 1
            ready.set()
        return reads

    reader = BackgroundCall(read)
    assert ready.wait(10)
    while spool.size < 3 * MEMORY:
        writer.write(block, 0)
    enough.set()
    assert reader.join() >= 1
    spool.close()


@pytest.mark.parametrize("size", [10, MEMORY + 1])
def test_a_closed_spool(tmp_path: Path, size: int) -> None:
    """It returns no bytes, accepts none, and may be closed again."""
    spool = Spool(str(tmp_path))
    spool.append(bytes(size))
    spool.close()
    spool.close()
    assert spool.read(0, 10) == b""
    with pytest.raises(SpoolError, match="closed"):
        spool.append(b"x")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """The error names the folder and the setting."""
    spool = Spool(str(tmp_path / "gone"))
    spool.append(bytes(MEMORY))
    with pytest.raises(SpoolError) as caught:
        spool.append(b"x")
    assert str(tmp_path / "gone") in str(caught.value)
    assert "`spool_dir`" in str(caught.value)


def fill_up(folder: str) -> None:
    """Run by the next test in a process that may write files of 10 MB at most."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))
    spool = Spool(folder)
    taken = []
    try:
        while True:
            taken.append(random_bytes(1 << 20))
            spool.append(taken[-1])
    except SpoolError as error:
        sys.stdout.write(str(error))
    safe = b"".join(taken[:-1])
    assert spool.read(0, len(safe)) == safe
    spool.close()


def test_a_full_disk_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    """The system refuses the write; the bytes written before can still be read."""
    code = "import sys; from tests.delivery.test_parts import fill_up; fill_up(sys.argv[1])"
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "cannot be written: File too large" in run.stdout
    assert str(tmp_path) in run.stdout
    assert "`spool_dir`" in run.stdout


@pytest.mark.parametrize("level", [0, 1, 9])
def test_the_level_is_the_compressors(level: int) -> None:
    """Level 0 stores and level 9 compresses well; both are gzip."""
    part = written([b"x" * 100_000], level=level)[0]
    assert content(part) == b"x" * 100_000 + b"\n"
    assert (part.compressed > part.size) is (level == 0)


def test_a_part_is_a_file_to_whoever_sends_it() -> None:
    """A buffered reader gets the same bytes."""
    part = written([b"x" * 100_000])[0]
    with io.BufferedReader(part.open()) as file:
        assert gzip.decompress(file.read()) == content(part)


def test_no_folder_for_temporary_files_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only system, the error names the setting that helps."""

    def none(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    spool = Spool()
    with pytest.raises(SpoolError, match=r"system's folder for temporary files.*`spool_dir`"):
        spool.append(b"x" * (9 << 20))
