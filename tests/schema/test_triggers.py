"""Code behind classified tables: a write that would run what nobody trusts is refused, and names it."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.schema.conftest import Connect

_TRIGGER = "CREATE TRIGGER tr {} ON {} {} EXECUTE FUNCTION app.strange()"
_ROW = "FOR EACH ROW"

FIRES = {
    "before a row is inserted": (
        _TRIGGER.format("BEFORE INSERT", "calls", _ROW),
        "INSERT INTO calls (id, person, started_at) VALUES (7, 1, '2025-01-01')",
    ),
    "of a partition, by way of its parent": (
        _TRIGGER.format("AFTER INSERT", "calls_2025", _ROW),
        "INSERT INTO calls (id, person, started_at) VALUES (7, 1, '2025-01-01')",
    ),
    "after an update, with a condition": (
        _TRIGGER.format("AFTER UPDATE", "people", _ROW + " WHEN (OLD.city <> NEW.city)"),
        "UPDATE people SET city = 'Hull' WHERE id = 1",
    ),
    "for the statement, with its rows": (
        (
            "CREATE TRIGGER tr AFTER UPDATE ON people REFERENCING OLD TABLE AS gone FOR EACH STATEMENT"
            " EXECUTE FUNCTION app.strange()"
        ),
        "UPDATE people SET city = 'Hull' WHERE id = 1",
    ),
    "for the statement, even of no row": (
        _TRIGGER.format("BEFORE DELETE", "people", "FOR EACH STATEMENT"),
        "DELETE FROM people WHERE false",
    ),
    "on TRUNCATE": (_TRIGGER.format("BEFORE TRUNCATE", "items", "FOR EACH STATEMENT"), "TRUNCATE items"),
    "of a table that a foreign key cascades to": (
        "ALTER TABLE orders ADD FOREIGN KEY (person) REFERENCES people ON DELETE CASCADE;"
        + _TRIGGER.format("AFTER DELETE", "orders", _ROW),
        "DELETE FROM people WHERE id = 77",
    ),
    "of a table that a cascade sets to NULL": (
        "ALTER TABLE orders ADD FOREIGN KEY (person) REFERENCES people ON DELETE SET NULL;"
        + _TRIGGER.format("AFTER UPDATE", "orders", _ROW),
        "DELETE FROM people WHERE id = 77",
    ),
    "enabled for replicas alone": (
        _TRIGGER.format("BEFORE UPDATE", "people", _ROW) + "; ALTER TABLE people ENABLE REPLICA TRIGGER tr",
        "UPDATE people SET city = 'Hull' WHERE id = 1",
    ),
    "instead of a write to a view": (
        "CREATE VIEW editable AS SELECT id, city FROM people; "
        + _TRIGGER.format("INSTEAD OF UPDATE", "editable", _ROW),
        "UPDATE editable SET city = 'Hull' WHERE id = 1",
    ),
    "of the table, by way of a view": (
        "CREATE VIEW editable AS SELECT id, city FROM people; " + _TRIGGER.format("BEFORE UPDATE", "people", _ROW),
        "UPDATE editable SET city = 'Hull' WHERE id = 1",
    ),
    "by ON CONFLICT": (
        _TRIGGER.format("BEFORE UPDATE", "people", _ROW),
        "INSERT INTO people (id, city) VALUES (1, 'Hull') ON CONFLICT (id) DO UPDATE SET city = 'Hull'",
    ),
    "by MERGE": (
        _TRIGGER.format("BEFORE DELETE", "people", _ROW),
        "MERGE INTO people p USING plans ON plans.id = p.id + 70 WHEN MATCHED THEN DELETE",
    ),
    "in a WITH query": (
        _TRIGGER.format("BEFORE UPDATE", "people", _ROW),
        "WITH x AS (UPDATE people SET city = 'Hull' WHERE id = 1 RETURNING id) SELECT * FROM x",
    ),
    "in a CHECK": (
        (
            "CREATE FUNCTION app.peek(text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            " ALTER TABLE people ADD CHECK (app.peek(name))"
        ),
        "UPDATE people SET city = 'Hull' WHERE id = 1",
    ),
    "in an index": (
        (
            "CREATE FUNCTION app.peek(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';"
            " CREATE INDEX ON people (app.peek(name))"
        ),
        "UPDATE people SET city = 'Hull' WHERE id = 1",
    ),
    "in a default": (
        (
            "CREATE FUNCTION app.peek() RETURNS text LANGUAGE sql AS 'SELECT name FROM public.people LIMIT 1';"
            " ALTER TABLE people ALTER COLUMN city SET DEFAULT app.peek()"
        ),
        "INSERT INTO people (id) VALUES (71)",
    ),
    "a rule": (
        "CREATE RULE ru AS ON UPDATE TO people DO ALSO INSERT INTO loose (id, name) VALUES (OLD.id, OLD.name)",
        "UPDATE people SET city = 'Hull' WHERE id = 1",
    ),
}

_REMOVED = """
DROP TRIGGER IF EXISTS tr ON people;
DROP TRIGGER IF EXISTS tr ON calls;
DROP TRIGGER IF EXISTS tr ON calls_2025;
DROP TRIGGER IF EXISTS tr ON orders;
DROP TRIGGER IF EXISTS tr ON items;
DROP VIEW IF EXISTS editable;
DROP RULE IF EXISTS ru ON people;
DROP FUNCTION IF EXISTS app.peek(text) CASCADE;
DROP FUNCTION IF EXISTS app.peek() CASCADE;
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_person_fkey;
UPDATE people SET city = 'Leeds' WHERE id = 1;
"""


@pytest.mark.parametrize("title", FIRES)
def test_untrusted_code_does_not_run(title: str, through: Connect) -> None:
    installed, text = FIRES[title]
    through("anything").execute(installed.encode())
    try:
        for role in ("seer", "keeper"):
            with through(role) as connection:
                connection.execute("SET consentry.purpose = audit")
                with pytest.raises(psycopg.Error) as caught:
                    connection.execute(text.encode())
                assert caught.value.sqlstate == "42501"
                assert any(name in str(caught.value) for name in ("app.strange", "app.peek", "people.ru"))
    finally:
        through("anything").execute(_REMOVED.encode())


PASSES = {
    "a trigger that is disabled": _TRIGGER.format("BEFORE UPDATE", "people", _ROW)
    + "; ALTER TABLE people DISABLE TRIGGER tr",
    "a trigger of another event": _TRIGGER.format("BEFORE DELETE", "people", _ROW),
    "a trusted trigger": "CREATE TRIGGER tr BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION app.trusted()",
    "PostgreSQL's own": "ALTER TABLE orders ADD FOREIGN KEY (person) REFERENCES people ON UPDATE CASCADE",
}


@pytest.mark.parametrize("title", PASSES)
def test_trusted_code_runs(title: str, through: Connect) -> None:
    through("anything").execute(PASSES[title].encode())
    try:
        with through("seer") as connection:
            assert connection.execute("UPDATE people SET city = 'Hull' WHERE id = 1 RETURNING city").fetchone() == (
                "Hull",
            )
    finally:
        through("anything").execute(_REMOVED.encode())


# --- made through the proxy -------------------------------------------------------------------------------------------

REFUSED = [
    "CREATE TRIGGER tr BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION app.strange()",
    "CREATE TRIGGER tr BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION app.unknown()",
    "CREATE CONSTRAINT TRIGGER tr AFTER UPDATE ON people DEFERRABLE FOR EACH ROW EXECUTE FUNCTION app.strange()",
    "CREATE TRIGGER tr INSTEAD OF INSERT ON book FOR EACH ROW EXECUTE FUNCTION app.strange()",
    "CREATE RULE ru AS ON INSERT TO people DO ALSO NOTHING",
    "CREATE RULE ru AS ON UPDATE TO loose DO ALSO SELECT name FROM people",
    'CREATE RULE "_RETURN" AS ON SELECT TO bare DO INSTEAD SELECT id, name FROM people',
    "CREATE EVENT TRIGGER ev ON ddl_command_end EXECUTE FUNCTION app.strange()",
]


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("role", ["migrator", "seer", "keeper"])
def test_code_that_nobody_trusts_is_not_installed(text: str, role: str, through: Connect) -> None:
    with pytest.raises(psycopg.Error) as caught:
        through(role).execute(text.encode())
    assert caught.value.sqlstate == "42501"


def test_a_function_that_is_replaced_is_trusted_no_longer(through: Connect, world: Database) -> None:
    keeper = through("keeper")
    keeper.execute("CREATE TRIGGER tr BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION app.trusted()")
    try:
        keeper.execute("UPDATE people SET city = 'Leeds' WHERE id = 1")
        replaced = "CREATE OR REPLACE FUNCTION app.trusted() RETURNS trigger LANGUAGE plpgsql AS"
        keeper.execute(f"{replaced} 'BEGIN RAISE NOTICE ''%'', NEW; RETURN NEW; END'".encode())
        for text in (
            "UPDATE people SET city = 'Leeds' WHERE id = 1",
            "CREATE TRIGGER tr2 AFTER DELETE ON calls FOR EACH ROW EXECUTE FUNCTION app.trusted()",
        ):
            with pytest.raises(psycopg.Error, match=r"app\.trusted is not trusted"):
                keeper.execute(text.encode())
    finally:
        world.execute("DROP TRIGGER tr ON people")
