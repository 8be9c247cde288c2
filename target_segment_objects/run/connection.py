"""Creates a delivery with its client from the settings; for a local warehouse with the emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from target_segment_objects.client import (
    BulkApi,
    Caller,
    SetApi,
    Transport,
)
from target_segment_objects.delivery import BatchLimits, BulkDelivery, SetDelivery, do_nothing
from target_segment_objects.run.local_warehouse import LocalWarehouse
from target_segment_objects.run.retry_warnings import RetryWarnings

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from contextlib import ExitStack
    from logging import Logger

    from target_segment_objects.client import Clock, Retry
    from target_segment_objects.delivery import Delivery, DeliveryHooks
    from target_segment_objects.reporting import Report
    from target_segment_objects.settings import Settings

__all__ = ["Connection", "connect"]

_LOCAL_KEY = "local-warehouse-takes-any-key"


class Connection(NamedTuple):
    """A delivery, and what the run needs besides.

    Attributes:
        delivery: takes objects.
        abort: makes the requests in flight fail. From any thread.
        flush: makes answered objects durable, if that is up to this process.
    """

    delivery: Delivery
    abort: Callable[[], None] = do_nothing
    flush: Callable[[], None] = do_nothing


def connect(  # noqa: PLR0913, PLR0917
    settings: Settings,
    hooks: DeliveryHooks,
    report: Report,
    clock: Clock,
    stop_event: threading.Event,
    resources: ExitStack,
    logger: Logger,
) -> Connection:
    """Create the delivery that the settings describe. Nothing is sent yet.

    Args:
        settings: the validated settings.
        hooks: what the delivery needs of the run.
        report: takes warnings and counts.
        clock: the client's clock.
        stop_event: ends the waits of the clock.
        resources: closes the delivery, its connections and the local warehouse.
        logger: takes warnings about retries.

    Raises:
        ConfigurationError: an address, the TLS roots or the local warehouse cannot be used.
    """
    warn_of = RetryWarnings(logger, clock.monotonic, settings.retry_seconds)

    def on_retry(retry: Retry) -> None:
        report.counts.retry_scheduled(retry.wait_seconds)
        warn_of(retry)

    flush: Callable[[], None] = do_nothing
    if settings.local_warehouse is not None:
        warehouse = LocalWarehouse(
            settings.local_warehouse,
            collection_digits=settings.allow_collection_digits,
            on_failure=stop_event.set,
        )
        resources.callback(warehouse.stop)
        report.warn(
            f"LOCAL WAREHOUSE: everything goes to {settings.local_warehouse} and nothing to "
            "Segment, but the state advances as if it had been sent; before the first run with "
            "a write key, start again without this state (`meltano run --full-refresh`)",
            "local warehouse",
        )
        address, key, flush = warehouse.url, _LOCAL_KEY, warehouse.flush
    else:
        address, key = settings.address, settings.write_key or ""
    transport = resources.enter_context(Transport(address, key, settings.transport_options))
    caller = Caller(
        transport,
        policy=settings.retry_policy,
        clock=clock,
        on_attempt=report.counts.count_request,
        on_retry=on_retry,
    )
    delivery: Delivery
    if settings.method == "bulk":
        delivery = BulkDelivery(BulkApi(caller), hooks, settings.bulk_limits)
    else:
        delivery = SetDelivery(
            SetApi(caller, synchronous=settings.synchronous),
            hooks,
            concurrency=settings.max_concurrency,
            limits=BatchLimits(),
        )
    resources.callback(delivery.close)
    return Connection(delivery, transport.abort, flush)
