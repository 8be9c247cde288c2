"""The SDK's Target: settings, streams and the delivery of one run, put together.

A SCHEMA message makes the routes of a stream, each a sink with its plan; a RECORD becomes objects
that go to the run; a STATE is kept until everything before it is durable.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from singer_sdk import Target
from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities

from target_segment_objects.errors import (
    MessageError,
    MissingSchemaError,
    RejectedRecordError,
    SegmentObjectsError,
)
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.input import Message, MessageReader
from target_segment_objects.reporting import Report
from target_segment_objects.run import Run, RunSupervisor, log_error
from target_segment_objects.settings import Settings, config_jsonschema, read_configuration
from target_segment_objects.singer.blocks import BlockProcessor
from target_segment_objects.singer.metrics import Metrics
from target_segment_objects.singer.schema_message import source_stream, stream_name
from target_segment_objects.singer.sinks import SegmentObjectsSink
from target_segment_objects.singer.stream_maps import StreamMaps
from target_segment_objects.singer.streams import Route, Routes
from target_segment_objects.source import SourceRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from target_segment_objects.plan import EncodedRecord
    from target_segment_objects.reporting import StreamCounts
    from target_segment_objects.singer.stream_cache import PlannedStream

__all__ = ["TargetSegmentObjects", "main"]

_MESSAGE_TYPE: Final = re.compile(r"[A-Z][A-Z_]{0,29}")
_SWITCH_SECONDS: Final = 0.0005
"""How long a thread may block others: with Python's 5 ms the compressing thread starves."""


class _MissingSchemaError(MissingSchemaError, RecordsWithoutSchemaException):
    """The class that the SDK's own test suite expects."""


