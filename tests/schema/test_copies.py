"""Tables, views and materialized views that are made of classified tables: what they hold, and what they show."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.schema.conftest import Connect

RAW = {"Ann Archer", "Bob Baker", "13800004243", "13911112222", "likes tea"}


def refused(connection: psycopg.Connection[Any], text: str) -> tuple[str, str]:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(text.encode())
    return caught.value.sqlstate or "", str(caught.value)


HELD = [
    ("CREATE TABLE t1 AS SELECT id, name, phone FROM people", [(1, "A**", "138****4243"), (2, "B**", "139****2222")]),
    ("CREATE TABLE t2 (who) AS TABLE people WITH NO DATA", []),
    ("CREATE TABLE t3 AS SELECT count(*) AS n, max(phone) AS p FROM people WHERE name LIKE 'Ann%'", [(0, None)]),
    ("SELECT id, upper(phone) AS phone INTO t4 FROM people ORDER BY phone DESC LIMIT 1", [(2, "139****2222")]),
    ("SELECT phone INTO t5 FROM people WHERE id = 1 UNION SELECT 'none'", [("138****4243",), ("none",)]),
    ("CREATE TABLE t6 AS WITH x AS (SELECT * FROM people) SELECT x.name, b.phone FROM x JOIN book b USING (id)",
     [("A**", "138****4243"), ("B**", "139****2222")]),
    ("CREATE TABLE t7 AS SELECT p.id, p FROM people p WHERE id = 1",
     [(1, '(1,A**,138****4243,[masked],,Leeds,,open,1,,100)')]),
    ("CREATE TEMP TABLE t8 AS SELECT phone FROM people WHERE id = 1", None),
    ("CREATE MATERIALIZED VIEW t9 AS SELECT id, name FROM people", [(1, "A**"), (2, "B**")]),
    ("CREATE TABLE former_items AS SELECT id, note AS address FROM people", [(1, "[masked]"), (2, "[masked]")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rows"), HELD, ids=[text for text, _ in HELD])
def test_copies_hold_what_the_session_sees(
    text: str, rows: list[tuple[object, ...]] | None, through: Connect, world: Database
) -> None:
    connection = through("migrator")
    try:
        connection.execute(text.encode())
        name = next(
            word
            for word in text.replace("(", " ").split()
            if word == "former_items" or (word[:1] == "t" and word[1:].isdigit())
        )
        if rows is None:
            assert connection.execute(f"SELECT * FROM {name}".encode()).fetchall() == [("138****4243",)]
        else:
            found = world.execute(f"SELECT * FROM {name} ORDER BY 1")
            assert [tuple(row) for row in found] == rows
    finally:
        world.execute(
            "DROP MATERIALIZED VIEW IF EXISTS t9; DROP TABLE IF EXISTS t1, t2, t3, t4, t5, t6, t7, former_items"
        )


KEPT = [
    "CREATE TABLE k AS SELECT name FROM people",
    "CREATE TEMP TABLE k AS SELECT phone FROM people",
    "CREATE TABLE pg_temp.k AS SELECT upper(phone) AS word FROM people",
    "CREATE TABLE k AS SELECT (SELECT phone FROM people LIMIT 1) AS word",
    "CREATE TABLE k AS SELECT to_jsonb(p) AS doc FROM people p",
    "CREATE TABLE k AS SELECT p FROM people p",
    "CREATE TABLE k AS WITH x (a) AS (SELECT phone FROM people) SELECT a AS id FROM x",
    "CREATE TABLE k AS SELECT 'x' AS word UNION SELECT name FROM people",
    "CREATE TABLE k AS SELECT w FROM people, LATERAL (SELECT phone AS w) x",
    "CREATE TABLE k AS SELECT phone FROM book",
    "CREATE TABLE k AS SELECT string_agg(name, ',') AS names FROM people",
    "SELECT phone INTO k FROM people",
    "SELECT 'x' AS phone INTO TEMP k UNION SELECT phone FROM people",
    "CREATE MATERIALIZED VIEW k AS SELECT phone FROM people",
    "CREATE TABLE archive2 AS SELECT id, name, phone FROM people",
    "CREATE TABLE app.archive AS SELECT id, name FROM people",
    "CREATE TABLE former_items AS SELECT id, born::text AS address FROM people",
]


@pytest.mark.parametrize("text", KEPT)
def test_raw_values_are_not_copied_to_where_nothing_is_classified(text: str, through: Connect, world: Database) -> None:
    sqlstate, words = refused(through("seer"), text)
    assert sqlstate == "42501"
    assert "may not be stored in" in words
    assert world.execute("SELECT count(*) FROM pg_class WHERE relname IN ('k', 'archive2', 'former_items')") == [(0,)]


COPIED = [
    "CREATE TABLE former_items AS SELECT id, note AS address FROM people",
    "CREATE TABLE former_items (n, address) AS SELECT id, name FROM people",
    "SELECT id, phone AS address INTO former_items FROM people",
    "CREATE TABLE k AS SELECT id, city FROM people WHERE phone LIKE '138%' ORDER BY name",
    "CREATE TABLE k AS SELECT count(*) AS n, EXISTS (SELECT FROM people WHERE phone = '1') AS there FROM people",
    "CREATE MATERIALIZED VIEW k AS SELECT city, count(*) AS n FROM people GROUP BY city",
    "CREATE TEMP TABLE k AS SELECT id, city FROM people",
]


@pytest.mark.parametrize("text", COPIED)
def test_raw_values_go_where_they_are_classified(text: str, through: Connect) -> None:
    with through("seer").transaction(force_rollback=True) as transaction:
        transaction.connection.execute(text.encode())


def test_without_ddl_only_temporary_tables_are_made(through: Connect) -> None:
    connection = through("analyst")
    for text in (
        "CREATE TABLE k AS SELECT id FROM people",
        "SELECT 1 AS a INTO k UNION SELECT 2",
        "CREATE VIEW k AS SELECT id FROM people",
        "CREATE MATERIALIZED VIEW k AS SELECT id FROM people",
        "REFRESH MATERIALIZED VIEW copied",
    ):
        assert refused(connection, text)[0] == "42501"
    assert refused(connection, "EXPLAIN ANALYZE SELECT phone INTO TEMP k FROM people")[0] == "0A000"
    connection.execute("CREATE TEMP TABLE k AS SELECT id, city FROM people")
    assert connection.execute("SELECT count(*) FROM k").fetchone() == (2,)


# --- views ------------------------------------------------------------------------------------------------------------


def test_a_view_shows_what_its_reader_may_see(through: Connect, world: Database) -> None:
    migrator = through("migrator")
    migrator.execute("CREATE VIEW v1 AS SELECT id, phone AS call_me, city FROM people WHERE city = 'Leeds'")
    assert "consentry" not in str(world.execute("SELECT pg_get_viewdef('v1')"))
    assert world.execute("SELECT call_me FROM v1") == [("13800004243",)]
    assert migrator.execute("SELECT * FROM v1").fetchall() == [(1, "138****4243", "Leeds")]
    assert through("analyst").execute("SELECT call_me FROM v1").fetchall() == [("13800004243",)]


def test_replacing_a_view_sheds_nothing(through: Connect) -> None:
    migrator = through("migrator")
    migrator.execute("CREATE VIEW v2 AS SELECT id, city AS word FROM people")
    migrator.execute("CREATE VIEW v3 AS SELECT word FROM v2")
    assert migrator.execute("SELECT word FROM v3 ORDER BY 1").fetchall() == [("Leeds",), ("York",)]
    migrator.execute("CREATE OR REPLACE VIEW v2 AS SELECT id, note AS word FROM people")
    assert migrator.execute("SELECT word FROM v3").fetchall() == [("[masked]",)] * 2
    assert refused(migrator, "CREATE OR REPLACE VIEW cards AS SELECT id, phone AS holder FROM people")[0] == "42501"
    with migrator.transaction(force_rollback=True):
        migrator.execute("CREATE OR REPLACE VIEW v2 AS SELECT id, phone::text AS word FROM people")
        sqlstate, words = refused(migrator, "SELECT word FROM v3")
        assert sqlstate == "42501"
        assert "v2: it does more than to show phone" in words


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TEMP VIEW plans AS SELECT id, phone AS title FROM people",
        "CREATE VIEW pg_temp.plans AS SELECT id, phone AS title FROM people",
        "CREATE TEMP TABLE own (n int); CREATE VIEW plans AS SELECT p.id, phone AS title FROM people p, own",
        "CREATE TEMP VIEW own AS SELECT 1; CREATE VIEW plans AS SELECT p.id, phone AS title FROM people p, own",
    ],
)
def test_no_view_hides_behind_a_name_that_only_this_session_knows(text: str, through: Connect) -> None:
    connection = through("migrator")
    for at_once in (True, False):
        statements = [text] if at_once else text.split("; ")
        for statement in statements[:-1]:
            connection.execute(statement.encode())
        assert refused(connection, statements[-1])[0] in ("0A000", "42P01")


def test_temporary_views_over_open_tables(through: Connect) -> None:
    connection = through("migrator")
    connection.execute("CREATE TEMP VIEW titles AS SELECT title FROM plans")
    assert connection.execute("SELECT title FROM titles ORDER BY 1").fetchall() == [("basic",), ("more",)]


# --- materialized views -----------------------------------------------------------------------------------------------


def test_refreshing_takes_one_who_sees_all(through: Connect, world: Database) -> None:
    world.execute("INSERT INTO people (id, name) VALUES (3, 'Cid Cook')")
    try:
        assert refused(through("migrator"), "REFRESH MATERIALIZED VIEW copied")[0] == "42501"
        through("seer").execute("REFRESH MATERIALIZED VIEW copied")
        assert world.execute("SELECT name FROM copied WHERE id = 3") == [("Cid Cook",)]
        assert through("migrator").execute("SELECT name FROM copied WHERE id = 3").fetchall() == [("C**",)]
        sqlstate, words = refused(through("seer"), "REFRESH MATERIALIZED VIEW stale")
        assert (sqlstate, "which is not classified" in words) == ("42501", True)
    finally:
        world.execute("DELETE FROM people WHERE id = 3; REFRESH MATERIALIZED VIEW copied")


def test_the_text_that_a_materialized_view_keeps_has_no_secret_in_it(through: Connect, world: Database) -> None:
    migrator = through("migrator")
    migrator.execute("CREATE MATERIALIZED VIEW m1 AS SELECT id, name FROM people")
    (definition,) = world.execute("SELECT pg_get_viewdef('m1')")[0]
    assert RAW.isdisjoint(definition.split())
    assert " t" in definition
    assert not any(len(word) > 12 and word.startswith("t_") for word in definition.replace(".", " ").split())
    assert refused(migrator, "SELECT * FROM m1")[0] == "0A000"
    world.execute("DROP MATERIALIZED VIEW m1")


# --- within a transaction, and within one message ------------------------------------------------------------------


def test_what_a_transaction_made_is_protected_in_it(through: Connect) -> None:
    migrator = through("migrator")
    with migrator.transaction(force_rollback=True):
        migrator.execute("CREATE TABLE kids (toy text) INHERITS (people)")
        migrator.execute("INSERT INTO kids (id, toy) VALUES (9, 'bear')")
        assert migrator.execute("SELECT toy, city FROM kids").fetchall() == [("bear", None)]
    with through("keeper").transaction(force_rollback=True) as transaction:
        keeper = transaction.connection
        keeper.execute("ALTER TABLE people ADD COLUMN digits int GENERATED ALWAYS AS (length(phone)) STORED")
        assert keeper.execute("SELECT digits FROM people WHERE id = 1").fetchone() == (11,)
    with migrator.transaction(force_rollback=True):
        migrator.execute("ALTER TABLE calls RENAME COLUMN id TO number")
        assert migrator.execute("SELECT number, callee FROM calls").fetchall() == [(1, "159****0001")]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE kids () INHERITS (people); SELECT name FROM kids",
        "CREATE TABLE more_calls PARTITION OF calls FOR VALUES FROM ('2027-01-01') TO ('2028-01-01'); TABLE more_calls",
        "ALTER TABLE calls ATTACH PARTITION bare DEFAULT; SELECT * FROM bare",
        "CREATE VIEW k AS SELECT phone FROM people; SELECT * FROM k",
        "CREATE OR REPLACE VIEW book AS SELECT id, phone AS name, phone FROM people; SELECT name FROM book",
        "CREATE TABLE former_items (address text); SELECT address FROM former_items",
        "ALTER TABLE plans RENAME TO plans3; ALTER TABLE former2 RENAME TO plans; SELECT * FROM plans",
    ],
)
def test_what_one_message_makes_is_not_read_in_it(text: str, through: Connect) -> None:
    assert refused(through("migrator"), text)[0] == "0A000"


def test_a_migration_in_one_transaction(through: Connect) -> None:
    seer = through("seer")
    with seer.transaction(force_rollback=True):
        for text in (
            "CREATE TABLE schema_migrations (name text)",
            "ALTER TABLE people ADD COLUMN nick varchar(20) DEFAULT '' NOT NULL",
            "ALTER TABLE people ALTER COLUMN nick DROP DEFAULT",
            "ALTER TABLE people ADD CONSTRAINT phone_once UNIQUE (phone)",
            "CREATE INDEX people_name_like ON people (name varchar_pattern_ops)",
            "UPDATE people SET city = 'none' WHERE city IS NULL",
            "ALTER TABLE people ALTER COLUMN salary TYPE bigint USING salary::bigint",
            "ALTER TABLE loose RENAME TO looser",
            "ALTER TABLE people RENAME COLUMN city TO town",
            "ALTER TABLE calls ADD CONSTRAINT fk FOREIGN KEY (person) REFERENCES people (id) DEFERRABLE",
            "SET CONSTRAINTS fk IMMEDIATE",
            "COMMENT ON TABLE people IS 'whom we serve'",
            "INSERT INTO schema_migrations VALUES ('0007')",
        ):
            seer.execute(text.encode())
        assert seer.execute("SELECT name FROM schema_migrations").fetchall() == [("0007",)]
