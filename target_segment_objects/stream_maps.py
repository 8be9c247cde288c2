"""The SDK's stream maps: which streams come out of one, with which schema and keys, and how.

The rule that it guards: what no map touches is as if there were no maps. The SDK's mapper reads
schemas less leniently than the plan does, so it is given one that it can read, with the same
columns; and an expression that fails on a record is that record's fault, not the run's end.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from singer_sdk.exceptions import MapExpressionError, StreamMapConfigError
from singer_sdk.mapper import (
    CustomStreamMap,
    PluginMapper,
    RemoveRecordTransform,
    SameRecordTransform,
)

from target_segment_objects.errors import ConfigurationError, Fault, RejectedRecordError
from target_segment_objects.schemas import read_columns, spelled_out

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.origins import Source
    from target_segment_objects.settings import Settings

    Record = dict[str, Any]
    Transform = Callable[[Record], "Record | None"]

__all__ = ["MappedStream", "StreamMaps"]

_NULLS: Final = (None, "__NULL__")
"""What removes a property, a stream, or all that is not named."""
_FILTER: Final = "__filter__"
_KEYS: Final = "__key_properties__"


class MappedStream(NamedTuple):
    """A stream that comes out of the maps.

    Attributes:
        name: its name.
        schema: the JSON Schema of its records.
        key_properties: the properties that make the id.
        transform: makes its records of the tap's, or nothing of a record that is filtered out;
            `None` where they are the same. It raises `RejectedRecordError`.
        is_named: whether the user gave it its name, by `__alias__` or `__source__`.
        expressions: the properties that an expression makes.
    """

    name: str
    schema: dict[str, Any]
    key_properties: Sequence[str] | None
    transform: Transform | None = None
    is_named: bool = False
    expressions: frozenset[str] = frozenset()


class StreamMaps:
    """The stream maps of a run.

    Args:
        settings: what the SDK's mapper is configured by.
        logger: where the mapper tells what it has found.

    Attributes:
        mapper: the SDK's mapper.

    Raises:
        ConfigurationError: when the maps are wrong for any stream.
    """

    def __init__(self, settings: Settings, logger: logging.Logger) -> None:
        definitions = dict(settings.stream_maps or {})
        # The mapper takes no keys that its schema lacks: they are looked after here.
        without_keys = {
            name: {key: value for key, value in each.items() if key != _KEYS}
            if isinstance(each, dict)
            else each
            for name, each in definitions.items()
        }
        try:
            self.mapper = PluginMapper({**settings.for_sdk(), "stream_maps": without_keys}, logger)  # type: ignore[dict-item]
        except (StreamMapConfigError, MapExpressionError) as error:
            raise ConfigurationError(f"stream_maps: {error}") from None
        self._definitions: dict[str, Any] = {
            name: each for name, each in definitions.items() if name != "__else__"
        }
        self._used: set[str] = set()

    @property
    def unused(self) -> list[str]:
        """The streams that a map is for, as far as none has come."""
        return [self._source(name) for name in self._definitions if name not in self._used]

    def streams(self, source: Source, schema: dict[str, Any]) -> list[MappedStream]:
        """The streams that come out of one; none when maps remove it.

        Raises:
            ConfigurationError: when a map does not fit the stream.
            SchemaError: when the stream's schema has no end, or lists nothing and must.
        """
        own = {
            name: definition
            for name, definition in self._definitions.items()
            if self._applies(name, source.stream)
        }
        self._used |= own.keys()
        straight = MappedStream(source.stream, schema, source.key_properties)
        if not own and self.mapper.default_mapper_type is SameRecordTransform:
            return [straight]
        readable = spelled_out(schema, stream=source.stream)
        try:
            self.mapper.register_raw_stream_schema(source.stream, readable, [])
        except (StreamMapConfigError, MapExpressionError, NotImplementedError) as error:
            raise ConfigurationError(
                f"stream_maps, for stream {source.stream!r}: {error}"
            ) from None
        found = zip(self.mapper.stream_maps[source.stream], _in_their_order(own), strict=True)
        return [
            self._mapped(stream_map, name, source, schema, readable["properties"])
            if isinstance(stream_map, CustomStreamMap)
            else straight
            for stream_map, name in found
            if not isinstance(stream_map, RemoveRecordTransform)
        ]

    def _mapped(
        self,
        stream_map: CustomStreamMap,
        name: str,
        source: Source,
        schema: dict[str, Any],
        properties: Mapping[str, Any],
    ) -> MappedStream:
        """The stream that comes out of a map; keys stay, whatever else it leaves out.

        Raises:
            ConfigurationError: when the map removes a key.
            SchemaError: when neither the stream nor the map lists any property.
        """
        definition = self._definitions[name]
        keys = _keys(definition, source)
        stream_map.transformed_key_properties = keys
        mapped = stream_map.transformed_schema
        # The mapper changes the schema that it looks names up in: what was renamed may be gone.
        renamed = {
            new: properties[expression]
            for new, expression in definition.items()
            if isinstance(expression, str) and new not in properties and expression in properties
        }
        columns = {
            **mapped["properties"],
            **renamed,
            **{
                key: properties[key]
                for key in keys
                if key in properties.keys() - mapped["properties"]
            },
        }
        if not (keys or columns):
            read_columns(schema, stream=source.stream)  # refuses one that lists nothing
        references = {
            key: value for key, value in schema.items() if key in {"definitions", "$defs"}
        }
        return MappedStream(
            stream_map.stream_alias,
            {**references, **mapped, "properties": columns},
            keys,
            _transform(stream_map, name, source.stream),
            is_named="__alias__" in definition or stream_map.stream_alias != source.stream,
            expressions=frozenset(
                made
                for made, expression in definition.items()
                if not made.startswith("__") and expression not in _NULLS
            ),
        )

    def _applies(self, name: str, stream: str) -> bool:
        """Whether a definition is for a stream, as the SDK's mapper finds it."""
        source = self._source(name)
        return stream == source or fnmatch.fnmatch(stream, source)

    def _source(self, name: str) -> str:
        definition = self._definitions[name]
        source = definition.get("__source__", name) if isinstance(definition, dict) else name
        return str(source)


