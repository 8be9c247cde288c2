"""An emulator of Segment's two object APIs: their rules, sessions, merging, and injected faults.

It imports nothing from the rest of the package. The API's rules are written here a second time, so
that a wrong limit cannot be wrong on both sides
(docs/decisions/0007-the-emulators-independence.md).
"""

from __future__ import annotations

from target_segment_objects.emulator.api.request_log import RecordedRequest
from target_segment_objects.emulator.api.sessions import EmulatorSession
from target_segment_objects.emulator.emulator import Emulator
from target_segment_objects.emulator.errors import (
    EmulatorError,
    MissingExtraError,
    WarehouseError,
    WarehouseLockedError,
)
from target_segment_objects.emulator.rules.host_names import is_loopback
from target_segment_objects.emulator.store.querying import QueryResult, query_file
from target_segment_objects.emulator.wire.faults import Hold, InjectedFault

__all__ = [
    "Emulator",
    "EmulatorError",
    "EmulatorSession",
    "Hold",
    "InjectedFault",
    "MissingExtraError",
    "QueryResult",
    "RecordedRequest",
    "WarehouseError",
    "WarehouseLockedError",
    "is_loopback",
    "query_file",
]
