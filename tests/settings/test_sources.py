"""The sources of the configuration: files, variables and `.env`, and their messages."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path

import pytest

from target_segment_objects.errors import ConfigurationError
from target_segment_objects.settings.declared import DECLARED, Settings
from target_segment_objects.settings.sources import PREFIX, read_configuration
from tests.settings.page import PAGE, page

KEY = "aVerySecretWriteKey42"


@pytest.fixture
def write(tmp_path: Path) -> Path:
    """The path of a configuration file that a test writes."""
    return tmp_path / "config.json"


def error_message(paths: list[str], environ: dict[str, str] | None = None) -> str:
    """The error's message; nothing of its whole traceback or chain holds the key."""
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(paths, environ or {}, pytest.fail)
    message = "".join(traceback.format_exception(caught.value))
    assert KEY not in message
    assert KEY not in repr(caught.value)
    assert caught.value.__context__ is None
    return str(caught.value)


def read(text: str) -> object:
    """The value of one variable, for `stream_map_config`, which allows any object."""
    return read_configuration([], {f"{PREFIX}STREAM_MAP_CONFIG": text}, pytest.fail)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is not JSON: check line 1, column 1"),
        (b'{\n  "write_key": "aVerySecretWriteKey42",\n  oops\n}', "line 3, column 3"),
        (b'{"write_key": "aVerySecretWriteKey42"', "is not JSON: check line 1, column 38"),
        (b'["aVerySecretWriteKey42"]', "must contain one JSON object of settings"),
        (b'"aVerySecretWriteKey42"', "must contain one JSON object of settings"),
        (b"null", "must contain one JSON object of settings"),
        (
            b'{"write_key": "aVerySecretWriteKey42\xff"}',
            "is not UTF-8: byte 37 begins no character",
        ),
        ('{"write_key": "x"}'.encode("utf-16"), "is not UTF-8"),
        (b'{"retry_seconds": NaN}', "is not JSON: it contains NaN"),
        (b'{"a": ' + b"[" * 100_000, "is not JSON"),
        (b'{"a": 1' + b"0" * 10_000 + b"}", "is not JSON: it contains"),
    ],
)
def test_an_unreadable_file_is_one_sentence(write: Path, content: bytes, rule: str) -> None:
    """The message for a file without a JSON object has its path and the rule, never its content."""
    write.write_bytes(content)
    message = error_message([str(write)])
    assert repr(str(write)) in message
    assert rule in message
    assert "\n" not in message


