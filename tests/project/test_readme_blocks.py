"""Parses every command and every block of configuration in the documentation.

Those that can run without the network are run: the README's by `test_readme.py`, Python's here,
Meltano's by `tests/meltano`, and those of `docs/preview.md` and `docs/report.md` by their own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from target_segment_objects import client
from target_segment_objects.client import SetApi, Transport
from target_segment_objects.commands.main import COMMANDS
from target_segment_objects.emulator import Emulator
from target_segment_objects.objects import SegmentObject
from target_segment_objects.settings.declared import DECLARED, Settings
from tests.project.test_docs import PAGES
from tests.running import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
# Indented code: only commands are written like that.
_INDENTED = re.compile(r"(?<=\n\n)(?:    \S.*\n)+")
# Blocks that another test compares with the program.
_OWN_TESTS = {
    "docs/preview.md": "tests/commands/test_preview.py",
    "docs/report.md": "tests/reporting/test_report_file.py",
}


class Block(NamedTuple):
    """A block of code in a page."""

    page: str
    line: int
    language: str
    text: str


def _blocks() -> Iterator[Block]:
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        content = path.read_text(encoding="utf-8")
        for found in _FENCE.finditer(content):
            indent = found["indent"]
            text = "".join(
                line.removeprefix(indent) for line in found["text"].splitlines(keepends=True)
            )
            yield Block(page, content.count("\n", 0, found.start()) + 1, found["language"], text)
        without = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), content)
        for found in _INDENTED.finditer(without):
            line = without.count("\n", 0, found.start()) + 1
            yield Block(page, line, "sh", found[0])


BLOCKS = list(_blocks())


def _of(*languages: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{block.page}:{block.line}")
        for block in BLOCKS
        if block.language in languages
    ]


def test_every_block_says_what_it_is() -> None:
    """Each block has a language that is known here, so that none is skipped."""
    known = {"sh", "json", "yaml", "toml", "python", "text", "http"}
    assert [block for block in BLOCKS if block.language not in known] == []


@pytest.mark.parametrize("page", [page for page in _OWN_TESTS if (ROOT / page).exists()])
def test_a_page_with_tests_of_its_own_has_them(page: str) -> None:
    """The test to which a page is left reads it."""
    test = (ROOT / _OWN_TESTS[page]).read_text(encoding="utf-8")
    assert Path(page).name in test


# Configuration.


def _is_right(settings: dict[str, Any]) -> bool:
    """Tell whether the target accepts these settings without a warning."""
    needed = {} if {"write_key", "local_warehouse"} & settings.keys() else {"write_key": KEY}
    problems: list[str] = []
    if set(settings.get("write_key", "")) == {"…"}:
        settings = {**settings, "write_key": KEY}
    Settings.from_config({**needed, **settings}, problems.append)
    return problems == []


@pytest.mark.parametrize("block", _of("json"))
def test_a_block_of_json_is_json(block: Block) -> None:
    """It can be parsed; if it is a configuration, the target accepts it."""
    if block.page in _OWN_TESTS:
        return
    content = json.loads(block.text)
    if isinstance(content, dict) and content.keys() & DECLARED.keys():
        assert _is_right(content)


@pytest.mark.parametrize("block", _of("yaml"))
def test_a_block_of_yaml_configures_the_loader(block: Block) -> None:
    """It can be parsed, and the target accepts its `config`."""
    content = yaml.safe_load(block.text)
    loaders = content.get("plugins", {}).get("loaders", [])
    for environment in content.get("environments", []):
        loaders += environment["config"]["plugins"]["loaders"]
    assert loaders
    for loader in loaders:
        assert loader["name"] == "target-segment-objects"
        settings = {
            # Meltano inserts the project's folder.
            name: value.replace("$MELTANO_PROJECT_ROOT", str(ROOT))
            if isinstance(value, str)
            else value
            for name, value in loader.get("config", {}).items()
        }
        assert _is_right(settings)


@pytest.mark.parametrize("block", _of("toml"))
def test_a_block_of_toml_is_toml(block: Block) -> None:
    """It can be parsed."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    assert toml.loads(block.text)


# Commands.


def _nothing(_words: list[str]) -> None:
    """A shell command, which is checked where it is run."""


def _make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for word in words[1:]:
        assert word in targets or word.startswith("ARGS=")


def _pip(words: list[str]) -> None:
    assert words[1] == "install"
    known = {"meltano", ".[emulator]", "target-segment-objects[emulator]", "--upgrade"}
    assert set(words[2:]) <= known


