"""`segment-objects`: the command line, with a subcommand for each of the tools.

`COMMANDS` lists the functions that each add a subcommand's parser. The module of a command is
imported when the command runs, so that the others start fast. An error is one sentence on stderr
and exit status 1.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from target_segment_objects.commands.output import OutputFailedError, fail
from target_segment_objects.errors import SegmentObjectsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    _Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="segment-objects", description="Tools around target-segment-objects."
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(subparsers)
    options = parser.parse_args(arguments)
    command = import_module(f"target_segment_objects.commands.{options.module}")
    run: Callable[[argparse.Namespace], int] = command.run
    try:
        return run(options)
    except SegmentObjectsError as error:
        return fail(str(error))
    except OutputFailedError as error:
        return 1 if error.is_pipe else fail(f"{error}.")


def _add_emulator(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "emulator",
        help="serve Segment's two object APIs on this machine",
        description="Serve Segment's two object APIs on this machine until interrupted. "
        "The first line of the output is the address of both.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=0,
        help="the port to listen on (default: 0, any free one)",
    )
    parser.add_argument(
        "--warehouse",
        type=Path,
        metavar="FILE",
        help="the DuckDB file to load (default: in memory)",
    )
    parser.add_argument(
        "--write-key", type=_key, metavar="KEY", help="the only key to accept (default: any)"
    )
    parser.add_argument(
        "--nulls",
        choices=["clear", "refuse"],
        default="clear",
        help="clear the value of a null property (default), or respond with 400",
    )
    parser.add_argument(
        "--collection-digits", action="store_true", help="accept digits in collection names"
    )
    parser.add_argument(
        "--session-seconds",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="end a bulk session after this long without a call (default: 600)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="orders asynchronous updates (default: 0)",
    )
    parser.add_argument(
        "--memory-limit",
        default="512MB",
        metavar="SIZE",
        help="the memory that DuckDB may use (default: %(default)s)",
    )
    parser.add_argument(
        "--page",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve a web page at the same address that shows what arrives (default: only when the "
        "emulator is not reachable from other machines)",
    )
    parser.set_defaults(module="emulator")


def _add_query(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "query",
        help="run SQL on a warehouse file",
        description="Run a query, read-only, on a DuckDB file that the emulator has loaded. Values "
        "are separated by ` | `, and aligned on a terminal.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("sql", metavar="SQL", help='for example: "select * from rooms"')
    parser.add_argument("--json", action="store_true", help="print each row as a JSON object")
    parser.set_defaults(module="query")


def _add_replay(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "replay",
        help="send the rejects of a dead letter again",
        description="Send the records of a dead letter again, after correcting them or the "
        "settings. What is rejected again stays in the file.",
    )
    parser.add_argument("dead_letter", type=Path, metavar="DEAD_LETTER")
    _add_config(parser)
    parser.add_argument(
        "--yes", action="store_true", help="also send records that were rejected over a day ago"
    )
    parser.set_defaults(module="replay.command")


def _add_preview(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "preview",
        help="show what a run would send, without sending anything",
        description="Read a tap's output from stdin and show the collections, columns and ids of "
        "the objects that a run would send, the values that it would convert, and the records that "
        "it would reject. Nothing is sent and no write key is needed. The exit status is 1 if a "
        "record would be rejected or the run would fail.",
    )
    _add_config(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--values", action="store_true", help="also show example values from the records"
    )
    parser.set_defaults(module="preview.command")


def _add_check(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "check",
        help="verify the configuration, network, write key and disk",
        description="Verify the configuration, the connection to Segment, the write key, and the "
        "files that a run needs. No object is sent. The exit status is 1 if any check failed.",
    )
    _add_config(parser)
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="the time limit of each request; there are at most two (default: 10)",
    )
    parser.set_defaults(module="check.command")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="the configuration of target-segment-objects; several files are merged",
    )


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


COMMANDS: tuple[Callable[[_Subparsers], None], ...] = (
    _add_emulator,
    _add_query,
    _add_replay,
    _add_preview,
    _add_check,
)


if __name__ == "__main__":
    sys.exit(main())
