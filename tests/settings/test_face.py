"""What `target_segment_objects.settings` offers, pinned."""

from __future__ import annotations

from target_segment_objects import settings


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert settings.__all__ == [
        "PREFIX",
        "Settings",
        "config_jsonschema",
        "read_configuration",
    ]
