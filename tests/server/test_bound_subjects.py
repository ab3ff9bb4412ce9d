"""The people that bound parameters name are in the audit, whatever the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import psycopg
import pytest

from proxy.audit.events import subject_hash
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy
from tests.server.test_cursors import POLICY, SCHEMA

WHO = "SELECT phone FROM patients WHERE id = "
KEY = b"0123456789abcdef0123456789abcdef"
EXPECTED = subject_hash("patient", "2", KEY)


@pytest.fixture(scope="module")
def database(module_database: Database) -> Database:
    module_database.execute(SCHEMA)
    return module_database


@pytest.fixture(scope="module")
def proxy(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("subjects")
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.replace("MASK", "phone").replace("PURPOSES", "care").replace("SUSPENSIONS", ""))
    keys = {"CONSENTRY_HASH_KEY": KEY.decode()}
    with Proxy(folder, "--policy", str(policy), "--upstream", database.dsn(), **keys) as running:
        running.ready()
        yield running


def psycopg_text(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"{WHO} %s", [2]).fetchall()


def psycopg_binary(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"{WHO} %b", [2]).fetchall()


def psycopg_in(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT phone FROM patients WHERE id IN (%s, 2::int) AND id > %s", [2, 0]).fetchall()


def sql_execute(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"PREPARE q(int) AS {WHO} $1")
        connection.execute("EXECUTE q(2)").fetchall()


def a_literal(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"{WHO} 2").fetchall()


@pytest.mark.parametrize("ask", [psycopg_text, psycopg_binary, psycopg_in, sql_execute, a_literal])
def test_the_person_is_named(proxy: Proxy, database: Database, ask: Callable[[str], None]) -> None:
    before = len(proxy.events())
    ask(database.through("127.0.0.1", port(proxy)))
    assert named(proxy, before) == {EXPECTED}


async def test_asyncpg(proxy: Proxy, database: Database) -> None:
    before = len(proxy.events())
    connection = await asyncpg.connect(database.through("127.0.0.1", port(proxy)))
    await connection.fetch(f"{WHO} $1", 2)
    await connection.close()
    assert named(proxy, before) == {EXPECTED}


def port(proxy: Proxy) -> int:
    return int(proxy.ready().rsplit(":", 1)[1])


def named(proxy: Proxy, before: int) -> set[str]:
    found: list[Any] = [one for event in proxy.events()[before:] for one in event.get("subjects", ())]
    assert all(one["kind"] == "patient" for one in found)
    return {key for one in found for key in one["keys"]}
