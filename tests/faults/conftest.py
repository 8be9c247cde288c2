"""Prints at the end of the run how many cases the matrices had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

SIZES = pytest.StashKey[dict[str, int]]()


@pytest.fixture(scope="session")
def matrix_sizes(pytestconfig: pytest.Config) -> dict[str, int]:
    """The number of cases by the name of their matrix; each module adds its own."""
    return pytestconfig.stash.setdefault(SIZES, {})


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print one line per matrix."""
    for name, size in sorted(terminalreporter.config.stash.get(SIZES, {}).items()):
        terminalreporter.write_line(f"{name}: {size} cases")
