"""Checks of the network and the write key: proxy, TLS roots, host, key, region and session."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from target_segment_objects.client import (
    Action,
    Address,
    BulkApi,
    Caller,
    Failure,
    FailureKind,
    Response,
    SetApi,
    Transport,
    advise,
    decide,
    find_ca_bundle,
    find_proxy,
)
from target_segment_objects.commands.check.findings import Finding, Verdict
from target_segment_objects.errors import ConfigurationError, DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.client import Destination
    from target_segment_objects.settings import Settings

__all__ = ["check_network"]

_MALFORMED: Final = frozenset({400, 422})
_TOO_MANY: Final = 429
_BROKEN: Final = frozenset({FailureKind.RESET, FailureKind.CUT})


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
            _check_tls_roots(address, options.ca_bundle),
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
        yield from (_check_bulk if is_bulk else _check_set)(settings, transport)


class _RecordingTransport(Transport):
    """A transport that keeps the outcome of the last exchange."""

    outcome: Response | Failure = Failure(FailureKind.ABORTED, "not tried")

    def exchange(self, *args: Any, **options: Any) -> Response | Failure:
        self.outcome = super().exchange(*args, **options)
        return self.outcome


def _check_bulk(settings: Settings, transport: _RecordingTransport) -> Iterator[Finding]:
    """Start a session and finish it empty."""
    api = BulkApi(Caller(transport).without_retries())
    destination = api.destination
    sync_id = None
    with contextlib.suppress(DeliveryError):  # the outcome says more
        sync_id = api.start()
    if sync_id is None:
        yield from _interpret(settings, transport.outcome, "start", destination)
        return
    yield Finding("host", Verdict.OK, f"{destination.host} answers")
    yield Finding("write key", Verdict.OK, "a session was started with it")
    yield _interpret_region(destination)
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


def _check_set(settings: Settings, transport: Transport) -> Iterator[Finding]:
    """Make a `set` call without objects."""
    headers = {"Content-Type": "application/json"}
    outcome = transport.exchange("/v1/set", headers=headers, body=b"{}")
    yield from _interpret(settings, outcome, "set", SetApi(transport).destination)


def _interpret(
    settings: Settings, outcome: Response | Failure, call: str, destination: Destination
) -> Iterator[Finding]:
    """The findings of a first call that did not start a session."""
    if isinstance(outcome, Failure):
        yield Finding("host", Verdict.FAILED, _advice(outcome, destination))
        yield Finding("write key", Verdict.UNKNOWN, "not checked: the host did not answer")
        return
    yield Finding("host", Verdict.OK, f"{destination.host} answers")
    status, setting, action = outcome.status, destination.setting, decide(outcome).action
    excerpt = f" It said: {outcome.excerpt}" if outcome.excerpt else ""
    if call == "set" and (action is Action.DONE or status in _MALFORMED):
        detail = (
            f"a call without objects was answered {status} and not 401: promising, but "
            "inconclusive, since Segment may check the key only when objects are sent; the first "
            "sync will show"
        )
        yield Finding("write key", Verdict.UNKNOWN, detail)
        yield Finding("region", Verdict.UNKNOWN, "as with the key: the first sync will show")
        return
    if action is Action.AUTHENTICATION:
        detail = f"rejected with {status}: copy `write_key` again from the source's settings."
        yield Finding("write key", Verdict.FAILED, detail + excerpt)
        other = f" than {settings.region}" if setting == "region" else ""
        detail = f"a key of another region{other} may be rejected like this: check `{setting}`"
        yield Finding("region", Verdict.UNKNOWN, detail)
        return
    if action is Action.RETRY:
        cause = "Segment is busy" if status == _TOO_MANY else "Segment has a problem"
        detail = f"{call} was answered {status}: {cause}; check again in a few minutes.{excerpt}"
    elif action is Action.DONE:
        detail = (
            f"{call} was answered {status} without a session's id, so this is not the API, or a "
            f"proxy is in front of it: check `{setting}` and `proxy`"
        )
    elif outcome.location:
        detail = (
            f"{call} was redirected to {outcome.location}, and a run does not follow redirects: "
            f"check `{setting}`, and whether the network requires a login"
        )
    else:
        detail = f"{call} was refused with {status}: check `{setting}`.{excerpt}"
    yield Finding("API", Verdict.FAILED, detail)
    yield Finding("write key", Verdict.UNKNOWN, "not checked: the response does not tell")


def _interpret_region(destination: Destination) -> Finding:
    if destination.setting != "region":
        detail = "the address comes from `bulk_url`, which does not say which region it is"
        return Finding("region", Verdict.UNKNOWN, detail)
    detail = (
        f"{destination.host} accepted the key; whether it would refuse a key of another region is "
        "not documented"
    )
    return Finding("region", Verdict.OK, detail)


def _advice(failure: Failure, destination: Destination) -> str:
    if failure.longer_timeout_may_help:
        advice = "It may be slow (`--timeout`), or a firewall or a proxy may hold back the response"
    elif failure.kind in _BROKEN:
        advice = (
            f"Check `{destination.setting}`, and any proxy or firewall between this machine and it"
        )
    else:
        advice = advise(failure, destination, call="start")
    return f"{destination.host}: {failure.reason}. {advice}"


def _check_proxy(address: Address, proxy: str | None) -> Finding:
    try:
        url = find_proxy(address, proxy)
    except ConfigurationError as error:
        return Finding("proxy", Verdict.FAILED, str(error))
    if url is None:
        reason = ": the address is this machine" if address.loopback else ""
        return Finding("proxy", Verdict.OK, f"none{reason}")
    host = urlsplit(url).netloc.rpartition("@")[2]
    return Finding("proxy", Verdict.OK, f"{host}, from {'`proxy`' if proxy else 'the environment'}")


def _check_tls_roots(address: Address, ca_bundle: str | None) -> Finding:
    try:
        if address.is_in_the_clear:
            detail = "none: plain http, so that others on the network can read the key"
        elif address.url.startswith("http:"):
            detail = "not needed: plain http to this machine"
        else:
            roots = find_ca_bundle(ca_bundle)
            detail = "the default ones" if roots is True else f"those in {roots}"
    except ConfigurationError as error:
        return Finding("TLS roots", Verdict.FAILED, str(error))
    return Finding("TLS roots", Verdict.OK, detail)
