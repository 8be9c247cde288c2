"""Breaks each line that guards an invariant once; some test must fail.

    python -m tests.mutants [name …]

A mutant is one change of syntax (see `tests.mutations`) in a copy of the package. A few tests run
against the copy, and one of them must fail. If none does, the rule is not tested: write the test.
The exit status is 1 if a mutant survives, or if the syntax to change does not occur exactly once.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutations import AddressError, Mutation, copied, spoiled

__all__ = ["MUTANTS", "Mutant"]

_SECONDS = 180
_AT_ONCE = 2


class Mutant(NamedTuple):
    """One change, and the tests that must detect it.

    Attributes:
        name: what is broken.
        where: the definition's qualified name.
        old: the syntax to replace, which occurs in it exactly once.
        new: the replacement.
        tests: the arguments for pytest, separated by blanks.
    """

    name: str
    where: str
    old: str
    new: str
    tests: str

    @property
    def mutation(self) -> Mutation:
        """The change without its name and tests."""
        return Mutation(self.where, self.old, self.new)


MUTANTS = (
    Mutant(
        "a state is printed one record early",
        "Checkpoint._mark_durable",
        "self._pending[0][0] <= durable",
        "self._pending[0][0] <= durable + 1",
        "tests/delivery/test_checkpoint.py",
    ),
    Mutant(
        "the bytes of printed states are never subtracted",
        "Checkpoint._mark_durable",
        "self._pending_bytes -= len(self._durable_state)",
        "",
        "tests/delivery/test_checkpoint.py",
    ),
    Mutant(
        "a record is not held back while its id is in flight",
        "SetDelivery._feed",
        "obj.id in self._ids_in_flight[obj.collection]",
        "obj.id in ()",
        "tests/delivery/test_set_calls.py",
    ),
    Mutant(
        "records in flight count as durable",
        "DurabilityLog.durable",
        "receipts[0].first - 1 if receipts else position",
        "position",
        "tests/delivery/test_set_calls.py",
    ),
    Mutant(
        "an object that Segment refused counts as durable",
        "SetDelivery._take_outcome",
        "object_id not in refused",
        "True",
        "tests/delivery/test_set_calls.py",
    ),
    Mutant(
        "only the last of several waiting records with one id is sent",
        "Batcher.feed",
        "batch.pending.get(obj.id)",
        "None",
        "tests/delivery/test_batching.py",
    ),
    Mutant(
        "merging lets the earlier record win",
        "merge",
        """
            properties = _properties(earlier.properties)
            properties.update(_properties(later.properties))
        """,
        """
            properties = _properties(later.properties)
            properties.update(_properties(earlier.properties))
        """,
        "tests/delivery/test_batching.py",
    ),
    Mutant(
        "due batches are sent in any order",
        "Batcher.due",
        "lambda batch: batch.due",
        "lambda batch: -batch.due",
        "tests/delivery/test_batching.py",
    ),
    Mutant(
        "the first record of an unfinished session counts as durable",
        "BulkDelivery._new_session",
        "self._hooks.log.receipt(position)",
        "self._hooks.log.receipt(position + 1)",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a lost session is never replaced",
        "BulkSession._retry_in_new_session",
        "self._parts_taken in refused_after",
        "True",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a new session has only the last part",
        "BulkSession._retry_in_new_session",
        "for part in self._sent:\n    self._upload(part)",
        "",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "the halves of a part are uploaded in the wrong order",
        "BulkSession._split",
        "self._split_spool(part)",
        "reversed(self._split_spool(part))",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "the second half of a split part is lost",
        "BulkSession._split_spool",
        "(first, part.objects - first)",
        "(first,)",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a state is printed before its rejects are on disk",
        "Run._print_state",
        "self._rejects.sync()",
        "",
        "tests/run/test_run_end.py",
    ),
    Mutant(
        "a reject is written but not synced to disk",
        "DeadLetter.sync",
        "os.fsync(self._descriptor)",
        "",
        "tests/delivery/test_dead_letter.py",
    ),
    Mutant(
        "a closing run prints its state before its threads have ended",
        "Run.close",
        """
            self._resources.close()
            self._rejects.sync()
            self._log.advance(self.position)
            self._checkpoint.print_now()
        """,
        """
            self._rejects.sync()
            self._log.advance(self.position)
            self._checkpoint.print_now()
            self._resources.close()
        """,
        "tests/run/test_run_end.py",
    ),
    Mutant(
        "a closed run prints its last state again",
        "Checkpoint.print_now",
        "state, self._durable_state = self._durable_state, None",
        "state = self._durable_state",
        "tests/delivery/test_checkpoint.py",
    ),
    Mutant(
        "a record's position is off by one, so that the previous state covers it",
        "Run._put",
        "connection.delivery.put_block(objects, first, source_at)",
        "connection.delivery.put_block(objects, first + 1, source_at)",
        "tests/run/test_run_end.py",
    ),
    Mutant(
        "the header `Synchronous` is not sent",
        "SetApi.__init__",
        'self._headers["Synchronous"] = "true"',
        "",
        "tests/client/test_set_api.py",
    ),
    Mutant(
        "the concurrency limit is off by one",
        "ConcurrencyLimit.slot",
        "self._in_flight >= max_in_flight",
        "self._in_flight > max_in_flight",
        "tests/client/test_concurrency.py",
    ),
    Mutant(
        "a redirect is followed",
        "PreparedEndpoint.post",
        "self._pool.urlopen",
        "(lambda *a, **k: self._pool.urlopen(*a, **{**k, 'retries': 3, 'redirect': True}))",
        "tests/client",
    ),
    Mutant(
        "a redirect counts as success",
        "_action",
        "HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES",
        "HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST",
        "tests/client/test_retry.py",
    ),
    Mutant(
        "`.netrc` is used",
        "Transport.__init__",
        "self._key.auth",
        "requests.utils.get_netrc_auth(self._address.url)",
        "tests/client/test_transport.py",
    ),
    Mutant(
        "a retry starts at the end of the last attempt",
        "FileBody.rewind",
        "self._file.seek(0)",
        "",
        "tests/client/test_bulk_api.py",
    ),
    Mutant(
        "a response cut off after its status line is accepted",
        "_WholeHead.begin",
        'lines.last not in (b"\\r\\n", b"\\n")',
        "lines.last is None",
        "tests/client/test_transport.py",
    ),
    Mutant(
        "a stop does not wake an idle wait",
        "WakeupPipe.stop",
        "self.set()",
        "",
        "tests/input/test_reader.py -k stop",
    ),
    Mutant(
        "an input error drops the records before it",
        "Run.commit_after",
        "self._commit()",
        "",
        "tests/commands/test_command_input.py",
    ),
    Mutant(
        "one reject too many does not end the run",
        "DeadLetter.record",
        "self.count > self._max_rejects",
        "self.count > self._max_rejects + 1",
        "tests/delivery/test_dead_letter.py tests/commands/test_command_input.py",
    ),
    Mutant(
        "the disk space of a part's halves is never released",
        "BulkSession._split_spool",
        "self._halves.truncate(start)",
        "",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a session begins while two others are unfinished",
        "BulkDelivery._new_session",
        "len(self._unfinished) > 1",
        "len(self._unfinished) > 9",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a keep-alive waits for a concurrency slot",
        "ConcurrencyLimit.slot",
        "_URGENT_LIMIT if urgent else self.limit",
        "self.limit",
        "tests/client/test_concurrency.py tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "due states are not printed while the run waits for Segment",
        "SetDelivery._wait_for_outcomes",
        "self._hooks.meanwhile()",
        "",
        "tests/commands/test_command_end.py",
    ),
    Mutant(
        "a stop takes effect only after the block",
        "SetDelivery.put_block",
        "index and self._hooks.stopped()",
        "False",
        "tests/run/test_shutdown.py",
    ),
    Mutant(
        "a block continues with outdated streams",
        "BlockEncoder.set_stream",
        "self._changes += 1",
        "",
        "tests/fastpath/test_fast_path.py",
    ),
    Mutant(
        "each stream keeps a decoder of its own",
        "BlockEncoder._switch",
        "self._unite()",
        "",
        "tests/fastpath/test_fast_path.py",
    ),
    Mutant(
        "a wake-up writes to a closed pipe",
        "WakeupPipe.set",
        "self._writes >= 0",
        "True",
        "tests/run/test_shutdown.py",
    ),
    Mutant(
        "signals remain ignored after a replay",
        "SignalWatcher.restore",
        "signal.signal(number, handler)",
        "",
        "tests/commands/test_replay.py tests/commands/test_preview.py",
    ),
    Mutant(
        "a number that no map touches is reformatted",
        "to_sdk_values",
        "number(bytes(value).decode())",
        "Decimal(bytes(value).decode())",
        "tests/singer/test_sdk_values.py",
    ),
    Mutant(
        "the report may be written to stdout",
        "rules:_is_same_file",
        "os.path.samestat(status, opened) and (not is_device)",
        "False",
        "tests/run/test_start.py",
    ),
    Mutant(
        "a query can unlock DuckDB's settings",
        "query_file",
        'connection.execute("SET lock_configuration = true")',
        "",
        "tests/commands/test_cli.py",
    ),
    Mutant(
        "the emulator answers to any host name",
        "App._check_host",
        "not host or self._names.allows(host)",
        "True",
        "tests/emulator/test_serving.py",
    ),
    Mutant(
        "repeated headers are not counted",
        "read_head",
        "lines > _MAX_HEADERS",
        "False",
        "tests/emulator/test_serving.py",
    ),
    Mutant(
        "the number of parts in a session is unlimited",
        "BulkDelivery._is_full",
        "session.parts >= self._limits.parts",
        "False",
        "tests/delivery/test_bulk_delivery.py -k parts",
    ),
    Mutant(
        "a shutdown is closed twice",
        "SignalWatcher.close",
        "writes < 0",
        "False",
        "tests/run/test_shutdown.py",
    ),
    Mutant(
        "a name lookup is awaited beyond the deadline",
        "NameResolver.resolve",
        "deadline.when_cut(ended.set)",
        "",
        "tests/client/test_deadlines.py -k name",
    ),
    Mutant(
        "an open connection has no deadline",
        "_Deadlined._connect_to",
        "deadline.guard(sock.fileno())",
        "",
        "tests/client/test_deadlines.py",
    ),
    Mutant(
        "a session that accepts nothing is replaced",
        "BulkSession._retry_in_new_session",
        "refused_after and not self._parts_taken",
        "False",
        "tests/delivery/test_bulk_delivery.py tests/run/test_run_end.py",
    ),
    Mutant(
        "a table's name lacks its database",
        "TableMerger.full_name",
        'f"{quoted(self.database)}.main.{quoted(table)}"',
        'f"main.{quoted(table)}"',
        "tests/emulator/test_loader_names.py",
    ),
    Mutant(
        "all records with a lone surrogate share an id",
        "record_digest",
        'digest(b"\\\\" + _encode_canonical(_escaped(record)))',
        "digest(b'')",
        "tests/singer/test_stream_maps.py",
    ),
    Mutant(
        "an escaped text and a lone surrogate share an id",
        "record_digest",
        'b"\\\\" + _encode_canonical(_escaped(record))',
        "_encode_canonical(_escaped(record))",
        "tests/singer/test_stream_maps.py -k never_empty",
    ),
    Mutant(
        "records filtered out by maps leave the dead letter",
        "_ReplayReport.filter",
        "self.unsent.append(record.line)",
        "",
        "tests/commands/test_replay.py",
    ),
    Mutant(
        "an object that Segment refuses by bulk is stored as a record",
        "BulkDelivery._take_refused",
        'SourceStream(collection, b"{}", None, is_object=True)',
        'SourceStream(collection, b"{}", None)',
        "tests/commands/test_replay.py",
    ),
    Mutant(
        "a wide part is merged in one statement",
        "_WIDE_SLICE_VALUES",
        "500_000",
        "500_000_000",
        "tests/emulator/test_store.py -k wide",
    ),
    Mutant(
        "a run that exceeds its stop time prints nothing",
        "SignalWatcher._exit",
        "thread.start()\nthread.join(_BEFORE_EXIT_SECONDS)",
        "",
        "tests/run/test_shutdown.py",
    ),
    Mutant(
        "a missing temporary folder causes a traceback",
        "_temporary_folder",
        'return "the system\'s folder for temporary files"',
        "raise",
        "tests/delivery/test_parts.py",
    ),
    Mutant(
        "an interim response is taken as the response",
        "_WholeHead.begin",
        "100 <= self.status <= 199",
        "False",
        "tests/client/test_deadlines.py -k interim",
    ),
    Mutant(
        "the client's own time-out is reported as an outage of Segment",
        "Caller.call",
        "always_timed_out and isinstance(outcome, Failure) and outcome.longer_timeout_may_help",
        "False",
        "tests/client/test_deadlines.py -k advice",
    ),
    Mutant(
        "the key in base64 without padding is shown",
        "_forms_of",
        '{encoded, encoded.rstrip("=")}',
        "{encoded}",
        "tests/client/test_secrets.py",
    ),
    Mutant(
        "a dead letter that others can read keeps its mode",
        "DeadLetter._keep_private",
        "os.fchmod(self._descriptor, _MODE)",
        "",
        "tests/delivery/test_dead_letter.py",
    ),
    Mutant(
        "a long `Content-Length` is truncated",
        "body_length",
        "text.lstrip('0') or '0'",
        "text",
        "tests/emulator/test_serving.py",
    ),
    Mutant(
        "a query string with many fields stops the page",
        "Page.respond",
        'raise RefusalError(400, f"a query may have at most {_MAX_FIELDS} fields") from None',
        "raise",
        "tests/emulator/test_page.py",
    ),
    Mutant(
        "a query can read any file",
        "query_file",
        '("TimeZone = \'UTC\'", "enable_external_access = false")',
        "(\"TimeZone = 'UTC'\",)",
        "tests/commands/test_cli.py",
    ),
    Mutant(
        "a signal during imports causes a traceback",
        "_end_at_a_signal",
        "signal.signal(number, _exit)",
        "",
        "tests/run/test_start.py",
    ),
    Mutant(
        "an ignored signal ends the command",
        "_end_at_a_signal",
        "signal.getsignal(number) is not signal.SIG_IGN",
        "True",
        "tests/run/test_start.py",
    ),
    Mutant(
        "a name that an earlier line dropped loses its type",
        "StreamMaps._mapped",
        "is_property(expression)",
        "False",
        "tests/singer/test_taps_as_they_are.py -k renamed",
    ),
    Mutant(
        "the definitions of copies are confused",
        "_in_their_order",
        "[*own, *copies]",
        "[*own, *reversed(copies)]",
        "tests/singer/test_taps_as_they_are.py -k copies",
    ),
    Mutant(
        "keys that a map omits are lost",
        "StreamMaps._mapped",
        "stream_map.transformed_key_properties = keys",
        "",
        "tests/singer/test_taps_as_they_are.py -k keys_that_the_schema_lacks",
    ),
    Mutant(
        "a clash is allowed if only one stream was mapped on purpose",
        "Routes._claim_collection",
        "is_meant and other_is_meant",
        "is_meant or other_is_meant",
        "tests/singer/test_taps_as_they_are.py -k one_collection",
    ),
    Mutant(
        "a declared object is flattened one level too deep",
        "compile_columns.add",
        "len(path) <= depth",
        "len(path) <= depth + 1",
        "tests/plan/test_encode.py",
    ),
    Mutant(
        "undeclared properties are searched one level too deep",
        "PropertyWriters._write_undeclared",
        "path not in self._table.by_path",
        "True",
        "tests/plan/test_encode.py",
    ),
    Mutant(
        "lines with a NUL character take the fast path, which does not count them",
        "LineBlock.with_nul",
        "{index for index, line in enumerate(self.lines) if _NUL in line}",
        "set()",
        "tests/singer/test_taps_as_they_are.py -k nul",
    ),
    Mutant(
        "an error at the end of a run hides its first error",
        "Run.commit_after",
        "isinstance(failure, LocalWarehouseError) and isinstance(error, DeliveryError)",
        "True",
        "tests/singer/test_taps_as_they_are.py -k first_error",
    ),
    Mutant(
        "each reject causes a warning",
        "Report.add_reject",
        "codes[fault.code] == 1 and self.tolerates_rejects",
        "self.tolerates_rejects",
        "tests/reporting/test_warnings.py",
    ),
    Mutant(
        "undeclared columns are not counted",
        "PropertyWriters.new_columns",
        "name not in self._seen and name in builder.properties",
        "False",
        "tests/singer/test_taps_as_they_are.py -k too_many_columns",
    ),
    Mutant(
        "an expression that no record can correct rejects every record",
        "expressions:_failure",
        'kind == "FunctionNotDefined"',
        "False",
        "tests/singer/test_taps_as_they_are.py -k no_record_can_mend",
    ),
    Mutant(
        "a variable and a file may differ silently",
        "sources:_difference_warnings",
        "in_variable.get(path, missing) != in_file.get(path, missing)",
        "False",
        "tests/settings/test_sources.py",
    ),
)


def _run(folder: Path, tests: list[str]) -> str:
    """The first test that fails in the copy; empty when none does.

    Raises:
        ValueError: the tests could not be run.
    """
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "CI": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "a test that waits for ever"
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", ended.stdout, re.MULTILINE)
    if found is not None:
        return found[1]
    if ended.returncode not in {0, 1}:
        raise ValueError(f"pytest ended with {ended.returncode}: {ended.stdout[-500:]}")
    return ""


def _try(mutant: Mutant, folder: Path) -> tuple[bool, str]:
    """Whether a test noticed, and which one, or why none did."""
    try:
        with spoiled(mutant.mutation, folder):
            killer = _run(folder, mutant.tests.split())
        if not killer:
            return False, "SURVIVED"
        # What fails without the change too has noticed nothing.
        if "::" in killer and _run(folder, [killer]):
            return False, f"{killer} fails in the copy that is not spoiled too"
    except AddressError as error:
        return False, str(error)
    except ValueError as error:
        return False, f"no tests were run: {error}"
    return True, killer.partition("[")[0].removeprefix("tests/")


def main(names: list[str]) -> int:
    """Try all mutants, or those whose names hold one of the words; the exit status."""
    chosen = [
        mutant
        for mutant in MUTANTS
        if not names or any(name.lower() in mutant.name.lower() for name in names)
    ]
    survivors = []
    folders: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def in_a_copy(mutant: Mutant) -> tuple[bool, str]:
        folder = folders.get()
        try:
            return _try(mutant, folder)
        finally:
            folders.put(folder)

    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(_AT_ONCE) as threads:
        for number in range(_AT_ONCE):
            folders.put(copied(Path(temporary, str(number))))
        print("| spoiled | in | noticed by |\n|---|---|---|", flush=True)  # noqa: T201
        for mutant, (noticed, by) in zip(chosen, threads.map(in_a_copy, chosen), strict=True):
            if not noticed:
                survivors.append(f"{mutant.name}: {by}")
            killer = f"`{by}`" if "::" in by else by
            print(f"| {mutant.name} | `{mutant.where}` | {killer} |", flush=True)  # noqa: T201
    for survivor in survivors:
        print(survivor, file=sys.stderr)  # noqa: T201
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
