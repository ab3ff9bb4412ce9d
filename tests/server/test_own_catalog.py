"""What a session made and did not commit, or made for itself alone: the next statement knows it, and nobody else."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.server import Address, ServerOptions
from tests.fix_postgres import Database
from tests.server.raw import RawClient, pipeline
from tests.server.test_witnesses import WatchedServer

POLICY = """
version: 1
name: clinic
subjects:
  patient:
    table: public.patients
    key: id
categories:
  telephone_number: {sensitivity: general, mask: phone}
  name: {sensitivity: general, mask: name}
tables:
  public.patients:
    subject: {kind: patient, key: id}
    columns: {name: name, phone: telephone_number}
purposes:
  care: {description: To treat, basis: contract, categories: [telephone_number], accounts: any}
roles:
  postgres: {purposes: [care], default_purpose: care, ddl: true}
functions: {trusted: [public.old, public.deallocating]}
"""

SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, name text, phone varchar(20));
INSERT INTO patients VALUES (1, '张三', '13812345678'), (2, 'Anna', '13800000000');
CREATE TABLE wards (id int PRIMARY KEY, title text);
INSERT INTO wards VALUES (7, 'north'), (8, 'south');
CREATE FUNCTION old(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION deallocating() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$;
"""


@pytest.fixture
def clinic(database: Database) -> Database:
    database.execute(SCHEMA)
    return database


@pytest.fixture
def server(postgres: EmbeddedPostgres, clinic: Database, tmp_path: Any) -> Iterator[WatchedServer]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    options = ServerOptions((Address("127.0.0.1", 0),), Address(postgres.host, postgres.port), grace_seconds=0.0)
    running = WatchedServer(options, ConsentEngine(), policy, clinic.dsn(), clinic.dsn())
    yield running
    running.stop()
    assert running.faults == []


def connect(server: WatchedServer, clinic: Database) -> psycopg.Connection[Any]:
    return psycopg.connect(clinic.through("127.0.0.1", server.port), autocommit=True)


def seen(connection: psycopg.Connection[Any], script: str) -> list[object]:
    """What each statement gave: rows, a command tag, or SQLSTATE and message."""
    found: list[object] = []
    for text in script.strip().split(";\n"):
        try:
            cursor = connection.execute(text.strip().removesuffix(";").encode())
        except psycopg.Error as error:
            found.append((error.diag.sqlstate, str(error.diag.message_primary).partition("(")[0]))
        else:
            found.append(cursor.fetchall() if cursor.description else cursor.statusmessage)
    return found


