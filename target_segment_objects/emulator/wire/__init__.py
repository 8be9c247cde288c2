"""HTTP over sockets, the injected faults, and the page."""
