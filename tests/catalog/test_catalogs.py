"""Catalogs stay fresh, survive lost connections, and are not given out once nobody can vouch for them."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from proxy.catalog import reader as module
from proxy.catalog.catalogs import Catalogs, CatalogUnavailable
from proxy.catalog.model import Catalog
from tests.fix_postgres import Database

BEFORE = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad');
CREATE DOMAIN app.short AS text;
CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.c(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION app.h(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION app.to_mood(int) RETURNS app.mood LANGUAGE sql AS $$ SELECT 'sad'::app.mood $$;
CREATE TABLE app.t (id int PRIMARY KEY, name text, owner int, d app.short);
CREATE TABLE app.p (id int) PARTITION BY RANGE (id);
CREATE TABLE app.part (id int);
CREATE TABLE app.elder (id int);
CREATE VIEW app.v AS SELECT id FROM app.t;
CREATE POLICY pol ON app.t USING (true);
CREATE TRIGGER tr AFTER INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.g();
CREATE UNIQUE INDEX ix ON app.t (name);
CREATE SEQUENCE app.s;
CREATE AGGREGATE app.agg(int) (SFUNC = int4pl, STYPE = int);
"""

CHANGES = """
CREATE SCHEMA more
CREATE TABLE app.new (id int)
ALTER TABLE app.new RENAME TO newer
ALTER TABLE app.newer SET SCHEMA more
DROP TABLE more.newer
ALTER TABLE app.t ADD COLUMN extra int
ALTER TABLE app.t RENAME COLUMN extra TO more
ALTER TABLE app.t DROP COLUMN more
ALTER TABLE app.t ALTER COLUMN name TYPE varchar(10)
ALTER TABLE app.t ALTER COLUMN name TYPE varchar(20)
ALTER TABLE app.t ALTER COLUMN name SET NOT NULL
ALTER TABLE app.t ALTER COLUMN owner SET DEFAULT app.f(1)
ALTER TABLE app.t ADD CHECK (app.c(id) = 1)
ALTER TABLE app.part ADD FOREIGN KEY (id) REFERENCES app.t ON DELETE CASCADE
ALTER TABLE app.t ENABLE ROW LEVEL SECURITY
CREATE POLICY two ON app.t USING (EXISTS (SELECT FROM app.elder))
ALTER POLICY two ON app.t USING (EXISTS (SELECT FROM app.part))
ALTER TABLE app.p ATTACH PARTITION app.part DEFAULT
ALTER TABLE app.p DETACH PARTITION app.part
ALTER TABLE app.part INHERIT app.elder
CREATE OR REPLACE VIEW app.v AS SELECT id FROM app.part
DROP VIEW app.v
CREATE MATERIALIZED VIEW app.m AS SELECT 1
CREATE RULE r AS ON DELETE TO app.t DO INSTEAD NOTHING
CREATE TRIGGER two BEFORE DELETE ON app.elder FOR EACH ROW EXECUTE FUNCTION app.g()
ALTER TABLE app.t DISABLE TRIGGER tr
DROP TRIGGER two ON app.elder
CREATE UNIQUE INDEX ON app.elder (id)
DROP INDEX app.ix
CREATE OR REPLACE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT 2'
CREATE OPERATOR app.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = app.h)
CREATE CAST (int AS app.mood) WITH FUNCTION app.to_mood(int) AS ASSIGNMENT
ALTER FUNCTION app.h(int, int) RENAME TO hh
DROP OPERATOR app.=== (int, int)
DROP FUNCTION app.hh(int, int)
DROP AGGREGATE app.agg(int)
CREATE TABLE app.moods (m app.mood)
ALTER TYPE app.mood ADD VALUE 'happy'
ALTER TYPE app.mood RENAME VALUE 'sad' TO 'blue'
ALTER TYPE app.mood RENAME TO feeling
ALTER DOMAIN app.short SET NOT NULL
ALTER DOMAIN app.short ADD CHECK (app.f(1) = 2)
CREATE TYPE app.pair AS (a int, b int)
CREATE EXTENSION vector SCHEMA app
ALTER EXTENSION vector ADD TABLE app.moods
CREATE FUNCTION app.noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'
CREATE EVENT TRIGGER et ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION app.noted()
ALTER EVENT TRIGGER et DISABLE
ALTER EVENT TRIGGER et ENABLE
DROP EVENT TRIGGER et
ALTER SCHEMA app RENAME TO apps
"""

NOTHING_CHANGED = """
ANALYZE app.t
VACUUM app.t
VACUUM FULL app.t
INSERT INTO app.elder VALUES (1)
SELECT nextval('app.s')
TRUNCATE app.elder
COMMENT ON TABLE app.t IS 'nothing of ours'
CREATE ROLE nobody_in_particular
DROP ROLE nobody_in_particular
CREATE TEMP TABLE scratch (id serial PRIMARY KEY, name text UNIQUE, CHECK (id > 0))
"""


def lines(statements: str) -> list[str]:
    return statements.strip().splitlines()


async def until_newer(catalogs: Catalogs, database: Database, generation: int) -> Catalog:
    """The next catalog that the periodic refresh brings; the same after ten seconds."""
    end = time.monotonic() + 10
    current = catalogs.current
    while (catalog := current(database.name)).generation <= generation and time.monotonic() < end:  # noqa: ASYNC110 -- it tells nobody
        await asyncio.sleep(0.02)
    return catalog


async def test_every_kind_of_ddl_is_noticed(database: Database, catalogs: Catalogs) -> None:
    database.execute(BEFORE)
    before = await catalogs.reload(database.name)
    for change in lines(CHANGES):
        database.execute(change)
        after = await catalogs.reload(database.name)
        assert after.generation == before.generation + 1, change
        before = after


