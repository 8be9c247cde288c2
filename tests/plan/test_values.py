"""Extreme numbers, which the law of the plan does not reach, and single conversions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from target_segment_objects.plan import values
from target_segment_objects.plan.values import NO_MATCH, NonFinite

TINY = "1e-99999999999999999999"
ZERO = "0.00e99999999999999999999"


def plain(value: object) -> object:
    """The text of a token, to compare it."""
    return bytes(value).decode() if isinstance(value, Raw) else value


@pytest.mark.parametrize(
    ("token", "integer", "number", "text"),
    [
        (TINY, NO_MATCH, TINY, TINY),
        (f"-{TINY}", NO_MATCH, f"-{TINY}", f"-{TINY}"),
        (ZERO, 0, 0.0, "0"),
        ("1e-" + "9" * 5000, NO_MATCH, "1e-" + "9" * 5000, "1e-" + "9" * 5000),
        ("1e-5000", NO_MATCH, "1e-5000", "1e-5000"),
        ("1.5e-400", NO_MATCH, "1.5e-400", "0." + "0" * 399 + "15"),
        ("1e3", 1000, 1000.0, "1000"),
        ("-0.0", 0, -0.0, "0"),
        ("2.50", NO_MATCH, 2.5, "2.5"),
    ],
)
def test_extreme_numbers(token: str, integer: object, number: object, text: str) -> None:
    """Whatever exponent a tap writes, a number is sent or does not match; nothing raises."""
    assert values.is_finite(Raw(token))
    assert values.as_integer(Raw(token)) == integer
    assert plain(values.as_number(Raw(token))) == number
    assert plain(values.coerce_number(token)) == number
    assert values.coerce_boolean(Raw(token)) in (NO_MATCH, False)
    assert values.canonical_number(Raw(token)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_to_decimal_keeps_all_digits(number: Decimal) -> None:
    """For any decimal."""
    assert values.to_decimal(str(number)).compare_total(number) == 0


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6), st.integers(0, 20))
def test_one_number_has_one_text(number: Decimal, zeros: int) -> None:
    """Law: a point, an exponent or trailing zeros do not change the id."""
    text = f"{number:f}" + "0" * zeros
    assert values.canonical_number(Raw(text)) == values.canonical_number(Raw(f"{number:E}"))
    assert Decimal(values.canonical_number(Raw(text))) == number


@pytest.mark.parametrize("digits", [3999, 4000, 4299, 4300, 5000])
def test_integers_of_thousands_of_digits(digits: int) -> None:
    """All digits are kept, even more than Python converts to an `int`."""
    token = "7" * digits
    assert plain(values.as_integer(Raw(token))) == token
    number = values.coerce_integer(token)
    assert plain(number) == token or str(number) == token
    assert values.canonical_number(Raw(token)) == token
    assert values.is_finite(Raw(token))


@pytest.mark.parametrize(
    ("value", "text", "is_date"),
    [
        ("2024-02-29", "2024-02-29", True),
        ("2023-02-29", "2023-02-29", False),
        ("2024-01-31 12:00:00", "2024-01-31T12:00:00Z", True),
        ("2024-01-31t12:00:00z", "2024-01-31t12:00:00z", True),
        ("2024-01-31T12:00:00.123456789", "2024-01-31T12:00:00.123456789Z", True),
        ("2024-01-31T12:00:60+05:30", "2024-01-31T12:00:60+05:30", True),
        ("2024-01-31 12:00:00-08:00", "2024-01-31T12:00:00-08:00", True),
        ("2024-01-31T24:00:00Z", "2024-01-31T24:00:00Z", False),
        ("0000-00-00", "0000-00-00", False),
        ("", "", False),
        ("2024-01-31T12:00:00Z\n", "2024-01-31T12:00:00Z\n", False),
        ("٢٠٢٤-01-31", "٢٠٢٤-01-31", False),
    ],
)
def test_dates(value: str, text: str, is_date: bool) -> None:  # noqa: FBT001
    """RFC 3339 and other text are unchanged; a blank and a missing offset are corrected."""
    assert values.normalize_datetime(value) == (text, is_date)


@pytest.mark.parametrize(
    ("value", "boolean"),
    [(1, True), (0, False), (Raw("1.0"), True), (Raw("-0.0"), False), ("true", True)],
)
def test_values_that_are_booleans(value: Any, boolean: bool) -> None:  # noqa: FBT001
    """Numbers equal to 0 or 1, and `true` and `false` as strings."""
    assert values.coerce_boolean(value) is boolean


@pytest.mark.parametrize("value", [2, Raw("0.5"), "True", "1", "", [], {}])
def test_values_that_are_no_booleans(value: Any) -> None:
    """Nothing else is converted."""
    assert values.coerce_boolean(value) is NO_MATCH


def test_non_finite_numbers_become_null_with_their_paths() -> None:
    """In objects and arrays too, at any depth; the value itself is not changed."""
    value = {"a": [1, NonFinite("NaN")], "b": Raw("1e999"), "c": Raw("1e9")}
    paths: list[tuple[str, ...]] = []
    clean = values.without_non_finite(value, ("x",), paths)
    assert paths == [("x", "a", "1"), ("x", "b")]
    assert values.json_text(clean) == '{"a":[1,null],"b":null,"c":1e9}'
    assert isinstance(value["a"], list)


def test_the_digest_of_a_record() -> None:
    """The order of properties and the SDK's metadata do not change it; a number's text does."""
    digest = values.record_digest({"a": Raw("1.0"), "b": NonFinite("NaN"), "_sdc_batched_at": "x"})
    assert digest == values.record_digest({"b": NonFinite("NaN"), "a": Raw("1.0")})
    assert digest != values.record_digest({"b": NonFinite("NaN"), "a": Raw("1.00")})
    assert len(digest) == 64


def test_a_string_of_sixteen_digits_keeps_them() -> None:
    """A number without an equal double keeps its digits, also if it comes as a string."""
    kept = values.coerce_number("9007199254740993")
    assert isinstance(kept, Raw)
    assert bytes(kept) == b"9007199254740993"
    assert values.coerce_number("9007199254740992") == 9007199254740992.0


def test_a_tiny_number_is_not_false() -> None:
    """A number smaller than any double is not 0, and so no boolean."""
    assert values.coerce_boolean(Raw("1e-400")) is NO_MATCH
    assert values.coerce_boolean(Raw("0.0")) is False