class _MissingKeyError(RejectedRecordError, MissingKeyPropertiesError):
    """The class that the SDK's own test suite expects."""


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

    # `settings` reads the environment; with this the SDK's log line about it is right, too.
    _env_var_config: dict[str, Any] = {}  # noqa: RUF012

    settings: Settings

    def __init__(  # noqa: PLR0913
        self,
        *,
        config: dict[str, Any] | None = None,
        parse_env_config: bool = False,
        validate_config: bool = True,
        setup_mapper: bool = True,  # noqa: ARG002  the routes always need it
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
        maps = StreamMaps(self.settings, self.logger)
        self.mapper = maps.mapper
        self._report.has_dead_letter = self.settings.dead_letter_path is not None
        self._report.tolerates_rejects = self.settings.max_rejects != 0
        self._metrics = Metrics(self._report.counts)
        self._routes = Routes(self, self.settings, maps, self._report)
        self.run = make_run(self.settings, self._report, self.logger)
        self.run.on_wait = self._metrics.tick
        self._supervisor = RunSupervisor(
            self.run,
            self.settings,
            self._report,
            self.logger,
            lambda succeeded: self._metrics.end(succeeded=succeeded),
        )
        blocks = BlockProcessor(self.run, self._routes, self._report)
        self.message_reader = MessageReader(  # type: ignore[assignment]
            self.settings.reader_options,
            self.run.wake_up,
            before_wait=self._do_due_work,
            on_unknown=self._process_unknown_message,
            on_error=self.run.commit_after,
            process_block=blocks.process if on_line_error is None else None,
            on_line_error=on_line_error,
        )

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:  # noqa: ARG002
        """Raise one error for all wrong settings, which never shows a secret."""
        self.settings = Settings.from_config(self._config, self._report.warn)
        self._config = self.settings.for_sdk()
        return []

    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Add nothing: every setting that has an effect is declared in `settings`."""

    @classmethod
    def cb_config(cls, ctx: Any, param: Any, value: tuple[str, ...]) -> tuple[str, ...]:  # type: ignore[override]  # noqa: ARG003
        """Leave the files of `--config` to `invoke`: `--about` does not need them."""
        return value

    def _process_schema_message(self, message: Message) -> None:  # type: ignore[override]
        """Plan the stream, unless its SCHEMA has not changed."""
        stream = stream_name(message)
        try:
            self._routes.update(source_stream(message), message.line)
        except SegmentObjectsError:
            self._routes.drop(stream)
            raise

    def _process_record_message(self, message: Message) -> None:  # type: ignore[override]
        """Encode the record's objects, and hand them to the run."""
        source, routes, _ = self._planned_stream(message)
        if not isinstance(message.record, msgspec.Raw):
            raise MessageError("a RECORD without a `record`", line=message.line)
        self.run.position += 1
        record = SourceRecord(
            source,
            bytes(message.record),
            message.line,
            time_extracted=message.time_extracted,
            version=message.version,
        )
        objects, faults = self._encode(routes, record)
        if faults:  # no object of a record with faults is sent
            for route, _ in objects:
                self._counts_of(route).rejected += 1
            self.run.reject(_rejected(faults, record), record)
            return
        if not objects:
            self._report.filter(record, is_removed=not routes)
        for route, encoded in objects:
            self._report.encoded(route.sink.plan, encoded, record)
            self.run.put(encoded.object, record)
            self._routes.allow_long_strings(source.stream, encoded.conversions)

    def _encode(
        self, routes: list[Route], record: SourceRecord
    ) -> tuple[list[tuple[Route, EncodedRecord]], list[Fault]]:
        """The objects of a record, at most one for each route, and all of its faults."""
        objects: list[tuple[Route, EncodedRecord]] = []
        faults: list[Fault] = []
        for route in routes:
            try:
                encoded = route.map_and_encode(record)
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
        """Warn once for each stream, planned or not, that neither API can delete."""
        self._report.warn(
            f"stream {stream_name(message)!r} sent ACTIVATE_VERSION, which asks to delete older "
            "rows; Segment cannot delete, so they remain: delete them in the warehouse if needed",
            "activate version",
        )

    def _process_batch_message(self, message: Message) -> None:  # type: ignore[override]
        """Fail: BATCH is not supported."""
        self._planned_stream(message)
        raise MessageError(
            "BATCH messages are not supported; turn batches off in the tap (`batch_config`), "
            "so that it sends RECORD messages",
            line=message.line,
        )

    def _process_unknown_message(self, message: Message) -> None:
        # Any other text may be a secret in the wrong place, and is not shown.
        kind = f" {message.type}" if _MESSAGE_TYPE.fullmatch(str(message.type)) else ""
        if self.settings.unknown_messages == "error":
            raise MessageError(
                f"a message of the unknown type{kind}; set `unknown_messages` to `ignore` to skip "
                "such messages",
                line=message.line,
            )
        self._report.count_ignored(
            kind.strip() or "unknown",
            f"the tap sends messages of the type{kind}, which Singer does not know; they are "
            "ignored, as `unknown_messages` says: check the tap if they matter",
        )

    def _planned_stream(self, message: Message) -> PlannedStream:
        stream = stream_name(message)
        planned = self._routes.for_stream(stream)
        if planned is None:
            raise _MissingSchemaError(
                f"a {message.type} of stream {stream!r} before its SCHEMA; check the tap",
                line=message.line,
            )
        return planned

    def _do_due_work(self) -> float | None:
        """Do what is due between two blocks of input; see `Run.do_due_work`."""
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
        if not self.run.wake_up.stopped:
            self.warn_of_unused_names()
        self._supervisor.conclude()

    def _setup_signal_handlers(self) -> None:
        """Install none: the SDK calls this in the constructor, also when used as a library."""

    @classmethod
    def invoke(  # type: ignore[override]
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: tuple[str, ...] = (),
        file_input: IO[str] | None = None,
    ) -> None:
        """Run the target from the command line.

        Raises:
            SegmentObjectsError: the run has failed.
            SystemExit: a signal has stopped it.
        """
        if about:
            cls.print_about(about_format)
            return
        cls.print_version(print_fn=cls.logger.info)
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.freeze()  # imported modules stay: the collector need not scan them
        report = Report(cls.logger)
        target = cls(config=read_configuration(config, os.environ, report.warn), report=report)
        status = target._supervisor.execute(lambda: target.listen(file_input))
        if status is not None:
            sys.exit(status)


def main() -> None:
    """Run the command: a user's mistake is a sentence and exit 1, a bug a traceback."""
    try:
        TargetSegmentObjects.cli()
    except SegmentObjectsError as error:
        log_error(TargetSegmentObjects.logger, error)
        _discard_output()
        sys.exit(1)


def _rejected(faults: list[Fault], record: SourceRecord) -> RejectedRecordError:
    """The reject of a record; a missing key is of the class that the SDK's test suite expects."""
    missing = any(fault.code == FaultCode.KEY_MISSING for fault in faults)
    kind = _MissingKeyError if missing else RejectedRecordError
    return kind(list(dict.fromkeys(faults)), stream=record.source.stream, line=record.line)


def _discard_output() -> None:
    """Redirect a broken stdout, so that Python's final flush does not fail."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
