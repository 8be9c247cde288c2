"""`segment-objects check`: whether a run would find what it needs, as far as that can be seen.

The rule that it guards: nothing is written to Segment, nothing is tried twice, and what the API
does not tell is said to be unknown.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from target_segment_objects.client import (
    BULK_URLS,
    Action,
    Address,
    BulkApi,
    Caller,
    Clock,
    Destination,
    Failure,
    FailureKind,
    Response,
    RetryPolicy,
    Transport,
    advise,
    decide,
    find_ca_bundle,
    find_proxy,
)
from target_segment_objects.errors import ConfigurationError, DeliveryError, one_line
from target_segment_objects.settings import Settings, read_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from target_segment_objects.client import FileBody

__all__ = ["Finding", "Verdict", "check"]

logger = logging.getLogger(__name__)

_ONCE: Final = RetryPolicy(first_wait=1.0, budget_seconds=0.0, min_attempts=1)
"""With jitter that is never 0, nothing that fails is retried."""
_AUTHENTICATION: Final = frozenset({401, 403})
_MALFORMED: Final = frozenset({400, 422})
_TOO_MANY: Final = 429


class Verdict(Enum):
    """How a check went."""

    OK = "OK"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        subject: what.
        verdict: how it went.
        told: what was seen, and what to do; one sentence or two, without secrets.
    """

    subject: str
    verdict: Verdict
    told: str

    def __str__(self) -> str:
        return f"{self.verdict.value:<7}  {self.subject:<15}  {one_line(self.told)}"


def check(
    paths: Sequence[str], environ: Mapping[str, str], *, seconds: float = 10.0
) -> Iterator[Finding]:
    """Look at everything that a run needs, one after the other.

    Args:
        paths: the values of `--config`.
        environ: the environment.
        seconds: how long each of at most two requests may take.
    """
    try:
        settings = Settings.from_config(read_configuration(paths, environ), logger.warning)
    except ConfigurationError as error:
        yield Finding("configuration", Verdict.FAILED, str(error))
        return
    if settings.local_warehouse is not None:
        told = f"method {settings.method}, into a local warehouse"
        yield Finding("configuration", Verdict.OK, told)
        yield _look_at_warehouse(settings.local_warehouse)
    else:
        told = f"method {settings.method}, region {settings.region}"
        yield Finding("configuration", Verdict.OK, told)
        yield from _look_at_segment(settings, seconds)
    if settings.method == "bulk":
        yield _look_at_spool(settings)
    if settings.dead_letter_path is not None:
        yield _look_at_dead_letter(settings.dead_letter_path)
    yield Finding("beyond this", Verdict.UNKNOWN, _beyond(settings))


def _beyond(settings: Settings) -> str:
    if settings.local_warehouse is not None:
        return "nothing goes to Segment, so neither a key nor a region nor a host was looked at"
    return (
        "neither API tells what has arrived, whether the source is enabled and feeds a warehouse, "
        "or what the plan's limits are: look at the source in Segment after the first run"
    )


# The way to Segment.


def _look_at_segment(settings: Settings, seconds: float) -> Iterator[Finding]:
    bulk = settings.method == "bulk"
    url = settings.bulk_address if bulk else settings.objects_address
    setting = "bulk_url" if bulk else "objects_url"
    if getattr(settings, setting) is None:
        setting = "region"
    address = Address.parse(url, allow_http=settings.allow_http)
    way = [_look_at_proxy(address, settings.proxy), _look_at_roots(address, settings.ca_bundle)]
    yield from way
    if any(each.verdict is Verdict.FAILED for each in way):
        yield Finding("host", Verdict.UNKNOWN, "not tried: correct what failed above first")
        return
    options = replace(
        settings.transport_options, timeout_seconds=min(seconds, settings.request_timeout_seconds)
    )
    try:
        transport = _Watched(url, settings.write_key or "", options)
    except ConfigurationError as error:
        yield Finding("host", Verdict.FAILED, str(error))
        return
    destination = Destination(transport.host, setting, transport.proxy_setting)
    with transport:
        if settings.method == "bulk":
            yield from _try_bulk(settings, transport, destination)
        else:
            outcome = transport.exchange(
                "/v1/set", headers={"Content-Type": "application/json"}, body=b"{}"
            )
            yield _host(outcome, destination)
            if isinstance(outcome, Response):
                yield from _judge_set(settings, outcome, destination.setting)
            else:
                yield _KEY_NOT_SEEN


