"""Writes to one table that change or tell of another: parents of partitions, and foreign keys over many tables."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import Proxy
from tests.writes.conftest import POLICY

SCHEMA = """
CREATE TABLE states (code text PRIMARY KEY, title text);
INSERT INTO states VALUES ('active'), ('closed');
CREATE TABLE regions (id int PRIMARY KEY, title text);
INSERT INTO regions SELECT n FROM generate_series(1, 9) n;
CREATE TABLE places (code text PRIMARY KEY, title text, region int REFERENCES regions ON DELETE CASCADE);
INSERT INTO places SELECT 'p' || n, NULL, n FROM generate_series(1, 8) n;
CREATE TABLE numbers (code text PRIMARY KEY, region int REFERENCES regions ON DELETE CASCADE);
CREATE VIEW spots AS SELECT title, code AS spot FROM places;

CREATE TABLE everybody (id int, full_name text, phone text, id_number text, sort text DEFAULT 's', status text
    DEFAULT 'active' REFERENCES states ON UPDATE CASCADE ON DELETE SET DEFAULT) PARTITION BY LIST (sort);
CREATE TABLE subscribers PARTITION OF everybody FOR VALUES IN ('s');
ALTER TABLE subscribers ADD PRIMARY KEY (id);
CREATE TABLE agreements (subscriber_id int REFERENCES subscribers ON DELETE CASCADE ON UPDATE CASCADE, purpose text,
    granted_at timestamptz DEFAULT now(), withdrawn_at timestamptz, expires_at timestamptz, is_express bool,
    notice_version int DEFAULT 2, sort text) PARTITION BY LIST (sort);
CREATE TABLE consents PARTITION OF agreements FOR VALUES IN ('consent');
CREATE TABLE contracts PARTITION OF agreements DEFAULT;
CREATE TABLE moves (id int PRIMARY KEY, subscriber_id int REFERENCES subscribers ON DELETE CASCADE ON UPDATE CASCADE,
    address text REFERENCES places);
CREATE TABLE calls (id int PRIMARY KEY, subscriber_id int, started_at timestamptz DEFAULT now(), cell text,
    callee text REFERENCES numbers ON DELETE CASCADE);
INSERT INTO everybody SELECT n, 'Anna', '13' || n, NULL, 's', CASE n WHEN 3 THEN 'closed' ELSE 'active' END
    FROM generate_series(1, 4) n;
INSERT INTO agreements SELECT n, 'billing', now(), NULL, NULL, true, 2, 'consent' FROM generate_series(1, 3) n;
INSERT INTO calls (id, subscriber_id) VALUES (7, 7);
INSERT INTO moves SELECT n, n, 'p' || n FROM generate_series(1, 4) n;
CREATE VIEW agreed AS SELECT * FROM consents;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {roles};
"""

MERGE = """
MERGE INTO agreements a USING (VALUES (4)) v(n) ON false
    WHEN NOT MATCHED THEN INSERT (subscriber_id, purpose, sort) VALUES (v.n, 'billing', 'consent')
