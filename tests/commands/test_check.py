"""`segment-objects check`: it checks without a retry, and writes nothing."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from target_segment_objects.commands.check.command import check
from target_segment_objects.commands.check.findings import Verdict
from target_segment_objects.commands.main import main
from target_segment_objects.emulator import Emulator, InjectedFault
from tests.client.raw_server import RawServer, answer, answering
from tests.running import config_file

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "check-key-7Hq2nVb9"
METHODS = pytest.mark.parametrize("method", ["bulk", "set"])


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings, proxies and TLS roots of the environment that runs the tests."""
    for name in list(os.environ):
        if name.startswith("TARGET_SEGMENT_OBJECTS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def segment() -> Iterator[Emulator]:
    """An emulator that accepts one key."""
    with Emulator(write_key=KEY) as emulator:
        yield emulator


class Checked:
    """The findings of a check.

    Attributes:
        verdicts: subject → verdict, in order.
        details: subject → detail.
        seconds: how long it took.
    """

    def __init__(self, folder: Path, config: dict[str, Any], seconds: float = 5.0) -> None:
        path = config_file(folder, config)
        began = time.monotonic()
        findings = list(check([path], os.environ, seconds=seconds))
        self.seconds = time.monotonic() - began
        self.verdicts = {finding.subject: finding.verdict.value for finding in findings}
        self.details = {finding.subject: finding.detail for finding in findings}
        assert len(self.verdicts) == len(findings)
        for line in map(str, findings):
            assert "\n" not in line
            assert KEY not in line
            assert "hunter2" not in line

    @property
    def failed(self) -> list[str]:
        """The subjects that failed."""
        return [subject for subject, verdict in self.verdicts.items() if verdict == "FAILED"]


def at(url: str, method: str = "bulk", **settings: object) -> dict[str, Any]:
    """A configuration for a server."""
    config = {"write_key": KEY, "method": method, "objects_url": url, "bulk_url": url}
    return {**config, **settings}


def test_a_right_key_starts_and_finishes_an_empty_session(
    segment: Emulator, tmp_path: Path
) -> None:
    """By bulk the key is accepted, and the session is finished without a part."""
    checked = Checked(tmp_path, at(segment.url))
    assert checked.failed == []
    assert {checked.verdicts[subject] for subject in ("host", "write key", "session")} == {"OK"}
    assert [request.call for request in segment.requests] == ["start", "finish"]
    assert [(session.state, len(session.parts)) for session in segment.sessions.values()] == [
        ("finished", 0)
    ]
    assert segment.tables() == {}


def test_by_set_the_key_stays_unknown(segment: Emulator, tmp_path: Path) -> None:
    """One call without an object, whose refusal does not tell about the key, writes nothing."""
    checked = Checked(tmp_path, at(segment.url, "set"))
    assert checked.failed == []
    assert (checked.verdicts["host"], checked.verdicts["write key"]) == ("OK", "UNKNOWN")
    assert "400 and not 401" in checked.details["write key"]
    assert [(request.call, request.body) for request in segment.requests] == [("set", b"{}")]
    assert segment.tables() == {}


@METHODS
def test_a_wrong_key_fails(segment: Emulator, tmp_path: Path, method: str) -> None:
    """After 401 the key has failed and the region is unknown; one request is made."""
    checked = Checked(tmp_path, at(segment.url, method, write_key="another"))
    assert checked.failed == ["write key"]
    assert "rejected with 401: copy `write_key` again" in checked.details["write key"]
    assert checked.verdicts["region"] == "UNKNOWN"
    assert len(segment.requests) == 1


@METHODS
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 503, "headers": {"Retry-After": "300"}}, "answered 503: Segment has a problem"),
        ({"status": 429, "headers": {"Retry-After": "300"}}, "answered 429: Segment is busy"),
        ({"status": 404}, "refused with 404: check `"),
        (
            {"status": 307, "headers": {"Location": "https://a.example/x?q=1"}},
            "https://a.example/x,",
        ),
    ],
)
def test_a_response_without_information_on_the_key(
    segment: Emulator, tmp_path: Path, method: str, fault: dict[str, Any], words: str
) -> None:
    """The API has failed and the key is unknown; no response is retried."""
    segment.fault(InjectedFault(count=None, **fault))
    checked = Checked(tmp_path, at(segment.url, method))
    assert checked.failed == ["API"]
    assert words in checked.details["API"]
    assert checked.verdicts["write key"] == "UNKNOWN"
    assert len(segment.requests) == 1


