"""Each line that guards an invariant is spoiled once, and some test must notice.

    python -m tests.mutants [name …]

A mutant is one textual change in a copy of the package; a small set of tests runs against the copy
and must fail. One that survives is a rule that nothing holds: write the test. Exit 1 if any does,
or if a line to change is not there exactly once any more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

__all__ = ["MUTANTS", "Mutant"]

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "target_segment_objects"
_SECONDS = 180


class Mutant(NamedTuple):
    """One change, and who must notice.

    Attributes:
        name: what is spoiled.
        file: in the package.
        old: stands in the file exactly once.
        new: takes its place.
        tests: what pytest runs, its arguments separated by blanks.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant(
        "a state is printed one record early",
        "checkpoint.py",
        "self._pending[0][0] <= durable",
        "self._pending[0][0] <= durable + 1",
        "tests/test_checkpoint.py",
    ),
    Mutant(
        "bytes of states that were printed are counted for ever",
        "checkpoint.py",
        "            self._pending_bytes -= len(self._safe)\n",
        "",
        "tests/test_checkpoint.py",
    ),
    Mutant(
        "an id in flight is not held",
        "set_delivery.py",
        "        if made.id in self._busy[made.collection]:\n",
        "        if made.id in ():\n",
        "tests/test_set_delivery.py",
    ),
    Mutant(
        "what waits for its call to fill counts as durable",
        "set_delivery.py",
        "            firsts.append(first)\n        if self._lost",
        "            pass\n        if self._lost",
        "tests/test_set_delivery.py",
    ),
    Mutant(
        "calls in flight count as durable",
        "set_delivery.py",
        "firsts = [batch.first for batch in self._sealed.values()]",
        "firsts: list[int] = []",
        "tests/test_set_delivery.py",
    ),
    Mutant(
        "of one id that waits together only the last record is sent",
        "batching.py",
        "        earlier = batch.waiting.get(made.id)\n",
        "        earlier = None\n",
        "tests/test_batching.py",
    ),
    Mutant(
        "merging lets the earlier record win",
        "batching.py",
        "    properties = _properties(earlier.properties)\n"
        "    properties.update(_properties(later.properties))\n",
        "    properties = _properties(later.properties)\n"
        "    properties.update(_properties(earlier.properties))\n",
        "tests/test_batching.py",
    ),
    Mutant(
        "due batches come in any order",
        "batching.py",
        "key=lambda batch: batch.due,",
        "key=lambda batch: -batch.due,",
        "tests/test_batching.py",
    ),
    Mutant(
        "records of an unfinished session count as durable",
        "bulk_delivery.py",
        "firsts = [session.first for session in self._unfinished]",
        "firsts: list[int] = []",
        "tests/test_bulk_delivery.py",
    ),
    Mutant(
        "a session is replaced more than once",
        "bulk_session.py",
        "            if self._replaced:\n                raise\n",
        "            if len(self._sync_id) > 999:\n                raise\n",
        "tests/test_run_end.py",
    ),
    Mutant(
        "a new session has only the last part",
        "bulk_session.py",
        "                for part in again:\n                    self._upload(part)\n",
        "",
        "tests/test_bulk_delivery.py",
    ),
    Mutant(
        "the halves of a part go up in the wrong order",
        "bulk_session.py",
        "for half in self._halved(part):",
        "for half in reversed(self._halved(part)):",
        "tests/test_bulk_delivery.py",
    ),
    Mutant(
        "the second half of a split part is lost",
        "bulk_session.py",
        '        write(b"", 0, ends_part=True)\n        return',
        "        return",
        "tests/test_bulk_delivery.py",
    ),
    Mutant(
        "a state is printed before the rejects that it covers are on the disk",
        "run.py",
        "            return\n        self._rejects.sync()\n",
        "            return\n",
        "tests/test_run_end.py",
    ),
    Mutant(
        "a reject is written and not synced",
        "rejects.py",
        "                os.fsync(self._descriptor)\n",
        "                pass\n",
        "tests/test_rejects.py",
    ),
    Mutant(
        "a closing run prints its state before its threads have ended",
        "run.py",
        "                self._connection.close()\n            self._rejects.sync()\n"
        "            self._checkpoint.advance(self._durable())\n"
        "            self._checkpoint.print_last()\n",
        "                pass\n            self._rejects.sync()\n"
        "            self._checkpoint.advance(self._durable())\n"
        "            self._checkpoint.print_last()\n"
        "            if self._connection is not None:\n                self._connection.close()\n",
        "tests/test_run_end.py",
    ),
    Mutant(
        "a closed run prints its last state once more",
        "checkpoint.py",
        "        state, self._safe = self._safe, None\n",
        "        state = self._safe\n",
        "tests/test_checkpoint.py",
    ),
    Mutant(
        "a record's place is one too far, so that the state before it covers it",
        "run.py",
        "delivery.put(made, self.position, origin)",
        "delivery.put(made, self.position + 1, origin)",
        "tests/test_run_end.py",
    ),
    Mutant(
        "the order of calls is not asked for",
        "client/set_api.py",
        '            self._headers["Synchronous"] = "true"\n',
        "            pass\n",
        "tests/client/test_set_api.py",
    ),
    Mutant(
        "the gate lets one too many in",
        "client/gate.py",
        "while self._in_flight >= self.limit:",
        "while self._in_flight > self.limit:",
        "tests/client/test_gate.py",
    ),
    Mutant(
        "a redirect is followed",
        "client/connections.py",
        "            retries=False,\n            redirect=False,\n",
        "            retries=3,\n            redirect=True,\n",
        "tests/client",
    ),
    Mutant(
        "a redirect counts as taken",
        "client/retry.py",
        "HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES",
        "HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST",
        "tests/client/test_retry.py",
    ),
    Mutant(
        "`.netrc` is obeyed",
        "client/transport.py",
        "        session.trust_env = False\n        session.auth = self._key.auth\n",
        "        session.trust_env = True\n",
        "tests/client/test_transport.py",
    ),
    Mutant(
        "a retry begins where the last attempt ended",
        "client/transport.py",
        "            self._file.seek(0)\n",
        "            pass\n",
        "tests/client/test_bulk_api.py",
    ),
    Mutant(
        "an answer that is cut after its status line counts",
        "client/connections.py",
        '        if lines.last not in (b"\\r\\n", b"\\n"):\n',
        "        if lines.last is None:\n",
        "tests/client/test_transport.py",
    ),
    Mutant(
        "a stop does not wake an idle wait",
        "reader.py",
        "        self.stopped = True\n        self.set()\n",
        "        self.stopped = True\n",
        "tests/test_reader.py -k stop",
    ),
    Mutant(
        "an input error drops what was read before",
        "run.py",
        "                self._commit()\n",
        "                pass\n",
        "tests/test_command_input.py",
    ),
    Mutant(
        "one reject too many does not end the run",
        "rejects.py",
        "self.count > self._max_rejects",
        "self.count > self._max_rejects + 1",
        "tests/test_rejects.py tests/test_command_input.py",
    ),
)


