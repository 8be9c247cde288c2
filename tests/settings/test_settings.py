"""Every setting: what it allows, the sentence when it is wrong, and what is never shown."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from dataclasses import FrozenInstanceError, fields
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.errors import ConfigurationError
from target_segment_objects.settings.declared import DECLARED, Settings, config_jsonschema

if TYPE_CHECKING:
    from pathlib import Path

KEY = "aVerySecretWriteKey42"
PASSWORD = "aVerySecretPassword"

# The table of settings in the design, and the SDK's.
DEFAULTS: dict[str, object] = {
    "write_key": None,
    "method": "bulk",
    "region": "oregon",
    "objects_url": None,
    "bulk_url": None,
    "allow_http": False,
    "ca_bundle": None,
    "proxy": None,
    "local_warehouse": None,
    "collections": {},
    "pluralize": True,
    "allow_collection_digits": False,
    "nested": "flatten",
    "nulls": "send",
    "non_finite_numbers": "reject",
    "oversized_values": "reject",
    "type_mismatches": "coerce",
    "long_ids": "hash",
    "max_rejects": 0,
    "dead_letter_path": None,
    "report_path": None,
    "synchronous": True,
    "max_concurrency": 10,
    "part_size_bytes": 512_000_000,
    "compression_level": "auto",
    "keep_alive_seconds": 240,
    "checkpoint_seconds": 1800,
    "spool_dir": None,
    "spool_max_bytes": 10_000_000_000,
    "request_timeout_seconds": 60,
    "upload_timeout_seconds": 600,
    "retry_seconds": 600,
    "shutdown_seconds": 8,
    "unknown_messages": "error",
    "max_line_bytes": 16_777_216,
    "max_depth": 100,
    "stream_maps": None,
    "stream_map_config": None,
    "faker_config": None,
    "flattening_enabled": False,
    "flattening_max_depth": None,
    "flattening_max_key_length": None,
    "flattening_separator": None,
    "add_record_metadata": False,
    "validate_records": False,
}


def settings(**config: object) -> Settings:
    """Settings of a valid configuration without warnings."""
    return Settings.from_config({"write_key": KEY, **config}, pytest.fail)


def error_message(**config: object) -> str:
    """The error's message; nothing of its whole traceback or chain holds a secret."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_config({"write_key": KEY, **config}, list[str]().append)
    output = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in output
    assert PASSWORD not in output
    return str(caught.value)


def test_every_setting_is_declared_with_the_designs_default() -> None:
    """Names and defaults are the design's, no more and no fewer."""
    assert {name: setting.default for name, setting in DECLARED.items()} == DEFAULTS
    assert {setting.name: getattr(settings(), setting.name) for setting in fields(Settings)} == {
        **DEFAULTS,
        "write_key": KEY,
    }


@pytest.mark.parametrize("name", DECLARED)
def test_every_setting_is_described(name: str) -> None:
    """The description is a sentence of some length, and its default is allowed."""
    declaration = DECLARED[name]
    assert declaration.description.endswith(".")
    assert declaration.description[0].isupper()
    assert len(declaration.description) > 30
    if declaration.default is not None:
        assert declaration.kind.validate(declaration.default) == declaration.default


@pytest.mark.parametrize("name", DECLARED)
def test_the_unit_is_in_the_name_or_the_description(name: str) -> None:
    """A reader learns the unit of every number."""
    for unit in ("seconds", "bytes"):
        if name.endswith(unit):
            assert unit in DECLARED[name].description or unit in name


BOUNDS = [
    ("max_concurrency", 1, 20, "an integer from 1 to 20"),
    ("part_size_bytes", 1, 512_000_000, "an integer from 1 to 512000000"),
    ("max_line_bytes", 1, 2_147_483_647, "an integer from 1 to 2147483647"),
    ("max_depth", 1, 250, "an integer from 1 to 250"),
    ("flattening_max_depth", 0, 1000, "an integer from 0 to 1000"),
    ("flattening_max_key_length", 1, 10_000, "an integer from 1 to 10000"),
]


