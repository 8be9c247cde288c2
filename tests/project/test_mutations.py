"""`tests.mutations`: an address survives moved code, and an address that fails explains why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import mutants, sown_bugs
from tests.mutations import (
    ROOT,
    AddressError,
    Mutation,
    copied,
    mutated,
    sources,
    spoiled,
)

if TYPE_CHECKING:
    from pathlib import Path

_GATE = """
LIMIT = 10

class Gate:
    def enter(self, count):
        if count >= LIMIT:
            self.wait()
            self.count(1)
        return f"{count + 1}"

def outer():
    def inner(value):
        return value or 1
    def other(value):
        return value or 1
    return inner, other
"""
_TEXTS = {"client/gate.py": _GATE}


def _new(where: str, old: str, new: str, texts: dict[str, str] | None = None) -> str:
    return mutated(Mutation(where, old, new), texts or _TEXTS)[1]


def test_an_expression_is_replaced() -> None:
    """An expression that occurs once is replaced, also in an f-string, and nothing else is."""
    assert "if count > LIMIT:" in _new("Gate.enter", "count >= LIMIT", "count > LIMIT")
    assert "f'{count + 2}'" in _new("Gate.enter", "count + 1", "count + 2")
    assert "LIMIT = 11" in _new("LIMIT", "10", "11")


def test_statements_are_replaced_and_deleted() -> None:
    """Consecutive statements are replaced by any number of statements, or deleted."""
    two = "self.wait()\nself.count(1)"
    deleted = _new("Gate.enter", two, "")
    assert "        if count >= LIMIT:\n            pass\n        return" in deleted
    swapped = _new("Gate.enter", two, "self.count(1)\nself.wait()")
    assert "            self.count(1)\n            self.wait()\n" in swapped
    # A call is treated as a statement if it is replaced by statements or deleted.
    assert "wait" not in _new("Gate.enter", "self.wait()", "")
    assert "raise OSError" in _new("Gate.enter", "self.wait()", "raise OSError")


def test_a_nested_function_has_an_address() -> None:
    """If two nested functions have the same syntax, only the named one is changed."""
    changed = _new("outer.inner", "value or 1", "value")
    assert changed.count("return value or 1") == 1
    assert changed.index("return value\n") < changed.index("return value or 1")
    assert changed == _new("outer.inner", "return value or 1", "return value")


def test_code_may_move_and_be_reformatted() -> None:
    """Another file, other lines, comments, quotes and line breaks do not matter."""
    moved = _GATE.replace("count >= LIMIT", "(\n  count  # so many\n >= LIMIT)")
    texts = {"a.py": "x = 1\n", "net/doors.py": f"# moved\n\n{moved}"}
    mutation = Mutation("Gate.enter", "count>=LIMIT", "count > LIMIT")
    path, text = mutated(mutation, texts)
    assert path == "net/doors.py"
    assert text == _new(*mutation)


def test_what_is_there_twice_is_an_error() -> None:
    """Syntax that occurs twice is an error that lists both, in one function or in two files."""
    with pytest.raises(AddressError, match=r"2 times: client/gate\.py:13 .*client/gate\.py:15 "):
        _new("outer", "value or 1", "value")
    texts = {**_TEXTS, "door.py": _GATE}
    with pytest.raises(AddressError, match=r"2 times: .*door\.py:6"):
        _new("Gate.enter", "count >= LIMIT", "True", texts)
    assert mutated(Mutation("door:Gate.enter", "count >= LIMIT", "True"), texts)[0] == "door.py"


def test_the_same_name_in_two_files_is_no_ambiguity() -> None:
    """If another file has the same definition with other syntax, no file's name is needed."""
    texts = {**_TEXTS, "door.py": _GATE.replace(">=", ">")}
    assert mutated(Mutation("Gate.enter", "count > LIMIT", "True"), texts)[0] == "door.py"


def test_what_is_not_there_is_an_error() -> None:
    """Syntax that is elsewhere is an error that says where, and where the definition is."""
    with pytest.raises(AddressError, match=r"in client/gate\.py:12, .* \(outer\.other\)"):
        _new(
            "outer.inner",
            "return value or 1\n",
            "return 1",
            {"client/gate.py": _GATE.replace("value or 1", "value", 1)},
        )
    with pytest.raises(AddressError, match=r"definition is in no file, .* in no file"):
        _new("Gate.leave", "count < LIMIT", "True")


def test_a_copy_is_spoiled_and_mended(tmp_path: Path) -> None:
    """Within the block the copy has the change; afterwards every byte is as before."""
    folder = copied(tmp_path / "copy")
    before = sources(folder)
    with spoiled(mutants.MUTANTS[0].mutation, folder) as name:
        assert {path for path, text in sources(folder).items() if text != before[path]} == {name}
    assert sources(folder) == before == sources()


_ALL = [(change.name, change.mutation) for change in mutants.MUTANTS]
_ALL += [(change.says, change.mutation) for change in sown_bugs.BUGS]


def test_every_address_is_there_once() -> None:
    """Every mutant and sown bug can be applied to the package, and gives valid syntax."""
    texts = sources()
    lost = []
    for name, mutation in _ALL:
        try:
            path, text = mutated(mutation, texts)
            compile(text, path, "exec")
        except AddressError as error:
            lost.append(f"{name}: {error}")
    assert not lost, "\n".join(lost)


def test_names_differ_and_tests_exist() -> None:
    """Names are unique, and the tests that must detect a mutant exist."""
    names = [name for name, _ in _ALL]
    assert len(set(names)) == len(names)
    for mutant in mutants.MUTANTS:
        for test in mutant.tests.split():
            assert not test.startswith("tests/") or (ROOT / test).exists(), mutant
