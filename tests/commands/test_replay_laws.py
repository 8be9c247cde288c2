"""Law: after a replay, the warehouse is that of a run without refusals.

Records go through maps, metadata, names and filters; Segment refuses some of the objects, by both
methods; then the dead letter is replayed with the same settings.
"""

from __future__ import annotations

import json
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from target_segment_objects.commands.replay.command import replay
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.builders import rejects_in

EXTRACTED = "2024-01-31T12:00:00+00:00"
SCHEMA = {
    "properties": {
        "id": {"type": "string"},
        "price": {"type": "number"},
        "email": {"type": "string"},
        "at": {"type": "object", "properties": {"floor": {"type": "integer"}}},
    }
}
MAPS = [
    {},
    {"room": {"price": "price * 2"}},
    {"room": {"email": "md5(email)"}},
    {"room": {"__filter__": "price < 4"}},
    {"room": {"__alias__": "den", "key": "id", "__key_properties__": ["key"]}},
    {"room": {"id": "id", "price": "price * 2", "__else__": None}},
    {"room": {"id": "id", "price": "price", "__else__": None}, "rooms": {"price": "price + 1"}},
]
COLLECTIONS = [{}, {"room": "places", "rooms": "hotel_rooms"}, {"rooms": "hotel_rooms"}]


def rows(segment: Emulator) -> dict[str, list[dict[str, Any]]]:
    """What arrived, without the times of the runs."""
    return {
        table: sorted(
            (
                {
                    name: value
                    for name, value in row.items()
                    if not name.endswith(
                        ("_received_at", "_batched_at", "_sequence", "_started_at")
                    )
                }
                for row in content
            ),
            key=lambda row: str(row["id"]),
        )
        for table, content in segment.tables().items()
        if content
    }


def _without_faults(reject: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reject.items() if name != "faults"}


def load(config: dict[str, Any], count: int) -> None:
    """Rooms of two streams, or of one where both would be one collection."""
    messages: list[dict[str, Any]] = []
    for stream in ["room", "rooms"] if config["collections"] else ["room"]:
        head = {"type": "SCHEMA", "stream": stream, "schema": SCHEMA, "key_properties": ["id"]}
        messages.append(head)
        for number in range(count):
            room = {"id": f"0{number}", "price": number + 0.5, "email": f"{number}@example.org"}
            room["at"] = {"floor": number}
            messages.append(
                {
                    "type": "RECORD",
                    "stream": stream,
                    "record": room,
                    "time_extracted": EXTRACTED,
                    "version": 7,
                }
            )
    text = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    TargetSegmentObjects(config=config).listen(BytesIO(text))  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(["bulk", "set"]),
    maps=st.sampled_from(MAPS),
    collections=st.sampled_from(COLLECTIONS),
    metadata=st.booleans(),
    flattening=st.booleans(),
    count=st.integers(1, 6),
    first=st.integers(1, 4),
    refused=st.integers(1, 4),
)
def test_a_replay_delivers_what_was_refused(  # noqa: PLR0913, PLR0917  drawn
    method: str,
    maps: dict[str, Any],
    collections: dict[str, str],
    metadata: bool,  # noqa: FBT001
    flattening: bool,  # noqa: FBT001
    count: int,
    first: int,
    refused: int,
) -> None:
    """The warehouse equals that of a run without refusals, and the dead letter is empty.

    Before that, a replay in which everything is refused again leaves all rejects unchanged.
    """
    with Emulator() as perfect, Emulator() as segment, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rejects.jsonl")

        def config(to: Emulator) -> dict[str, Any]:
            return {
                "write_key": "replay-key",
                "method": method,
                "objects_url": to.url,
                "bulk_url": to.url,
                "part_size_bytes": 1,
                "stream_maps": maps,
                "collections": collections,
                "add_record_metadata": metadata,
                "flattening_enabled": flattening,
                "flattening_max_depth": 2 if flattening else 0,
                "max_rejects": -1,
                "dead_letter_path": str(path),
            }

        load(config(perfect), count)
        status, call = (413, "upload") if method == "bulk" else (400, "set")
        segment.fault(InjectedFault(call=call, first=first, count=refused, status=status))
        load(config(segment), count)
        if path.exists():
            before = rejects_in(path)
            segment.fault(InjectedFault(call=call, count=None, status=status))
            done = replay(path, config(segment))
            assert (done.sent, done.refused + done.filtered) == (0, len(before))
            assert list(map(_without_faults, rejects_in(path))) == list(
                map(_without_faults, before)
            )
            segment.clear_faults()
            done = replay(path, config(segment))
            assert done.sent == len(before)
            assert done.refused == done.filtered == 0
            assert path.read_bytes() == b""
        assert rows(segment) == rows(perfect)
