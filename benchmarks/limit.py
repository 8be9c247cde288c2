"""The limit program: the fastest that Python can be with these rows, in as few steps as possible.

    python -m benchmarks.limit DATA_SET URL

It decodes blocks from stdin and encodes them with types that are written for this data set,
compresses in a thread with the fastest installed library, and uploads at the end. It accepts no
other input, handles no unusual lines and has no options: it only serves as a comparison.
"""

from __future__ import annotations

import http.client
import importlib
import json
import queue
import sys
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from benchmarks.rows import DATA_SETS

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 1 << 18
_HANDED_OVER = 4
_SWITCH_SECONDS = 0.0001
_COMPRESSORS = (("isal.isal_zlib", 1), ("zlib_ng.zlib_ng", 1), ("zlib", 1))
_GZIP = 31
_TYPES = {
    "integer": int | None,
    "number": float | None,
    "string": str | None,
    "boolean": bool | None,
}


class _Schema(Struct, tag="SCHEMA", tag_field="type", gc=False):
    pass


class _State(Struct, tag="STATE", tag_field="type", gc=False):
    value: Raw


class _Envelope(Struct, tag="RECORD", tag_field="type", gc=False):
    stream: str
    record: Raw


class _Object(Struct, gc=False):
    id: str
    collection: str
    properties: Any


_encode_lines = msgspec.json.Encoder().encode_lines


def _flat(properties: dict[str, Any]) -> type[Any]:
    """Return the type of a flat stream's record; its id is removed before encoding."""
    fields: list[tuple[str, Any]] = [
        (name, _TYPES[schema["type"][1]]) for name, schema in properties.items() if name != "id"
    ]
    return msgspec.defstruct("Flat", [("id", int | UnsetType), *fields], gc=False)


def _flat_objects(collection: str, rows: list[Any]) -> list[_Object]:
    objects = [_Object(str(row.id), collection, row) for row in rows]
    for row in rows:
        row.id = UNSET
    return objects


class _Location(Struct, gc=False):
    latitude: float | None
    longitude: float | None
    zone: str | None


class _Address(Struct, gc=False):
    street: str | None
    city: str | None
    location: _Location | None


class _Name(Struct, gc=False):
    given: str | None
    family: str | None


class _Customer(Struct, gc=False):
    email: str | None
    name: _Name
    address: _Address
    labels: Raw


class _Card(Struct, gc=False):
    brand: str | None
    year: int | None
    month: int | None


class _Payment(Struct, gc=False):
    method: str | None
    card: _Card | None


class _Order(Struct, gc=False):
    id: int
    number: str | None
    placed_at: str | None
    total: float | None
    note: str | None
    customer: _Customer
    payment: _Payment
    items: Raw
    events: Raw


class _FlatOrder(Struct, gc=False):
    number: str | None
    placed_at: str | None
    total: float | None
    note: str | None
    customer_email: str | None
    customer_name_given: str | None
    customer_name_family: str | None
    customer_address_street: str | None
    customer_address_city: str | None
    customer_address_location_latitude: float | None
    customer_address_location_longitude: float | None
    customer_address_location_zone: str | None
    customer_labels: str
    payment_method: str | None
    payment_card_brand: str | None
    payment_card_year: int | None
    payment_card_month: int | None
    items: str
    events: str


_NO_LOCATION = _Location(None, None, None)
_NO_CARD = _Card(None, None, None)


def _order_objects(collection: str, rows: list[_Order]) -> list[_Object]:
    objects = []
    for row in rows:
        customer, payment = row.customer, row.payment
        name, address, card = customer.name, customer.address, payment.card or _NO_CARD
        location = address.location or _NO_LOCATION
        flat = _FlatOrder(
            row.number,
            row.placed_at,
            row.total,
            row.note,
            customer.email,
            name.given,
            name.family,
            address.street,
            address.city,
            location.latitude,
            location.longitude,
            location.zone,
            str(customer.labels, "utf-8"),
            payment.method,
            card.brand,
            card.year,
            card.month,
            str(row.items, "utf-8"),
            str(row.events, "utf-8"),
        )
        objects.append(_Object(str(row.id), collection, flat))
    return objects


