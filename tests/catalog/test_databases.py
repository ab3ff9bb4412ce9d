"""Nobody notices the connections that read catalogs: a database that its last client left can be dropped or copied."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.catalog import catalogs as module
from proxy.catalog.catalogs import Catalogs
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

POLICY = """
version: 1
name: nothing is classified
roles:
  postgres: {ddl: true}
"""

TABLES = 300
STATEMENTS = 60


@pytest.fixture
def serving(tmp_path: Path, database: Database) -> Iterator[Proxy]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with Proxy(tmp_path, "--policy", str(policy), "--upstream", database.dsn()) as proxy:
        yield proxy


def connect(proxy: Proxy, database: Database) -> psycopg.Connection[tuple[Any, ...]]:
    host, _, port = proxy.ready().rpartition(":")
    return psycopg.connect(database.through(host, int(port)), autocommit=True)


def readers(database: Database) -> list[int]:
    """The processes of the server that serve catalog connections to this database."""
    rows = database.execute(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{database.name}' AND application_name = 'consentry catalog'"
    )
    return [pid for (pid,) in rows]


def test_a_database_that_its_last_client_left_can_be_copied_and_dropped(serving: Proxy, database: Database) -> None:
    other = Database(database.postgres, f"{database.name}_other")
    database.execute(f"CREATE DATABASE {other.name}")
    with connect(serving, other) as connection:
        connection.execute("CREATE TABLE t (id int)")
        assert len(readers(other)) == 1
    database.execute(f"CREATE DATABASE {other.name}_copy TEMPLATE {other.name}")
    with connect(serving, other):
        pass
    with connect(serving, database) as connection:
        connection.execute(f"DROP DATABASE {other.name}")
        connection.execute(f"DROP DATABASE {other.name}_copy")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            connect(serving, other)
    assert "ERROR" not in serving.said


def test_the_cost_of_ddl(serving: Proxy, database: Database) -> None:
    """Neither time nor memory follow the number of statements or of tables. The bounds are wide: machines are busy."""
    database.execute("".join(f"CREATE TABLE t{n} (id int PRIMARY KEY, a text, b int);" for n in range(TABLES)))
    memory = Path(f"/proc/{serving.process.pid}/statm")
    with connect(serving, database) as connection:
        connection.execute("CREATE TABLE warm (id int)")
        before, took = int(memory.read_text().split()[1]), []
        for number in range(STATEMENTS):
            started = time.monotonic()
            connection.execute("DROP TABLE x" if number % 2 else "CREATE TABLE x (id int)")
            took.append(time.monotonic() - started)
        grown = (int(memory.read_text().split()[1]) - before) * 4096
    assert grown < STATEMENTS * 100_000
    assert statistics.median(took) < 0.25


async def test_a_use_keeps_the_connection(
    database: Database, catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.2)
    first, second = [await catalogs.catalog(database.name) for _ in range(2)]
    (reader,) = readers(database)
    catalogs.release(database.name)
    await asyncio.sleep(0.4)
    assert readers(database) == [reader], "one uses it yet"
    catalogs.release(database.name)
    assert readers(database) == [reader], "somebody may come back"
    assert await catalogs.catalog(database.name) is first is second
    await asyncio.sleep(0.4)
    assert readers(database) == [reader], "somebody came back"
    assert catalogs.current(database.name) is first


async def test_what_was_read_outlives_the_connection(
    database: Database, catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)
    before = await catalogs.catalog(database.name)
    await left(catalogs, database)
    assert await catalogs.catalog(database.name) is before
    await left(catalogs, database)
    database.execute("CREATE TABLE t (id int)")
    after = await catalogs.catalog(database.name)
    assert after.relation("public", "t") is not None
    assert after.functions is before.functions, "initdb's functions were not read again"


async def test_a_database_made_anew_is_read_anew(
    database: Database, catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)
    other = Database(database.postgres, f"{database.name}_other")
    for column in ("a", "b"):
        database.execute(f"CREATE DATABASE {other.name}")
        other.execute(f"CREATE TABLE t ({column} int)")
        found = (await catalogs.catalog(other.name)).relation("public", "t")
        assert found is not None
        assert [one.name for one in found.columns] == [column]
        await left(catalogs, other)
        database.execute(f"DROP DATABASE {other.name}")


async def test_those_who_come_while_others_leave(
    database: Database, catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)

    async def come_and_go(pause: float) -> None:
        for _ in range(5):
            await catalogs.catalog(database.name)
            await asyncio.sleep(pause)
            assert catalogs.current(database.name) is not None
            catalogs.release(database.name)
            await asyncio.sleep(pause)

    await asyncio.gather(*(come_and_go(pause / 1000) for pause in range(0, 30, 3)))
    await gone(database)
    await catalogs.catalog(database.name)
    assert len(readers(database)) == 1


async def left(catalogs: Catalogs, database: Database) -> None:
    catalogs.release(database.name)
    await gone(database)


async def gone(database: Database) -> None:
    """Waits until no catalog connection to the database is left; at most ten seconds."""
    end = time.monotonic() + 10
    while readers(database):
        assert time.monotonic() < end, "the connection is still there"
        await asyncio.sleep(0.02)