def test_tolerated_rejects_must_go_somewhere(tmp_path: Path) -> None:
    """Any `max_rejects` but 0 needs `dead_letter_path`; -1 is the least, and means any number."""
    for tolerated in (-1, 1):
        assert "dead_letter_path is required" in error_message(max_rejects=tolerated)
        path = str(tmp_path / "rejects.jsonl")
        assert settings(max_rejects=tolerated, dead_letter_path=path).max_rejects == tolerated
    assert "max_rejects" in error_message(max_rejects=-2, dead_letter_path=str(tmp_path / "r"))
    assert settings(max_rejects=0).dead_letter_path is None


@pytest.mark.parametrize("path", ["", "missing/rejects.jsonl"])
def test_the_dead_letter_lies_in_a_directory_that_is_there(tmp_path: Path, path: str) -> None:
    """A directory is not a file, and no directory is created."""
    assert "dead_letter_path" in error_message(dead_letter_path=str(tmp_path / path))


@pytest.mark.parametrize("path", ["", "missing/report.json", "/dev/null"])
def test_the_report_is_a_file_in_a_directory_that_is_there(tmp_path: Path, path: str) -> None:
    """Anything but a regular file is refused: the report would replace it."""
    assert "report_path" in error_message(report_path=str(tmp_path / path))
    there = tmp_path / "report.json"
    assert settings(report_path=str(there)).report_path == there
    there.touch()
    assert settings(report_path=str(there)).report_path == there


@pytest.mark.parametrize(("name", "least", "most", "allowed"), BOUNDS)
def test_an_integer_within_its_bounds_is_taken(
    name: str, least: int, most: int, allowed: str
) -> None:
    """Both bounds are allowed, also as integral floats; values beyond them are not."""
    for value in (least, most, float(least), float(most)):
        taken = getattr(settings(**{name: value}), name)
        assert taken == value
        assert type(taken) is int
    for beyond in (least - 1, most + 1, float(most + 1), 10**400):
        assert error_message(**{name: beyond}) == f"{name} must be {allowed}"
    others: list[tuple[object, str]] = [
        ("10", "a string"),
        (True, "a boolean"),
        (1.5, "a number"),
        (float("nan"), "a number"),
        (float("inf"), "a number"),
        ([1], "an array"),
        ({}, "an object"),
    ]
    for other, came in others:
        assert error_message(**{name: other}) == f"{name} must be {allowed}, not {came}"


def test_a_compression_level_is_a_number_or_auto() -> None:
    """A string is allowed too, as Meltano writes it; the program gets an integer."""
    assert settings(compression_level="auto").compression_level == "auto"
    for level in range(10):
        for value in (level, float(level), str(level), f" {level} "):
            taken = settings(compression_level=value).compression_level
            assert taken == level
            assert type(taken) is int
    allowed = "`auto` or an integer from 0 to 9"
    for wrong in (
        -1,
        10,
        10**400,
        10.0,
        "10",
        "-1",
        "",
        "Auto",
        "automatic",
        "1.0",
        "0x1",
        "9" * 400,
    ):
        assert error_message(compression_level=wrong) == f"compression_level must be {allowed}"
    others: list[tuple[object, str]] = [
        (True, "a boolean"),
        (1.5, "a number"),
        (float("nan"), "a number"),
        ([1], "an array"),
    ]
    for other, came in others:
        expected = f"compression_level must be {allowed}, not {came}"
        assert error_message(compression_level=other) == expected


ABOVE_ZERO = "a number greater than 0 and at most 31536000"
FROM_ZERO = "a number from 0, at most 31536000"
NUMBERS = [
    (
        "keep_alive_seconds",
        [0.1, 599.9, 1],
        [0, 600, -1],
        "a number greater than 0 and less than 600",
    ),
    ("checkpoint_seconds", [0, 31_536_000, 0.5], [-1, 31_536_001], FROM_ZERO),
    ("retry_seconds", [0, 31_536_000, 0.5], [-0.1, 1e300], FROM_ZERO),
    ("request_timeout_seconds", [0.1, 31_536_000], [0, -1, 1e300], ABOVE_ZERO),
    ("upload_timeout_seconds", [0.1, 31_536_000], [0, -1, 10**400], ABOVE_ZERO),
]


