"""psql by way of consentry, where no decision applies: it prints what it prints without."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.server import Address, ServerOptions
from tests.compat.drivers.backslash import SCHEMA, commands
from tests.fix_postgres import Database
from tests.server.test_witnesses import WatchedServer

POLICY = """
version: 1
name: nothing
roles: {'*': {purposes: [], ddl: true, code: true}}
purposes: {none: {basis: contract, categories: ['*'], accounts: any}}
"""
ANOTHER_SESSION = re.compile(r"\\c |\\conninfo|\\l\b|lo_|LISTEN|AUTOCOMMIT|ON_ERROR_ROLLBACK|FETCH_COUNT")
"""What changes the session that all of it runs in, names the server, or is refused by design."""


@pytest.fixture
def server(postgres: EmbeddedPostgres, tmp_path: Path, database: Database) -> Iterator[WatchedServer]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    options = ServerOptions((Address("127.0.0.1", 0),), Address(postgres.host, postgres.port), grace_seconds=0.0)
    running = WatchedServer(options, ConsentEngine(), policy, database.dsn(), database.dsn())
    yield running
    running.stop()
    assert running.faults == []


def printed(postgres: EmbeddedPostgres, url: str) -> list[str]:
    """What psql prints for each command."""
    asked = [one for one in commands() if not ANOTHER_SESSION.search(one)]
    script = "SET search_path = shop, public;\n" + "".join(f"\\echo {MARK}\n{one}\n" for one in asked)
    ran = subprocess.run(
        [postgres.binaries / "psql", "-X", "-a", "--pset=pager=off", url],
        input=script.encode(),
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
        timeout=300,
    )
    return [part.strip() for part in (ran.stdout + ran.stderr).decode().split(f"\n{MARK}\n")]


MARK = "--- next ---"


def test_backslash_commands(postgres: EmbeddedPostgres, database: Database, server: WatchedServer) -> None:
    psql = [postgres.binaries / "psql", "-X", "-q", database.dsn()]
    subprocess.run(psql, input=SCHEMA.encode(), check=True, capture_output=True, timeout=60)
    try:
        directly = printed(postgres, database.dsn())
        through = printed(postgres, database.through("127.0.0.1", server.port))
        assert len(directly) > 200
        assert [both for both in zip_longest(directly, through) if both[0] != both[1]] == []
    finally:
        database.execute("DROP OWNED BY compat_reader; DROP ROLE compat_reader")
