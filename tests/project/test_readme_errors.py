"""docs/errors.md has exactly the program's messages, and all errors that end a run."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from target_segment_objects import errors
from target_segment_objects.faults import FAULT_SENTENCES
from target_segment_objects.reporting.remarks import CONVERSION_REMARKS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "target_segment_objects"
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")

# The first cell of a row is a message in code, with `…` for values.
_ROW = re.compile(r"^\| (?:`\w+` \| )?(`+)(.+?)\1 \|", re.MULTILINE)
_CODE = re.compile(r"^\| `(\w+)` \| ``?(.+?) ?``? \| ", re.MULTILINE)
_HOLE = "\0"
# Errors that end a run or a command, besides the classes of `errors`.
_RAISED = {
    *errors.__all__,
    "WrongValueError",
    "EmulatorError",
    "_MissingSchemaError",
}
_WARNS = {"warn", "warning", "_conclude"}


class Template(NamedTuple):
    """A text of the source, with `_HOLE` for each inserted value."""

    file: str
    line: int
    text: str

    @property
    def is_sentence(self) -> bool:
        """Whether it is a sentence, and not only a combination of values."""
        return len(self.text.replace(_HOLE, "").split()) > 2


def _template(node: ast.AST, file: str) -> Template | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return Template(file, node.lineno, re.sub(r"%[sd]", _HOLE, node.value))
    if isinstance(node, ast.JoinedStr):
        parts = [str(p.value) if isinstance(p, ast.Constant) else _HOLE for p in node.values]
        return Template(file, node.lineno, "".join(parts))
    return None


def _documented(tree: ast.AST) -> set[int]:
    """Return the docstrings among the nodes."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))


def _templates() -> list[Template]:
    """Return every text of a source file except docstrings."""
    found = []
    for file, tree in _sources():
        passed_over = _documented(tree)
        for node in ast.walk(tree):
            template = None if id(node) in passed_over else _template(node, file)
            if template is not None:
                found.append(template)
    return found


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _raised() -> list[Template]:
    """Return the sentences of errors that are raised and of warnings."""
    found = []
    for file, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and _name(node.func) in _RAISED | _WARNS:
                template = _template(node.args[0], file)
                if template is not None and template.is_sentence:
                    found.append(template)
    return found


TEMPLATES = _templates()
ROWS = [match[2].strip() for match in _ROW.finditer(PAGE)]
CLASSES = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)} - {
    "Attempt",
}
MESSAGES = [row for row in ROWS if row not in CLASSES]


def _fits(row: str, text: str) -> bool:
    """Tell whether a text has the words of a row in order, with something between them."""
    pieces = [re.escape(piece.strip()) for piece in row.split("…") if piece.strip()]
    return re.search(".*?".join(pieces), text, re.DOTALL) is not None


@pytest.mark.parametrize("row", MESSAGES)
def test_a_message_is_in_the_source(row: str) -> None:
    """Each message of the page is in the source, word for word."""
    assert len(row.replace("…", "")) > 10, "too short to be told from others"
    assert [template for template in TEMPLATES if _fits(row, template.text)] != []


@pytest.mark.parametrize(
    "template", [pytest.param(raised, id=f"{raised.file}:{raised.line}") for raised in _raised()]
)
def test_a_message_has_a_row(template: Template) -> None:
    """Each error that ends a run, and each warning, is explained on the page."""
    assert [row for row in MESSAGES if _fits(row, template.text)] != []


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_kind_of_error_has_a_row(name: str) -> None:
    """Each class of `errors` is on the page, once."""
    assert ROWS.count(name) == 1


def test_the_codes_of_faults_are_complete() -> None:
    """The table of rejects has every code, with its message."""
    documented = dict(_CODE.findall(PAGE))
    sentences = {code.value: text for (code, case), text in FAULT_SENTENCES.items() if not case}
    assert documented == sentences


def test_the_remarks_on_values_are_complete() -> None:
    """Each remark on values at the end of a run has a row, with its advice."""
    for remark, advice in CONVERSION_REMARKS.values():
        assert remark in MESSAGES
        assert f"| {advice} |" in PAGE
