"""Where a write key may be sent, and which keys and proxies are accepted."""

from __future__ import annotations

import pytest

from target_segment_objects.client.address import Address, find_proxy
from target_segment_objects.client.secret import WriteKey
from target_segment_objects.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "host", "loopback"),
    [
        ("https://objects.segment.com", "objects.segment.com", False),
        ("https://objects.segment.com/", "objects.segment.com", False),
        ("https://objects.segment.com:8443/prefix/", "objects.segment.com:8443", False),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://127.8.9.10", "127.8.9.10", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://localhost:1", "localhost:1", True),
    ],
)
def test_an_address_is_split(url: str, host: str, *, loopback: bool) -> None:
    """Into its host, its path without a final slash, and whether it is on this machine."""
    address = Address.parse(url)
    assert address.url == url.rstrip("/")
    assert address.host == host
    assert address.loopback is loopback


@pytest.mark.parametrize(
    "url",
    [
        "",
        "objects.segment.com",
        "https://",
        "https:///v1",
        "ftp://objects.segment.com",
        "file:///etc/passwd",
        "http://objects.segment.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0",
        "https://user:s3cret@objects.segment.com",
        "https://s3cret@objects.segment.com",
        "https://objects.segment.com?token=s3cret",
        "https://objects.segment.com?",
        "https://objects.segment.com/#s3cret",
        "https://objects.segment.com:s3cret",
        "https://objects.segment.com:0",
        "https://objects.segment.com:70000",
        "https://objects..segment.com",
        "https://objects segment.com",
        "https://objects.segment.com\r\nX: s3cret",
        "https://öbjects.segment.com",
        "https://[::1",
        f"https://{'x' * 64}.com",
    ],
)
def test_an_address_that_is_not_safe_is_refused(url: str) -> None:
    """Plain http beyond loopback, user info, queries, and invalid URLs; no message shows them."""
    with pytest.raises(ConfigurationError) as caught:
        Address.parse(url)
    assert "s3cret" not in str(caught.value)


def test_plain_http_can_be_allowed() -> None:
    """For an emulator in another container, for example."""
    assert Address.parse("http://emulator:8080", allow_http=True).host == "emulator:8080"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "with\nline",
        "with\x00null",
        "ключ",
        "caf\xe9",
        "\x7f",
        " padded ",
        "tab\t",
        "k:ey",
        "Basic k",
    ],
)
def test_an_invalid_key_is_refused_and_not_shown(key: str) -> None:
    """An empty key, control and non-ASCII characters, blanks, a colon."""
    with pytest.raises(ConfigurationError, match="write_key") as caught:
        WriteKey(key)
    if len(key) > 3:
        assert key not in str(caught.value)


def test_a_key_is_sent_with_its_colon() -> None:
    """HTTP Basic: base64 of `KEY:`."""
    key = WriteKey("abc123")
    assert (key.auth.username, key.auth.password) == ("abc123", "")


@pytest.mark.parametrize("form", ["abc/123+", "abc%2F123%2B", "YWJjLzEyMys6", "YWJjLzEyMys="])
def test_every_form_of_a_key_is_redacted(form: str) -> None:
    """The key, its percent-encoding, and its base64 with and without the colon."""
    assert WriteKey("abc/123+").redact(f"<{form}>") in {"<***>", "<***=>"}


def test_sanitizing_redacts_the_key() -> None:
    """Control characters around a key do not hide it, and the repr never shows it."""
    key = WriteKey("abc123")
    assert key.sanitize("<\x00abc123\x00>") == "< *** >"
    assert repr(key) == "WriteKey(***)"


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("proxy:3128", "http://proxy:3128"),
        ("https://user:password@proxy", "https://user:password@proxy"),
        ("", None),
    ],
)
def test_a_proxy_is_http_or_https(proxy: str, expected: str | None) -> None:
    """With or without its scheme, and with user info; an empty text means no proxy."""
    assert find_proxy(Address.parse("https://objects.segment.com"), proxy) == expected


@pytest.mark.parametrize("proxy", ["socks5://s3cret@proxy", "http://s3cret@:99999", "http://"])
def test_another_proxy_is_refused_and_not_shown(proxy: str) -> None:
    """The message names the setting and not its value."""
    with pytest.raises(ConfigurationError, match="proxy") as caught:
        find_proxy(Address.parse("https://objects.segment.com"), proxy)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", ["socks5://s3cret@proxy", "http://s3cret@:99999"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_refused_by_its_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable, and not the setting, which is not set."""
    for variable in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name} .*http://proxy.example.com") as caught:
        find_proxy(Address.parse("https://objects.segment.com"), None)
    assert "s3cret" not in str(caught.value)