def _in_their_order(definitions: Mapping[str, Any]) -> list[str]:
    """The names of a stream's definitions, as the mapper lists its maps.

    First the one of the stream itself, the last that there is; then those of its copies.
    """
    own = ""  # the SDK's default, which is in no definition
    copies: list[str] = []
    for name, definition in definitions.items():
        if isinstance(definition, dict) and "__source__" in definition:
            copies.append(name)
        else:
            own = name
    return [own, *copies]


def _keys(definition: Mapping[str, Any], source: Source) -> list[str]:
    """The keys that a map chooses, or the tap's.

    Raises:
        ConfigurationError: when it removes one of them.
    """
    keys = list(definition.get(_KEYS, source.key_properties) or ())
    for key in keys:
        if key in definition and definition[key] in _NULLS:
            raise ConfigurationError(
                f"stream_maps, for stream {source.stream!r}: {key!r} is a key property and cannot "
                "be removed; choose other keys in `__key_properties__`, or none with null"
            )
    return keys


def _transform(stream_map: CustomStreamMap, definition: str, stream: str) -> Transform:
    """The map's own function; an expression that fails on a record is the record's fault."""
    evaluate = stream_map._eval  # noqa: SLF001  the one door that all expressions go through

    def watched(*, record: Record, property_name: str | None, **expression: Any) -> Any:
        try:
            return evaluate(record=record, property_name=property_name, **expression)
        except Exception as error:  # noqa: BLE001  the user's expression may raise anything
            raise _failure(error, definition, property_name or _FILTER, stream) from None

    stream_map._eval = watched  # type: ignore[assignment,method-assign]  # noqa: SLF001
    return stream_map.transform


def _failure(
    error: Exception, definition: str, name: str, stream: str
) -> ConfigurationError | RejectedRecordError:
    """What an expression's error means. Its text may hold a value of the record: never shown."""
    cause = error.__cause__ if isinstance(error, MapExpressionError) else error
    kind = type(cause).__name__  # of simpleeval, which is the SDK's own choice
    name_of = getattr(cause, "name", None) if kind == "NameNotDefined" else None
    wrong = ""
    if kind == "FunctionNotDefined":
        wrong = f"there is no function {getattr(cause, 'func_name', '')!r}"
    elif kind == "FeatureNotAvailable":
        wrong = "it uses what stream maps do not have"
    elif name_of == "fake":
        wrong = (
            "`fake` needs the package `faker`, which is not installed; install it beside the "
            "target, and set it up with `faker_config`"
        )
    if wrong:
        return ConfigurationError(
            f"stream_maps, for stream {stream!r}: the expression `{definition}.{name}` is wrong: "
            f"{wrong}"
        )
    advice = f" ({kind}); let it take what this record has, nulls among it"
    if name_of is not None:
        advice = f", which has no {name_of!r}; write `record.get({name_of!r})` if some lack it"
    return RejectedRecordError(
        [
            Fault(
                (name,),
                "expression",
                f"its expression in `stream_maps`, `{definition}.{name}`, fails on this record"
                f"{advice}",
            )
        ]
    )
