"""What the user decides: declarations, rules, and where the values come from."""

from __future__ import annotations

from target_segment_objects.settings.declared import Settings, config_jsonschema
from target_segment_objects.settings.sources import PREFIX, read_configuration

__all__ = [
    "PREFIX",
    "Settings",
    "config_jsonschema",
    "read_configuration",
]
