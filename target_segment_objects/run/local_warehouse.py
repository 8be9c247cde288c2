"""The emulator with a DuckDB file, which a run with `local_warehouse` sends to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.errors import (
    ConfigurationError,
    LocalWarehouseError,
    SegmentObjectsError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["LocalWarehouse"]


class LocalWarehouse:
    """Runs the emulator, which is imported only when it is needed.

    Args:
        file: the DuckDB file.
        collection_digits: whether names of collections may have digits.
        on_failure: called when the file cannot be written, which no retry corrects.

    Attributes:
        url: the emulator's base address.

    Raises:
        ConfigurationError: the emulator cannot be started.
    """

    def __init__(
        self, file: Path, *, collection_digits: bool, on_failure: Callable[[], None]
    ) -> None:
        from target_segment_objects.emulator import Emulator, EmulatorError  # noqa: PLC0415

        self._errors = (EmulatorError, OSError)
        self._emulator = Emulator(
            warehouse=file, collection_digits=collection_digits, on_failure=on_failure
        )
        self._call(self._emulator.start, ConfigurationError)
        self.url = self._emulator.url

    def flush(self) -> None:
        """Write all answered objects to the file.

        Raises:
            LocalWarehouseError: it cannot be written.
        """
        self._call(self._emulator.flush)

    def stop(self) -> None:
        """Write everything to the file, and stop the emulator.

        Raises:
            LocalWarehouseError: it cannot be written.
        """
        self._call(self._emulator.stop)

    def _call(
        self,
        function: Callable[[], object],
        kind: type[SegmentObjectsError] = LocalWarehouseError,
    ) -> None:
        try:
            function()
        except self._errors as error:
            raise kind(f"local_warehouse: {error}") from None
