"""Taps like those of CRMs: hundreds of sparse columns, and a few exceptional records.

Whole runs in blocks of input that are larger than what is encoded at once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator
from tests.running import load

if TYPE_CHECKING:
    from collections.abc import Iterator

EXCEPTIONAL: dict[str, dict[str, Any]] = {
    "a date without an offset": {"seen_at": "2024-01-01 00:00:00"},
    "a property that the schema lacks": {"new": 1},
    "a number as text": {"visits": "7"},
    "a number beyond a double": {"score": 9007199254740993},
    "a long string": {"custom_field_001": "x" * 600},
}


def tap(width: int, rows: int, first: int, change: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The messages of a tap.

    Args:
        width: how many sparse columns there are.
        rows: how many records.
        first: the number of the first record that is exceptional; every fiftieth is from there on.
        change: what makes it so.
    """
    columns = {f"custom_field_{number:03}": {"type": ["string", "null"]} for number in range(width)}
    properties = {
        "pk": {"type": "integer"},
        "visits": {"type": ["integer", "null"]},
        "score": {"type": ["number", "null"]},
        "seen_at": {"type": ["string", "null"], "format": "date-time"},
        "payload": {"type": ["array", "null"]},
        **columns,
    }
    yield {
        "type": "SCHEMA",
        "stream": "contacts",
        "schema": {"type": "object", "properties": properties},
        "key_properties": ["pk"],
    }
    for number in range(rows):
        values: dict[str, Any] = {"pk": number, "custom_field_001": "abc", "custom_field_007": "d"}
        if number % 50 == 3:
            values["payload"] = [f"tag-{tag}" for tag in range(80)]
        if number >= first and number % 50 == first % 50:
            values |= change
        yield {"type": "RECORD", "stream": "contacts", "record": values}
    yield {"type": "STATE", "value": {"rows": rows}}


@pytest.mark.parametrize("method", ["bulk", "set"])
@pytest.mark.parametrize("change", EXCEPTIONAL)
@pytest.mark.parametrize(("width", "rows", "first"), [(30, 7_200, 10), (400, 1_500, 0)])
def test_exceptional_records_cost_only_themselves(
    method: str, change: str, width: int, rows: int, first: int
) -> None:
    """Every record arrives, and the state is printed, at any position in a block."""
    messages = tap(width, rows, first, EXCEPTIONAL[change])
    fed = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    with Emulator() as segment:
        config = {"write_key": "key", "objects_url": segment.url, "bulk_url": segment.url}
        ran = load({**config, "method": method, "max_concurrency": 8}, fed)
        assert list(map(json.loads, ran.states[-1:])) == [{"rows": rows}]
        assert {row["id"] for row in segment.rows("contacts")} == set(map(str, range(rows)))