async def test_what_changes_nothing_makes_no_new_generation(database: Database, catalogs: Catalogs) -> None:
    database.execute(BEFORE)
    before = await catalogs.reload(database.name)
    for statement in lines(NOTHING_CHANGED):
        database.execute(statement)
        assert await catalogs.reload(database.name) is before, statement


async def test_uncommitted_changes_are_nobodys(database: Database, catalogs: Catalogs) -> None:
    before = await catalogs.catalog(database.name)
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE TABLE t (id int)")
        assert await catalogs.reload(database.name) is before
    assert await catalogs.reload(database.name) is before


async def test_a_change_made_elsewhere_comes_with_the_refresh(database: Database, catalogs: Catalogs) -> None:
    before = await catalogs.catalog(database.name)
    assert catalogs.current(database.name) is before
    database.execute("CREATE TABLE t (id int)")
    after = await until_newer(catalogs, database, before.generation)
    assert after.relation("public", "t") is not None
    assert before.relation("public", "t") is None


async def test_many_ask_at_once(database: Database, catalogs: Catalogs) -> None:
    first = await asyncio.gather(*(catalogs.catalog(database.name) for _ in range(20)))
    assert len({id(catalog) for catalog in first}) == 1
    database.execute("CREATE TABLE t (id int)")
    again = await asyncio.gather(*(catalogs.reload(database.name) for _ in range(20)))
    assert all(catalog.relation("public", "t") is not None for catalog in again)


async def test_a_lost_connection_is_made_again(database: Database, catalogs: Catalogs) -> None:
    before = await catalogs.catalog(database.name)
    ended = database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{database.name}' AND application_name = 'consentry catalog'"
    )
    assert ended == [(True,)]
    database.execute("CREATE TABLE t (id int)")
    after = await until_newer(catalogs, database, before.generation)
    assert after.relation("public", "t") is not None


async def test_a_locked_catalog_is_waited_for_in_vain(database: Database, catalogs: Catalogs) -> None:
    """The reader gives up after its lock_timeout and does not stand in the way of others."""
    await catalogs.catalog(database.name)
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("LOCK pg_catalog.pg_rewrite IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(CatalogUnavailable, match="LockNotAvailable"):
            await catalogs.reload(database.name)
    assert (await catalogs.reload(database.name)).relation("pg_catalog", "pg_class") is not None


async def test_what_somebody_has_locked_is_read_later(database: Database, catalogs: Catalogs) -> None:
    """Only the text of a view depends on a lock, and nobody waits for it."""
    database.execute("CREATE TABLE t (id int); CREATE VIEW v AS SELECT id FROM t; CREATE VIEW w AS SELECT 1 AS one")
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("LOCK t IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        catalog = await catalogs.reload(database.name)
        assert time.monotonic() - started < 5
        views = [catalog.relation("public", name) for name in "vw"]
        assert [view.definition for view in views if view is not None] == ["", " SELECT 1 AS one;"]
    view = (await catalogs.reload(database.name)).relation("public", "v")
    assert view is not None
    # Up to PostgreSQL 15 columns are qualified.
    assert view.definition in (" SELECT id\n   FROM public.t;", " SELECT t.id\n   FROM public.t;")


async def test_reading_while_others_come_and_go(database: Database, catalogs: Catalogs) -> None:
    """What is dropped while it is read disturbs nobody."""
    await catalogs.reload(database.name)
    until = time.monotonic() + 2

    def come_and_go() -> None:
        with database.connect() as connection:
            while time.monotonic() < until:
                connection.execute("CREATE TABLE t (id int)")
                connection.execute("CREATE VIEW v AS SELECT id FROM t")
                connection.execute("DROP VIEW v")
                connection.execute("DROP TABLE t")

    others = asyncio.create_task(asyncio.to_thread(come_and_go))
    while not others.done():
        await catalogs.reload(database.name)
    await others


async def test_an_old_catalog_is_not_given_out(
    database: Database, catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalogs.catalog(database.name)
    old = Catalogs(database.dsn(), refresh_seconds=3600)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + hours * 3600))
    try:
        hours = 0
        before = await old.catalog(database.name)
        hours = 9
        assert old.current(database.name) is before
        hours = 11
        with pytest.raises(CatalogUnavailable, match="could not be confirmed for 36000 s"):
            old.current(database.name)
        assert await old.catalog(database.name) is before, "it can be confirmed again"
        assert old.current(database.name) is before
    finally:
        await old.close()


async def test_what_cannot_be_read(database: Database, catalogs: Catalogs) -> None:
    with pytest.raises(CatalogUnavailable, match="was not read yet"):
        catalogs.current(database.name)
    with pytest.raises(CatalogUnavailable, match="does not exist"):
        await catalogs.catalog("no_such_database")
    with pytest.raises(CatalogUnavailable, match="was not read yet"):
        catalogs.current("no_such_database")
    await catalogs.close()
    with pytest.raises(CatalogUnavailable, match="closed"):
        await catalogs.catalog(database.name)


async def test_an_unprivileged_role_suffices(database: Database) -> None:
    """Everything that is read is open to everybody."""
    role = f"reader_of_{database.name}"
    database.execute(BEFORE)
    database.execute(f"CREATE ROLE {role} LOGIN")
    parameters = {"host": "127.0.0.1", "port": database.postgres.port, "user": role, "database": "ignored"}
    as_reader, as_owner = Catalogs(parameters), Catalogs(database.dsn())
    try:
        assert await as_reader.catalog(database.name) == await as_owner.catalog(database.name)
    finally:
        await as_reader.close()
        await as_owner.close()
        database.execute(f"DROP ROLE {role}")
