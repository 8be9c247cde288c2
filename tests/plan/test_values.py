"""What the law of the plan cannot reach: the ends of the numbers, and values by themselves."""

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
    """A token as its text, to compare."""
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
def test_numbers_at_their_ends(token: str, integer: object, number: object, text: str) -> None:
    """Whatever exponent a tap writes, a number is sent or misfits: nothing raises or grows."""
    assert values.is_finite(Raw(token))
    assert values.as_integer(Raw(token)) == integer
    assert plain(values.as_number(Raw(token))) == number
    assert plain(values.coerce_number(token)) == number
    assert values.coerce_boolean(Raw(token)) in (NO_MATCH, False)
    assert values.canonical_number(Raw(token)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_exact_is_the_decimal(number: Decimal) -> None:
    """Law: no digit is lost."""
    assert values.to_decimal(str(number)).compare_total(number) == 0


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6), st.integers(0, 20))
def test_one_number_has_one_text(number: Decimal, zeros: int) -> None:
    """Law: with a point, with an exponent or with zeros at its end it is the same id."""
    told = f"{number:f}" + "0" * zeros
    assert values.canonical_number(Raw(told)) == values.canonical_number(Raw(f"{number:E}"))
    assert Decimal(values.canonical_number(Raw(told))) == number


@pytest.mark.parametrize("digits", [3999, 4000, 4299, 4300, 5000])
def test_integers_of_thousands_of_digits(digits: int) -> None:
    """Digit for digit, beyond what Python makes an `int` of."""
    token = "7" * digits
    assert plain(values.as_integer(Raw(token))) == token
    made = values.coerce_integer(token)
    assert plain(made) == token or str(made) == token
    assert values.canonical_number(Raw(token)) == token
    assert values.is_finite(Raw(token))


@pytest.mark.parametrize(
    ("value", "text", "real"),
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
def test_dates(value: str, text: str, real: bool) -> None:  # noqa: FBT001
    """RFC 3339 goes byte for byte, a blank and a missing offset are corrected, the rest stays."""
    assert values.normalize_datetime(value) == (text, real)


@pytest.mark.parametrize(
    ("value", "boolean"),
    [(1, True), (0, False), (Raw("1.0"), True), (Raw("-0.0"), False), ("true", True)],
)
def test_what_is_a_boolean(value: Any, boolean: bool) -> None:  # noqa: FBT001
    """Numbers equal to 0 and 1, and the two words as JSON writes them."""
    assert values.coerce_boolean(value) is boolean


@pytest.mark.parametrize("value", [2, Raw("0.5"), "True", "1", "", [], {}])
def test_what_is_no_boolean(value: Any) -> None:
    """Anything else: no guess."""
    assert values.coerce_boolean(value) is NO_MATCH


def test_non_finite_numbers_become_null_with_their_paths() -> None:
    """In containers too, at any depth; the value itself stays as it was."""
    value = {"a": [1, NonFinite("NaN")], "b": Raw("1e999"), "c": Raw("1e9")}
    found: list[tuple[str, ...]] = []
    clean = values.without_non_finite(value, ("x",), found)
    assert found == [("x", "a", "1"), ("x", "b")]
    assert values.json_text(clean) == '{"a":[1,null],"b":null,"c":1e9}'
    assert isinstance(value["a"], list)


def test_a_record_without_keys_is_itself() -> None:
    """The order of its properties and what the SDK adds make no difference; a token does."""
    one = values.record_digest({"a": Raw("1.0"), "b": NonFinite("NaN"), "_sdc_batched_at": "x"})
    assert one == values.record_digest({"b": NonFinite("NaN"), "a": Raw("1.0")})
    assert one != values.record_digest({"b": NonFinite("NaN"), "a": Raw("1.00")})
    assert len(one) == 64


def test_a_string_of_sixteen_digits_keeps_them() -> None:
    """A number that no double is keeps its digits when it comes as a string too."""
    kept = values.coerce_number("9007199254740993")
    assert isinstance(kept, Raw)
    assert bytes(kept) == b"9007199254740993"
    assert values.coerce_number("9007199254740992") == 9007199254740992.0


def test_nearly_nothing_is_not_false() -> None:
    """A number below the doubles is not 0, and so no boolean."""
    assert values.coerce_boolean(Raw("1e-400")) is NO_MATCH
    assert values.coerce_boolean(Raw("0.0")) is False
