"""`segment-objects`: what can be done around the target, a subcommand each.

A subcommand is a function that adds its parser and names what runs; `COMMANDS` lists them. What a
command needs is imported when it runs, so that the others start fast. Errors are one sentence on
stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from target_segment_objects.emulator import QueryResult


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="segment-objects", description="Tools around target-segment-objects."
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(subparsers)
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except _OutputFailedError as failure:
        return 1 if failure.is_pipe else _fail(f"{failure}.")


class _OutputFailedError(Exception):
    """Stdout takes no more.

    Attributes:
        is_pipe: whether its reader has seen enough, which is no fault.
    """

    def __init__(self, message: str, *, is_pipe: bool = False) -> None:
        super().__init__(message)
        self.is_pipe = is_pipe


def _print(*lines: object) -> None:
    """Print lines, now.

    Raises:
        _OutputFailedError: when stdout is closed, full, or read no more.
    """
    if sys.stdout is None:
        raise _OutputFailedError("stdout is closed")
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except OSError as error:
        # What stdout has not taken, Python would try to write once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _OutputFailedError(
            f"stdout cannot be written: {error.strerror or error}",
            is_pipe=isinstance(error, BrokenPipeError),
        ) from None


def _add_emulator(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "emulator",
        help="serve Segment's two object APIs on this machine",
        description="Serve Segment's two object APIs on this machine until it is interrupted. "
        "The first line of the output is the address of both.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: %(default)s)"
    )
    parser.add_argument("--port", type=_port, default=0, help="0, the default, is a free one")
    parser.add_argument(
        "--warehouse", type=Path, metavar="FILE", help="a DuckDB file to load; memory without it"
    )
    parser.add_argument(
        "--write-key", type=_key, metavar="KEY", help="the only key taken (default: any)"
    )
    parser.add_argument(
        "--nulls",
        choices=["clear", "refuse"],
        default="clear",
        help="what a null property does: clear the value (default), or get a 400",
    )
    parser.add_argument(
        "--collection-digits", action="store_true", help="take digits in collection names"
    )
    parser.add_argument(
        "--session-seconds",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="silence that ends a bulk session (default: 600)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the order of asynchronous updates (default: 0)"
    )
    parser.add_argument(
        "--memory-limit",
        default="512MB",
        metavar="SIZE",
        help="what DuckDB may use (default: %(default)s)",
    )
    parser.add_argument(
        "--page",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="show what arrives at the same address, in a browser (default: where only this "
        "machine can listen to it)",
    )
    parser.set_defaults(run=_run_emulator)


def _run_emulator(options: argparse.Namespace) -> int:
    from target_segment_objects.emulator import (  # noqa: PLC0415
        Emulator,
        EmulatorError,
        is_loopback,
    )

    asked = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    emulator = Emulator(
        host=options.host,
        port=options.port,
        warehouse=options.warehouse,
        write_key=options.write_key,
        nulls=options.nulls,
        collection_digits=options.collection_digits,
        session_seconds=options.session_seconds,
        seed=options.seed,
        memory_limit=options.memory_limit,
        page=is_loopback(options.host) if options.page is None else options.page,
    )
    try:
        with emulator:
            if sys.stdout is not None:
                _print(emulator.url)
            asked.wait()
    except EmulatorError as error:
        return _fail(str(error))
    except OSError as error:
        address = f"{options.host}:{options.port}"
        why = os.strerror(error.errno) if error.errno else str(error)
        return _fail(
            f"Cannot listen on {address}: {why}; name a free port with `--port`, or any with "
            "`--port 0`."
        )
    calls = sum(1 for request in emulator.requests if request.status is not None)
    print(
        f"Answered the last {calls} requests, {len(emulator.refusals)} of them with a refusal.",
        file=sys.stderr,
    )
    return 0


def _add_query(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "query",
        help="ask a warehouse file a question in SQL",
        description="Run a query on a DuckDB file that the emulator has loaded, read-only. Rows "
        "are printed with ` | ` between values, in aligned columns on a terminal.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("sql", metavar="SQL", help='for instance: "select * from rooms"')
    parser.add_argument("--json", action="store_true", help="print a JSON object a row")
    parser.set_defaults(run=_run_query)


def _run_query(options: argparse.Namespace) -> int:
    from target_segment_objects.emulator import EmulatorError, query_file  # noqa: PLC0415

    try:
        result = query_file(options.file, options.sql)
    except EmulatorError as error:
        return _fail(str(error))
    align = sys.stdout is not None and sys.stdout.isatty()
    _print(*(_json_lines(result) if options.json else table(result, align=align)))
    return 0


def _add_replay(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "replay",
        help="send the rejects of a dead letter again",
        description="Send the records of a dead letter again, after they or the settings were "
        "corrected. What is still refused stays in the file.",
    )
    parser.add_argument("dead_letter", type=Path, metavar="DEAD_LETTER")
    _add_config(parser)
    parser.add_argument(
        "--yes", action="store_true", help="send records that were rejected over a day ago too"
    )
    parser.set_defaults(run=_run_replay)


def _run_replay(options: argparse.Namespace) -> int:
    from target_segment_objects.commands.replay import replay  # noqa: PLC0415
    from target_segment_objects.errors import SegmentObjectsError  # noqa: PLC0415
    from target_segment_objects.settings import read_configuration  # noqa: PLC0415

    try:
        config = read_configuration(options.config, os.environ)
        done = replay(options.dead_letter, config, yes=options.yes)
    except SegmentObjectsError as error:
        return _fail(str(error))
    try:
        _print(done)
    except _OutputFailedError as failure:
        return _fail(f"The replay is done, but {failure}. {done}")
    return 0


def _add_preview(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "preview",
        help="show what a run would make of a tap's output, without sending anything",
        description="Read a tap's output from stdin and show the collections, columns and ids that "
        "a run would make of it, what it would change, and what it would reject. Nothing is sent "
        "and no write key is needed. The exit status is 1 if a record would be rejected, or if "
        "anything would end a run.",
    )
    _add_config(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--values", action="store_true", help="show example values too, and not just their paths"
    )
    parser.set_defaults(run=_run_preview)


def _run_preview(options: argparse.Namespace) -> int:
    from target_segment_objects.commands.preview.command import preview  # noqa: PLC0415
    from target_segment_objects.commands.preview.table import lines  # noqa: PLC0415
    from target_segment_objects.errors import SegmentObjectsError  # noqa: PLC0415
    from target_segment_objects.settings import PREFIX, read_configuration  # noqa: PLC0415

    # No key is used, so none is asked for, nor is what stands in its place looked at.
    environment = {**os.environ, f"{PREFIX}WRITE_KEY": "no-key-is-used"}
    try:
        config = read_configuration(options.config, environment)
        document, status = preview(config, values=options.values)
    except SegmentObjectsError as error:
        return _fail(str(error))
    _print(*([json.dumps(document)] if options.json else lines(document)))
    return status


def _add_check(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="see whether Segment takes the key, and whether this machine is ready",
        description="Look at the configuration, the way to Segment, the write key, and the files "
        "that a run needs. No object is sent. The exit status is 1 if anything has failed.",
    )
    _add_config(parser)
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long each of at most two requests may take (default: 10)",
    )
    parser.set_defaults(run=_run_check)


def _run_check(options: argparse.Namespace) -> int:
    from target_segment_objects.commands.check import Verdict, check  # noqa: PLC0415

    failed = False
    try:
        for finding in check(options.config, os.environ, seconds=options.timeout):
            _print(finding)
            failed = failed or finding.verdict is Verdict.FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return int(failed)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="the target's configuration, as for target-segment-objects; several are joined",
    )


def table(result: QueryResult, *, align: bool) -> list[str]:
    """Return a header and the rows as lines, values joined by ` | `; none for no columns."""
    if not result.columns:
        return []
    cells = [result.columns, *([_cell(value) for value in row] for row in result.rows)]
    if not align:
        return [" | ".join(row) for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return [lines[0], "-+-".join("-" * width for width in widths), *lines[1:]]


def _json_lines(result: QueryResult) -> list[str]:
    return [
        json.dumps(dict(zip(result.columns, row, strict=True)), ensure_ascii=False, default=_cell)
        for row in result.rows
    ]


def _cell(value: Any) -> str:
    """Return a value as text that stays on its line; null is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value).replace("\n", "\\n").replace("\r", "\\r")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004 sixteen bits
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return port


def _key(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("a key has at least one character")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


COMMANDS: tuple[Callable[[argparse._SubParsersAction[argparse.ArgumentParser]], None], ...] = (
    _add_emulator,
    _add_query,
    _add_replay,
    _add_preview,
    _add_check,
)


if __name__ == "__main__":
    sys.exit(main())
