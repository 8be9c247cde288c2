"""The SDK's Target: the only place that wires the rest.

Messages come from the reader; a SCHEMA makes routes, each a sink with its plan; a RECORD becomes
objects that go to the delivery; a STATE waits in the checkpoint until the delivery says that
everything before it is durable.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from singer_sdk import Target
from singer_sdk.exceptions import (
    MapExpressionError,
    MissingKeyPropertiesError,
    RecordsWithoutSchemaException,
    StreamMapConfigError,
)
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities
from singer_sdk.mapper import SameRecordTransform, StreamMap

from target_segment_objects.configuration import read_configuration
from target_segment_objects.errors import (
    ConfigurationError,
    Fault,
    MessageError,
    MissingSchemaError,
    RejectedRecordError,
    SchemaError,
    SegmentObjectsError,
)
from target_segment_objects.mapped import to_python
from target_segment_objects.origins import Origin, Source
from target_segment_objects.reader import Message, MessageReader
from target_segment_objects.records import parse_record
from target_segment_objects.report import Report
from target_segment_objects.run import Run
from target_segment_objects.settings import Settings, config_jsonschema
from target_segment_objects.shutdown import Shutdown
from target_segment_objects.sink import SegmentObjectsSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.objects import SegmentObject

__all__ = ["SegmentObjectsTarget", "main"]


class _MissingSchemaError(MissingSchemaError, RecordsWithoutSchemaException):
    """As the SDK's own test suite knows it."""


class _MissingKeyError(RejectedRecordError, MissingKeyPropertiesError):
    """As the SDK's own test suite knows it."""


class _Route(NamedTuple):
    """One way of a stream's records: through a stream map or straight, to a sink."""

    stream_map: StreamMap | None
    sink: SegmentObjectsSink


