"""Tables of figures in Markdown, which can also be read in a terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["number", "table_of"]

_WHOLE = 100


def number(value: Any) -> str:
    """Return a figure with its significant digits; text and flags unchanged."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= _WHOLE:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"


def table_of(head: list[str], rows: list[list[str]], *, words: int) -> str:
    """Return a table whose first columns are words and whose others are figures."""
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = (
            cell.ljust(width) if index < words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        "-" * (width + 2) if index < words else "-" * (width + 1) + ":"
        for index, width in enumerate(widths)
    )
    return "\n".join((line(head), f"|{'|'.join(rule)}|", *map(line, rows)))