ALIKE = {
    "a migration that adds a column": """
        BEGIN;
        ALTER TABLE wards ADD COLUMN beds int NOT NULL DEFAULT 0;
        UPDATE wards SET beds = 4 WHERE id = 7;
        SELECT * FROM wards ORDER BY id;
        COMMIT;
        SELECT beds FROM wards ORDER BY id""",
    "a renamed table": """
        BEGIN;
        ALTER TABLE wards RENAME TO units;
        SELECT title FROM units ORDER BY 1;
        SELECT title FROM wards;
        ROLLBACK;
        SELECT title FROM wards ORDER BY 1""",
    "a view": """
        BEGIN;
        CREATE VIEW titles AS SELECT title FROM wards;
        TABLE titles;
        CREATE VIEW longest AS SELECT max(length(title)) FROM titles;
        TABLE longest;
        COMMIT;
        TABLE longest""",
    "what a savepoint takes back": """
        BEGIN;
        SAVEPOINT a;
        CREATE VIEW titles AS SELECT title FROM wards;
        TABLE titles;
        SAVEPOINT b;
        DROP VIEW titles;
        SELECT 1;
        ROLLBACK TO b;
        TABLE titles;
        ROLLBACK TO a;
        TABLE titles;
        ROLLBACK""",
    "a schema, an enum, a sequence": """
        BEGIN;
        CREATE SCHEMA app;
        CREATE TYPE app.mood AS ENUM ('calm', 'sad');
        CREATE TABLE app.moods (id serial PRIMARY KEY, mood app.mood DEFAULT 'calm');
        INSERT INTO app.moods DEFAULT VALUES RETURNING id, mood;
        SELECT last_value FROM app.moods_id_seq;
        SELECT 'sad'::app.mood;
        SET search_path = app;
        SELECT * FROM moods;
        COMMIT;
        SELECT * FROM app.moods""",
    "a function that nobody calls": """
        BEGIN;
        CREATE FUNCTION fresh() RETURNS int LANGUAGE sql AS 'SELECT 1';
        SELECT count(*) FROM wards;
        INSERT INTO wards VALUES (9, 'east');
        SELECT old(3);
        COMMIT""",
    "temporary views and sequences": """
        CREATE TEMP VIEW titles AS SELECT title FROM wards;
        TABLE titles;
        CREATE TEMP SEQUENCE s;
        SELECT is_called FROM s;
        CREATE TABLE more (a int);
        TABLE titles;
        DROP VIEW titles;
        TABLE titles""",
    "a view of a temporary table": """
        CREATE TEMP TABLE mine (a int);
        INSERT INTO mine VALUES (1);
        CREATE VIEW ours AS SELECT a + 1 AS b FROM mine;
        TABLE ours;
        ALTER TABLE mine RENAME TO hers;
        TABLE hers;
        TABLE ours;
        DISCARD TEMP;
        TABLE ours""",
    "a temporary table that shadows": """
        BEGIN;
        CREATE TEMP TABLE wards (id int) ON COMMIT DROP;
        ALTER TABLE wards ADD COLUMN b int;
        SELECT * FROM wards;
        COMMIT;
        SELECT * FROM wards ORDER BY 1""",
    "a table dropped and made anew": """
        BEGIN;
        DROP TABLE wards;
        CREATE TABLE wards (a int, b text DEFAULT 'x');
        INSERT INTO wards (a) VALUES (1);
        SELECT * FROM wards;
        ROLLBACK;
        SELECT * FROM wards ORDER BY 1""",
    "an aborted transaction": """
        BEGIN;
        ALTER TABLE wards ADD COLUMN beds int;
        SELECT 1/0;
        SELECT beds FROM wards;
        ROLLBACK;
        SELECT beds FROM wards""",
    "settings are not touched": """
        SET search_path = public, pg_catalog;
        SET statement_timeout = '12s';
        BEGIN;
        SET LOCAL lock_timeout = '7s';
        CREATE VIEW titles AS SELECT title FROM wards;
        SHOW search_path;
        SHOW statement_timeout;
        SHOW lock_timeout;
        COMMIT;
        SHOW lock_timeout""",
    "under a snapshot of the beginning": """
        BEGIN ISOLATION LEVEL REPEATABLE READ;
        SELECT count(*) FROM wards;
        CREATE VIEW titles AS SELECT title FROM wards;
        TABLE titles;
        COMMIT""",
    "statements prepared before a table was made anew": """
        CREATE TABLE cached AS SELECT 1 AS a;
        PREPARE p AS SELECT a FROM cached;
        EXECUTE p;
        DROP TABLE cached;
        EXECUTE p;
        CREATE TEMP TABLE cached AS SELECT 2 AS a;
        EXECUTE p;
        ALTER TABLE cached ADD COLUMN b int;
        EXECUTE p""",
    "statements prepared under another search_path": """
        CREATE SCHEMA app;
        CREATE TABLE app.wards AS SELECT 'app' AS title;
        SET search_path = app;
        PREPARE p AS SELECT title FROM wards;
        EXECUTE p;
        SET search_path = public;
        EXECUTE p""",
    "cursors": """
        BEGIN;
        DECLARE c SCROLL CURSOR FOR SELECT * FROM wards;
        DECLARE d CURSOR WITH HOLD FOR SELECT 1;
        SELECT name, statement, is_scrollable FROM pg_cursors ORDER BY 1;
        COMMIT;
        SELECT name, statement FROM pg_cursors""",
    "types that are named as data": """
        SELECT pg_input_is_valid('1', 'int4'), pg_input_is_valid('x', 'numeric(4, 2)[]');
        SELECT message FROM pg_input_error_info('x', 'integer');
        SELECT ts_rewrite('a & b'::tsquery, 'a'::tsquery, 'c'::tsquery)""",
    "what EXPLAIN is of": """
        PREPARE p (int) AS SELECT title FROM wards WHERE id = $1;
        EXPLAIN (COSTS OFF) EXECUTE p(7);
        CREATE TABLE made AS EXECUTE p(7);
        TABLE made;
        EXPLAIN (COSTS OFF) DECLARE c CURSOR FOR SELECT title FROM wards;
        EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) CREATE TABLE more AS SELECT * FROM wards;
        SELECT count(*) FROM more;
        EXPLAIN (COSTS OFF) EXECUTE nothing""",
    "names that hide PostgreSQL's own": """
        CREATE SCHEMA trap;
        CREATE FUNCTION trap.never(name, text) RETURNS bool LANGUAGE sql AS 'SELECT false';
        CREATE OPERATOR trap.!~ (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.never);
        SET search_path = trap, public, pg_catalog;
        BEGIN;
        CREATE VIEW titles AS SELECT title FROM public.wards;
        SELECT count(*) FROM public.wards;
        COMMIT""",
}


