"""The arrows between the rooms: imports point downward only, and Singer stays in its rooms."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "target_segment_objects"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE

# From the ground up: a folder imports from the floors below its own, never from beside or above.
FLOORS = (
    ("ground",),
    ("input", "client", "delivery", "plan"),
    ("reporting", "settings", "fastpath"),
    ("run",),
    ("singer",),
    ("commands",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Within the emulator, each folder imports from those before it alone; `errors` is the ground.
EMULATOR_FLOORS = ("errors", "rules", "store", "api", "wire", "emulator", "")

SINGER_ROOMS = {"settings", "singer"}
FACES_FOR_USERS = {"client", "emulator", "plan"}
EMULATOR_GUESTS = {"commands", "run"}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def _is_for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _imports(module: str, *, for_types_too: bool = True) -> set[str]:
    """Every module that `module` names in an import, wherever it stands in the file."""
    path = SOURCES[module]
    home = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if for_types_too or not _is_for_types_alone(node):
            waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), home)
            for alias in node.names:
                name = f"{source}.{alias.name}"
                found.add(name if name in SOURCES else source)
    return found


def _names_from(module: str, source: str) -> set[str]:
    """The names that `module` imports from `source`."""
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == source
        for alias in node.names
    }


def _own_imports(module: str, *, for_types_too: bool = True) -> set[str]:
    found = _imports(module, for_types_too=for_types_too)
    return {name for name in found if name.split(".")[0] == PACKAGE}


def _room(module: str) -> str:
    """The folder that a module is in; the files beside the folders are the ground.

    The package itself, and the face of the target, are in none.
    """
    parts = module.split(".")[1:]
    if not parts or parts == ["target"]:
        return ""
    is_folder = len(parts) > 1 or SOURCES[module].name == "__init__.py"
    return parts[0] if is_folder else "ground"


def _emulator_folder(module: str) -> str:
    """The folder or file of the emulator that a module belongs to; empty for its face."""
    return [*module.split("."), "", ""][2]


def _rooms_imported(module: str) -> set[str]:
    """The rooms, other than its own, that a module imports from."""
    return {_room(name) for name in _own_imports(module)} - {_room(module), ""}


ROOMS = {_room(module) for module in SOURCES} - {"ground", ""}
MODULES = [pytest.param(module, id=module) for module in SOURCES]


@pytest.mark.parametrize("module", MODULES)
def test_every_room_stands_on_a_floor(module: str) -> None:
    """Each module belongs to a room that has a floor here; a new room is given one on purpose."""
    assert _room(module) in {*FLOOR_OF, "emulator", ""}


@pytest.mark.parametrize("module", [name for name in SOURCES if _room(name) in FLOOR_OF])
def test_imports_point_downward(module: str) -> None:
    """A room imports from lower floors only; the emulator has a law of its own."""
    room = _room(module)
    beside_or_above = {
        other
        for other in _rooms_imported(module) - {"emulator"}
        if FLOOR_OF.get(other, len(FLOORS)) >= FLOOR_OF[room]
    }
    assert beside_or_above == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_room_is_entered_by_its_face(module: str) -> None:
    """What a room offers stands in its `__all__`; nobody imports from a module behind it."""
    deeper = {
        name
        for name in _own_imports(module)
        if _room(name) not in {_room(module), "ground", ""} and name.count(".") > 1
    }
    assert module == f"{PACKAGE}.target" or deeper == set()


def test_a_face_offers_what_others_use() -> None:
    """A room offers what other rooms import, and nothing else, unless users import it too."""
    for room in ROOMS - FACES_FOR_USERS - {"commands"}:
        face = importlib.import_module(f"{PACKAGE}.{room}")
        used = set().union(
            *(
                _names_from(module, f"{PACKAGE}.{room}")
                for module in SOURCES
                if _room(module) != room
            )
        )
        assert set(face.__all__) == used, room


@pytest.mark.parametrize("module", MODULES)
def test_singer_is_known_in_its_rooms_alone(module: str) -> None:
    """`singer_sdk` is imported by the rooms that speak Singer: the rest works without it."""
    if any(name.split(".")[0] == "singer_sdk" for name in _imports(module)):
        assert _room(module) in SINGER_ROOMS


@pytest.mark.parametrize("module", MODULES)
def test_the_client_is_usable_alone(module: str) -> None:
    """The client imports nothing of the package but errors, objects and how a thread starts."""
    if _room(module) == "client":
        others = {name for name in _own_imports(module) if _room(name) != "client"} - {PACKAGE}
        assert others <= {f"{PACKAGE}.{name}" for name in ("errors", "objects", "threads")}


@pytest.mark.parametrize("module", MODULES)
def test_the_emulator_shares_nothing_with_what_it_judges(module: str) -> None:
    """The emulator imports nothing of the package: a wrong limit cannot be on both sides."""
    if _room(module) == "emulator":
        assert {name for name in _own_imports(module) if _room(name) != "emulator"} == set()


@pytest.mark.parametrize("module", [name for name in SOURCES if _room(name) == "emulator"])
def test_the_emulators_folders_import_downward(module: str) -> None:
    """`rules` ← `store` ← `api` ← `wire`: a folder of the emulator imports none after it."""
    floor = EMULATOR_FLOORS.index(_emulator_folder(module))
    imported = {
        EMULATOR_FLOORS.index(_emulator_folder(name))
        for name in _own_imports(module)
        if _emulator_folder(name) != _emulator_folder(module)
    }
    assert {above for above in imported if above > floor} == set()


@pytest.mark.parametrize("module", MODULES)
def test_only_the_commands_start_the_emulator(module: str) -> None:
    """Nobody but the commands imports the emulator: to serve it, to load it, to look at a file."""
    if "emulator" in _rooms_imported(module):
        assert _room(module) in EMULATOR_GUESTS


def test_no_module_imports_itself_in_a_circle() -> None:
    """The modules' imports have no cycle, within a room either; names for types load nothing."""
    waiting = {
        module: (_own_imports(module, for_types_too=False) & set(SOURCES)) - {module}
        for module in SOURCES
    }
    while ready := {module for module, needs in waiting.items() if not needs}:
        waiting = {
            module: needs - ready for module, needs in waiting.items() if module not in ready
        }
    assert waiting == {}


@pytest.mark.skipif(f"{PACKAGE}.target" not in SOURCES, reason="the target is not built yet")
def test_the_target_starts_without_the_emulator() -> None:
    """Importing the target loads no DuckDB, no emulator, no tqdm: most runs need none of them."""
    script = f"import json, sys, {PACKAGE}.target; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = json.loads(run.stdout)
    assert f"{PACKAGE}.target" in loaded
    unwanted = (f"{PACKAGE}.emulator", "duckdb", f"{PACKAGE}.reporting.progress", "tqdm")
    assert [name for name in loaded if name.startswith(unwanted)] == []
