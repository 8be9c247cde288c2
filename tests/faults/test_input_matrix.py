"""Any input on stdin is sent, ignored, rejected or refused, and never causes a crash.

Over two thousand unusual inputs, each with an id and an expected verdict, are placed between two
good records with their states. Apart from the verdict, the same holds for all of them; see
`_judge`.
"""

from __future__ import annotations

import csv
import itertools
import string
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.errors import InputError, MessageError, RejectedRecordError
from tests.faults.byte_inputs import Input, byte_inputs
from tests.faults.input_run import AFTER, BEFORE, CANARY, Outcome, feed, verdict_of
from tests.faults.message_inputs import message_inputs
from tests.faults.value_inputs import value_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUTS = [*byte_inputs(), *message_inputs(), *value_inputs()]
_COLLECTIONS = itertools.count()


class Document(NamedTuple):
    """A document of the corpus, and its verdicts as a value of a record and as a line."""

    name: str
    as_value: str
    as_line: str


def _documents() -> list[Document]:
    table = Path(__file__).with_name("corpus_verdicts.tsv").read_text(encoding="utf-8")
    rows = (line for line in table.splitlines() if not line.startswith("#"))
    return [Document(*row) for row in csv.reader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)]


DOCUMENTS = _documents()


@pytest.fixture(scope="module")
def segment(matrix_sizes: dict[str, int]) -> Iterator[Emulator]:
    """One emulator for all inputs, each of which has its own collection; counts the inputs."""
    with Emulator(write_key="wk") as emulator:
        yield emulator
    matrix_sizes["Input matrix"] = next(_COLLECTIONS)


def _collection() -> str:
    """Return a name that no other input has; a collection has no digits."""
    number = next(_COLLECTIONS)
    letters = ""
    while number or not letters:
        number, digit = divmod(number, 26)
        letters += string.ascii_lowercase[digit]
    return f"case_{letters}_rooms"


def _judge(outcome: Outcome, verdict: str, method: str) -> None:
    """Check what holds for every input.

    Any error is an input error, so nothing failed in the delivery. Records before it are delivered
    and their state is printed exactly; so are those after it, unless the run has ended. The session
    is finished without an error. No value is shown.
    """
    assert verdict_of(outcome) == verdict
    ended = outcome.error is not None
    assert outcome.error is None or isinstance(outcome.error, InputError)
    assert "a" in outcome.ids
    assert ("z" in outcome.ids) is not ended
    assert outcome.states[-1] == (BEFORE if ended else AFTER)
    if method == "bulk":
        assert set(outcome.finishes) == {b'{"error": ""}'}
    assert CANARY not in outcome.log
    # Rejects are in the dead letter, with their line numbers.
    rejected = verdict.startswith("reject")
    assert bool(outcome.dead) is rejected
    assert all(entry.line >= 4 for entry in outcome.dead)
    assert all(entry.record is not msgspec.UNSET or entry.raw for entry in outcome.dead)


@pytest.mark.parametrize(("number", "case"), [*enumerate(INPUTS)], ids=[case.id for case in INPUTS])
def test_an_unusual_input(number: int, case: Input, segment: Emulator, tmp_path: Path) -> None:
    """It gets its verdict, and nothing else changes.

    Inputs use the two methods in turn: a line is judged before the delivery sees it, and each kind
    of verdict occurs hundreds of times with either method.
    """
    method = ("set", "bulk")[number % 2]
    config = {"method": method, "max_rejects": -1}
    _judge(feed(case.lines, segment, tmp_path, _collection(), config), case.verdict, method)


REJECTED = [case for case in INPUTS if case.verdict.startswith("reject")]


@pytest.mark.parametrize("case", REJECTED[::10], ids=[case.id for case in REJECTED[::10]])
@pytest.mark.parametrize("method", ["set", "bulk"])
def test_a_reject_that_is_not_tolerated(
    case: Input, method: str, segment: Emulator, tmp_path: Path
) -> None:
    """It ends the run with an error that names its line, and is also in the dead letter."""
    config = {"method": method, "max_rejects": 0}
    outcome = feed(case.lines, segment, tmp_path, _collection(), config)
    _judge(outcome, case.verdict, method)
    assert isinstance(outcome.error, RejectedRecordError)
    assert [entry.line for entry in outcome.dead] == [outcome.error.line]


@pytest.mark.parametrize("method", ["set", "bulk"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_a_document_as_a_value(
    document: Document, method: str, shared: Path, segment: Emulator, tmp_path: Path
) -> None:
    """Any JSON that a record may contain is sent; other text is an error that names its line."""
    raw = (shared / "corpora" / "json_test_suite" / document.name).read_bytes()
    note = b'"name":"%b"' % CANARY.encode()
    line = b'{"type":"RECORD","stream":"rooms","record":{"id":"odd",%b,"value":%b}}' % (
        note,
        raw.strip(b"\r\n"),  # a line cannot contain a line break
    )
    config = {"method": method, "max_rejects": -1 if method == "set" else 0}
    outcome = feed(line, segment, tmp_path, _collection(), config)
    _judge(outcome, document.as_value, method)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_a_document_as_a_line(
    document: Document, shared: Path, segment: Emulator, tmp_path: Path
) -> None:
    """No document is a message, JSON or not; the error names its line and does not show it.

    By `bulk` alone, where the end is the more delicate: the line never reaches the delivery.
    """
    raw = (shared / "corpora" / "json_test_suite" / document.name).read_bytes()
    outcome = feed(raw, segment, tmp_path, _collection(), {"method": "bulk"})
    _judge(outcome, document.as_line, "bulk")
    if isinstance(outcome.error, MessageError):
        text = raw.decode("utf-8", "replace").strip()
        assert len(text) < 6 or text not in outcome.log


def test_the_table_is_the_corpus(shared: Path) -> None:
    """Every document has a row, and no invalid JSON is sent."""
    folder = shared / "corpora" / "json_test_suite"
    assert [document.name for document in DOCUMENTS] == sorted(
        path.name for path in folder.glob("*.json")
    )
    assert [d.name for d in DOCUMENTS if d.name.startswith("n_") and d.as_value == "sent"] == []
    refused = [d.name for d in DOCUMENTS if d.name.startswith("y_") and d.as_value != "sent"]
    # Both have a line break between tokens, which JSON allows and a Singer line cannot contain.
    assert refused == ["y_array_with_1_and_newline.json", "y_object_with_newlines.json"]


def test_the_matrix_is_large_and_its_ids_are_distinct() -> None:
    """There are at least 1,500 inputs besides the corpus."""
    ids = [case.id for case in INPUTS]
    assert len(ids) == len(set(ids)) >= 1_500
