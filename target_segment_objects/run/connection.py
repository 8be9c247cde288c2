"""Creates a delivery with its client from the settings; for a local warehouse with the emulator."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from target_segment_objects.run.local_warehouse import LocalWarehouse
from target_segment_objects.run.retry_warnings import RetryWarnings
from target_segment_objects.stopping import StopEvent

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from target_segment_objects.client import Retry
    from target_segment_objects.delivery import Delivery, DeliveryHooks
    from target_segment_objects.reporting import Report
    from target_segment_objects.settings import Settings

__all__ = ["Connection", "connect"]

logger = logging.getLogger(__name__)

_LOCAL_KEY = "local-warehouse-takes-any-key"


@dataclass
class Connection:
    """A delivery, and what it needs.

    Attributes:
        delivery: takes objects.
        stop_event: ends the waits of the client.
        resources: the transport, and the emulator if there is one.
        abort_requests: makes the requests in flight fail.
        flush: makes answered objects durable, if that is up to this process.
    """

    delivery: Delivery
    stop_event: StopEvent = field(default_factory=StopEvent)
    resources: ExitStack = field(default_factory=ExitStack)
    abort_requests: Callable[[], None] = do_nothing
    flush: Callable[[], None] = do_nothing

    def abort(self) -> None:
        """Make every request fail that waits or is in flight. From any thread."""
        self.stop_event.set()
        self.abort_requests()

    def close(self) -> None:
        """End the threads, without waiting for retries, and close the connections."""
        self.stop_event.set()
        try:
            self.delivery.close()
        finally:
            self.resources.close()


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

    with ExitStack() as stack:
        flush: Callable[[], None] = do_nothing
        if settings.local_warehouse is not None:
            warehouse = LocalWarehouse(
                settings.local_warehouse,
                collection_digits=settings.allow_collection_digits,
                on_failure=stop_event.set,
            )
            stack.callback(warehouse.stop)
            report.warn(
                f"LOCAL WAREHOUSE: everything goes to {settings.local_warehouse} and nothing to "
                "Segment, but the state advances as if it had been sent; before the first run with "
                "a write key, start again without this state (`meltano run --full-refresh`)",
                "local warehouse",
            )
            address, key, flush = warehouse.url, _LOCAL_KEY, warehouse.flush
        elif settings.method == "bulk":
            address, key = settings.bulk_address, settings.write_key or ""
        else:
            address, key = settings.objects_address, settings.write_key or ""
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
        return Connection(delivery, stop_event, stack.pop_all(), transport.abort, flush)
