"""Where requests go and by which way: the base address, the proxy, the TLS roots.

https alone, plain http to loopback, and no user info in an address: a mistake here would send the
write key in the clear. Nothing of an address that could be a secret is ever shown.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from requests.utils import get_environ_proxies

from target_segment_objects.errors import ConfigurationError

__all__ = ["Address", "find_ca_bundle", "find_proxy", "proxy_variable"]

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Address:
    """A base address that is safe to send a write key to.

    Attributes:
        url: scheme, host and path without a slash at the end.
        host: host and port, for messages.
        loopback: whether it stays on this machine, so that no proxy has a say.
    """

    url: str
    host: str
    loopback: bool

    @classmethod
    def parse(cls, url: str, *, allow_http: bool = False) -> Address:
        """Check a base address.

        Args:
            url: like `https://objects.segment.com`; a path is a prefix of every call's.
            allow_http: take plain http beyond loopback.

        Raises:
            ConfigurationError: not https, with user info, query or fragment, or no address at all.
        """
        parts = _split(url, "a base address", "https://objects.segment.com")
        if parts.query or parts.fragment or "?" in url or "#" in url:
            raise ConfigurationError("a base address has no query and no fragment: leave them out")
        name = parts.hostname or ""
        loopback = _is_loopback(name)
        if parts.scheme == "http" and not (loopback or allow_http):
            raise ConfigurationError(
                f"the address of {name} is plain http, which would send the write key in the "
                "clear: use https, or set allow_http for a server on a network that you trust"
            )
        if parts.scheme not in {"http", "https"}:
            raise ConfigurationError("a base address starts with https://")
        path = parts.path.rstrip("/")
        return cls(
            url=f"{parts.scheme}://{parts.netloc}{path}", host=parts.netloc, loopback=loopback
        )


def find_proxy(address: Address, proxy: str | None) -> str | None:
    """The proxy to use: the one given, else the environment's; never one for loopback.

    Raises:
        ConfigurationError: it is no http or https address. The message never shows it.
    """
    if address.loopback:
        return None
    name, example = "proxy", "http://proxy.example.com:3128"
    if proxy is None:
        name = proxy_variable(address)
        found = get_environ_proxies(address.url)
        proxy = found.get(urlsplit(address.url).scheme) or found.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    parts = _split(proxy, name, example, user_info=True)
    if parts.scheme not in {"http", "https"}:
        raise ConfigurationError(f"{name} must be like {example}: other proxies are not taken")
    return proxy


def proxy_variable(address: Address) -> str:
    """The environment's variable that names the proxy for an address."""
    name = f"{urlsplit(address.url).scheme}_proxy"
    given = os.environ.get(name) or os.environ.get(name.upper())
    return name.upper() if given else "ALL_PROXY"


def find_ca_bundle(ca_bundle: str | None) -> str | bool:
    """The TLS roots: the file or folder given, else the environment's, else `requests`' own.

    Raises:
        ConfigurationError: there is no such file, or no certificate can be read from it.
    """
    source, path = "ca_bundle", ca_bundle
    if not path:
        for source in _CA_VARIABLES:
            path = os.environ.get(source)
            if path:
                break
        else:
            return True
    where = Path(path or "")
    try:
        if where.is_dir():
            return path
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "not a file of certificates in PEM form"
        raise ConfigurationError(f"{source}: cannot read TLS roots from {path}: {why}") from None
    return path


def _split(url: str, what: str, example: str, *, user_info: bool = False) -> SplitResult:
    """Take an address apart.

    Raises:
        ConfigurationError: it is none, or has user info that it must not have.
    """
    wrong = ConfigurationError(f"{what} is not a valid address like {example}")
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
        if not name or not url.isascii() or not url.isprintable() or " " in url:
            raise wrong
        # An empty or overlong label fails only when connecting otherwise.
        name.encode("idna")
    except ValueError:
        raise wrong from None
    if port == 0:
        raise wrong
    if "@" in parts.netloc and not user_info:
        raise ConfigurationError(
            f"{what} has user info before its host: leave it out, the write key is sent by itself"
        )
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
