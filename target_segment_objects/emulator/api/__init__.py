"""Both APIs without a network: requests, sessions, the log, and what the page shows."""
