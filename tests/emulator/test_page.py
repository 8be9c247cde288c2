"""The page's HTTP side: who may read it, and the JSON behind it."""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator, InjectedFault, WarehouseError
from target_segment_objects.emulator.api.request_log import Headers
from target_segment_objects.emulator.errors import RefusalError
from target_segment_objects.emulator.rules.host_names import is_loopback
from target_segment_objects.emulator.wire.http import Head
from target_segment_objects.emulator.wire.page import Page
from tests.emulator.wire import KEY, Client, basic, lines, room
from tests.running import lines as singer_lines
from tests.running import load, record, schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 10.0


@pytest.fixture(params=["memory", "warehouse"])
def segment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Emulator]:
    """An emulator with its page, over both stores."""
    warehouse = tmp_path / "hotel.duckdb" if request.param == "warehouse" else None
    with Emulator(page=True, warehouse=warehouse) as running:
        yield running


def ask(
    segment: Emulator, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as a browser does; a header may replace the usual `Host`."""
    connection = http.client.HTTPConnection(segment.url.removeprefix("http://"), timeout=TIMEOUT)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def state(segment: Emulator, collection: str = "") -> Any:
    """Return the page's JSON, after all accepted updates are in the store."""
    segment.flush()
    status, headers, body = ask(segment, f"/page/state.json?collection={collection}")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    return json.loads(body)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/?from=bookmark", "text/html; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/page/state.json", "application/json"),
    ],
)
def test_the_page_is_served_and_leaves_no_trace(path: str, kind: str) -> None:
    """Each file has its type and a policy; requests for it are not logged."""
    with Emulator(page=True) as segment:
        status, headers, body = ask(segment, path)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert body
        assert segment.requests == []


def test_no_page_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator in a test, and the one in the target, respond to `/` as Segment does: 404."""
    seen = []
    start = Emulator.start

    def started(self: Emulator) -> Emulator:
        start(self)
        seen.append(ask(self, "/")[0])
        return self

    monkeypatch.setattr(Emulator, "start", started)
    with Emulator() as segment:
        assert [request.call for request in segment.requests] == ["other"]
    fed = singer_lines(schema("rooms", id="integer"), record("rooms", id=1))
    assert load({"local_warehouse": str(tmp_path / "w.duckdb")}, fed).code == 0
    assert seen == [404, 404]


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/page/state.json"])
def test_only_get_is_taken(method: str, path: str) -> None:
    """Another method is 405, and the response names the allowed one."""
    with Emulator(page=True) as segment:
        status, headers, _ = ask(segment, path, method)
        assert (status, headers["Allow"], headers["Connection"]) == (405, "GET", "close")


@pytest.mark.parametrize("path", ["/page/", "/page/../page.js", "/page/page.py", "/page/%2e%2e"])
def test_other_paths_are_404(path: str) -> None:
    """Only the page's own files can be read."""
    with Emulator(page=True) as segment:
        assert ask(segment, path)[0] == 404


def test_a_body_is_refused() -> None:
    """A GET with a body is 400, and its bytes are not read as the next request."""
    with Emulator(page=True) as segment, Client(segment) as client:
        answer = client.send("/", b"GET /page/state.json HTTP/1.1", method="GET")
        assert (answer.status, answer.headers["Connection"]) == (400, "close")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8765", 200),
        ("127.9.9.9:1", 200),
        ("LocalHost:8765", 200),
        ("[::1]:8765", 200),
        ("attacker.example:8765", 403),
        ("127.0.0.1.attacker.example", 403),
        ("localhost.attacker.example", 403),
        ("attacker.localhost", 403),
        ("192.168.0.1", 403),
        ("0.0.0.0", 403),  # noqa: S104 an example
        ("127.0.0.1@attacker.example", 403),
        ("127.0.0.1, attacker.example", 403),
        ("::1", 403),
        ("", 403),
    ],
)
def test_a_rebound_name_sees_nothing(host: str, status: int) -> None:
    """On loopback only names of loopback are allowed, so no other web site can read the page."""
    with Emulator(page=True) as segment:
        for path in ("/", "/page/state.json"):
            assert ask(segment, path, Host=host)[0] == status


@pytest.mark.parametrize("query", ["&".join("abcdefghijk"), "&" * 5000, "a=%ff&%00=1"])
def test_any_query_string_leaves_the_emulator_in_good_health(query: str) -> None:
    """Any web page can request an image with any query; the worst result is a 400."""
    with Emulator(page=True) as segment:
        assert ask(segment, f"/page/state.json?{query}")[0] in {200, 400}
        assert ask(segment, f"/?{query}")[0] == 200


