"""The state that the page shows, as JSON: the newest requests, refusals, sessions and objects.

All of it is bounded, and read from the log and the store; only the last tables shown are cached. It
contains no write keys: one of 8 characters or more is replaced wherever it occurs in a text.
"""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from target_segment_objects.emulator.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.emulator.api.request_log import RecordedRequest, RequestLog
    from target_segment_objects.emulator.api.sessions import EmulatorSession, SessionRegistry
    from target_segment_objects.emulator.store.contract import Store

REQUESTS = 50
"""Most requests that are shown, and most refusals."""
SESSIONS = 20
TABLES = 200
ROWS = 20
COLUMNS = 100
"""Besides the id."""
TEXT_CHARS = 200
"""Most characters of a value, a reason or an error; the rest is cut."""
_PATH_CHARS = 60
_MARGIN_CHARS = 100
_SHORTEST_KEY = 8
_REMEMBERED = 8


class PageState:
    """The state of one emulator as its page shows it."""

    def __init__(  # noqa: PLR0913 it reads all of them
        self,
        request_log: RequestLog,
        sessions: SessionRegistry,
        store: Store,
        *,
        clock: Callable[[], float],
        write_key: str | None,
        warehouse: str,
    ) -> None:
        """Read the state from these; `warehouse` is the file's name, or empty without a file."""
        self._request_log = request_log
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._write_key = write_key
        self._warehouse = warehouse
        self._run_id = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._cached: dict[str, tuple[object, dict[str, Any]]] = {}

    def state(self, selected: str) -> bytes:
        """Return the state as JSON, with the rows of one collection.

        The collection is `selected` if there is such a table, else the first one. Times are seconds
        of the emulator's monotonic clock, sizes are bytes, values text; lists are newest first.
        """
        latest = self._request_log.latest(REQUESTS)
        redact = _Redactor([*latest.keys, *([self._write_key] if self._write_key else [])])
        return msgspec.json.encode(
            {
                "run": self._run_id,
                "now": self._clock(),
                "warehouse": self._warehouse,
                "totals": {
                    "requests": sum(latest.calls.values()),
                    "objects": latest.objects,
                    "refused": latest.refused,
                    "in_flight": latest.in_flight,
                },
                "requests": [_request(request, redact) for request in latest.requests],
                "refusals": [_request(request, redact) for request in latest.refusals],
                "sessions": [
                    _session(session, redact) for session in self._sessions.latest(SESSIONS)
                ],
                **self._tables(selected, redact),
            }
        )

    def _tables(self, selected: str, redact: _Redactor) -> dict[str, Any]:
        """Return the tables' sizes and the newest rows of one; cached until something changes."""
        # One thread at a time, so that a second page with the same table uses the cache.
        with self._lock:
            basis = (self._store.changes, redact.keys)
            before, tables = self._cached.get(selected, (None, {}))
            if before != basis:
                try:
                    tables = self._read(selected, redact)
                except WarehouseError:
                    return {"tables": [], "table_count": 0, "rows": None, "unreadable": True}
                if selected not in self._cached and len(self._cached) >= _REMEMBERED:
                    self._cached.clear()
                self._cached[selected] = (basis, tables)
            return tables

    def _read(self, selected: str, redact: _Redactor) -> dict[str, Any]:
        object_counts = self._store.object_counts()
        names = list(object_counts)[:TABLES]
        if selected in object_counts and selected not in names:
            names.append(selected)
        return {
            "tables": [{"name": name, "objects": object_counts[name]} for name in names],
            "table_count": len(object_counts),
            "rows": self._rows(
                selected if selected in object_counts else next(iter(object_counts), ""), redact
            ),
            "unreadable": False,
        }

    def _rows(self, table: str, redact: _Redactor) -> dict[str, Any] | None:
        preview = self._store.preview(table, ROWS, COLUMNS + 1, TEXT_CHARS + _MARGIN_CHARS)
        if preview is None:
            return None
        # One more column than is shown, to know whether there are more.
        end = COLUMNS + 1
        return {
            "table": table,
            "columns": [
                {"name": redact(name), "type": kind, "lost": preview.lost_values.get(name, 0)}
                for name, kind in preview.columns[:end]
            ],
            "more_columns": len(preview.columns) > end,
            "rows": [
                [None if text is None else redact(text) for text in row[:end]]
                for row in preview.rows
            ],
        }


class _Redactor:
    """Hides write keys in texts, and cuts long texts."""

    def __init__(self, keys: list[str]) -> None:
        # A shorter key is used in tests, and could be an ordinary word of a text.
        self.keys = [key for key in keys if len(key) >= _SHORTEST_KEY]

    def __call__(self, text: str, chars: int = TEXT_CHARS) -> str:
        text = text[: chars + _MARGIN_CHARS]
        for key in self.keys:
            if key in text:
                text = text.replace(key, "[hidden]")
        return text if len(text) <= chars else f"{text[:chars]}…"


def _request(request: RecordedRequest, redact: _Redactor) -> dict[str, Any]:
    ended = request.answered_at
    other = request.call == "other"
    return {
        "id": f"{request.call}-{request.number}",
        # A path of neither API, without its query.
        "path": redact(f"{request.method} {request.path.partition('?')[0]}", _PATH_CHARS)
        if other
        else "",
        "at": request.at,
        "seconds": None if ended is None else ended - request.at,
        "status": request.status,
        "reason": redact(request.reason),
        "objects": request.objects,
        "bytes": request.body_bytes,
        "sync_id": redact(request.sync_id or ""),
    }


def _session(session: EmulatorSession, redact: _Redactor) -> dict[str, Any]:
    return {
        "sync_id": session.sync_id,
        "state": session.state,
        "error": redact(session.error),
        "parts": len(session.parts),
        "objects": session.objects,
        "bytes": session.part_bytes,
        "started_at": session.started_at,
        "last_call_at": session.last_call_at,
    }
