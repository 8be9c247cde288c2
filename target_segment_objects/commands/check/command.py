"""`segment-objects check`: verify the configuration, the network, the write key and the disk.

Invariant: no object is written to Segment, nothing is retried, and what the API does not reveal is
reported as unknown.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING

from target_segment_objects.commands.check.disk import (
    check_dead_letter,
    check_spool,
    check_warehouse,
)
from target_segment_objects.commands.check.findings import Finding, Verdict
from target_segment_objects.commands.check.network import check_network
from target_segment_objects.commands.output import print_lines
from target_segment_objects.errors import ConfigurationError
from target_segment_objects.settings import Settings, read_configuration

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["check", "run"]

logger = logging.getLogger(__name__)


def run(options: Namespace) -> int:
    """Print each finding as it comes; return 1 if a check failed."""
    has_failed = False
    try:
        for finding in check(options.config, os.environ, seconds=options.timeout):
            print_lines(finding)
            has_failed = has_failed or finding.verdict is Verdict.FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return int(has_failed)


def check(
    paths: Sequence[str], environ: Mapping[str, str], *, seconds: float = 10.0
) -> Iterator[Finding]:
    """Check everything that a run needs, one after the other.

    Args:
        paths: the values of `--config`.
        environ: the environment.
        seconds: the time limit of each request; there are at most two.
    """
    try:
        settings = Settings.from_config(read_configuration(paths, environ), logger.warning)
    except ConfigurationError as error:
        yield Finding("configuration", Verdict.FAILED, str(error))
        return
    if settings.local_warehouse is not None:
        detail = f"method {settings.method}, into a local warehouse"
        yield Finding("configuration", Verdict.OK, detail)
        yield check_warehouse(settings.local_warehouse)
    else:
        detail = f"method {settings.method}, region {settings.region}"
        yield Finding("configuration", Verdict.OK, detail)
        yield from check_network(settings, seconds)
    if settings.method == "bulk":
        yield check_spool(settings)
    if settings.dead_letter_path is not None:
        yield check_dead_letter(settings.dead_letter_path)
    detail = (
        "neither API reports what has arrived, whether the source is enabled and feeds a "
        "warehouse, or what the limits of the plan are: look at the source in Segment after the "
        "first run"
    )
    if settings.local_warehouse is not None:
        detail = "write key, region and host, since nothing is sent to Segment"
    yield Finding("not checked", Verdict.UNKNOWN, detail)