def test_a_request_without_a_host_sees_nothing() -> None:
    """A request without a host is refused."""
    with Emulator(page=True) as segment:
        connection = http.client.HTTPConnection(segment.url.removeprefix("http://"))
        connection.putrequest("GET", "/", skip_host=True)
        connection.endheaders()
        assert connection.getresponse().status == 403
        connection.close()


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("192.168.0.1:8765", True),
        ("[fe80::1]:8765", True),
        ("emulator:8765", True),
        ("segment.internal", True),
        ("attacker.example", False),
        ("", False),
    ],
)
def test_on_another_address_public_names_see_nothing(host: str, taken: bool) -> None:  # noqa: FBT001
    """Beyond loopback: addresses, names without a dot, and the name that it listens on."""
    with Emulator() as segment:
        page = Page("segment.internal", segment._view())
    head = Head("GET", "/", Headers({"host": host}), "", keep_alive=True, expects_continue=False)
    if taken:
        assert page.respond(head).status == 200
    else:
        with pytest.raises(RefusalError) as caught:
            page.respond(head)
        assert caught.value.status == 403


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 an example
        ("::", False),
        ("", False),
        ("192.168.0.1", False),
        ("localhost.example", False),
    ],
)
def test_what_is_loopback(host: str, own: bool) -> None:  # noqa: FBT001
    """Only addresses that no other machine can reach."""
    assert is_loopback(host) is own


def test_requests_and_refusals(segment: Emulator) -> None:
    """Newest first, with the number of their `X-Request-Id`, sizes, statuses and reasons."""
    with Client(segment) as client:
        assert client.one("1", a=1).headers["X-Request-Id"] == "set-1"
        reason = client.one("", a=1).reason
        client.send("/elsewhere?key=1")
        segment.fault(InjectedFault(call="set", first=3, cut="after"))
        with pytest.raises(ConnectionError):
            client.one("2", a=1)
        found = state(segment)
    shown = [(r["id"], r["status"], r["reason"], r["objects"]) for r in found["requests"]]
    assert shown == [
        ("set-3", None, "", 1),
        ("other-1", 404, "no such path", 0),
        ("set-2", 400, reason, 0),
        ("set-1", 200, "", 1),
    ]
    assert [r["path"] for r in found["requests"]] == ["", "POST /elsewhere", "", ""]
    assert [r["id"] for r in found["refusals"]] == ["other-1", "set-2"]
    assert found["totals"] == {"requests": 4, "objects": 1, "refused": 2, "in_flight": 0}
    first = found["requests"][-1]
    assert first["bytes"] == segment.requests[0].body_bytes > 0
    assert 0 < first["seconds"] < found["now"] - first["at"]


def test_sessions() -> None:
    """Newest first: their contents, how they ended, and the text of the finish."""
    now = [100.0]
    with Emulator(page=True, clock=lambda: now[0]) as segment, Client(segment) as client:
        silent = client.start()
        now[0] += 400
        finished = client.load(lines(room("1", a=1), room("2", a=1)), lines(room("3", a=1)))
        failed = client.start()
        client.upload(failed, lines(room("4", a=1)))
        client.finish(failed, "the tap failed")
        now[0] += 300
        opened = client.start()
        sessions = state(segment)["sessions"]
    assert [(s["sync_id"], s["state"], s["parts"], s["objects"]) for s in sessions] == [
        (opened, "open", 0, 0),
        (failed, "failed", 1, 1),
        (finished, "finished", 2, 3),
        (silent, "expired", 0, 0),
    ]
    assert [s["error"] for s in sessions] == ["", "the tap failed", "", ""]
    assert [(s["started_at"], s["last_call_at"]) for s in sessions[2:]] == [(500, 500), (100, 100)]
    uploads = [request for request in segment.requests if request.sync_id == finished]
    assert sessions[2]["bytes"] == sum(r.body_bytes for r in uploads if r.call == "upload")


