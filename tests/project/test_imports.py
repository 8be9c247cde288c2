"""The imports between folders point downward only, and only some folders know Singer."""

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

# From the ground up: a folder imports from lower layers, never from its own layer or above.
LAYERS = (
    ("ground",),
    ("input", "client", "delivery", "plan"),
    ("reporting", "settings", "fastpath"),
    ("run",),
    ("singer",),
    ("commands",),
)
LAYER_OF = {folder: layer for layer, folders in enumerate(LAYERS) for folder in folders}

# Within the emulator, each folder imports only from those before it; `errors` is the ground.
EMULATOR_LAYERS = ("errors", "rules", "store", "api", "wire", "emulator", "")

SINGER_FOLDERS = {"settings", "singer"}
FACES_FOR_USERS = {"client", "emulator", "plan"}
EMULATOR_USERS = {"commands", "run"}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def _is_for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _imports(module: str, *, for_types_too: bool = True) -> set[str]:
    """Return every module that `module` imports, anywhere in the file."""
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
    """Return the names that `module` imports from `source`."""
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


def _folder(module: str) -> str:
    """Return the folder of a module; the files beside the folders are the ground.

    The package itself, and the face of the target, are in none.
    """
    parts = module.split(".")[1:]
    if not parts or parts == ["target"]:
        return ""
    is_folder = len(parts) > 1 or SOURCES[module].name == "__init__.py"
    return parts[0] if is_folder else "ground"


def _emulator_folder(module: str) -> str:
    """Return the folder or file of the emulator to which a module belongs; empty for its face."""
    return [*module.split("."), "", ""][2]


def _folders_imported(module: str) -> set[str]:
    """Return the other folders from which a module imports."""
    return {_folder(name) for name in _own_imports(module)} - {_folder(module), ""}


FOLDERS = {_folder(module) for module in SOURCES} - {"ground", ""}
MODULES = [pytest.param(module, id=module) for module in SOURCES]


@pytest.mark.parametrize("module", MODULES)
def test_every_folder_has_a_layer(module: str) -> None:
    """Each folder has a layer in the table above; a new folder gets one deliberately."""
    assert _folder(module) in {*LAYER_OF, "emulator", ""}


@pytest.mark.parametrize("module", [name for name in SOURCES if _folder(name) in LAYER_OF])
def test_imports_point_downward(module: str) -> None:
    """A folder imports only from lower layers; the emulator has a rule of its own."""
    folder = _folder(module)
    beside_or_above = {
        other
        for other in _folders_imported(module) - {"emulator"}
        if LAYER_OF.get(other, len(LAYERS)) >= LAYER_OF[folder]
    }
    assert beside_or_above == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_folder_is_imported_by_its_face(module: str) -> None:
    """Other folders import only from a folder's `__init__`, never from its modules."""
    deeper = {
        name
        for name in _own_imports(module)
        if _folder(name) not in {_folder(module), "ground", ""} and name.count(".") > 1
    }
    assert module == f"{PACKAGE}.target" or deeper == set()


def test_a_face_offers_what_others_use() -> None:
    """`__all__` has what other folders import, and nothing else, unless users import it too."""
    for folder in FOLDERS - FACES_FOR_USERS - {"commands"}:
        face = importlib.import_module(f"{PACKAGE}.{folder}")
        used = set().union(
            *(
                _names_from(module, f"{PACKAGE}.{folder}")
                for module in SOURCES
                if _folder(module) != folder
            )
        )
        assert set(face.__all__) == used, folder


@pytest.mark.parametrize("module", MODULES)
def test_only_some_folders_know_singer(module: str) -> None:
    """Only the folders about Singer import `singer_sdk`: the rest works without it."""
    if any(name.split(".")[0] == "singer_sdk" for name in _imports(module)):
        assert _folder(module) in SINGER_FOLDERS


@pytest.mark.parametrize("module", MODULES)
def test_the_client_is_usable_alone(module: str) -> None:
    """The client imports only errors, objects and threads from the package."""
    if _folder(module) == "client":
        others = {name for name in _own_imports(module) if _folder(name) != "client"} - {PACKAGE}
        assert others <= {f"{PACKAGE}.{name}" for name in ("errors", "objects", "threads")}


@pytest.mark.parametrize("module", MODULES)
def test_the_emulator_shares_nothing_with_what_it_judges(module: str) -> None:
    """The emulator imports nothing of the package: a wrong limit cannot be on both sides."""
    if _folder(module) == "emulator":
        assert {name for name in _own_imports(module) if _folder(name) != "emulator"} == set()


@pytest.mark.parametrize("module", [name for name in SOURCES if _folder(name) == "emulator"])
def test_the_emulators_folders_import_downward(module: str) -> None:
    """`rules` ← `store` ← `api` ← `wire`: each folder imports only from those before it."""
    layer = EMULATOR_LAYERS.index(_emulator_folder(module))
    imported = {
        EMULATOR_LAYERS.index(_emulator_folder(name))
        for name in _own_imports(module)
        if _emulator_folder(name) != _emulator_folder(module)
    }
    assert {above for above in imported if above > layer} == set()


@pytest.mark.parametrize("module", MODULES)
def test_only_the_commands_start_the_emulator(module: str) -> None:
    """Only the commands and a run import the emulator."""
    if "emulator" in _folders_imported(module):
        assert _folder(module) in EMULATOR_USERS


def test_imports_have_no_cycle() -> None:
    """There are no import cycles, not within a folder either; imports for types do not count."""
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
    """Importing the target loads no DuckDB and no emulator, which most runs do not need."""
    script = f"import json, sys, {PACKAGE}.target; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = json.loads(run.stdout)
    assert f"{PACKAGE}.target" in loaded
    unwanted = (f"{PACKAGE}.emulator", "duckdb", f"{PACKAGE}.reporting.progress")
    assert [name for name in loaded if name.startswith(unwanted)] == []
