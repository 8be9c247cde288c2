"""The bulk API in its own process; it stores bodies without parsing them.

`Receiver` starts it and returns the parts of finished sessions; `checking` parses them after the
clock has stopped.
"""

from __future__ import annotations

import itertools
import json
import os
import socketserver
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Receiver"]

_ROOT = Path(__file__).resolve().parents[1]
_BLOCK = 1 << 20


class _Exchange(BaseHTTPRequestHandler):
    """Stores bodies in `FOLDER/SESSION.NUMBER.part`; a finish creates `FOLDER/SESSION.finished`."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    folder: ClassVar[Path]
    numbers: ClassVar[itertools.count[int]] = itertools.count(1)

    def do_POST(self) -> None:
        """Handle one of the four calls."""
        _, _, call, *rest = self.path.split("/")
        session = rest[0] if rest else ""
        number = next(self.numbers)
        if call == "start":
            self._read(None)
            self._answer(201, {"sync_id": f"session-{number}"})
        elif call == "upload":
            self._read(self.folder / f"{session}.{number:06}.part")
            self._answer(201, {"part_id": f"part-{number}"})
        elif call == "finish":
            self._read(None)
            (self.folder / f"{session}.finished").touch()
            self._answer(202, {})
        else:
            self._read(None)
            self._answer(200, {})

    def _read(self, path: Path | None) -> None:
        with (path or Path(os.devnull)).open("wb") as file:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                self._copy(int(self.headers.get("Content-Length", "0")), file)
                return
            while size := int(self.rfile.readline(), 16):
                self._copy(size, file)
                self.rfile.readline()
            self.rfile.readline()

    def _copy(self, left: int, file: BinaryIO) -> None:
        while left > 0 and (block := self.rfile.read(min(left, _BLOCK))):
            file.write(block)
            left -= len(block)

    def _answer(self, status: int, answer: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Print nothing."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


class Receiver:
    """The server, for the duration of a `with` block.

    Attributes:
        url: the value for `bulk_url`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.receiver", str(folder.resolve())]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def parts(self) -> list[Path]:
        """Return the parts of finished sessions, in order of arrival."""
        finished = {path.stem for path in self._folder.glob("*.finished")}
        parts = sorted(self._folder.glob("*.part"), key=lambda path: path.name.split(".")[1])
        return [path for path in parts if path.name.split(".")[0] in finished]

    def clear(self) -> None:
        """Remove everything that arrived."""
        for path in self._folder.iterdir():
            path.unlink()


def _serve(folder: Path) -> None:
    _Exchange.folder = folder
    with _Server(("127.0.0.1", 0), _Exchange) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
