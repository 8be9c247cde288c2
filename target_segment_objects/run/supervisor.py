"""Runs a `Run` as a command: handles signals, the terminal and the report at its end.

Invariant: whatever ends a run, what it did is reported once, and a report that cannot be written
does not fail it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.errors import (
    DeadLetterError,
    OutputError,
    SegmentObjectsError,
    one_line,
)
from target_segment_objects.reporting import ReportFile, Terminal, report_document
from target_segment_objects.run.signals import SignalWatcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from target_segment_objects.reporting import Report
    from target_segment_objects.run.run import Run
    from target_segment_objects.settings import Settings

__all__ = ["RunSupervisor", "log_error"]


class RunSupervisor:
    """Supervises one run.

    Args:
        run: the run.
        settings: the validated settings.
        report: what the run has done.
        logger: takes errors.
        log_metrics: called at the end with whether the run succeeded, unless a table on the
            terminal replaces the log lines.

    Raises:
        ConfigurationError: the report cannot be written.
    """

    def __init__(
        self,
        run: Run,
        settings: Settings,
        report: Report,
        logger: Logger,
        log_metrics: Callable[[bool], None],
    ) -> None:
        self._run = run
        self._settings = settings
        self._report = report
        self._logger = logger
        self._log_metrics = log_metrics
        self._terminal = Terminal(report.counts)
        path = settings.report_path
        self._report_file = ReportFile(path) if path is not None else None
        self._is_reported = False

    def execute(self, read: Callable[[], None]) -> int | None:
        """Read the input on this thread, the main one, until it ends or a signal stops the run.

        Args:
            read: reads all the input; at its end the SDK calls the target's `process_endofpipe`,
                which calls `conclude`.

        Returns:
            The exit status after a signal, 130 or 143; otherwise `None`.

        Raises:
            SegmentObjectsError: the run has failed.
        """
        run, terminal = self._run, self._terminal
        signals = SignalWatcher(
            run.stop, run.abort, self._settings.shutdown_seconds, before_exit=self._before_exit
        )
        signals.install()
        try:
            terminal.open(parts=self._settings.method == "bulk")
            run.output_above_progress = terminal.output_above_progress
            run.on_error = lambda error: log_error(self._logger, error)
            read()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            signals.close()
            terminal.close()
        return signals.exit_status

    def conclude(self, error: BaseException | None = None) -> None:
        """Log what the run has done, and write the report. Further calls do nothing."""
        if self._is_reported:
            return
        self._is_reported = True
        self._report.counts.input_arrived()
        stopped = self._run.wake_up.stopped
        ending = "failed" if error is not None else "stopped" if stopped else "done"
        if isinstance(error, DeadLetterError):
            self._report.has_dead_letter = False  # some rejects are not in it
        with_lines = self._terminal.logs_the_summary
        self._report.log_summary(with_collections=with_lines, ending=ending)
        if with_lines:
            self._log_metrics(error is None)
        self._write_report(error)

    def _fail(self, error: BaseException) -> None:
        """Close the run after an error, which may be a bug, and report what it has done."""
        try:
            self._run.close()
        except SegmentObjectsError as failure:
            self._run.log_secondary_error(failure, error)
        finally:
            self.conclude(error)

    def _before_exit(self, status: int) -> None:
        """Say why the process is about to be ended. Called on a thread of the signal watcher."""
        self._terminal.restore()
        if status == 1:
            failure = OutputError(
                "the stop took longer than `shutdown_seconds`, so records that no printed state "
                "covers may be missing: run again to continue from the last state"
            )
            self._logger.error("%s", failure)
            self._write_report(failure)

    def _write_report(self, error: BaseException | None) -> None:
        if self._report_file is None:
            return
        report = report_document(
            self._report.counts,
            method=self._settings.method,
            warnings=self._report.warnings,
            stopped=self._run.wake_up.stopped,
            error=error,
        )
        try:
            self._report_file.write(report)
        except OSError as failure:
            self._logger.warning(
                "report_path: the report cannot be written: %s", failure.strerror or failure
            )


def log_error(logger: Logger, error: SegmentObjectsError) -> None:
    """Log the error of a run, unless that was done before."""
    if not error.is_logged:
        logger.error("%s", one_line(str(error)))
        error.is_logged = True