@pytest.mark.parametrize("case", ALIKE)
def test_as_without_the_proxy(server: WatchedServer, clinic: Database, case: str) -> None:
    with connect(server, clinic) as proxied:
        through = seen(proxied, ALIKE[case])
    with clinic.connect() as direct:
        direct.execute("DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS app, trap CASCADE; CREATE SCHEMA public")
        direct.execute(SCHEMA.encode())
        assert through == seen(direct, ALIKE[case])


HIDDEN = {
    "a view": ("CREATE VIEW v AS SELECT id, name FROM patients", "SELECT name FROM v ORDER BY id"),
    "a temporary view": ("CREATE TEMP VIEW v AS SELECT id, name FROM patients", "SELECT name FROM v ORDER BY id"),
    "a renamed table": ("ALTER TABLE patients RENAME TO people", "SELECT name FROM people"),
    "a function": (
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT name FROM patients LIMIT 1'",
        "SELECT f()",
    ),
    "a function behind a view": (
        (
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT name FROM patients LIMIT 1';"
            "CREATE VIEW v AS SELECT f()"
        ),
        "TABLE v",
    ),
    "a function replaced": (
        "CREATE OR REPLACE FUNCTION old(int) RETURNS int LANGUAGE sql AS 'SELECT length(name) FROM patients'",
        "SELECT old(1)",
    ),
    "a function behind a default": (
        (
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT name FROM patients LIMIT 1';"
            "CREATE TABLE t (a text DEFAULT f())"
        ),
        "INSERT INTO t DEFAULT VALUES RETURNING a",
    ),
    "a domain named as data": (
        (
            "CREATE FUNCTION f(text) RETURNS bool LANGUAGE sql AS 'SELECT name::int > 0 FROM patients LIMIT 1';"
            "CREATE DOMAIN d AS text CHECK (f(VALUE))"
        ),
        "SELECT pg_input_error_info('x', 'd')",
    ),
    "a plan": ("PREPARE p AS SELECT id, name FROM patients", "EXPLAIN EXECUTE p"),
    "a copy of what was prepared": ("PREPARE p AS SELECT id, name FROM patients", "CREATE TEMP TABLE t AS EXECUTE p"),
    "an explained copy": ("SELECT 1", "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT name FROM patients"),
    "an operator": (
        (
            "CREATE FUNCTION f(int, int) RETURNS text LANGUAGE sql AS 'SELECT name FROM patients LIMIT 1';"
            "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = f)"
        ),
        "SELECT 1 === 2",
    ),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_nothing_hidden_shows_by_what_a_transaction_made(server: WatchedServer, clinic: Database, case: str) -> None:
    made, asked = HIDDEN[case]
    with connect(server, clinic) as connection:
        rows = seen(connection, ";\n".join(["BEGIN", *made.split(";"), asked, "ROLLBACK"]))
    told = repr(rows)
    assert not any(secret in told for secret in ("张三", "Anna"))
    assert isinstance(rows[-2], tuple) or "**" in repr(rows[-2])


def test_others_see_nothing_of_it(server: WatchedServer, clinic: Database) -> None:
    with connect(server, clinic) as one, connect(server, clinic) as other:
        one.execute("BEGIN")
        one.execute("CREATE VIEW titles AS SELECT title FROM wards")
        assert one.execute("TABLE titles").fetchall() != []
        with pytest.raises(psycopg.errors.UndefinedTable):
            other.execute("TABLE titles")
        one.execute("COMMIT")
        assert one.execute("TABLE titles").fetchall() != []
        assert other.execute("TABLE titles").fetchall() != []


def test_a_pipeline_without_a_sync(server: WatchedServer, clinic: Database) -> None:
    with RawClient("127.0.0.1", server.port, clinic.name) as client:
        found = client.ask(
            pipeline(
                "BEGIN",
                "CREATE VIEW titles AS SELECT title FROM wards WHERE id = 7",
                "SELECT title FROM titles",
                "COMMIT",
            )
        )
    assert [line for line in found if "north" in line] and not [line for line in found if line.startswith("E")]


def test_whoever_cancels_while_it_is_read(server: WatchedServer, clinic: Database) -> None:
    """A cancel may come when the upstream is asked for the catalog; the statement that waits for it fails as canceled,
    and the session goes on."""
    stop, errors = threading.Event(), []
    with connect(server, clinic) as connection, psycopg.connect(clinic.dsn(), autocommit=True) as other:
        pid = connection.info.backend_pid

        def cancel() -> None:
            pick = random.Random(1)
            while not stop.wait(pick.random() / 100):
                other.execute("SELECT pg_cancel_backend(%s)", [pid])

        connection.execute("SET search_path = public, pg_temp")
        canceling = threading.Thread(target=cancel)
        canceling.start()
        try:
            for number in range(40):
                texts = [
                    "BEGIN",
                    f"CREATE TABLE t{number} (id int, v text)",
                    f"INSERT INTO t{number} SELECT 1, 'x'",
                    f"ALTER TABLE t{number} DROP COLUMN v",
                    f"SELECT * FROM t{number}",
                ]
                try:
                    for text in texts:
                        connection.execute(text.encode(), prepare=number % 2 == 0)
                except psycopg.Error as error:
                    errors.append(error.diag.sqlstate)
                despite_cancels(connection, "ROLLBACK")
        finally:
            stop.set()
            canceling.join()
        assert set(errors) == {"57014"}
        assert despite_cancels(connection, "SHOW search_path") == [("public, pg_temp",)]


def despite_cancels(connection: psycopg.Connection[Any], text: str) -> list[Any]:
    while True:
        try:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []
        except psycopg.errors.QueryCanceled:
            pass


DEALLOCATED = ["DEALLOCATE ALL", "DISCARD ALL", "SELECT deallocating()"]


@pytest.mark.parametrize("text", DEALLOCATED)
def test_what_is_prepared_for_it_may_go(server: WatchedServer, clinic: Database, text: str) -> None:
    with connect(server, clinic) as connection:
        for number in range(3):
            with connection.transaction():
                connection.execute(f"CREATE TABLE t{number} (id int)".encode())
                connection.execute(f"INSERT INTO t{number} VALUES (1)".encode())
            connection.execute(text.encode())
        assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
        with connection.transaction():
            connection.execute("ALTER TABLE t1 ADD COLUMN n int DEFAULT 5")
            assert connection.execute("SELECT n FROM t1").fetchall() == [(5,)]
