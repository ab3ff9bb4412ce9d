"""The plan witness before a real server: it finds a reference that was missed, and nothing where nothing was."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
import pytest

from proxy.engine import ConsentEngine
from proxy.engine.aliases import TOKEN
from proxy.engine.session_state import SessionState
from proxy.sql.splice import Edit, apply
from proxy.verdict import Verdict
from tests.fix_postgres import Database
from tests.server.raw import RawClient, extended
from tests.server.test_witnesses import SCHEMA, Start, connect
from tests.server.test_witnesses import start as start

MORE = """
CREATE VIEW directory AS SELECT id, name, phone FROM patients;
CREATE VIEW wards_with AS SELECT w.title, count(*) AS n FROM wards w JOIN patients p ON p.ward = w.id GROUP BY 1;
CREATE FUNCTION wards_of(int) RETURNS SETOF wards LANGUAGE sql STABLE AS
  'SELECT w.* FROM wards w JOIN patients p ON p.ward = w.id WHERE p.id = $1';
CREATE TYPE mood AS ENUM ('calm', 'sad');
CREATE TABLE moods (patient int, mood mood);
CREATE SCHEMA apart;
CREATE TABLE apart.wards (id int, title text);
"""
REFUSED = "consentry: the server would read the statement otherwise than it was decided"


class Careless(ConsentEngine):
    """Forgets the last reference of each statement."""

    def decide(self, query: bytes, state: SessionState, now: datetime) -> Verdict:
        verdict = super().decide(query, state, now)
        splices = verdict.splices[:-1]
        if not splices:
            return verdict
        text, edits = apply(query, [Edit(*splice) for splice in splices])
        return replace(verdict, text=text, edits=edits, splices=splices)


@pytest.fixture(scope="module")
def clinic(module_database: Database) -> Database:
    module_database.execute(SCHEMA + MORE)
    return module_database


MISSED = {
    "a self-join on the key": "SELECT a.id FROM patients a JOIN patients b ON b.id = a.id WHERE b.phone LIKE '138%'",
    "a self-join on another column": "SELECT count(*) FROM patients a JOIN patients b ON b.ward = a.ward",
    "a subquery": "SELECT ward FROM patients WHERE id = 1 AND EXISTS (SELECT FROM patients x WHERE x.name = 'Anna')",
    "an expression": "SELECT ward, (SELECT max(name) FROM patients) FROM patients",
    "a WITH query": "WITH w AS (SELECT ward FROM patients) SELECT count(*) FROM w, patients x WHERE x.phone <> ''",
    "a set operation": "SELECT ward::text FROM patients UNION SELECT phone || '' FROM patients",
    "partitions": "SELECT p.ward FROM patients p WHERE EXISTS (SELECT FROM visits v WHERE v.note = 'x')",
    "an index": "SET enable_seqscan = off; SELECT a.ward, (SELECT count(*) FROM patients WHERE id < 3) FROM patients a",
    "a branch for some values": "SELECT 1 FROM patients WHERE 1 = 2 AND EXISTS (SELECT FROM patients WHERE name > 'B')",
    "a cursor": "BEGIN; DECLARE c CURSOR FOR SELECT a.id FROM patients a, patients b; ROLLBACK",
    "a prepared statement": "PREPARE p (int) AS SELECT a.id FROM patients a, patients b WHERE b.id = $1",
    "a COPY": "COPY (SELECT a.id FROM patients a, patients b) TO STDOUT",
    "a lock": "SELECT a.id FROM patients a JOIN patients b ON b.ward = a.ward FOR UPDATE OF a",
}


@pytest.mark.parametrize("case", MISSED)
def test_a_reference_that_was_missed(start: Start, clinic: Database, case: str, caplog: Any) -> None:
    server = start(Careless)
    with connect(server, clinic) as connection:
        for _ in range(2):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match=REFUSED) as raised:
                connection.execute(MISSED[case].encode())
        assert "audit event" in str(raised.value.diag.message_detail)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert [event[:2] for event in server.events("alarm")] == [(None, "plan")] * 2
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert [event for event in server.events("statement") if event[2] == "0A000"]


@pytest.mark.parametrize("prepare", [False, True])
def test_a_reference_that_was_missed_in_an_extended_query(start: Start, clinic: Database, prepare: bool) -> None:
    text = "SELECT a.id FROM patients a JOIN patients b ON b.id = a.id WHERE b.phone LIKE %s AND a.ward = %s LIMIT 5"
    with connect(start(Careless), clinic) as connection, connection.cursor() as cursor:
        for _ in range(2):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match=REFUSED):
                cursor.execute(text, ["138%", 7], prepare=prepare)
        assert cursor.execute("SELECT 1").fetchone() == (1,)


UNDERSTOOD = {
    "a star": "SELECT * FROM patients",
    "a self-join": "SELECT a.phone, b.name FROM patients a JOIN patients b USING (id) WHERE a.phone LIKE '138%'",
    "partitions": "SELECT note FROM visits",
    "a partition": "SELECT note FROM visits_2026 v ORDER BY 1 LIMIT 3",
    "beside what nobody classified": "SELECT w.title, p.name FROM wards w JOIN patients p ON p.ward = w.id",
    "a view": "SELECT phone FROM directory WHERE id = 1",
    "a view that shows nothing classified": "SELECT n, p.name FROM wards_with, patients p ORDER BY 1, 2",
    "a function that is inlined": "SELECT w.title, p.name FROM wards_of(1) w, patients p ORDER BY 1, 2",
    "a view beside its table": "SELECT d.phone, p.name FROM directory d JOIN patients p USING (id)",
    "a sample": "SELECT name FROM patients TABLESAMPLE SYSTEM (100)",
    "a lock": "SELECT phone FROM patients ORDER BY id FOR UPDATE",
    "literals of all kinds": "SELECT phone, 'x', 1.5, X'1F', DATE '2026-01-01' FROM patients ORDER BY 1 LIMIT 1",
    "a comment at the end": "SELECT phone FROM patients -- really",
    "braces": "SELECT phone, '{}'::text[] FROM patients WHERE name <> '{types}'",
    "what cannot be planned for any literal": "SELECT phone FROM patients WHERE ward > interval '1' AND name = 1",
    "a temporary table": "CREATE TEMP TABLE mine AS SELECT 1 AS ward; SELECT name FROM mine JOIN patients USING (ward)",
    "a cursor": "BEGIN; DECLARE c CURSOR WITHOUT HOLD FOR SELECT phone FROM patients FOR UPDATE; FETCH c; ROLLBACK",
    "a prepared statement": "PREPARE p (int, mood) AS SELECT phone FROM patients WHERE id = $1; EXECUTE p (1, 'sad')",
    "a COPY of a query": "COPY (SELECT phone, ')' FROM patients) TO STDOUT",
    "a COPY of a table": "COPY patients (phone) TO STDOUT",
    "an update": "UPDATE patients p SET ward = ward WHERE p.phone = 'nobody' AND ward IN (SELECT id FROM patients)",
    "an update by a view": "UPDATE patients SET ward = 1 FROM directory d WHERE d.phone = 'nobody' RETURNING d.id",
    "a delete": "DELETE FROM patients USING wards WHERE patients.name = 'nobody' RETURNING phone",
    "an insert": "INSERT INTO wards (id) SELECT id FROM patients WHERE phone = 'nobody'",
    "the statistics": "SELECT relname, n_live_tup FROM pg_stat_user_tables",
}


def answers(client: RawClient, texts: list[str]) -> list[str]:
    return [line for text in texts for line in client.query(text)]


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_what_was_understood_is_no_alarm(start: Start, clinic: Database, case: str) -> None:
    """The same answers with and without the witness, and its aliases in none of them."""
    texts = [UNDERSTOOD[case], "ROLLBACK", UNDERSTOOD[case], "DEALLOCATE ALL"]
    seen = []
    for server in (start(ConsentEngine), start(ConsentEngine, plans=None)):
        with RawClient("127.0.0.1", server.port, clinic.name, consentry__purpose="research") as client:
            seen.append(answers(client, texts))
        assert server.events("alarm") == []
    assert seen[0] == seen[1]
    assert TOKEN not in str(seen)
    assert not [line for line in seen[0] if "0A000" in line]


TRANSACTIONS = {
    "the isolation may still be set": ["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "{}", "COMMIT"],
    "no snapshot is taken before": ["BEGIN ISOLATION LEVEL REPEATABLE READ", "{}", "{} WHERE id > 0", "COMMIT"],
    "a failing one fails by itself": [
        "BEGIN",
        "SAVEPOINT s",
        "{} WHERE 1/(id - 1) = 1",
        "ROLLBACK TO s",
        "{}",
        "COMMIT",
    ],
    "one that cannot be planned fails by itself": ["BEGIN", "{} WHERE 1/0 = 1", "COMMIT"],
    "a lock of its own is no deadlock": ["BEGIN", "LOCK wards", "{} JOIN wards w ON w.id = ward", "COMMIT"],
    "settings are the client's": ["SET enable_self_join_elimination = on", "{}", "SHOW enable_self_join_elimination"],
    "an isolated schema": ["SET search_path = apart, public", "{} JOIN wards w ON w.id = ward", "SHOW search_path"],
}


@pytest.mark.parametrize("case", TRANSACTIONS)
def test_the_session_knows_nothing_of_it(start: Start, clinic: Database, case: str) -> None:
    texts = [text.replace("{}", "SELECT p.phone FROM patients p") for text in TRANSACTIONS[case]]
    seen = []
    for server in (start(ConsentEngine), start(ConsentEngine, plans=None)):
        with RawClient("127.0.0.1", server.port, clinic.name, consentry__purpose="research") as client:
            seen.append(answers(client, texts))
        assert server.events("alarm") == []
    assert seen[0] == seen[1]
    assert "0A000" not in str(seen)


def test_a_pipeline_waits_for_a_new_text_and_keeps_its_order(start: Start, clinic: Database) -> None:
    texts = [
        "SELECT 1",
        "SELECT phone FROM patients WHERE id = 1",
        "SELECT name FROM patients WHERE id = 2",
        "SELECT 2",
    ]
    with RawClient("127.0.0.1", start(ConsentEngine).port, clinic.name, consentry__purpose="research") as client:
        for _ in range(2):
            lines = client.ask(b"".join(map(extended, texts)) + b"S\0\0\0\4")
            assert [line for line in lines if line[0] in "DE"] == ["D 1", "D 13812345678", "D A**", "D 2"]


def test_texts_that_differ_in_literals_share_a_plan(start: Start, clinic: Database) -> None:
    server = start(ConsentEngine)
    server.plans.asked.clear()
    with connect(server, clinic) as connection:
        for ward in range(20):
            connection.execute(
                f"SELECT phone FROM patients WHERE ward = {ward} AND name <> 'x{ward}' LIMIT {ward}".encode()
            )
        assert len(server.plans.asked) == 1
        for ward in range(3):
            connection.execute("SELECT phone FROM patients WHERE ward = %s", [ward])
        assert len(server.plans.asked) == 2


def test_who_may_not_read_the_tables_says_so_once(start: Start, clinic: Database, caplog: Any) -> None:
    clinic.execute("CREATE ROLE blind LOGIN")
    server = start(ConsentEngine, plans=clinic.dsn("blind"))
    try:
        with connect(server, clinic) as connection:
            for ward in range(3):
                for text in ("SELECT phone FROM patients WHERE ward = {}", "SELECT name FROM patients WHERE ward = {}"):
                    connection.execute(text.format(ward).encode())
    finally:
        server.run(server.plans.close())
        clinic.execute("DROP ROLE blind")
    [record] = [record for record in caplog.records if record.name == "proxy.server.plans"]
    assert "pg_read_all_data" in record.getMessage()


def test_without_a_connection_statements_go_on(start: Start, clinic: Database, caplog: Any) -> None:
    server = start(ConsentEngine, plans="postgresql://nobody@127.0.0.1:1/none")
    with connect(server, clinic) as connection:
        for ward in (7, 7, 8):
            assert len(connection.execute(f"SELECT phone FROM patients WHERE ward = {ward}".encode()).fetchall()) == 1
    assert len([record for record in caplog.records if record.name == "proxy.server.plans"]) == 1


def test_a_lost_connection_is_made_anew(start: Start, clinic: Database) -> None:
    server = start(Careless)
    with connect(server, clinic) as connection:
        for text in list(MISSED.values())[:2]:
            with pytest.raises(psycopg.errors.FeatureNotSupported, match=REFUSED):
                connection.execute(text.encode())
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            clinic.execute(f"{ended} WHERE application_name = 'consentry plans'")


def test_nobody_is_kept_from_dropping_a_database(start: Start, clinic: Database) -> None:
    clinic.execute("CREATE DATABASE leaving")
    server = start(ConsentEngine)
    leaving = replace(clinic, name="leaving")
    leaving.execute(SCHEMA)
    with connect(server, leaving) as connection:
        assert len(connection.execute("SELECT phone FROM patients").fetchall()) == 2
    clinic.execute("DROP DATABASE leaving")
