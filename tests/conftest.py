"""The Hypothesis profiles and the fixtures of all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# "ci" draws the same examples every time, so that a failure is caused by the change; "dev" draws
# new ones; "deep" draws many. A failure prints the blob that repeats it. HYPOTHESIS_PROFILE selects
# the profile.
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("deep", deadline=None, print_blob=True, max_examples=5_000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if "CI" in os.environ else "dev")
)

_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of captures and corpora beside the checkout; the test is skipped without it."""
    folder = _ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the shared folder beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def _signals_stay() -> Iterator[None]:
    """Check that no test leaves a signal ignored or blocked: later processes would not end."""

    def state() -> list[object]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return [*handlers, signal.pthread_sigmask(signal.SIG_BLOCK, [])]

    before = state()
    yield
    assert state() == before
