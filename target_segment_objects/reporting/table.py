"""Text tables, and numbers as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

__all__ = ["byte_size", "scaled", "text_table"]

_BYTE_UNITS: Final = (" B", " kB", " MB", " GB", " TB")


def text_table(rows: Sequence[Mapping[str, str]], left: Container[str]) -> list[str]:
    """Render rows as lines of aligned columns, below a line of headings.

    Args:
        rows: at least one; each has the cells of all columns by their headings.
        left: the headings of columns that are aligned to the left. All others are aligned to the
            right.
    """
    columns = []
    for heading in rows[0]:
        texts = [heading, *(row[heading] for row in rows)]
        width = max(map(len, texts))
        align = str.ljust if heading in left else str.rjust
        columns.append([align(text, width) for text in texts])
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def scaled(number: float, units: Sequence[str]) -> str:
    """A number in about three digits, with a unit; each unit is 1,000 of the one before it."""
    if number < 999.5:  # noqa: PLR2004  else it would be shown as 1000
        return f"{number:.0f}{units[0]}"
    for unit in units[1:-1]:
        number /= 1000
        if number < 999.5:  # noqa: PLR2004
            return f"{number:.1f}{unit}" if number < 99.95 else f"{number:.0f}{unit}"  # noqa: PLR2004
    return f"{number / 1000:,.1f}{units[-1]}"


def byte_size(count: float) -> str:
    """A number of bytes with a unit."""
    return scaled(count, _BYTE_UNITS)
