"""The options of a plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from target_segment_objects.objects import API_LIMITS, ApiLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_objects.plan.naming import Flattening

__all__ = ["PlanOptions"]


@dataclass(frozen=True)
class PlanOptions:
    """How records become objects. Each field but `limits` is the setting of the same name.

    `docs/settings.md` describes the settings and their defaults. `flattening` stands for the SDK's
    `flattening_…` settings and takes precedence over `nested`. `limits` is what the API takes.
    """

    collections: Mapping[str, str] = field(default_factory=dict)
    pluralize: bool = True
    allow_collection_digits: bool = False
    nested: Literal["flatten", "json", "reject"] = "flatten"
    nulls: Literal["send", "drop"] = "send"
    non_finite_numbers: Literal["reject", "null"] = "reject"
    oversized_values: Literal["reject", "truncate", "drop"] = "reject"
    type_mismatches: Literal["coerce", "send", "reject"] = "coerce"
    long_ids: Literal["hash", "reject"] = "hash"
    flattening: Flattening | None = None
    limits: ApiLimits = API_LIMITS

    @property
    def flatten_depth(self) -> float:
        """The number of levels of nested objects that become properties; infinity for all."""
        if self.flattening is not None:
            return self.flattening.max_depth
        return math.inf if self.nested == "flatten" else 0
