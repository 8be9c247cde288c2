"""A class name denotes one class, an identifier says what it holds, and modules are short."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = sorted((ROOT / "target_segment_objects").rglob("*.py"))
FILES = [
    *PACKAGE,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").glob("*.py")),
]

MAX_LINES = 350
DECLARATIONS = "settings/declared.py"

VAGUE_WORDS = frozenset(
    ["told", "made", "each", "way", "ways", "place", "places", "odd", "roomy", "looks", "doubtful"]
)
"""Words that do not say what kind of thing a name holds."""
NAMED_BY_OTHERS = {"connection_made"}
"""Names that a library prescribes."""


def test_no_class_name_denotes_two_classes() -> None:
    """In the package, each class has a name of its own."""
    files = defaultdict(list)
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in files.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_short(path: Path) -> None:
    """A module of the package has at most 350 lines, except the settings' declarations."""
    name = path.relative_to(ROOT / "target_segment_objects").as_posix()
    if name != DECLARATIONS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def _vague_names(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    keywords = {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword)
    }
    names = {
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        # A keyword argument is named where its function is defined.
        if token.type == tokenize.NAME and token.start not in keywords
    }
    return {
        name
        for name in names - NAMED_BY_OTHERS
        if VAGUE_WORDS & set(name.lower().split("_")) or "work_off" in name.lower()
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_name_says_what_it_holds(path: Path) -> None:
    """No identifier of the package, the tests or the benchmarks contains a vague word."""
    assert _vague_names(path) == set()
