"""What an address or a key from the configuration must look like, before anything is sent there.

No sentence here repeats what was given: a URL may hold a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from target_segment_objects.client import Address, find_ca_bundle
from target_segment_objects.errors import ConfigurationError
from target_segment_objects.settings.kinds import WrongValueError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "api_address",
    "has_certificates",
    "is_plain_http_beyond_loopback",
    "proxy_address",
    "write_key",
]

_URL_CHARACTERS = re.compile(r"[!-~]+")
_VERSION = re.compile(r"/v[0-9]+(/.*)?$")
_API = "like `https://objects.segment.com`"
_PROXY = "like `http://proxy.example.com:3128`"


def api_address(url: str) -> str:
    """The base address of an API, without a slash at its end.

    Raises:
        WrongValueError: it is not a URL of https or http, or holds more than a base address.
    """
    if not _host(url, _API):
        raise WrongValueError(f"must name a host, {_API}")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise WrongValueError("must not hold a user or a password: the key is `write_key`")
    if "?" in url or "#" in url:
        raise WrongValueError("must end with its path, without `?` and `#`")
    if found := _VERSION.search(parts.path):
        wrong = found.group().split("/")[1]
        raise WrongValueError(f"must be without the version path: leave out `/{wrong}`")
    if not _is_taken_by_the_client(url):
        raise WrongValueError(f"must be a URL of https or http, {_API}")
    return url.rstrip("/")


def proxy_address(url: str) -> str:
    """The address of a proxy, `http://` put before it if it has no scheme. It may have a password.

    Raises:
        WrongValueError: it is not a URL of http or https with a host and nothing after it.
    """
    if "://" not in url:
        url = f"http://{url}"
    host = _host(url, _PROXY)
    parts = urlsplit(url)
    if not host or parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise WrongValueError(f"must be a host and a port and nothing after it, {_PROXY}")
    return url.rstrip("/")


def is_plain_http_beyond_loopback(url: str) -> bool:
    """Whether what is sent to this address could be read on the way."""
    address = Address.parse(url, allow_http=True)
    return address.url.startswith("http:") and not address.loopback


def has_certificates(path: Path) -> bool:
    """Whether TLS roots can be read from this file; a directory is taken as it is."""
    try:
        return find_ca_bundle(str(path)) == str(path)
    except ConfigurationError:
        return False


def write_key(key: str) -> str:
    """A key that HTTP Basic can carry as a user's name.

    Raises:
        WrongValueError: it has blanks, or other characters that no key has.
    """
    if key != key.strip():
        raise WrongValueError("must not begin or end with a blank or a line break")
    if not all(" " <= character <= "~" for character in key):
        raise WrongValueError("must be printable ASCII, without control characters")
    if " " in key:
        raise WrongValueError("must have no blank in it: copy it again from the source's settings")
    if ":" in key:
        raise WrongValueError("must be the key alone, without a `:`")
    return key


def _host(url: str, example: str) -> str:
    """The host of a URL that has the right scheme and characters."""
    # Checked before the split, which drops tabs and line breaks in silence.
    if not _URL_CHARACTERS.fullmatch(url):
        raise WrongValueError(f"must be a URL without blanks and non-ASCII characters, {example}")
    host = None
    try:
        parts = urlsplit(url)
        if parts.port != 0:
            host = parts.hostname or ""
    except ValueError:  # a port that is no number, an IPv6 address without its bracket
        pass
    if host is None or parts.scheme not in {"http", "https"}:
        raise WrongValueError(f"must be a URL of https or http, {example}")
    return host


def _is_taken_by_the_client(url: str) -> bool:
    """Whether the client's own check agrees, so that no address fails later."""
    try:
        Address.parse(url, allow_http=True)
    except ConfigurationError:
        return False
    return True
