"""Tests of `target_segment_objects/plan`."""
