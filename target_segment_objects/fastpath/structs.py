"""The structs of a stream with records as declared: what is decoded, and what is encoded.

Invariant: a struct accepts a value only if its column sends it unchanged. The values of columns
without a single type stay raw, for the column's converter.
"""

from __future__ import annotations

from itertools import starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, defstruct

from target_segment_objects.objects import WAREHOUSE_STRING_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from target_segment_objects.plan import Column, StreamPlan

    Flatten = Callable[[Iterable[Struct]], Iterable[Struct]]

__all__ = ["Branch", "Leaf", "StreamStructs"]

_MAX_KEY_INTEGER: Final = 10**18
"""The largest integer in a key: msgspec compares no larger ones."""

_KEY_TYPES: Final[Mapping[str, Any]] = {
    "integer": Annotated[int, Meta(ge=-_MAX_KEY_INTEGER, le=_MAX_KEY_INTEGER)],
    "number": float,
    "boolean": bool,
}
_FEW_NUMBERS: Final = 3
"""The numbers of so few columns are checked singly: cheaper than a scan of all digits."""
# With null and a missing value. Such types are large and columns many, so all columns share them.
_STRING: Final[Any] = str | None | UnsetType
_SHORT_STRING: Final[Any] = (
    Annotated[str, Meta(max_length=WAREHOUSE_STRING_LENGTH)] | None | UnsetType
)
_TYPES: Final[Mapping[str, Any]] = {
    "integer": int | None | UnsetType,
    "number": float | None | UnsetType,
    "boolean": bool | None | UnsetType,
}
"""By kind; the values of other columns stay raw."""


class Leaf(NamedTuple):
    """A property.

    Attributes:
        path: the attribute path to its value.
        name: its name in Segment.
        column: its column.
        is_raw: whether its values stay raw; these are checked afterwards.
    """

    path: str
    name: str
    column: Column
    is_raw: bool


class Branch(NamedTuple):
    """A declared object: its attribute path, and what replaces it when it is null or missing.

    The objects that replace it are shared by all records; objects inside them are filled, too.
    """

    path: str
    null_object: Struct
    missing_object: Struct

    def fill_missing(self, records: Iterable[Struct]) -> None:
        """Give every record an object here, so that the leaves in it can be read."""
        parent, _, name = self.path.rpartition(".")
        parent_of = attrgetter(parent) if parent else None
        for record in records:
            holder = record if parent_of is None else parent_of(record)
            value = getattr(holder, name)
            if value is None:
                setattr(holder, name, self.null_object)
            elif value is UNSET:
                setattr(holder, name, self.missing_object)


class StreamStructs:
    """The structs of a plan's records.

    Attributes:
        record_type: the struct that a record is decoded into.
        flat_type: the struct of its properties; `None` when a record's own struct encodes the same.
        leaves: the properties, in the order in which they are sent.
        branches: the declared objects inside a record, each before those inside it.
        keys: path and kind of each key property.
        omitted_key: the path of the key that is the object's id, and no property.
        absent: the value that leaves no property.
        has_numbers: whether any value is decoded into a double.
        has_raws: whether any value stays raw.
        depth: objects inside each other.

    Raises:
        ValueError, UnicodeEncodeError: when msgspec does not accept a property's name.
    """

    def __init__(self, plan: StreamPlan, *, allow_long_strings: bool) -> None:
        table = plan.columns
        self.absent: Any = None if plan.options.nulls == "drop" else UNSET
        self.leaves: list[Leaf] = []
        self.branches: list[Branch] = []
        self.depth = 1
        self._rows = table.by_path
        self._keys = plan.key_properties
        key_string = Annotated[
            str, Meta(min_length=1, max_length=plan.options.limits.id_characters)
        ]
        self._key_types = {**_KEY_TYPES, "string": key_string, "date": key_string}
        string = _STRING if allow_long_strings else _SHORT_STRING
        self._types = {**_TYPES, "string": string, "date": string}
        if sum(row.column.kind == "number" for row in table.rows) <= _FEW_NUMBERS:
            del self._types["number"]
        attributes = {name: f"f{index}" for index, name in enumerate(table.declared)}
        self.keys = [(attributes[key], table.declared[key].kind) for key in plan.key_properties]
        self.omitted_key = None if table.omitted_key is None else attributes[table.omitted_key]
        self.has_numbers = "number" in self._types or any(kind == "number" for _, kind in self.keys)
        self.record_type = self._build_struct(table.declared, (), "")
        self.has_raws = any(leaf.is_raw for leaf in self.leaves)
        is_flat = not self.branches and all(row.path == (row.name,) for row in table.rows)
        self.flat_type = None if is_flat else self._flat_type()

    def flattener(self) -> Flatten | None:
        """The function from records to structs of their properties; `None` without `flat_type`."""
        flat = self.flat_type
        if flat is None:
            return None
        get: Callable[[Struct], Any] = attrgetter(*(leaf.path for leaf in self.leaves))
        if len(self.leaves) == 1:
            return lambda records: map(flat, map(get, records))
        return lambda records: starmap(flat, map(get, records))

    def empty_properties(self) -> Struct | None:
        """The properties of a record that has nothing but its omitted key; `None` without one."""
        if self.omitted_key is None:
            return None
        if self.flat_type is not None:
            return self.flat_type()
        return self.record_type(**{self.omitted_key: UNSET})

    def _build_struct(
        self, columns: Mapping[str, Column], path: tuple[str, ...], prefix: str
    ) -> type[Struct]:
        """The struct of an object; adds its leaves and branches. A missing nested value is null."""
        self.depth = max(self.depth, len(path) + 1)
        names = {f"f{index}": name for index, name in enumerate(columns)}
        fields: list[Any] = []
        for attribute, name in names.items():
            column, inner_path = columns[name], (*path, name)
            attribute_path = f"{prefix}{attribute}"
            row = self._rows.get(inner_path)
            if row is not None:
                is_raw = row.column.kind not in self._types
                self.leaves.append(Leaf(attribute_path, row.name, row.column, is_raw))
            if not path and name in self._keys:
                fields.append((attribute, self._key_types[column.kind]))
                continue
            if row is not None:  # a union with Raw would not accept objects
                field_type = self._types.get(row.column.kind, Raw)
            else:
                field_type = self._object_type(column, inner_path, attribute_path)
            fields.append((attribute, field_type, None if path else self.absent))
        return defstruct(
            "Record",
            fields,
            rename=names,
            forbid_unknown_fields=True,
            kw_only=True,
            omit_defaults=self.absent is None,
            gc=False,
        )

    def _object_type(self, column: Column, path: tuple[str, ...], attribute_path: str) -> Any:
        """The type of a declared object, which becomes a branch."""
        position = len(self.branches)
        inner = self._build_struct(column.properties, path, f"{attribute_path}.")
        null_object = inner(**dict.fromkeys(inner.__struct_fields__))
        missing_object = inner(**dict.fromkeys(inner.__struct_fields__, self.absent))
        self.branches.insert(position, Branch(attribute_path, null_object, missing_object))
        return inner | None | UnsetType

    def _flat_type(self) -> type[Struct]:
        names = {f"f{index}": leaf.name for index, leaf in enumerate(self.leaves)}
        return defstruct(
            "Properties",
            [(name, Any, self.absent) for name in names],
            rename=names,
            omit_defaults=self.absent is None,
            gc=False,
        )