_KEY_NOT_SEEN: Final = Finding("write key", Verdict.UNKNOWN, "not checked: the host did not answer")


class _Watched(Transport):
    """A transport that remembers what the last exchange came to."""

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


def _try_bulk(
    settings: Settings, transport: _Watched, destination: Destination
) -> Iterator[Finding]:
    """Start a session, and finish it with nothing in it."""
    api = BulkApi(Caller(transport, policy=_ONCE, clock=Clock(random=lambda: 1.0)))
    sync_id = None
    with contextlib.suppress(DeliveryError):  # the outcome says more
        sync_id = api.start()
    outcome = transport.outcome
    yield _host(outcome, destination)
    if isinstance(outcome, Failure):
        yield _KEY_NOT_SEEN
        return
    if sync_id is None:
        yield from _judge_refusal(settings, outcome, "start", destination.setting)
        return
    yield Finding("write key", Verdict.OK, "a session was started with it")
    yield _region(settings)
    try:
        api.finish(sync_id)
    except DeliveryError:
        end = transport.outcome
        what = f"answered {end.status}" if isinstance(end, Response) else f"lost: {end.reason}"
        told = (
            f"it was started, but finish was {what}; empty as it is, it ends by itself after 10 "
            "minutes: check again then"
        )
        yield Finding("session", Verdict.FAILED, told)
    else:
        yield Finding("session", Verdict.OK, "started and finished, with nothing in it")


def _region(settings: Settings) -> Finding:
    if settings.bulk_url is not None:
        told = "the address is that of `bulk_url`, which says nothing of a region"
        return Finding("region", Verdict.UNKNOWN, told)
    told = (
        f"the key was taken at {urlsplit(BULK_URLS[settings.region]).netloc}; that a key of "
        "another region would be refused there is not documented"
    )
    return Finding("region", Verdict.OK, told)


def _judge_set(settings: Settings, answer: Response, setting: str) -> Iterator[Finding]:
    """What the answer to a call without objects tells."""
    if answer.status in _MALFORMED or _is_success(answer):
        told = (
            f"a call without objects was answered {answer.status} and not 401: promising, but "
            "inconclusive, since Segment may check the key only when objects are sent; the first "
            "sync will show"
        )
        yield Finding("write key", Verdict.UNKNOWN, told)
        yield Finding("region", Verdict.UNKNOWN, "as with the key: the first sync will show")
    else:
        yield from _judge_refusal(settings, answer, "set", setting)


def _judge_refusal(
    settings: Settings, answer: Response, call: str, setting: str
) -> Iterator[Finding]:
    """What an answer tells that is not the one hoped for."""
    status = answer.status
    said = f" It said: {answer.excerpt}" if answer.excerpt else ""
    if status in _AUTHENTICATION:
        told = f"refused with {status}: copy `write_key` again from the source's settings.{said}"
        yield Finding("write key", Verdict.FAILED, told)
        than = f" than {settings.region}" if setting == "region" else ""
        told = f"a key of another region{than} may be refused so: check `{setting}`"
        yield Finding("region", Verdict.UNKNOWN, told)
        return
    if decide(answer).action is Action.RETRY:
        busy = "is busy" if status == _TOO_MANY else "has trouble of its own"
        told = f"{call} was answered {status}: Segment {busy}; check again in some minutes.{said}"
    elif _is_success(answer):
        told = (
            f"{call} was answered {status} without a session's id, so this is not the API, or a "
            f"proxy stands before it: check `{setting}` and `proxy`"
        )
    elif answer.location:
        told = (
            f"{call} was redirected to {answer.location}, which a run must not follow: check "
            f"`{setting}`, and whether the network wants a login first"
        )
    else:
        told = f"{call} was refused with {status}: check `{setting}`.{said}"
    yield Finding("API", Verdict.FAILED, told)
    yield Finding("write key", Verdict.UNKNOWN, "not looked at by that answer, as far as it tells")


def _is_success(answer: Response) -> bool:
    return 200 <= answer.status <= 299  # noqa: PLR2004 - the 2xx class