def test_a_web_page_is_not_a_session(segment: Emulator, tmp_path: Path) -> None:
    """A response of 200 without a session's id is not from the API."""
    segment.fault(InjectedFault(call="start", status=200, body=b"<html>Welcome</html>"))
    checked = Checked(tmp_path, at(segment.url))
    assert checked.failed == ["API"]
    assert "without a session's id" in checked.details["API"]


@pytest.mark.parametrize("fault", [{"status": 500}, {"cut": "before"}])
def test_a_session_that_cannot_be_finished(
    segment: Emulator, tmp_path: Path, fault: dict[str, Any]
) -> None:
    """The key is OK, and the session ends by itself."""
    segment.fault(InjectedFault(call="finish", count=None, **fault))
    checked = Checked(tmp_path, at(segment.url))
    assert checked.failed == ["session"]
    assert checked.verdicts["write key"] == "OK"
    assert "ends by itself" in checked.details["session"]
    assert [request.call for request in segment.requests] == ["start", "finish"]


@METHODS
def test_a_refused_connection(tmp_path: Path, method: str) -> None:
    """When nothing listens, the finding names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    checked = Checked(tmp_path, at(f"http://127.0.0.1:{port}", method))
    assert checked.failed == ["host"]
    setting = "bulk_url" if method == "bulk" else "objects_url"
    assert "connection refused" in checked.details["host"]
    assert f"`{setting}`" in checked.details["host"]
    assert checked.verdicts["write key"] == "UNKNOWN"


def test_an_unknown_host(tmp_path: Path) -> None:
    """A name that cannot be resolved."""
    checked = Checked(tmp_path, at("https://segment.invalid"))
    assert checked.failed == ["host"]
    assert "could not be resolved" in checked.details["host"]


@METHODS
def test_a_silent_host(segment: Emulator, tmp_path: Path, method: str) -> None:
    """No answer within the time limit is not retried."""
    call = "start" if method == "bulk" else "set"
    with segment.hold(call=call):
        checked = Checked(tmp_path, at(segment.url, method), seconds=0.2)
    assert checked.failed == ["host"]
    assert "no complete response within 0.2 s" in checked.details["host"]
    assert len(segment.requests) == 1
    assert checked.seconds < 3


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_an_untrusted_certificate(tmp_path: Path) -> None:
    """A server that cannot be trusted fails, and the finding names the setting to check."""
    with RawServer(answering(answer(201, b'{"sync_id":"a"}')), _tls()) as server:
        checked = Checked(tmp_path, at(server.url))
        assert not server.requests
    assert checked.failed == ["host"]
    assert "the certificate was not accepted" in checked.details["host"]
    assert "`ca_bundle`" in checked.details["host"]


def test_unreadable_tls_roots_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named, and the host is not checked."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    checked = Checked(tmp_path, at("https://segment.invalid"))
    assert checked.failed == ["TLS roots"]
    assert "SSL_CERT_FILE: cannot read TLS roots" in checked.details["TLS roots"]
    assert checked.verdicts["host"] == "UNKNOWN"


def test_a_proxy_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the setting or of the environment: a failure names where it comes from."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    proxy = f"http://ann:hunter2@127.0.0.1:{port}"
    by_setting = Checked(tmp_path, at("https://segment.invalid", proxy=proxy))
    assert by_setting.details["proxy"] == f"127.0.0.1:{port}, from `proxy`"
    assert "could not connect to the proxy: connection refused" in by_setting.details["host"]
    assert "Check the proxy's address in `proxy`" in by_setting.details["host"]
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    by_variable = Checked(tmp_path, at("https://segment.invalid"))
    assert by_variable.details["proxy"] == f"127.0.0.1:{port}, from the environment"
    monkeypatch.setenv("HTTPS_PROXY", "socks5://ann:hunter2@127.0.0.1:1")
    assert Checked(tmp_path, at("https://segment.invalid")).failed == ["proxy"]


def test_a_wrong_configuration_is_the_only_finding(tmp_path: Path) -> None:
    """All wrong settings are named at once, without their values."""
    checked = Checked(tmp_path, {"region": "paris", "max_rejects": 3})
    assert list(checked.verdicts.items()) == [("configuration", "FAILED")]
    detail = checked.details["configuration"]
    assert "write_key is required" in detail or "region" in detail
    assert "paris" not in detail


def test_room_for_the_spool(
    segment: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for the largest spool is OK, less is unknown, a missing folder has failed."""
    spool = {"spool_dir": str(tmp_path)}
    assert Checked(tmp_path, at(segment.url, spool_max_bytes=1, **spool)).verdicts["spool"] == "OK"
    huge = Checked(tmp_path, at(segment.url, spool_max_bytes=10**18, **spool))
    assert huge.verdicts["spool"] == "UNKNOWN"
    assert "lower `spool_max_bytes`" in huge.details["spool"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    gone = Checked(tmp_path, at(segment.url))
    assert gone.failed == ["spool"]
    assert "`spool_dir`" in gone.details["spool"]
    assert "spool" not in Checked(tmp_path, at(segment.url, "set")).verdicts


def test_the_dead_letter_is_not_changed(segment: Emulator, tmp_path: Path) -> None:
    """It is not created or changed; a link and a file that is being replayed have failed."""
    path, link = tmp_path / "rejects.jsonl", tmp_path / "link"
    config = at(segment.url, "set", dead_letter_path=str(path))
    before = set(tmp_path.iterdir())
    assert Checked(tmp_path, config).details["dead letter"].endswith("can be created")
    assert {file.name for file in set(tmp_path.iterdir()) - before} == {"config.json"}
    path.write_bytes(b"{}\n")
    assert "has 3 bytes of rejects" in Checked(tmp_path, config).details["dead letter"]
    assert path.read_bytes() == b"{}\n"
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        in_use = Checked(tmp_path, config)
    assert in_use.failed == ["dead letter"]
    assert "in use by `segment-objects replay`" in in_use.details["dead letter"]
    link.symlink_to(path)
    linked = Checked(tmp_path, {**config, "dead_letter_path": str(link)})
    assert linked.failed == ["dead letter"]
    assert "cannot be written" in linked.details["dead letter"]


def test_a_local_warehouse_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file stays missing, a loaded one is counted, another kind of file has failed."""
    pytest.importorskip("duckdb")
    path = tmp_path / "w.duckdb"
    config = {"local_warehouse": str(path)}
    checked = Checked(tmp_path, config)
    assert checked.failed == []
    assert not path.exists()
    assert {"host", "write key", "region"}.isdisjoint(checked.verdicts)
    assert "nothing is sent to Segment" in checked.details["not checked"]
    with Emulator(warehouse=path):
        assert "in use" in Checked(tmp_path, config).details["local warehouse"]
    assert "it has 0 tables" in Checked(tmp_path, config).details["local warehouse"]
    path.write_text("id,name\n1,a\n")
    assert Checked(tmp_path, config).failed == ["local warehouse"]
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert "pip install" in Checked(tmp_path, config).details["local warehouse"]


def test_the_command(segment: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints one line per check; exit 0, or 1 when one has failed."""
    right = config_file(tmp_path, at(segment.url))
    assert main(["check", "--config", right, "--timeout", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} <= {verdict.value for verdict in Verdict}
    assert f"OK       host             {segment.url.removeprefix('http://')} answers" in lines
    wrong = config_file(tmp_path, at(segment.url, write_key="another"))
    assert main(["check", "--config", wrong]) == 1
    assert "FAILED   write key        rejected with 401" in capsys.readouterr().out


def test_the_command_takes_the_environment(
    segment: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--config`, variables are the configuration, as for the target."""
    for name, value in at(segment.url).items():
        monkeypatch.setenv(f"TARGET_SEGMENT_OBJECTS_{name.upper()}", json.dumps(value).strip('"'))
    assert main(["check"]) == 0
    assert "a session was started with it" in capsys.readouterr().out


def test_the_page_shows_such_lines(segment: Emulator, tmp_path: Path) -> None:
    """The output in `docs/preview.md` is true, except for the port and the free space."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "preview.md").read_text("utf-8")
    (shown,) = [text for text in re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
                if "write key" in text]  # fmt: skip
    config = config_file(tmp_path, at(segment.url, write_key="another"))
    output = "\n".join(map(str, check([config], os.environ)))
    own = re.compile(r"127\.0\.0\.1:\d+|\S+ has [\d.,]+ GB free")
    assert own.sub("…", output) == own.sub("…", shown.rstrip("\n"))
