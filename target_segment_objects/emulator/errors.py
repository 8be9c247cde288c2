"""The emulator's errors, by who has to act.

EmulatorError            the emulator cannot do what its user asked
├── MissingExtraError    DuckDB is not installed: install the extra
└── WarehouseError       the DuckDB file cannot be opened, read or written
    └── WarehouseLockedError   another process has it open
RefusalError             a request that Segment would refuse: becomes an HTTP response
"""

from __future__ import annotations


class EmulatorError(Exception):
    """The emulator cannot do what its user asked; the message is one sentence for that user."""


class MissingExtraError(EmulatorError):
    """DuckDB is not installed."""

    def __init__(self) -> None:
        """Name the command that installs it."""
        super().__init__(
            "A warehouse file needs DuckDB: pip install 'target-segment-objects[emulator]'"
        )


class WarehouseError(EmulatorError):
    """The DuckDB file cannot be opened, read or written."""


class WarehouseLockedError(WarehouseError):
    """Another process has the DuckDB file open."""


class RefusalError(Exception):
    """A request that breaks a rule: an HTTP status and a reason that holds no property value."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        """Keep the response's `status`, its `reason` and any extra `headers`."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}