@pytest.mark.parametrize(("name", "right", "wrong", "allowed"), NUMBERS)
def test_a_number_within_its_bounds_is_taken(
    name: str, right: list[float], wrong: list[float], allowed: str
) -> None:
    """It becomes a float; the message for any other value says what is allowed."""
    for value in right:
        taken = getattr(settings(**{name: value}), name)
        assert taken == value
        assert type(taken) is float
    for value in (*wrong, float("nan"), float("inf")):
        assert error_message(**{name: value}) == f"{name} must be {allowed}"
    for text in ("", "x", "nan", "1_0", "0x1"):
        assert error_message(**{name: text}) == f"{name} must be {allowed}, not a string"
    assert error_message(**{name: False}) == f"{name} must be {allowed}, not a boolean"


CHOICES = {
    "method": "`bulk` or `set`",
    "region": "`oregon` or `dublin`",
    "nested": "`flatten`, `json` or `reject`",
    "nulls": "`send` or `drop`",
    "non_finite_numbers": "`reject` or `null`",
    "oversized_values": "`reject`, `truncate` or `drop`",
    "type_mismatches": "`coerce`, `send` or `reject`",
    "long_ids": "`hash` or `reject`",
    "unknown_messages": "`error` or `ignore`",
}


@pytest.mark.parametrize(("name", "allowed"), CHOICES.items())
def test_a_choice_is_one_of_its_words(name: str, allowed: str) -> None:
    """Each word is allowed; the message for any other value lists the words."""
    for word in allowed.replace(" or ", ", ").replace("`", "").split(", "):
        given = {"bulk_url": "https://bulk.example.com", name: word}
        assert getattr(settings(**given), name) == word
    for value in ("", "Bulk", "SEND", PASSWORD):
        assert error_message(**{name: value}) == f"{name} must be {allowed}"
    assert error_message(**{name: True}) == f"{name} must be {allowed}, not a boolean"


FLAGS = [
    "allow_http",
    "pluralize",
    "allow_collection_digits",
    "synchronous",
    "add_record_metadata",
    "validate_records",
]


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_a_boolean(name: str) -> None:
    """Nothing else is allowed: the string `"false"` would be true in Python."""
    for value in (True, False):
        assert getattr(settings(**{name: value}), name) is value
    others: list[tuple[object, str]] = [(1, "an integer"), ("false", "a string"), ([], "an array")]
    for other, came in others:
        assert error_message(**{name: other}) == f"{name} must be `true` or `false`, not {came}"


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("", "must be the write key of a Segment source, not an empty string"),
        ("  ", "must be the write key of a Segment source, not an empty string"),
        (f" {KEY}", "must not begin or end with a space or a line break"),
        (f"{KEY}\n", "must not begin or end with a space or a line break"),
        (f"{KEY}\u00a0", "must not begin or end with a space or a line break"),
        (f"{KEY}\x00{KEY}", "must be printable ASCII, without control characters"),
        (f"{KEY}é", "must be printable ASCII, without control characters"),
        (f"{KEY}:", "must be the key alone, without a `:`"),
        (42, "must be the write key of a Segment source, not an integer"),
        ([KEY], "must be the write key of a Segment source, not an array"),
        ({KEY: KEY}, "must be the write key of a Segment source, not an object"),
    ],
)
def test_an_invalid_write_key_is_not_in_the_message(key: object, rule: str) -> None:
    """The sentence says what is allowed; the key is in no part of the error."""
    assert error_message(write_key=key) == f"write_key {rule}"


def test_a_write_key_is_required_unless_all_is_local(tmp_path: Path) -> None:
    """With `local_warehouse` nothing is sent, so no key is needed."""
    message = "write_key is required: the write key of a Segment source (or set local_warehouse)"
    assert error_message(write_key=None) == message
    local = {"local_warehouse": str(tmp_path / "w.duckdb")}
    assert Settings.from_config(local, pytest.fail).write_key is None


