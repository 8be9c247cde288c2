"""Segment's Objects API and Objects Bulk API, from Python, without Singer.

    >>> from target_segment_objects.client import BULK_URLS, BulkApi, Transport
    >>> from target_segment_objects.objects import SegmentObject
    >>> room = SegmentObject("rooms", "2561341", b'{"name":"Charming Beach Room"}')
    >>> def deliver(write_key: str) -> None:
    ...     with Transport(BULK_URLS["oregon"], write_key) as transport:
    ...         with BulkApi(transport).session() as session:
    ...             session.upload([room])

It has three layers: `Transport` makes one exchange, `Caller` tries again as `RetryPolicy` says, and
`SetApi` and `BulkApi` know what a response means. Every error is one of
`target_segment_objects.errors`.
"""

from __future__ import annotations

from target_segment_objects.client.address import (
    Address,
    base_address,
    find_ca_bundle,
    find_proxy,
    has_certificates,
    proxy_address,
)
from target_segment_objects.client.advice import Destination, advise
from target_segment_objects.client.bulk_api import BULK_URLS, BulkApi
from target_segment_objects.client.calls import Caller, Retry
from target_segment_objects.client.clock import Clock
from target_segment_objects.client.concurrency import ConcurrencyLimit
from target_segment_objects.client.file_body import FileBody
from target_segment_objects.client.outcomes import Failure, FailureKind, Response
from target_segment_objects.client.retry import Action, RetryPolicy, decide
from target_segment_objects.client.secret import validate_write_key
from target_segment_objects.client.set_api import OBJECTS_URLS, SetApi
from target_segment_objects.client.transport import Transport, TransportOptions
from target_segment_objects.client.upload_session import UploadSession

__all__ = [
    "BULK_URLS",
    "OBJECTS_URLS",
    "Action",
    "Address",
    "BulkApi",
    "Caller",
    "Clock",
    "ConcurrencyLimit",
    "Destination",
    "Failure",
    "FailureKind",
    "FileBody",
    "Response",
    "Retry",
    "RetryPolicy",
    "SetApi",
    "Transport",
    "TransportOptions",
    "UploadSession",
    "advise",
    "base_address",
    "decide",
    "find_ca_bundle",
    "find_proxy",
    "has_certificates",
    "proxy_address",
    "validate_write_key",
]
