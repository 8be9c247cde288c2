"""Where requests go: the base address, the proxy, the TLS roots.

Only https, plain http to loopback, and no user info in an address: a mistake here would send the
write key in the clear. No message shows a part of an address that could be a secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from requests.utils import get_environ_proxies

from target_segment_objects.errors import ConfigurationError

__all__ = [
    "Address",
    "base_address",
    "find_ca_bundle",
    "find_proxy",
    "has_certificates",
    "proxy_address",
    "proxy_variable",
]

_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_URL_CHARACTERS: Final = re.compile(r"[!-~]+")
_VERSION: Final = re.compile(r"/(v[0-9]+)(/.*)?$")
_API_EXAMPLE: Final = "like `https://objects.segment.com`"
_PROXY_EXAMPLE: Final = "like `http://proxy.example.com:3128`"


def base_address(url: str) -> str:
    """The base address of an API, without a slash at its end.

    Raises:
        ValueError: not a URL of https or http, or more than a base address. The message continues
            the name of what holds the address.
    """
    parts = _split(url, _API_EXAMPLE)
    if not parts.hostname:
        raise ValueError(f"must name a host, {_API_EXAMPLE}")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or a password: the key is `write_key`")
    if "?" in url or "#" in url:
        raise ValueError("must end with its path, without `?` and `#`")
    if found := _VERSION.search(parts.path):
        raise ValueError(f"must be without the version path: leave out `/{found[1]}`")
    return url.rstrip("/")


def proxy_address(url: str) -> str:
    """The address of a proxy, with `http://` before it if it has no scheme. It may have a password.

    Raises:
        ValueError: not a URL of http or https with a host and nothing after it. The message
            continues the name of what holds the address.
    """
    if "://" not in url:
        url = f"http://{url}"
    parts = _split(url, _PROXY_EXAMPLE)
    if not parts.hostname or parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise ValueError(f"must be only a host and a port, {_PROXY_EXAMPLE}")
    return url.rstrip("/")


def _split(url: str, example: str) -> SplitResult:
    """Split a URL of https or http.

    Raises:
        ValueError: it is none; the message continues its name.
    """
    # Checked before the split, which drops tabs and line breaks without an error.
    if not _URL_CHARACTERS.fullmatch(url):
        raise ValueError(f"must be a URL without spaces and non-ASCII characters, {example}")
    wrong = ValueError(f"must be a URL of https or http, {example}")
    try:
        parts = urlsplit(url)
        # An empty or overlong label would only fail when connecting.
        (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or port == 0:
        raise wrong
    return parts


@dataclass(frozen=True)
class Address:
    """A base address that is safe to send a write key to.

    Attributes:
        url: scheme, host and path without a slash at the end.
        host: host and port, for messages.
        loopback: whether it is on this machine, so that no proxy is used.
    """

    url: str
    host: str
    loopback: bool

    @classmethod
    def parse(cls, url: str, *, allow_http: bool = False) -> Address:
        """Check a base address.

        Args:
            url: like `https://objects.segment.com`; a path is put before that of every call.
            allow_http: accept plain http beyond loopback.

        Raises:
            ConfigurationError: it is not https, or not a base address.
        """
        try:
            parts = urlsplit(base_address(url))
        except ValueError as error:
            raise ConfigurationError(f"the base address {error}") from None
        address = cls(
            url=f"{parts.scheme}://{parts.netloc}{parts.path}",
            host=parts.netloc,
            loopback=_is_loopback(parts.hostname or ""),
        )
        if address.is_in_the_clear and not allow_http:
            raise ConfigurationError(
                f"the address of {parts.hostname} is plain http, which would send the write key in "
                "the clear: use https, or set allow_http for a server on a network that you trust"
            )
        return address

    @property
    def is_in_the_clear(self) -> bool:
        """Whether what is sent to it can be read on the network."""
        return self.url.startswith("http:") and not self.loopback


def find_proxy(address: Address, proxy: str | None) -> str | None:
    """The proxy to use: the one given, or that of the environment; none for loopback.

    Raises:
        ConfigurationError: it is not a URL of http or https. The message never shows it.
    """
    if address.loopback:
        return None
    name = "proxy"
    if proxy is None:
        name = proxy_variable(address)
        proxies = get_environ_proxies(address.url)
        proxy = proxies.get(urlsplit(address.url).scheme) or proxies.get("all")
    if not proxy:
        return None
    try:
        return proxy_address(proxy)
    except ValueError as error:
        raise ConfigurationError(f"{name} {error}") from None


def proxy_variable(address: Address) -> str:
    """The environment variable that gives the proxy for an address."""
    name = f"{urlsplit(address.url).scheme}_proxy"
    given = os.environ.get(name) or os.environ.get(name.upper())
    return name.upper() if given else "ALL_PROXY"


def find_ca_bundle(ca_bundle: str | None) -> str | bool:
    """The TLS roots: the file or folder given, or that of the environment, or those of `requests`.

    Raises:
        ConfigurationError: no certificate can be read from it.
    """
    sources = {"ca_bundle": ca_bundle} | {name: os.environ.get(name) for name in _CA_VARIABLES}
    source, path = next(((name, path) for name, path in sources.items() if path), ("", ""))
    if not path:
        return True
    try:
        if not Path(path).is_dir():
            ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "not a file of certificates in PEM form"
        raise ConfigurationError(f"{source}: cannot read TLS roots from {path}: {why}") from None
    return path


def has_certificates(path: Path) -> bool:
    """Whether TLS roots can be read from this file; a directory is not looked into."""
    try:
        return find_ca_bundle(str(path)) == str(path)
    except ConfigurationError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
