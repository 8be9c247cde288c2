"""Hears the delivery: adds to the counts what happens, and logs the bulk sessions.

Invariant: a session and its parts are logged with the ids that Segment's support asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from target_segment_objects.delivery import (
    DeliveryWaited,
    ObjectsDelivered,
    ObjectsQueued,
    ObjectsRefused,
    PartUploaded,
    SessionStateChanged,
)

if TYPE_CHECKING:
    from logging import Logger

    from target_segment_objects.delivery import DeliveryEvent
    from target_segment_objects.reporting.counts import RunCounts

__all__ = ["DeliveryObserver"]


class DeliveryObserver:
    """An observer of a delivery that counts and logs.

    Args:
        counts: the run's numbers. Its `count_request` must be called for a request before the
            event that follows from it comes.
        logger: where the sessions are logged.
    """

    def __init__(self, counts: RunCounts, logger: Logger) -> None:
        self._counts = counts
        self._logger = logger

    def __call__(self, event: DeliveryEvent, /) -> None:
        """Take note of an event."""
        counts = self._counts
        match event:
            case ObjectsDelivered():
                of_collection = counts.collection(event.collection)
                of_collection.sent += event.objects
                of_collection.merged += event.records - event.objects
            case ObjectsRefused():
                counts.collection(event.collection).refused += event.records
            case ObjectsQueued():
                counts.collection(event.collection).bytes += event.bytes
            case DeliveryWaited():
                counts.delivery_seconds += event.seconds
            case SessionStateChanged(state="open"):
                request_id = counts.request_ids.get("start", "")
                counts.sessions.open(event.sync_id, request_id)
                self._logger.info(
                    "Bulk session started: sync_id=%s request_id=%s", event.sync_id, request_id
                )
            case PartUploaded():
                self._on_part(event)
            case SessionStateChanged():
                self._on_state(event)

    def _on_part(self, event: PartUploaded) -> None:
        request_id = self._counts.request_ids.get("upload", "")
        self._counts.sessions.add_part(event, request_id)
        self._logger.info(
            "Part uploaded: sync_id=%(sync_id)s part_id=%(part_id)s request_id=%(request_id)s "
            "part=%(part)d objects=%(objects)d bytes=%(bytes)d "
            "compressed_bytes=%(compressed_bytes)d",
            {**msgspec.structs.asdict(event), "request_id": request_id},
        )

    def _on_state(self, event: SessionStateChanged) -> None:
        if event.state != "finished":
            self._counts.sessions.set_state(event.sync_id, event.state)
            return
        request_id = self._counts.request_ids.get("finish", "")
        self._counts.sessions.set_state(event.sync_id, event.state, request_id)
        self._logger.info(
            "Bulk session finished: sync_id=%s request_id=%s parts=%d",
            event.sync_id,
            request_id,
            event.parts,
        )
