"""What is followed change by change is what would be read from nothing, and what did not change is shared."""

from __future__ import annotations

import contextlib
import dataclasses
import random

import psycopg
import pytest

from proxy.catalog.catalogs import Catalogs
from proxy.catalog.model import Catalog
from tests.catalog.conftest import read
from tests.catalog.test_catalogs import BEFORE, CHANGES, lines
from tests.catalog.test_reach import SCHEMA
from tests.fix_postgres import Database

TOGETHER = 8
"""Changes after which the catalog is read from nothing too."""

# Each may be run at any time, and fails where what it needs is not there.
ANYTIME = """
CREATE TABLE a (id int PRIMARY KEY, n int, t text)
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE, m mood, p pair)
CREATE TABLE c (id positive DEFAULT f(1), s text COLLATE german, v vector(3)) INHERITS (a)
CREATE TABLE d (id int, n int) PARTITION BY RANGE (f(id))
CREATE TABLE d1 PARTITION OF d FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id)
CREATE TABLE d2 PARTITION OF d1 DEFAULT
ALTER TABLE d DETACH PARTITION d1
ALTER TABLE d ATTACH PARTITION d1 DEFAULT
ALTER TABLE d2 ADD COLUMN more text
ALTER TABLE b RENAME COLUMN a TO of_a
ALTER TABLE b RENAME COLUMN of_a TO a
ALTER TABLE a RENAME COLUMN id TO ident
ALTER TABLE a RENAME COLUMN ident TO id
CREATE VIEW v AS SELECT a.id, a.n, b.m FROM a JOIN b ON b.a = a.id
CREATE VIEW w AS SELECT v.id, f(v.n), 'sad'::mood AS m FROM v
CREATE OR REPLACE VIEW v AS SELECT id, n, NULL::mood AS m FROM a WHERE n > f(2)
CREATE MATERIALIZED VIEW s AS SELECT id FROM w
CREATE VIEW by_operator AS SELECT id FROM a WHERE id OPERATOR(app.===) 1
ALTER TABLE a RENAME TO aa
ALTER TABLE aa RENAME TO a
ALTER TABLE a RENAME COLUMN n TO nn
ALTER TABLE a RENAME COLUMN nn TO n
ALTER TABLE a ADD COLUMN extra positive CHECK (f(extra) > 0)
ALTER TABLE a DROP COLUMN extra
ALTER TABLE a SET SCHEMA other
ALTER TABLE other.a SET SCHEMA app
ALTER TABLE a ALTER COLUMN t SET DEFAULT pg_catalog.query_to_xml('SELECT 1', true, true, '')::text
ALTER TABLE a ALTER COLUMN t DROP DEFAULT
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'
CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2'
ALTER FUNCTION f(int) RENAME TO ff
ALTER FUNCTION ff(int) RENAME TO f
DROP FUNCTION f(int) CASCADE
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
CREATE TRIGGER t AFTER UPDATE ON b FOR EACH ROW EXECUTE FUNCTION fired()
ALTER TABLE b DISABLE TRIGGER t
CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'
CREATE EVENT TRIGGER et ON sql_drop WHEN TAG IN ('DROP TABLE', 'DROP VIEW') EXECUTE FUNCTION noted()
ALTER EVENT TRIGGER et DISABLE
ALTER EVENT TRIGGER et ENABLE ALWAYS
DROP EVENT TRIGGER et
CREATE RULE r AS ON INSERT TO a DO ALSO INSERT INTO b (id) VALUES (NEW.id)
DROP RULE r ON a
CREATE POLICY p ON a USING (EXISTS (SELECT FROM b))
ALTER POLICY p ON a USING (f(id) = 1)
ALTER TABLE a ENABLE ROW LEVEL SECURITY
CREATE TYPE mood AS ENUM ('sad', 'glad')
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'
ALTER TYPE mood RENAME VALUE 'blue' TO 'sad'
ALTER TYPE mood RENAME TO feeling
ALTER TYPE feeling RENAME TO mood
CREATE TYPE pair AS (x positive, y mood)
ALTER TYPE pair ADD ATTRIBUTE z int CASCADE
CREATE DOMAIN positive AS int CHECK (VALUE > 0)
ALTER DOMAIN positive ADD CONSTRAINT judged CHECK (f(VALUE) > 0)
ALTER DOMAIN positive DROP CONSTRAINT judged
ALTER DOMAIN positive SET DEFAULT f(3)
CREATE TYPE span AS RANGE (subtype = int)
CREATE COLLATION german (provider = libc, locale = 'C')
ALTER COLLATION german RENAME TO austrian
ALTER COLLATION austrian RENAME TO german
CREATE EXTENSION vector SCHEMA app
DROP EXTENSION vector CASCADE
ALTER EXTENSION vector ADD TABLE b
CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same, COMMUTATOR = ====)
CREATE OPERATOR ==== (LEFTARG = int, RIGHTARG = int, FUNCTION = same, COMMUTATOR = ===)
CREATE FUNCTION to_mood(int) RETURNS mood LANGUAGE sql AS $$ SELECT 'sad'::app.mood $$
CREATE CAST (int AS mood) WITH FUNCTION to_mood(int) AS ASSIGNMENT
DROP CAST (int AS mood)
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int)
CREATE AGGREGATE judged(int) (SFUNC = least_of, STYPE = int)
CREATE FUNCTION least_of(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1'
CREATE FUNCTION compared(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0'
CREATE OPERATOR CLASS odd FOR TYPE int USING btree AS OPERATOR 3 ===, FUNCTION 1 compared(int, int)
CREATE INDEX i ON a (n odd)
CREATE UNIQUE INDEX u ON a (n, id)
CREATE INDEX e ON b (f(a)) WHERE a OPERATOR(app.===) 1
DROP INDEX u
CREATE SCHEMA other
ALTER SCHEMA other RENAME TO others
ALTER SCHEMA others RENAME TO other
ALTER SCHEMA app RENAME TO apps
ALTER SCHEMA apps RENAME TO app
CREATE TEMP TABLE scratch (id serial PRIMARY KEY, m text)
DROP TABLE b CASCADE
DROP TABLE d CASCADE
DROP TABLE a CASCADE
DROP VIEW v CASCADE
DROP TYPE mood CASCADE
DROP DOMAIN positive CASCADE
DROP SCHEMA other CASCADE
VACUUM
"""

