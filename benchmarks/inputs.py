"""The messages of a tap for the rows: files that are kept, and an endless stream.

Messages are written as singer-sdk taps write them: compact JSON in ASCII, `type` first, a
`time_extracted` in every RECORD, and a STATE after every 10,000 records and at the end.

    python -m benchmarks.inputs COUNT FILE    # repeats the file's flights with new ids
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import rows
from benchmarks.rows import DATA_SETS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CACHE", "STATE_EVERY", "input_file", "last_state", "messages"]

STATE_EVERY = 10_000
"""How many records are between two STATE messages."""

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "benchmarks"
"""The folder of the files, with a folder for each version of this program."""

_RECORD = b'{"type":"RECORD",'
_ID = b'"id":'
_EXTRACTED = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _state(number: int) -> dict[str, Any]:
    return {"bookmarks": {"rows": {"replication_key": "id", "replication_key_value": number}}}


def last_state(count: int) -> dict[str, Any]:
    """Return the value of the last STATE after this many rows."""
    return _state(count)


def messages(name: str, count: int) -> Iterator[bytes]:
    """Yield the lines for this many rows of a data set."""
    data = DATA_SETS[name]
    for stream, properties in data.streams.items():
        schema = {"type": "object", "properties": properties}
        head = {"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": ["id"]}
        yield _line(head)
    number = 0
    for number, (stream, record) in enumerate(itertools.islice(data.records(), count), 1):
        extracted = (_EXTRACTED + timedelta(microseconds=7_919 * number)).isoformat()
        head = {"type": "RECORD", "stream": stream, "record": record}
        yield _line({**head, "time_extracted": extracted})
        if number % STATE_EVERY == 0 and number < count:
            yield _line({"type": "STATE", "value": _state(number)})
    yield _line({"type": "STATE", "value": _state(number)})


def _sources() -> str:
    """Return a digest of what determines the lines: if it changes, a file is written again."""
    digest = hashlib.sha256(rows.flights_source().encode())
    for module in (rows.__file__, __file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()[:16]


def input_file(name: str, count: int, cache: Path = CACHE) -> Path:
    """Return the file of these rows, written if missing; files of other versions are removed."""
    folder = cache / _sources()
    path = folder / f"{name}-{count}.singer"
    if not path.exists():
        for other in cache.glob("*"):
            if other != folder:
                shutil.rmtree(other)
        folder.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(f".{os.getpid()}")
        with half.open("wb") as file:
            file.writelines(messages(name, count))
        half.rename(path)
    return path


def _write_again(count: int, path: Path) -> None:
    """Write this many rows to stdout: those of the file, repeated with new ids."""
    with path.open("rb") as file:
        lines = list(file)
    out = sys.stdout.buffer
    out.writelines(line for line in lines if line.startswith(b'{"type":"SCHEMA",'))
    # The text before and after the id, which is the first property.
    parts = [line.partition(_ID) for line in lines if line.startswith(_RECORD)]
    rests = [(head + _ID, rest[rest.index(b",") :]) for head, _, rest in parts]
    del lines, parts
    again = itertools.cycle(rests)
    for first in range(1, count + 1, STATE_EVERY):
        numbers = range(first, min(first + STATE_EVERY, count + 1))
        out.write(
            b"".join(
                [b"%b%d%b" % (head, number, rest) for number, (head, rest) in zip(numbers, again)]  # noqa: B905  one of them has no end
            )
        )
        out.write(_line({"type": "STATE", "value": _state(numbers[-1])}))


if __name__ == "__main__":
    _write_again(int(sys.argv[1]), Path(sys.argv[2]))
