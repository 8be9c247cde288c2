"""A Singer target that loads any tap's records into Segment as objects, and its parts for Python.

The names below are imported when they are first used. Everything else is in the folders:
`target_segment_objects.client` calls the two APIs, `target_segment_objects.plan` turns records into
objects, `target_segment_objects.emulator` is Segment on loopback, and every error is one of
`target_segment_objects.errors`.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # not from `typing`: a command handles signals before any slow import
if TYPE_CHECKING:
    from typing import Any

    from target_segment_objects.client import (
        BULK_URLS,
        OBJECTS_URLS,
        BulkApi,
        Caller,
        RetryPolicy,
        SetApi,
        Transport,
        TransportOptions,
        UploadSession,
    )
    from target_segment_objects.objects import SegmentObject
    from target_segment_objects.plan import EncodedRecord, PlanOptions, StreamPlan, compile_plan
    from target_segment_objects.singer import TargetSegmentObjects

    __version__: str

__all__ = [
    "BULK_URLS",
    "OBJECTS_URLS",
    "BulkApi",
    "Caller",
    "EncodedRecord",
    "PlanOptions",
    "RetryPolicy",
    "SegmentObject",
    "SetApi",
    "StreamPlan",
    "TargetSegmentObjects",
    "Transport",
    "TransportOptions",
    "UploadSession",
    "__version__",
    "compile_plan",
]

_MODULES = {
    "objects": ("SegmentObject",),
    "plan": ("EncodedRecord", "PlanOptions", "StreamPlan", "compile_plan"),
    "singer": ("TargetSegmentObjects",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        return import_module("importlib.metadata").version("target-segment-objects")
    return getattr(import_module(f"{__name__}.{_MODULE_OF.get(name, 'client')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
