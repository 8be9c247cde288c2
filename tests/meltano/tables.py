"""The expected rows of each table of `tables.sql` in the warehouse, as SQL for both sides.

PostgreSQL returns what Segment should have, and DuckDB what it has. Timestamps are compared in
microseconds, since the two print them differently.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from target_segment_objects.emulator import Emulator
    from tests.meltano.database import Database

__all__ = ["BOOKINGS", "NOTHING_YET", "SEED", "TABLES", "Table"]

SEED = Path(__file__).parent / "tables.sql"
_SHOWN = 3  # rows that are shown if they differ


@dataclass(frozen=True)
class Table:
    """A table, and its collection.

    Attributes:
        stream: the tap's name for it.
        collection: its table in the warehouse.
        source: a query to PostgreSQL.
        arrived: a query to DuckDB, with the same column names.
        texts_of_json: columns that are JSON text in the warehouse, and values in PostgreSQL.
    """

    stream: str
    collection: str
    source: str
    arrived: str
    texts_of_json: tuple[str, ...] = ()

    def compare(self, database: Database, segment: Emulator) -> int:
        """Compare all rows; returns their number."""
        expected = database.query(self.source)
        rows = segment.query(self.arrived)
        for row in rows:
            for name in self.texts_of_json:
                row[name] = None if row[name] is None else json.loads(row[name])
        expected.sort(key=_in_order)
        rows.sort(key=_in_order)
        wrong = [pair for pair in zip(rows, expected, strict=False) if pair[0] != pair[1]]
        assert (len(rows), wrong[:_SHOWN]) == (len(expected), []), self.collection
        return len(rows)


def _in_order(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


BOOKINGS = Table(
    "public-bookings",
    "public_bookings",
    """
    SELECT id::text, (extract(epoch FROM changed_at) * 1000000)::bigint AS changed_at, guest,
        nights, paid::float8
    FROM bookings
    """,
    "SELECT id, epoch_us(changed_at) AS changed_at, guest, nights, paid FROM public_bookings",
)
TABLES = (
    BOOKINGS,
    Table(
        "public-everything",
        "public_everythings",
        """
        SELECT id::text, doc, nullif(notes::text, 'null')::json AS notes,
            array_to_json(tags) AS tags, array_to_json(grid) AS grid,
            amount::float8, huge::float8, ratio, single::float8, small,
            (extract(epoch FROM at) * 1000000)::bigint AS at,
            (extract(epoch FROM plain) * 1000000)::bigint AS plain,
            extract(epoch FROM day)::bigint * 1000000 AS day,
            clock::text, token, encode(raw, 'hex') AS raw, flag, feeling, code, title, body
        FROM everything
        """,
        """
        SELECT id, doc, notes, tags, grid, amount, huge, ratio, single, small,
            epoch_us("at") AS "at", epoch_us(plain) AS plain, epoch_us(day) AS day,
            clock, token, raw, flag, feeling, code, title, body
        FROM public_everythings
        """,
        texts_of_json=("doc", "notes", "tags", "grid"),
    ),
    Table(
        "public-Guest Book",
        "public_guest_books",
        """
        SELECT "GuestId"::text AS id, "GuestId" AS guest_id, "Guest Name" AS guest_name,
            "HomeTown" AS home_town, "2nd visit" AS visited
        FROM "Guest Book"
        """,
        """
        SELECT id, guest_id, guest_name, home_town, "2nd_visit" AS visited
        FROM public_guest_books
        """,
    ),
    Table(
        "public-order_lines",
        "public_order_lines",
        r"""
        SELECT order_id || ':' || replace(replace(sku, '\', '\\'), ':', '\:') AS id,
            order_id, sku, quantity, price::float8
        FROM order_lines
        """,
        "SELECT id, order_id, sku, quantity, price FROM public_order_lines",
    ),
    Table(
        "public-page_visits",
        "public_page_visits",
        """
        SELECT DISTINCT (extract(epoch FROM seen_at) * 1000000)::bigint AS seen_at, page,
            milliseconds
        FROM page_visits
        """,
        "SELECT epoch_us(seen_at) AS seen_at, page, milliseconds FROM public_page_visits",
    ),
    Table(
        "public-spending",
        "public_spendings",
        "SELECT order_id, total, lines FROM spending",
        "SELECT order_id, total, lines FROM public_spendings",
    ),
)
NOTHING_YET = Table(
    "public-nothing_yet",
    "public_nothing_yets",
    "SELECT id::text, name FROM nothing_yet",
    "SELECT id, name FROM public_nothing_yets",
)
"""It is empty at first, and then nothing is sent for it."""
