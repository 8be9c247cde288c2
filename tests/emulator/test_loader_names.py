"""No name that the warehouse's SQL uses can conflict with a name of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator.store.contract import Update
from target_segment_objects.emulator.store.memory import MemoryStore
from target_segment_objects.emulator.store.warehouse import Warehouse

if TYPE_CHECKING:
    from pathlib import Path

duckdb = pytest.importorskip("duckdb")

# Names of tables, columns, aliases and schemas of the SQL and of DuckDB, and words of SQL.
NAMES = (
    "lines",
    "line",
    "staged",
    "typed",
    "old",
    "new",
    "kept",
    "found",
    "collection",
    "id",
    "n",
    "rowid",
    "c0",
    "s0",
    "c1",
    "s1",
    "received_at",
    "temp",
    "main",
    "system",
    "memory",
    "information_schema",
    "pg_catalog",
    "duckdb_tables",
    "duckdb_columns",
    "select",
    "from",
    "table",
    "order",
    "group",
    "where",
    "update",
    "insert",
    "values",
    "null",
    "default",
    "union",
    "all",
    "as",
    "temporary",
    "json_extract",
    "read_csv",
    "arg_max",
    "now",
    "w",
    "gathered",
    "properties",
)


def _store(folder: Path, name: str = "w.duckdb") -> Warehouse:
    return Warehouse(folder / name, folder, "256MB")


def _load(store: Any, updates: list[Update]) -> None:
    store.apply(updates)
    store.flush()


@pytest.mark.parametrize("file", ["main", "lines"])
def test_any_name_of_a_collection_and_a_property(tmp_path: Path, file: str) -> None:
    """Collections and properties with every such name are kept, in a file of any name."""
    updates = [
        Update(collection, identifier, {**dict.fromkeys(NAMES, number), collection: number})
        for number, identifier in enumerate(["b", "a", "b"])
        for collection in NAMES
    ]
    memory, warehouse = MemoryStore(), _store(tmp_path, f"{file}.duckdb")
    for _ in range(2):
        for start in (0, len(NAMES)):  # one id twice in a flush, then new and known ones
            _load(memory, updates[start:])
            _load(warehouse, updates[start:])
    assert warehouse.table_names() == memory.table_names()
    assert {name: warehouse.rows(name) for name in NAMES} == {
        name: memory.typed_rows(name) for name in NAMES
    }
    for name in NAMES:
        found = warehouse.preview(name, 5, 100, 50)
        assert found is not None
        assert found.rows[0][0] in {"a", "b"}
        assert len(found.columns) == len(set(NAMES) - {"received_at"})
    warehouse.close()


@pytest.mark.parametrize("name", NAMES)
def test_one_collection_alone_is_kept(tmp_path: Path, name: str) -> None:
    """A flush with a single collection takes another code path, and keeps it as well."""
    warehouse = _store(tmp_path)
    _load(warehouse, [Update(name, "1", {name: "x", "v": 1}), Update(name, "1", {"v": 2})])
    (row,) = warehouse.rows(name)
    assert row["v"] == 2
    warehouse.close()


@pytest.mark.parametrize("name", [*NAMES, "Lines", "~lines", 'a"b'])
def test_a_table_of_the_users_own_stays(tmp_path: Path, name: str) -> None:
    """Other tables of the file are unchanged after a load."""
    quoted = '"' + name.replace('"', '""') + '"'
    with duckdb.connect(tmp_path / "w.duckdb") as own:
        own.execute(f"CREATE TABLE {quoted} (mine INTEGER)")
        own.execute(f"INSERT INTO {quoted} VALUES (7)")  # noqa: S608
    warehouse = _store(tmp_path)
    _load(warehouse, [Update("rooms", "1", {"a": 1})])
    _load(warehouse, [Update("rooms", "1", {"a": 1}), Update("guests", "1", {"a": 1})])
    warehouse.close()
    with duckdb.connect(tmp_path / "w.duckdb") as own:
        (schema,) = own.execute("SELECT current_database()").fetchone()
        found = own.execute(f'SELECT mine FROM "{schema}".main.{quoted}').fetchall()  # noqa: S608
        assert found == [(7,)]
        assert own.execute("SELECT id, a FROM rooms").fetchall() == [("1", 1)]


def test_a_macro_of_the_users_own_takes_no_part(tmp_path: Path) -> None:
    """A macro in the file with the name of a function that the SQL uses is not called."""
    with duckdb.connect(tmp_path / "w.duckdb") as own:
        for call in ("arg_max(a, b)", "json_extract_string(a, b)", "try_x(a)", "now()"):
            own.execute(f"CREATE MACRO {call} AS 'wrong'")
    warehouse = _store(tmp_path)
    _load(warehouse, [Update("rooms", "1", {"a": 1}), Update("rooms", "1", {"a": 2, "b": "x"})])
    assert warehouse.rows("rooms") == [{"id": "1", "a": 2, "b": "x"}]
    warehouse.close()
