"""Both APIs without a network: a request becomes a response.

This module knows paths, rules, sessions and the store, but no sockets and no injected faults.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from target_segment_objects.emulator.errors import RefusalError
from target_segment_objects.emulator.rules.host_names import HostNames
from target_segment_objects.emulator.rules.parts import MAX_UPLOAD_BYTES, check_part
from target_segment_objects.emulator.rules.requests import (
    MAX_FINISH_BODY_BYTES,
    MAX_SET_BODY_BYTES,
    Rules,
    check_content,
    check_key,
    parse_finish_body,
)
from target_segment_objects.emulator.store.contract import Update

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.emulator.api.request_log import RecordedRequest, RequestLog
    from target_segment_objects.emulator.api.sessions import EmulatorSession, SessionRegistry
    from target_segment_objects.emulator.store.contract import Store
    from target_segment_objects.emulator.store.ordering import Ordering

_MAX_BODY_BYTES = {
    "set": MAX_SET_BODY_BYTES,
    "upload": MAX_UPLOAD_BYTES,
    "finish": MAX_FINISH_BODY_BYTES,
}
_MAX_OTHER_BODY_BYTES = 65536
_BULK_CALLS = frozenset({"upload", "finish", "keep-alive"})


class ApiPath(NamedTuple):
    """The call that a path stands for, and the session that it names."""

    call: str
    sync_id: str | None = None

    @property
    def max_body_bytes(self) -> int:
        """Most bytes of a body that are read."""
        return _MAX_BODY_BYTES.get(self.call, _MAX_OTHER_BODY_BYTES)


@dataclass
class HttpResponse:
    """An HTTP response; `reason` says why a request was refused, and is empty for a success."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def parse_path(path: str) -> ApiPath:
    """Return the call of a path; it is `other` for a path of neither API."""
    path = path.partition("?")[0]
    if path == "/v1/set":
        return ApiPath("set")
    if path == "/v0/start":
        return ApiPath("start")
    pieces = path.split("/")
    if len(pieces) == 4 and pieces[:2] == ["", "v0"] and pieces[2] in _BULK_CALLS and pieces[3]:  # noqa: PLR2004
        return ApiPath(pieces[2], pieces[3])
    return ApiPath("other")


def refusal(error: RefusalError) -> HttpResponse:
    """Return the response to a refused request: `{"error": {"message": …}}` [client]."""
    body = msgspec.json.encode({"error": {"message": error.reason}})
    return HttpResponse(error.status, body, dict(error.headers), error.reason)