def _host(outcome: Response | Failure, destination: Destination) -> Finding:
    if isinstance(outcome, Response):
        return Finding("host", Verdict.OK, f"{destination.host} answers")
    if outcome.too_short:
        advice = "It may be slow (`--timeout`), or a firewall or a proxy may keep the answer back"
    elif outcome.kind in _BROKEN:
        advice = f"Check `{destination.setting}`, and what stands in between (a proxy, a firewall)"
    else:
        advice = advise(outcome, destination, call="start")
    return Finding("host", Verdict.FAILED, f"{destination.host}: {outcome.reason}. {advice}")


_BROKEN: Final = frozenset({FailureKind.RESET, FailureKind.CUT})


def _look_at_proxy(address: Address, proxy: str | None) -> Finding:
    try:
        found = find_proxy(address, proxy)
    except ConfigurationError as error:
        return Finding("proxy", Verdict.FAILED, str(error))
    if found is None:
        why = ": the address is this machine" if address.loopback else ""
        return Finding("proxy", Verdict.OK, f"none{why}")
    parts = urlsplit(found)
    source = "`proxy`" if proxy else "the environment"
    host = f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"
    return Finding("proxy", Verdict.OK, f"{host}, by {source}")


def _look_at_roots(address: Address, ca_bundle: Path | None) -> Finding:
    if not address.url.startswith("https:"):
        told = "none needed: plain http, on which the key can be read on its way"
        if address.loopback:
            told = "not needed: plain http to this machine"
        return Finding("TLS roots", Verdict.OK, told)
    try:
        found = find_ca_bundle(None if ca_bundle is None else str(ca_bundle))
    except ConfigurationError as error:
        return Finding("TLS roots", Verdict.FAILED, str(error))
    told = "the usual ones" if found is True else f"those in {found}"
    return Finding("TLS roots", Verdict.OK, told)


# This machine.


def _look_at_spool(settings: Settings) -> Finding:
    folder = str(settings.spool_dir or "the system's folder for temporary files")
    try:
        folder = str(settings.spool_dir or tempfile.gettempdir())
        _write_in(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        told = (
            f"{folder} cannot be written: {error.strerror or error}; make room there, or name "
            "another folder with `spool_dir`"
        )
        return Finding("spool", Verdict.FAILED, told)
    most = 2 * settings.spool_max_bytes
    room = f"{folder} has {_gigabytes(free)} free"
    if free < most:
        told = (
            f"{room}, and a large sync may want {_gigabytes(most)} (twice `spool_max_bytes`): "
            "lower `spool_max_bytes`, or name another folder with `spool_dir`"
        )
        return Finding("spool", Verdict.UNKNOWN, told)
    return Finding("spool", Verdict.OK, f"{room}, and at most {_gigabytes(most)} will be wanted")


def _look_at_dead_letter(path: Path) -> Finding:
    """Whether a reject could be written, which is not done."""
    try:
        if not os.path.lexists(path):
            _write_in(str(path.parent))
            told = f"{path} can be made"
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            told = f"{path} can be written to; it has {size:,} bytes of rejects"
    except BlockingIOError:
        told = f"{path} is in use by `segment-objects replay`; wait until that is over"
        return Finding("dead letter", Verdict.FAILED, told)
    except OSError as error:
        told = (
            f"{path} cannot be written: {error.strerror or error}; correct that, or name another "
            "file with `dead_letter_path`"
        )
        return Finding("dead letter", Verdict.FAILED, told)
    return Finding("dead letter", Verdict.OK, told)


def _look_at_warehouse(path: Path) -> Finding:
    if importlib.util.find_spec("duckdb") is None:
        told = "it needs DuckDB: pip install 'target-segment-objects[emulator]'"
        return Finding("local warehouse", Verdict.FAILED, told)
    from target_segment_objects.emulator import EmulatorError, query_file  # noqa: PLC0415

    try:
        if path.exists():
            (tables,) = query_file(path, "SELECT count(*) FROM duckdb_tables()").rows[0]
            told = f"{path} can be opened; it has {tables:,} tables"
        else:
            _write_in(str(path.parent))
            told = f"{path} will be made by the first run"
    except EmulatorError as error:
        return Finding("local warehouse", Verdict.FAILED, str(error))
    except OSError as error:
        told = f"{path} cannot be made: {error.strerror or error}; name another `local_warehouse`"
        return Finding("local warehouse", Verdict.FAILED, told)
    return Finding("local warehouse", Verdict.OK, told)


def _write_in(folder: str) -> None:
    """Write a file that nobody sees.

    Raises:
        OSError: the folder does not take it.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(b"\0" * 4096)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