class SegmentObjectsTarget(Target):
    """Loads any tap's records into Segment as objects, by the set API or the bulk API."""

    name = "target-segment-objects"
    package_name = "target-segment-objects"
    default_sink_class = SegmentObjectsSink
    config_jsonschema = config_jsonschema()
    capabilities = [  # noqa: RUF012  as the SDK declares it
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
        TargetCapabilities.VALIDATE_RECORDS,
    ]

    # The environment is read by `configuration`; the SDK's log line about it should not deny that.
    _env_var_config: dict[str, Any] = {}  # noqa: RUF012

    settings: Settings

    def __init__(
        self,
        *,
        config: dict[str, Any] | None = None,
        parse_env_config: bool = False,
        validate_config: bool = True,
        setup_mapper: bool = True,
    ) -> None:
        environment = read_configuration(["ENV"], os.environ) if parse_env_config else {}
        self._schemas: dict[str, Source] = {}
        self._routes: dict[str, list[_Route]] = {}
        self._sources: dict[str, str] = {}
        self._report = Report(self.logger)
        super().__init__(
            config={**(config or {}), **environment},
            parse_env_config=True,
            validate_config=validate_config,
            setup_mapper=False,
        )
        if setup_mapper:
            self.setup_mapper()
        self.run = Run(self.settings, self._report, self.logger)
        self.message_reader = MessageReader(
            self.settings.reader_options,
            self.run.wake_up,
            between=self.run.between,
            unknown=self._process_unknown_message,
            failed=self.run.end_after,
        )

    # The SDK's configuration, with our own rules and messages.

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:  # noqa: ARG002
        """Every wrong setting is one error of ours, which never shows a secret."""
        self.settings = Settings.from_config(self._config, self.logger.warning)
        self._config = self.settings.for_sdk()
        return []

    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Nothing to add: every setting that works is declared in `settings`."""

    @classmethod
    def cb_config(cls, ctx: Any, param: Any, value: tuple[str, ...]) -> tuple[str, ...]:  # type: ignore[override]  # noqa: ARG003
        """The files of `--config`, read in `invoke`: `--about` has no need of them."""
        return value

    def setup_mapper(self) -> None:
        """Make the SDK's stream maps.

        Raises:
            ConfigurationError: when they are wrong.
        """
        try:
            super().setup_mapper()
        except (StreamMapConfigError, MapExpressionError) as error:
            raise ConfigurationError(f"stream_maps: {error}") from None

    # The way of a message.

    def _process_schema_message(self, message: Message) -> None:  # type: ignore[override]
        """Plan the stream, unless nothing has changed."""
        stream = _stream_of(message)
        if not isinstance(message.schema, msgspec.Raw):
            raise MessageError(
                f"the SCHEMA of stream {stream!r} has no `schema`", line=message.line
            )
        keys = message.key_properties
        source = Source(stream, bytes(message.schema), keys)
        if self._schemas.get(stream) == source:
            return
        if keys is not None and not (
            isinstance(keys, list) and all(isinstance(k, str) for k in keys)
        ):
            raise MessageError(
                f"the SCHEMA of stream {stream!r} has `key_properties` that are no list of names",
                line=message.line,
            )
        schema = _read_schema(source, message.line)
        try:
            self._routes[stream] = self._plan(stream, schema, keys)
        except (StreamMapConfigError, MapExpressionError, NotImplementedError) as error:
            raise ConfigurationError(f"stream_maps, for stream {stream!r}: {error}") from None
        self._schemas[stream] = source

    def _plan(self, stream: str, schema: dict[str, Any], keys: list[str] | None) -> list[_Route]:
        self._remember(self._routes.pop(stream, []))
        maps: list[StreamMap | None] = [None]
        if self.settings.stream_maps or self.settings.flattening_enabled:
            self._register(stream, schema, keys)
            maps = list(self.mapper.stream_maps[stream])
        routes = []
        for stream_map in maps:
            if stream_map is None or _changes_nothing(stream_map, self.settings):
                routes.append(_Route(None, self._add_sink(stream, schema, keys)))
            else:
                sink = self._add_sink(
                    stream_map.stream_alias,
                    stream_map.transformed_schema,
                    stream_map.transformed_key_properties,
                )
                routes.append(_Route(stream_map, sink))
        return routes

    def _register(self, stream: str, schema: dict[str, Any], keys: list[str] | None) -> None:
        try:
            self.mapper.register_raw_stream_schema(stream, schema, keys)
        except (KeyError, TypeError, AttributeError) as error:
            # The SDK reads schemas less leniently than the plan: `true` for a property, no
            # `properties`.
            raise SchemaError(
                f"the SCHEMA of stream {stream!r} is one that the SDK's stream maps and flattening "
                f"cannot read ({type(error).__name__}); mend it in the tap, or do without "
                "`stream_maps` and `flattening_enabled`"
            ) from None

    def _add_sink(
        self, name: str, schema: dict[str, Any], keys: Sequence[str] | None
    ) -> SegmentObjectsSink:
        made = self.add_sink(name, schema, list(keys) if keys else [])
        sink = cast("SegmentObjectsSink", made)
        self._claim(sink)
        for warning in sink.plan.warnings:
            self._report.warn(warning)
        return sink

    def _claim(self, sink: SegmentObjectsSink) -> None:
        """Two streams of one collection overwrite each other, unless the user has mapped both."""
        collection, name = sink.plan.collection, sink.stream_name
        other = self._sources.setdefault(collection, name)
        mapped = self.settings.collections
        if other != name and not (name in mapped and other in mapped):
            raise SchemaError(
                f"streams {other!r} and {name!r} would both be the collection {collection!r}; "
                "name the collection of one of them, or of both if they belong together, "
                "with `collections`"
            )

    def _process_record_message(self, message: Message) -> None:  # type: ignore[override]
        """Make the record's objects, and hand them to the delivery."""
        routes = self._routes_of(message)
        if not isinstance(message.record, msgspec.Raw):
            raise MessageError("a RECORD without a `record`", line=message.line)
        self.run.position += 1
        origin = Origin(self._schemas[_stream_of(message)], bytes(message.record), message.line)
        faults: list[Fault] = []
        for route in routes:
            try:
                made = self._encode(route, origin, message)
            except RejectedRecordError as rejected:
                faults += rejected.faults
                continue
            if made is not None:
                self._report.count(route.sink.stream_name, made.collection)
                self.run.put(made, origin)
        if faults:
            self.run.reject(_rejected(faults, origin), origin)

    def _encode(self, route: _Route, origin: Origin, message: Message) -> SegmentObject | None:
        """The record's object by one route; `None` when a stream map filters it out."""
        sink = route.sink
        if route.stream_map is None and not self.settings.add_record_metadata:
            return sink.encode(origin.raw)
        record = to_python(parse_record(origin.raw))
        if route.stream_map is not None:
            record = _mapped(route.stream_map, record, message)
            if record is None:
                return None
        extras = {"time_extracted": message.time_extracted, "version": message.version}
        return sink.encode_mapped(record, origin.raw, extras)

    def _process_state_message(self, message: Message) -> None:  # type: ignore[override]
        """Keep the state until all records before it are durable."""
        if not isinstance(message.value, msgspec.Raw):
            raise MessageError("a STATE without a `value`", line=message.line)
        self.run.state(bytes(message.value))

    def _process_activate_version_message(self, message: Message) -> None:  # type: ignore[override]
        """Nothing can be deleted by either API: say so once a stream."""
        self._routes_of(message)
        self._report.warn(
            f"stream {_stream_of(message)!r} sent ACTIVATE_VERSION, which asks to delete older "
            "rows; Segment has no delete, so they stay"
        )

    def _process_batch_message(self, message: Message) -> None:  # type: ignore[override]
        """Not supported yet."""
        self._routes_of(message)
        raise MessageError(
            "BATCH messages are not supported; turn batches off in the tap (`batch_config`), "
            "so that it sends RECORD messages",
            line=message.line,
        )

    def _process_unknown_message(self, message: Message) -> None:
        if self.settings.unknown_messages == "error":
            raise MessageError(
                "a message of an unknown type; set `unknown_messages` to `ignore` to pass over "
                "such messages",
                line=message.line,
            )
        self._report.warn(
            "the tap sends messages of a type that Singer does not know; they are ignored"
        )

    def _routes_of(self, message: Message) -> list[_Route]:
        stream = _stream_of(message)
        routes = self._routes.get(stream)
        if routes is None:
            raise _MissingSchemaError(
                f"a {message.type} of stream {stream!r} before its SCHEMA; check the tap",
                line=message.line,
            )
        return routes

    # Time, and the end.

    def process_endofpipe(self) -> None:
        """Deliver what was read, and print the last state. The SDK's sinks hold nothing."""
        try:
            self.run.finish()
        finally:
            self._summarize()

    def _summarize(self) -> None:
        for routes in self._routes.values():
            self._remember(routes)
        self._routes.clear()
        self._report.summarize()

    def _remember(self, routes: list[_Route]) -> None:
        for route in routes:
            self._report.remember(route.sink.stream_name, route.sink.plan.notes)

    # The command line.

    def _setup_signal_handlers(self) -> None:
        """Not in the constructor, as the SDK has it: a library leaves a program's signals alone."""

    @classmethod
    def invoke(  # type: ignore[override]
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: tuple[str, ...] = (),
        file_input: IO[str] | None = None,
    ) -> None:
        """Run the target from the command line."""
        if about:
            cls.print_about(about_format)
            return
        cls.print_version(print_fn=cls.logger.info)
        target = cls(config=read_configuration(config, os.environ, cls.logger.warning))
        run = target.run
        shutdown = Shutdown(run.wake_up.stop, run.expire, target.settings.shutdown_seconds)
        shutdown.install()
        try:
            target.listen(file_input)
        finally:
            # After a bug too: no session is left open.
            run.close()
            shutdown.close()
            target._summarize()
        if shutdown.exit_status is not None:
            sys.exit(shutdown.exit_status)


