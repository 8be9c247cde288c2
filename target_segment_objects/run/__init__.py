"""One run put together, its signals and its connection."""
