"""Opening and querying a DuckDB warehouse, with errors of one sentence."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from target_segment_objects.emulator.errors import (
    MissingExtraError,
    WarehouseError,
    WarehouseLockedError,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_WITH_ZONE = "TIMESTAMP WITH TIME ZONE"


class QueryResult(NamedTuple):
    """Column names and rows; both are empty for a statement without a result."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def query_file(path: Path, sql: str) -> QueryResult:
    """Run a query on a warehouse file, which is opened read-only and never created.

    The query can access only that file: it cannot read or write any other file or address, load an
    extension or change a setting.

    A `WarehouseError` says in one sentence what is wrong with the file or the query.
    """
    if not path.is_file():
        raise WarehouseError(f"There is no warehouse file {path}.")
    with connect(path, {"access_mode": "READ_ONLY"}) as connection:
        for setting in ("TimeZone = 'UTC'", "enable_external_access = false"):
            connection.execute(f"SET {setting}")
        connection.execute("SET lock_configuration = true")  # last: nothing can be set after it
        return run_query(connection, sql)


def connect(path: Path, config: dict[str, str | int]) -> DuckDBPyConnection:
    """Open a DuckDB file.

    `MissingExtraError` without DuckDB, `WarehouseLockedError` when another process has the file,
    `WarehouseError` when it cannot be opened for another reason.
    """
    duckdb = _duckdb()
    try:
        connection: DuckDBPyConnection = duckdb.connect(path, config=config)
    except duckdb.Error as error:
        text = str(error)
        if "lock" in text or "different configuration" in text:
            raise WarehouseLockedError(
                f"The warehouse file {path} is in use; close the program that has it open "
                "and try again."
            ) from None
        raise WarehouseError(
            f"Cannot open the warehouse file {path}: {_first_line(text)}"
        ) from None
    # DuckDB also opens a CSV, JSON or Parquet file, as a view in a database in memory.
    opened = connection.execute(
        "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchone()
    if opened is None or opened[0] is None:
        connection.close()
        raise WarehouseError(f"The file {path} is not a DuckDB database; choose another file.")
    return connection


def run_query(connection: DuckDBPyConnection, sql: str) -> QueryResult:
    """Run a query; timestamps are returned as aware datetimes in UTC.

    `WarehouseError` when it fails.
    """
    duckdb = _duckdb()
    sql = sql.strip().rstrip(";")
    try:
        relation: DuckDBPyRelation | None = connection.sql(sql)
        if relation is None:
            return QueryResult([], [])
        columns = list(relation.columns)
        zoned = [str(kind) == _WITH_ZONE for kind in relation.types]
        if any(zoned):
            # DuckDB converts such timestamps with pytz, which nothing else here needs.
            names = [f"c{index}" for index in range(len(columns))]
            plain = [
                f"timezone('UTC', {name})" if is_zoned else name
                for name, is_zoned in zip(names, zoned, strict=True)
            ]
            relation = connection.sql(
                f"SELECT {', '.join(plain)} FROM ({sql}) AS result({', '.join(names)})"  # noqa: S608
            )
        rows = relation.fetchall()
    except duckdb.Error as error:
        raise WarehouseError(f"The query failed: {_first_line(str(error))}") from None
    if any(zoned):
        rows = [
            tuple(_in_utc(value) if z else value for value, z in zip(row, zoned, strict=True))
            for row in rows
        ]
    return QueryResult(columns, rows)


def execute(connection: DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Run one of the emulator's own statements; `WarehouseError` when it fails."""
    try:
        return connection.execute(sql).fetchall()
    except Exception as error:
        raise WarehouseError(f"The warehouse failed: {_first_line(str(error), 500)}") from error


def _in_utc(value: object) -> object:
    return value.replace(tzinfo=timezone.utc) if isinstance(value, datetime) else value


def _first_line(text: str, chars: int = 300) -> str:
    return text.partition("\n")[0][:chars]


def _duckdb() -> ModuleType:
    try:
        import duckdb  # noqa: PLC0415 an extra
    except ImportError:
        raise MissingExtraError from None
    return duckdb
