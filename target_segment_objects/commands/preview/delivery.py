"""The delivery of a preview: it counts objects by collection and column, and sends nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from target_segment_objects.commands.preview.examples import shown
from target_segment_objects.plan import normalize_datetime, parse_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.objects import ObjectLine
    from target_segment_objects.plan import StreamPlan
    from target_segment_objects.source import SourceRecord

__all__ = ["PreviewDelivery"]

_MAX_UNDECLARED_COLUMNS: Final = 2_000
"""Undeclared columns of a collection that are listed: the keys of a map may have no end."""

_TYPE_OF: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    Raw: "number",
    str: "string",
}
_TYPE_OF_KIND: Final[Mapping[str | None, str]] = {
    "string": "string",
    "date": "timestamp",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "json": "string",
}
"""The type of a column without values, where the schema alone decides it."""


@dataclass
class _PreviewColumn:
    """A column of a collection, with the type that a warehouse would give it."""

    name: str
    path: tuple[str, ...]
    wants_example: bool
    kind: str | None = None
    type: str | None = None
    values: int = 0
    nulls: int = 0
    incompatible: int = 0
    incompatible_line: int = 0
    example: str | None = None

    def add(self, value: Any, line: int) -> None:
        """Count a value that is not null; the first one decides the type."""
        self.values += 1
        value_type = _TYPE_OF[type(value)]
        if self.type is None:
            is_date = value_type == "string" and _is_date(value)
            self.type = "timestamp" if is_date else value_type
            if self.wants_example:
                self.example = shown(value)
        elif value_type != self.type and not self._takes(value_type, value):
            self.incompatible_line = self.incompatible_line or line
            self.incompatible += 1

    def _takes(self, value_type: str, value: Any) -> bool:
        """Whether the column stores a value of another type without loss."""
        if self.type == "timestamp":
            return value_type == "string" and _is_date(value)
        return self.type == "string" or (self.type == "number" and value_type == "integer")

    def document(self) -> dict[str, object]:
        """The column as JSON."""
        optional = {"incompatible_line": self.incompatible_line or None, "example": self.example}
        return {
            "name": self.name,
            "path": self.path,
            "schema": self.kind,
            "type": self.type or _TYPE_OF_KIND.get(self.kind),
            "renamed": bool(self.path) and "_".join(self.path) != self.name,
            "flattened": len(self.path) > 1,
            "json_text": self.kind == "json",
            "values": self.values,
            "nulls": self.nulls,
            "incompatible": self.incompatible,
            **{name: value for name, value in optional.items() if value is not None},
        }


def _is_date(value: str) -> bool:
    return normalize_datetime(value) == (value, True)


@dataclass
class _PreviewCollection:
    """The objects of a collection, and its columns by name."""

    with_examples: bool
    plans: dict[str, StreamPlan] = field(default_factory=dict)
    objects: int = 0
    columns: dict[str, _PreviewColumn] = field(default_factory=dict)
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    undeclared: int = 0
    values_beyond_limit: int = 0

    def add_undeclared(self, name: str) -> _PreviewColumn | None:
        """Add a column that no schema lists; `None` when there are too many."""
        if self.undeclared >= _MAX_UNDECLARED_COLUMNS:
            return None
        self.undeclared += 1
        column = _PreviewColumn(name, self.paths.get(name, ()), self.with_examples)
        self.columns[name] = column
        return column

    def document(self, name: str) -> dict[str, Any]:
        """The collection as JSON."""
        return {
            "collection": name,
            "streams": [
                {
                    "stream": plan.stream,
                    "id": "keys" if plan.key_properties else "hash of the record",
                    "keys": plan.key_properties,
                    "omitted_key": plan.columns.omitted_key,
                }
                for plan in self.plans.values()
            ],
            "objects": self.objects,
            "columns": [column.document() for column in self.columns.values()],
            "values_beyond_limit": self.values_beyond_limit,
        }


class PreviewDelivery:
    """Counts objects instead of sending them. It is a `Delivery`.

    Args:
        with_examples: whether to keep an example value of each column.
    """

    def __init__(self, *, with_examples: bool) -> None:
        self._with_examples = with_examples
        self._collections: dict[str, _PreviewCollection] = {}

    def declare(self, plan: StreamPlan) -> None:
        """Add the columns of a plan to its collection."""
        collection = self._collections.setdefault(
            plan.collection, _PreviewCollection(self._with_examples)
        )
        collection.plans[plan.stream] = plan
        if (key := plan.columns.omitted_key) is not None:
            collection.paths.setdefault("id", (key,))
        for planned in plan.columns.rows:
            column = collection.columns.setdefault(
                planned.name, _PreviewColumn(planned.name, planned.path, self._with_examples)
            )
            if column.kind is None:
                column.path, column.kind = planned.path, planned.column.kind

    def add_paths(self, collection: str, paths: Mapping[str, tuple[str, ...]]) -> None:
        """Add the paths of undeclared columns in the next object of a collection."""
        counted = self._collections[collection]
        if counted.undeclared < _MAX_UNDECLARED_COLUMNS:
            counted.paths.update(paths)

    def put_block(
        self, objects: Sequence[ObjectLine], _first: int, source_at: Callable[[int], SourceRecord]
    ) -> int:
        """Count objects and their values."""
        for index, segment_object in enumerate(objects):
            collection = self._collections[segment_object.collection]
            collection.objects += 1
            columns = collection.columns
            line = source_at(index).line
            for name, value in parse_record(segment_object.encoded().properties).items():
                column = columns.get(name) or collection.add_undeclared(name)
                if column is None:
                    collection.values_beyond_limit += 1
                elif value is None:
                    column.nulls += 1
                else:
                    column.add(value, line)
        return len(objects)

    def tick(self) -> None:
        """Nothing is due."""

    def finish(self) -> None:
        """Nothing is pending."""

    def close(self) -> None:
        """Nothing is open."""

    def documents(self) -> dict[str, dict[str, Any]]:
        """Each collection as JSON, by its name."""
        return {name: counted.document(name) for name, counted in self._collections.items()}
