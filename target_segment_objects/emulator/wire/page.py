"""The page at `/`: its files, who may read them, and its state as JSON.

It is read-only: only GET is allowed, and only names of this machine in `Host`. Otherwise a web site
whose name was pointed at this machine (DNS rebinding) could read it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from target_segment_objects.emulator.api.app import HttpResponse
from target_segment_objects.emulator.errors import RefusalError
from target_segment_objects.emulator.rules.host_names import HostNames

if TYPE_CHECKING:
    from target_segment_objects.emulator.api.page_state import PageState
    from target_segment_objects.emulator.wire.http import Head

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
_STATE = "/page/state.json"
_MAX_FIELDS = 10
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """The page of one emulator."""

    def __init__(self, host: str, view: PageState) -> None:
        """Serve `view`; `host` is where the emulator listens."""
        self._names = HostNames(host)
        self._view = view
        folder = files(__package__) / "static"
        self._files = {
            path: HttpResponse(
                200, folder.joinpath(name).read_bytes(), {"Content-Type": kind, **_HEADERS}
            )
            for path, (name, kind) in _FILES.items()
        }

    def serves(self, path: str) -> bool:
        """Tell whether a path belongs to the page."""
        return path == "/" or path.startswith(("/page/", "/?"))

    def respond(self, head: Head) -> HttpResponse:
        """Respond to a request; a `RefusalError` 400, 403, 404 or 405 when it is not allowed."""
        if head.method != "GET":
            raise RefusalError(405, "only GET is allowed", {"Allow": "GET"})
        if not self._names.allows(head.headers.get("host")):
            raise RefusalError(403, "open the page at the address that the emulator printed")
        if head.headers.get("transfer-encoding") or head.headers.get("content-length", "0") != "0":
            raise RefusalError(400, "a GET request must not have a body")
        path, _, query = head.path.partition("?")
        if path == _STATE:
            try:
                selected = parse_qs(query, max_num_fields=_MAX_FIELDS).get("collection", [""])[0]
            except ValueError:
                raise RefusalError(400, f"a query may have at most {_MAX_FIELDS} fields") from None
            body = self._view.state(selected)
            return HttpResponse(200, body, {"Content-Type": "application/json", **_HEADERS})
        response = self._files.get(path)
        if response is None:
            raise RefusalError(404, "no such path")
        return response
