"""How large the matrices are that ran, told at the end of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

SIZES = pytest.StashKey[dict[str, int]]()


@pytest.fixture(scope="session")
def matrix_sizes(pytestconfig: pytest.Config) -> dict[str, int]:
    """Cases that ran, by the name of their matrix; a module adds what it has run."""
    return pytestconfig.stash.setdefault(SIZES, {})


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One line a matrix."""
    for name, size in sorted(terminalreporter.config.stash.get(SIZES, {}).items()):
        terminalreporter.write_line(f"{name}: {size} cases")
