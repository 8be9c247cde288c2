"""The structs of a stream whose records are as its SCHEMA says: what is decoded, what is encoded.

The rule that it guards: a struct takes no value that its column does not take as it is. Values of
columns without one type of their own stay raw, for the column's converter to look at.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, defstruct

from target_segment_objects.objects import MAX_ID_LENGTH, WAREHOUSE_STRING_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from target_segment_objects.plan import Column, StreamPlan

__all__ = ["Branch", "Leaf", "StreamStructs"]

_SURE_INTEGER: Final = 10**18
"""The largest integer in a key: msgspec compares no larger ones."""

_KEY_STRING = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
_KEY_TYPES: Final[Mapping[str, Any]] = {
    "string": _KEY_STRING,
    "date": _KEY_STRING,
    "integer": Annotated[int, Meta(ge=-_SURE_INTEGER, le=_SURE_INTEGER)],
    "number": float,
    "boolean": bool,
}
_FEW_NUMBERS: Final = 3
"""So many number columns are looked at one by one, which is cheaper than a look at all digits."""
_TYPED: Final = frozenset({"string", "date", "integer", "boolean"})
_LEAN_STRING = Annotated[str, Meta(max_length=WAREHOUSE_STRING_LENGTH)]
# Null, and nothing at all, are taken too. Such types are large, and columns many: one for all.
_TYPES: Final[Mapping[str, Any]] = {
    "string": _LEAN_STRING | None | UnsetType,
    "integer": int | None | UnsetType,
    "number": float | None | UnsetType,
    "boolean": bool | None | UnsetType,
}
_TYPES_WITH_LONG_STRINGS: Final[Mapping[str, Any]] = {**_TYPES, "string": str | None | UnsetType}


class Leaf(NamedTuple):
    """A property: the path of attributes to its value, its name in Segment, and its column."""

    path: str
    name: str
    column: Column


class Branch(NamedTuple):
    """A declared object: its path of attributes; what stands for it when it is null, or missing."""

    path: str
    null_object: Struct
    absent: Struct

    def fill_missing(self, records: Iterable[Struct]) -> None:
        """Let every record have an object here, so that its leaves can be fetched."""
        parent, _, name = self.path.rpartition(".")
        parent_of = attrgetter(parent) if parent else _itself
        for record in records:
            holder = parent_of(record)
            found = getattr(holder, name)
            if found is None:
                setattr(holder, name, self.null_object)
            elif found is UNSET:
                setattr(holder, name, self.absent)


def _itself(record: Struct) -> Struct:
    return record


class StreamStructs:
    """What a plan's records look like.

    Attributes:
        record_type: the struct that a record is decoded into.
        flat_type: the struct of its properties; `None` when a record's own struct says the same.
        leaves: the properties, in the order in which they are sent.
        branches: the declared objects inside a record, each before those inside it.
        keys: path and kind of each key property.
        left_out: the path of the key that is the object's id, and no property.
        nothing: the value that leaves no property.
        has_doubles: whether numbers are decoded into doubles; else they stay raw.
        depth: objects inside each other.

    Raises:
        KeyError: when a key is no declared column of one type.
        ValueError, UnicodeEncodeError: when msgspec does not take a property's name.
    """

    def __init__(self, plan: StreamPlan, *, allow_long_strings: bool) -> None:
        drop = plan.options.nulls == "drop"
        self.nothing: Any = None if drop else UNSET
        self.leaves: list[Leaf] = []
        self.branches: list[Branch] = []
        self.depth = 1
        self.left_out: str | None = None
        self._planned = {each.path: each for each in plan.columns}
        self._keys = plan.key_properties
        self._types = _TYPES_WITH_LONG_STRINGS if allow_long_strings else _TYPES
        self._omit = drop
        names = list(plan.declared)
        self.keys = [
            (f"f{names.index(key)}", plan.declared[key].kind) for key in self._keys if key in names
        ]
        if plan.omitted_key is not None:
            self.left_out = f"f{names.index(plan.omitted_key)}"
        self.has_doubles = sum(each.column.kind == "number" for each in plan.columns) > _FEW_NUMBERS
        self.record_type = self._struct(plan.declared, (), "")
        self.flat_type = self._flat_type() if self._must_be_flattened() else None

    @property
    def must_scan_numbers(self) -> bool:
        """Whether any value is decoded into a double."""
        return self.has_doubles or any(kind == "number" for _, kind in self.keys)

    @property
    def must_verify_text(self) -> bool:
        """Whether any value stays raw."""
        typed = _TYPED | ({"number"} if self.has_doubles else set())
        return any(leaf.column.kind not in typed for leaf in self.leaves)

    def _struct(
        self, columns: Mapping[str, Column], path: tuple[str, ...], attributes: str
    ) -> type[Struct]:
        self.depth = max(self.depth, len(path) + 1)
        fields: list[Any] = []
        names = {}
        for index, (name, column) in enumerate(columns.items()):
            attribute = f"f{index}"
            names[attribute] = name
            inner = (*path, name)
            where = f"{attributes}{attribute}"
            if not path and name in self._keys:
                fields.append((attribute, _KEY_TYPES[column.kind]))
            else:
                kind = self._type(column, inner, where)
                fields.append((attribute, kind, None) if path else (attribute, kind, self.nothing))
            if inner in self._planned:
                planned = self._planned[inner]
                self.leaves.append(Leaf(where, planned.name, planned.column))
        return defstruct(
            "Record",
            fields,
            rename=names,
            forbid_unknown_fields=True,
            kw_only=True,
            omit_defaults=self._omit,
            gc=False,
        )

    def _type(self, column: Column, path: tuple[str, ...], where: str) -> Any:
        """What the decoder takes for a column: its own type, null, and nothing at all."""
        if path not in self._planned:
            return self._branch(column, path, where)
        kind = "string" if column.kind == "date" else column.kind
        if kind == "number" and not self.has_doubles:
            return Raw
        return self._types.get(kind, Raw)  # a union with it would take no object

    def _branch(self, column: Column, path: tuple[str, ...], where: str) -> Any:
        at = len(self.branches)
        inner = self._struct(column.properties, path, f"{where}.")
        below = {
            branch.path.rpartition(".")[2]: branch
            for branch in self.branches[at:]
            if branch.path.rpartition(".")[0] == where
        }
        attributes = inner.__struct_fields__
        null_object = {
            name: below[name].null_object if name in below else None for name in attributes
        }
        absent = {
            name: below[name].absent if name in below else self.nothing for name in attributes
        }
        self.branches.insert(at, Branch(where, inner(**null_object), inner(**absent)))
        return inner | None | UnsetType

    def _must_be_flattened(self) -> bool:
        if self.branches:
            return True
        encoded = dict(
            zip(
                self.record_type.__struct_fields__,
                self.record_type.__struct_encode_fields__,
                strict=True,
            )
        )
        return any(encoded[leaf.path] != leaf.name for leaf in self.leaves)

    def _flat_type(self) -> type[Struct]:
        names = {f"f{index}": leaf.name for index, leaf in enumerate(self.leaves)}
        return defstruct(
            "Properties",
            [(name, Any, self.nothing) for name in names],
            rename=names,
            omit_defaults=self._omit,
            gc=False,
        )
