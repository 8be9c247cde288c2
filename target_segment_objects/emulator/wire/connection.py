"""One exchange on a connection: read, meet the faults, let the app answer, send.

The only place where faults touch the wire; the app never learns of them.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from target_segment_objects.emulator.api.app import HttpResponse, parse_path, refusal
from target_segment_objects.emulator.api.request_log import RecordedRequest
from target_segment_objects.emulator.errors import RefusalError
from target_segment_objects.emulator.rules.requests import write_key_of
from target_segment_objects.emulator.wire.faults import CutError
from target_segment_objects.emulator.wire.http import (
    body_length,
    read_body,
    read_head,
    write_answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader
    from pathlib import Path

    from target_segment_objects.emulator.api.app import App
    from target_segment_objects.emulator.api.request_log import RequestLog
    from target_segment_objects.emulator.api.sessions import Sessions
    from target_segment_objects.emulator.wire.faults import ActiveFaults, FaultScript, InjectedFault
    from target_segment_objects.emulator.wire.http import Head
    from target_segment_objects.emulator.wire.page import Page

_END_OF_HEAD = b"\r\n\r\n"
_LOGGED_CALLS = frozenset({"set", "finish"})
_LINGER_BYTES = 64 * 1024 * 1024
_LINGER_SECONDS = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ConnectionHandler:
    """Serves requests, one after the other; shared by all connections."""

    def __init__(  # noqa: PLR0913 what one exchange goes by
        self,
        app: App,
        traffic: RequestLog,
        faults: FaultScript,
        sessions: Sessions,
        *,
        report: Callable[[Exception], None],
        page: Page | None,
    ) -> None:
        """Let `report` hear of errors that are the emulator's own; `page` None shows none."""
        self._app = app
        self._traffic = traffic
        self._faults = faults
        self._sessions = sessions
        self._report = report
        self._page = page

    def serve(self, connection: socket.socket, client: str) -> None:
        """Serve a connection until either side ends it."""
        with connection, cast("BufferedReader", connection.makefile("rb", 65536)) as reader:
            try:
                while self._serve_one(connection, reader, client):
                    pass
            except (ConnectionError, TimeoutError, EOFError):
                pass
            except Exception as error:  # noqa: BLE001 the client sees a cut, the user the cause
                self._report(error)

    def _serve_one(self, connection: socket.socket, reader: BufferedReader, client: str) -> bool:
        """Serve one request; tell whether the connection can take another."""
        try:
            head = read_head(reader)
        except RefusalError as error:
            return _send_last(connection, refusal(error), "malformed")
        if head is None:
            return False
        if self._page is not None and self._page.has(head.path):
            return _show(connection, self._page, head)
        request = _request(head, client)
        self._traffic.arrive(request)
        trouble = self._faults.meeting(request)
        try:
            keep_alive = self._exchange(connection, reader, head, request, trouble)
        except CutError:
            if trouble.reset:
                # Lingering for no time makes the kernel send a reset instead of an orderly end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        finally:
            self._traffic.depart(request, None, "")
        trouble.call_back("answered", request)
        return keep_alive

    def _exchange(
        self,
        connection: socket.socket,
        reader: BufferedReader,
        head: Head,
        request: RecordedRequest,
        trouble: ActiveFaults,
    ) -> bool:
        answer, intact = self._handled(connection, reader, head, request, trouble)
        keep_alive = head.keep_alive and intact
        request_id = f"{request.call}-{request.number}"
        if trouble.sends:
            if trouble.drip is None:
                self._traffic.depart(request, None, "")
            return _send_troubled(
                connection,
                b"".join(write_answer(answer, request_id, keep_alive=False)),
                trouble,
                lambda: self._traffic.depart(request, answer.status, answer.reason),
            )
        # Before the answer is out, so that a client never overtakes the log or the gate.
        self._traffic.depart(request, answer.status, answer.reason)
        if not keep_alive:
            return _send_last(connection, answer, request_id)
        connection.sendall(b"".join(write_answer(answer, request_id, keep_alive=True)))
        return True

    def _handled(
        self,
        connection: socket.socket,
        reader: BufferedReader,
        head: Head,
        request: RecordedRequest,
        trouble: ActiveFaults,
    ) -> tuple[HttpResponse, bool]:
        """Return the answer, and whether the request was read to its end."""
        trouble.call_back("arrival", request)
        if trouble.cut == "before":
            raise CutError
        try:
            limit = parse_path(head.path).max_body_bytes
            length = body_length(head, limit)
            if head.expects_continue:
                connection.sendall(_CONTINUE)
            if trouble.cut == "in":
                next(read_body(reader, (length or 2) // 2, limit), None)
                raise CutError
            upload = self._read(request, read_body(reader, length, limit))
        except RefusalError as error:
            return refusal(error), False
        try:
            answer = self._applied(request, upload, trouble)
            if upload is not None and answer.status == HTTPStatus.CREATED:
                upload = None
        finally:
            if upload is not None:
                upload.unlink(missing_ok=True)
        trouble.call_back("applied", request)
        trouble.wait(before=False)
        if trouble.cut == "after":
            raise CutError
        if trouble.answer is not None and trouble.answer.applied:
            answer = _scripted(trouble.answer)
        return answer, True

    def _read(self, request: RecordedRequest, pieces: Iterator[bytes]) -> Path | None:
        """Read the body into the request, or that of an upload into the file that is returned."""
        if request.call != "upload":
            body = b"".join(pieces)
            request.body_bytes = len(body)
            if request.call in _LOGGED_CALLS:
                request.body = body
            return None
        path = self._app.new_upload()
        try:
            with path.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                request.body_bytes = file.tell()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _applied(
        self, request: RecordedRequest, upload: Path | None, trouble: ActiveFaults
    ) -> HttpResponse:
        trouble.call_back("body", request)
        trouble.wait(before=True)
        if trouble.expire:
            self._sessions.expire(request.sync_id)
        if trouble.answer is not None and not trouble.answer.applied:
            return _scripted(trouble.answer)
        try:
            self._app.check_head(request)
            return self._app.answer(request, upload)
        except RefusalError as error:
            return refusal(error)
        except Exception as error:  # noqa: BLE001 the client sees a 500, the user the cause
            self._report(error)
            return refusal(RefusalError(500, "internal error of the emulator"))


def _request(head: Head, client: str) -> RecordedRequest:
    call, sync_id = parse_path(head.path)
    request = RecordedRequest(call, 0, head.method, head.path, head.headers, 0.0)
    request.sync_id, request.client = sync_id, client
    request.write_key = write_key_of(head.authorization)
    return request


def _scripted(fault: InjectedFault) -> HttpResponse:
    status = fault.status or 500
    answer = refusal(RefusalError(status, "a fault on request", dict(fault.headers)))
    if fault.body is not None:
        answer.body = fault.body
    return answer


def _send_troubled(
    connection: socket.socket, wire: bytes, trouble: ActiveFaults, depart: Callable[[], None]
) -> bool:
    """Send an answer as the faults want it and end the connection."""
    if trouble.garbage is not None:
        connection.sendall(trouble.garbage)
        raise CutError
    if trouble.truncate is not None:
        end = wire.index(_END_OF_HEAD) + len(_END_OF_HEAD)
        sent = trouble.truncate
        wire = wire[: end + sent] if sent >= 0 else wire[: max(end + sent, 0)]
    elif trouble.drip is not None:
        for place in range(len(wire) - 1):
            connection.sendall(wire[place : place + 1])
            trouble.sleep(trouble.drip)
        wire = wire[-1:]
        depart()
    connection.sendall(wire)
    if trouble.truncate is not None:
        raise CutError
    return False


def _show(connection: socket.socket, page: Page, head: Head) -> bool:
    """Answer a request for the page: no call of the APIs, so it meets no log, gate or fault."""
    try:
        answer = page.answer(head)
    except RefusalError as error:
        return _send_last(connection, refusal(error), "page")
    if not head.keep_alive:
        return _send_last(connection, answer, "page")
    connection.sendall(b"".join(write_answer(answer, "page", keep_alive=True)))
    return True


def _send_last(connection: socket.socket, answer: HttpResponse, request_id: str) -> bool:
    """Send an answer and end the connection without destroying what is on its way."""
    connection.sendall(b"".join(write_answer(answer, request_id, keep_alive=False)))
    # Closing with unread bytes would reset the connection, and the answer with it.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        drained = 0
        end = time.monotonic() + _LINGER_SECONDS
        while drained < _LINGER_BYTES and (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (piece := connection.recv(65536)):
                break
            drained += len(piece)
    return False
