"""Output of real taps is loaded completely, by both methods, with the key as the only setting."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.emulator.rules.names import column_name
from tests.running import KEY, RunResult, run

DATA = Path(__file__).parents[1] / "data"
OWN = sorted(path.stem for path in DATA.glob("*.singer"))
SHARED = Path(__file__).resolve().parents[3] / "shared" / "captures"
TOO_LARGE = "sdk-tap-fundamentals.singer.gz"
CAPTURES = sorted(path.name for path in SHARED.glob("*.singer*") if path.name != TOO_LARGE)
COLLECTIONS = {
    "spreadsheet_stream": "spreadsheet_streams",
    "hostile_property_names_stream": "hostile_property_names_streams",
}
# A property that is no key and whose name belongs to the warehouse; one that is transliterated.
NAMES = {"id": "id_", "name_with_emoji_\N{SMILING FACE WITH HORNS}": "name_with_emoji_smiling_imp"}

both_methods = pytest.mark.parametrize("method", ["set", "bulk"])


def _load(folder: Path, segment: Emulator, method: str, fed: bytes) -> RunResult:
    urls = {"objects_url": segment.url, "bulk_url": segment.url}
    return run(folder, {"write_key": KEY, "method": method, **urls}, fed)


def _read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _last_state(fed: bytes) -> str:
    """The value of the last STATE, as it is written in its line."""
    line = [line for line in fed.decode().splitlines() if '"STATE"' in line[:20]][-1]
    return line[line.index('"value":') + len('"value":') :].strip().removesuffix("}").strip()


def _expected(fed: bytes) -> dict[str, dict[str, dict[str, Any]]]:
    """Collection → id → properties of the last record, for each key or distinct record."""
    keys: dict[str, list[str]] = {}
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for line in fed.splitlines():
        message = json.loads(line)
        stream = message.get("stream", "")
        if message["type"] == "SCHEMA":
            keys[stream] = message["key_properties"]
        if message["type"] != "RECORD":
            continue
        values = message["record"]
        if keys[stream]:
            identifier = ":".join(str(values[key]).replace(":", "\\:") for key in keys[stream])
        else:
            sent = {name: value for name, value in values.items() if name[:5] != "_sdc_"}
            canonical = json.dumps(sent, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            identifier = hashlib.sha256(canonical.encode()).hexdigest()
        row = tables.setdefault(COLLECTIONS.get(stream, stream), {}).setdefault(identifier, {})
        row |= {
            str(NAMES.get(name) or column_name(name)): json.dumps(
                value, ensure_ascii=False, separators=(",", ":")
            )
            if isinstance(value, dict | list)
            else value
            for name, value in values.items()
            if [name] != keys[stream]
        }
    return tables


@both_methods
@pytest.mark.parametrize("name", CAPTURES)
def test_a_real_capture_loads(tmp_path: Path, shared: Path, name: str, method: str) -> None:
    """There is a row for every key with its last record's values; the last state is unchanged."""
    fed = _read(shared / "captures" / name)
    with Emulator(write_key=KEY) as segment:
        ran = _load(tmp_path, segment, method, fed)
        assert segment.refusals == []
        rows = segment.tables()
    assert (ran.code, ran.states[-1]) == (0, _last_state(fed))
    loaded = {
        table: {str(row.pop("id")): row for row in of_table} for table, of_table in rows.items()
    }
    assert loaded == _expected(fed)


@both_methods
def test_a_record_beyond_the_limit_is_a_reject(tmp_path: Path, shared: Path, method: str) -> None:
    """A record of more than 400 KB is a reject, and the run exits with 1."""
    with Emulator(write_key=KEY) as segment:
        ran = _load(tmp_path, segment, method, _read(shared / "captures" / TOO_LARGE))
        assert segment.refusals == []
        assert segment.tables() == {}
    assert (ran.code, ran.states, len(ran.sentences)) == (1, [], 1)
    assert "400 KB" in ran.sentences[0]
    assert "Traceback" not in ran.log


@both_methods
@pytest.mark.parametrize("name", OWN)
def test_a_capture_of_our_own_loads(tmp_path: Path, name: str, method: str) -> None:
    """Nested, composite, referenced and draft-4 schemas give the expected rows."""
    fed = (DATA / f"{name}.singer").read_bytes()
    with Emulator(write_key=KEY) as segment:
        ran = _load(tmp_path, segment, method, fed)
        assert segment.refusals == []
        rows = segment.tables()
    assert (ran.code, ran.states[-1]) == (0, _last_state(fed))
    assert rows == json.loads((DATA / f"{name}.rows.json").read_text(encoding="utf-8"))


def test_captures_are_there() -> None:
    """There are three captures of our own, each with its rows."""
    assert OWN == ["billing", "helpdesk", "shop"]
