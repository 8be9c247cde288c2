"""`segment-objects check`."""
