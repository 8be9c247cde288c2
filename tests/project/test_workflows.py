"""The workflows: pinned actions, minimal permissions, every supported Python."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
WORKFLOWS = [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.y*ml"))]

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="the workflows are not part of this copy")

_USES = re.compile(r"^\s*(?:- )?uses:(.*)$", re.MULTILINE)
_PINNED = re.compile(r" [\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def _parsed(path: Path) -> dict[str, Any]:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(workflow, dict)
    return workflow


def _steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    """Each `uses:` has a full commit hash, and the version in a comment."""
    written = _USES.findall(path.read_text(encoding="utf-8"))
    assert [line for line in written if not _PINNED.fullmatch(line)] == []
    assert len(written) == sum("uses" in step for step in _steps(_parsed(path)))


def test_an_action_has_one_commit_everywhere() -> None:
    """All workflows pin an action to the same commit."""
    pins: dict[str, set[str]] = {}
    for path in FOLDER.glob("*.y*ml"):
        for line in _USES.findall(path.read_text(encoding="utf-8")):
            action, _, commit = line.strip().partition("@")
            pins.setdefault(action, set()).add(commit)
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_workflow_may_nothing_and_its_jobs_little(path: Path) -> None:
    """A workflow has no permissions; its jobs list theirs, and none may write code."""
    workflow = _parsed(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"].get("contents") in {None, "read"}
        assert set(job["permissions"]) <= {"contents", "attestations", "id-token"}


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_checkout_keeps_no_credentials(path: Path) -> None:
    """No step after a checkout finds a token in the checkout's configuration."""
    for step in _steps(_parsed(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_tests_run_on_every_supported_python() -> None:
    """CI tests exactly the versions in the package's classifiers."""
    named = metadata("target-segment-objects").get_all("Classifier") or []
    versions = [
        found[1]
        for line in named
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]
    matrix = _parsed(FOLDER / "ci.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python-version"] == versions
