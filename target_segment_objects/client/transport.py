"""One exchange: a request is sent once, and returns a complete response or the reason for none.

The transport knows HTTP and the write key, but neither retries nor what a status means. Errors and
texts for logs never contain the key; `body` and `headers` of a response are as received.
"""

from __future__ import annotations

import http.client
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import requests
import urllib3
from urllib3.connection import HTTPConnection

from target_segment_objects.client.address import (
    Address,
    find_ca_bundle,
    find_proxy,
    proxy_variable,
)
from target_segment_objects.client.connections import PreparedEndpoint, current_exchange
from target_segment_objects.client.deadlines import Deadlines
from target_segment_objects.client.failures import classify_failure
from target_segment_objects.client.file_body import FileBody
from target_segment_objects.client.outcomes import Failure, FailureKind, Response
from target_segment_objects.client.resolver import NameResolver
from target_segment_objects.client.secret import WriteKey, proxy_secrets
from target_segment_objects.errors import ConfigurationError
from target_segment_objects.objects import API_LIMITS, ApiLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self
    from urllib3 import BaseHTTPResponse

__all__ = ["Transport", "TransportOptions"]

MAX_RESPONSE_BYTES = 64 * 1024
"""Decoded bytes of a response that are read at most; the rest is not waited for."""

_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException)
# Not documented by Segment; names that servers and load balancers commonly use.
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "x-amzn-trace-id")
_REQUEST_ID_CHARACTERS = 100

_URGENT = 1
"""Connections beyond `max_concurrency`: a keep-alive is sent while all others are in use."""