def _single(
    stream: str, row: type[Any], objects: Callable[[str, list[Any]], list[_Object]]
) -> tuple[type[Any], Callable[[list[Any]], bytes]]:
    """For one stream: the whole line has a type."""
    line: type[Any] = msgspec.defstruct(
        "Line", [("record", row)], tag="RECORD", tag_field="type", gc=False
    )

    def encode(messages: list[Any]) -> bytes:
        rows = [message.record for message in messages if type(message) is line]
        return _encode_lines(objects(stream, rows))

    return line, encode


def _several(streams: dict[str, type[Any]]) -> tuple[type[Any], Callable[[list[Any]], bytes]]:
    """For several streams: an envelope around each record, which its stream's decoder reads."""
    decoders = {stream: msgspec.json.Decoder(record).decode for stream, record in streams.items()}

    def encode(messages: list[Any]) -> bytes:
        objects = []
        for message in messages:
            if type(message) is _Envelope:
                row = decoders[message.stream](message.record)
                objects.append(_Object(str(row.id), message.stream, row))
                row.id = UNSET
        return _encode_lines(objects)

    return _Envelope, encode


def _typed(name: str) -> tuple[type[Any], Callable[[list[Any]], bytes]]:
    """Return the type of this data set's record lines, and the function that encodes a block."""
    streams = DATA_SETS[name].streams
    if name == "nested":
        return _single("orders", _Order, _order_objects)
    flat = {stream: _flat(properties) for stream, properties in streams.items()}
    if len(flat) > 1:
        return _several(flat)
    ((stream, record),) = flat.items()
    return _single(stream, record, _flat_objects)


def _compressor() -> Any:
    """Return the fastest compressor that is installed."""
    for name, level in _COMPRESSORS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return module.compressobj(level, module.DEFLATED, _GZIP)
    raise AssertionError


def _compress(lines: queue.Queue[bytes | None], spool: IO[bytes]) -> None:
    compressor = _compressor()
    while (block := lines.get()) is not None:
        spool.write(compressor.compress(block))
    spool.write(compressor.flush())


def _upload(url: str, spool: IO[bytes]) -> None:
    size = spool.tell()
    spool.seek(0)
    client = http.client.HTTPConnection(url.removeprefix("http://"))

    def call(path: str, body: IO[bytes] | bytes, size: int) -> bytes:
        client.request("POST", path, body, {"Content-Length": str(size)})
        answer = client.getresponse()
        return answer.read()

    session = json.loads(call("/v0/start", b"", 0))["sync_id"]
    call(f"/v0/upload/{session}", spool, size)
    call(f"/v0/finish/{session}", b"", 0)
    client.close()


def _run(name: str, url: str) -> None:
    sys.setswitchinterval(_SWITCH_SECONDS)
    line, encode = _typed(name)
    decode_lines = msgspec.json.Decoder(line | _State | _Schema).decode_lines
    lines: queue.Queue[bytes | None] = queue.Queue(_HANDED_OVER)
    state = b""
    with tempfile.TemporaryFile() as spool, open(0, "rb", buffering=_BLOCK) as stdin:
        thread = threading.Thread(target=_compress, args=(lines, spool))
        thread.start()
        rest = b""
        while block := stdin.read(_BLOCK):
            whole, _, rest = (rest + block).rpartition(b"\n")
            messages = decode_lines(whole)
            lines.put(encode(messages))
            for message in messages:
                if type(message) is _State:
                    state = bytes(message.value)
        lines.put(None)
        thread.join()
        _upload(url, spool)
    sys.stdout.write(state.decode() + "\n")


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2])
