"""Tests of `target_segment_objects/settings`."""
