"""The SDK's stream maps: which streams come out of one, with which schema and keys, and how.

The rule that it guards: what no map touches is as if there were no maps. The SDK's mapper reads
schemas less leniently than the plan does, so it is given one that it can read, with the same
columns; and an expression that fails on a record is that record's fault, not the run's end.
"""

from __future__ import annotations

import ast
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

from target_segment_objects.errors import ConfigurationError, RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.plan import read_columns, resolved_schema
from target_segment_objects.singer.sdk_values import is_value

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from singer_sdk.mapper import StreamMap

    from target_segment_objects.settings import Settings
    from target_segment_objects.source import SourceStream

    Record = dict[str, Any]
    Transform = Callable[[Record], "Record | None"]

__all__ = ["MappedStream", "StreamMaps"]

_NULLS: Final = (None, "__NULL__")
"""What removes a property, a stream, or all that is not named."""
_FILTER: Final = "__filter__"
_SHOWN: Final = 60
_NO_PROPERTIES: Final = frozenset(
    {"_", "record", "self", "config", "fake", "None", "True", "False"}
    | {"__stream_name__", "__original_stream_name__"}
    | {"md5", "sha256", "datetime", "bool", "json", "int", "float", "str", "rand", "randint"}
)
"""Names that mean something else in an expression."""
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
        for name, each in definitions.items():
            _check(name, each)
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

    def streams(self, source: SourceStream, schema: dict[str, Any]) -> list[MappedStream]:
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
        stays = self.mapper.default_mapper_type is SameRecordTransform
        if not own and stays:
            return [straight]
        names = _in_their_order(own)
        if len(names) == 1 and (own[names[0]] in _NULLS if own else not stays):
            return []  # whatever its schema is
        read_columns(schema, stream=source.stream, has_keys=True)  # refuses what is not sound
        readable = resolved_schema(schema, stream=source.stream)
        streams = [
            self._mapped(stream_map, name, source, schema, readable["properties"])
            if isinstance(stream_map, CustomStreamMap)
            else straight
            for stream_map, name in zip(self._made(source.stream, readable), names, strict=True)
            if not isinstance(stream_map, RemoveRecordTransform)
        ]
        for mapped, count in Counter(mapped.name for mapped in streams).items():
            if count > 1:
                raise ConfigurationError(
                    f"stream_maps, for stream {source.stream!r}: {count} streams come out of it "
                    f"that are called {mapped!r}, and one would overwrite the other; give them "
                    "different names"
                )
        return streams

    def overridden(self, stream: str) -> list[tuple[str, str]]:
        """The definitions of a stream that another one takes the place of, and that one."""
        own = [
            name
            for name, definition in self._definitions.items()
            if self._applies(name, stream)
            and not (isinstance(definition, dict) and "__source__" in definition)
        ]
        return [(name, own[-1]) for name in own[:-1]]

    def _made(self, stream: str, schema: dict[str, Any]) -> list[StreamMap]:
        """The mapper's maps of a stream, of its own: an older SCHEMA's are not used again."""
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
        """The stream that comes out of a map; keys stay, whatever else it leaves out.

        Raises:
            ConfigurationError: when the map removes a key.
            SchemaError: when neither the stream nor the map lists any property.
        """
        definition = self._definitions[name]
        alias: Any = stream_map.stream_alias
        if not (isinstance(alias, str) and alias):
            raise ConfigurationError(
                f"stream_maps, for stream {source.stream!r}: `{name}.__alias__` gives no name"
            )
        keys = _keys(definition, source)
        stream_map.transformed_key_properties = keys
        mapped = stream_map.transformed_schema
        # A name alone passes a property on, with its column. The mapper gives it that of the new
        # name, if there is one, or none if the old name was dropped a line above.
        renamed = {
            new: properties.get(expression, {})
            for new, expression in definition.items()
            if isinstance(expression, str) and not new.startswith("__") and _is_property(expression)
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
                if not made.startswith("__")
                and isinstance(expression, str)
                and not (expression in _NULLS or _is_property(expression))
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


def _keys(definition: Mapping[str, Any], source: SourceStream) -> list[str]:
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
            value = evaluate(record=record, property_name=property_name, **expression)
        except Exception as error:  # noqa: BLE001  the user's expression may raise anything
            raise _failure(error, definition, property_name or _FILTER, stream) from None
        if property_name is not None and not is_value(value):
            raise _fault(definition, property_name, "no value", type(value).__name__)
        return value

    stream_map._eval = watched  # type: ignore[assignment,method-assign]  # noqa: SLF001
    return stream_map._transform_fn  # noqa: SLF001  `transform` takes an empty record for none


def _failure(
    error: Exception, definition: str, name: str, stream: str
) -> ConfigurationError | RejectedRecordError:
    """What an expression's error means. Its text may hold a value of the record: never shown."""
    cause = error.__cause__ if isinstance(error, MapExpressionError) else error
    kind = type(cause).__name__  # of simpleeval, which is the SDK's own choice
    name_of = getattr(cause, "name", None) if kind == "NameNotDefined" else None
    wrong = ""
    if kind == "FunctionNotDefined":
        wrong = (
            f"there is no function {getattr(cause, 'func_name', '')!r}; there are `md5`, `sha256`, "
            "`float`, `int`, `str` and `bool`, and the methods of values, like `name.upper()`"
        )
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
    if name_of is not None:
        return _fault(definition, name, "missing", name_of)
    return _fault(definition, name, "error", kind)


def _fault(definition: str, name: str, case: str, detail: str) -> RejectedRecordError:
    details = (f"{definition}.{name}", detail)
    return RejectedRecordError([Fault((name,), FaultCode.EXPRESSION, case, details)])


def _check(name: str, definition: object) -> None:
    """Each expression of a definition is one.

    Raises:
        ConfigurationError: when one is not.
    """
    for made, expression in definition.items() if isinstance(definition, dict) else ():
        is_option = made.startswith("__") and made != _FILTER
        if isinstance(expression, str) and expression not in _NULLS and not is_option:
            try:
                ast.parse(expression.strip(), mode="eval")
            except (SyntaxError, ValueError):
                raise ConfigurationError(
                    f"stream_maps: `{name}.{made}` is no expression: {expression[:_SHOWN]!r}"
                ) from None


def _is_property(expression: str) -> bool:
    """Whether an expression is the name of a property alone."""
    return expression.isidentifier() and expression not in _NO_PROPERTIES
