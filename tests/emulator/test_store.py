"""Merging, nulls, types and names; the same in memory and in DuckDB."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from target_segment_objects.emulator import (
    Emulator,
    EmulatorError,
    WarehouseError,
    WarehouseLockedError,
)
from target_segment_objects.emulator.rules.columns import column_type_of, fit
from target_segment_objects.emulator.rules.names import column_name, snake_case
from target_segment_objects.emulator.store.contract import Update
from target_segment_objects.emulator.store.memory import MemoryStore
from target_segment_objects.emulator.store.warehouse import Warehouse
from tests.emulator.wire import Client, lines, room

NOON = datetime(2024, 1, 31, 12, tzinfo=timezone.utc)


def applied(*updates: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the typed rows after one object's updates, after checking that both stores agree."""
    with TemporaryDirectory() as folder:
        memory = MemoryStore()
        warehouse = Warehouse(Path(folder) / "w.duckdb", Path(folder), "256MB")
        for store in (memory, warehouse):
            for properties in updates:
                store.apply([Update("rooms", "1", properties)])
            store.flush()
        rows = memory.typed_rows("rooms")
        assert warehouse.rows("rooms") == rows
        warehouse.close()
    return rows


def test_objects_merge_by_id() -> None:
    """Later properties win, missing ones stay, and nulls clear."""
    assert applied({"a": 1, "b": 2, "c": 3}, {"b": 5, "c": None}) == [
        {"id": "1", "a": 1, "b": 5, "c": None}
    ]


def test_a_null_makes_no_column() -> None:
    """A column is created by its first value that is not null, which determines its type."""
    assert applied({"a": 1, "b": None}) == [{"id": "1", "a": 1}]
    assert applied({"a": 1, "b": None}, {"b": "x"}) == [{"id": "1", "a": 1, "b": "x"}]


@pytest.mark.parametrize(
    ("first", "later", "kept"),
    [
        (1, 2.9, 2),
        (1, -2.9, -2),
        (1, "2", None),
        (1, True, None),
        (1, 2**63, None),
        (2**63, 1e20, 10**20),
        (2**127, 5, "5"),
        (1.5, 2, 2.0),
        (1.5, "2.5", None),
        (True, False, False),
        (True, 1, None),
        (True, "true", None),
        ("x", 5, "5"),
        ("x", True, "true"),
        ("x", "2024-01-31", "2024-01-31"),
        ("2024-01-31T12:00:00Z", "2024-01-31T14:00:00.0000009+02:00", NOON),
        ("2024-01-31t12:00:00z", "2024-01-31", NOON.replace(hour=0)),
        ("2024-01-31T12:00:00Z", "tomorrow", None),
        ("2024-01-31T12:00:00Z", "2024-02-30", None),
        ("2024-01-31T12:00:00Z", 5, None),
        ("2024-02-30", "x", "x"),
    ],
)
def test_the_first_value_types_the_column(first: Any, later: Any, kept: Any) -> None:
    """How a later value of another type is stored: the table of docs/emulator.md."""
    (row,) = applied({"a": first}, {"a": later})
    assert row["a"] == kept
    assert type(row["a"]) is type(kept)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("sampleText", "sample_text"),
        ("sample 2 Text", "sample_2_text"),
        ("samPLE text", "sam_ple_text"),
        ("SAMPLE 2 TEXT", "sample_2_text"),
        ("sample___text", "sample_text"),
        ("sample-text", "sample_text"),
        ("something.com", "something_com"),
        ("$something%", "something"),
        ("inviteYourCustomersAddInvites", "invite_your_customers_add_invites"),
        ("___$$Base64Encode", "base64_encode"),
        ("FOO:BAR$BAZ", "foo_bar_baz"),
        ("•¶§ƒ˚foo˙∆˚¬", "foo"),
        ("CStringRef", "cstring_ref"),
        ("HTTPServer", "httpserver"),
        ("5test", "5test"),
        ("test5", "test5"),
        ("THE5r", "the5r"),
        ("5TEst", "5test"),
        ("_5TEst", "5test"),
        ("edf_6N", "edf_6n"),
        ("f_pX9", "f_p_x9"),
        ("p_z9Rg", "p_z9_rg"),
        ("2FA Enabled", "2fa_enabled"),
        ("Enabled 2FA", "enabled_2fa"),
        ("lk0B@bFmjrLQ_Z6YL", "lk0_b_b_fmjr_lq_z6yl"),
        ("@49L0S145_¬fwHƒ0TSLNVp", "49l0s145_fw_h_0tslnvp"),
        ("_sdc_batched_at", "sdc_batched_at"),
        ("Name__c", "name_c"),
        ("S3Bucket", "s3bucket"),
        ("userID", "user_id"),
        ("名前", ""),
        ("naïve", "na_ve"),
    ],
)
def test_snake_case(name: str, column: str) -> None:
    """Segment's test vectors pass, and applying the rule twice changes nothing."""
    assert snake_case(name) == column
    assert snake_case(column) == column


