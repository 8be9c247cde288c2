"""The write key: checked, sent as HTTP Basic, and redacted from all text that others wrote.

This is the only place that holds it. Its `repr` hides it, and so does every error raised here. Our
own messages are not redacted: they never contain the key, and a short key can match a common word.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from requests.auth import HTTPBasicAuth

from target_segment_objects.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["WriteKey", "proxy_secrets", "validate_write_key"]

EXCERPT_CHARACTERS = 200
_REDACTED = "***"
_MIN_CHARACTERS = 8
"""A shorter secret occurs by chance in ordinary words and numbers."""
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\uffff]+")


def validate_write_key(key: str) -> str:
    """Return a key unchanged if HTTP Basic can carry it as a user name.

    Raises:
        ValueError: it has characters that no key has. The message continues the setting's name.
    """
    if key != key.strip():
        raise ValueError("must not begin or end with a space or a line break")
    if not all(" " <= character <= "~" for character in key):
        raise ValueError("must be printable ASCII, without control characters")
    if " " in key:
        raise ValueError("must not contain spaces: copy it again from the source's settings")
    if ":" in key:
        raise ValueError("must be the key alone, without a `:`")
    return key


class WriteKey:
    """A source's write key, as user name of HTTP Basic with an empty password.

    That is base64 of `KEY:`, with the colon: [doc] of the Objects API, and RFC 7617.

    Args:
        key: the key, as Segment shows it.
        also_secret: other texts to redact, like a proxy's password.

    Attributes:
        auth: what `requests` signs a request with.

    Raises:
        ConfigurationError: it is empty, or has characters that no key has. The message never
            shows it.
    """

    __slots__ = ("_any", "_long", "_word", "auth")

    def __init__(self, key: str, *, also_secret: Iterable[str] = ()) -> None:
        if not key:
            raise ConfigurationError("write_key is empty: set it to the source's write key")
        try:
            self.auth = HTTPBasicAuth(validate_write_key(key), "")
        except ValueError as error:
            raise ConfigurationError(f"write_key {error}") from None
        # Longest first, so that no match leaves the rest of a longer form behind.
        secrets = {*_forms_of(key), *_forms_of(f"{key}:"), *also_secret}
        ordered = sorted(filter(None, secrets), key=len, reverse=True)
        self._any = _one_of(ordered)
        self._long = _one_of([form for form in ordered if len(form) >= _MIN_CHARACTERS])
        self._word = re.compile(rf"(?<![0-9A-Za-z])(?:{self._any.pattern})(?![0-9A-Za-z])")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_REDACTED})"

    def __reduce__(self) -> str:
        raise TypeError("a write key is not pickled")

    def redact(self, text: str) -> str:
        """Redact the key, in any form that servers echo it in, in a text that others wrote."""
        return self._any.sub(_REDACTED, text)

    def redact_address(self, address: str) -> str:
        """Redact the key in an address of our own, unless it is so short that it may be chance."""
        return self._long.sub(_REDACTED, address)

    def is_in(self, text: str) -> bool:
        """Whether a text contains the key; a short key must be a word of its own."""
        return bool(self._long.search(text) or self._word.search(text))

    def sanitize(self, text: str, limit: int = EXCERPT_CHARACTERS) -> str:
        """At most `limit` printable characters of a text that others wrote, the key redacted."""
        return " ".join(_UNPRINTABLE.sub(" ", self.redact(text)).split())[:limit]

    def sanitize_location(self, location: str) -> str:
        """Scheme, host and path of a redirect; a query or user info could be a secret."""
        try:
            parts = urlsplit(location)
            host = parts.hostname or ""
        except ValueError:
            return ""
        return self.sanitize(f"{parts.scheme}://{host}{parts.path}" if host else parts.path)


def proxy_secrets(proxy: str) -> tuple[str, ...]:
    """The secrets of a proxy's address: its password or token, in any form."""
    parts = urlsplit(proxy)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    # A user without a password is a token; with one it is an ordinary word.
    secret = password or user
    if not secret:
        return ()
    as_written = parts.password or parts.username or ""
    return (as_written, *_forms_of(secret), *_forms_of(f"{user}:{password}"))


def _one_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches any of these texts, escaped or not, or nothing if there are none."""
    return re.compile("|".join("".join(map(_escaped, text)) for text in texts) or "(?!)")


def _escaped(character: str) -> str:
    """A pattern of a character as it is, and as HTML, JSON and URLs escape it."""
    if character.isascii() and character.isalnum():
        return character
    forms = (
        html.escape(character),
        json.dumps(character)[1:-1],
        f"\\u{ord(character):04x}",
        "".join(f"%{octet:02x}" for octet in character.encode()),
        f"\\{character}",
        character,
    )
    return f"(?i:{'|'.join(map(re.escape, dict.fromkeys(forms)))})"


def _forms_of(secret: str) -> Iterator[str]:
    """The forms in which servers and libraries write a secret, before they escape it."""
    data = secret.encode()
    yield secret
    for encoded in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        yield from {encoded, encoded.rstrip("=")}
