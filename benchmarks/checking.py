"""Compares what arrived with the input; without this check there are no figures.

It compares every object's collection and id, in the order of its stream, their number, and some
objects completely. The expected objects are computed here from the input file, with the standard
library only.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from benchmarks.rows import Record

    Form = Callable[[dict[str, Any], Record], Record]
    """From a schema's properties and a record to the object's properties."""

__all__ = [
    "SAMPLES",
    "Expected",
    "VerificationError",
    "check",
    "expect",
    "segment_form",
    "stock_form",
    "with_route",
]

SAMPLES = 1_000
"""How many objects, at equal distances and the last one, are compared completely."""


class VerificationError(Exception):
    """What arrived differs from the input."""


class Expected(NamedTuple):
    """What should arrive.

    Attributes:
        counts: collection → number of objects; their ids are 1, 2, … in this order.
        samples: collection and id → properties.
    """

    counts: dict[str, int]
    samples: dict[tuple[str, str], Record]


class _Object(msgspec.Struct):
    id: str
    collection: str
    properties: msgspec.Raw


_decode = msgspec.json.Decoder(_Object).decode


def segment_form(properties: dict[str, Any], record: Record) -> Record:
    """The target's form: declared objects joined by `_`, arrays as text, without the key."""
    flat = dict(_segment_leaves(properties, record, ()))
    del flat["id"]
    return flat


def _segment_leaves(
    properties: dict[str, Any], record: Record | None, path: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    for name, schema in properties.items():
        value = None if record is None else record[name]
        if "properties" in schema:
            yield from _segment_leaves(schema["properties"], value, (*path, name))
        elif isinstance(value, list):
            yield "_".join((*path, name)), json.dumps(value, separators=(",", ":"))
        else:
            yield "_".join((*path, name)), value


def stock_form(properties: dict[str, Any], record: Record) -> Record:
    """The SDK's form: joined by `__`, a null object is one null, dates as Python prints them."""
    flat = dict(_stock_leaves(record, ()))
    for name, schema in properties.items():
        if schema.get("format") == "date-time" and flat[name] is not None:
            # Python 3.10 cannot parse the `Z`.
            flat[name] = datetime.fromisoformat(flat[name].replace("Z", "+00:00")).isoformat()
    return flat


def _stock_leaves(record: Record, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _stock_leaves(value, (*path, name))
        elif isinstance(value, list):
            yield "__".join((*path, name)), json.dumps(value, separators=(",", ":"))
        else:
            yield "__".join((*path, name)), value


def with_route(form: Form) -> Form:
    """The form of records to which a stream map added a `route`."""

    def form_with_route(properties: dict[str, Any], record: Record) -> Record:
        route = f"{record['origin']}-{record['dest']}"
        return form({**properties, "route": {}}, {**record, "route": route})

    return form_with_route


def expect(
    path: Path, count: int, form: Form, collections: dict[str, str] | None = None
) -> Expected:
    """Compute what the first rows of an input file should become.

    Args:
        path: the file; if it has fewer rows, they are repeated with new ids.
        count: the number of rows.
        form: the form of the contestant's objects.
        collections: stream → collection, for those with another name.

    Raises:
        VerificationError: the file's ids in a stream are not 1, 2, ….
    """
    with path.open("rb") as file:
        lines = [line for line in file if not line.startswith(b'{"type":"STATE"')]
    schemas: dict[str, dict[str, Any]] = {}
    while lines[0].startswith(b'{"type":"SCHEMA"'):
        head = json.loads(lines.pop(0))
        schemas[head["stream"]] = head["schema"]["properties"]
    cycles, rest = divmod(count, len(lines))
    streams = [line.split(b'"', 8)[7].decode() for line in lines]
    whole, part = Counter(streams), Counter(streams[:rest])
    wanted = {*range(0, count, max(1, count // SAMPLES)), count - 1}
    named = {stream: (collections or {}).get(stream, stream) for stream in schemas}
    seen: Counter[str] = Counter()
    samples: dict[tuple[str, str], Record] = {}
    for index, (stream, line) in enumerate(zip(streams, lines, strict=True)):
        seen[stream] += 1
        for cycle in range(cycles + 1):
            if index + cycle * len(lines) not in wanted:
                continue
            record = json.loads(line)["record"]
            if record["id"] != seen[stream]:
                raise VerificationError(f"{path.name}: row {seen[stream]} has id {record['id']}")
            number = seen[stream] + cycle * whole[stream]
            formed = form(schemas[stream], {**record, "id": number})
            samples[named[stream], str(number)] = formed
    counts = {named[stream]: cycles * whole[stream] + part[stream] for stream in schemas}
    return Expected({name: number for name, number in counts.items() if number}, samples)


def check(parts: Iterable[Path], expected: Expected) -> int:
    """Compare what arrived with what should have.

    Returns:
        How many objects there are.

    Raises:
        VerificationError: an object is missing, repeated, out of order, or different.
    """
    seen = dict.fromkeys(expected.counts, 0)
    samples = 0
    for part in parts:
        with gzip.open(part) as file:
            for line in file:
                obj = _decode(line)
                if obj.collection not in seen:
                    raise VerificationError(f"collection {obj.collection!r} is unknown")
                seen[obj.collection] += 1
                if obj.id != str(seen[obj.collection]):
                    raise VerificationError(
                        f"{obj.collection}: object {seen[obj.collection]} has id {obj.id!r}"
                    )
                sample = expected.samples.get((obj.collection, obj.id))
                if sample is not None:
                    samples += 1
                    _compare(obj, sample)
    if seen != expected.counts:
        raise VerificationError(f"{seen} objects arrived instead of {expected.counts}")
    if samples != len(expected.samples):
        raise VerificationError(f"{samples} of {len(expected.samples)} samples were seen")
    return sum(seen.values())


def _compare(obj: _Object, sample: Record) -> None:
    """Compare as JSON texts, so that 5 differs from 5.0, and true from 1."""
    found = json.loads(bytes(obj.properties))
    if json.dumps(found, sort_keys=True) != json.dumps(sample, sort_keys=True):
        names = sorted(
            name
            for name in found.keys() | sample.keys()
            if json.dumps(found.get(name, [])) != json.dumps(sample.get(name, []))
        )
        raise VerificationError(f"{obj.collection} {obj.id}: {', '.join(names)} differ")
