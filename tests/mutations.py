"""Changes the package's source; a change is located by function and syntax, not by line or file.

A mutation names a definition (`Checkpoint.advance`, `StreamPlan.encode`, `_INTEGER`) and an
expression or statements in it. Both are compared as syntax trees, so that formatting, comments,
line numbers and the file do not matter. If several files have the same definition with the same
syntax in it, the file's name is given as a prefix: `gate:Gate._enter`.
"""

from __future__ import annotations

import ast
import importlib.util
import shutil
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ROOT", "AddressError", "Mutation", "copied", "mutated", "sources", "spoiled"]

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "target_segment_objects"


class AddressError(ValueError):
    """The code that a mutation replaces is not in the source exactly once."""


class Mutation(NamedTuple):
    """One change.

    Attributes:
        where: the definition's qualified name, with its file's name and a colon as a prefix if
            needed.
        old: an expression or statements that occur exactly once in the definition.
        new: the replacement; empty to delete statements.
    """

    where: str
    old: str
    new: str


class _Match(NamedTuple):
    """Syntax that was found: a field of `parent`, or an element of the list in that field."""

    path: str
    name: str
    node: ast.AST
    parent: ast.AST
    field: str
    at: int | None

    def __str__(self) -> str:
        return f"{self.path}:{getattr(self.node, 'lineno', 1)} ({self.name})"

    def put(self, count: int, nodes: list[ast.AST]) -> None:
        if self.at is None:
            setattr(self.parent, self.field, nodes[0])
        else:
            getattr(self.parent, self.field)[self.at : self.at + count] = nodes


def sources(folder: Path = ROOT) -> dict[str, str]:
    """Return the text of every module of the package, by its path in the package."""
    package = folder / PACKAGE
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def mutated(mutation: Mutation, texts: Mapping[str, str]) -> tuple[str, str]:
    """Return the path of the file that a mutation changes, and its new text.

    Raises:
        AddressError: the code is not there exactly once; the message lists candidates.
    """
    old, new = _parsed(mutation.old), _parsed(mutation.new)
    if _is_expression(old) and _is_expression(new):
        old, new = [old[0].value], [new[0].value]  # type: ignore[attr-defined]
    elif not new:
        new = [ast.Pass()]
    file, _, name = mutation.where.rpartition(":")
    last = name.rpartition(".")[2]
    trees = {
        path: ast.parse(text)
        for path, text in texts.items()
        if last in text and file in {"", Path(path).stem}
    }
    scopes = [
        (p, scope) for p, tree in trees.items() for n, scope in _definitions(tree) if n == name
    ]
    matches = [match for path, scope in scopes for match in _matches(path, name, scope, old)]
    if len(matches) != 1:
        raise AddressError(_explained(mutation, old, matches, scopes, texts))
    (match,) = matches
    match.put(len(old), new)
    return match.path, ast.unparse(ast.fix_missing_locations(trees[match.path])) + "\n"


def _parsed(text: str) -> list[ast.AST]:
    return list(ast.parse(textwrap.dedent(text)).body)


def _is_expression(nodes: list[ast.AST]) -> bool:
    return len(nodes) == 1 and isinstance(nodes[0], ast.Expr)


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield every function, class and assigned name below a node, with its qualified name."""
    for child in ast.iter_child_nodes(node):
        inside = prefix
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + child.name, child
            inside = f"{prefix}{child.name}."
        elif isinstance(child, (ast.Assign, ast.AnnAssign)):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, child
        yield from _definitions(child, inside)


def _matches(path: str, name: str, scope: ast.AST, wanted: list[ast.AST]) -> Iterator[_Match]:
    """Yield all occurrences of a sequence of nodes below a definition."""
    dumped = [ast.dump(node) for node in wanted]
    for parent in ast.walk(scope):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, ast.AST):
                if _are([value], wanted, dumped):
                    yield _Match(path, name, value, parent, field, None)
            elif isinstance(value, list):
                for index in range(len(value) - len(wanted) + 1):
                    if _are(value[index : index + len(wanted)], wanted, dumped):
                        yield _Match(path, name, value[index], parent, field, index)


def _are(nodes: list[ast.AST], wanted: list[ast.AST], dumped: list[str]) -> bool:
    # Comparing the types first is faster.
    return [*map(type, nodes)] == [*map(type, wanted)] and [*map(ast.dump, nodes)] == dumped


def _explained(
    mutation: Mutation,
    old: list[ast.AST],
    matches: list[_Match],
    scopes: list[tuple[str, ast.AST]],
    texts: Mapping[str, str],
) -> str:
    what = f"{mutation.where}: {mutation.old!r}"
    if matches:
        return f"{what} is there {len(matches)} times: {', '.join(map(str, matches))}"
    defined = ", ".join(f"{path}:{getattr(scope, 'lineno', 1)}" for path, scope in scopes)
    candidates = []
    for path, text in texts.items():
        names = list(_definitions(tree := ast.parse(text)))
        for match in _matches(path, "module", tree, old):
            # The innermost definition around it comes last.
            around = ["module", *(n for n, scope in names if match.parent in ast.walk(scope))]
            candidates.append(str(match._replace(name=around[-1])))
    return (
        f"{what} is not there; the definition is in {defined or 'no file'}, "
        f"and such syntax in {', '.join(candidates) or 'no file'}"
    )


def copied(folder: Path) -> Path:
    """Copy the package and its tests into a new folder, and return it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (PACKAGE, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@contextmanager
def spoiled(mutation: Mutation, folder: Path) -> Iterator[str]:
    """Apply a mutation to the copy in a folder; the value is the file that was changed.

    Raises:
        AddressError: see `mutated`.
    """
    texts = sources(folder)
    name, text = mutated(mutation, texts)
    path = folder / PACKAGE / name
    _write(path, text)
    try:
        yield name
    finally:
        _write(path, texts[name])


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # Python considers a compiled file current if size and second are the same.
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