@pytest.mark.parametrize("name", ["objects_url", "bulk_url"])
@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "not an empty string"),
        ("objects.segment.com", "must be a URL of https"),
        ("ftp://objects.segment.com", "must be a URL of https"),
        ("https://", "must name a host"),
        ("https://host:99999", "must be a URL of https"),
        ("https://host:0", "must be a URL of https"),
        ("https://[::1", "must be a URL of https"),
        ("https://a..b", "must be a URL of https"),
        ("https://host name", "must be a URL without spaces"),
        ("https://host\n.example.com", "must be a URL without spaces"),
        ("https://hôst", "must be a URL without spaces"),
        (f"https://user:{PASSWORD}@host", "must not contain a user or a password"),
        (f"https://{PASSWORD}@host", "must not contain a user or a password"),
        ("https://host/?", "must end with its path, without `?` and `#`"),
        (f"https://host?key={PASSWORD}", "must end with its path, without `?` and `#`"),
        ("https://host/#x", "must end with its path, without `?` and `#`"),
        ("https://objects.segment.com/v1", "without the version path: leave out `/v1`"),
        ("https://host/v0/", "without the version path: leave out `/v0`"),
        ("https://host/a/v1/set", "without the version path: leave out `/v1`"),
        ("http://host", "must be https, or loopback, or allow_http must be true"),
        ("http://127.0.0.1.example.com", "must be https, or loopback, or allow_http must be true"),
        (7, "not an integer"),
    ],
)
def test_an_invalid_address_is_not_in_the_message(name: str, url: object, rule: str) -> None:
    """The sentence names the setting and the rule that the address breaks."""
    message = error_message(**{name: url})
    assert message.startswith(f"{name} must ")
    assert rule in message


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://host", "https://host"),
        ("https://host:8443/prefix/", "https://host:8443/prefix"),
        ("HTTPS://Host/", "HTTPS://Host"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://localhost:1", "http://localhost:1"),
        ("https://host/version/v1x", "https://host/version/v1x"),
    ],
)
def test_an_address_is_taken_without_its_last_slash(url: str, address: str) -> None:
    """Https is allowed for any host, http for loopback."""
    for method in ("bulk", "set"):
        assert settings(objects_url=url, bulk_url=url, method=method).address == address


def test_plain_http_is_allowed_on_demand() -> None:
    """For an emulator in another container."""
    assert settings(allow_http=True, bulk_url="http://emulator:80").address == "http://emulator:80"


def test_addresses_follow_the_region() -> None:
    """Each region has its own, but Dublin has none for the bulk API."""
    assert settings(method="set").address == "https://objects.segment.com"
    assert settings().address == "https://objects-bulk-api.segmentapis.com"
    dublin = settings(region="dublin", method="set")
    assert dublin.address == "https://objects.euw1.segment.com"
    assert error_message(region="dublin").startswith("bulk_url is required with region: dublin and")
    assert settings(region="dublin", bulk_url="https://b").address == "https://b"


@pytest.mark.parametrize(
    ("proxy", "address"),
    [
        (f"http://user:{PASSWORD}@proxy:3128", f"http://user:{PASSWORD}@proxy:3128"),
        ("https://proxy/", "https://proxy"),
        ("proxy.example.com:3128", "http://proxy.example.com:3128"),
    ],
)
def test_a_proxy_may_have_a_password_and_lack_its_scheme(proxy: str, address: str) -> None:
    """As the usual environment variables are written."""
    assert settings(proxy=proxy).proxy == address


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        f"socks5://user:{PASSWORD}@proxy",
        f"http://user:{PASSWORD}@proxy:port",
        f"http://user:{PASSWORD}@",
        f"http://user:{PASSWORD}@proxy/path",
        f"http://proxy?{PASSWORD}",
        f"http://user:{PASSWORD} @proxy",
        f"http://[{PASSWORD}",
        5,
    ],
)
def test_an_invalid_proxy_is_not_in_the_message(proxy: object) -> None:
    """A proxy's address usually contains a password."""
    assert error_message(proxy=proxy).startswith("proxy must be ")


