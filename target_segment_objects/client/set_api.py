"""The Objects API: `set` calls of up to ten objects of one collection.

`POST /v1/set` [doc]. A call is delivered when it is answered 2xx, whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from target_segment_objects.client.calls import Caller, Exchange, Receipt, Request, Retry
from target_segment_objects.objects import MAX_OBJECTS_PER_CALL, SegmentObject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.client.clock import Clock
    from target_segment_objects.client.gate import Gate
    from target_segment_objects.client.retry import RetryPolicy
    from target_segment_objects.client.transport import Transport

__all__ = ["OBJECTS_URLS", "SetApi"]

OBJECTS_URLS = {
    "oregon": "https://objects.segment.com",
    "dublin": "https://objects.euw1.segment.com",
}
"""Base addresses by region [doc]."""


class SetApi:
    """Sends objects by the `set` call.

    Safe for threads. The transport stays its owner's to close.

    Args:
        transport: over one of `OBJECTS_URLS`.
        synchronous: ask for delivery in order. Without it, updates of one object sent close
            together can be applied out of order [doc].
        policy: when to try again.
        gate: shared by all that use one write key; else one of the transport's `max_concurrency`.
        clock: time, waiting and dice.
        on_receipt: told of every call that succeeded, on the thread that made it.
        on_exchange: told of every request when it has ended, on the thread that made it.
        on_retry: told before every wait for another attempt, on the thread that waits.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and is the caller's to choose
        self,
        transport: Transport,
        *,
        synchronous: bool = True,
        policy: RetryPolicy | None = None,
        gate: Gate | None = None,
        clock: Clock | None = None,
        on_receipt: Callable[[Receipt], None] | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        self._caller = Caller(
            transport,
            setting="objects_url",
            segments_own=OBJECTS_URLS.values(),
            policy=policy,
            gate=gate,
            clock=clock,
            on_receipt=on_receipt,
            on_exchange=on_exchange,
            on_retry=on_retry,
        )
        self._timeout_seconds = transport.options.timeout_seconds
        self._headers = {"Content-Type": "application/json"}
        if synchronous:
            self._headers["Synchronous"] = "true"

    def send(self, collection: str, objects: Sequence[bytes | SegmentObject]) -> Receipt:
        """Send one call, until Segment takes it.

        Args:
            collection: of all the objects.
            objects: 1 to 10, each a `SegmentObject` or the bytes of its `call_bytes()`. Two of one
                id belong into two calls, the second after the first one's receipt.

        Returns:
            What is known of the call that was answered 2xx.

        Raises:
            ValueError: not 1 to 10 objects, or one of another collection.
            RefusedError: 400 and whatever else another try would not change; its `status` tells.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        if not 1 <= len(objects) <= MAX_OBJECTS_PER_CALL:
            raise ValueError(
                f"a call takes 1 to {MAX_OBJECTS_PER_CALL} objects, not {len(objects)}"
            )
        elements = b",".join(_element(collection, each) for each in objects)
        request = Request(
            call="set",
            path="/v1/set",
            headers=self._headers,
            body=b'{"collection":%b,"objects":[%b]}' % (json.dumps(collection).encode(), elements),
            timeout_seconds=self._timeout_seconds,
            collection=collection,
        )
        return self._caller.call(request, lambda _: True)[1]


def _element(collection: str, each: bytes | SegmentObject) -> bytes:
    if isinstance(each, bytes):
        return each
    if each.collection != collection:
        raise ValueError("a call's objects are all of one collection")
    return each.call_bytes()
