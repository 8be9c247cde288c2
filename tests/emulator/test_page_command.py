"""The page of `segment-objects emulator`: on by default on loopback, elsewhere with an option."""

from __future__ import annotations

import http.client

import pytest

from tests.commands.test_cli import emulator


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 200),
        (["--no-page"], 404),
        (["--host", "0.0.0.0"], 404),  # noqa: S104 what is tested
        (["--host", "0.0.0.0", "--page"], 200),  # noqa: S104
    ],
)
def test_who_gets_a_page(arguments: list[str], status: int) -> None:
    """On loopback it is on, elsewhere off; the option overrides both."""
    with emulator(*arguments) as (_, url):
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))
        connection.request("GET", "/")
        assert connection.getresponse().status == status
        connection.close()