APART = """
CREATE SCHEMA IF NOT EXISTS SCHEMA
CREATE TABLE SCHEMA.a (id serial PRIMARY KEY, t text)
CREATE TABLE SCHEMA.b (id int REFERENCES SCHEMA.a)
CREATE TYPE SCHEMA.mood AS ENUM ('sad', 'glad')
ALTER TABLE SCHEMA.a ADD COLUMN m SCHEMA.mood
ALTER TABLE SCHEMA.a DROP COLUMN m
CREATE OR REPLACE VIEW SCHEMA.v AS SELECT id, t FROM SCHEMA.a
CREATE OR REPLACE FUNCTION SCHEMA.f() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE INDEX ON SCHEMA.a (t)
CREATE TEMP TABLE IF NOT EXISTS scratch (id serial PRIMARY KEY)
DROP TABLE SCHEMA.b
DROP TABLE SCHEMA.a CASCADE
DROP SCHEMA SCHEMA CASCADE
"""


async def same_as_from_nothing(catalog: Catalog, database: Database) -> None:
    fresh = dataclasses.replace(await read(database), generation=catalog.generation)
    for oid in fresh.relations.keys() | catalog.relations.keys():
        assert catalog.relations.get(oid) == fresh.relations.get(oid)
    for field in dataclasses.fields(Catalog):
        assert getattr(catalog, field.name) == getattr(fresh, field.name), field.name


async def test_change_by_change(database: Database, catalogs: Catalogs) -> None:
    database.execute(BEFORE)
    await catalogs.reload(database.name)
    for number, change in enumerate(lines(CHANGES), 1):
        database.execute(change)
        followed = await catalogs.reload(database.name)
        if number % TOGETHER == 0:
            await same_as_from_nothing(followed, database)
    await same_as_from_nothing(followed, database)


async def test_everything_that_reaches_anything(database: Database, catalogs: Catalogs) -> None:
    await catalogs.reload(database.name)
    with database.connect() as connection:
        for part in SCHEMA.split("\n-- "):
            connection.execute(
                part.partition("\n")[2].encode() if not part.startswith("\nCREATE SCHEMA") else part.encode()
            )
            followed = await catalogs.reload(database.name)
        await same_as_from_nothing(followed, database)
        for dropped in ("TABLE secret", "FUNCTION on_delete()", "DOMAIN judged_int", "TABLE half", "TABLE owner"):
            connection.execute(f"DROP {dropped} CASCADE".encode())
            followed = await catalogs.reload(database.name)
        await same_as_from_nothing(followed, database)


