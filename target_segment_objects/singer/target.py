"""The SDK's Target: the only place that wires the rest.

Messages come from the reader; a SCHEMA makes routes, each a sink with its plan; a RECORD becomes
objects that go to the delivery; a STATE waits in the checkpoint until the delivery says that
everything before it is durable.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from singer_sdk import Target
from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities

from target_segment_objects.errors import (
    DeadLetterError,
    MessageError,
    MissingSchemaError,
    OutputError,
    RejectedRecordError,
    SchemaError,
    SegmentObjectsError,
    one_line,
)
from target_segment_objects.fastpath import BlockEncoder, LineBlock
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.input import Message, MessageReader
from target_segment_objects.reporting import Report, ReportFile, Terminal, document
from target_segment_objects.run import Run, SignalWatcher
from target_segment_objects.settings import Settings, config_jsonschema, read_configuration
from target_segment_objects.singer.metrics import Metrics
from target_segment_objects.singer.sinks import SegmentObjectsSink
from target_segment_objects.singer.stream_maps import StreamMaps
from target_segment_objects.singer.streams import Route, Routes
from target_segment_objects.source import SourceRecord, SourceStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from target_segment_objects.fastpath import BlockSegment
    from target_segment_objects.plan import EncodedRecord
    from target_segment_objects.reporting import StreamCounts

__all__ = ["TargetSegmentObjects", "main"]


_MESSAGE_TYPE: Final = re.compile(r"[A-Z][A-Z_]{0,29}")
_SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep others waiting: at Python's 5 ms the compressing thread starves."""


class _MissingSchemaError(MissingSchemaError, RecordsWithoutSchemaException):
    """As the SDK's own test suite knows it."""


class _MissingKeyError(RejectedRecordError, MissingKeyPropertiesError):
    """As the SDK's own test suite knows it."""


