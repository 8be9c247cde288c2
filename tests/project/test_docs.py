"""The documentation's links work, and its lists are complete."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")},
)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def _anchor(heading: str) -> str:
    """Return a heading's anchor, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a page of the project names an existing file and heading."""
    wrong = []
    for link in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        goal = (page.parent / name).resolve() if name else page
        if not goal.exists() or (
            anchor and anchor not in {_anchor(h) for h in _HEADING.findall(_prose(goal))}
        ):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_in_an_index() -> None:
    """Each page under docs/ is linked from docs/README.md or docs/decisions/README.md."""
    indexes = [ROOT / "docs" / "README.md", ROOT / "docs" / "decisions" / "README.md"]
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for index in indexes
        for link in _LINK.findall(_prose(index))
    }
    pages = {page for page in PAGES if (ROOT / "docs") in page.parents}
    assert pages - linked - set(indexes) == set()


def test_every_dependency_has_its_reason() -> None:
    """The table in CONTRIBUTING.md lists exactly the run-time dependencies."""
    needed = {
        re.split(r"[^\w.-]", requirement)[0]
        for requirement in requires("target-segment-objects") or []
        if "extra ==" not in requirement
    }
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = contributing.partition("## Dependencies")[2]
    assert set(re.findall(r"^\| `([\w.-]+)` \| ", table, re.MULTILINE)) == needed


def test_every_command_of_make_is_listed() -> None:
    """Each public target of the Makefile has a row in CONTRIBUTING.md."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `make (\w+)` \|", contributing, re.MULTILINE))
    assert listed == set(phony.split()) - {"help"}


def test_every_file_of_the_package_is_on_the_architecture_page() -> None:
    """docs/architecture.md names every file; the client and the emulator as a whole."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "target_segment_objects"
    files = [path.relative_to(package) for path in package.rglob("[a-z]*.py")]
    own = [str(path) for path in files if path.parts[0] not in {"client", "emulator"}]
    assert sorted(name for name in own if f"`{name}`" not in page) == []


def test_every_folder_of_the_package_is_in_contributing() -> None:
    """CONTRIBUTING.md lists exactly the folders, with a sentence for each."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = ROOT / "target_segment_objects"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` \| \w", page, re.MULTILINE)) == folders


def test_the_files_that_contributing_names_are_there() -> None:
    """Each path in code style, of a file or a folder, is one of the checkout or of the package."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([\w./]+/(?:\w+\.\w+)?)`|`([\w/.]+/[\w.]+\.\w+)`", page)
    named = {first or second for first, second in paths}
    assert "settings/declared.py" in named
    folders = ROOT, ROOT / "target_segment_objects"
    assert [path for path in named if not any((f / path).exists() for f in folders)] == []
