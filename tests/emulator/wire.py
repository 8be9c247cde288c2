"""A plain HTTP client on one connection, which sends exactly the bytes of a test."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from target_segment_objects.emulator import Emulator

KEY = "key-of-the-tests"


def basic(text: str) -> str:
    """Return a Basic header with this text in base64."""
    return "Basic " + base64.b64encode(text.encode()).decode()


def lines(*objects: dict[str, Any]) -> bytes:
    """Return a part before compression."""
    return b"".join(json.dumps(item).encode() + b"\n" for item in objects)


def room(identifier: str, collection: str = "rooms", **properties: Any) -> dict[str, Any]:
    """Return a line of a part."""
    return {"id": identifier, "collection": collection, "properties": properties}


class Answer(NamedTuple):
    """A complete response."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The content, decoded."""
        return json.loads(self.content)

    @property
    def reason(self) -> str:
        """The message of a refusal."""
        return str(self.json["error"]["message"])


class Client:
    """A client of one emulator on one keep-alive connection."""

    def __init__(self, segment: Emulator, key: str = KEY) -> None:
        """Use the address of an emulator."""
        self._connection = http.client.HTTPConnection(
            segment.url.removeprefix("http://"), timeout=10
        )
        self._key = key

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def send(
        self,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str | None] | None = None,
        method: str = "POST",
    ) -> Answer:
        """Send a request; a header that is None is omitted."""
        all_headers = {"Authorization": basic(f"{self._key}:"), **(headers or {})}
        sent = {name: value for name, value in all_headers.items() if value is not None}
        try:
            self._connection.request(method, path, body, sent)
            answer = self._connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        except BaseException:
            self._connection.close()
            raise

    def set(
        self, *objects: dict[str, Any], collection: str = "rooms", synchronous: bool = True
    ) -> Answer:
        """Send a set call with objects."""
        return self.set_body(
            {"collection": collection, "objects": list(objects)}, synchronous=synchronous
        )

    def set_body(self, body: object, *, synchronous: bool = True) -> Answer:
        """Send a set call with any body: bytes as they are, other values as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers: dict[str, str | None] = {"Content-Type": "application/json"}
        if synchronous:
            headers["Synchronous"] = "true"
        return self.send("/v1/set", content, headers)

    def one(self, identifier: str, *, synchronous: bool = True, **properties: Any) -> Answer:
        """Send a set call with one room."""
        item = {"id": identifier, "properties": properties}
        return self.set(item, synchronous=synchronous)

    def start(self) -> str:
        """Start a bulk session and return its id."""
        answer = self.send("/v0/start")
        assert answer.status == 201, answer
        return str(answer.json["sync_id"])

    def upload(self, sync_id: str, content: bytes) -> Answer:
        """Compress and upload a part."""
        return self.upload_raw(sync_id, gzip.compress(content))

    def upload_raw(
        self, sync_id: str, body: bytes | Iterable[bytes], **headers: str | None
    ) -> Answer:
        """Upload a body; keywords replace headers (`content_type` for `Content-Type`)."""
        sent: dict[str, str | None] = {
            "content-type": "binary/octet-stream",
            "content-encoding": "gzip",
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(f"/v0/upload/{sync_id}", body, sent)  # type: ignore[arg-type]

    def finish(self, sync_id: str, error: str = "") -> Answer:
        """Finish a session."""
        body = json.dumps({"error": error}).encode()
        return self.send(f"/v0/finish/{sync_id}", body, {"Content-Type": "application/json"})

    def keep_alive(self, sync_id: str) -> Answer:
        """Keep a session alive."""
        return self.send(f"/v0/keep-alive/{sync_id}")

    def load(self, *parts: bytes) -> str:
        """Run a whole bulk session and return its id."""
        sync_id = self.start()
        for part in parts:
            assert self.upload(sync_id, part).status == 201
        assert self.finish(sync_id).status == 202
        return sync_id
