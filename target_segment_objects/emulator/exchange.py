"""One exchange on a connection: read, meet the faults, let the app answer, send.

The only place where faults touch the wire; the app never learns of them.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from target_segment_objects.emulator.app import Answer, refusal, route
from target_segment_objects.emulator.errors import RefusalError
from target_segment_objects.emulator.faults import CutError
from target_segment_objects.emulator.http import body_length, read_body, read_head, write_answer
from target_segment_objects.emulator.rules import write_key_of
from target_segment_objects.emulator.traffic import Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from pathlib import Path

    from target_segment_objects.emulator.app import App
    from target_segment_objects.emulator.faults import Faults, Trouble
    from target_segment_objects.emulator.http import Head
    from target_segment_objects.emulator.sessions import Sessions
    from target_segment_objects.emulator.traffic import Traffic

_LOGGED_CALLS = frozenset({"set", "finish"})
_LINGER_BYTES = 64 * 1024 * 1024
_LINGER_SECONDS = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """Serves requests, one after the other; shared by all connections."""

    def __init__(
        self,
        app: App,
        traffic: Traffic,
        faults: Faults,
        sessions: Sessions,
        report: Callable[[Exception], None],
    ) -> None:
        """Let `report` hear of errors that are the emulator's own."""
        self._app = app
        self._traffic = traffic
        self._faults = faults
        self._sessions = sessions
        self._report = report

    def serve(self, connection: socket.socket, client: str) -> None:
        """Serve a connection until either side ends it."""
        with connection, connection.makefile("rb", 65536) as reader:
            try:
                while self._serve_one(connection, reader, client):
                    pass
            except (ConnectionError, TimeoutError, EOFError):
                pass
            except Exception as error:  # noqa: BLE001 the client sees a cut, the user the cause
                self._report(error)

    def _serve_one(self, connection: socket.socket, reader: BufferedReader, client: str) -> bool:
        try:
            head = read_head(reader)
        except RefusalError as error:
            return _send_last(connection, refusal(error), "malformed")
        if head is None:
            return False
        call, sync_id = route(head.path)
        key = write_key_of(head.authorization)
        request = Request(call, 0, head.method, head.path, head.headers, 0.0)
        request.sync_id, request.client, request.write_key = sync_id, client, key
        self._traffic.arrive(request)
        trouble = self._faults.meeting(request)
        request_id = f"{call}-{request.number}"
        status: int | None = None
        departed = False
        try:
            answer, intact = self._handled(connection, reader, head, request, trouble)
            if trouble is not None and trouble.garbage is not None:
                answer.status = 0
            status = answer.status or None
            keep_alive = head.keep_alive and intact
            if trouble is None or trouble.drip is None:
                departed = True
                self._traffic.depart(request, status, answer.reason)
            if trouble is not None:
                keep_alive = _send_troubled(
                    connection, answer, request_id, trouble, keep_alive=keep_alive
                )
                trouble.call_back("answered", request)
            elif keep_alive:
                connection.sendall(b"".join(write_answer(answer, request_id, keep_alive=True)))
            else:
                keep_alive = _send_last(connection, answer, request_id)
        except CutError:
            if trouble is not None and trouble.reset:
                # Lingering for no time makes the kernel send a reset instead of an orderly end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        else:
            return keep_alive
        finally:
            if not departed:
                self._traffic.depart(request, status, "")

    def _handled(
        self,
        connection: socket.socket,
        reader: BufferedReader,
        head: Head,
        request: Request,
        trouble: Trouble | None,
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether the connection can serve another request."""
        upload: Path | None = None
        intact = False
        try:
            if trouble is not None:
                trouble.call_back("arrival", request)
                if trouble.cut == "before":
                    raise CutError  # noqa: TRY301
            limit = route(head.path).max_body_bytes
            length = body_length(head, limit)
            if head.expects_continue:
                connection.sendall(_CONTINUE)
            upload = self._read(reader, request, length, limit, trouble)
            intact = True
            if trouble is not None:
                trouble.call_back("body", request)
                trouble.wait(before=True)
                if trouble.expire:
                    self._sessions.expire(request.sync_id)
            answer = self._answered(request, upload, trouble)
        except RefusalError as error:
            answer = refusal(error)
        except BaseException:
            if upload is not None:
                upload.unlink(missing_ok=True)
            raise
        if upload is not None and answer.status != 201:  # noqa: PLR2004 Created
            upload.unlink(missing_ok=True)
        if trouble is not None:
            trouble.call_back("applied", request)
            trouble.wait(before=False)
            if trouble.cut == "after":
                raise CutError
            if trouble.answer is not None and trouble.answer.applied:
                answer = _scripted(trouble)
        return answer, intact

    def _read(
        self,
        reader: BufferedReader,
        request: Request,
        length: int | None,
        limit: int,
        trouble: Trouble | None,
    ) -> Path | None:
        pieces = read_body(reader, length, limit)
        if trouble is not None and trouble.cut == "in":
            next(read_body(reader, (length or 2) // 2, limit), None)
            raise CutError
        if request.call == "upload":
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
        body = b"".join(pieces)
        request.body_bytes = len(body)
        if request.call in _LOGGED_CALLS:
            request.body = body
        return None

    def _answered(self, request: Request, upload: Path | None, trouble: Trouble | None) -> Answer:
        if trouble is not None and trouble.answer is not None and not trouble.answer.applied:
            return _scripted(trouble)
        try:
            self._app.check_head(request)
            return self._app.answer(request, upload)
        except RefusalError as error:
            return refusal(error)
        except Exception as error:  # noqa: BLE001 the client sees a 500, the user the cause
            self._report(error)
            return refusal(RefusalError(500, "internal error of the emulator"))


def _scripted(trouble: Trouble) -> Answer:
    fault = trouble.answer
    if fault is None or fault.status is None:
        raise CutError
    answer = refusal(RefusalError(fault.status, "a fault on request", dict(fault.headers)))
    if fault.body is not None:
        answer.body = fault.body
    return answer


def _send_troubled(
    connection: socket.socket,
    answer: Answer,
    request_id: str,
    trouble: Trouble,
    *,
    keep_alive: bool,
) -> bool:
    if trouble.garbage is not None:
        connection.sendall(trouble.garbage)
        raise CutError
    head, body = write_answer(answer, request_id, keep_alive=keep_alive)
    wire = head + body
    if trouble.truncate is not None:
        sent = trouble.truncate
        wire = head + body[:sent] if sent >= 0 else head[:sent]
    if trouble.drip is None:
        connection.sendall(wire)
    else:
        for place in range(len(wire)):
            connection.sendall(wire[place : place + 1])
            trouble.sleep(trouble.drip)
    if trouble.truncate is not None:
        raise CutError
    return keep_alive


def _send_last(connection: socket.socket, answer: Answer, request_id: str) -> bool:
    """Send an answer and end the connection without destroying what is on its way."""
    connection.sendall(b"".join(write_answer(answer, request_id, keep_alive=False)))
    # Closing with unread bytes would reset the connection, and the answer with it.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_LINGER_SECONDS)
        drained = 0
        while drained < _LINGER_BYTES and (piece := connection.recv(65536)):
            drained += len(piece)
    return False