def main() -> None:
    """Run the command: a user's mistake is a sentence and exit 1, a bug a traceback."""
    try:
        SegmentObjectsTarget.cli()
    except SegmentObjectsError as error:
        SegmentObjectsTarget.logger.error("%s", error)
        _forget_output()
        sys.exit(1)


def _stream_of(message: Message) -> str:
    if not isinstance(message.stream, str):
        raise MessageError(f"a {message.type} without a `stream`", line=message.line)
    return message.stream


def _read_schema(source: Source, line: int) -> dict[str, Any]:
    try:
        schema = json.loads(source.schema)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        raise MessageError(f"the SCHEMA of stream {source.stream!r} is no JSON object", line=line)
    return schema


def _changes_nothing(stream_map: StreamMap, settings: Settings) -> bool:
    return isinstance(stream_map, SameRecordTransform) and not settings.flattening_enabled


def _mapped(
    stream_map: StreamMap, record: dict[str, Any], message: Message
) -> dict[str, Any] | None:
    """What the map makes of a record; `None` when it filters the record out."""
    try:
        return stream_map.transform(record)
    except MapExpressionError as error:
        why = f"{error} {error.__cause__ or ''}".rstrip()
    except Exception as error:  # noqa: BLE001  the user's expression may raise anything
        # Its kind alone: the text may hold a value of the record.
        why = f"an expression failed with {type(error).__name__}"
    raise ConfigurationError(
        f"stream_maps, for stream {message.stream!r}, at line {message.line}: {why}"
    )


def _rejected(faults: list[Fault], origin: Origin) -> RejectedRecordError:
    """The reject of a record; a missing key as the SDK's test suite knows it."""
    missing = any(fault.code == "key_missing" for fault in faults)
    kind = _MissingKeyError if missing else RejectedRecordError
    return kind(list(dict.fromkeys(faults)), stream=origin.source.stream, line=origin.line)


def _forget_output() -> None:
    """Give up what stdout does not take, of which Python would complain once more at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
