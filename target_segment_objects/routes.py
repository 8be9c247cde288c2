"""The ways of a stream's records: straight to a sink, or through the SDK's stream maps to several.

The rule that it guards: the SDK's settings work before the plan sees a record, and a stream that
needs none of them never meets them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from singer_sdk.exceptions import MapExpressionError, StreamMapConfigError
from singer_sdk.mapper import SameRecordTransform, StreamMap

from target_segment_objects.compiled import CompiledStream, compile_stream
from target_segment_objects.errors import ConfigurationError, SchemaError
from target_segment_objects.forms import Form, Forms
from target_segment_objects.mapped import to_python
from target_segment_objects.origins import Origin
from target_segment_objects.records import parse_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from singer_sdk import Target

    from target_segment_objects.origins import Source
    from target_segment_objects.plan import Encoded
    from target_segment_objects.reader import Message
    from target_segment_objects.report import Report
    from target_segment_objects.settings import Settings
    from target_segment_objects.sink import SegmentObjectsSink

    _Way = tuple[StreamMap | None, str, dict[str, Any], Sequence[str] | None]

__all__ = ["Route", "Routes"]


class Route(NamedTuple):
    """One way of a stream's records.

    Attributes:
        stream_map: what changes or filters records; `None` when nothing does.
        sink: holds the plan.
    """

    stream_map: StreamMap | None
    sink: SegmentObjectsSink

    @property
    def is_straight(self) -> bool:
        """Whether nothing of the SDK's touches the records."""
        return self.stream_map is None and not self.sink.include_sdc_metadata_properties

    def encode(self, origin: Origin, message: Message) -> Encoded | None:
        """The record's object; `None` when a stream map filters it out.

        Raises:
            RejectedRecordError: with every fault of the record.
            ConfigurationError: when an expression of a stream map fails.
        """
        if self.is_straight:
            return self.sink.encode(origin.raw)
        record = to_python(parse_record(origin.raw))
        if self.stream_map is not None:
            record = _mapped(self.stream_map, record, origin)
            if record is None:
                return None
        extras = {"time_extracted": message.time_extracted, "version": message.version}
        return self.sink.encode_mapped(record, origin.raw, extras)


