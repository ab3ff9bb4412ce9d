"""Three servers alike: one is asked directly, one directly as a control, one through the proxy."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import yaml

from proxy.demo.postgres import SUPERUSER, EmbeddedPostgres
from tests.fidelity import data
from tests.fidelity.comparison import Tally
from tests.fidelity.peer import Peer
from tests.fidelity.runner import Player, Side
from tests.fix_postgres import create_database
from tests.fix_proxy import Proxy

DATABASE = "regression"
NAMES = ("direct", "control", "proxied")

TRUSTED = {"ddl": True, "code": True}
"""What the policy says of every role: trusted with everything."""

CLOSED = {"ddl": True}
"""The closed world of statements holds."""

PROTECTED = """
    CREATE SCHEMA elsewhere;
    CREATE TABLE elsewhere.people (id int PRIMARY KEY, full_name text);
    CREATE TABLE elsewhere.consents (person_id int, purpose text, PRIMARY KEY (person_id, purpose));
"""


class Rig:
    """Servers, proxy and their connections, for as long as the context lasts."""

    def __init__(self, folder: Path, role: dict[str, bool]) -> None:
        self._folder = folder
        self._role = role
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = self._folder
        folder.chmod(0o755)
        data.write(folder / "data")
        self.servers = [self._server(name) for name in NAMES]
        self.proxy = self._stack.enter_context(Proxy(folder, "--policy", str(self._policy()), *self._upstream()))
        host, port = self.proxy.ready().rsplit(":", 1)
        dsns = [f"host={server.host} port={server.port}" for server in self.servers]
        self._direct = [self._side(name, dsn) for name, dsn in zip(NAMES, dsns, strict=True)]
        self._proxied = self._side("proxied", f"host={host} port={port}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def prepare(self, script: Path) -> None:
        """Plays the script that the others build upon, past the proxy on every server."""
        first, second, third = self._direct
        Player(first, second, third, Tally()).play(script)

    def play(self, script: Path, tally: Tally, *, extended: bool = False) -> None:
        """Plays a script, by the simple or the extended query protocol, and counts what became of it."""
        direct, control, _ = self._direct
        Player(direct, control, self._proxied, tally, extended=extended).play(script)

    def _server(self, name: str) -> EmbeddedPostgres:
        server = self._stack.enter_context(EmbeddedPostgres(version=18))
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            create_database(connection, DATABASE, "template0")
        with psycopg.connect(server.dsn(SUPERUSER, DATABASE), autocommit=True) as connection:
            connection.execute(PROTECTED)
        results = self._folder / f"build-{name}" / "results"
        results.mkdir(parents=True)
        results.chmod(0o777)
        return server

    def _policy(self) -> Path:
        policy = yaml.safe_load((Path(__file__).parent / "policy.yaml").read_text("utf-8"))
        policy["roles"] = {"*": self._role}
        if self._role.get("code"):
            policy["functions"] = {"trusted": ["*"]}
        path = self._folder / "policy.yaml"
        path.write_text(yaml.safe_dump(policy), "utf-8")
        return path

    def _upstream(self) -> tuple[str, str]:
        return "--upstream", self.servers[2].dsn(SUPERUSER, DATABASE)

    def _side(self, name: str, where: str) -> Side:
        build = self._folder / f"build-{name}"
        variables = {
            "PG_ABS_SRCDIR": str(self._folder),
            "PG_ABS_BUILDDIR": str(build),
            "PG_LIBDIR": "/nowhere",
            "PG_DLSUFFIX": ".so",
            "DBNAME": DATABASE,
            "USER": SUPERUSER,
        }
        return Side(_opener(f"{where} user={SUPERUSER} dbname={DATABASE}"), variables)


def _opener(conninfo: str) -> Callable[[], Peer]:
    return lambda: Peer(conninfo)


def passable(folder: Path) -> None:
    """Lets the account of the servers reach what is below ``folder``, which is ours."""
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.getuid() and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o011)
