"""The README is correct: its commands run as written, and its examples are true."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.settings.declared import DECLARED
from tests.running import COMMAND, KEY, environment, lines, record, run, schema

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = Path(sys.executable).parent
WARNINGS_AS_ERRORS = shlex.join(COMMAND[1:-2])


def _section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _rows(text: str) -> list[list[str]]:
    """Return the rows of the tables in a text, heads included, each as a list of cells."""
    lines_of_tables = re.findall(r"^\| ?(.*) \|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines_of_tables]


def _command(folder: Path, name: str, module: str) -> None:
    """Create a command as it is after `pip install`, first in the search path."""
    file = folder / name
    file.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" {WARNINGS_AS_ERRORS} -m {module} "$@"\n', "utf-8"
    )
    file.chmod(0o755)


def test_the_commands_print_what_it_says(tmp_path: Path) -> None:
    """In a clone, after the installation, each command of "Usage" works as written."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    commands = tmp_path / "bin"
    commands.mkdir()
    _command(commands, "target-segment-objects", "target_segment_objects.target")
    _command(commands, "segment-objects", "target_segment_objects.commands.main")
    install, use, look = _blocks(_section("Usage"), "sh")
    assert "pip install" in install
    ran = subprocess.run(
        ["/bin/sh", "-ec", f"{use}exec >look\n{look}"],
        cwd=tmp_path,
        env=environment(PATH=f"{commands}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert [ran.stdout] == _blocks(_section("Usage"), "text")
    looked = (tmp_path / "look").read_text(encoding="utf-8")
    assert "No record would be rejected." in looked
    assert "OK       local warehouse" in looked
    assert (tmp_path / "state.jsonl").read_text(encoding="utf-8").startswith("{")


def test_meltano_runs_as_its_page_says() -> None:
    """The commands of "Meltano" are the first ones of docs/meltano.md, which tests/meltano runs."""
    (readme,) = _blocks(_section("Meltano"), "sh")
    page = (ROOT / "docs" / "meltano.md").read_text(encoding="utf-8")
    assert _blocks(page, "sh")[0].startswith(readme)


def test_the_settings_have_their_defaults() -> None:
    """Each setting in the table exists and has that default."""
    _, *rows = _rows(_section("Settings"))
    assert rows
    for names, default, _ in rows:
        name = re.findall(r"`(\w+)`", names)[0]
        declared = DECLARED[name].default
        assert default in {f"`{declared}`", str(declared)} or declared in (None, {})


def _declared(kind: Any) -> Any:
    """Return the schema of a property, from the word or the object in the table."""
    if isinstance(kind, dict):
        return {"type": "object", "properties": {n: _declared(k) for n, k in kind.items()}}
    if kind == "date-time":
        return {"type": "string", "format": kind}
    return {"type": kind}


def test_a_room_becomes_what_it_says(tmp_path: Path) -> None:
    """The record at the start of "How records are mapped" arrives as the object after it."""
    given, expected = map(json.loads, _blocks(_section("How records are mapped"), "json"))
    host = {"name": "string", "contact": {"phone": "string"}}
    described = schema(
        "room", id="integer", name="string", nightly_rate="number", host=_declared(host),
        amenities="array",
    )  # fmt: skip
    with Emulator() as segment:
        config = {"write_key": KEY, "bulk_url": segment.url}
        ran = run(tmp_path, config, lines(described, record("room", **given)))
        assert ran.code == 0, ran.log
        assert segment.rows("rooms") == [{"id": "2561341", **expected}]


def _examples() -> list[list[str]]:
    _, *rows = _rows(_section("How records are mapped"))
    return rows


def test_the_table_of_examples_is_true(tmp_path: Path) -> None:
    """Each record of the table becomes the object next to it, with its id and properties."""
    rows = _examples()
    assert len(rows) > 5
    messages: list[dict[str, Any] | str] = []
    collections = {}
    for index, (_, kinds, given, _, _) in enumerate(rows):
        stream = f"s{index}"
        collections[stream] = "row_" + "abcdefghijklmnopqrstuvwxyz"[index]
        properties = {"id": "integer"} | json.loads(kinds.strip("`"))
        messages += [
            schema(stream, **{name: _declared(kind) for name, kind in properties.items()}),
            f'{{"type": "RECORD", "stream": "{stream}", "record": {given.strip("`")}}}',
        ]
    with Emulator() as segment:
        config = {
            "write_key": KEY,
            "objects_url": segment.url,
            "method": "set",
            "collections": collections,
        }
        ran = run(tmp_path, config, lines(*messages))
        assert ran.code == 0, ran.log
        for index, (what, _, _, key, expected) in enumerate(rows):
            (row,) = segment.rows(collections[f"s{index}"])
            assert row.pop("id") == key.strip("`"), what
            assert json.dumps(row) == json.dumps(json.loads(expected.strip("`"))), what


def test_the_client_prints_what_it_says() -> None:
    """The client's example is a complete program; its output is the block below it."""
    (program,) = _blocks(_section("From Python, without Singer"), "python")
    (printed,) = _blocks(_section("From Python, without Singer"), "text")
    ran = subprocess.run(
        [*COMMAND[:-2], "-c", program],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == printed


@pytest.mark.parametrize("image", sorted(set(re.findall(r"\]\((docs/images/[^)]+)\)", README))))
def test_a_picture_loads_nothing(image: str) -> None:
    """Every picture exists; an SVG loads no fonts or other resources."""
    content = (ROOT / image).read_bytes()
    assert content
    if image.endswith(".svg"):
        assert re.findall(rb"url\((?!#)|(?:href|src)=\"(?!#)|@import", content) == []