class Routes:
    """The routes of all streams.

    Args:
        target: makes sinks, and has the SDK's mapper.
        settings: which of the SDK's features are on.
        report: takes warnings.
    """

    def __init__(self, target: Target, settings: Settings, report: Report) -> None:
        self._target = target
        self._settings = settings
        self._report = report
        self._of: dict[str, tuple[Source, list[Route]]] = {}
        self._streams: dict[str, str] = {}
        self._compiled: dict[str, CompiledStream] = {}
        self._forms = Forms()

    def of(self, stream: str) -> tuple[Source, list[Route]] | None:
        """What a stream's last SCHEMA said, and its routes; `None` before the first SCHEMA.

        There are no routes when stream maps remove the stream.
        """
        return self._of.get(stream)

    def plan(self, source: Source, schema: dict[str, Any]) -> None:
        """Plan a stream anew.

        Raises:
            SchemaError: when the schema cannot be planned.
            ConfigurationError: when stream maps do not fit the stream.
        """
        self._set_aside(source.stream)
        try:
            routes = [
                Route(stream_map, self._add_sink(name, planned, keys))
                for stream_map, name, planned, keys in self._ways(source, schema)
            ]
        except (StreamMapConfigError, MapExpressionError, NotImplementedError) as error:
            raise ConfigurationError(
                f"stream_maps, for stream {source.stream!r}: {error}"
            ) from None
        self._of[source.stream] = source, routes
        self._compile(source.stream)

    def resume(self, source: Source) -> bool:
        """Let a stream go back to what it was planned as before; whether that is known still."""
        form = self._forms.take(source)
        if form is None:
            return False
        self._set_aside(source.stream)
        self._of[source.stream] = form.source, form.routes
        if form.compiled is not None:
            self._compiled[source.stream] = form.compiled
        return True

    def _set_aside(self, stream: str) -> None:
        known, compiled = self._of.pop(stream, None), self._compiled.pop(stream, None)
        if known is not None:
            self._forms.put(Form(*known, compiled))

    def compiled(self, stream: str) -> CompiledStream | None:
        """The fast path of a stream, if it has one."""
        return self._compiled.get(stream)

    def widen(self, stream: str, notes: Iterable[tuple[str, str]]) -> bool:
        """Give a stream that has shown a long string a fast path that takes such; whether so."""
        compiled = self._compiled.get(stream)
        if compiled is None or compiled.roomy:
            return False
        if all(code != "long_string" for code, _ in notes):
            return False
        self._compile(stream, roomy=True)
        return True

    def origin(self, compiled: CompiledStream, message: bytes, line: int) -> Origin:
        """Where an object of a fast path comes from."""
        source, _ = self._of[compiled.plan.stream]
        return Origin(source, message, line, is_message=True)

    def _compile(self, stream: str, *, roomy: bool = False) -> None:
        """A stream that goes one way, and straight, may have a fast path."""
        self._compiled.pop(stream, None)
        _, routes = self._of[stream]
        if len(routes) == 1 and routes[0].is_straight:
            sink = routes[0].sink
            compiled = compile_stream(
                sink.plan,
                max_depth=self._settings.reader_options.max_depth,
                roomy=roomy,
                is_valid=sink.is_valid,
            )
            if compiled is not None:
                self._compiled[stream] = compiled

    def _ways(self, source: Source, schema: dict[str, Any]) -> Iterator[_Way]:
        """Each stream that comes out of the stream maps."""
        straight = None, source.stream, schema, source.key_properties
        if not (self._settings.stream_maps or self._settings.flattening_enabled):
            yield straight
            return
        self._register(source, schema)
        for stream_map in self._target.mapper.stream_maps[source.stream]:
            same = isinstance(stream_map, SameRecordTransform)
            if same and not self._settings.flattening_enabled:
                yield straight
            else:
                yield (
                    stream_map,
                    stream_map.stream_alias,
                    stream_map.transformed_schema,
                    stream_map.transformed_key_properties,
                )

    def _register(self, source: Source, schema: dict[str, Any]) -> None:
        try:
            self._target.mapper.register_raw_stream_schema(
                source.stream, schema, source.key_properties
            )
        except (KeyError, TypeError, AttributeError) as error:
            # The SDK reads schemas less leniently than the plan: `true` for a property, no
            # `properties`.
            raise SchemaError(
                f"the SCHEMA of stream {source.stream!r} is one that the SDK's stream maps and "
                f"flattening cannot read ({type(error).__name__}); mend it in the tap, or do "
                "without `stream_maps` and `flattening_enabled`"
            ) from None

    def _add_sink(
        self, name: str, schema: dict[str, Any], keys: Sequence[str] | None
    ) -> SegmentObjectsSink:
        made = self._target.add_sink(name, schema, list(keys) if keys else [])
        sink = cast("SegmentObjectsSink", made)
        self._claim(sink)
        self._report.tally.way(name, sink.plan.collection)
        for warning in sink.plan.warnings:
            self._report.warn(warning)
        return sink

    def _claim(self, sink: SegmentObjectsSink) -> None:
        """Two streams of one collection overwrite each other, unless the user has mapped both."""
        collection, name = sink.plan.collection, sink.stream_name
        other = self._streams.setdefault(collection, name)
        mapped = self._settings.collections
        if other != name and not (name in mapped and other in mapped):
            raise SchemaError(
                f"streams {other!r} and {name!r} would both be the collection {collection!r}; "
                "name the collection of one of them, or of both if they belong together, "
                "with `collections`"
            )


def _mapped(stream_map: StreamMap, record: dict[str, Any], origin: Origin) -> dict[str, Any] | None:
    """What the map makes of a record; `None` when it filters the record out."""
    try:
        return stream_map.transform(record)
    except MapExpressionError as error:
        why = f"{error} {error.__cause__ or ''}".rstrip()
    except Exception as error:  # noqa: BLE001  the user's expression may raise anything
        # Its kind alone: the text may hold a value of the record.
        why = f"an expression failed with {type(error).__name__}"
    raise ConfigurationError(
        f"stream_maps, for stream {origin.source.stream!r}, at line {origin.line}: {why}"
    )