class TargetSegmentObjects(Target):
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

    def __init__(  # noqa: PLR0913
        self,
        *,
        config: dict[str, Any] | None = None,
        parse_env_config: bool = False,
        validate_config: bool = True,
        setup_mapper: bool = True,  # noqa: ARG002  the routes need it in any case
        report: Report | None = None,
        make_run: Callable[[Settings, Report, Logger], Run] = Run,
        on_line_error: Callable[[SegmentObjectsError, Message | None, int], None] | None = None,
    ) -> None:
        """Check the configuration, and prepare a run. Nothing is read or connected yet.

        Args:
            config: the settings.
            parse_env_config: whether to read settings from the environment too.
            validate_config: the SDK's; the configuration is always checked.
            setup_mapper: the SDK's; stream maps are always made.
            report: takes counts and warnings.
            make_run: makes the run that takes objects and states.
            on_line_error: see `MessageReader`. With it, no line takes the fast path, where an error
                is not that of one line.

        Raises:
            ConfigurationError: for a wrong setting.
        """
        environment = read_configuration(["ENV"], os.environ) if parse_env_config else {}
        self._report = report or Report(self.logger)
        super().__init__(
            config={**(config or {}), **environment},
            parse_env_config=True,
            validate_config=validate_config,
            setup_mapper=False,
        )
        self.setup_mapper()
        self._report.has_dead_letter = self.settings.dead_letter_path is not None
        self._report.tolerates_rejects = self.settings.max_rejects != 0
        path = self.settings.report_path
        self._report_file = ReportFile(path) if path is not None else None
        self._metrics = Metrics(self._report.counts)
        self._terminal = Terminal(self._report.counts)
        self._ended = False
        self._routes = Routes(self, self.settings, self.stream_maps, self._report)
        self.run = make_run(self.settings, self._report, self.logger)
        self.run.on_wait = self._metrics.tick
        self.message_reader = MessageReader(  # type: ignore[assignment]
            self.settings.reader_options,
            self.run.wake_up,
            before_wait=self._between,
            on_unknown=self._process_unknown_message,
            on_error=self.run.commit_after,
            process_block=self._process_block if on_line_error is None else None,
            on_line_error=on_line_error,
        )
        self._block_encoder = BlockEncoder(self.settings.reader_options.max_depth)

    # The SDK's configuration, with our own rules and messages.

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:  # noqa: ARG002
        """Every wrong setting is one error of ours, which never shows a secret."""
        self.settings = Settings.from_config(self._config, self._report.warn)
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
        self.stream_maps = StreamMaps(self.settings, self.logger)
        self.mapper = self.stream_maps.mapper

    # The way of many records at once.

    def _process_block(
        self,
        first: int,
        block: bytes,
        lines: list[bytes],
        process_as_message: Callable[[int], None],
    ) -> None:
        """Process a block, whose first line has this number, a segment after the other."""
        self._report.counts.input_arrived()
        line_block = LineBlock(block, lines)
        index = 0
        while index < len(lines):  # what a line does may change the streams, and so the rest
            for segment in self._block_encoder.encode(line_block, index):
                if self.run.is_cut_short:
                    return
                if segment.is_fallback:
                    process_as_message(segment.first)
                else:
                    self._deliver(segment, lines, first)
                index = segment.end

    def _deliver(self, segment: BlockSegment, lines: list[bytes], first_line: int) -> None:
        """Count a segment's records, and hand its objects to the delivery."""
        streams = segment.streams
        for stream, notes in segment.conversions:
            self._report.add_conversions(stream.plan.stream, stream.plan.collection, notes)

        def source_at(index: int) -> SourceRecord:
            line = segment.first + index
            return self._routes.origin(streams[index], lines[line], first_line + line)

        taken = len(streams)
        try:
            taken = self.run.put_block(segment.objects, source_at)
        finally:
            for stream, records in Counter(streams[:taken]).items():
                plan = stream.plan
                if self._report.count_objects(plan.stream, plan.collection, records):
                    example = segment.objects[streams.index(stream)].encoded()
                    self._report.measure_nulls(plan.stream, example.properties)

    # The way of a message.

    def _process_schema_message(self, message: Message) -> None:  # type: ignore[override]
        """Plan the stream, unless nothing has changed."""
        stream = _stream_of(message)
        try:
            self._plan(stream, message)
        except SegmentObjectsError:
            self._routes.drop_plan(stream)
            raise

    def _plan(self, stream: str, message: Message) -> None:
        if not isinstance(message.schema, msgspec.Raw):
            raise MessageError(
                f"the SCHEMA of stream {stream!r} has no `schema`", line=message.line
            )
        keys = message.key_properties
        source = SourceStream(stream, bytes(message.schema), keys)
        known = self._routes.for_stream(stream)
        if known is not None and known[0] == source:
            return
        if not _is_unicode(stream):
            raise MessageError(
                "a SCHEMA whose `stream` holds a lone surrogate or bytes that are not UTF-8",
                line=message.line,
            )
        if keys is not None and not (isinstance(keys, list) and all(map(_is_unicode, keys))):
            raise MessageError(
                f"the SCHEMA of stream {stream!r} has `key_properties` that are no list of names",
                line=message.line,
            )
        if not self._routes.resume(source):
            try:
                self._routes.plan(source, _read_schema(source, message.line))
            except SchemaError as error:
                raise SchemaError(f"line {message.line}: {error}") from None
        self._block_encoder.set_stream(stream, self._routes.compiled(stream))

    def _process_record_message(self, message: Message) -> None:  # type: ignore[override]
        """Make the record's objects, and hand them to the delivery."""
        source, routes = self._source_and_routes(message)
        if not isinstance(message.record, msgspec.Raw):
            raise MessageError("a RECORD without a `record`", line=message.line)
        self.run.position += 1
        origin = SourceRecord(
            source,
            bytes(message.record),
            message.line,
            time_extracted=message.time_extracted,
            version=message.version,
        )
        objects, faults = self._objects(routes, origin, message)
        if faults:  # nothing of a faulty record is sent
            for route, _ in objects:
                self._counts_of(route).rejected += 1
            self.run.reject(_rejected(faults, origin), origin)
            return
        if not objects:
            self._report.filter(origin, is_removed=not routes)
        noted: set[tuple[str, str]] = set()
        for route, encoded in objects:
            self._report.encoded(route.sink.plan, encoded, origin)
            noted.update(encoded.conversions)
            self.run.put(encoded.object, origin)
        if noted and self._routes.allow_long_strings(source.stream, noted):
            self._block_encoder.set_stream(source.stream, self._routes.compiled(source.stream))

    def _objects(
        self, routes: list[Route], origin: SourceRecord, message: Message
    ) -> tuple[list[tuple[Route, EncodedRecord]], list[Fault]]:
        """The objects of a record, one for each route that has one, and all of its faults."""
        objects: list[tuple[Route, EncodedRecord]] = []
        faults: list[Fault] = []
        for route in routes:
            try:
                encoded = route.map_and_encode(origin, message)
            except RejectedRecordError as rejected:
                faults += rejected.faults
                self._counts_of(route).rejected += 1
                continue
            if encoded is None:
                self._counts_of(route).filtered += 1
            else:
                objects.append((route, encoded))
        return objects, faults

    def _counts_of(self, route: Route) -> StreamCounts:
        return self._report.counts.stream(route.sink.stream_name, route.sink.plan.collection)

    def _process_state_message(self, message: Message) -> None:  # type: ignore[override]
        """Keep the state until all records before it are durable."""
        if not isinstance(message.value, msgspec.Raw):
            raise MessageError("a STATE without a `value`", line=message.line)
        self.run.state(bytes(message.value))

    def _process_activate_version_message(self, message: Message) -> None:  # type: ignore[override]
        """Nothing can be deleted by either API: say so once a stream, known or not yet."""
        self._report.warn(
            f"stream {_stream_of(message)!r} sent ACTIVATE_VERSION, which asks to delete older "
            "rows; Segment has no delete, so they stay: delete them in the warehouse if need be",
            "activate version",
        )

    def _process_batch_message(self, message: Message) -> None:  # type: ignore[override]
        """Not supported yet."""
        self._source_and_routes(message)
        raise MessageError(
            "BATCH messages are not supported; turn batches off in the tap (`batch_config`), "
            "so that it sends RECORD messages",
            line=message.line,
        )

    def _process_unknown_message(self, message: Message) -> None:
        # What may be a secret in the wrong place is not shown.
        kind = f" {message.type}" if _MESSAGE_TYPE.fullmatch(str(message.type)) else ""
        if self.settings.unknown_messages == "error":
            raise MessageError(
                f"a message of the unknown type{kind}; set `unknown_messages` to `ignore` to pass "
                "over such messages",
                line=message.line,
            )
        self._report.count_ignored(
            kind.strip() or "unknown",
            f"the tap sends messages of the type{kind}, which Singer does not know; they are "
            "ignored, as `unknown_messages` says: look at the tap if it means something by them",
        )

    def _source_and_routes(self, message: Message) -> tuple[SourceStream, list[Route]]:
        stream = _stream_of(message)
        known = self._routes.for_stream(stream)
        if known is None:
            raise _MissingSchemaError(
                f"a {message.type} of stream {stream!r} before its SCHEMA; check the tap",
                line=message.line,
            )
        return known

    # Time, and the end.

    def _between(self) -> float | None:
        """What is due between two blocks of input; see `Run.between`."""
        timeout = self.run.do_due_work()
        self._metrics.tick()
        self._report.counts.waiting_for_input()
        return timeout

    def warn_of_unused_names(self) -> None:
        """Warn of streams that the settings name and the tap has not sent."""
        self._routes.warn_of_unused_names()

    def process_endofpipe(self) -> None:
        """Deliver what was read, and print the last state. The SDK's sinks hold nothing."""
        self._report.counts.input_arrived()
        self.run.finish()
        self._end()

    def _fail(self, error: BaseException) -> None:
        """The run has failed: end what is open, after a bug too, and tell what it has done."""
        try:
            self.run.close()
        except SegmentObjectsError as failure:
            self.run.log_secondary_error(failure, error)
        finally:
            self._end(error)

    def _give_up(self, status: int) -> None:
        """The process is about to be ended: tell why, on a thread of the shutdown's."""
        self._terminal.restore()
        if status == 1:
            failure = OutputError(
                "the stop took longer than `shutdown_seconds`, so what was read and is not covered "
                "by a printed state may be missing: run again, the state says from where"
            )
            self.logger.error("%s", failure)
            if self._report_file is not None:
                self._write_report(self._report_file, failure)

    def _end(self, error: BaseException | None = None) -> None:
        """Tell what the run has done, once."""
        if self._ended:
            return
        self._ended = True
        self._report.counts.input_arrived()
        ending = "failed" if error is not None else "done"
        if error is None and self.run.wake_up.stopped:
            ending = "stopped"
        if ending == "done":
            self.warn_of_unused_names()
        if isinstance(error, DeadLetterError):
            self._report.has_dead_letter = False  # not all of them are in it
        self._report.log_summary(with_collections=self._terminal.logs_the_summary, ending=ending)
        if self._terminal.logs_the_summary:
            self._metrics.end(succeeded=error is None)
        if self._report_file is not None:
            self._write_report(self._report_file, error)

    def _write_report(self, file: ReportFile, error: BaseException | None) -> None:
        """The records are where they are: that a report is missing does not fail their run."""
        report = document(
            self._report.counts,
            method=self.settings.method,
            warnings=self._report.warnings,
            stopped=self.run.wake_up.stopped,
            error=error,
        )
        try:
            file.write(report)
        except OSError as failure:
            # What the run has delivered stays delivered, and its exit status says how it went.
            self.logger.warning(
                "report_path: the report cannot be written: %s", failure.strerror or failure
            )

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
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.freeze()  # what was imported stays, and need not be looked at again and again
        target = cls(config=read_configuration(config, os.environ, cls.logger.warning))
        run, terminal = target.run, target._terminal
        shutdown = SignalWatcher(
            run.stop, run.abort, target.settings.shutdown_seconds, before_exit=target._give_up
        )
        shutdown.install()
        try:
            terminal.open(parts=target.settings.method == "bulk")
            run.output_above_progress = terminal.output_above_progress
            run.on_error = _log
            target.listen(file_input)
        except BaseException as error:
            target._fail(error)
            raise
        finally:
            shutdown.close()
            terminal.close()
        if shutdown.exit_status is not None:
            sys.exit(shutdown.exit_status)