def test_columns_of_segment_are_not_overwritten() -> None:
    """Properties named `id` and the like have no column; with a `_` appended they are kept."""
    assert column_name("id") is None
    assert column_name("UUID") is None
    assert applied({"id": "other", "received_at": 1, "id_": "kept", "loaded_at_": 2}) == [
        {"id": "1", "id_": "kept", "loaded_at_": 2}
    ]


def test_names_that_become_one_share_a_column() -> None:
    """Of two properties with the same column, the last in the object wins, even a null."""
    assert applied({"userId": 1, "user_id": 2, "b": 1}) == [{"id": "1", "user_id": 2, "b": 1}]
    assert applied({"user_id": 2, "userId": 1}) == [{"id": "1", "user_id": 1}]
    assert applied({"a": 1}, {"a": 2, "A": None}) == [{"id": "1", "a": None}]


NAMES = st.sampled_from(
    ["a", "A", "b", "B ", "c/d", "c~d", 'e"', "f\\", "g'", "id", "uuid_", "h\n", "名前", "i\x00"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**130)
    | st.floats(min_value=-1e15, max_value=1e15).map(lambda number: round(number, 3))
    | st.text(max_size=5)
    | st.sampled_from(
        ["null", "true", "1", "1.5", "2024-01-31", "2024-01-31T10:20:30.123456789+05:30", "\x00"]
    )
)
UPDATES = st.lists(
    st.tuples(
        st.sampled_from(["rooms", "guests", "rooms__x", "rooms_x"]),
        st.sampled_from(["1", "2", "é"]),
        st.dictionaries(NAMES, SCALARS, min_size=1, max_size=6),
    ),
    max_size=12,
)


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with numbers in text columns parsed, since `1e15` has two spellings."""
    return [{name: _number(value) for name, value in row.items()} for row in rows]


def _number(value: Any) -> Any:
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return value if number != number else number  # noqa: PLR0124  the text `nan` is one


@settings(max_examples=40)
@given(batches=st.lists(UPDATES, min_size=1, max_size=3))
def test_duckdb_and_memory_hold_the_same(
    batches: list[list[tuple[str, str, dict[str, Any]]]],
) -> None:
    """After any updates and flushes, both stores have the same tables."""
    with TemporaryDirectory() as folder:
        memory = MemoryStore()
        warehouse = Warehouse(Path(folder) / "w.duckdb", Path(folder), "256MB")
        for batch in batches:
            updates = [Update(*update) for update in batch]
            memory.apply(updates)
            warehouse.apply(updates)
            warehouse.flush()
        assert set(warehouse.table_names()) == set(memory.table_names())
        for table in memory.table_names():
            assert comparable(warehouse.rows(table)) == comparable(memory.typed_rows(table))
        warehouse.close()


def test_a_warehouse_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A second run merges into the file of the first, and keeps types and order."""
    path = tmp_path / "rooms.duckdb"
    with Emulator(warehouse=path) as segment, Client(segment) as client:
        client.one("2", a=1, at="2024-01-31T12:00:00Z")
        client.load(lines(room("1", a=2.5, b="x")))
    with Emulator(warehouse=path) as segment, Client(segment) as client:
        client.one("2", b="y", a=7.9)
        client.one("3", a=3)
        assert segment.rows("rooms") == [
            {"id": "2", "a": 7, "at": NOON, "b": "y"},
            {"id": "1", "a": 2, "at": None, "b": "x"},
            {"id": "3", "a": 3, "at": None, "b": None},
        ]
        assert segment.query('SELECT "at" FROM rooms WHERE id = 2') == [{"at": NOON}]
        assert segment.query("SELECT count(received_at) AS n FROM rooms") == [{"n": 3}]
        with pytest.raises(EmulatorError, match="history"):
            segment.history("rooms", "2")
        with pytest.raises(WarehouseError, match=r"The query failed: .*nowhere"):
            segment.query("SELECT * FROM nowhere")
    assert list(tmp_path.iterdir()) == [path]