@pytest.mark.parametrize(
    "name", ["s", "sales", "sales_orders", "a" * 100, "a__b"], ids=lambda name: name[:12]
)
def test_a_valid_collection_is_taken_as_given(name: str) -> None:
    """Lower-case letters and underscores, 1 to 100 characters."""
    assert settings(collections={"any stream": name}).collections == {"any stream": name}


@pytest.mark.parametrize(
    "name",
    ["", "_a", "a_", "_", "A", "a-b", "a b", "a\n", "é", "a1", "1", "a" * 101],
    ids=lambda name: ascii(name)[:12],
)
def test_the_message_names_the_stream_of_an_invalid_collection(name: str) -> None:
    """It also has the rule, and mentions the setting for digits."""
    message = error_message(collections={"good": "fine", "my stream": name})
    assert message == (
        "collections must give names of lower-case letters and underscores (digits: "
        "allow_collection_digits), with at most 100 characters and no underscore at the "
        "beginning or end; check 'my stream'"
    )


def test_digits_in_collections_need_their_setting() -> None:
    """`allow_collection_digits` also applies to names that the user chose."""
    validated = settings(collections={"s": "s3_files2"}, allow_collection_digits=True)
    assert validated.collections == {"s": "s3_files2"}
    message = error_message(collections={"s": "s3_"}, allow_collection_digits=True)
    assert message.startswith("collections must give names of lower-case letters, digits and")


def test_many_invalid_collections_make_a_short_message() -> None:
    """The message fits in a log line."""
    message = error_message(collections={f"{'s' * 900}{n}": "" for n in range(50)})
    assert message.endswith("and 45 more")
    assert len(message) < 700


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("collections", [], "must be an object of stream names, each with its collection's name"),
        ("collections", {"a": {"b": 1}}, "check `a.b`"),
        ("collections", {"a": {"b": "c"}, "a.b": "d"}, "`a.b` occurs twice"),
        ("stream_maps", {"a": {"x": "1", "b": {"x": "1"}}}, "`a.b` may be a stream or a property"),
        ("collections", "{}", "not a string"),
        ("stream_maps", {"a": PASSWORD}, "must be an object of the SDK's stream maps; check `a`"),
        ("stream_maps", {"a": {"x": 7}}, "check `a.x`"),
        ("stream_maps", {"__else__": PASSWORD}, "check `__else__`"),
        ("stream_maps", {"a": {"__else__": PASSWORD}}, "check `a"),
        ("stream_map_config", PASSWORD, "must be an object, not a string"),
        ("faker_config", {"seed": [PASSWORD]}, "check `seed`"),
        ("flattening_separator", "", "not an empty string"),
    ],
)
def test_the_message_has_the_path_in_an_invalid_object(
    name: str, value: object, sentence: str
) -> None:
    """The path has names alone, never values."""
    found = error_message(**{name: value})
    assert found.startswith((f"{name} must be ", f"{name} has names with dots "))
    assert sentence in found


def test_paths_must_lead_somewhere(tmp_path: Path) -> None:
    """The spool needs a directory, the CA bundle certificates, the warehouse a parent directory."""
    file = tmp_path / "file"
    file.write_text("no certificate")
    missing = tmp_path / "missing"
    for wrong in (file, missing, tmp_path / ("x" * 5000), "", "\0", "\ud800"):
        message = "spool_dir must be an existing folder that can be written to"
        assert error_message(spool_dir=str(wrong)) == message
    for wrong in (file, missing, "", "\0"):
        message = "ca_bundle must be a file of certificates in PEM form, or a folder"
        assert error_message(ca_bundle=str(wrong)) == message
    for wrong in (tmp_path, missing / "w.duckdb", ""):
        message = "local_warehouse must be the path of a file in an existing folder"
        assert error_message(local_warehouse=str(wrong)) == message
    assert error_message(spool_dir=1).endswith(", not an integer")
    validated = settings(
        spool_dir=str(tmp_path), ca_bundle=str(tmp_path), local_warehouse=str(missing)
    )
    assert (validated.spool_dir, validated.ca_bundle, validated.local_warehouse) == (
        tmp_path,
        tmp_path,
        missing,
    )


