"""A part is one gzip member whatever its levels; the level follows from leisure and what waits."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zlib_ng import zlib_ng

from target_segment_objects.delivery.bulk.gzip_member import GzipMember
from target_segment_objects.delivery.bulk.level import FAST, SMALL, AdaptiveLevel

ROOM = 4 << 20
MIB = 1 << 20

pieces = st.lists(
    st.tuples(
        st.one_of(st.binary(max_size=200), st.binary(max_size=20).map(lambda some: some * 3000)),
        st.integers(0, 9),
    ),
    min_size=1,
)


def member(parts: list[tuple[bytes, int]]) -> bytes:
    """The gzip member of some contents and their levels."""
    member = GzipMember()
    return b"".join(member.compress(content, level) for content, level in parts) + member.finish()


@given(pieces)
def test_one_member_whatever_the_levels(parts: list[tuple[bytes, int]]) -> None:
    """Law: every reader finds the contents, in one member and nothing after it."""
    expected = b"".join(content for content, _ in parts)
    zipped = member(parts)
    assert gzip.decompress(zipped) == expected
    assert zlib_ng.decompress(zipped, 31) == expected
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(zipped) == expected
    assert inflate.eof
    assert inflate.unused_data == b""


def test_the_gzip_command_takes_it() -> None:
    """Checksum and size are correct, through every change of the level."""
    command = shutil.which("gzip")
    if command is None:
        pytest.skip("the system has no gzip")
    blocks = [b'{"id":"%d"}\n' % level * 50_000 + os.urandom(999) for level in range(10)]
    parts = [(block, level) for level, block in enumerate(blocks)]
    found = subprocess.run(
        [command, "-dc"], input=member(parts), capture_output=True, check=True, timeout=30
    )
    assert found.stdout == b"".join(blocks)
    assert found.stderr == b""


def test_nothing_is_a_member_too() -> None:
    """An empty member is valid."""
    assert gzip.decompress(GzipMember().finish()) == b""


def test_its_bytes_tell_nothing_of_the_run() -> None:
    """It has no name and no time: the same content gives the same bytes."""
    header = gzip.GzipFile(fileobj=io.BytesIO(member([(b"x", 6)])))
    assert header.read() == b"x"
    assert header.mtime == 0
    assert member([(b"x", 6)]) == member([(b"x", 6)])


def test_a_higher_level_is_smaller() -> None:
    """This also holds from one library to the other; level 0 only stores."""
    lines = b"".join(
        b'{"id":"%d","collection":"rooms","properties":{"name":"Room %d","beds":%d}}\n'
        % (number, number**5 % 9973, number**3 % 7)
        for number in range(30_000)
    )
    sizes = [len(member([(lines, level)])) for level in range(10)]
    assert sizes[0] > len(lines)
    assert sizes[:7] == sorted(sizes[:7], reverse=True)
    assert sizes[9] < sizes[6]


@pytest.mark.parametrize("level", range(10))
def test_a_chosen_level_stays(level: int) -> None:
    """However long the thread was idle, and whatever is in the queue."""
    adaptive = AdaptiveLevel(level, ROOM)
    assert {adaptive.choose(MIB, 10.0, 0), adaptive.choose(MIB, 0.0, ROOM)} == {level}


def levels(level: AdaptiveLevel, blocks: int, waited: float, queued: int = 0) -> list[int]:
    """The levels of so many blocks of a MiB."""
    return [level.choose(MIB, waited, queued) for _ in range(blocks)]


def test_behind_a_slow_tap_parts_become_small() -> None:
    """8 MB/s: the thread is idle for an eighth of a second for each MiB."""
    assert levels(AdaptiveLevel("auto", ROOM), 20, waited=0.125) == [SMALL] * 20


def test_behind_a_fast_tap_nobody_waits() -> None:
    """300 MB/s: the fast level is chosen from the first block on."""
    assert levels(AdaptiveLevel("auto", ROOM), 20, waited=0.002) == [FAST] * 20
    assert levels(AdaptiveLevel("auto", ROOM), 20, waited=0.0, queued=ROOM) == [FAST] * 20


def test_a_queue_that_is_more_than_half_full_is_compressed_fast() -> None:
    """This holds even if the thread was idle before."""
    level = AdaptiveLevel("auto", ROOM)
    assert level.choose(MIB, 1.0, ROOM // 2) == SMALL
    assert level.choose(MIB, 1.0, ROOM // 2 + 1) == FAST


def test_a_tap_that_comes_in_bursts_has_small_parts_all_the_same() -> None:
    """With a page of 2 MiB every half second, there is time for both blocks."""
    level = AdaptiveLevel("auto", ROOM)
    found = [
        level.choose(MIB, waited, waiting)
        for _ in range(10)
        for waited, waiting in [(0.5, MIB), (0, 0)]
    ]
    assert found == [SMALL] * 20


def test_a_tap_that_becomes_fast_is_followed_within_blocks() -> None:
    """The level changes within ten blocks, in both directions."""
    level = AdaptiveLevel("auto", ROOM)
    levels(level, 10, waited=0.125)
    assert levels(level, 10, waited=0.002)[-1] == FAST
    assert levels(level, 10, waited=0.125)[-1] == SMALL


def test_what_the_small_level_costs_is_measured() -> None:
    """Data that is hard to compress needs a slower tap; small blocks are not measured."""
    level = AdaptiveLevel("auto", ROOM)
    assert level.choose(MIB, 0.125, 0) == SMALL
    for _ in range(20):
        level.observe(SMALL, 100, 1.0)
        level.observe(FAST, MIB, 1.0)
    assert level.choose(MIB, 0.125, 0) == SMALL
    for _ in range(20):
        level.observe(SMALL, MIB, 0.05)
    assert levels(level, 20, waited=0.125) == [FAST] * 20
    assert levels(level, 20, waited=0.2)[-1] == SMALL
