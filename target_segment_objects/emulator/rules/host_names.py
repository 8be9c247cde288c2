"""Which names in a `Host` header belong to this emulator.

A web site can point its own name at this machine (DNS rebinding), so that a browser sends the
site's requests here. Such a request still has the site's name in `Host`.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is one that only this machine can reach."""
    return host.lower() == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


class HostNames:
    """The names of an emulator that listens on one host."""

    def __init__(self, host: str) -> None:
        """Accept names of `host`, on which the emulator listens."""
        self._host = host.lower()
        self.only_loopback = is_loopback(self._host)
        """Whether only this machine can reach the emulator."""

    def allows(self, header: str) -> bool:
        """Tell whether a `Host` header names this machine and cannot be a name of another site."""
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = (match[1] or match[2]).lower()
        if self.only_loopback:
            return is_loopback(name)
        # A public name has a dot; an address cannot be rebound.
        return _is_address(name) or "." not in name or name == self._host


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