def test_flattening_by_the_sdk_needs_its_depth() -> None:
    """The SDK has the same rule; this check comes first."""
    message = "flattening_max_depth is required with flattening_enabled"
    assert error_message(flattening_enabled=True) == message
    assert settings(flattening_enabled=True, flattening_max_depth=2).flattening_max_depth == 2


def test_one_message_names_every_invalid_setting() -> None:
    """A rule between settings is skipped while one of them is invalid by itself."""
    message = error_message(
        write_key="", region="dublin", method=1, max_depth=0, bulk_url="http://x/v1"
    )
    assert message.split("; ") == [
        "write_key must be the write key of a Segment source, not an empty string",
        "method must be `bulk` or `set`, not an integer",
        "bulk_url must be without the version path: leave out `/v1`",
        "max_depth must be an integer from 1 to 250",
    ]


def test_a_number_may_be_in_a_string_and_an_integer_may_not() -> None:
    """Meltano writes a fraction from its environment into the file as text."""
    assert settings(retry_seconds="0.5").retry_seconds == 0.5
    assert settings(retry_seconds="60").retry_policy.budget_seconds == 60
    assert error_message(retry_seconds="-1") == f"retry_seconds must be {FROM_ZERO}"
    assert error_message(retry_seconds="1e999") == f"retry_seconds must be {FROM_ZERO}"
    assert error_message(max_depth="60").endswith(", not a string")


def test_null_is_as_if_the_setting_were_not_there() -> None:
    """Tools write null for what is not set."""
    assert (
        Settings.from_config({**dict.fromkeys(DECLARED), "write_key": KEY}, pytest.fail)
        == settings()
    )


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        (
            "max_concurency",
            "unknown setting 'max_concurency' is ignored; did you mean max_concurrency?",
        ),
        ("writeKey", "unknown setting 'writeKey' is ignored; did you mean write_key?"),
        ("zzz", "unknown setting 'zzz' is ignored"),
        (
            "load_method",
            "the setting load_method has no effect here: Segment merges objects of one id",
        ),
        ("batch_size_rows", "the setting batch_size_rows has no effect here: batches are as large"),
        (
            "batch_config",
            "the setting batch_config has no effect here: BATCH messages are not supported",
        ),
    ],
)
def test_an_unknown_setting_is_a_warning(name: str, warning: str) -> None:
    """It says what is probably meant, or why it has no effect, without the value."""
    warnings: list[str] = []
    assert Settings.from_config({"write_key": KEY, name: PASSWORD}, warnings.append) == settings()
    assert len(warnings) == 1
    assert warnings[0].startswith(warning)
    assert PASSWORD not in warnings[0]


def test_a_setting_without_effect_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses with a local warehouse; a seed without the package that uses it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    config = {
        "local_warehouse": str(tmp_path / "w.duckdb"),
        "bulk_url": "https://host",
        "faker_config": {"seed": 1},
    }
    warnings: list[str] = []
    Settings.from_config(config, warnings.append)
    assert [warning.split()[0] for warning in warnings] == ["faker_config", "bulk_url"]


@pytest.mark.parametrize(("key", "warned"), [("k7#", True), ("abcdef7", True), ("abcdef78", False)])
def test_a_short_key_is_warned_of(key: str, *, warned: bool) -> None:
    """The warning, below 8 characters, does not show it; a local warehouse uses no key."""
    warnings: list[str] = []
    Settings.from_config({"write_key": key}, warnings.append)
    assert [warning.split()[0] for warning in warnings] == ["write_key"] * warned
    assert not any(key in warning for warning in warnings)
    warnings.clear()
    Settings.from_config({"write_key": key, "local_warehouse": "w.duckdb"}, warnings.append)
    assert warnings == []


