"""Runs the command many times without its imports: a server imports it once, and forks it.

A forked command continues with `main()`, to the end of the interpreter. Its stdin, stdout and
stderr are pipes to the test.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.running import ROOT, WARNINGS_AS_ERRORS, config_file, environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Child", "ForkServer"]

_PATIENCE = 30.0  # seconds; only a failing test waits that long


class Child:
    """A forked command with an open stdin; both outputs are read continuously.

    Attributes:
        pid: its process id; valid until `status` is called.
        out: its stdout.
        err: its stderr.
        ended: set when both outputs are closed: it can do nothing any more.
    """

    def __init__(self, server: ForkServer, pid: int, stdin: int, pipes: dict[str, int]) -> None:
        self.pid = pid
        self.out = bytearray()
        self.err = bytearray()
        self.ended = threading.Event()
        self._server = server
        self._stdin = stdin
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(pipes,), daemon=True)
        self._reader.start()

    def write(self, fed: bytes) -> None:
        """Write bytes that fit into a pipe; does nothing if the command has ended."""
        with suppress(BrokenPipeError):
            os.write(self._stdin, fed)

    def close_stdin(self) -> None:
        """Close its stdin."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def wait_for(self, printed: bytes) -> None:
        """Wait until this text is printed."""
        with self._changed:
            self._changed.wait_for(lambda: printed in self.out or self.ended.is_set(), _PATIENCE)
        assert printed in self.out, self.err.decode()

    def kill(self, *numbers: int) -> None:
        """Send signals; does nothing if the command has ended."""
        # Another thread may have called `status` meanwhile.
        with suppress(ProcessLookupError):
            for number in numbers:
                os.kill(self.pid, number)

    def status(self) -> int:
        """Wait until it ends, and return its exit status, negative for a signal."""
        ended = self.ended.wait(_PATIENCE)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        self._reader.join()
        self.close_stdin()
        status = self._server.reap()
        assert ended, f"hangs: {self.err.decode()}"
        return status

    def _read(self, pipes: dict[str, int]) -> None:
        got = {"out": self.out, "err": self.err}
        with selectors.DefaultSelector() as selector:
            for name, pipe in pipes.items():
                selector.register(pipe, selectors.EVENT_READ, name)
            while selector.get_map():
                for key, _ in selector.select():
                    block = os.read(key.fd, 65536)
                    if not block:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                    with self._changed:
                        got[key.data] += block
                        self._changed.notify_all()
        with self._changed:
            self.ended.set()
            self._changed.notify_all()


class ForkServer:
    """Forks the command, one at a time, from a process that has imported it. A context manager.

    Attributes:
        count: how many commands it has forked.
    """

    def __init__(self) -> None:
        self.count = 0
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *WARNINGS_AS_ERRORS,
                    "-m",
                    "tests.faults.fork_server",
                    str(theirs.fileno()),
                ],
                cwd=ROOT,
                env=environment(PYTHONPATH=str(ROOT)),
                pass_fds=[theirs.fileno()],
            )

    def start(self, folder: Path, config: Mapping[str, Any], env: Mapping[str, str]) -> Child:
        """Fork the command.

        Args:
            folder: its working directory; the configuration is written into it.
            config: its configuration.
            env: variables over those of the server.
        """
        self.count += 1
        arguments = ["--config", config_file(folder, config)]
        asked = json.dumps([str(folder), arguments, dict(env)]).encode()
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        socket.send_fds(self._socket, [asked], theirs)
        pid = int(self._socket.recv(64))
        for pipe in theirs:
            os.close(pipe)
        return Child(self, pid, pipes[0][1], {"out": pipes[1][0], "err": pipes[2][0]})

    def reap(self) -> int:
        """Wait for the child that was started last, and return its exit status."""
        self._socket.sendall(b"reap")
        return int(self._socket.recv(64))

    def __enter__(self) -> Self:
        """Return the server itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait(_PATIENCE)


def _serve(asks: socket.socket) -> bool:
    """Fork a child for each request; returns True in a child, False when the test has ended."""
    while True:
        asked, pipes, _, _ = socket.recv_fds(asks, 65536, 3)
        if not asked:
            return False
        pid = os.fork()
        if not pid:
            asks.close()
            for number, pipe in enumerate(pipes):
                os.dup2(pipe, number)
                os.close(pipe)
            folder, arguments, env = json.loads(asked)
            os.chdir(folder)
            os.environ.update(env)
            sys.argv[1:] = arguments
            return True
        for pipe in pipes:
            os.close(pipe)
        asks.sendall(b"%d" % pid)
        if asks.recv(64) != b"reap":
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            asks.sendall(b"%d" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    from target_segment_objects.delivery.bulk import spool
    from target_segment_objects.singer.target import main

    # So that the spool is a file even with few records.
    assert spool._MEMORY_BYTES
    vars(spool)["_MEMORY_BYTES"] = 0
    gc.freeze()  # the garbage collector of a child can ignore the imported modules
    with socket.socket(fileno=int(sys.argv[1])) as given:
        forked = _serve(given)
    if forked:
        main()
