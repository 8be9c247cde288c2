"""Creates a delivery with its client from the settings; for a local warehouse with the emulator."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from target_segment_objects.client import (
    BulkApi,
    Caller,
    Clock,
    ConcurrencyLimit,
    SetApi,
    Transport,
)
from target_segment_objects.delivery import BatchLimits, BulkDelivery, SetDelivery, do_nothing
from target_segment_objects.errors import ConfigurationError, LocalWarehouseError
from target_segment_objects.run.retries import RetryWarnings
from target_segment_objects.stopping import StopEvent

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.client import Retry
    from target_segment_objects.delivery import Delivery, DeliveryHooks
    from target_segment_objects.emulator import Emulator
    from target_segment_objects.reporting import Report
    from target_segment_objects.settings import Settings

__all__ = ["Connection", "connect"]

logger = logging.getLogger(__name__)

_LOCAL_KEY = "local-warehouse-takes-any-key"


class Connection:
    """A delivery with its transport, and the emulator if there is one.

    Attributes:
        delivery: takes objects.
        flush: makes answered objects durable, if that is up to this process.
    """

    def __init__(
        self,
        delivery: Delivery,
        transport: Transport | None = None,
        stack: ExitStack | None = None,
        stop_event: StopEvent | None = None,
        flush: Callable[[], None] = do_nothing,
    ) -> None:
        self.delivery = delivery
        self.flush = flush
        self._transport = transport
        self._stack = stack or ExitStack()
        self._stop_event = stop_event or StopEvent()

    def stop_until(self, deadline: float) -> None:
        """End every wait that would last beyond this time. From any thread."""
        self._stop_event.set_deadline(deadline)

    def abort(self) -> None:
        """Make every request fail that waits or is in flight. From any thread."""
        self._stop_event.set()
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """End the threads, without waiting for retries, and close the connections."""
        self._stop_event.set()
        try:
            self.delivery.close()
        finally:
            self._stack.close()


def connect(
    settings: Settings,
    hooks: DeliveryHooks,
    report: Report,
    make_clock: Callable[[threading.Event], Clock] = Clock.stopped_by,
) -> Connection:
    """Create the delivery that the settings describe. Nothing is sent yet.

    Args:
        settings: the validated settings.
        hooks: what the delivery needs of the run.
        report: takes warnings and counts.
        make_clock: returns the client's clock; all of its waits end when the event is set.

    Raises:
        ConfigurationError: an address, the TLS roots or the local warehouse cannot be used.
    """
    stop_event = StopEvent()
    clock = make_clock(stop_event)
    warn_of = RetryWarnings(logger, clock.monotonic, settings.retry_seconds)

    def on_retry(retry: Retry) -> None:
        report.counts.retry_scheduled(retry.wait_seconds)
        warn_of(retry)

    flush: Callable[[], None]
    with ExitStack() as stack:
        if settings.local_warehouse is not None:
            file = settings.local_warehouse
            segment = _local_warehouse(file, settings, stack, report, stop_event.set)
            address, key, flush = segment.url, _LOCAL_KEY, _flushing(segment)
        else:
            address = (
                settings.bulk_address if settings.method == "bulk" else settings.objects_address
            )
            key, flush = settings.write_key or "", do_nothing
        transport = stack.enter_context(Transport(address, key, settings.transport_options))
        caller = Caller(
            transport,
            policy=settings.retry_policy,
            concurrency_limit=ConcurrencyLimit(settings.max_concurrency, clock=clock),
            clock=clock,
            on_attempt=report.counts.count_request,
            on_retry=on_retry,
        )
        delivery: Delivery
        if settings.method == "bulk":
            delivery = BulkDelivery(
                BulkApi(caller),
                hooks,
                limits=settings.part_limits,
                sessions=settings.session_limits,
            )
        else:
            delivery = SetDelivery(
                SetApi(caller, synchronous=settings.synchronous),
                hooks,
                concurrency=settings.max_concurrency,
                limits=BatchLimits(),
            )
        return Connection(delivery, transport, stack.pop_all(), stop_event, flush)


def _local_warehouse(
    file: Path,
    settings: Settings,
    stack: ExitStack,
    report: Report,
    on_failure: Callable[[], None],
) -> Emulator:
    """Start the emulator with a DuckDB file. `on_failure` is called when retries cannot help."""
    # Imported here, since a run that sends to Segment does not need it.
    from target_segment_objects.emulator import Emulator, EmulatorError  # noqa: PLC0415

    segment = Emulator(
        warehouse=file,
        collection_digits=settings.allow_collection_digits,
        on_failure=on_failure,
    )
    try:
        segment.start()
    except (EmulatorError, OSError) as error:
        raise ConfigurationError(f"local_warehouse: {error}") from None

    def stop() -> None:
        try:
            segment.stop()
        except EmulatorError as error:
            raise LocalWarehouseError(f"local_warehouse: {error}") from None

    stack.callback(stop)
    report.warn(
        f"LOCAL WAREHOUSE: everything goes to {file} and nothing to Segment, but the state "
        "advances as if it had been sent; before the first run with a write key, start again "
        "without this state (`meltano run --full-refresh`)",
        "local warehouse",
    )
    return segment


def _flushing(segment: Emulator) -> Callable[[], None]:
    """Return a function that writes all answered objects to the file."""
    from target_segment_objects.emulator import EmulatorError  # noqa: PLC0415

    def flush() -> None:
        try:
            segment.flush()
        except (EmulatorError, OSError) as error:
            raise LocalWarehouseError(f"local_warehouse: {error}") from None

    return flush
