"""Runs of a growing tap, with faults, kills and re-runs: nothing is ever lost.

A machine draws the steps. The source is a list of messages; every written value is the place of
its record in that list, so that what arrived tells which records it came from. The model is a
dictionary that merges.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from target_segment_objects.client import Clock
from target_segment_objects.emulator import Emulator, InjectedFault
from target_segment_objects.errors import DeliveryError, InputError
from target_segment_objects.singer.target import TargetSegmentObjects
from tests.builders import PATIENCE, rejects_in

if TYPE_CHECKING:
    from target_segment_objects.delivery.bulk.delivery import BulkDelivery
    from target_segment_objects.emulator import Hold

KEY = "wk-7Hq2nVb9xTzLmR4s"
STREAMS = ("rooms", "guests")
COLUMNS = ("beds", "price", "floor", "view")
IDS = ("a", "b", "c", "d")

CALLS = {"set": ("set",), "bulk": ("start", "upload", "finish")}
PASSING: tuple[dict[str, Any], ...] = (
    {"status": 503},
    {"status": 429},
    {"status": 500, "applied": True},
    {"cut": "before"},
    {"cut": "after"},
    {"cut": "after", "reset": True},
    {"truncate": -5},
    {"garbage": b"\0\0"},
)
"""Faults that a retry overcomes."""

streams = st.sampled_from(STREAMS)


def _timeless(stop: threading.Event) -> Clock:
    """Waits take no time, but notice a stop."""
    return Clock(wait=lambda _: stop.is_set(), random=lambda: 0.0)


class TapAndTarget(RuleBasedStateMachine):
    """A tap's messages, the runs that load them, and a model of the expected rows."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        # Null properties are refused, for objects that Segment does not take.
        self.segment = self.stack.enter_context(Emulator(write_key=KEY, nulls="refuse"))
        self.source: list[dict[str, Any]] = []
        self.target: TargetSegmentObjects | None = None
        self.out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        self.printed: list[bytes] = []
        self.safe = 0
        self.applied: dict[tuple[str, str], int] = {}
        logging.getLogger("target_segment_objects").setLevel(logging.ERROR)

    @initialize(
        method=st.sampled_from(["set", "bulk"]),
        part_size=st.sampled_from([100, 400]),
        spool=st.sampled_from([1, 300, 10_000_000]),
    )
    def start(self, method: str, part_size: int, spool: int) -> None:
        """Choose a method, and the limits of a bulk session."""
        self.method = method
        self.config: dict[str, Any] = {
            "write_key": KEY,
            "objects_url": self.segment.url,
            "bulk_url": self.segment.url,
            "method": method,
            "max_concurrency": 3,
            "max_rejects": -1,
            "dead_letter_path": str(self.folder / "dead.jsonl"),
            "part_size_bytes": part_size,
            "spool_max_bytes": spool,
        }
        for stream in STREAMS:
            self._write(_schema(stream, COLUMNS))

    # What the tap does.

    @rule(stream=streams, key=st.sampled_from(IDS), columns=st.sets(st.sampled_from(COLUMNS)))
    def record(self, stream: str, key: str, columns: set[str]) -> None:
        """A record of one of a few objects, with some of the columns."""
        values = dict.fromkeys(sorted(columns), len(self.source))
        self._write(
            {
                "type": "RECORD",
                "stream": stream,
                "record": {"id": key, "n": len(self.source)} | values,
            }
        )

    @rule(stream=streams, count=st.integers(11, 25))
    def many_records(self, stream: str, count: int) -> None:
        """Enough records of the same objects to fill calls and parts."""
        for number in range(count):
            self.record(stream, (*IDS, *"efghijklmnop")[number % 16], {COLUMNS[number % 4]})

    @precondition(lambda self: self.method == "set")
    @rule(stream=streams, key=st.sampled_from(IDS))
    def refused(self, stream: str, key: str) -> None:
        """A record for which Segment answers the whole call with 400."""
        values = {"id": key, "n": len(self.source), "view": None}
        self._write({"type": "RECORD", "stream": stream, "record": values})

    @rule()
    def rejected(self) -> None:
        """A record that cannot become an object."""
        self._write({"type": "RECORD", "stream": "rooms", "record": {"n": len(self.source)}})

    @rule()
    def state(self) -> None:
        """A state with the number of messages before it."""
        self._write({"type": "STATE", "value": {"at": len(self.source)}})

    @rule(stream=streams, columns=st.permutations(COLUMNS), kept=st.integers(0, 4))
    def schema(self, stream: str, columns: list[str], kept: int) -> None:
        """The stream's columns change during a run; a new one may be text."""
        self._write(_schema(stream, columns[:kept]))

    @rule()
    def wait(self) -> None:
        """The tap is silent: due work is done."""
        self._in_run(lambda target: target.run.do_due_work())

    # What goes wrong.

    @rule(fault=st.sampled_from(PASSING), index=st.integers(0, 2), count=st.integers(1, 3))
    def passing_fault(self, fault: dict[str, Any], index: int, count: int) -> None:
        """The next calls of one kind fail, later ones do not."""
        self._fault(index, count=count, **fault)

    @rule(status=st.sampled_from([301, 403, 501]), index=st.integers(0, 2))
    def lasting_fault(self, status: int, index: int) -> None:
        """The next call of one kind fails permanently."""
        self._fault(index, count=1, status=status)

    @rule(index=st.integers(0, 2))
    def refusal(self, index: int) -> None:
        """The next call of one kind is answered with 400, whatever it contains."""
        self._fault(index, count=1, status=400)

    @rule()
    def expired_session(self) -> None:
        """Segment forgets its sessions."""
        self.segment.expire_sessions()

    @precondition(lambda self: self.method == "bulk")
    @rule(stream=streams, sessions=st.integers(2, 4))
    def old_sessions(self, stream: str, sessions: int) -> None:
        """Sessions end by age, one after another, while Segment finishes them slowly."""
        self.record(stream, "a", {"beds"})
        delivery = self._bulk()
        if delivery is None:  # a fault before has ended the run
            return
        asked = sum(request.call == "finish" for request in self.segment.requests)
        with self.segment.hold("finish", first=asked + 1, count=None, before=True) as hold:
            _release_before_waiting(delivery, hold)
            for _ in range(sessions):
                delivery._monotonic = lambda: time.monotonic() + 10_000.0
                self._in_run(lambda target: target.run.do_due_work())
                if self._bulk() is not delivery:
                    return
                delivery._monotonic = time.monotonic
                self.record(stream, "a", {"beds"})
                if self._bulk() is not delivery:
                    return
                self._check_sessions()

    @precondition(lambda self: self.method == "bulk")
    @rule(stream=streams, times=st.integers(1, 3))
    def lost_sessions(self, stream: str, times: int) -> None:
        """Sessions are lost repeatedly, always after an accepted call: no run ends."""
        self.end()
        self.segment.clear_faults()
        self._begin()
        run = self.target
        for _ in range(times):
            self.many_records(stream, 11)
            assert self.target is run, "a lost session ended the run"
            self._let_all_parts_arrive()
            self.segment.expire_sessions()
        assert self._in_run(lambda target: target.process_endofpipe()), "a lost session ended it"
        self._leave()
        self._check_committed()
        self._check(self.source)

    @rule()
    def bad_line(self) -> None:
        """A line that is not a message ends the run; what was read before is committed."""
        if self._feed(b"{\n"):
            self._check_committed()

    @rule()
    def kill(self) -> None:
        """The current run, if there is one, is killed."""
        # No precondition: whether a fault has ended the run already is a matter of threads.
        if self.target is None:
            return
        with contextlib.redirect_stdout(self.out):
            self.target.run.close()
        self._leave()

    @rule()
    def end(self) -> None:
        """The input ends; without a failure, everything arrives and the last state is printed."""
        if self._in_run(lambda target: target.process_endofpipe()):
            self._leave()
            self._check_committed()
            self._check(self.source)

    # How it is done.

    def _fault(self, index: int, **fault: Any) -> None:
        calls = CALLS[self.method]
        call = calls[index % len(calls)]
        asked = sum(request.call == call for request in self.segment.requests)
        self.segment.fault(InjectedFault(call=call, first=asked + 1, **fault))

    def _bulk(self) -> BulkDelivery | None:
        """The delivery of the current run, if there is one, by bulk."""
        connection = self.target.run._connection if self.target is not None else None
        return None if connection is None else cast("BulkDelivery", connection.delivery)

    def _let_all_parts_arrive(self) -> None:
        """Wait until the calls for all closed parts have been made."""
        delivery = self._bulk()
        if delivery is None or not delivery._unfinished:
            return
        done = threading.Event()
        delivery._compressor.call(delivery._unfinished[-1], done.set)
        assert done.wait(PATIENCE), "a lost session ended the run"

    def _write(self, message: dict[str, Any]) -> None:
        """The tap writes a message; a new run first reads the earlier ones."""
        self._begin()
        self.source.append(message)
        self._feed(json.dumps(message).encode() + b"\n")

    def _begin(self) -> None:
        """Start a run from the last printed state, unless there is one."""
        if self.target is not None:
            return
        self.target = TargetSegmentObjects(config=self.config)
        self.target.run.make_clock = _timeless
        self.out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        self.printed = []
        self.starts = {
            key: len(self.segment.history(*key))
            for key in itertools.product(STREAMS, (*IDS, *"efghijklmnop"))
        }
        before, after = self.source[: self.safe], self.source[self.safe :]
        # A tap tells its schemas first.
        schemas = {message["stream"]: message for message in before if message["type"] == "SCHEMA"}
        again = [*schemas.values(), *after]
        if again:
            self._feed("".join(f"{json.dumps(message)}\n" for message in again).encode())

    def _feed(self, fed: bytes) -> bool:
        self._begin()
        return self._in_run(lambda target: target.process_lines(io.BytesIO(fed)))

    def _in_run(self, step: Any) -> bool:
        """A step of the run that is under way, if any; whether that ended without losing data.

        Any error but ours is a bug, and of ours only those that a fault explains are expected.
        """
        if self.target is None:
            return False
        try:
            with contextlib.redirect_stdout(self.out):
                step(self.target)
        except DeliveryError:
            with contextlib.redirect_stdout(self.out):
                self.target.run.close()
            self._leave()
            return False
        except InputError:
            connection = self.target.run._connection
            failed = connection is not None and connection.delivery._failure is not None  # type: ignore[attr-defined]
            self._leave()
            return not failed
        return True

    def _leave(self) -> None:
        if self.target is not None:
            self._read_states()
            self.target = None

    def _read_states(self) -> None:
        self.out.flush()
        raw = self.out.buffer.getvalue()
        for line in raw.splitlines()[len(self.printed) :]:
            self.printed.append(line)
            at = json.loads(line)["at"]
            # Byte for byte one that the tap sent, and none older than the one before.
            assert line == json.dumps(self.source[at]["value"]).encode()
            assert at >= self.safe
            self.safe = at

    # What must hold.

    @invariant()
    def no_state_is_ahead_of_its_records(self) -> None:
        """Every record before a printed state has arrived, or is in the dead letter."""
        self._read_states()
        self._check(self.source[: self.safe])

    @invariant()
    def for_one_object_later_records_arrive_later(self) -> None:
        """By `set`, in every run; a replaced bulk session is uploaded from its start again."""
        if self.target is None or self.method == "bulk":
            return
        for key, begun in self.starts.items():
            numbers = [int(str(row["n"])) for row in self.segment.history(*key)[begun:]]
            assert numbers == sorted(numbers)

    @invariant()
    def the_limits_hold(self) -> None:
        """Segment never saw too many requests at once, nor one id twice in a call."""
        assert self.segment.in_flight_peak <= 4  # three, and a session that is kept alive
        assert all("twice" not in refusal.reason for refusal in self.segment.refusals)

    @invariant()
    def sessions_are_bounded(self) -> None:
        """By bulk one session is filled, and at most one earlier session is unfinished."""
        self._check_sessions()

    def _check_sessions(self) -> None:
        if getattr(self, "method", "") == "bulk" and (delivery := self._bulk()) is not None:
            assert len(delivery._unfinished) <= 2

    def _check_committed(self) -> None:
        """A run whose delivery did not fail has printed the last state that it read."""
        states = [at for at, message in enumerate(self.source) if message["type"] == "STATE"]
        self._read_states()
        assert not states or self.safe == states[-1]

    def _check(self, messages: list[dict[str, Any]]) -> None:
        """Every property has the value of its last record, or of a later one."""
        dead = self._dead()
        model: dict[tuple[str, str], dict[str, int]] = {}
        for message in messages:
            if message["type"] != "RECORD" or message["record"]["n"] in dead:
                continue
            # A null that Segment did not refuse was merged with a later value before it was sent.
            number = message["record"]["n"]
            values = {
                name: number if value is None else value
                for name, value in message["record"].items()
            }
            model.setdefault((message["stream"], values.pop("id")), {}).update(values)
        rows = {(name, row["id"]): row for name in STREAMS for row in self.segment.rows(name)}
        for key, values in model.items():
            for name, index in values.items():
                found = rows[key][name]
                assert index <= int(found) < len(self.source)  # type: ignore[arg-type]
                # Exactly so once all is there, but for what a dead record wrote in another run.
                assert messages is not self.source or int(found) == index or int(found) in dead  # type: ignore[arg-type]

    def _dead(self) -> set[int]:
        """The positions of the records in the dead letter."""
        path = self.folder / "dead.jsonl"
        if not path.exists():
            return set()
        return {entry["record"]["n"] for entry in rejects_in(path)}

    def teardown(self) -> None:
        """At the end, a run without faults: everything has arrived."""
        try:
            if hasattr(self, "config"):
                self.segment.clear_faults()
                if self.target is not None:
                    self.kill()
                self.state()
                assert self.target is not None
                self.end()
                assert self.safe == len(self.source) - 1
        finally:
            if self.target is not None:
                with contextlib.redirect_stdout(self.out):
                    self.target.run.close()
            self.stack.close()


def _release_before_waiting(delivery: BulkDelivery, hold: Hold) -> None:
    """Let Segment answer as soon as the run waits for it or ends."""

    def releasing(step: Any) -> Any:
        def wait() -> Any:
            hold.release()
            return step()

        return wait

    delivery._next_outcome = releasing(delivery._next_outcome)  # type: ignore[method-assign]
    delivery.close = releasing(delivery.close)  # type: ignore[method-assign]


def _schema(stream: str, columns: Any) -> dict[str, Any]:
    properties = {name: {"type": ["integer", "null"]} for name in columns}
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": {"id": {"type": "string"}, **properties}},
        "key_properties": ["id"],
    }


class TestNothingIsLost(TapAndTarget.TestCase):  # type: ignore[valid-type,misc]
    """No state is ahead of its records, the order is kept, and the final rows are the model's."""

    settings = settings(max_examples=50, stateful_step_count=30)