def _python(words: list[str]) -> None:
    assert words[1] == "-m"
    if words[2] in {"pytest", "venv"}:
        files = [word.partition("::") for word in words[3:] if word.startswith("tests/")]
        for file, _, test in files:
            assert f"def {test}(" * bool(test) in (ROOT / file).read_text("utf-8")
    else:
        assert importlib.util.find_spec(words[2]) is not None


def _segment_objects(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    for add in COMMANDS:
        add(subparsers)
    assert parser.parse_args(words[1:]).module


def _target(words: list[str]) -> None:
    options = [word for word in words[1:] if word.startswith("-")]
    assert {option.partition("=")[0] for option in options} <= {"--config", "--version", "--about"}


def _meltano(words: list[str]) -> None:
    command = next(word for word in words[1:] if not word.startswith("--environment"))
    assert command in {"install", "run", "invoke", "add"}
    if command in {"install", "run"}:
        project = yaml.safe_load((ROOT / "meltano.yml").read_text("utf-8"))["plugins"]
        names = {plugin["name"] for kind in project.values() for plugin in kind}
        asked = [word for word in words[words.index(command) + 1 :] if not word.startswith("-")]
        assert set(asked) <= names
    if "--environment" in " ".join(words):
        assert "--environment=prod" in words


_KNOWN: dict[str, Callable[[list[str]], None]] = {
    "make": _make,
    "pip": _pip,
    "python": _python,
    "python3": _python,
    ".venv/bin/python": _python,
    "segment-objects": _segment_objects,
    "target-segment-objects": _target,
    "meltano": _meltano,
    "git": _nothing,
    "echo": _nothing,
    "cat": _nothing,
    "export": _nothing,
    ".": _nothing,
    "my-tap": _nothing,
}


def _commands(line: str) -> Iterator[list[str]]:
    """Return the commands of a line as lists of words, without variables and redirections."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    command: list[str] = []
    redirected = False
    for word in words:
        if set(word) <= set("|&;"):
            yield command
            command = []
        elif set(word) <= set("<>"):
            redirected = True
        elif redirected:
            redirected = False
        elif command or not re.match(r"[A-Z_]+=", word):
            command.append(word)
    if command:
        yield command


@pytest.mark.parametrize("block", _of("sh"))
def test_a_command_is_one_that_can_be_run(block: Block) -> None:
    """Each names an existing target of the Makefile, module, plugin and options."""
    for line in block.text.splitlines():
        words = line.strip().split("   ")[0]  # text after a gap is a remark
        for command in _commands(words):
            _KNOWN[command[0]](command)


@pytest.mark.parametrize(
    "line", ["make tests", "segment-objects emulate", "python -m tests.nowhere", "rm -rf ."]
)
def test_a_wrong_command_is_found(line: str) -> None:
    """An unknown target, module, command or option fails."""
    with pytest.raises((AssertionError, SystemExit, KeyError)):
        test_a_command_is_one_that_can_be_run(Block("", 0, "sh", line))


# Python.


def _run_the_sync(objects_url: str, bulk_url: str) -> None:
    """The sync that the emulator's page leaves to its reader: one room."""
    assert objects_url == bulk_url
    with Transport(objects_url, KEY) as transport:
        room = SegmentObject("rooms", "2561341", b'{"review_count":48}')
        SetApi(transport).send("rooms", [room])


_GIVEN: dict[str, Any] = {"write_key": KEY, "run_the_sync": _run_the_sync}


def _output_of(block: Block) -> str | None:
    """Return the text block directly below a block: its output."""
    end = block.line + block.text.count("\n") + 1
    below = (other for other in BLOCKS if other.page == block.page and other.line == end + 2)
    return next((other.text for other in below if other.language == "text"), None)


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if b.language == "python"}))
def test_the_python_of_a_page_runs(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its blocks run in order, with a key, and with an emulator instead of Segment."""
    namespace = dict(_GIVEN)
    with Emulator() as segment:
        for name in ("OBJECTS_URLS", "BULK_URLS"):
            monkeypatch.setattr(client, name, {"oregon": segment.url})
        for block in (b for b in BLOCKS if (b.page, b.language) == (page, "python")):
            requests = len(segment.requests)
            partial(exec, compile(block.text, f"{page}:{block.line}", "exec"), namespace)()
            printed = capsys.readouterr().out
            assert _output_of(block) in {None, printed}
            if "_URLS[" in block.text:
                assert len(segment.requests) > requests
                assert segment.rows("rooms")
                assert segment.refusals == []
