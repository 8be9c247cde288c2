"""Checks of the network and the write key: proxy, TLS roots, host, key, region and session."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from target_segment_objects.client import (
    BULK_URLS,
    OBJECTS_URLS,
    Action,
    Address,
    BulkApi,
    Caller,
    Destination,
    Failure,
    FailureKind,
    Response,
    Transport,
    advise,
    decide,
    find_ca_bundle,
    find_proxy,
)
from target_segment_objects.commands.check.findings import Finding, Verdict
from target_segment_objects.errors import ConfigurationError, DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from target_segment_objects.client import FileBody
    from target_segment_objects.settings import Settings

__all__ = ["check_network"]

_AUTHENTICATION: Final = frozenset({401, 403})
_MALFORMED: Final = frozenset({400, 422})
_TOO_MANY: Final = 429
_BROKEN: Final = frozenset({FailureKind.RESET, FailureKind.CUT})
_KEY_NOT_CHECKED: Final = Finding(
    "write key", Verdict.UNKNOWN, "not checked: the host did not answer"
)


def check_network(settings: Settings, seconds: float) -> Iterator[Finding]:
    """Check proxy and TLS roots, then make one call, or two by bulk, each within `seconds`."""
    is_bulk = settings.method == "bulk"
    options = replace(
        settings.transport_options, timeout_seconds=min(seconds, settings.request_timeout_seconds)
    )
    try:
        address = Address.parse(settings.address, allow_http=settings.allow_http)
        findings = [
            _check_proxy(address, settings.proxy),
            _check_tls_roots(address, settings.ca_bundle),
        ]
        yield from findings
        if any(finding.verdict is Verdict.FAILED for finding in findings):
            yield Finding("host", Verdict.UNKNOWN, "not checked: correct what failed above first")
            return
        transport = _RecordingTransport(settings.address, settings.write_key or "", options)
    except ConfigurationError as error:
        yield Finding("host", Verdict.FAILED, str(error))
        return
    with transport:
        if is_bulk:
            destination = Destination.of(transport, "bulk_url", BULK_URLS)
            yield from _check_bulk(settings, transport, destination)
        else:
            destination = Destination.of(transport, "objects_url", OBJECTS_URLS)
            yield from _check_set(settings, transport, destination)


class _RecordingTransport(Transport):
    """A transport that keeps the outcome of the last exchange."""

    outcome: Response | Failure = Failure(FailureKind.ABORTED, "not tried")

    def exchange(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | FileBody = b"",
        timeout_seconds: float | None = None,
    ) -> Response | Failure:
        self.outcome = super().exchange(
            path, headers=headers, body=body, timeout_seconds=timeout_seconds
        )
        return self.outcome


def _check_bulk(
    settings: Settings, transport: _RecordingTransport, destination: Destination
) -> Iterator[Finding]:
    """Start a session and finish it empty."""
    api = BulkApi(Caller(transport).without_retries())
    sync_id = None
    with contextlib.suppress(DeliveryError):  # the outcome says more
        sync_id = api.start()
    outcome = transport.outcome
    yield _interpret_host(outcome, destination)
    if isinstance(outcome, Failure):
        yield _KEY_NOT_CHECKED
        return
    if sync_id is None:
        yield from _interpret_refusal(settings, outcome, "start", destination.setting)
        return
    yield Finding("write key", Verdict.OK, "a session was started with it")
    yield _interpret_region(settings, destination)
    try:
        api.finish(sync_id)
    except DeliveryError:
        end = transport.outcome
        reason = f"answered {end.status}" if isinstance(end, Response) else f"lost: {end.reason}"
        detail = (
            f"it was started, but the finish call was {reason}; the empty session ends by itself "
            "after 10 minutes: check again then"
        )
        yield Finding("session", Verdict.FAILED, detail)
    else:
        yield Finding("session", Verdict.OK, "started and finished without objects")


def _check_set(
    settings: Settings, transport: Transport, destination: Destination
) -> Iterator[Finding]:
    """Make a `set` call without objects."""
    outcome = transport.exchange(
        "/v1/set", headers={"Content-Type": "application/json"}, body=b"{}"
    )
    yield _interpret_host(outcome, destination)
    if isinstance(outcome, Failure):
        yield _KEY_NOT_CHECKED
    elif outcome.status in _MALFORMED or _is_success(outcome):
        detail = (
            f"a call without objects was answered {outcome.status} and not 401: promising, but "
            "inconclusive, since Segment may check the key only when objects are sent; the first "
            "sync will show"
        )
        yield Finding("write key", Verdict.UNKNOWN, detail)
        yield Finding("region", Verdict.UNKNOWN, "as with the key: the first sync will show")
    else:
        yield from _interpret_refusal(settings, outcome, "set", destination.setting)


def _interpret_region(settings: Settings, destination: Destination) -> Finding:
    if destination.setting != "region":
        detail = "the address comes from `bulk_url`, which does not say which region it is"
        return Finding("region", Verdict.UNKNOWN, detail)
    detail = (
        f"{urlsplit(BULK_URLS[settings.region]).netloc} accepted the key; whether it would refuse "
        "a key of another region is not documented"
    )
    return Finding("region", Verdict.OK, detail)


def _interpret_refusal(
    settings: Settings, response: Response, call: str, setting: str
) -> Iterator[Finding]:
    """The findings of a response that is not the expected one."""
    status = response.status
    excerpt = f" It said: {response.excerpt}" if response.excerpt else ""
    if status in _AUTHENTICATION:
        detail = f"rejected with {status}: copy `write_key` again from the source's settings."
        yield Finding("write key", Verdict.FAILED, detail + excerpt)
        other = f" than {settings.region}" if setting == "region" else ""
        detail = f"a key of another region{other} may be rejected like this: check `{setting}`"
        yield Finding("region", Verdict.UNKNOWN, detail)
        return
    if decide(response).action is Action.RETRY:
        cause = "Segment is busy" if status == _TOO_MANY else "Segment has a problem"
        detail = f"{call} was answered {status}: {cause}; check again in a few minutes.{excerpt}"
    elif _is_success(response):
        detail = (
            f"{call} was answered {status} without a session's id, so this is not the API, or a "
            f"proxy is in front of it: check `{setting}` and `proxy`"
        )
    elif response.location:
        detail = (
            f"{call} was redirected to {response.location}, and a run does not follow redirects: "
            f"check `{setting}`, and whether the network requires a login"
        )
    else:
        detail = f"{call} was refused with {status}: check `{setting}`.{excerpt}"
    yield Finding("API", Verdict.FAILED, detail)
    yield Finding("write key", Verdict.UNKNOWN, "not checked: the response does not tell")


def _is_success(response: Response) -> bool:
    return 200 <= response.status <= 299  # noqa: PLR2004 - the 2xx class


def _interpret_host(outcome: Response | Failure, destination: Destination) -> Finding:
    if isinstance(outcome, Response):
        return Finding("host", Verdict.OK, f"{destination.host} answers")
    if outcome.too_short:
        advice = "It may be slow (`--timeout`), or a firewall or a proxy may hold the answer back"
    elif outcome.kind in _BROKEN:
        advice = f"Check `{destination.setting}`, and any proxy or firewall in between"
    else:
        advice = advise(outcome, destination, call="start")
    return Finding("host", Verdict.FAILED, f"{destination.host}: {outcome.reason}. {advice}")


def _check_proxy(address: Address, proxy: str | None) -> Finding:
    try:
        url = find_proxy(address, proxy)
    except ConfigurationError as error:
        return Finding("proxy", Verdict.FAILED, str(error))
    if url is None:
        reason = ": the address is this machine" if address.loopback else ""
        return Finding("proxy", Verdict.OK, f"none{reason}")
    parts = urlsplit(url)
    source = "`proxy`" if proxy else "the environment"
    host = f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"
    return Finding("proxy", Verdict.OK, f"{host}, from {source}")


def _check_tls_roots(address: Address, ca_bundle: Path | None) -> Finding:
    if not address.url.startswith("https:"):
        detail = "none: plain http, so that others on the network can read the key"
        if address.loopback:
            detail = "not needed: plain http to this machine"
        return Finding("TLS roots", Verdict.OK, detail)
    try:
        roots = find_ca_bundle(None if ca_bundle is None else str(ca_bundle))
    except ConfigurationError as error:
        return Finding("TLS roots", Verdict.FAILED, str(error))
    detail = "the default ones" if roots is True else f"those in {roots}"
    return Finding("TLS roots", Verdict.OK, detail)
