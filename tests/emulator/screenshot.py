"""Creates docs/images/emulator.png from a real run: `python -m tests.emulator.screenshot`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from target_segment_objects.emulator import Emulator
from tests.emulator.browser import browser
from tests.emulator.wire import Client
from tests.running import KEY, ROOT, lines, record, run, schema, state

_HOTEL = ROOT / "examples" / "hotel"


def main() -> None:
    """Load the example hotel by both methods, with two refusals, and save the image."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Emulator(page=True, warehouse=folder / "hotel.duckdb") as segment,
            Client(segment, KEY) as client,
            browser(folder / "profile") as window,
        ):
            config = {"write_key": KEY, "objects_url": segment.url, "bulk_url": segment.url}
            for stream, file in (("room", "rooms-monday"), ("review", "reviews")):
                assert run(folder, config, _messages(stream, file)).code == 0
            client.one("2561345", name="Igloo", description="x" * 40_000)
            client.set({"id": "2561345", "properties": {"n": 1}}, collection="Rooms")
            client.finish(client.start(), "the tap failed on rooms-wednesday")
            config["method"] = "set"
            assert run(folder, config, _messages("room", "rooms-tuesday")).code == 0
            segment.flush()
            window.resize(1180, 1280, scale=1.25)
            window.prefer("light")
            window.open(segment.url)
            window.wait_for_text("#rows", "Cabin by the Fjord")
            goal = ROOT / "docs" / "images" / "emulator.png"
            goal.parent.mkdir(exist_ok=True)
            window.save(goal)


def _messages(stream: str, file: str) -> bytes:
    """Return the messages of the example's tap for a file."""
    catalog = json.loads((_HOTEL / "catalog.json").read_text(encoding="utf-8"))
    (entry,) = [item for item in catalog["streams"] if item["tap_stream_id"] == stream]
    rows = (_HOTEL / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
    described = schema(stream, **entry["schema"]["properties"])
    return lines(described, *(record(stream, **json.loads(row)) for row in rows), state({}))


if __name__ == "__main__":
    main()
