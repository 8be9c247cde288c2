"""`segment-objects preview`."""