class App:
    """The two APIs of one emulator."""

    def __init__(  # noqa: PLR0913 it uses all of them
        self,
        *,
        rules: Rules,
        host: str,
        write_key: str | None,
        sessions: SessionRegistry,
        request_log: RequestLog,
        ordering: Ordering,
        store: Store,
        store_lock: threading.RLock,
        new_id: Callable[[], str],
        new_path: Callable[[str], Path],
        finish_wait_seconds: float,
    ) -> None:
        """Create the app: `host` is where it listens, `new_path` gives the path of a part."""
        self._names = HostNames(host)
        self._rules = rules
        self._write_key = write_key
        self._sessions = sessions
        self._request_log = request_log
        self._ordering = ordering
        self._store = store
        self._store_lock = store_lock
        self._new_id = new_id
        self._new_path = new_path
        self._finish_wait = finish_wait_seconds
        self._loads: list[_Load] = []

    def check_head(self, request: RecordedRequest) -> None:
        """Refuse what can be refused without the body: with 421, 404, 405, 429 or 401."""
        self._check_host(request)
        if request.call == "other":
            raise RefusalError(404, "no such path")
        if request.method != "POST":
            raise RefusalError(405, "only POST is allowed", {"Allow": "POST"})
        self._request_log.check_concurrency(request)
        check_key(request.write_key, self._write_key)

    def _check_host(self, request: RecordedRequest) -> None:
        """Refuse requests of a web site whose name was pointed at this machine (DNS rebinding).

        A browser always sends the host, and an origin with each POST. Beyond loopback, a client
        that is not a browser may use any name for the emulator.
        """
        host = request.headers.get("host")
        if not host or self._names.allows(host):
            return
        if self._names.only_loopback or "origin" in request.headers:
            raise RefusalError(421, "send to the address that the emulator printed")

    def new_upload_path(self) -> Path:
        """Return the path of a new file for the body of an upload."""
        return self._new_path(self._new_id())

    def respond(self, request: RecordedRequest, upload: Path | None) -> HttpResponse:
        """Handle a request whose head was checked; `upload` is the file with an upload's body."""
        key = request.write_key or ""
        if request.call == "set":
            return self._set(request)
        if request.call == "start":
            session = self._sessions.start(self._new_id(), key)
            request.sync_id = session.sync_id
            return HttpResponse(201, msgspec.json.encode({"sync_id": session.sync_id}))
        session = self._sessions.enter(request.sync_id or "", key)
        try:
            if request.call == "upload" and upload is not None:
                return self._upload(request, session, upload)
            if request.call == "finish":
                return self._finish(request, session)
            return HttpResponse(200)
        finally:
            self._sessions.leave(session)

    def flush(self) -> None:
        """Wait until finished sessions are loaded, and apply all asynchronous updates."""
        for load in list(self._loads):
            load.join()
            self._finish_load(load)
        self._ordering.apply_due(everything=True)

    def _set(self, request: RecordedRequest) -> HttpResponse:
        check_content(request.headers, "application/json", None)
        call = self._rules.parse_set_body(request.body)
        request.objects = len(call.objects)
        synchronous = request.headers.get("synchronous").strip().lower() == "true"
        collection = call.collection
        updates = [Update(collection, item.id, item.properties) for item in call.objects]
        self._ordering.submit(updates, synchronous=synchronous)
        return HttpResponse(200, b'{"success":true}')

    def _upload(
        self, request: RecordedRequest, session: EmulatorSession, upload: Path
    ) -> HttpResponse:
        check_content(request.headers, "binary/octet-stream", "gzip")
        part = check_part(self._new_id(), upload, self._rules)
        request.objects = part.objects
        self._sessions.add(session, part)
        return HttpResponse(201, msgspec.json.encode({"part_id": part.part_id}))

    def _finish(self, request: RecordedRequest, session: EmulatorSession) -> HttpResponse:
        check_content(request.headers, "application/json", None)
        self._sessions.close(session, parse_finish_body(request.body))
        if session.state == "finished" and session.parts:
            load = _Load(self, session)
            try:
                load.start()
            except RuntimeError:  # no more threads can be started: load it on this one
                load.run()
            self._loads.append(load)
            # Loading may take longer than a client waits: then it goes on after the 202.
            if load.is_alive():
                load.join(self._finish_wait)
            if not load.is_alive():
                if load.error is not None:
                    self._sessions.reopen(session)
                self._finish_load(load)
        return HttpResponse(202)

    def _finish_load(self, load: _Load) -> None:
        """Remove a load that has ended; the first caller raises its error."""
        try:
            self._loads.remove(load)
        except ValueError:
            return
        if load.error is not None:
            raise load.error

    def load_session(self, session: EmulatorSession) -> None:
        """Merge the parts of a finished session, in order, after the `set` calls before it."""
        self._ordering.apply_due(everything=True)
        with self._store_lock:
            self._store.flush()
            for part in session.parts:
                self._store.load(part)
        for part in session.parts:
            part.path.unlink(missing_ok=True)


class _Load(threading.Thread):
    """The loading of one finished session."""

    def __init__(self, app: App, session: EmulatorSession) -> None:
        super().__init__(name="segment-emulator-load", daemon=True)
        self._app = app
        self._session = session
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._app.load_session(self._session)
        except Exception as error:  # noqa: BLE001 raised on the thread that waits
            self.error = error
