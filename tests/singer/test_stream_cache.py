"""Taps that repeatedly send a stream's SCHEMA, alternating between two of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from target_segment_objects.emulator import Emulator
from target_segment_objects.singer import sinks as sink
from target_segment_objects.singer import streams as routes
from target_segment_objects.singer.stream_cache import (
    MAX_BYTES,
    STREAM_OVERHEAD_BYTES,
    PlannedStream,
    StreamCache,
)
from target_segment_objects.source import SourceStream
from tests.running import COMMAND, KEY, MEASURE, config_file, environment, lines, load, record
from tests.running import schema as schema_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMES = 60
FORMS = [
    {"id": "integer", "value": "integer"},
    {"id": "integer", "value": "string", "more": "boolean"},
]


def counted(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: list[tuple[str, bool]]
) -> None:
    """Record the calls of a function: the stream, and whether long strings were expected."""
    function: Callable[..., Any] = getattr(module, name)

    def calling(first: Any, *arguments: Any, **named: Any) -> Any:
        stream = first if isinstance(first, str) else first.stream
        calls.append((stream, bool(named.get("allow_long_strings"))))
        return function(first, *arguments, **named)

    monkeypatch.setattr(module, name, calling)


def loaded(
    method: str, messages: list[dict[str, Any]], **more: Any
) -> tuple[dict[str, Any], list[Any]]:
    """The values that arrived, by id, and the states."""
    with Emulator() as segment:
        config = {"write_key": KEY, "objects_url": segment.url, "bulk_url": segment.url}
        ran = load({**config, "method": method, **more}, lines(*messages))
        rows = [row for name in ("rooms", "guests", "stays") for row in segment.rows(name)]
        return {str(row["id"]): row["value"] for row in rows}, list(map(json.loads, ran.states))


@pytest.mark.parametrize("method", ["bulk", "set"])
@pytest.mark.parametrize("maps", [None, {"rooms": {"value": "value", "new": "1"}}])
@pytest.mark.parametrize("streams", [["rooms"], ["rooms", "guests", "stays"]])
def test_a_stream_that_goes_back_to_a_form_is_planned_no_more(
    monkeypatch: pytest.MonkeyPatch, method: str, maps: Any, streams: list[str]
) -> None:
    """Every record follows the SCHEMA before it, and each SCHEMA is planned once."""
    planned: list[tuple[str, bool]] = []
    counted(monkeypatch, sink, "compile_plan", planned)
    messages: list[dict[str, Any]] = []
    wanted = {}
    for number in range(TIMES):
        stream = streams[number % len(streams)]
        form = number // len(streams) % 2
        messages += [schema_of(stream, None, **FORMS[form]), record(stream, id=number, value=7)]
        wanted[str(number)] = [7, "7"][form]
    messages.append({"type": "STATE", "value": {"done": True}})
    found, states = loaded(method, messages, **({"stream_maps": maps} if maps else {}))
    assert found == wanted
    assert states[-1] == {"done": True}
    assert sorted(planned) == sorted([(stream, False) for stream in streams] * 2)


def test_a_stream_that_goes_back_has_its_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither plan nor decoder is created again, and long strings are remembered."""
    compiled: list[tuple[str, bool]] = []
    built: list[object] = []
    counted(monkeypatch, routes, "compile_stream", compiled)
    decoder = msgspec.json.Decoder

    def building(*arguments: Any, **options: Any) -> Any:
        built.append(arguments)
        return decoder(*arguments, **options)

    monkeypatch.setattr(msgspec.json, "Decoder", building)
    messages: list[dict[str, Any]] = [
        schema_of("guests", value="string"),
        record("guests", id="g", value="x"),
    ]
    for number in range(TIMES):
        messages.append(schema_of("rooms", None, **FORMS[number % 2]))
        messages += [record("rooms", id=number, value="x" * 600 if number % 2 else 1)]
    found, _ = loaded("bulk", messages)
    assert len(found) == TIMES + 1
    assert compiled == [("guests", False), ("rooms", False), ("rooms", False), ("rooms", True)]
    assert len(built) < 15


def test_forms_that_are_kept_are_bounded() -> None:
    """Of any number of SCHEMAs the latest are kept, within a number of bytes."""
    cache = StreamCache()
    size = 2_000
    sources = [SourceStream("rooms", b"%02000d" % number, ["id"]) for number in range(2_000)]
    for source in sources:
        cache.put(PlannedStream(source, [], None))
    kept = [source for source in sources if cache.take(source) is not None]
    assert kept == sources[-(MAX_BYTES // (size + STREAM_OVERHEAD_BYTES)) :]
    assert not any(map(cache.take, sources))
    for _ in range(2_000):  # what was taken counts no more
        cache.put(PlannedStream(sources[0], [], None))
        assert cache.take(SourceStream("rooms", sources[0].schema, None)) is None
        assert cache.take(SourceStream("guests", sources[0].schema, ["id"])) is None
    cache.put(PlannedStream(sources[1], [], None))
    assert cache.take(sources[0]) is not None


def test_a_schema_beyond_the_bound_is_not_kept() -> None:
    """It is planned anew each time."""
    cache = StreamCache()
    source = SourceStream("rooms", b"x" * MAX_BYTES, ["id"])
    cache.put(PlannedStream(source, [], None))
    assert cache.take(source) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's here")
def test_a_stream_that_really_changes_takes_bounded_memory(tmp_path: Path) -> None:
    """A thousand SCHEMAs of one stream, each with its own column and records."""
    columns = {f"column_{number}": ["string", "integer"][number % 2] for number in range(40)}
    fed = tmp_path / "tap.singer"
    with fed.open("wb") as file:
        for number in range(1_000):
            changing = {**columns, "id": "integer", f"more_{number}": "string"}
            file.write(lines(schema_of("rooms", None, **changing)))
            file.write(lines(record("rooms", id=number, column_0="x", column_1=1)))
    with Emulator() as segment, fed.open("rb") as stdin:
        config = config_file(tmp_path, {"write_key": KEY, "bulk_url": segment.url})
        ran = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, *COMMAND, "--config", config],
            stdin=stdin,
            capture_output=True,
            check=True,
            timeout=120,
            env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
        assert len(segment.rows("rooms")) == 1_000
    code, kilobytes = map(int, ran.stderr.splitlines()[-1].split())
    assert code == 0
    assert kilobytes < 115_000