def main() -> None:
    """Run the command: a user's mistake is a sentence and exit 1, a bug a traceback."""
    try:
        TargetSegmentObjects.cli()
    except SegmentObjectsError as error:
        if not error.is_logged:
            _log(error)
        _forget_output()
        sys.exit(1)


def _log(error: SegmentObjectsError) -> None:
    TargetSegmentObjects.logger.error("%s", one_line(str(error)))
    error.is_logged = True


def _stream_of(message: Message) -> str:
    if not isinstance(message.stream, str):
        raise MessageError(f"a {message.type} without a `stream`", line=message.line)
    return message.stream


def _is_unicode(name: Any) -> bool:
    """Whether it is a name that can be written down, into the dead letter for one."""
    try:
        return isinstance(name, str) and name.encode() is not None
    except UnicodeEncodeError:
        return False


def _read_schema(source: SourceStream, line: int) -> dict[str, Any]:
    try:
        schema = json.loads(source.schema)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        raise MessageError(f"the SCHEMA of stream {source.stream!r} is no JSON object", line=line)
    return schema


def _rejected(faults: list[Fault], origin: SourceRecord) -> RejectedRecordError:
    """The reject of a record; a missing key as the SDK's test suite knows it."""
    missing = any(fault.code == FaultCode.KEY_MISSING for fault in faults)
    kind = _MissingKeyError if missing else RejectedRecordError
    return kind(list(dict.fromkeys(faults)), stream=origin.source.stream, line=origin.line)


def _forget_output() -> None:
    """Give up what stdout does not take, of which Python would complain once more at its exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