def test_rows_are_texts_under_typed_columns(segment: Emulator) -> None:
    """The newest rows of a collection, as a warehouse shows them, with names and types."""
    with Client(segment) as client:
        client.one("1", n=2**70, f=515.0, b=True, s="ä\n<b>", at="2024-01-31T12:00:00.5+02:00")
        client.one("2", n=None, f=1, b=False, s="x" * 201, at="2024-01-31")
        client.one("3", s="y" * 200)
        found = state(segment)
    assert found["tables"] == [{"name": "rooms", "objects": 3}]
    rows = found["rows"]
    assert (rows["table"], rows["more_columns"]) == ("rooms", False)
    assert [(column["name"], column["type"]) for column in rows["columns"]] == [
        ("id", "VARCHAR"),
        ("n", "HUGEINT"),
        ("f", "DOUBLE"),
        ("b", "BOOLEAN"),
        ("s", "VARCHAR"),
        ("at", "TIMESTAMP WITH TIME ZONE"),
    ]
    assert rows["rows"] == [
        ["3", None, None, None, "y" * 200, None],
        ["2", None, "1.0", "false", "x" * 200 + "…", "2024-01-31T00:00:00Z"],
        ["1", str(2**70), "515.0", "true", "ä\n<b>", "2024-01-31T10:00:00.500000Z"],
    ]


def test_an_updated_object_is_the_newest(segment: Emulator) -> None:
    """The order is that of the last updates, even with more objects than are shown."""
    with Client(segment) as client:
        client.load(lines(*(room(str(n), a=n) for n in range(100))))
        client.one("3", a=-3)
        segment.flush()
        client.load(lines(room("5", a=-5)))
        found = state(segment)["rows"]["rows"]
        assert found[:2] == [["5", "-5"], ["3", "-3"]]
        assert len(found) == len({row[0] for row in found}) == 20
        assert {int(row[0]) for row in found[2:]} == set(range(82, 100))


def test_one_busy_object_hides_no_other(segment: Emulator) -> None:
    """An object that is updated repeatedly is shown once."""
    with Client(segment) as client:
        client.load(lines(room("1", a=1), *(room("2", a=n) for n in range(600))))
        assert [row[0] for row in state(segment)["rows"]["rows"]] == ["2", "1"]


def test_a_collection_is_chosen_by_name(segment: Emulator) -> None:
    """The rows are those of the selected table, or of the first table if there is none."""
    assert state(segment)["rows"] is None
    with Client(segment) as client:
        client.one("1", a=1)
        segment.flush()
        client.set({"id": "9", "properties": {"b": 2}}, collection="guests")
        assert state(segment, "guests")["rows"]["rows"] == [["9", "2"]]
        for name in ("", "nowhere", "%22%3B--", "guests%00"):
            assert state(segment, name)["rows"]["table"] == "rooms"
        names = [table["name"] for table in state(segment)["tables"]]
        assert names == ["rooms", "guests"]


def test_the_answer_is_bounded(segment: Emulator) -> None:
    """At most 50 requests, 50 refusals, 20 sessions, 20 rows and 100 columns are shown."""
    letters = "abcdefghij"
    wide = {f"p_{letters[n // 100]}{letters[n // 10 % 10]}{letters[n % 10]}": n for n in range(150)}
    with Client(segment) as client:
        for number in range(60):
            client.one("", a=1)
            client.start()
            client.one(str(number), **(wide if number == 30 else {"first": "z" * 30_000}))
        found = state(segment)
    sizes = [len(found[name]) for name in ("requests", "refusals", "sessions")]
    assert sizes == [50, 50, 20]
    assert len(found["rows"]["rows"]) == 20
    assert {len(row) for row in found["rows"]["rows"]} == {101}
    assert (len(found["rows"]["columns"]), found["rows"]["more_columns"]) == (101, True)
    assert found["totals"]["requests"] == 180
    assert len(json.dumps(found)) < 200_000


def test_many_collections_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """If not all tables are listed, their number is shown, and each can be selected by its name."""
    monkeypatch.setattr("target_segment_objects.emulator.api.page_state.TABLES", 2)
    with Emulator(page=True) as segment, Client(segment) as client:
        for name in ("rooms", "guests", "reviews"):
            client.set({"id": "1", "properties": {"a": 1}}, collection=name)
        found = state(segment)
        assert [table["name"] for table in found["tables"]] == ["rooms", "guests"]
        assert found["table_count"] == 3
        found = state(segment, "reviews")
        assert found["rows"]["table"] == found["tables"][-1]["name"] == "reviews"


