"""What an address or a key from the configuration must look like, before anything is sent there.

No sentence here repeats what was given: a URL may hold a password.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from target_segment_objects.kinds import WrongValueError

__all__ = ["api_address", "is_plain_http_beyond_loopback", "proxy_address", "write_key"]

_URL_CHARACTERS = re.compile(r"[!-~]+")
_VERSION = re.compile(r"/v[0-9]+(/.*)?$")
_PROXY_PORTS = "like `http://proxy.example.com:3128`"


def api_address(url: str) -> str:
    """The base address of an API, without a slash at its end.

    Raises:
        WrongValueError: it is not a URL of https or http, or holds more than a base address.
    """
    host = _host(url, "like `https://objects.segment.com`")
    parts = urlsplit(url)
    if not host:
        raise WrongValueError("must name a host, like `https://objects.segment.com`")
    if "@" in parts.netloc:
        raise WrongValueError("must not hold a user or a password: the key is `write_key`")
    if "?" in url or "#" in url:
        raise WrongValueError("must end with its path, without `?` and `#`")
    if found := _VERSION.search(parts.path):
        wrong = found.group().split("/")[1]
        raise WrongValueError(f"must be without the version path: leave out `/{wrong}`")
    return url.rstrip("/")


def proxy_address(url: str) -> str:
    """The address of a proxy; user and password are allowed.

    Raises:
        WrongValueError: it is not a URL of http or https with a host and nothing after it.
    """
    host = _host(url, _PROXY_PORTS)
    parts = urlsplit(url)
    if not host or parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise WrongValueError(f"must be a host and a port and nothing after it, {_PROXY_PORTS}")
    return url.rstrip("/")


def is_plain_http_beyond_loopback(url: str) -> bool:
    """Whether what is sent to this address could be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def write_key(key: str) -> str:
    """A key that HTTP Basic can carry as a user's name.

    Raises:
        WrongValueError: it has blanks at an end, or characters that no key has.
    """
    if key != key.strip():
        raise WrongValueError("must not begin or end with a blank or a line break")
    if not all(" " <= character <= "~" for character in key):
        raise WrongValueError("must be printable ASCII, without control characters")
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
        raise WrongValueError(f"must be a URL of https, {example}")
    return host


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
