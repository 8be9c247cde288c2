"""The ways of a stream's records: straight to a sink, or through the SDK's stream maps to several.

The rule that it guards: the SDK's settings work before the plan sees a record, and a stream that
needs none of them never meets them.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from target_segment_objects.errors import SchemaError
from target_segment_objects.fastpath import CompiledStream, compile_stream
from target_segment_objects.plan import parse_record
from target_segment_objects.singer.sdk_values import to_sdk_values
from target_segment_objects.singer.stream_cache import PlannedStream, StreamCache
from target_segment_objects.source import SourceRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from singer_sdk import Target

    from target_segment_objects.input import Message
    from target_segment_objects.plan import EncodedRecord
    from target_segment_objects.reporting import Report
    from target_segment_objects.settings import Settings
    from target_segment_objects.singer.sinks import SegmentObjectsSink
    from target_segment_objects.singer.stream_maps import MappedStream, StreamMaps, Transform
    from target_segment_objects.source import SourceStream

__all__ = ["Route", "Routes"]

_STREAMS_SHOWN: Final = 5


class Route(NamedTuple):
    """One way of a stream's records.

    Attributes:
        transform: what changes or filters records; `None` when nothing does.
        sink: holds the plan.
    """

    transform: Transform | None
    sink: SegmentObjectsSink

    @property
    def bypasses_sdk(self) -> bool:
        """Whether nothing of the SDK's touches the records."""
        return self.transform is None and not self.sink.include_sdc_metadata_properties

    def map_and_encode(self, origin: SourceRecord, message: Message) -> EncodedRecord | None:
        """The record's object; `None` when a stream map filters it out.

        Raises:
            RejectedRecordError: with every fault of the record.
            ConfigurationError: when an expression of a stream map is wrong for any record.
        """
        if self.bypasses_sdk:
            return self.sink.validate_and_encode(origin.raw)
        record = to_sdk_values(parse_record(origin.raw))
        if self.transform is not None:
            mapped = self.transform(record)
            if mapped is None:
                return None
            record = mapped
        extras = {"time_extracted": message.time_extracted, "version": message.version}
        return self.sink.encode_mapped(record, origin.raw, extras)


class Routes:
    """The routes of all streams.

    Args:
        target: makes sinks.
        settings: what was asked for.
        maps: the stream maps.
        report: takes warnings.
    """

    def __init__(
        self, target: Target, settings: Settings, maps: StreamMaps, report: Report
    ) -> None:
        self._target = target
        self._settings = settings
        self._report = report
        self._of: dict[str, tuple[SourceStream, list[Route]]] = {}
        self._maps = maps
        self._claims: dict[str, dict[tuple[str, str], bool]] = {}
        self._compiled: dict[str, CompiledStream] = {}
        self._cache = StreamCache()

    def for_stream(self, stream: str) -> tuple[SourceStream, list[Route]] | None:
        """What a stream's last SCHEMA said, and its routes; `None` before the first SCHEMA.

        There are no routes when stream maps remove the stream.
        """
        return self._of.get(stream)

    def plan(self, source: SourceStream, schema: dict[str, Any]) -> None:
        """Plan a stream anew.

        Raises:
            SchemaError: when the schema cannot be planned.
            ConfigurationError: when stream maps do not fit the stream.
        """
        self._move_to_cache(source.stream)
        for name, other in self._maps.overridden(source.stream):
            self._report.warn(
                f"stream_maps: {name!r} has no effect on stream {source.stream!r}, since {other!r} "
                f"stands below it and is for that stream, too: put {name!r} last",
                "overridden stream map",
            )
        routes = []
        for mapped in self._maps.streams(source, schema):
            sink = self._add_sink(source, mapped)
            if self._settings.validate_records:
                sink.validate_by(schema, source.stream)
            routes.append(Route(mapped.transform, sink))
        self._of[source.stream] = source, routes
        self._compile(source.stream)

    def resume(self, source: SourceStream) -> bool:
        """Let a stream go back to what it was planned as before; whether that is known still."""
        planned = self._cache.take(source)
        if planned is None:
            return False
        self._move_to_cache(source.stream)
        self._of[source.stream] = planned.source, planned.routes
        if planned.compiled is not None:
            self._compiled[source.stream] = planned.compiled
        return True

    def _move_to_cache(self, stream: str) -> None:
        known, compiled = self._of.pop(stream, None), self._compiled.pop(stream, None)
        if known is not None:
            self._cache.put(PlannedStream(*known, compiled))

    def drop_plan(self, stream: str) -> None:
        """Drop the routes of a stream whose new SCHEMA is wrong."""
        self._of.pop(stream, None)
        self._compiled.pop(stream, None)

    def warn_of_unused_names(self) -> None:
        """Warn of streams that the settings name and the tap has not sent.

        A slip there is worth a word: values that were to be hashed have gone out as they are.
        """
        sources = list(self._of)
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

    def compiled(self, stream: str) -> CompiledStream | None:
        """The fast path of a stream, if it has one."""
        return self._compiled.get(stream)

    def allow_long_strings(self, stream: str, notes: Iterable[tuple[str, str]]) -> bool:
        """Give a stream that has shown a long string a fast path that takes such; whether so."""
        compiled = self._compiled.get(stream)
        if compiled is None or compiled.allow_long_strings:
            return False
        if all(code != "long_string" for code, _ in notes):
            return False
        self._compile(stream, allow_long_strings=True)
        return True

    def origin(self, compiled: CompiledStream, message: bytes, line: int) -> SourceRecord:
        """Where an object of a fast path comes from."""
        source, _ = self._of[compiled.plan.stream]
        return SourceRecord(source, message, line, holds_whole_message=True)

    def _compile(self, stream: str, *, allow_long_strings: bool = False) -> None:
        """A stream that goes one way, and straight, may have a fast path."""
        self._compiled.pop(stream, None)
        _, routes = self._of[stream]
        if len(routes) == 1 and routes[0].bypasses_sdk:
            sink = routes[0].sink
            compiled = compile_stream(
                sink.plan,
                max_depth=self._settings.reader_options.max_depth,
                allow_long_strings=allow_long_strings,
                is_valid=sink.is_surely_valid,
            )
            if compiled is not None:
                self._compiled[stream] = compiled

    def _add_sink(self, source: SourceStream, mapped: MappedStream) -> SegmentObjectsSink:
        keys = list(mapped.key_properties or ())
        added = self._target.add_sink(mapped.name, mapped.schema, keys)
        sink = cast("SegmentObjectsSink", added)
        self._refuse_shared_collection(source, mapped, sink.plan.collection)
        self._report.add_plan(sink.plan, mapped.expressions)
        return sink

    def _refuse_shared_collection(
        self, source: SourceStream, mapped: MappedStream, collection: str
    ) -> None:
        """Two streams of one collection overwrite each other, unless the user has mapped both.

        Raises:
            SchemaError: when they were not.
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
    """What may be meant, for the end of a sentence; case and separators are often the slip."""
    folded = {stream.casefold(): stream for stream in known}
    found = difflib.get_close_matches(name.casefold(), folded, n=1)
    if not found:
        return f"; the tap sent {', '.join(map(repr, known[:_STREAMS_SHOWN]))}"
    return f"; did you mean {folded[found[0]]!r}?"


def _named(source: str, name: str) -> str:
    return repr(source) if name == source else f"{source!r} (mapped to {name!r})"
