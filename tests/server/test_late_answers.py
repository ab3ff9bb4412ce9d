"""Statements that run long after they were decided: their answers are not those of another decision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.policy.loader import load
from proxy.server import Address, ServerOptions
from proxy.wire.frontend import SYNC_MESSAGE
from tests.fix_postgres import Database
from tests.server.raw import RawClient, extended, simple
from tests.server.test_witnesses import WatchedServer

POLICY = """
version: 1
name: clinic
subjects:
  patient: {table: public.patients, key: id}
categories:
  telephone_number: {sensitivity: general, mask: phone}
tables:
  public.patients:
    subject: {kind: patient, key: id}
    columns: {phone: telephone_number}
purposes:
  care: {description: To treat, basis: contract, categories: [telephone_number], accounts: any}
roles:
  postgres: {purposes: [care], ddl: true}
  boss: {ddl: true, code: true}
"""

SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, phone text);
INSERT INTO patients VALUES (1, '13812345678');
CREATE SCHEMA other;
CREATE TABLE other.patients (id int, phone text);
INSERT INTO other.patients VALUES (9, 'twin');
"""
WAITED = "E FATAL 42501 consentry: the decision on a statement changed while it waited"
FUNCTION = """CREATE OR REPLACE FUNCTION other.lower(varchar) RETURNS text LANGUAGE sql AS
 $$SELECT string_agg(phone, ',') FROM public.patients$$"""


@pytest.fixture
def database(database: Database) -> Database:
    database.execute(SCHEMA)
    return database


@pytest.fixture
def server(postgres: EmbeddedPostgres, database: Database, tmp_path: Path) -> Iterator[WatchedServer]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    options = ServerOptions((Address("127.0.0.1", 0),), Address(postgres.host, postgres.port), grace_seconds=0.0)
    running = WatchedServer(options, ConsentEngine(), policy, database.dsn(), None)
    yield running
    running.stop()
    assert running.faults == []


def connect(server: WatchedServer, database: Database, user: str = "postgres") -> RawClient:
    return RawClient("127.0.0.1", server.port, database.name, user, search_path="other, public")


@pytest.fixture
def boss(server: WatchedServer, database: Database) -> Iterator[RawClient]:
    """Trusted with everything, and with the care that it takes."""
    database.execute("DO 'BEGIN CREATE ROLE boss SUPERUSER LOGIN; EXCEPTION WHEN duplicate_object THEN END'")
    with connect(server, database, "boss") as client:
        yield client


def rows(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("D", "E"))]


@pytest.mark.parametrize("seconds", [0.02, 0.3])
@pytest.mark.parametrize("ask", [simple, lambda text: extended(text) + SYNC_MESSAGE])
def test_a_name_that_goes_away_while_a_statement_waits_for_its_lock(
    server: WatchedServer, database: Database, seconds: float, ask: object
) -> None:
    assert callable(ask)
    with connect(server, database) as holder, connect(server, database) as waiter:
        holder.query("BEGIN")
        assert holder.query("DROP TABLE other.patients") == ["C DROP TABLE", "Z T"]
        waiter.send(ask("SELECT id, phone || '' FROM patients"))
        time.sleep(seconds)
        holder.query("COMMIT")
        seen = waiter.read_until_ready()
        assert "D 1|13812345678" not in seen
        assert seen[-2][:1] in ("E", "C")
        # It was decided anew, or its answer was withheld.
        assert rows(seen) in ([WAITED], ["D 1|138****5678"], ['E ERROR 42P01 relation "other.patients" does not exist'])


def test_a_lock_changes_nothing_where_the_decision_stands(server: WatchedServer, database: Database) -> None:
    with connect(server, database) as holder, connect(server, database) as waiter:
        holder.query("BEGIN; LOCK TABLE other.patients")
        waiter.send(simple("SELECT * FROM patients"))
        time.sleep(0.2)
        holder.query("CREATE TABLE other.wards (n int); COMMIT")
        assert rows(waiter.read_until_ready()) == ["D 9|twin"]


def test_a_function_that_appears_while_a_statement_waits_for_a_lock(
    server: WatchedServer, database: Database, boss: RawClient
) -> None:
    """PostgreSQL looks for functions when it has locked the tables that a statement names."""
    with connect(server, database) as waiter:
        boss.query("BEGIN; LOCK TABLE other.patients")
        waiter.send(simple("SELECT 'first'; SELECT lower('A'::varchar) FROM other.patients"))
        time.sleep(0.05)
        boss.query(FUNCTION)
        boss.query("COMMIT")
        assert rows(waiter.read_until_ready())[-1:] == [WAITED]


CALL = "SELECT lower('A'::varchar)"
PIPELINES = {
    "simple queries": (simple("SELECT pg_sleep(0.5)") + simple(CALL), 2),
    "one pipeline": (extended("SELECT pg_sleep(0.5)") + extended(CALL) + SYNC_MESSAGE, 1),
    "two pipelines": (extended("SELECT pg_sleep(0.5)") + SYNC_MESSAGE + extended(CALL) + SYNC_MESSAGE, 2),
}


@pytest.mark.parametrize("case", PIPELINES)
def test_a_function_that_appears_while_a_statement_waits_behind_another(
    server: WatchedServer, database: Database, boss: RawClient, case: str
) -> None:
    sent, ready = PIPELINES[case]
    with connect(server, database) as waiter:
        waiter.send(sent)
        time.sleep(0.1)
        assert boss.query(FUNCTION) == ["C CREATE FUNCTION", "Z I"]
        seen = [line for _ in range(ready) for line in waiter.read_until_ready()]
        assert not [line for line in seen if "13812345678" in line]
        assert [line for line in seen if line.startswith(("E ERROR 42501 consentry: function other.lower", WAITED))]


def test_a_policy_that_is_reloaded_while_a_statement_waits_behind_another(
    server: WatchedServer, database: Database, tmp_path: Path
) -> None:
    with connect(server, database) as client:
        client.query("SET consentry.purpose = 'care'")
        raw = "SELECT phone FROM public.patients"
        client.send(extended("SELECT pg_sleep(0.4)") + extended(raw) + SYNC_MESSAGE)
        time.sleep(0.1)
        other = tmp_path / "other.yaml"
        other.write_text(POLICY.replace("purposes: [care]", "purposes: []"))
        loaded = load(other).policy
        assert loaded is not None
        server.policies.policy = loaded
        seen = client.read_until_ready()
        assert rows(seen)[-1:] == [WAITED]
        assert "D 13812345678" not in seen


def test_what_another_session_commits_is_known_before_the_next_answer(
    server: WatchedServer, database: Database
) -> None:
    """Many statements beside many changes of the schema: each is decided on what it ran on, or refused."""
    with connect(server, database) as maker, connect(server, database) as reader:
        for _ in range(4):
            maker.send(simple("DROP TABLE other.patients"))
            reader.send(simple("SELECT id, phone || '' FROM patients"))
            seen = reader.read_until_ready()
            assert "D 1|13812345678" not in seen
            maker.read_until_ready()
            maker.query("CREATE TABLE other.patients (id int, phone text)")
            if seen[-1] == "closed":
                break
