"""When batches, parts and sessions are complete: limits of the delivery within those of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from target_segment_objects.objects import API_LIMITS

__all__ = ["BatchLimits", "BulkLimits", "Level"]

Level: TypeAlias = int | Literal["auto"]
"""0: stored; 1 to 3: igzip's levels of these numbers; 4 to 9: zlib's. `auto`: `AdaptiveLevel`."""


@dataclass(frozen=True)
class BatchLimits:
    """When the batch of a `set` call is complete.

    Attributes:
        objects: objects in one call, at most the API's 10.
        seconds: how long an object waits for its call to fill.
        object_bytes: the largest object that others of its id are merged into.
        waiting_bytes: bytes of records that were taken and are not answered. Above it, `put_block`
            waits.
    """

    objects: int = API_LIMITS.objects_per_call
    seconds: float = 1.0
    object_bytes: int = API_LIMITS.object_bytes
    waiting_bytes: int = 64 << 20


@dataclass(frozen=True)
class BulkLimits:
    """How parts are made, and how long and how large sessions become.

    Attributes:
        part_size_bytes: uncompressed bytes that a part may have, at most the API's 512,000,000; an
            object that is larger alone is a part of its own.
        compression_level: 0 to 9, or `auto`, see `Level`.
        spool_dir: the folder for the spool; the system's folder for temporary files when `None`.
        keep_alive_seconds: silence after which a session is kept alive.
        checkpoint_seconds: age at which a session is finished; 0: only at the end of the input.
        spool_max_bytes: compressed bytes at which a session is finished. The next one fills
            meanwhile, and has no more of them; a third waits until the first is finished.
        parts: parts that a session may have. Each takes about 600 bytes of memory until the session
            is finished.
    """

    part_size_bytes: int = API_LIMITS.part_bytes
    compression_level: Level = "auto"
    spool_dir: str | None = None
    keep_alive_seconds: float = 240.0
    checkpoint_seconds: float = 1800.0
    spool_max_bytes: int = 10_000_000_000
    parts: int = 10_000