def test_values_that_fit_nowhere_are_counted(tmp_path: Path) -> None:
    """A value that no column can hold is null, and counted by table and column or property."""
    lost = {("rooms", "a"): 1, ("rooms", "名前"): 1, ("rooms", "id"): 1}
    for warehouse in (None, tmp_path / "w.duckdb"):
        with Emulator(warehouse=warehouse) as segment, Client(segment) as client:
            client.one("1", a=1)
            assert segment.lost_values == {}
            client.set({"id": "1", "properties": {"a": "x", "名前": 1, "id": 5}})
            assert segment.lost_values == lost


def test_a_large_part_is_merged_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part larger than a slice, of two collections, with the same ids in several slices."""
    monkeypatch.setattr("target_segment_objects.emulator.store.merging._SLICE_BYTES", 2000)
    items = [
        room(str(n % 70), ("rooms", "guests")[n % 2], value=n, **{f"p{n % 3}": n})
        for n in range(500)
    ]
    with Emulator() as memory, Emulator(warehouse=tmp_path / "w.duckdb") as duckdb:
        for segment in (memory, duckdb):
            with Client(segment) as client:
                client.load(lines(*items))
        assert duckdb.tables() == memory.tables(typed=True)


def test_a_file_in_use_is_one_sentence(tmp_path: Path) -> None:
    """The error names a warehouse that is open elsewhere, and leaves nothing behind."""
    path = tmp_path / "w.duckdb"
    with Emulator(warehouse=path), pytest.raises(WarehouseLockedError, match="is in use"):
        Emulator(warehouse=path).start()


def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    """The error names a file that DuckDB cannot read."""
    path = tmp_path / "w.duckdb"
    path.write_text("no database, but long enough to be looked at\n" * 200)
    with pytest.raises(WarehouseError, match="Cannot open the warehouse file"):
        Emulator(warehouse=path).start()


@given(first=SCALARS.filter(lambda value: value is not None))
def test_the_first_value_always_fits(first: Any) -> None:
    """A column created for a value can hold that value."""
    assert fit(first, column_type_of(first)) is not None


def test_a_wide_part_is_merged_in_slices_of_few_rows(tmp_path: Path) -> None:
    """A part whose values would exceed the memory limit together is merged in slices."""
    columns, limit = (600, "512MB") if duckdb.__version__.startswith("1.") else (1000, "200MB")
    objects = 1_200_000 // columns
    updates = [
        Update("rooms", str(n), {f"p{number}": f"v{n}" for number in range(columns)})
        for n in range(objects)
    ]
    warehouse = Warehouse(tmp_path / "w.duckdb", tmp_path, limit)
    warehouse.apply(updates)
    warehouse.flush()
    assert warehouse.object_counts() == {"rooms": objects}
    found = warehouse.query(f"SELECT count(p{columns - 1}) AS n FROM rooms")  # noqa: S608
    assert found == [{"n": objects}]
    warehouse.close()