@dataclass(frozen=True)
class TransportOptions:
    """How requests are sent.

    Attributes:
        timeout_seconds: total deadline of one exchange, up to the last byte of the response.
        upload_timeout_seconds: the same for the upload of a part.
        max_concurrency: connections that are kept open, 1 to 20.
        ca_bundle: file or folder of TLS roots; else `REQUESTS_CA_BUNDLE` or `SSL_CERT_FILE`.
        proxy: address of an http or https proxy, user info allowed; else the environment's
            `HTTPS_PROXY` and `NO_PROXY`. Never used for loopback.
        allow_http: accept a plain http address beyond loopback.
        limits: the limits of the API.
    """

    timeout_seconds: float = 60.0
    upload_timeout_seconds: float = 600.0
    max_concurrency: int = 10
    ca_bundle: str | None = None
    proxy: str | None = field(default=None, repr=False)
    allow_http: bool = False
    limits: ApiLimits = API_LIMITS

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            ValueError: a timeout is not above 0, or `max_concurrency` is not 1 to 20.
        """
        for name in ("timeout_seconds", "upload_timeout_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is a number of seconds above 0")
        if not 1 <= self.max_concurrency <= self.limits.concurrent_requests:
            raise ValueError(f"max_concurrency is 1 to {self.limits.concurrent_requests}")


class Transport:
    """Sends requests to one base address, signed with one write key.

    Safe for threads, but not for use after a fork. Close it, or use it in a `with` block.

    Args:
        address: the base address, without the version path.
        write_key: the source's write key; sent in the `Authorization` header and nowhere else.
        options: how requests are sent.

    Raises:
        ConfigurationError: the address, key, proxy or CA bundle cannot be used.
    """

    def __init__(
        self, address: str, write_key: str, options: TransportOptions | None = None
    ) -> None:
        self.options = options or TransportOptions()
        self._address = Address.parse(address, allow_http=self.options.allow_http)
        self._proxy = find_proxy(self._address, self.options.proxy)
        self._key = WriteKey(write_key, also_secret=proxy_secrets(self._proxy or ""))
        secure = self._address.url.startswith("https:") or (self._proxy or "").startswith("https:")
        if not issubclass(HTTPConnection, http.client.HTTPConnection):
            raise ConfigurationError(
                "another package (urllib3-future, which niquests brings) has replaced urllib3 in "
                "this environment: install target-segment-objects in a separate environment"
            )
        self._deadlines = Deadlines()
        self._resolver = NameResolver()
        # Without a session of `requests`, which would read `.netrc` and environment variables, and
        # keep cookies. `address` has read the variables that count.
        request = requests.Request(
            "POST",
            f"{self._address.url}/",
            headers={
                "User-Agent": _user_agent(),
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            auth=self._key.auth,
        )
        self._endpoint = PreparedEndpoint(
            request.prepare(),
            verify=find_ca_bundle(self.options.ca_bundle) if secure else True,
            proxy=self._proxy,
            max_connections=self.options.max_concurrency + _URGENT,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._key.redact_address(self._address.url)!r}, ***)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return self._key.redact_address(self._address.host)

    @property
    def url(self) -> str:
        """The base address, without a slash at its end."""
        return self._address.url

    @property
    def proxy_setting(self) -> str:
        """What gives the proxy: `proxy` or an environment variable; empty without a proxy."""
        if not self._proxy:
            return ""
        return "proxy" if self.options.proxy is not None else proxy_variable(self._address)

    def is_secret_in(self, text: str) -> bool:
        """Whether a server's text holds the write key, in any form that servers echo it in."""
        return self._key.is_in(text)

    def exchange(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | FileBody = b"",
        timeout_seconds: float | None = None,
    ) -> Response | Failure:
        """POST once.

        Args:
            path: the path after the base address, like `/v1/set`.
            headers: headers besides `Authorization`, `User-Agent`, `Content-Length` and `Host`.
            body: bytes, or a file, which is read from its start.
            timeout_seconds: total deadline; by default `timeout_seconds` of the options.

        Returns:
            The complete response, its body cut at 64 KiB, or why there is none.

        Raises:
            SpoolError: the body's file cannot be read, or ends early.
        """
        if isinstance(body, FileBody):
            body.rewind()
        seconds = self.options.timeout_seconds if timeout_seconds is None else timeout_seconds
        with self._deadlines.within(seconds) as deadline:
            current_exchange.deadline, current_exchange.resolver = deadline, self._resolver
            outcome: Response | Failure
            try:
                with self._endpoint.post(path, headers or {}, body) as response:
                    # A body of up to that length is read to its end, which frees the connection for
                    # the next request and shows whether the response was cut short.
                    content = response.read(MAX_RESPONSE_BYTES + 1, decode_content=True)
                    outcome = self._to_response(response, content[:MAX_RESPONSE_BYTES])
            except (*_ERRORS, OSError) as error:
                # Returned and not raised: these errors carry the request, which carries the key.
                outcome = classify_failure(error, self._key.sanitize)
            if self._deadlines.aborted:
                return Failure(FailureKind.ABORTED, "stopped by the caller")
            if deadline.cut:
                missing = deadline.missing
                reason = f"{missing or 'no complete response'} within {seconds:g} s"
                return Failure(FailureKind.TIMEOUT, reason, longer_timeout_may_help=not missing)
            if isinstance(outcome, Response) and not deadline.body_sent and outcome.status < 300:  # noqa: PLR2004
                # A success before the whole body was sent cannot be about this request.
                return Failure(
                    FailureKind.CUT, "the server responded before it had received the whole body"
                )
            return outcome

    def abort(self) -> None:
        """Fail all exchanges, in flight and later ones. Not undone; callable from any thread."""
        self._deadlines.abort()

    def close(self) -> None:
        """Abort, and close all connections."""
        self._deadlines.close()
        self._endpoint.close()

    def _to_response(self, response: BaseHTTPResponse, body: bytes) -> Response:
        """Our response, with header names in lower case and the key redacted from texts."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        request_ids = (headers[name] for name in _REQUEST_ID_HEADERS if name in headers)
        return Response(
            status=response.status,
            headers=headers,
            body=body,
            request_id=self._key.sanitize(next(request_ids, ""), _REQUEST_ID_CHARACTERS),
            excerpt=self._key.sanitize(body.decode(errors="replace")),
            location=self._key.sanitize_location(headers.get("location", "")),
        )


def _user_agent() -> str:
    name = "target-segment-objects"
    try:
        number = version(name)
    except PackageNotFoundError:
        number = "0"
    return f"{name}/{number} (client; requests/{requests.__version__}; {platform.system()})"