@pytest.mark.parametrize("seed", range(2))
async def test_in_any_order(database: Database, catalogs: Catalogs, seed: int) -> None:
    pick, statements = random.Random(seed), lines(ANYTIME)
    done = 0
    with database.connect() as connection:
        connection.execute("CREATE SCHEMA app")
        connection.execute("SET search_path = app, other")
        while done < 4 * TOGETHER:
            try:
                connection.execute(pick.choice(statements).encode())
            except psycopg.Error:
                continue  # what it needs is not there
            done += 1
            followed = await catalogs.reload(database.name)
            if done % TOGETHER == 0:
                await same_as_from_nothing(followed, database)


async def test_transactions_that_end_in_another_order(database: Database, catalogs: Catalogs) -> None:
    """What a transaction made shows when it commits, however many that began later were read meanwhile."""
    pick = random.Random(7)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(database.connect()) for _ in range(4)]
        opened: set[int] = set()
        for number in range(3 * TOGETHER):
            session = pick.randrange(len(sessions))
            if session in opened and pick.random() < 0.5:
                sessions[session].execute(pick.choice(["COMMIT", "ROLLBACK"]).encode())
                opened.discard(session)
            elif session not in opened and pick.random() < 0.5:
                sessions[session].execute(b"BEGIN")
                opened.add(session)
            schema = f"s{session}"
            for change in pick.sample(lines(APART), 2):
                with contextlib.suppress(psycopg.Error), sessions[session].transaction():
                    sessions[session].execute(change.replace("SCHEMA", schema).encode())
            followed = await catalogs.reload(database.name)
            if number % TOGETHER == 0:
                await same_as_from_nothing(followed, database)
        for session in opened:
            sessions[session].execute(b"COMMIT")
        await same_as_from_nothing(await catalogs.reload(database.name), database)


async def test_what_did_not_change_is_shared(database: Database, catalogs: Catalogs) -> None:
    database.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int); CREATE VIEW v AS SELECT id FROM a")
    first = await catalogs.reload(database.name)
    database.execute("CREATE TABLE c (id int)")
    second = await catalogs.reload(database.name)
    assert [one for oid, one in first.relations.items() if second.relations[oid] is not one] == []
    assert first.functions is second.functions
    assert first.functions_named is second.functions_named
    assert first.operators_named is second.operators_named
    database.execute("ALTER TABLE a ADD COLUMN n int")
    third = await catalogs.reload(database.name)
    assert [one.name for oid, one in second.relations.items() if third.relations[oid] is not one] == ["a"]
    assert third.relation_names is second.relation_names
    database.execute("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    fourth = await catalogs.reload(database.name)
    assert fourth.relations is third.relations
    assert fourth.types_named is third.types_named
    assert [one for oid, one in third.functions.items() if fourth.functions[oid] is not one] == []


EDITS = """
CREATE OR REPLACE FUNCTION pg_catalog.round(float8) RETURNS float8 LANGUAGE internal STRICT IMMUTABLE AS 'dround'
UPDATE pg_catalog.pg_proc SET proname = 'another_lower' WHERE oid = 'pg_catalog.lower(text)'::regprocedure
UPDATE pg_catalog.pg_attribute SET attname = 'n' WHERE attrelid = 'pg_catalog.pg_proc'::regclass AND attnum = 2
DELETE FROM pg_catalog.pg_operator WHERE oid = 'pg_catalog.##(point, lseg)'::regoperator
DELETE FROM pg_catalog.pg_attribute WHERE attrelid = 'information_schema.sql_parts'::regclass AND attnum > 4
CREATE RULE r AS ON DELETE TO information_schema.sql_features DO INSTEAD NOTHING
"""


async def test_what_initdb_made_may_change_too(database: Database, catalogs: Catalogs) -> None:
    database.execute("CREATE TABLE a (id int PRIMARY KEY)")
    before = await catalogs.reload(database.name)
    for edit in lines(EDITS):
        database.execute(f"SET allow_system_table_mods = on; {edit}")
        after = await catalogs.reload(database.name)
        assert after.generation == before.generation + 1, edit
        before = after
    await same_as_from_nothing(before, database)
