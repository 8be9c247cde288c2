"""Creates docs/images/terminal-*.svg: `python -m tests.terminal_screenshots`.

Each shows a real session: the installed commands run on a pseudo-terminal, pyte interprets their
output, and rich draws the resulting screen. If a command names `my-tap`, this program is the tap.
The SVGs use no fonts from the network.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from tests.running import ROOT, environment, lines, record, schema, state
from tests.screens import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyte.screens import Char

_COLUMNS = 120
_LINES = 200  # of the terminal; empty lines at the end are not drawn
_LOADS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
# rich's names of colours to which pyte gives other names.
_COLOURS = {"brown": "yellow", "default": ""}


class Picture(NamedTuple):
    """An image: its name, and the commands that are typed for it."""

    name: str
    commands: Sequence[str]


PICTURES = (
    Picture(
        "sync",
        [
            (
                "cat examples/meltano/hotel.singer | "
                "target-segment-objects --config target.json > state.jsonl"
            ),
            (
                "segment-objects query warehouse.duckdb "
                '"select id, name, review_count from rooms order by id"'
            ),
        ],
    ),
    Picture(
        "reject",
        ["cat odd.singer | target-segment-objects --config target.json > state.jsonl; echo $?"],
    ),
    Picture("preview", ["segment-objects preview --config target.json < odd.singer; echo $?"]),
)

_RUNNING = "my-tap | target-segment-objects --config target.json > state.jsonl"
_ROOMS = schema("room", id="integer", name="string", review_count="integer")
_MANY = 60_000

_UNUSUAL = lines(
    schema(
        "Room",
        id="integer",
        name="string",
        reviewCount="integer",
        host={"type": "object", "properties": {"name": {"type": "string"}}},
    ),
    record("Room", id=1, name="Charming Beach Room", reviewCount="47", host={"name": "Leilani"}),
    record("Room", id=2, name="Attic", reviewCount="many", host=None),
    record("Room", id=3, name="Cellar", reviewCount=1, tags=["cold"]),
    state({"rooms": 3}),
)


def main() -> None:
    """Create all images."""
    goal = ROOT / "docs" / "images"
    goal.mkdir(exist_ok=True)
    for picture in PICTURES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shutil.copytree(ROOT / "examples", folder / "examples")
            (folder / "odd.singer").write_bytes(_UNUSUAL)
            (folder / "target.json").write_text('{"local_warehouse": "warehouse.duckdb"}\n')
            screen = pyte.Screen(_COLUMNS, _LINES)
            stream = pyte.ByteStream(screen)
            for command in picture.commands:
                stream.feed(_prompt(command))
                stream.feed(_typed(command, folder))
            (goal / f"terminal-{picture.name}.svg").write_text(_drawn(screen), encoding="utf-8")
    (goal / "terminal-progress.svg").write_text(_drawn(_in_mid_run()), encoding="utf-8")


def _in_mid_run() -> pyte.Screen:
    """Return the screen of a run that has read many records and waits for more."""
    read = f"{_MANY:,} records"
    rooms = (record("room", id=n, name=f"Room {n}", review_count=n % 90) for n in range(_MANY))
    screen = pyte.Screen(_COLUMNS, _LINES)
    with tempfile.TemporaryDirectory() as name:
        config = {"local_warehouse": "warehouse.duckdb"}
        with watch(Path(name), config, columns=_COLUMNS) as watched:
            watched.write(_ROOMS, *rooms)
            watched.read_until(lambda shown: any(line.startswith(read) for line in shown))
            pyte.ByteStream(screen).feed(_prompt(_RUNNING) + bytes(watched.raw))
    return screen


def _prompt(command: str) -> bytes:
    return b"\x1b[1;32m$\x1b[0;1m " + command.encode() + b"\x1b[0m\r\n"


def _typed(command: str, folder: Path) -> bytes:
    """Return what a command writes to its terminal until it ends."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(PATH=path, TERM="xterm-256color", LANG="C.UTF-8")
    env.pop("NO_COLOR", None)
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ):
        os.close(theirs)
        written = b""
        while block := _read(ours):
            written += block
    os.close(ours)
    return written


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux reports the end of a terminal
        return b""


def _drawn(screen: pyte.Screen) -> str:
    """Draw the screen as SVG, without the empty lines at the end."""
    rows = [screen.buffer[number] for number in range(screen.cursor.y + 1)]
    texts = [[row[column] for column in range(_COLUMNS)] for row in rows]
    while texts and not "".join(cell.data for cell in texts[-1]).strip():
        texts.pop()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 no file of ours
        console = Console(
            record=True, width=_COLUMNS, file=nowhere, force_terminal=True, highlight=False
        )
        for cells in texts:
            alike = groupby(cells, _style)
            line = Text.assemble(*(("".join(c.data for c in run), look) for look, run in alike))
            line.rstrip()
            console.print(line, soft_wrap=True)
        drawn = console.export_svg(
            title="target-segment-objects", theme=DIMMED_MONOKAI, unique_id="terminal"
        )
    return _LOADS.sub("", drawn)


def _style(cell: Char) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str | None:
    name = _COLOURS.get(name, name)
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    return re.sub(r"^bright", "bright_", name) or None


if __name__ == "__main__":
    main()