"""
CONSENT = "INSERT INTO {} (subscriber_id, purpose, is_express, sort) VALUES (4, 'billing', true, 'consent')"
CASES = {
    "consent by way of its parent": (CONSENT.format("agreements"), "42501"),
    "the same by MERGE": (MERGE, "42501"),
    "the same by COPY": ("COPY agreements (subscriber_id, purpose, sort) FROM STDIN", "42501"),
    "another partition": (CONSENT.replace("'consent'", "'contract'").format("contracts"), ""),
    "consent brought back by way of its parent": ("UPDATE agreements SET withdrawn_at = NULL", "42501"),
    "its parent emptied": ("TRUNCATE agreements", "42501"),
    "an account's state by way of the registry's parent": (
        "UPDATE everybody SET status = 'active' WHERE id = 3",
        "42501",
    ),
    "a subject's key, the same way": ("UPDATE everybody SET id = 9 WHERE id = 3", "42501"),
    "another column, the same way": ("UPDATE everybody SET full_name = 'Bo' WHERE id = 1", ""),
    "a new subject, the same way": ("INSERT INTO everybody (id) VALUES (5)", ""),
    "one of whom there are rows, the same way": ("INSERT INTO everybody (id) VALUES (7)", "42501"),
    "a state that goes to its default": ("DELETE FROM states WHERE code = 'closed'", "42501"),
    "a state that is renamed": ("UPDATE states SET code = 'frozen' WHERE code = 'closed'", "42501"),
    "a state's title": ("UPDATE states SET title = 'none' WHERE code = 'closed'", ""),
    "a key that others follow, as it is": ("UPDATE subscribers SET id = 1, full_name = 'Bo' WHERE id = 1", ""),
    "a key that others follow": ("UPDATE subscribers SET id = 9 WHERE id = 1", "42501"),
    "a row with a key that others follow": (
        "INSERT INTO subscribers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET sort = excluded.sort",
        "",
    ),
    "a subject with all that is theirs": ("DELETE FROM subscribers WHERE id = 3", ""),
    "what a hidden value refers to": ("DELETE FROM places WHERE code = 'p4'", "0A000"),
    "the same through a view": ("DELETE FROM spots WHERE spot = 'p4'", "0A000"),
    "the same, renamed through a view": ("UPDATE spots SET spot = 'q' WHERE spot = 'p4'", "0A000"),
    "another column through the view": ("UPDATE spots SET title = 'q' WHERE spot = 'p4'", ""),
    "what that refers to": ("DELETE FROM regions WHERE id = 4", "0A000"),
    "another column of that": ("UPDATE regions SET title = 'north' WHERE id = 4", ""),
}


@pytest.fixture(scope="module")
def filled(roles: tuple[str, ...], module_database: Database) -> Database:
    module_database.execute(SCHEMA.format(roles=", ".join(roles)))
    return module_database


@pytest.fixture(scope="module", params=["consents", "agreed"])
def proxied(
    request: pytest.FixtureRequest, filled: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the consent source is a table, and where it is a view of that."""
    folder = tmp_path_factory.mktemp("beyond")
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.read_text().replace("table: public.consents", f"table: public.{request.param}"))
    with Proxy(folder, "--policy", str(policy), "--upstream", filled.dsn()) as proxy:
        host, _, port = proxy.ready().rpartition(":")
        yield filled.through(host, int(port), "billing")


@pytest.mark.parametrize("name", CASES)
def test_beyond_the_table(proxied: str, name: str) -> None:
    statement, sqlstate = CASES[name]
    with psycopg.connect(proxied) as connection:
        if not sqlstate:
            connection.execute(statement.encode())
        else:
            with pytest.raises(psycopg.Error, match="consentry: ") as raised:
                connection.execute(statement.encode())
            assert raised.value.sqlstate == sqlstate
        connection.rollback()


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("DELETE FROM places WHERE code = 'p8'", True),
        ("DELETE FROM regions WHERE id = 8", False),  # calls are not shown beyond their retention
    ],
)
def test_whoever_sees_what_refers_to_a_row_may_delete_it(
    filled: Database, tmp_path_factory: pytest.TempPathFactory, statement: str, allowed: bool
) -> None:
    folder = tmp_path_factory.mktemp("seeing")
    with Proxy(folder, "--policy", str(POLICY), "--upstream", filled.dsn()) as proxy:
        host, _, port = proxy.ready().rpartition(":")
        with psycopg.connect(filled.through(host, int(port), "clerk")) as connection:
            if allowed:
                assert connection.execute(statement.encode()).rowcount == 1
            else:
                with pytest.raises(psycopg.errors.FeatureNotSupported, match="a classified column refers to it"):
                    connection.execute(statement.encode())
            connection.rollback()
