"""Serves a connection: reads requests, applies injected faults, and sends the app's responses.

The app does not know about the faults.
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
    encode_response,
    read_body,
    read_head,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader
    from pathlib import Path

    from target_segment_objects.emulator.api.app import App
    from target_segment_objects.emulator.api.request_log import RequestLog
    from target_segment_objects.emulator.api.sessions import SessionRegistry
    from target_segment_objects.emulator.wire.faults import ActiveFaults, FaultScript, InjectedFault
    from target_segment_objects.emulator.wire.http import Head
    from target_segment_objects.emulator.wire.page import Page

_END_OF_HEAD = b"\r\n\r\n"
_LOGGED_CALLS = frozenset({"set", "finish"})
_LINGER_BYTES = 64 * 1024 * 1024
_LINGER_SECONDS = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ConnectionHandler:
    """Serves the requests of a connection in order; one handler serves all connections."""

    def __init__(  # noqa: PLR0913 it uses all of them
        self,
        app: App,
        request_log: RequestLog,
        faults: FaultScript,
        sessions: SessionRegistry,
        *,
        report: Callable[[Exception], None],
        page: Page | None,
    ) -> None:
        """Pass errors of the emulator itself to `report`; without `page` there is no page."""
        self._app = app
        self._request_log = request_log
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
        """Serve one request; tell whether the connection can be used for another."""
        try:
            head = read_head(reader)
        except RefusalError as error:
            return _send_and_close(connection, refusal(error), "malformed")
        if head is None:
            return False
        if self._page is not None and self._page.serves(head.path):
            return _serve_page(connection, self._page, head)
        request = _request(head, client)
        self._request_log.start(request)
        faults = self._faults.faults_for(request)
        try:
            keep_alive = self._respond(connection, reader, head, request, faults)
        except CutError:
            if faults.reset:
                # With a linger time of 0, the kernel sends a reset instead of an orderly end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        finally:
            self._request_log.finish(request, None, "")
        faults.run_callbacks("answered", request)
        return keep_alive

    def _respond(
        self,
        connection: socket.socket,
        reader: BufferedReader,
        head: Head,
        request: RecordedRequest,
        faults: ActiveFaults,
    ) -> bool:
        response, intact = self._read_and_handle(connection, reader, head, request, faults)
        keep_alive = head.keep_alive and intact
        request_id = f"{request.call}-{request.number}"
        if faults.sends:
            if faults.drip is None:
                self._request_log.finish(request, None, "")
            return _send_with_faults(
                connection,
                b"".join(encode_response(response, request_id, keep_alive=False)),
                faults,
                lambda: self._request_log.finish(request, response.status, response.reason),
            )
        # Before the response is sent, so that the client's next request finds this one finished.
        self._request_log.finish(request, response.status, response.reason)
        if not keep_alive:
            return _send_and_close(connection, response, request_id)
        connection.sendall(b"".join(encode_response(response, request_id, keep_alive=True)))
        return True

    def _read_and_handle(
        self,
        connection: socket.socket,
        reader: BufferedReader,
        head: Head,
        request: RecordedRequest,
        faults: ActiveFaults,
    ) -> tuple[HttpResponse, bool]:
        """Return the response, and whether the request was read to its end."""
        faults.run_callbacks("arrival", request)
        if faults.cut == "before":
            raise CutError
        try:
            limit = parse_path(head.path).max_body_bytes
            length = body_length(head, limit)
            if head.expects_continue:
                connection.sendall(_CONTINUE)
            if faults.cut == "in":
                next(read_body(reader, (length or 2) // 2, limit), None)
                raise CutError
            upload = self._read(request, read_body(reader, length, limit))
        except RefusalError as error:
            return refusal(error), False
        try:
            response = self._handle(request, upload, faults)
            if upload is not None and response.status == HTTPStatus.CREATED:
                upload = None
        finally:
            if upload is not None:
                upload.unlink(missing_ok=True)
        faults.run_callbacks("applied", request)
        faults.wait(before=False)
        if faults.cut == "after":
            raise CutError
        if faults.response is not None and faults.response.applied:
            response = _injected_response(faults.response)
        return response, True

    def _read(self, request: RecordedRequest, pieces: Iterator[bytes]) -> Path | None:
        """Read the body into the request; an upload's body into a file, whose path is returned."""
        if request.call != "upload":
            body = b"".join(pieces)
            request.body_bytes = len(body)
            if request.call in _LOGGED_CALLS:
                request.body = body
            return None
        path = self._app.new_upload_path()
        try:
            with path.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                request.body_bytes = file.tell()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _handle(
        self, request: RecordedRequest, upload: Path | None, faults: ActiveFaults
    ) -> HttpResponse:
        faults.run_callbacks("body", request)
        faults.wait(before=True)
        if faults.expire:
            self._sessions.expire(request.sync_id)
        if faults.response is not None and not faults.response.applied:
            return _injected_response(faults.response)
        try:
            self._app.check_head(request)
            return self._app.respond(request, upload)
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


def _injected_response(fault: InjectedFault) -> HttpResponse:
    status = fault.status or 500
    response = refusal(RefusalError(status, "an injected fault", dict(fault.headers)))
    if fault.body is not None:
        response.body = fault.body
    return response


def _send_with_faults(
    connection: socket.socket, wire: bytes, faults: ActiveFaults, finish: Callable[[], None]
) -> bool:
    """Send a response as the faults require, and end the connection."""
    if faults.garbage is not None:
        connection.sendall(faults.garbage)
        raise CutError
    if faults.truncate is not None:
        end = wire.index(_END_OF_HEAD) + len(_END_OF_HEAD)
        sent = faults.truncate
        wire = wire[: end + sent] if sent >= 0 else wire[: max(end + sent, 0)]
    elif faults.drip is not None:
        for index in range(len(wire) - 1):
            connection.sendall(wire[index : index + 1])
            faults.sleep(faults.drip)
        wire = wire[-1:]
        finish()
    connection.sendall(wire)
    if faults.truncate is not None:
        raise CutError
    return False


def _serve_page(connection: socket.socket, page: Page, head: Head) -> bool:
    """Respond to a request for the page, which is not logged, limited or hit by faults."""
    try:
        response = page.respond(head)
    except RefusalError as error:
        return _send_and_close(connection, refusal(error), "page")
    if not head.keep_alive:
        return _send_and_close(connection, response, "page")
    connection.sendall(b"".join(encode_response(response, "page", keep_alive=True)))
    return True


def _send_and_close(connection: socket.socket, response: HttpResponse, request_id: str) -> bool:
    """Send a response and end the connection so that the client can read all of it."""
    connection.sendall(b"".join(encode_response(response, request_id, keep_alive=False)))
    # Closing a connection with unread bytes resets it, and the client may lose the response.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        drained_bytes = 0
        end = time.monotonic() + _LINGER_SECONDS
        while drained_bytes < _LINGER_BYTES and (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (piece := connection.recv(65536)):
                break
            drained_bytes += len(piece)
    return False
