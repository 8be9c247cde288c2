"""The SDK's stream maps: the streams that they make of one, with their schemas and keys.

Invariant: properties and records that no map changes are sent as they are without maps. The SDK's
mapper is stricter about schemas than the plan is, so it gets a schema that it can read, with the
same columns.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from singer_sdk.exceptions import MapExpressionError, StreamMapConfigError
from singer_sdk.mapper import (
    CustomStreamMap,
    PluginMapper,
    RemoveRecordTransform,
    SameRecordTransform,
)

from target_segment_objects.errors import ConfigurationError
from target_segment_objects.plan import read_columns, resolved_schema
from target_segment_objects.singer.expressions import (
    REMOVE,
    check_expressions,
    compile_transform,
    is_property,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence

    from singer_sdk.mapper import StreamMap

    from target_segment_objects.settings import Settings
    from target_segment_objects.singer.expressions import Transform
    from target_segment_objects.source import SourceStream

__all__ = ["MappedStream", "StreamMaps"]

_KEYS: Final = "__key_properties__"


class MappedStream(NamedTuple):
    """A stream after the maps.

    Attributes:
        name: its name.
        schema: the JSON Schema of its records.
        key_properties: the properties that the id is made of.
        transform: returns the mapped record, or `None` for one that is filtered out, and raises
            `RejectedRecordError`; `None` when the records are not changed.
        is_named: whether the user chose its name, with `__alias__` or `__source__`.
        expressions: the properties that are the result of an expression.
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
        settings: they configure the SDK's mapper.
        logger: the mapper's logger.

    Attributes:
        mapper: the SDK's mapper.

    Raises:
        ConfigurationError: the maps are wrong for any stream.
    """

    def __init__(self, settings: Settings, logger: logging.Logger) -> None:
        definitions: dict[str, Any] = dict(settings.stream_maps or {})
        # The mapper refuses keys that its schema lacks: `_keys` applies them instead.
        without_keys = {
            name: {key: value for key, value in definition.items() if key != _KEYS}
            if isinstance(definition, dict)
            else definition
            for name, definition in definitions.items()
        }
        for name, definition in definitions.items():
            check_expressions(name, definition)
        try:
            self.mapper = PluginMapper({**settings.for_sdk(), "stream_maps": without_keys}, logger)  # type: ignore[dict-item]
        except (StreamMapConfigError, MapExpressionError) as error:
            raise ConfigurationError(f"stream_maps: {error}") from None
        definitions.pop("__else__", None)
        self._definitions = definitions
        self._sources = {
            name: str(definition["__source__"]) if _is_copy(definition) else name
            for name, definition in definitions.items()
        }
        self._used: set[str] = set()

    @property
    def unused(self) -> list[str]:
        """The streams that have maps and that the tap has not sent."""
        return [source for name, source in self._sources.items() if name not in self._used]

    def streams(self, source: SourceStream, schema: dict[str, Any]) -> list[MappedStream]:
        """Return the streams that the maps make of one; none when they remove it.

        Raises:
            ConfigurationError: a map does not fit the stream.
            SchemaError: the stream's schema is endless, or lists no property and must.
        """
        own = self._definitions_for(source.stream)
        self._used |= own.keys()
        straight = MappedStream(source.stream, schema, source.key_properties)
        stays = self.mapper.default_mapper_type is SameRecordTransform
        if not own and stays:
            return [straight]
        names = _in_their_order(own)
        if len(names) == 1 and (own[names[0]] in REMOVE if own else not stays):
            return []  # whatever its schema is
        read_columns(schema, stream=source.stream, has_keys=True)  # refuses a wrong schema
        readable = resolved_schema(schema, stream=source.stream)
        streams = [
            self._mapped(stream_map, name, source, schema, readable["properties"])
            if isinstance(stream_map, CustomStreamMap)
            else straight
            for stream_map, name in zip(self._sdk_maps(source.stream, readable), names, strict=True)
            if not isinstance(stream_map, RemoveRecordTransform)
        ]
        for mapped, count in Counter(mapped.name for mapped in streams).items():
            if count > 1:
                raise ConfigurationError(
                    f"stream_maps, for stream {source.stream!r}: it creates {count} streams "
                    f"called {mapped!r}, and one would overwrite the other; give them "
                    "different names"
                )
        return streams

    def overridden(self, stream: str) -> list[tuple[str, str]]:
        """Return the maps of a stream that another one overrides, each with the other one."""
        definitions = self._definitions_for(stream).items()
        own = [name for name, definition in definitions if not _is_copy(definition)]
        return [(name, own[-1]) for name in own[:-1]]

    def _sdk_maps(self, stream: str, schema: dict[str, Any]) -> list[StreamMap]:
        """New maps of the SDK's mapper for a stream; those of an older SCHEMA are not reused."""
        self.mapper.stream_maps.pop(stream, None)
        try:
            self.mapper.register_raw_stream_schema(stream, schema, [])
        except (StreamMapConfigError, MapExpressionError, NotImplementedError) as error:
            raise ConfigurationError(f"stream_maps, for stream {stream!r}: {error}") from None
        except Exception as error:  # noqa: BLE001  an alias is an expression, and may raise anything
            raise ConfigurationError(
                f"stream_maps, for stream {stream!r}: an alias or an expression in it is wrong "
                f"({type(error).__name__})"
            ) from None
        return self.mapper.stream_maps.pop(stream)

    def _mapped(
        self,
        stream_map: CustomStreamMap,
        name: str,
        source: SourceStream,
        schema: dict[str, Any],
        properties: Mapping[str, Any],
    ) -> MappedStream:
        """The stream that a map makes; it keeps the keys, whatever the map removes.

        Raises:
            ConfigurationError: the map removes a key.
            SchemaError: neither the stream nor the map lists a property.
        """
        definition = self._definitions[name]
        alias: Any = stream_map.stream_alias
        if not (isinstance(alias, str) and alias):
            raise ConfigurationError(
                f"stream_maps, for stream {source.stream!r}: "
                f"`{name}.__alias__` does not give a name"
            )
        keys = _keys(definition, source)
        stream_map.transformed_key_properties = keys
        mapped = stream_map.transformed_schema
        expressions = {
            new: expression
            for new, expression in definition.items()
            if isinstance(expression, str) and not new.startswith("__")
        }
        # An expression that is just a name keeps that property's column. The mapper would use the
        # column of the new name, if there is one, or none if the old name was removed before.
        renamed = {
            new: properties.get(expression, {})
            for new, expression in expressions.items()
            if is_property(expression)
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
            alias,
            {**references, **mapped, "properties": columns},
            keys,
            compile_transform(stream_map, name, source.stream),
            is_named="__alias__" in definition or alias != source.stream,
            expressions=frozenset(expressions.keys() - renamed.keys()),
        )

    def _definitions_for(self, stream: str) -> dict[str, Any]:
        """The maps that are for a stream; the SDK's mapper chooses them in the same way."""
        return {
            name: self._definitions[name]
            for name, source in self._sources.items()
            if stream == source or fnmatch.fnmatch(stream, source)
        }


def _is_copy(definition: object) -> bool:
    """Whether a map makes a copy of another stream."""
    return isinstance(definition, dict) and "__source__" in definition


def _in_their_order(definitions: Mapping[str, Any]) -> list[str]:
    """The names of a stream's maps in the order of the SDK's mapper.

    The map of the stream itself is the first, the last one if there are several; then the copies.
    """
    copies = [name for name, definition in definitions.items() if _is_copy(definition)]
    # The SDK's default has no definition.
    own = [name for name in definitions if name not in copies][-1:] or [""]
    return [*own, *copies]


def _keys(definition: Mapping[str, Any], source: SourceStream) -> list[str]:
    """The keys that a map chooses, or the tap's.

    Raises:
        ConfigurationError: the map removes one of them.
    """
    keys = list(definition.get(_KEYS, source.key_properties) or ())
    for key in keys:
        if key in definition and definition[key] in REMOVE:
            raise ConfigurationError(
                f"stream_maps, for stream {source.stream!r}: {key!r} is a key property and cannot "
                "be removed; choose other keys in `__key_properties__`, or none with null"
            )
    return keys
