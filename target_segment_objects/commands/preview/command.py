"""`segment-objects preview`: show what a run would send, without sending anything.

Invariant: the target itself reads, plans and encodes, with all settings and stream maps. Its report
counts the objects, and its delivery discards them. A preview continues after errors, so that it
shows all of them.
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final

from target_segment_objects.commands.output import print_lines
from target_segment_objects.commands.preview.counts import PreviewReport
from target_segment_objects.commands.preview.table import lines
from target_segment_objects.delivery import do_nothing
from target_segment_objects.errors import MessageError
from target_segment_objects.run import Run, SignalWatcher
from target_segment_objects.settings import PREFIX, read_configuration
from target_segment_objects.singer import TargetSegmentObjects

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.source import SourceRecord

__all__ = ["preview", "run"]

_NO_KEY: Final = "no-key-is-used"
"""Replaces the write key, so that none is needed and none can be shown."""


def run(options: Namespace) -> int:
    """Print a preview of stdin."""
    # Replaced here too, since a variable may hold a key that is not valid.
    environment = {**os.environ, f"{PREFIX}WRITE_KEY": _NO_KEY}
    config = read_configuration(options.config, environment)
    document, status = preview(config, values=options.values)
    print_lines(*([json.dumps(document)] if options.json else lines(document)))
    return status


def preview(
    config: Mapping[str, object],
    file_input: IO[bytes] | None = None,
    *,
    values: bool = False,
) -> tuple[dict[str, Any], int]:
    """Read a tap's output, and count what a run would send.

    Args:
        config: the target's configuration; its `write_key` and `dead_letter_path` are not used.
        file_input: the tap's output; stdin by default.
        values: whether to include example values.

    Returns:
        The JSON object of `docs/preview.md`, and an exit status: 0 when nothing would be rejected
        and no error would end a run, 1 otherwise, 130 or 143 when a signal ended the reading.

    Raises:
        ConfigurationError: for a wrong setting.
        InputError: when stdin is closed.
    """
    report = PreviewReport(with_examples=values)
    target = TargetSegmentObjects(
        config={**config, "write_key": _NO_KEY},
        report=report,
        make_run=partial(Run, delivery=_NoDelivery()),
        on_line_error=report.on_line_error,
    )
    wake_up = target.run.wake_up
    is_complete = True
    with SignalWatcher(wake_up.stop, do_nothing, target.settings.shutdown_seconds) as signals:
        try:
            target.process_lines(file_input)  # type: ignore[arg-type]
            if not wake_up.stopped:
                target.warn_of_unused_names()
        except MessageError as error:  # a line without an end: nothing can be read after it
            report.count_error(error, error.line)
            is_complete = False
        finally:
            target.run.close()
    document = report.document(
        is_stopped=wake_up.stopped,
        is_complete=is_complete and not wake_up.stopped,
        max_rejects=target.settings.max_rejects,
    )
    status = int(report.would_fail) if signals.exit_status is None else signals.exit_status
    return document, status


class _NoDelivery:
    """A `Delivery` that discards objects."""

    def put_block(
        self, objects: Sequence[ObjectLine], _first: int, _source: Callable[[int], SourceRecord]
    ) -> int:
        """Take all objects."""
        return len(objects)

    def tick(self) -> None:
        """Nothing is due."""

    def finish(self) -> None:
        """Nothing is pending."""

    def close(self) -> None:
        """Nothing is open."""
