"""`segment-objects replay`."""
