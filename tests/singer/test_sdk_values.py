"""Values through stream maps: what no map changes keeps every digit."""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from target_segment_objects.emulator import Emulator
from target_segment_objects.plan.parsing import from_python, parse_record
from target_segment_objects.plan.values import NonFinite, to_decimal
from target_segment_objects.singer.sdk_values import Token, to_sdk_values
from tests.running import load

NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})\.[0-9]{1,30}([eE][+-]?[0-9]{1,3})?\Z")


@given(NUMBERS)
def test_a_number_comes_back_as_the_same_number(token: str) -> None:
    """Law: no digit is lost, including zeros at the end."""
    back = from_python(to_sdk_values(Raw(token)))
    assert isinstance(back, Raw)
    assert to_decimal(bytes(back).decode()).compare_total(to_decimal(token)) == 0


@pytest.mark.parametrize("token", ["1.10", "515.0", "0.30000000000000000001", "1E+5"])
def test_a_number_in_plain_notation_comes_back_as_it_was(token: str) -> None:
    """The token is unchanged."""
    assert bytes(from_python(to_sdk_values(Raw(token)))).decode() == token


def test_an_exponent_beyond_decimals_passes_by() -> None:
    """Python has no such number; nothing raises an exception."""
    assert bytes(from_python(to_sdk_values(Raw("1e-99999999999999999999")))) == (
        b"1e-99999999999999999999"
    )


def test_containers_are_copied() -> None:
    """A map may change its record; the tap's record stays unchanged for the dead letter."""
    record = parse_record(b'{"a":{"b":[1.5,{"c":null}]},"d":"x","e":true,"f":12345678901234567890}')
    python = to_sdk_values(record)
    assert python["a"] == {"b": [Decimal("1.5"), {"c": None}]}
    python["a"]["b"].append(2)
    assert len(record["a"]["b"]) == 2
    assert python["f"] == 12345678901234567890


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_non_finite_numbers(token: str) -> None:
    """A map gets Python's floats; they are sent as they were."""
    python = to_sdk_values(NonFinite(token))
    assert isinstance(python, float)
    assert not math.isfinite(python)
    assert from_python(python).token == token
    assert from_python(Decimal(token)).token == token


@pytest.mark.parametrize(
    ("mapped", "taken"),
    [
        (dt.date(2024, 1, 31), "2024-01-31"),
        (dt.datetime(2024, 1, 31, 12, tzinfo=dt.timezone.utc), "2024-01-31T12:00:00+00:00"),
        (dt.time(12, 30), "12:30:00"),
        ((1, "a"), [1, "a"]),
        ({1: {"a": (None,)}}, {"1": {"a": [None]}}),
        (True, True),
        (None, None),
    ],
)
def test_what_maps_make(mapped: Any, taken: Any) -> None:
    """Dates become ISO 8601, tuples lists, names text."""
    assert from_python(mapped) == taken


def test_a_float_that_a_map_computes() -> None:
    """It becomes a token, so that it stays a number and does not become an integer."""
    assert bytes(from_python(2.0)) == b"2.0"
    assert bytes(from_python(1e300)) == b"1e+300"


TOKENS = ("0.00000010", "1e5", "1E+5", "-0.0", "1.50", "1e-400", "123456789012345678901.5")


@pytest.mark.parametrize(
    "setting",
    [
        {"stream_maps": {"rooms": {"added": "'x'"}}},
        {"stream_maps": {"rooms": {"__alias__": "rooms"}}},
        {"add_record_metadata": True},
        {"flattening_enabled": True, "flattening_max_depth": 2},
    ],
    ids=lambda setting: next(iter(setting)),
)
@pytest.mark.parametrize("token", TOKENS)
def test_what_no_map_touches_is_as_the_tap_wrote_it(setting: dict[str, Any], token: str) -> None:
    """This holds in ids, string columns and JSON text: a new map creates no second row."""
    schema = {"key": "string", "text": "string", "list": "array"}
    properties = {name: {"type": kind} for name, kind in schema.items()}
    head = {"type": "SCHEMA", "stream": "rooms", "schema": {"properties": properties}}
    lines = [
        json.dumps({**head, "key_properties": ["key"]}),
        '{"type":"RECORD","stream":"rooms","record":{"key":#,"text":#,"list":[#]}}'.replace(
            "#", token
        ),
    ]
    rows = []
    for chosen in ({}, setting):
        with Emulator() as segment:
            config = {"write_key": "key", "method": "set", "objects_url": segment.url, **chosen}
            load(config, "\n".join(lines).encode())
            rows.append(segment.rows("rooms")[0])
    assert {name: rows[1][name] for name in rows[0]} == rows[0]
    assert rows[0]["id"] == token


def test_expressions_see_numbers() -> None:
    """An unchanged number keeps its token, but a computed one is a number."""
    number = Token("1e5")
    assert number + 1 == 100_001
    assert from_python(number) == Raw("1e5")
    assert from_python(number * 1) == Raw("1E+5")
    assert from_python(copy.deepcopy({"a": [number]})) == {"a": [Raw("1e5")]}