def test_values_that_no_column_held_are_counted(tmp_path: Path) -> None:
    """A column of a warehouse shows how many values it could not hold."""
    with Emulator(page=True, warehouse=tmp_path / "w.duckdb") as segment, Client(segment) as client:
        client.one("1", a=1, b=1)
        client.one("2", a="two", b=2)
        columns = state(segment)["rows"]["columns"]
        assert [(c["name"], c["lost"]) for c in columns] == [("id", 0), ("a", 1), ("b", 0)]


def test_write_keys_are_never_shown(segment: Emulator) -> None:
    """No key is in the JSON, right or wrong, nor where a client wrote it into other texts."""
    wrong = "a-wrong-key-of-another-source"
    with Client(segment, wrong) as other:
        other.one("")
    with Client(segment) as client:
        client.one(f"id {KEY}", note=f"{KEY} and {wrong}", far="x" * 190 + KEY)
        client.send(f"/v1/{KEY}/x?key={KEY}")
        client.send(f"/v0/upload/{KEY}", b"")
        client.finish(client.start(), f"the key {KEY} failed")
        segment.flush()
        _, _, body = ask(segment, "/page/state.json")
    found = json.loads(body)
    for secret in (KEY, wrong, basic(f"{KEY}:").removeprefix("Basic ").rstrip("=")):
        assert secret.encode() not in body
    row = dict(zip((c["name"] for c in found["rows"]["columns"]), found["rows"]["rows"][0]))  # noqa: B905
    assert row["note"] == "[hidden] and [hidden]"
    assert row["id"] == "id [hidden]"
    assert row["far"] == "x" * 190 + "[hidden]"
    assert found["sessions"][0]["error"] == "the key [hidden] failed"
    assert found["refusals"][1]["path"] == "POST /v1/[hidden]/x"


def test_the_configured_key_is_hidden_before_it_is_used() -> None:
    """A key that only the emulator knows is hidden in texts of clients."""
    with Emulator(page=True, write_key=KEY) as segment:
        with Client(segment, "another-key") as client:
            client.send(f"/v1/{KEY}")
        assert state(segment)["refusals"][0]["path"] == "POST /v1/[hidden]"


def test_the_page_goes_on_while_calls_wait(segment: Emulator) -> None:
    """Faults and the limit of requests do not affect the page; it shows what is in flight."""
    segment.fault(InjectedFault(call="any", count=None, status=503, first=2))
    hold = segment.hold(call="set")
    with Client(segment) as client:
        waiting = threading.Thread(target=client.one, args=("1",), kwargs={"a": 1})
        waiting.start()
        assert hold.arrived.wait(TIMEOUT)
        for _ in range(25):
            found = state(segment)
            assert found["totals"]["in_flight"] == 1
            assert [(r["id"], r["seconds"]) for r in found["requests"]] == [("set-1", None)]
        hold.release()
        waiting.join(TIMEOUT)
    assert segment.in_flight_peak == 1


def test_the_page_goes_on_while_a_session_loads(segment: Emulator) -> None:
    """The page can be read while the store loads a session."""
    with Client(segment) as client:
        client.one("1", a=1)
        segment.flush()
        with segment._store_lock:
            status, _, body = ask(segment, "/page/state.json")
            assert status == 200
            assert json.loads(body)["rows"]["rows"] == [["1", "1"]]


def test_tables_are_read_once_a_change(segment: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing has changed, another request does not read the store."""
    asked = []
    newest = segment._store.preview

    def counted(table: str, *bounds: int) -> object:
        asked.append(table)
        return newest(table, *bounds)

    monkeypatch.setattr(segment._store, "preview", counted)
    with Client(segment) as client:
        client.one("1", a=1)
        for _ in range(5):
            assert state(segment)["rows"]["rows"] == [["1", "1"]]
        assert asked == ["rooms"]
        client.one("1", a=2)
        assert state(segment)["rows"]["rows"] == [["1", "2"]]
        assert asked == ["rooms", "rooms"]
    view = segment._view()
    for number in range(50):
        view.state(f"nowhere_{number}")
    assert len(view._cached) <= 8


def test_the_page_says_that_a_warehouse_cannot_be_read(
    segment: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows it, and the emulator continues."""

    def fail(*_: object) -> None:
        raise WarehouseError("out of memory")

    with Client(segment) as client:
        client.one("1", a=1)
        with monkeypatch.context() as patch:
            patch.setattr(segment._store, "preview", fail)
            found = state(segment)
            assert (found["unreadable"], found["tables"], found["rows"]) == (True, [], None)
        assert state(segment)["rows"]["rows"] == [["1", "1"]]
