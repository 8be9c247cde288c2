"""The rules of both APIs: what a request may hold, and how names and values become columns."""