def _copy(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (PACKAGE, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)


def _try(mutant: Mutant, folder: Path) -> str:
    """The first test that noticed; empty when none did.

    Raises:
        ValueError: the line to change is not there exactly once.
    """
    path = folder / PACKAGE / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} has it {text.count(mutant.old)} times: {mutant.old!r}")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    tests = [each for each in mutant.tests.split() if "/" not in each or (folder / each).exists()]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "CI": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "a test that waits for ever"
    finally:
        path.write_text(text, encoding="utf-8")
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", ended.stdout, re.MULTILINE)
    if found is not None:
        return found[1].partition("[")[0]
    if ended.returncode not in {0, 1}:
        raise ValueError(f"pytest ended with {ended.returncode}: {ended.stdout[-500:]}")
    return ""


def main(names: list[str]) -> int:
    """Try all mutants, or those whose names hold one of the words; the exit status."""
    survived = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _copy(folder)
        for mutant in MUTANTS:
            if names and not any(name in mutant.name for name in names):
                continue
            try:
                killer = _try(mutant, folder)
            except ValueError as error:
                killer = ""
                print(error, file=sys.stderr)  # noqa: T201
            survived += not killer
            print(f"| {mutant.name} | {killer or 'SURVIVED'} |", flush=True)  # noqa: T201
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