def test_a_missing_file_and_a_directory_are_one_sentence(tmp_path: Path) -> None:
    """The message has the path and what is wrong with it."""
    missing = str(tmp_path / "none.json")
    assert error_message([missing]) == f"the configuration file {missing!r} does not exist"
    assert "cannot be read: Is a directory" in error_message([str(tmp_path)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_one_sentence(write: Path) -> None:
    """The message has the system's reason."""
    write.write_text("{}")
    write.chmod(0)
    assert "cannot be read: Permission denied" in error_message([str(write)])


def test_a_byte_order_mark_is_passed_over(write: Path) -> None:
    """Windows editors write one."""
    write.write_bytes(b'\xef\xbb\xbf{"method": "set"}')
    assert read_configuration([str(write)], {}) == {"method": "set"}


def test_the_later_file_wins(tmp_path: Path) -> None:
    """Settings are replaced one by one, in the order of the command line."""
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text('{"method": "set", "region": "dublin"}')
    second.write_text('{"region": "oregon", "nulls": "send"}')
    config = read_configuration([str(first), str(second)], {})
    assert config == {"method": "set", "region": "oregon", "nulls": "send"}


@pytest.mark.parametrize("paths", [[], ["ENV"]])
def test_the_environment_is_read_with_and_without_env(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables are used whatever `--config` says."""
    monkeypatch.chdir(tmp_path)
    assert read_configuration(paths, {f"{PREFIX}WRITE_KEY": KEY}) == {"write_key": KEY}


def test_a_variable_gives_what_no_file_gives(write: Path) -> None:
    """The key may stay in the environment; a null in a file means not set."""
    write.write_text('{"method": "set", "nulls": null}')
    environ = {f"{PREFIX}WRITE_KEY": KEY, f"{PREFIX}METHOD": "bulk", f"{PREFIX}NULLS": "drop"}
    assert read_configuration([str(write)], environ, pytest.fail) == {
        "method": "set",
        "nulls": "drop",
        "write_key": KEY,
    }


def test_variables_win_over_files_with_env(
    write: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the SDK documents it, at any position of `ENV`."""
    monkeypatch.chdir(tmp_path)
    write.write_text('{"method": "set", "nulls": "send"}')
    for paths in (["ENV", str(write)], [str(write), "ENV"]):
        config = read_configuration(paths, {f"{PREFIX}NULLS": "drop"}, pytest.fail)
        assert config == {"method": "set", "nulls": "drop"}


def test_what_meltano_exports_beside_its_file_does_no_harm(write: Path) -> None:
    """It flattens nested objects in the variable, which are then no longer stream maps."""
    write.write_text('{"stream_maps": {"users": {"name": "first"}}, "collections": {"a": "b"}}')
    environ = {
        f"{PREFIX}STREAM_MAPS": '{"users.name": "first"}',
        f"{PREFIX}STREAM_MAPS_USERS_NAME": "first",
        f"{PREFIX}COLLECTIONS": '{"a": "b"}',
        f"{PREFIX}COLLECTIONS_A": "b",
        f"{PREFIX}_LOG_PARSER": "singer-sdk",
        f"{PREFIX}_DIALECT": "target_segment_objects",
    }
    config = read_configuration([str(write)], environ, pytest.fail)
    assert config == {"stream_maps": {"users": {"name": "first"}}, "collections": {"a": "b"}}


@pytest.mark.parametrize(
    ("variable", "file", "names"),
    [
        # What Meltano 4.4.1 exports and writes: null is lost, and with it a map of nothing else.
        (
            '{"public.users.email": null, "public.users.name": "x", "plain.email": null}',
            {"public": {"users": {"name": "x"}}},
            "`public.users.email`, `plain.email`",
        ),
        # A variable of the user's own: a name with a dot is lost.
        (
            '{"public.orders": {"card": "md5(card)"}, "plain": {"email": "__NULL__"}}',
            {"plain": {"email": "__NULL__"}},
            "`public.orders.card`",
        ),
        (
            '{"a": {"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"}}',
            {"a": {"a": "2"}},
            "`a.a`, `a.b`, `a.c` and 2 more",
        ),
    ],
)
def test_what_meltano_loses_is_a_warning(
    write: Path, variable: str, file: dict[str, object], names: str
) -> None:
    """It has the names that differ, never values; the file is used."""
    for setting in ("stream_maps", "collections"):
        write.write_text(json.dumps({setting: file}))
        warnings: list[str] = []
        environ = {f"{PREFIX}{setting.upper()}": variable}
        assert read_configuration([str(write)], environ, warnings.append) == {setting: file}
        (sentence,) = warnings
        assert f"differ in {names}; the file is used" in sentence
        assert "`__NULL__`" in sentence
        assert "md5" not in sentence


def test_dotenv_is_read_with_env_alone_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.env` in the working directory is used with `--config ENV`; the process does not change."""
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(f"{PREFIX}METHOD=set\n{PREFIX}REGION='dublin'\nOTHER=1\n")
    environ = {f"{PREFIX}REGION": "oregon"}
    assert read_configuration(["ENV"], environ) == {"method": "set", "region": "oregon"}
    assert read_configuration([], environ) == {"region": "oregon"}
    assert f"{PREFIX}METHOD" not in os.environ


def test_a_dotenv_that_is_not_utf8_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message does not have its content."""
    monkeypatch.chdir(tmp_path)
    Path(".env").write_bytes(f"{PREFIX}WRITE_KEY={KEY}".encode() + b"\xff\n")
    assert error_message(["ENV"]) == "the file '.env' is not UTF-8"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_concurrency", "20", 20),
        ("max_concurrency", " 7 ", 7),
        ("retry_seconds", "0.5", 0.5),
        ("retry_seconds", "1e2", 100.0),
        ("pluralize", "true", True),
        ("pluralize", "FALSE", False),
        ("pluralize", "1", True),
        ("pluralize", "0", False),
        ("method", "set", "set"),
        ("non_finite_numbers", "null", "null"),
        ("write_key", "0123", "0123"),
        ("collections", '{"users": "people"}', {"users": "people"}),
        ("stream_maps", '{"users": {"id": null}}', {"users": {"id": None}}),
        ("flattening_separator", ".", "."),
    ],
)
def test_a_variable_is_parsed_by_its_settings_type(name: str, text: str, value: object) -> None:
    """Every type has a form for variables."""
    config = read_configuration([], {PREFIX + name.upper(): text}, pytest.fail)
    assert config == {name: value}
    assert type(config[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("max_concurrency", "abc", "must be an integer from 1 to 20"),
        ("max_concurrency", "21", "must be an integer from 1 to 20"),
        ("max_concurrency", "1_0", "must be an integer from 1 to 20"),
        ("max_concurrency", '"10"', "must be an integer from 1 to 20, not a string"),
        ("max_concurrency", "null", "must be an integer from 1 to 20, not null"),
        ("max_concurrency", "true", "must be an integer from 1 to 20, not a boolean"),
        ("keep_alive_seconds", "NaN", "must be a number greater than 0 and less than 600"),
        ("keep_alive_seconds", "1e999", "must be a number greater than 0 and less than 600"),
        ("pluralize", "yes", "must be `true` or `false` (or `1` or `0`)"),
        ("method", "SET", "must be `bulk` or `set`"),
        ("collections", "users=people", "must be an object of stream names"),
        ("collections", "[]", "not an array"),
        ("write_key", f"{KEY}\n", "must not begin or end with a space or a line break"),
        ("stream_map_config", "{" * 100_000, "must be an object"),
    ],
)
def test_a_wrong_variable_is_one_sentence_that_names_it(name: str, text: str, rule: str) -> None:
    """The sentence begins with the variable and says what is allowed, not what was given."""
    variable = PREFIX + name.upper()
    message = error_message([], {variable: text, f"{PREFIX}LOCAL_WAREHOUSE": "w.duckdb"})
    assert message.startswith(f"{variable} ")
    assert rule in message
    assert len(message) < 200


@pytest.mark.parametrize("name", DECLARED)
@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_variable_is_an_error_that_names_it(name: str, text: str) -> None:
    """It is usually a secret that a deployment did not fill in."""
    variable = PREFIX + name.upper()
    assert f"{variable} is empty: unset it, or make it " in error_message([], {variable: text})


def test_one_message_names_wrong_variables_and_wrong_files(write: Path) -> None:
    """One error names all, in the order of the documentation."""
    write.write_text(json.dumps({"method": "x", "write_key": KEY}))
    environ = {f"{PREFIX}MAX_CONCURRENCY": "abc", f"{PREFIX}NULLS": ""}
    assert error_message([str(write)], environ).split("; ") == [
        "method must be `bulk` or `set`",
        f"{PREFIX}NULLS is empty: unset it, or make it `send` or `drop`",
        f"{PREFIX}MAX_CONCURRENCY must be an integer from 1 to 20",
    ]


def test_an_empty_key_is_not_reported_as_missing_too() -> None:
    """The variable is the only thing to correct."""
    message = error_message([], {f"{PREFIX}WRITE_KEY": ""})
    assert (
        message
        == f"{PREFIX}WRITE_KEY is empty: unset it, or make it the write key of a Segment source"
    )


def test_a_name_twice_in_a_file_is_a_warning_and_the_last_counts(write: Path) -> None:
    """JSON leaves this undefined; there is one warning, at any depth."""
    write.write_text('{"method": "set", "collections": {"a": "b", "a": "c"}, "method": "bulk"}')
    warnings: list[str] = []
    config = read_configuration([str(write)], {}, warnings.append)
    assert config == {"method": "bulk", "collections": {"a": "c"}}
    assert [warning.partition(" names ")[2] for warning in warnings] == [
        "'a' more than once; the last value is used",
        "'method' more than once; the last value is used",
    ]


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        ("WRITEKEY", f"did you mean {PREFIX}WRITE_KEY?"),
        ("MAX_CONCURENCY", f"did you mean {PREFIX}MAX_CONCURRENCY?"),
        ("LOAD_METHOD", "has no effect here: Segment merges objects of one id"),
        ("BATCH_CONFIG", "has no effect here: BATCH messages are not supported"),
        ("_LOAD_SCHEMA", None),
        ("COLLECTIONS_USERS", None),
        ("STREAM_MAPS_USERS_ID", None),
        ("LOGLEVEL", None),
    ],
)
def test_a_slip_in_a_variables_name_is_a_warning(variable: str, warning: str | None) -> None:
    """Variables that Meltano and the SDK set for themselves are not mistakes."""
    warnings: list[str] = []
    assert read_configuration([], {PREFIX + variable: "x", "PATH": "y"}, warnings.append) == {}
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]


def test_what_is_read_is_what_settings_take(write: Path) -> None:
    """A file and the environment together give valid settings."""
    write.write_text('{"max_concurrency": 4.0, "retry_seconds": 5}')
    settings = Settings.from_config(
        read_configuration([str(write)], {f"{PREFIX}WRITE_KEY": KEY}), pytest.fail
    )
    assert (settings.write_key, settings.max_concurrency) == (KEY, 4)
    assert settings.retry_policy.budget_seconds == 5


def test_the_page_of_settings_is_current() -> None:
    """`docs/settings.md` matches the declarations."""
    assert PAGE.read_text(encoding="utf-8") == page()
