"""Each line that guards an invariant is spoiled once, and some test must notice.

    python -m tests.mutants [name …]

A mutant is one change of syntax (see `tests.mutations`) in a copy of the package; a small set of
tests runs against the copy and must fail. One that survives is a rule that nothing holds: write the
test. Exit 1 if any does, or if the syntax to change is not there exactly once any more.
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
    """One change, and who must notice.

    Attributes:
        name: what is spoiled.
        where: the definition's qualified name.
        old: what stands in it exactly once.
        new: takes its place.
        tests: what pytest runs, its arguments separated by blanks.
    """

    name: str
    where: str
    old: str
    new: str
    tests: str

    @property
    def mutation(self) -> Mutation:
        """The change alone."""
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
        "bytes of states that were printed are counted for ever",
        "Checkpoint._mark_durable",
        "self._pending_bytes -= len(self._safe)",
        "",
        "tests/delivery/test_checkpoint.py",
    ),
    Mutant(
        "an id in flight is not held",
        "SetDelivery._feed",
        "object_id in self._ids_in_flight[collection]",
        "object_id in ()",
        "tests/delivery/test_set_delivery.py",
    ),
    Mutant(
        "records that are under way count as durable",
        "DurabilityLog.durable",
        "receipts[0].first - 1 if receipts else position",
        "position",
        "tests/delivery/test_set_delivery.py",
    ),
    Mutant(
        "an object that Segment refused counts as durable",
        "SetDelivery._take_outcome",
        "object_id not in refused",
        "True",
        "tests/delivery/test_set_delivery.py",
    ),
    Mutant(
        "of one id that waits together only the last record is sent",
        "Batcher.feed",
        "batch.pending.get(object_id)",
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
        "due batches come in any order",
        "Batcher.due",
        "lambda batch: batch.due",
        "lambda batch: -batch.due",
        "tests/delivery/test_batching.py",
    ),
    Mutant(
        "the first record of an unfinished session counts as durable",
        "BulkDelivery._new_session",
        "self._log.receipt(position)",
        "self._log.receipt(position + 1)",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a lost session is never replaced",
        "BulkSession._healing",
        "self._taken in refused_after",
        "True",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a new session has only the last part",
        "BulkSession._healing",
        "for part in self._sent:\n    self._upload(part)",
        "",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "the halves of a part go up in the wrong order",
        "BulkSession._split",
        "self._halved(part)",
        "reversed(self._halved(part))",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "the second half of a split part is lost",
        "BulkSession._halved",
        "(first, part.objects - first)",
        "(first,)",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a state is printed before the rejects that it covers are on the disk",
        "Run._print_state",
        "self._rejects.sync()",
        "",
        "tests/run/test_run_end.py",
    ),
    Mutant(
        "a reject is written and not synced",
        "DeadLetter.sync",
        "os.fsync(self._descriptor)",
        "",
        "tests/delivery/test_rejects.py",
    ),
    Mutant(
        "a closing run prints its state before its threads have ended",
        "Run.close",
        """
            if self._connection is not None:
                self._connection.close()
            self._rejects.sync()
            self._log.advance(self.position)
            self._checkpoint.print_now()
        """,
        """
            self._rejects.sync()
            self._log.advance(self.position)
            self._checkpoint.print_now()
            if self._connection is not None:
                self._connection.close()
        """,
        "tests/run/test_run_end.py",
    ),
    Mutant(
        "a closed run prints its last state once more",
        "Checkpoint.print_now",
        "state, self._safe = self._safe, None",
        "state = self._safe",
        "tests/delivery/test_checkpoint.py",
    ),
    Mutant(
        "a record's place is one too far, so that the state before it covers it",
        "Run._put",
        "connection.delivery.put_block(objects, first, source_at)",
        "connection.delivery.put_block(objects, first + 1, source_at)",
        "tests/run/test_run_end.py",
    ),
    Mutant(
        "the order of calls is not asked for",
        "SetApi.__init__",
        'self._headers["Synchronous"] = "true"',
        "",
        "tests/client/test_set_api.py",
    ),
    Mutant(
        "one request too many is let through",
        "ConcurrencyLimit._enter",
        "self._in_flight >= most",
        "self._in_flight > most",
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
        "a redirect counts as taken",
        "_action",
        "HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES",
        "HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST",
        "tests/client/test_retry.py",
    ),
    Mutant(
        "`.netrc` is obeyed",
        "Transport.__init__",
        "session.trust_env = False\nsession.auth = self._key.auth",
        "session.trust_env = True",
        "tests/client/test_transport.py",
    ),
    Mutant(
        "a retry begins where the last attempt ended",
        "FileBody.rewind",
        "self._file.seek(0)",
        "",
        "tests/client/test_bulk_api.py",
    ),
    Mutant(
        "an answer that is cut after its status line counts",
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
        "an input error drops what was read before",
        "Run.commit_after",
        "self._commit()",
        "",
        "tests/commands/test_command_input.py",
    ),
    Mutant(
        "one reject too many does not end the run",
        "Rejects.record",
        "self.count > self._max_rejects",
        "self.count > self._max_rejects + 1",
        "tests/delivery/test_rejects.py tests/commands/test_command_input.py",
    ),
    Mutant(
        "the halves of a part are never given back",
        "BulkSession._halved",
        "self._halves.truncate(start)",
        "",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "sessions begin while others are unfinished",
        "BulkDelivery._new_session",
        "len(self._unfinished) > 1",
        "len(self._unfinished) > 9",
        "tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "a keep-alive waits for a slot",
        "ConcurrencyLimit.slot",
        "self._urgent_limit if urgent else self.limit",
        "self.limit",
        "tests/client/test_concurrency.py tests/delivery/test_bulk_delivery.py",
    ),
    Mutant(
        "states that were earned wait for Segment",
        "SetDelivery._wait_for_outcomes",
        "self._meanwhile()",
        "",
        "tests/commands/test_command_end.py",
    ),
    Mutant(
        "a stop waits for the end of the block",
        "SetDelivery.put_block",
        "index and self._stopped()",
        "False",
        "tests/run/test_shutdown.py",
    ),
    Mutant(
        "a block goes on with the streams that were",
        "BlockEncoder.set_stream",
        "self._changes += 1",
        "",
        "tests/fastpath/test_fast_path.py",
    ),
    Mutant(
        "each stream has a decoder for ever",
        "BlockEncoder._switch",
        "self._unite()",
        "",
        "tests/fastpath/test_fast_path.py",
    ),
    Mutant(
        "a wake-up writes to a pipe that is closed",
        "WakeupPipe.set",
        "self._writes >= 0",
        "True",
        "tests/run/test_shutdown.py",
    ),
    Mutant(
        "signals stay ignored after a replay",
        "SignalWatcher.restore",
        "signal.signal(number, handler)",
        "",
        "tests/commands/test_replay.py tests/commands/test_preview.py",
    ),
    Mutant(
        "a number that no map touches is written anew",
        "to_sdk_values",
        "Token(bytes(value).decode())",
        "Decimal(bytes(value).decode())",
        "tests/singer/test_sdk_values.py",
    ),
    Mutant(
        "stdout may be a report",
        "rules:_is_same_file",
        "os.path.samestat(status, opened) and (not is_device)",
        "False",
        "tests/run/test_start.py",
    ),
    Mutant(
        "a query may unlock the settings",
        "query_file",
        'connection.execute("SET lock_configuration = true")',
        "",
        "tests/commands/test_cli.py",
    ),
    Mutant(
        "a web site's name reaches the emulator",
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
        "a session has any number of parts",
        "BulkDelivery._fills",
        "session.parts >= self._sessions.parts",
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
        "the end of a name's lookup is waited for",
        "NameResolver.resolve",
        "deadline.when_cut(ended.set)",
        "",
        "tests/client/test_deadlines.py -k name",
    ),
    Mutant(
        "a connection that has begun has no deadline",
        "_Deadlined._connect_to",
        "deadline.guard(sock.fileno())",
        "",
        "tests/client/test_deadlines.py",
    ),
    Mutant(
        "a session that takes nothing is replaced",
        "BulkSession._healing",
        "refused_after and not self._taken",
        "False",
        "tests/delivery/test_bulk_delivery.py tests/run/test_run_end.py",
    ),
    Mutant(
        "a table is named without its database",
        "TableMerger.full_name",
        'f"{quoted(self.database)}.main.{quoted(table)}"',
        'f"main.{quoted(table)}"',
        "tests/emulator/test_loader_names.py",
    ),
    Mutant(
        "all records with a lone surrogate share an id",
        "_digest",
        "values.escaped_digest(original)",
        "values.digest(b'')",
        "tests/singer/test_stream_maps.py",
    ),
    Mutant(
        "a text of an escape and a lone surrogate share an id",
        "escaped_digest",
        'b"\\\\" + _encode_canonical(_escaped(_without_metadata(record)))',
        "_encode_canonical(_escaped(_without_metadata(record)))",
        "tests/singer/test_stream_maps.py -k never_empty",
    ),
    Mutant(
        "what maps filter out leaves the dead letter",
        "_ReplayReport.filter",
        "self.unsent.append(record.line)",
        "",
        "tests/commands/test_replay.py",
    ),
    Mutant(
        "what Segment refuses by bulk stands as a record",
        "delivery:_origin",
        'SourceStream(collection, b"{}", None, is_object=True)',
        'SourceStream(collection, b"{}", None)',
        "tests/commands/test_replay.py",
    ),
    Mutant(
        "a wide part is merged at once",
        "_WIDE_SLICE_VALUES",
        "500_000",
        "500_000_000",
        "tests/emulator/test_store.py -k wide",
    ),
    Mutant(
        "a run that does not end by itself says nothing",
        "SignalWatcher._exit",
        "thread.start()\nthread.join(_BEFORE_EXIT_SECONDS)",
        "",
        "tests/run/test_shutdown.py",
    ),
    Mutant(
        "a system without a temporary folder is a traceback",
        "_temporary_folder",
        'return "the system\'s folder for temporary files"',
        "raise",
        "tests/delivery/test_parts.py",
    ),
    Mutant(
        "an interim answer is the answer",
        "_WholeHead.begin",
        "100 <= self.status <= 199",
        "False",
        "tests/client/test_deadlines.py -k interim",
    ),
    Mutant(
        "a time-out of our own is taken for Segment's outage",
        "Caller.call",
        "too_short and isinstance(outcome, Failure) and outcome.too_short",
        "False",
        "tests/client/test_deadlines.py -k advice",
    ),
    Mutant(
        "base64 without its padding is told",
        "_forms_of",
        '{encoded, encoded.rstrip("=")}',
        "{encoded}",
        "tests/client/test_secrets.py",
    ),
    Mutant(
        "a dead letter that others can read stays so",
        "DeadLetter._keep_private",
        "os.fchmod(self._descriptor, _MODE)",
        "",
        "tests/delivery/test_rejects.py",
    ),
    Mutant(
        "a length of many digits is cut",
        "body_length",
        "text.lstrip('0') or '0'",
        "text",
        "tests/emulator/test_serving.py",
    ),
    Mutant(
        "a query string of many fields ends the page",
        "Page.respond",
        'raise RefusalError(400, f"a query may have at most {_MAX_FIELDS} fields") from None',
        "raise",
        "tests/emulator/test_page.py",
    ),
    Mutant(
        "a query reads any file",
        "query_file",
        '("TimeZone = \'UTC\'", "enable_external_access = false")',
        "(\"TimeZone = 'UTC'\",)",
        "tests/commands/test_cli.py",
    ),
    Mutant(
        "a signal while importing is a traceback",
        "_end_at_a_signal",
        "signal.signal(number, _exit)",
        "",
        "tests/run/test_start.py",
    ),
    Mutant(
        "a signal that was ignored ends the command",
        "_end_at_a_signal",
        "signal.getsignal(number) is not signal.SIG_IGN",
        "True",
        "tests/run/test_start.py",
    ),
    Mutant(
        "a name that was dropped a line above has no type any more",
        "StreamMaps._mapped",
        "isinstance(expression, str) and not new.startswith('__') and is_property(expression)",
        "False",
        "tests/singer/test_taps_as_they_are.py -k renamed",
    ),
    Mutant(
        "the definitions of copies are taken for one another",
        "_in_their_order",
        "[own, *copies]",
        "[own, *reversed(copies)]",
        "tests/singer/test_taps_as_they_are.py -k copies",
    ),
    Mutant(
        "keys that a map leaves out are gone",
        "StreamMaps._mapped",
        "stream_map.transformed_key_properties = keys",
        "",
        "tests/singer/test_taps_as_they_are.py -k keys_that_the_schema_lacks",
    ),
    Mutant(
        "one of two streams is enough to have meant a clash",
        "Routes._refuse_shared_collection",
        "is_meant and other_is_meant",
        "is_meant or other_is_meant",
        "tests/singer/test_taps_as_they_are.py -k one_collection",
    ),
    Mutant(
        "a declared object is flattened one level too deep",
        "compile_columns.add",
        "len(path) <= depth",
        "len(path) <= depth + 1",
        "tests/plan/test_plan_laws.py",
    ),
    Mutant(
        "what is undeclared is looked for one level too deep",
        "PropertyWriters._write_undeclared",
        "len(path) <= self._depth",
        "len(path) <= self._depth + 1",
        "tests/plan/test_plan_laws.py",
    ),
    Mutant(
        "lines with a NUL take the fast path, which does not count it",
        "LineBlock.with_nul",
        "{index for index, line in enumerate(self.lines) if _NUL in line}",
        "set()",
        "tests/singer/test_taps_as_they_are.py -k nul",
    ),
    Mutant(
        "the error of a run's end hides its first",
        "Run.commit_after",
        "isinstance(failure, LocalWarehouseError) and isinstance(error, DeliveryError)",
        "True",
        "tests/singer/test_taps_as_they_are.py -k first_error",
    ),
    Mutant(
        "each reject is warned of",
        "Report.add_reject",
        "codes[fault.code] == 1 and self.tolerates_rejects",
        "self.tolerates_rejects",
        "tests/reporting/test_report.py",
    ),
    Mutant(
        "columns that records show are not counted",
        "PropertyWriters.new_columns",
        "(builder.undeclared - self._seen) & builder.properties.keys()",
        "set()",
        "tests/singer/test_taps_as_they_are.py -k too_many_columns",
    ),
    Mutant(
        "an expression that no record can correct is a reject of every record",
        "expressions:_failure",
        'kind == "FunctionNotDefined"',
        "False",
        "tests/singer/test_taps_as_they_are.py -k no_record_can_mend",
    ),
    Mutant(
        "a variable and a file may differ in silence",
        "sources:_difference",
        "ours.get(name, missing) != theirs.get(name, missing)",
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
