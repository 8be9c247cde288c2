"""A Meltano project based on the checkout's `meltano.yml`, and real runs in it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import yaml

from tests.running import COMMAND, ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.meltano.installation import Installation

__all__ = ["ROOT", "Finished", "Project", "Running", "Tally", "copy_checkout", "quiet"]

_PATIENCE = 120.0  # seconds; only a failing test waits that long
_LOADER = "target-segment-objects"

# What users add for their own tables: which ones are replicated incrementally, and a mapper between
# tap and target.
_OF_THE_TESTS: dict[str, Any] = yaml.safe_load("""
extractor:
  metadata:
    public-bookings: {replication-method: INCREMENTAL, replication-key: changed_at}
mappers:
  - name: meltano-map-transformer
    namespace: meltano_map_transformer
    pip_url: meltano-map-transform==0.12.3
    executable: meltano-map-transform
    settings: [{name: stream_maps, kind: object}]
    mappings:
      - name: greet
        config:
          stream_maps:
            public-Guest Book: {Greeting: "'Aloha ' + record['Guest Name']"}
""")


def quiet(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Meltano contacts nobody, and its plugins have no proxies."""
    others = ("MELTANO_", "TAP_POSTGRES_", "TARGET_SEGMENT_OBJECTS_", "PG")
    kept = {name: value for name, value in env.items() if not name.startswith(others)}
    return kept | {
        "NO_COLOR": "1",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
        # The discard port, where nobody listens, so that a request to the Hub fails.
        "MELTANO_HUB_URL": "http://127.0.0.1:9",
    }


def copy_checkout(folder: Path) -> None:
    """Copy the files of a clone that Meltano needs to install and run the target."""
    folder.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__", "*.duckdb*")
    for name in ("target_segment_objects", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in ("LICENSE", "README.md", "meltano.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)


@dataclass(frozen=True)
class Finished:
    """A finished command of Meltano.

    Attributes:
        code: exit status.
        out: stdout.
        events: the lines of the log as objects, with `level`, `event` and the logger's name.
        other_lines: the other lines of stderr. Meltano's first line is one of them, since it comes
            before the settings of the log are read.
    """

    code: int
    out: str
    events: list[dict[str, Any]]
    other_lines: list[str]

    def messages(self, level: str, name: str = _LOADER) -> list[str]:
        """Return the messages that a plugin logged at a level, as Meltano understood them."""
        return [
            event["event"]
            for event in self.events
            if event.get("name") == name and event["level"] == level
        ]


class Running:
    """A running command of Meltano, in its own process group."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._grown = threading.Condition()
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._open = 2
        self._awaited: list[threading.Event] = []
        self._readers = [
            threading.Thread(target=self._read, args=("out", process.stdout)),
            threading.Thread(target=self._read, args=("err", process.stderr)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: IO[str]) -> None:
        for line in pipe:
            with self._grown:
                self._lines[name].append(line)
                self._grown.notify_all()
        with self._grown:
            self._open -= 1
            self._grown.notify_all()
            for event in self._awaited:
                event.set()

    def wait_for(self, text: str) -> None:
        """Wait until a line of the log contains this text; the run must not end before."""
        with self._grown:
            self._grown.wait_for(lambda: self._has(text) or not self._open, _PATIENCE)
            assert self._has(text), "".join(self._lines["err"])

    def _has(self, text: str) -> bool:
        return any(text in line for line in self._lines["err"])

    def wait_with(self, event: threading.Event) -> None:
        """Wait for something outside the run; the run must not end before."""
        with self._grown:
            self._awaited.append(event)
        if self._open:
            event.wait(_PATIENCE)
        assert self._open, "".join(self._lines["err"])
        assert event.is_set()

    def interrupt(self) -> None:
        """Send SIGINT to Meltano, the tap and the target, as Ctrl-C does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill the command and all that it started, if still running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for reader in self._readers:
            reader.join()

    def end(self) -> Finished:
        """Wait until it ends."""
        code = self._process.wait(_PATIENCE)
        for reader in self._readers:
            reader.join(_PATIENCE)
        events, other_lines = [], []
        for line in self._lines["err"]:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and "event" in event:
                events.append(event)
            else:
                other_lines.append(line.rstrip())
        return Finished(code, "".join(self._lines["out"]), events, other_lines)


@dataclass
class Tally:
    """The counts of these tests.

    Attributes:
        runs: the number of `meltano run`.
        rows: rows that were compared with their source.
    """

    runs: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Project:
    """A folder with its own `meltano.yml` and state, and the plugins of the cache.

    The target is the checkout's, run by the interpreter of the tests.
    """

    folder: Path
    installation: Installation
    tally: Tally
    variables: Mapping[str, str]

    @classmethod
    def make(
        cls, folder: Path, installation: Installation, tally: Tally, variables: Mapping[str, str]
    ) -> Project:
        """Create a project; `variables` are in the environment of every command."""
        folder.mkdir()
        shutil.copytree(ROOT / "examples" / "meltano", folder / "examples" / "meltano")
        cls.describe(folder)
        for kind in ("extractors", "mappers"):
            (folder / ".meltano" / kind).mkdir(parents=True)
            for plugin in (installation.plugins / kind).iterdir():
                (folder / ".meltano" / kind / plugin.name).symlink_to(plugin)
        return cls(folder, installation, tally, variables)

    @staticmethod
    def described() -> str:
        """Return the checkout's `meltano.yml`, with the tests' target and what users add."""
        project = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
        plugins = project["plugins"]
        (loader,) = plugins["loaders"]
        del loader["pip_url"]
        loader["executable"] = "./target"
        for extractor in plugins["extractors"]:
            if extractor["name"] == "tap-postgres":
                extractor.update(_OF_THE_TESTS["extractor"])
        plugins["mappers"] = _OF_THE_TESTS["mappers"]
        return yaml.safe_dump(project, sort_keys=False, allow_unicode=True)

    @classmethod
    def describe(cls, folder: Path) -> None:
        """Write the `meltano.yml`, and the command for the target."""
        (folder / "meltano.yml").write_text(cls.described(), encoding="utf-8")
        target = folder / "target"
        text = f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.join(COMMAND)} "$@"\n'
        target.write_text(text, encoding="utf-8")
        target.chmod(0o755)

    @contextlib.contextmanager
    def start(self, *arguments: str, **variables: str) -> Iterator[Running]:
        """Start a command of Meltano; it is killed with all that it started if still running."""
        with subprocess.Popen(
            [str(self.installation.commands / "meltano"), *arguments],
            cwd=self.folder,
            env={
                **quiet(environment()),
                "MELTANO_CLI_LOG_FORMAT": "json",
                **self.variables,
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            running = Running(process)
            try:
                yield running
            finally:
                running.kill()

    def call(self, *arguments: str, **variables: str) -> Finished:
        """Run a command of Meltano until it ends."""
        with self.start(*arguments, **variables) as running:
            return running.end()

    def start_run(
        self, *blocks: str, **variables: str
    ) -> contextlib.AbstractContextManager[Running]:
        """Start `meltano run` with installed plugins."""
        self.tally.runs += 1
        return self.start("run", "--no-install", *blocks, **variables)

    def run(self, *blocks: str, **variables: str) -> Finished:
        """Run `meltano run` until it ends."""
        with self.start_run(*blocks, **variables) as running:
            return running.end()

    def state(self, name: str) -> dict[str, Any]:
        """Return the state with which the next run of this name starts."""
        ended = self.call("state", "get", name)
        assert ended.code == 0, ended
        state = json.loads(ended.out)
        assert isinstance(state, dict)
        return state
