"""The routes of a stream's records: to a sink, directly or through the SDK's stream maps.

Invariant: the SDK's settings apply before the plan sees a record, and a stream that needs none of
them bypasses the SDK.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from target_segment_objects.errors import SchemaError
from target_segment_objects.fastpath import BlockEncoder, CompiledStream, compile_stream
from target_segment_objects.plan import parse_record
from target_segment_objects.singer.schema_message import parse_schema
from target_segment_objects.singer.sdk_values import to_sdk_values
from target_segment_objects.singer.stream_cache import PlannedStream, StreamCache
from target_segment_objects.source import SourceRecord

if TYPE_CHECKING:
    from singer_sdk import Target

    from target_segment_objects.plan import Conversions, EncodedRecord
    from target_segment_objects.reporting import Report
    from target_segment_objects.settings import Settings
    from target_segment_objects.singer.expressions import Transform
    from target_segment_objects.singer.sinks import SegmentObjectsSink
    from target_segment_objects.singer.stream_maps import MappedStream, StreamMaps
    from target_segment_objects.source import SourceStream

__all__ = ["Route", "Routes"]

_STREAMS_SHOWN: Final = 5


class Route(NamedTuple):
    """One of the routes of a stream's records.

    Attributes:
        transform: changes or filters records; `None` when no map applies.
        sink: holds the plan.
    """

    transform: Transform | None
    sink: SegmentObjectsSink

    @property
    def bypasses_sdk(self) -> bool:
        """Whether no code of the SDK changes the records."""
        return self.transform is None and not self.sink.include_sdc_metadata_properties

    def map_and_encode(self, record: SourceRecord) -> EncodedRecord | None:
        """Return the record's object; `None` when a stream map filters it out.

        Raises:
            RejectedRecordError: with every fault of the record.
            ConfigurationError: an expression of a stream map is wrong for any record.
        """
        if self.bypasses_sdk:
            return self.sink.encode(record)
        mapped = to_sdk_values(parse_record(record.raw))
        if self.transform is not None:
            mapped = self.transform(mapped)
        return None if mapped is None else self.sink.encode(record, mapped)


class Routes:
    """The routes of all streams.

    Args:
        target: makes sinks.
        settings: the validated settings.
        maps: the stream maps.
        report: takes warnings.

    Attributes:
        block_encoder: the fast path, which knows the compiled streams.
    """

    def __init__(
        self, target: Target, settings: Settings, maps: StreamMaps, report: Report
    ) -> None:
        self.block_encoder = BlockEncoder(settings.reader_options.max_depth)
        self._target = target
        self._settings = settings
        self._report = report
        self._maps = maps
        self._streams: dict[str, PlannedStream] = {}
        self._claims: dict[str, dict[tuple[str, str], bool]] = {}
        self._cache = StreamCache()

    def for_stream(self, stream: str) -> PlannedStream | None:
        """Return a stream's last SCHEMA with its routes; `None` before the first SCHEMA.

        There are no routes when stream maps remove the stream.
        """
        return self._streams.get(stream)

    def update(self, source: SourceStream, line: int) -> None:
        """Plan a stream, unless its SCHEMA has not changed, or its plan is still in the cache.

        Args:
            source: the stream as its SCHEMA message has it.
            line: the message's line.

        Raises:
            MessageError: the schema is not a JSON object.
            SchemaError: the schema cannot be planned.
            ConfigurationError: stream maps do not fit the stream.
        """
        stream = source.stream
        current = self._streams.get(stream)
        if current is not None and current.source == source:
            return
        planned = self._cache.take(source)
        if current is not None:
            self._cache.put(self._streams.pop(stream))
        if planned is None:
            try:
                planned = self._plan(source, parse_schema(source, line))
            except SchemaError as error:
                raise SchemaError(error.sentence, line=line) from None
        self._set(planned)

    def drop(self, stream: str) -> None:
        """Drop the routes of a stream, because its new SCHEMA is wrong."""
        self._streams.pop(stream, None)
        self.block_encoder.set_stream(stream, None)

    def allow_long_strings(self, stream: str, conversions: Conversions) -> None:
        """Let the fast path of a stream take long strings, once a record has shown one."""
        if any(code == "long_string" for code, _ in conversions):
            planned = self._streams[stream]
            if planned.compiled is not None and not planned.compiled.allow_long_strings:
                long = self._compile(planned.routes, allow_long_strings=True)
                self._set(planned._replace(compiled=long))

    def source_record(self, compiled: CompiledStream, message: bytes, line: int) -> SourceRecord:
        """Return the record of an object of the fast path."""
        source = self._streams[compiled.plan.stream].source
        return SourceRecord(source, message, line, holds_whole_message=True)

    def warn_of_unused_names(self) -> None:
        """Warn of streams that the settings name and the tap has not sent.

        A misspelled name matters: values that were to be hashed have been sent unchanged.
        """
        sources = list(self._streams)
        if not sources:
            return
        names = {name for claims in self._claims.values() for _, name in claims}
        for stream in self._maps.unused:
            self._report.warn(
                f"stream_maps: no stream is called {stream!r}, so its maps had no effect"
                f"{_nearest(stream, sources)}",
                "unused name in stream_maps",
            )
        for stream in self._settings.collections:
            if stream not in names:
                renamed = stream in sources
                why = ", since `stream_maps` rename or remove it" if renamed else ""
                self._report.warn(
                    f"collections: no stream is called {stream!r}{why}, so the entry had no effect"
                    f"{'' if renamed else _nearest(stream, sorted(names))}",
                    "unused name in collections",
                )

    def _set(self, planned: PlannedStream) -> None:
        stream = planned.source.stream
        self._streams[stream] = planned
        self.block_encoder.set_stream(stream, planned.compiled)

    def _plan(self, source: SourceStream, schema: dict[str, Any]) -> PlannedStream:
        """Create the routes of a stream, and its fast path; errors as in `update`."""
        for name, other in self._maps.overridden(source.stream):
            self._report.warn(
                f"stream_maps: {name!r} has no effect on stream {source.stream!r}, since {other!r} "
                f"comes after it and matches that stream too: put {name!r} last",
                "overridden stream map",
            )
        routes = []
        for mapped in self._maps.streams(source, schema):
            keys = list(mapped.key_properties or ())
            added = self._target.add_sink(mapped.name, mapped.schema, keys)
            sink = cast("SegmentObjectsSink", added)
            self._claim_collection(source, mapped, sink.plan.collection)
            self._report.add_plan(sink.plan, mapped.expressions)
            if self._settings.validate_records:
                sink.validate_by(schema, source.stream)
            routes.append(Route(mapped.transform, sink))
        return PlannedStream(source, routes, self._compile(routes))

    def _compile(
        self, routes: list[Route], *, allow_long_strings: bool = False
    ) -> CompiledStream | None:
        """The fast path of a stream with one route that bypasses the SDK, if it can have one."""
        if len(routes) != 1 or not routes[0].bypasses_sdk:
            return None
        sink = routes[0].sink
        return compile_stream(
            sink.plan,
            max_depth=self._settings.reader_options.max_depth,
            allow_long_strings=allow_long_strings,
            is_valid=sink.is_surely_valid,
        )

    def _claim_collection(
        self, source: SourceStream, mapped: MappedStream, collection: str
    ) -> None:
        """Refuse two streams of one collection, unless the user has mapped both.

        Raises:
            SchemaError: one of them would overwrite the other.
        """
        name, collections = mapped.name, self._settings.collections
        is_meant = mapped.is_named or name in collections
        claims = self._claims.setdefault(collection, {})
        claims[source.stream, name] = is_meant
        for (other_source, other), other_is_meant in claims.items():
            if (other_source, other) == (source.stream, name) or (
                (is_meant and other_is_meant)
                and (other == name or (other in collections and name in collections))
            ):
                continue
            raise SchemaError(
                f"streams {_named(other_source, other)} and {_named(source.stream, name)} would "
                f"both be the collection {collection!r}, and one would overwrite the other; name "
                "the collection of one of them, or of both if they belong together, with "
                "`collections`, or rename them with `__alias__` in `stream_maps`"
            )


def _nearest(name: str, known: list[str]) -> str:
    """The name that is probably meant, for the end of a sentence, whatever its case."""
    folded = {stream.casefold(): stream for stream in known}
    similar = difflib.get_close_matches(name.casefold(), folded, n=1)
    if not similar:
        return f"; the tap sent {', '.join(map(repr, known[:_STREAMS_SHOWN]))}"
    return f"; did you mean {folded[similar[0]]!r}?"


def _named(source: str, name: str) -> str:
    return repr(source) if name == source else f"{source!r} (mapped to {name!r})"
