"""`segment-objects query`: run SQL on a warehouse file, and print its rows."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from target_segment_objects.commands.output import fail, print_lines
from target_segment_objects.emulator import EmulatorError, query_file

if TYPE_CHECKING:
    from argparse import Namespace

    from target_segment_objects.emulator import QueryResult

__all__ = ["run", "table"]


def run(options: Namespace) -> int:
    """Print the rows of a query."""
    try:
        result = query_file(options.file, options.sql)
    except EmulatorError as error:
        return fail(str(error))
    align = sys.stdout is not None and sys.stdout.isatty()
    print_lines(*(_json_lines(result) if options.json else table(result, align=align)))
    return 0


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
    """Return a value as text without line breaks; null is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value).replace("\n", "\\n").replace("\r", "\\r")