def test_no_repr_shows_a_secret() -> None:
    """The key, the proxy's password and the user's own values stay out of logs."""
    validated = settings(proxy=f"http://u:{PASSWORD}@p", stream_map_config={"hash_seed": PASSWORD})
    assert KEY not in repr(validated) + str(validated)
    assert PASSWORD not in repr(validated) + str(validated)
    assert "method='bulk'" in repr(validated)


def test_settings_do_not_change() -> None:
    """They are frozen, and two runs do not share their collections."""
    validated = settings()
    with pytest.raises(FrozenInstanceError):
        validated.method = "set"  # type: ignore[misc]
    assert validated.collections is not settings().collections


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(DECLARED)) | st.text(), json_values, max_size=5))
def test_any_configuration_is_taken_or_refused_with_one_error(config: dict[str, Any]) -> None:
    """No value raises any other exception."""
    with suppress(ConfigurationError):
        Settings.from_config(config, list[str]().append)


def test_the_schema_is_a_json_schema_that_shows_what_is_declared() -> None:
    """It is valid, nothing is required, secrets are marked, and each call returns a new one."""
    schema = config_jsonschema()
    jsonschema.Draft202012Validator.check_schema(schema)
    json.dumps(schema)
    assert list(schema["properties"]) == list(DECLARED)
    assert "required" not in schema
    assert {
        name
        for name, property_schema in schema["properties"].items()
        if property_schema.get("secret")
    } == {
        "write_key",
        "proxy",
    }
    for name, property_schema in schema["properties"].items():
        assert property_schema["description"] == DECLARED[name].description
        assert property_schema.get("default") == DECLARED[name].default
        assert property_schema["title"]
    schema["properties"].clear()
    schema_again = config_jsonschema()
    schema_again["properties"]["collections"]["default"]["a"] = "b"
    assert config_jsonschema()["properties"]["collections"]["default"] == {}


def test_the_schema_agrees_with_the_checks_on_defaults_and_null() -> None:
    """The SDK, which validates by the schema, accepts every type that we accept."""
    validator = jsonschema.Draft202012Validator(config_jsonschema())
    given_defaults = {name: default for name, default in DEFAULTS.items() if default is not None}
    assert list(validator.iter_errors(given_defaults)) == []
    assert list(validator.iter_errors({"max_concurrency": 20.0})) == []
    assert list(validator.iter_errors({"max_concurrency": 21})) != []


def test_the_sdk_gets_its_part_without_secrets() -> None:
    """It gets what its own code reads, without nulls: it would apply a null stream map."""
    validated = settings(stream_maps={"a": None}, proxy="p:1")
    assert validated.for_sdk() == {
        "stream_maps": {"a": None},
        "add_record_metadata": False,
        "validate_records": False,
    }


def test_stages_get_their_options(tmp_path: Path) -> None:
    """Each setting arrives where it has its effect."""
    validated = settings(
        nested="json",
        long_ids="reject",
        collections={"a": "b"},
        max_depth=7,
        part_size_bytes=9,
        compression_level=1,
        spool_dir=str(tmp_path),
        retry_seconds=3,
        request_timeout_seconds=4,
        upload_timeout_seconds=5,
        max_concurrency=6,
        proxy="http://p",
        ca_bundle=str(tmp_path),
        allow_http=True,
    )
    assert validated.plan_options.nested == "json"
    assert validated.plan_options.long_ids == "reject"
    assert validated.plan_options.collections == {"a": "b"}
    assert validated.reader_options.max_depth == 7
    assert validated.bulk_limits.part_size_bytes == 9
    assert validated.bulk_limits.compression_level == 1
    assert validated.bulk_limits.spool_dir == str(tmp_path)
    assert validated.retry_policy.budget_seconds == 3
    assert validated.transport_options.timeout_seconds == 4
    assert validated.transport_options.upload_timeout_seconds == 5
    assert validated.transport_options.max_concurrency == 6
    assert validated.transport_options.proxy == "http://p"
    assert validated.transport_options.ca_bundle == str(tmp_path)
    assert validated.transport_options.allow_http
