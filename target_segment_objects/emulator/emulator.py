"""`Emulator` connects the rules, sessions, faults, ordering, store and server of one emulator."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from target_segment_objects.emulator.api.app import App
from target_segment_objects.emulator.api.page_state import PageState
from target_segment_objects.emulator.api.request_log import RequestLog
from target_segment_objects.emulator.api.sessions import SessionRegistry
from target_segment_objects.emulator.errors import EmulatorError
from target_segment_objects.emulator.rules.names import table_name
from target_segment_objects.emulator.rules.requests import MAX_CONCURRENCY, Rules
from target_segment_objects.emulator.store.memory import MemoryStore
from target_segment_objects.emulator.store.ordering import Ordering
from target_segment_objects.emulator.wire.connection import ConnectionHandler
from target_segment_objects.emulator.wire.faults import FaultScript, Hold, InjectedFault
from target_segment_objects.emulator.wire.page import Page
from target_segment_objects.emulator.wire.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike
    from types import TracebackType

    from typing_extensions import Self

    from target_segment_objects.emulator.api.request_log import RecordedRequest
    from target_segment_objects.emulator.api.sessions import EmulatorSession
    from target_segment_objects.emulator.rules.columns import Scalar
    from target_segment_objects.emulator.store.contract import Row, Store, Update

_TICK_SECONDS = 0.2
_REORDER_SECONDS = 0.4
_FINISH_WAIT_SECONDS = 30.0


class Emulator:
    """Segment on a port of this machine, from `start` (or `with`) to `stop`.

    Without a warehouse, objects are kept in memory, with values as sent. With one, they are kept in
    a DuckDB file, in typed columns.
    """

    def __init__(  # noqa: PLR0913 keywords with defaults
        self,
        *,
        write_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        warehouse: str | PathLike[str] | None = None,
        nulls: Literal["clear", "refuse"] = "clear",
        collection_digits: bool = False,
        session_seconds: float = 600.0,
        seed: int = 0,
        clock: Callable[[], float] | None = None,
        max_concurrency: int = MAX_CONCURRENCY,
        memory_limit: str = "512MB",
        finish_wait_seconds: float = _FINISH_WAIT_SECONDS,
        page: bool = False,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        """Configure an emulator; it does not listen or open a file before `start`.

        write_key: the only key that is accepted; None accepts any that is not empty.
        host, port: where to listen; port 0 chooses a free one.
        warehouse: a DuckDB file, created when missing; needs the extra `[emulator]`.
        nulls: a null property clears the value, or is refused [unknown].
        collection_digits: accept digits in collections, which the documentation excludes.
        session_seconds: a bulk session expires after this many seconds without a call.
        seed: for the order of asynchronous updates and for `InjectedFault.chance`.
        clock: monotonic seconds, for sessions and the log; `time.monotonic` by default.
        max_concurrency: most requests at once per write key and per IP address.
        memory_limit: DuckDB's setting of that name.
        finish_wait_seconds: a finish gets its response after this time, even if still loading.
        page: show at `/` what arrives, to anybody who can reach the port, without a key.
        on_failure: called on one of the emulator's threads when it fails itself (full disk, bug).
        """
        self._host = host
        self._port = port
        self._warehouse = None if warehouse is None else Path(warehouse)
        self._memory_limit = memory_limit
        self._rules = Rules(nulls=nulls, collection_digits=collection_digits)
        self._write_key = write_key
        self._seed = seed
        self._finish_wait = finish_wait_seconds
        self._shows_page = page
        self._on_failure = on_failure
        self._clock = clock or time.monotonic
        self._request_log = RequestLog(self._clock, max_concurrency)
        self._sessions = SessionRegistry(self._clock, session_seconds)
        self._faults = FaultScript(seed)
        self._store: Store = MemoryStore()
        self._store_lock = threading.RLock()
        self._ordering = Ordering(self._apply, seed, _REORDER_SECONDS)
        self._stopping = threading.Event()
        self._errors: list[Exception] = []
        self._app: App | None = None
        self._server: Server | None = None
        self._folder: Path | None = None
        self._flusher = threading.Thread(
            target=self._flush_periodically, name="segment-emulator-flush", daemon=True
        )

    def start(self) -> Self:
        """Open the store and listen. An emulator can be started once.

        `MissingExtraError`, `WarehouseError` or `OSError` when it cannot start.
        """
        if self._server is not None:
            message = "An emulator can be started only once; create another one."
            raise EmulatorError(message)
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="segment-emulator-"))
        except OSError as error:
            raise EmulatorError(
                f"There is no folder for temporary files: {error.strerror or error}; "
                "set the environment variable `TMPDIR` to a folder that can be written."
            ) from None
        try:
            if self._warehouse is not None:
                from target_segment_objects.emulator.store.warehouse import Warehouse  # noqa: PLC0415

                self._store = Warehouse(self._warehouse, self._folder, self._memory_limit)
            self._app = App(
                rules=self._rules,
                host=self._host,
                write_key=self._write_key,
                sessions=self._sessions,
                request_log=self._request_log,
                ordering=self._ordering,
                store=self._store,
                store_lock=self._store_lock,
                new_id=lambda: uuid.uuid4().hex[:15],
                new_path=self._folder.joinpath,
                finish_wait_seconds=self._finish_wait,
            )
            exchange = ConnectionHandler(
                self._app,
                self._request_log,
                self._faults,
                self._sessions,
                report=self._failed,
                page=Page(self._host, self._view()) if self._shows_page else None,
            )
            self._server = Server(self._host, self._port, exchange.serve)
        except BaseException:
            self._store.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._port = self._server.port
        try:
            self._server.start()
            self._flusher.start()
        except RuntimeError:
            self._stopping.set()
            self._server.stop()
            self._store.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise EmulatorError(
                "The system cannot start more threads: raise the limit of processes (`ulimit -u`, "
                "or that of the container)."
            ) from None
        return self

    def stop(self) -> None:
        """Cut held requests, end all threads and store everything; a second call does nothing.

        `EmulatorError` when the emulator itself has failed.
        """
        if self._server is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._faults.stop()
        self._server.stop()
        self._flusher.join()
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001 raised below, after the cleanup
            self._errors.append(error)
        try:
            self._store.close()
        except Exception as error:  # noqa: BLE001 raised below
            self._errors.append(error)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._errors:
            message = f"The emulator failed: {self._errors[0]}"
            raise EmulatorError(message) from self._errors[0]

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; an error of `stop` does not replace an error of the block."""
        try:
            self.stop()
        except EmulatorError:
            if error is None:
                raise

    @property
    def url(self) -> str:
        """The base address of both APIs, without a path: `http://127.0.0.1:PORT`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last 20,000 requests, in order of arrival."""
        return self._request_log.requests()

    @property
    def refusals(self) -> list[RecordedRequest]:
        """The last 20,000 requests that got a 4xx; `reason` says why."""
        return self._request_log.refusals()

    @property
    def in_flight_peak(self) -> int:
        """The largest number of requests that were in flight at once."""
        return self._request_log.peak

    @property
    def sessions(self) -> dict[str, EmulatorSession]:
        """The bulk sessions by sync_id, oldest first."""
        return self._sessions.all()

    def rows(self, collection: str, *, typed: bool = False) -> list[Row]:
        """Return the objects of a collection, merged, in order of first arrival.

        A row is `{"id": …, property: value, …}`, with property names as in a warehouse. In memory,
        values are as sent, cleared ones None; `typed=True` returns what a warehouse would show.
        With a warehouse, values are always typed, and every row has every column;
        `WarehouseError` when its file cannot be read or written.
        """
        self.flush()
        table = table_name(collection)
        with self._store_lock:
            if typed and isinstance(self._store, MemoryStore):
                return self._store.typed_rows(table)
            return self._store.rows(table)

    def tables(self, *, typed: bool = False) -> dict[str, list[Row]]:
        """Return the rows of every table, by the table's name."""
        self.flush()
        with self._store_lock:
            names = self._store.table_names()
        return {name: self.rows(name, typed=typed) for name in names}

    def history(self, collection: str, identifier: str) -> list[dict[str, Scalar]]:
        """Return the properties applied to one object, in order of application; memory only."""
        self.flush()
        if not isinstance(self._store, MemoryStore):
            message = "Only the memory store keeps a history; omit `warehouse`."
            raise EmulatorError(message)
        with self._store_lock:
            return self._store.history(table_name(collection), identifier)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query on the warehouse; `WarehouseError` when it fails."""
        self.flush()
        if isinstance(self._store, MemoryStore):
            message = "Only a warehouse can be queried; set `warehouse` to a DuckDB file."
            raise EmulatorError(message)
        with self._store_lock:
            rows: list[dict[str, Any]] = self._store.query(sql)  # type: ignore[attr-defined]
            return rows

    @property
    def lost_values(self) -> dict[tuple[str, str], int]:
        """How many values no column could hold, by table and column (or property, without one)."""
        self.flush()
        with self._store_lock:
            return self._store.lost_values()

    def flush(self) -> None:
        """Apply all accepted updates, asynchronous ones and those of finished sessions included."""
        if self._app is not None:
            self._app.flush()
        with self._store_lock:
            self._store.flush()

    def fault(self, fault: InjectedFault) -> InjectedFault:
        """Inject a fault, and return it."""
        self._faults.add(fault)
        return fault

    def hold(
        self, call: str = "any", first: int = 1, count: int | None = 1, *, before: bool = False
    ) -> Hold:
        """Withhold the responses to `count` requests of a call, from number `first` on.

        The requests are applied before they are held; with `before`, they are held after their body
        was read and applied when released.
        """
        hold = Hold()
        self._faults.add(
            InjectedFault(call=call, first=first, count=count, before=before, hold=hold)
        )
        return hold

    def clear_faults(self) -> None:
        """Remove all faults and holds; held requests continue."""
        self._faults.clear()

    def expire_sessions(self, sync_id: str | None = None) -> None:
        """Expire one bulk session, or all open ones, now."""
        self._sessions.expire(sync_id)

    def _view(self) -> PageState:
        return PageState(
            self._request_log,
            self._sessions,
            self._store,
            clock=self._clock,
            write_key=self._write_key,
            warehouse="" if self._warehouse is None else self._warehouse.name,
        )

    def _apply(self, updates: Sequence[Update]) -> None:
        with self._store_lock:
            self._store.apply(updates)

    def _flush_periodically(self) -> None:
        # Set calls reach the store, and a warehouse's file, within a second.
        try:
            while not self._stopping.wait(_TICK_SECONDS):
                self._ordering.apply_due(everything=False)
                with self._store_lock:
                    self._store.flush()
        except Exception as error:  # noqa: BLE001 raised by stop
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._errors.append(error)
        if self._on_failure is not None:
            self._on_failure()
