"""Names: a class name denotes one class, an identifier says what it holds, modules stay short."""

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

STILL_TWICE = {"_Line"}
"""Class names that still denote two classes; none may be added."""
MAX_LINES = 350
DECLARATIONS = "settings/declared.py"
STILL_LONGER = {"client/transport.py", "singer/target.py"}
"""Modules that are to be split; none may be added."""

VAGUE_WORDS = frozenset(
    ["told", "made", "each", "way", "ways", "place", "places", "odd", "roomy", "looks", "doubtful"]
)
"""Words that do not say what kind of thing a name holds."""
NAMED_BY_OTHERS = {"connection_made"}
"""Names that a library prescribes."""

STILL_VAGUE: set[str] = {
    "target_segment_objects/delivery/bulk/compressor.py",
    "target_segment_objects/delivery/bulk/delivery.py",
    "target_segment_objects/errors.py",
    "target_segment_objects/reporting/counts.py",
    "target_segment_objects/reporting/progress.py",
    "target_segment_objects/reporting/report_file.py",
    "target_segment_objects/reporting/summary.py",
    "target_segment_objects/reporting/terminal.py",
    "target_segment_objects/reporting/warnings.py",
    "target_segment_objects/singer/stream_maps.py",
    "tests/client/test_address.py",
    "tests/client/test_advice.py",
    "tests/client/test_bulk_api.py",
    "tests/client/test_concurrency.py",
    "tests/client/test_deadlines.py",
    "tests/client/test_redaction.py",
    "tests/client/test_secrets.py",
    "tests/client/test_set_api.py",
    "tests/client/test_transport.py",
    "tests/commands/test_check.py",
    "tests/commands/test_cli.py",
    "tests/commands/test_command.py",
    "tests/commands/test_command_end.py",
    "tests/commands/test_command_input.py",
    "tests/commands/test_preview.py",
    "tests/commands/test_replay.py",
    "tests/commands/test_replay_laws.py",
    "tests/delivery/test_bulk_delivery.py",
    "tests/delivery/test_checkpoint.py",
    "tests/delivery/test_compression.py",
    "tests/delivery/test_parts.py",
    "tests/delivery/test_rejects.py",
    "tests/delivery/test_set_delivery.py",
    "tests/plan/test_values.py",
    "tests/reporting/test_progress.py",
    "tests/reporting/test_report.py",
    "tests/reporting/test_report_file.py",
    "tests/run/test_end.py",
    "tests/run/test_local_warehouse.py",
    "tests/run/test_retries.py",
    "tests/run/test_shutdown.py",
    "tests/run/test_state_machine.py",
    "tests/singer/test_captures.py",
    "tests/singer/test_maps_and_faults.py",
    "tests/singer/test_sdk_suite.py",
    "tests/singer/test_sdk_values.py",
    "tests/singer/test_stream_maps.py",
    "tests/singer/test_taps_as_they_are.py",
}
"""Files that still have such names; none may be added."""


def test_no_class_name_denotes_two_classes() -> None:
    """Whoever reads a class's name in the package finds one class of that name."""
    files = defaultdict(list)
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(path.relative_to(ROOT).as_posix())
    twice = {name: paths for name, paths in files.items() if len(paths) > 1}
    assert {name: paths for name, paths in twice.items() if name not in STILL_TWICE} == {}


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_short(path: Path) -> None:
    """A module of the package has at most 350 lines, except the settings' declarations."""
    name = path.relative_to(ROOT / "target_segment_objects").as_posix()
    if name not in {DECLARATIONS, *STILL_LONGER}:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def _vague_names(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    names = {
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME
    }
    return {
        name
        for name in names - NAMED_BY_OTHERS
        if VAGUE_WORDS & set(name.lower().split("_")) or "work_off" in name.lower()
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_name_says_what_it_holds(path: Path) -> None:
    """No identifier of the package, the tests or the benchmarks has a word that says nothing."""
    if path.relative_to(ROOT).as_posix() not in STILL_VAGUE:
        assert _vague_names(path) == set()
