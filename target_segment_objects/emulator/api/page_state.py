"""What the page shows, as JSON: the newest requests, refusals, sessions and objects, all bounded.

Nothing is kept for it but the last tables asked for: it looks at the logs and the store that are
there anyway. Write keys are not in it, and one that comes back in somebody's text is hidden there.
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
    from target_segment_objects.emulator.api.sessions import EmulatorSession, Sessions
    from target_segment_objects.emulator.store.memory import Store

REQUESTS = 50
"""Requests, and refusals, shown."""
SESSIONS = 20
TABLES = 200
ROWS = 20
COLUMNS = 100
"""Beside the id."""
TEXT_CHARS = 200
"""Of a value, a reason, an error; the rest is cut."""
_PATH_CHARS = 60
_MARGIN_CHARS = 100
_SHORTEST_KEY = 8
_REMEMBERED = 8


class PageState:
    """The state of one emulator as its page shows it."""

    def __init__(  # noqa: PLR0913 what it looks at
        self,
        traffic: RequestLog,
        sessions: Sessions,
        store: Store,
        *,
        clock: Callable[[], float],
        write_key: str | None,
        warehouse: str,
    ) -> None:
        """Look at these; `warehouse` is the file's name, empty for objects in memory."""
        self._traffic = traffic
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._write_key = write_key
        self._warehouse = warehouse
        self._run = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[object, dict[str, Any]]] = {}

    def state(self, wanted: str) -> bytes:
        """Return the state as JSON, with the rows of one collection.

        Of `wanted` when there is such a table, else of the first. Times are the emulator's
        monotonic clock in seconds, sizes bytes, values text; lists are newest first.
        """
        latest = self._traffic.latest(REQUESTS)
        hide = _Hiding([*latest.keys, *([self._write_key] if self._write_key else [])])
        return msgspec.json.encode(
            {
                "run": self._run,
                "now": self._clock(),
                "warehouse": self._warehouse,
                "totals": {
                    "requests": sum(latest.calls.values()),
                    "objects": latest.objects,
                    "refused": latest.refused,
                    "in_flight": latest.in_flight,
                },
                "requests": [_request(request, hide) for request in latest.requests],
                "refusals": [_request(request, hide) for request in latest.refusals],
                "sessions": [
                    _session(session, hide) for session in self._sessions.latest(SESSIONS)
                ],
                **self._tables(wanted, hide),
            }
        )

    def _tables(self, wanted: str, hide: _Hiding) -> dict[str, Any]:
        """Return the tables' sizes and the newest rows of one, from the last time if unchanged."""
        # One at a time: a second page on the same table finds the first one's answer.
        with self._lock:
            basis = (self._store.changes, hide.keys)
            before, tables = self._remembered.get(wanted, (None, {}))
            if before != basis:
                try:
                    tables = self._read(wanted, hide)
                except WarehouseError:
                    return {"tables": [], "table_count": 0, "rows": None, "unreadable": True}
                if wanted not in self._remembered and len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                self._remembered[wanted] = (basis, tables)
            return tables

    def _read(self, wanted: str, hide: _Hiding) -> dict[str, Any]:
        sizes = self._store.sizes()
        names = list(sizes)[:TABLES]
        if wanted in sizes and wanted not in names:
            names.append(wanted)
        return {
            "tables": [{"name": name, "objects": sizes[name]} for name in names],
            "table_count": len(sizes),
            "rows": self._rows(wanted if wanted in sizes else next(iter(sizes), ""), hide),
            "unreadable": False,
        }

    def _rows(self, table: str, hide: _Hiding) -> dict[str, Any] | None:
        found = self._store.newest(table, ROWS, COLUMNS + 1, TEXT_CHARS + _MARGIN_CHARS)
        if found is None:
            return None
        # One column more than is shown tells that there are more.
        end = COLUMNS + 1
        return {
            "table": table,
            "columns": [
                {"name": hide(name), "type": kind, "lost": found.lost.get(name, 0)}
                for name, kind in found.columns[:end]
            ],
            "more_columns": len(found.columns) > end,
            "rows": [
                [None if text is None else hide(text) for text in row[:end]] for row in found.rows
            ],
        }


class _Hiding:
    """Takes write keys out of a text, and cuts it."""

    def __init__(self, keys: list[str]) -> None:
        # A shorter key is a test's, and may well be a word of some text.
        self.keys = [key for key in keys if len(key) >= _SHORTEST_KEY]

    def __call__(self, text: str, chars: int = TEXT_CHARS) -> str:
        text = text[: chars + _MARGIN_CHARS]
        for key in self.keys:
            if key in text:
                text = text.replace(key, "[hidden]")
        return text if len(text) <= chars else f"{text[:chars]}…"


def _request(request: RecordedRequest, hide: _Hiding) -> dict[str, Any]:
    ended = request.answered_at
    other = request.call == "other"
    return {
        "id": f"{request.call}-{request.number}",
        # A path of neither API, without what may stand behind it.
        "path": hide(f"{request.method} {request.path.partition('?')[0]}", _PATH_CHARS)
        if other
        else "",
        "at": request.at,
        "seconds": None if ended is None else ended - request.at,
        "status": request.status,
        "reason": hide(request.reason),
        "objects": request.objects,
        "bytes": request.body_bytes,
        "sync_id": hide(request.sync_id or ""),
    }


def _session(session: EmulatorSession, hide: _Hiding) -> dict[str, Any]:
    return {
        "sync_id": session.sync_id,
        "state": session.state,
        "error": hide(session.error),
        "parts": len(session.parts),
        "objects": session.objects,
        "bytes": session.part_bytes,
        "started_at": session.started_at,
        "last_call_at": session.last_call_at,
    }
