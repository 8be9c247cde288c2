"""The target, where people who know Singer targets look for it."""

from __future__ import annotations

from target_segment_objects.singer import TargetSegmentObjects, main

__all__ = ["TargetSegmentObjects", "main"]

if __name__ == "__main__":
    main()
