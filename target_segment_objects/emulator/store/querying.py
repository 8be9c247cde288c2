"""Questions to a DuckDB warehouse, and its opening with errors of one sentence."""

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
    """What a query returned: column names and rows, both empty for a statement without a result."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def query_file(path: Path, sql: str) -> QueryResult:
    """Run a query on a warehouse file, which is opened read-only and never made.

    The query reads that file and nothing else: no other file or address is read or written, no
    extension is loaded, and no setting changed.

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
            message = f"The warehouse file {path} is in use; stop what has it open and try again."
            raise WarehouseLockedError(message) from None
        raise WarehouseError(f"Cannot open the warehouse file {path}: {_first(text)}") from None
    # A file of CSV, JSON or Parquet is opened too, as data beside a database in memory.
    opened = connection.execute(
        "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchone()
    if opened is None or opened[0] is None:
        connection.close()
        raise WarehouseError(f"The file {path} is no DuckDB database; name another file.")
    return connection


def run_query(connection: DuckDBPyConnection, sql: str) -> QueryResult:
    """Return what a query returns, instants as aware datetimes in UTC."""
    duckdb = _duckdb()
    sql = sql.strip().rstrip(";")
    try:
        relation: DuckDBPyRelation | None = connection.sql(sql)
        if relation is None:
            return QueryResult([], [])
        columns = list(relation.columns)
        zoned = [str(kind) == _WITH_ZONE for kind in relation.types]
        if any(zoned):
            # DuckDB hands such instants to Python through pytz, which nothing else here needs.
            names = [f"c{place}" for place in range(len(columns))]
            plain = [
                f"timezone('UTC', {name})" if is_zoned else name
                for name, is_zoned in zip(names, zoned, strict=True)
            ]
            relation = connection.sql(
                f"SELECT {', '.join(plain)} FROM ({sql}) AS result({', '.join(names)})"  # noqa: S608
            )
        rows = relation.fetchall()
    except duckdb.Error as error:
        raise WarehouseError(f"The query failed: {_first(str(error))}") from None
    if any(zoned):
        rows = [
            tuple(_in_utc(value) if z else value for value, z in zip(row, zoned, strict=True))
            for row in rows
        ]
    return QueryResult(columns, rows)


def _in_utc(value: object) -> object:
    return value.replace(tzinfo=timezone.utc) if isinstance(value, datetime) else value


def _first(text: str) -> str:
    return text.partition("\n")[0][:300]


def _duckdb() -> ModuleType:
    try:
        import duckdb  # noqa: PLC0415 an extra
    except ImportError:
        raise MissingExtraError from None
    return duckdb
