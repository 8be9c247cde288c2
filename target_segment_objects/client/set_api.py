"""The Objects API: `set` calls of up to ten objects of one collection.

`POST /v1/set` [doc]. The objects are delivered when the complete response is 2xx.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from target_segment_objects.client.advice import Destination
from target_segment_objects.client.calls import ApiCall, Caller

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_segment_objects.client.transport import Transport
    from target_segment_objects.errors import Attempt
    from target_segment_objects.objects import SegmentObject

__all__ = ["OBJECTS_URLS", "SetApi"]

OBJECTS_URLS = {
    "oregon": "https://objects.segment.com",
    "dublin": "https://objects.euw1.segment.com",
}
"""Base addresses by region [doc]."""


class SetApi:
    """Sends objects by the `set` call. Safe for threads; it does not close the transport.

    Args:
        caller: makes the calls; a `Transport` over one of `OBJECTS_URLS` will do.
        synchronous: ask for delivery in order. Without it, updates of one object sent close
            together can be applied out of order [doc].

    Attributes:
        caller: makes the calls.
        destination: where they go, for messages.
    """

    def __init__(self, caller: Caller | Transport, *, synchronous: bool = True) -> None:
        self.caller = Caller.of(caller)
        transport = self.caller.transport
        self.destination = Destination.of(transport, "objects_url", OBJECTS_URLS)
        self._max_objects = transport.options.limits.objects_per_call
        self._headers = {"Content-Type": "application/json"}
        if synchronous:
            self._headers["Synchronous"] = "true"

    def send(self, collection: str, objects: Sequence[bytes | SegmentObject]) -> Attempt:
        """Send one call, until Segment accepts it.

        Args:
            collection: the collection of all objects.
            objects: 1 to 10, each a `SegmentObject` or the bytes of its `call_bytes()`. Two of one
                id belong into two calls, the second after the first has returned.

        Returns:
            The attempt that was answered with 2xx: Segment accepted the objects. It confirms no
            more than that.

        Raises:
            ValueError: not 1 to 10 objects, or one of another collection.
            RefusedError: 400, or another `status` that a retry would not change.
            AuthenticationError: 401 or 403.
            UnavailableError: the retries ended, or the caller stopped.
        """
        if not 1 <= len(objects) <= self._max_objects:
            raise ValueError(f"a call takes 1 to {self._max_objects} objects, not {len(objects)}")
        elements = b",".join(_element(collection, obj) for obj in objects)
        call = ApiCall(
            name="set",
            path="/v1/set",
            destination=self.destination,
            headers=self._headers,
            body=b'{"collection":%b,"objects":[%b]}' % (json.dumps(collection).encode(), elements),
            collection=collection,
        )
        return self.caller.call(call)[1]

    def send_all(self, objects: Iterable[SegmentObject]) -> int:
        """Send any number of objects, of any collections, in calls that follow each other.

        Args:
            objects: read as a stream. Neighbours of one collection share a call, up to ten of
                them; two objects of one id never do, so that the later one arrives later.

        Returns:
            The number of objects. Segment has all of them.

        Raises:
            DeliveryError: as `send`. What was sent before has arrived; sending it again is safe,
                since objects are merged by id.
        """
        count = 0
        batch: dict[str, SegmentObject] = {}
        collection = ""
        for segment_object in objects:
            if batch and (
                segment_object.collection != collection
                or segment_object.id in batch
                or len(batch) == self._max_objects
            ):
                self.send(collection, list(batch.values()))
                batch.clear()
            collection = segment_object.collection
            batch[segment_object.id] = segment_object
            count += 1
        if batch:
            self.send(collection, list(batch.values()))
        return count


def _element(collection: str, obj: bytes | SegmentObject) -> bytes:
    if isinstance(obj, bytes):
        return obj
    if obj.collection != collection:
        raise ValueError("a call's objects are all of one collection")
    return obj.call_bytes()
