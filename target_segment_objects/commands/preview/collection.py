"""The objects of a collection in a preview, counted by column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from target_segment_objects.commands.preview.examples import shown
from target_segment_objects.plan import normalize_datetime, parse_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_objects.plan import EncodedRecord, StreamPlan

__all__ = ["PreviewCollection"]

_MAX_UNDECLARED_COLUMNS: Final = 2_000
"""Undeclared columns of a collection that are listed: the keys of a map may have no end."""

_TYPE_OF: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    Raw: "number",
    str: "string",
}
_TYPE_OF_KIND: Final[Mapping[str | None, str]] = {
    **{name: name for name in _TYPE_OF.values()},
    "date": "timestamp",
    "json": "string",
}
"""The type of a column without values, where the schema alone decides it."""


class _Column(Struct):
    """A column of a collection, with the fields that the JSON document has."""

    name: str
    path: tuple[str, ...] = ()
    schema: str | None = None
    type: str | None = None
    renamed: bool = False
    flattened: bool = False
    json_text: bool = False
    values: int = 0
    nulls: int = 0
    incompatible: int = 0
    incompatible_line: int | UnsetType = UNSET
    example: str | UnsetType = UNSET

    def set_source(self, path: tuple[str, ...], kind: str | None) -> None:
        """Set where the values come from, and what the schema says of them."""
        self.path, self.schema = path, kind
        self.renamed = bool(path) and "_".join(path) != self.name
        self.flattened = len(path) > 1
        self.json_text = kind == "json"
        if not self.values:
            self.type = _TYPE_OF_KIND.get(kind)

    def add(self, value: Any, line: int, *, with_example: bool) -> None:
        """Count a value; the first one that is not null decides the type."""
        if value is None:
            self.nulls += 1
            return
        self.values += 1
        value_type = _TYPE_OF[type(value)]
        if self.values == 1:
            is_date = value_type == "string" and _is_date(value)
            self.type = "timestamp" if is_date else value_type
            if with_example:
                self.example = shown(value)
        elif value_type != self.type and not self._takes(value_type, value):
            self.incompatible_line = self.incompatible_line or line
            self.incompatible += 1

    def _takes(self, value_type: str, value: Any) -> bool:
        """Whether the column stores a value of another type without loss."""
        if self.type == "timestamp":
            return value_type == "string" and _is_date(value)
        return self.type == "string" or (self.type == "number" and value_type == "integer")


def _is_date(value: str) -> bool:
    return normalize_datetime(value) == (value, True)


@dataclass
class PreviewCollection:
    """The objects of a collection, and its columns by name.

    Args:
        with_examples: whether to keep an example value of each column.

    Attributes:
        conversions: a row of the JSON document for each stream, code and property.
    """

    with_examples: bool
    conversions: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    _streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    _columns: dict[str, _Column] = field(default_factory=dict)
    _paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _objects: int = 0
    _undeclared: int = 0
    _values_beyond_limit: int = 0

    def add_plan(self, plan: StreamPlan) -> None:
        """Add the columns of a plan."""
        omitted_key = plan.columns.omitted_key
        self._streams[plan.stream] = {
            "stream": plan.stream,
            "id": "keys" if plan.key_properties else "hash of the record",
            "keys": plan.key_properties,
            "omitted_key": omitted_key,
        }
        if omitted_key is not None:
            self._paths.setdefault("id", (omitted_key,))
        for planned in plan.columns.rows:
            column = self._columns.setdefault(planned.name, _Column(planned.name))
            if column.schema is None:
                column.set_source(planned.path, planned.column.kind)

    def add_object(self, encoded: EncodedRecord, line: int) -> None:
        """Count an object and its values."""
        self._objects += 1
        if self._undeclared < _MAX_UNDECLARED_COLUMNS:
            self._paths.update(encoded.new_columns)
        for name, value in parse_record(encoded.object.properties).items():
            column = self._columns.get(name)
            if column is None:
                if self._undeclared >= _MAX_UNDECLARED_COLUMNS:
                    self._values_beyond_limit += 1
                    continue
                self._undeclared += 1
                column = self._columns[name] = _Column(name)
                column.set_source(self._paths.get(name, ()), None)
            column.add(value, line, with_example=self.with_examples)

    def document(self, name: str) -> dict[str, Any]:
        """The collection of this name, as in the JSON document."""
        return {
            "collection": name,
            "streams": list(self._streams.values()),
            "objects": self._objects,
            "columns": list(self._columns.values()),
            "values_beyond_limit": self._values_beyond_limit,
            "conversions": list(self.conversions.values()),
        }
