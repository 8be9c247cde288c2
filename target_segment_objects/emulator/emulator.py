"""`Emulator`: both object APIs of Segment on one loopback port, and a look at what arrived.

The one place that wires rules, sessions, faults, order, store and server.
"""

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
from target_segment_objects.emulator.api.sessions import Sessions
from target_segment_objects.emulator.errors import EmulatorError
from target_segment_objects.emulator.rules.names import table_name
from target_segment_objects.emulator.rules.requests import MAX_AT_ONCE, Rules
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
    from target_segment_objects.emulator.store.memory import Row, Store, Update

_TICK_SECONDS = 0.2
_REORDER_SECONDS = 0.4
_FINISH_WAIT_SECONDS = 30.0


class Emulator:
    """Segment on a port of this machine, from `start` (or `with`) to `stop`.

    Without a warehouse, objects live in memory, values as they were sent. With one, they live in a
    DuckDB file, in typed columns.
    """

    def __init__(  # noqa: PLR0913 each is a keyword with a default
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
        max_at_once: int = MAX_AT_ONCE,
        memory_limit: str = "512MB",
        finish_wait_seconds: float = _FINISH_WAIT_SECONDS,
        page: bool = False,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        """Prepare an emulator; nothing listens and no file is touched before `start`.

        write_key: the only key taken; None takes any that is not empty.
        host, port: where to listen; port 0 is a free one.
        warehouse: a DuckDB file, made when missing; needs the extra `[emulator]`.
        nulls: a null property clears the value, or is refused [unknown].
        collection_digits: take digits in collections, which the documentation excludes.
        session_seconds: silence after which a bulk session is expired.
        seed: of the order of asynchronous updates and of `InjectedFault.chance`.
        clock: monotonic seconds, for sessions and the log; `time.monotonic` by default.
        max_at_once: requests in flight per write key and per IP address.
        memory_limit: DuckDB's, as DuckDB writes it.
        finish_wait_seconds: a finish is answered after so many seconds though it still loads.
        page: show what arrives at `/`, to whoever can reach the port, without a key.
        on_failure: called on a thread of the emulator's when it fails itself: a full disk, a bug.
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
        clock = clock or time.monotonic
        self._clock = clock
        self._traffic = RequestLog(clock, max_at_once)
        self._sessions = Sessions(clock, session_seconds)
        self._faults = FaultScript(seed)
        self._store: Store = MemoryStore()
        self._store_lock = threading.RLock()
        self._ordering = Ordering(self._apply, seed, _REORDER_SECONDS)
        self._stopping = threading.Event()
        self._errors: list[Exception] = []
        self._app: App | None = None
        self._server: Server | None = None
        self._folder: Path | None = None
        self._settler = threading.Thread(
            target=self._settle_in_time, name="segment-emulator-flush", daemon=True
        )

    def start(self) -> Self:
        """Open the store and listen. An emulator starts once.

        `MissingExtraError`, `WarehouseError` and `OSError` tell why it cannot.
        """
        if self._server is not None:
            message = "An emulator starts once; make another one."
            raise EmulatorError(message)
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="segment-emulator-"))
        except OSError as error:
            raise EmulatorError(
                f"There is no folder for temporary files: {error.strerror or error}; "
                "name one that can be written with the environment variable `TMPDIR`."
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
                traffic=self._traffic,
                ordering=self._ordering,
                store=self._store,
                store_lock=self._store_lock,
                new_id=lambda: uuid.uuid4().hex[:15],
                new_path=self._folder.joinpath,
                finish_wait_seconds=self._finish_wait,
            )
            exchange = ConnectionHandler(
                self._app,
                self._traffic,
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
            self._settler.start()
        except RuntimeError:
            self._stopping.set()
            self._server.stop()
            self._store.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise EmulatorError(
                "The system starts no more threads: raise the limit of processes (`ulimit -u`, or "
                "the container's)."
            ) from None
        return self

    def stop(self) -> None:
        """Cut what is held, end every thread, store everything. Calling it again does nothing.

        `EmulatorError` when the emulator itself failed meanwhile.
        """
        if self._server is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._faults.stop()
        self._server.stop()
        self._settler.join()
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001 raised below, once all is cleaned up
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
        """Stop; an error on the way out does not hide the one that came first."""
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
        return self._traffic.requests()

    @property
    def refusals(self) -> list[RecordedRequest]:
        """The last 20,000 requests that were answered 4xx; `reason` says why."""
        return self._traffic.refusals()

    @property
    def in_flight_peak(self) -> int:
        """The most requests that were in flight at once."""
        return self._traffic.peak

    @property
    def sessions(self) -> dict[str, EmulatorSession]:
        """The bulk sessions by sync_id, oldest first."""
        return self._sessions.all()

    def rows(self, collection: str, *, typed: bool = False) -> list[Row]:
        """Return the objects of a collection, merged, in order of first arrival.

        Each is `{"id": …, property: value, …}`, property names as a warehouse has them. In memory,
        values are as sent, cleared ones None, and `typed=True` returns what a warehouse would
        show; in DuckDB they are always typed, with every column in every row.
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
            names = self._store.names()
        return {name: self.rows(name, typed=typed) for name in names}

    def history(self, collection: str, identifier: str) -> list[dict[str, Scalar]]:
        """Return the properties applied to one object, in order of application; memory only."""
        self.flush()
        if not isinstance(self._store, MemoryStore):
            message = "Only the memory store keeps a history; leave out `warehouse`."
            raise EmulatorError(message)
        with self._store_lock:
            return self._store.history(table_name(collection), identifier)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query on the warehouse; `WarehouseError` when it fails."""
        self.flush()
        if isinstance(self._store, MemoryStore):
            message = "Only a warehouse can be queried; give `warehouse`, a DuckDB file."
            raise EmulatorError(message)
        with self._store_lock:
            rows: list[dict[str, Any]] = self._store.query(sql)  # type: ignore[attr-defined]
            return rows

    @property
    def lost_values(self) -> dict[tuple[str, str], int]:
        """How many values no column could hold, by table and column (or property, without one)."""
        self.flush()
        with self._store_lock:
            return self._store.lost()

    def flush(self) -> None:
        """Apply all that was answered, asynchronous updates and loading sessions included."""
        if self._app is not None:
            self._app.settle()
        with self._store_lock:
            self._store.flush()

    def fault(self, fault: InjectedFault) -> InjectedFault:
        """Add a fault to the script, and return it."""
        self._faults.add(fault)
        return fault

    def hold(
        self, call: str = "any", first: int = 1, count: int | None = 1, *, before: bool = False
    ) -> Hold:
        """Withhold the answers of `count` requests from the `first` of that call on.

        They were applied by then, unless `before`, which holds them with their body read.
        """
        hold = Hold()
        self._faults.add(
            InjectedFault(call=call, first=first, count=count, before=before, hold=hold)
        )
        return hold

    def clear_faults(self) -> None:
        """Forget all faults and holds; what is held goes on."""
        self._faults.clear()

    def expire_sessions(self, sync_id: str | None = None) -> None:
        """Expire one bulk session, or all that are open, now."""
        self._sessions.expire(sync_id)

    def _view(self) -> PageState:
        return PageState(
            self._traffic,
            self._sessions,
            self._store,
            clock=self._clock,
            write_key=self._write_key,
            warehouse="" if self._warehouse is None else self._warehouse.name,
        )

    def _apply(self, updates: Sequence[Update]) -> None:
        with self._store_lock:
            self._store.apply(updates)

    def _settle_in_time(self) -> None:
        # Set calls reach the store, and a warehouse's file, within a second.
        try:
            while not self._stopping.wait(_TICK_SECONDS):
                self._ordering.settle(everything=False)
                with self._store_lock:
                    self._store.flush()
        except Exception as error:  # noqa: BLE001 raised by stop
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._errors.append(error)
        if self._on_failure is not None:
            self._on_failure()
