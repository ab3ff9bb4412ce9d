"""What the catalog says of relations, columns, functions, operators and types of a real server."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from proxy.catalog.model import Catalog, Column, Relation
from proxy.demo.postgres import EmbeddedPostgres
from tests.catalog.conftest import read
from tests.fix_postgres import Database

SCHEMA = """
CREATE SCHEMA app;
CREATE SCHEMA "Odd schema";
SET search_path = app;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE TYPE "Odd schema"."select" AS (a int);
CREATE DOMAIN short AS varchar(5) NOT NULL;
CREATE DOMAIN shorter AS short CHECK (length(VALUE) < 3);
CREATE DOMAIN free AS mood;
CREATE EXTENSION vector SCHEMA app;
CREATE TABLE types (
  a varchar(20), b numeric(10,2), c timestamptz(3), d "char", e bpchar(5), f mood, g text[], h varchar(7)[],
  i interval, j interval(2), k interval day to second(3), l interval year to month, m interval month, n bit(3),
  o bit varying(4), p time(0), q "Odd schema"."select", r short, s shorter, t free, u vector(3), v vector,
  w numeric(3,-2), x char, y int8, z name, aa text COLLATE "C", ab text, ac timestamp(6) without time zone,
  ad mood[], ae information_schema.sql_identifier, af numeric(5), ag vector(2)[], ah bpchar, ai interval hour
);
CREATE TABLE people (
  id int PRIMARY KEY, gone int, email text NOT NULL, name text, n int GENERATED ALWAYS AS (id + 1) STORED
);
ALTER TABLE people DROP COLUMN gone;
CREATE UNIQUE INDEX ON people (email, name) INCLUDE (n);
CREATE UNIQUE INDEX ON people (name) WHERE id > 5;
CREATE UNIQUE INDEX ON people (lower(name));
ALTER TABLE people ADD CONSTRAINT later UNIQUE (name) DEFERRABLE;
CREATE TABLE events (id int, at date, kind text) PARTITION BY RANGE (at, (id % 2));
CREATE TABLE events_all PARTITION OF events DEFAULT;
CREATE TABLE child (c int) INHERITS (people);
CREATE STATISTICS lists (mcv) ON email, name, (id + 1) FROM people;
CREATE STATISTICS counts (ndistinct) ON id, name FROM people;
CREATE TABLE guarded (id int, owner name, note text);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (owner = current_user);
CREATE POLICY known ON guarded FOR INSERT WITH CHECK (EXISTS (SELECT FROM people p WHERE p.name = note));
CREATE POLICY whole ON guarded FOR UPDATE USING (guarded IS NOT NULL);
CREATE VIEW seen AS SELECT id, name FROM people;
CREATE FUNCTION one(a int, b text DEFAULT '', c text DEFAULT '') RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION many(VARIADIC a int[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION nothing(OUT a int, OUT b int) LANGUAGE sql AS 'SELECT 1, 2';
CREATE PROCEDURE act() LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION add(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';
CREATE AGGREGATE total(int) (SFUNC = app.add, STYPE = int);
CREATE OPERATOR + (LEFTARG = mood, RIGHTARG = int, FUNCTION = app.mixed);
"""


@pytest.fixture(scope="module")
def catalog(module_database: Database) -> Catalog:
    mixed = "CREATE FUNCTION app.mixed(app.mood, int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
    schema = SCHEMA.replace("CREATE OPERATOR", mixed + "CREATE OPERATOR")
    if module_database.postgres.version < 15:
        schema = schema.replace("numeric(3,-2)", "numeric(3,2)")
    module_database.execute(schema)
    return asyncio.run(read(module_database))


def relation(catalog: Catalog, name: str) -> Relation:
    found = catalog.relation("app", name)
    assert found is not None
    return found


def column(catalog: Catalog, table: str, name: str) -> Column:
    found = relation(catalog, table).column(name)
    assert found is not None
    return found


TYPES = [
    ("a", "pg_catalog.varchar(20)"),
    ("b", "pg_catalog.numeric(10,2)"),
    ("c", "pg_catalog.timestamptz(3)"),
    ("d", 'pg_catalog."char"'),
    ("e", "pg_catalog.bpchar(5)"),
    ("f", "app.mood"),
    ("g", "pg_catalog.text[]"),
    ("h", "pg_catalog.varchar(7)[]"),
    ("i", "pg_catalog.interval"),
    ("j", "interval(2)"),
    ("k", "interval day to second(3)"),
    ("l", "interval year to month"),
    ("m", "interval month"),
    ("n", "pg_catalog.bit(3)"),
    ("o", "pg_catalog.varbit(4)"),
    ("p", "pg_catalog.time(0)"),
    ("q", '"Odd schema"."select"'),
    ("r", "app.short"),
    ("s", "app.shorter"),
    ("t", "app.free"),
    ("u", "app.vector(3)"),
    ("v", "app.vector"),
    ("w", "pg_catalog.numeric(3,-2)"),
    ("x", "pg_catalog.bpchar(1)"),
    ("y", "pg_catalog.int8"),
    ("z", "pg_catalog.name"),
    ("ac", "pg_catalog.timestamp(6)"),
    ("ad", "app.mood[]"),
    ("ae", "information_schema.sql_identifier"),
    ("af", "pg_catalog.numeric(5,0)"),
    ("ag", "app.vector(2)[]"),
    ("ah", "pg_catalog.bpchar"),
    ("ai", "interval hour"),
]


@pytest.mark.parametrize(("name", "type_sql"), TYPES)
def test_type_as_sql(catalog: Catalog, postgres: EmbeddedPostgres, name: str, type_sql: str) -> None:
    if type_sql == "pg_catalog.numeric(3,-2)" and postgres.version < 15:
        pytest.skip("negative scales came with PostgreSQL 15")
    assert column(catalog, "types", name).type_sql == type_sql


async def test_type_as_sql_means_the_type(catalog: Catalog, module_database: Database) -> None:
    """Under a search_path that has nothing in it, for every column there is."""
    connection = await asyncpg.connect(module_database.dsn(), server_settings={"search_path": ""})
    try:
        for found in catalog.relations.values():
            if found.kind not in "rv" or found.schema == "information_schema":
                continue
            casts = ", ".join(f"NULL::{one.type_sql} AS c{one.number}" for one in found.columns if not one.is_domain)
            wanted = [(one.type_oid, one.typmod) for one in found.columns if not one.is_domain]
            if any("any" in one.type_sql or "pg_statistic" in one.type_sql for one in found.columns):
                continue  # nobody but the server's own statistics may have columns of pseudo-types
            await connection.execute(f"CREATE OR REPLACE TEMP VIEW casts_{found.oid} AS SELECT {casts}")
            rows = await connection.fetch(
                "SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = to_regclass($1) ORDER BY attnum",
                f"pg_temp.casts_{found.oid}",
            )
            assert [tuple(row) for row in rows] == wanted, found.name
    finally:
        await connection.close()


def test_domains_and_enums(catalog: Catalog) -> None:
    shorter = column(catalog, "types", "s")
    assert (shorter.is_domain, shorter.domain_checked, shorter.not_null) == (True, True, True)
    assert (shorter.base_sql, shorter.base_typmod, shorter.base_type) == ("pg_catalog.varchar(5)", 9, 1043)
    short = column(catalog, "types", "r")
    assert (short.is_domain, short.domain_checked, short.not_null) == (True, False, True)
    free = column(catalog, "types", "t")
    assert (free.is_domain, free.is_enum, free.enum_labels) == (True, True, ("sad", "it's ok"))
    assert column(catalog, "types", "f").enum_labels == ("sad", "it's ok")


def test_collation(catalog: Catalog) -> None:
    assert column(catalog, "types", "aa").collation == 'pg_catalog."C"'
    assert column(catalog, "types", "ab").collation is None
    assert column(catalog, "types", "y").collation is None


def test_columns(catalog: Catalog) -> None:
    people = relation(catalog, "people")
    assert [(one.name, one.number) for one in people.columns] == [("id", 1), ("email", 3), ("name", 4), ("n", 5)]
    assert [one.not_null for one in people.columns] == [True, True, False, False]
    assert [one.generated for one in people.columns] == [False, False, False, True]


def test_keys(catalog: Catalog) -> None:
    """Not those that are partial, deferrable or over expressions; included columns are no part of a key."""
    assert relation(catalog, "people").unique_keys == (("id",), ("email", "name"))


def test_partitions_and_children(catalog: Catalog) -> None:
    events, part = relation(catalog, "events"), relation(catalog, "events_all")
    assert (events.kind, events.partition_key) == ("p", ("at", "", "id"))
    assert events.children == (part.oid,)
    assert part.parents == (events.oid,)
    assert relation(catalog, "child").parents == (relation(catalog, "people").oid,)


def test_what_row_security_decides_by(catalog: Catalog) -> None:
    guarded, people = relation(catalog, "guarded"), relation(catalog, "people")
    assert {(one.name, one.command): one.columns for one in guarded.policies} == {
        ("own", "*"): {(guarded.oid, 2)},
        ("known", "a"): {(people.oid, 4), (guarded.oid, 3)},
        ("whole", "w"): {(guarded.oid, 0)},
    }
    assert people.policies == ()


def test_most_common_values_of_several_columns(catalog: Catalog) -> None:
    assert relation(catalog, "people").common_values == ({"email", "name", "id", ""},)
    assert relation(catalog, "people").analyzed == {"id"}  # id + 1 may overflow


def test_names(catalog: Catalog) -> None:
    people = relation(catalog, "people")
    assert catalog.resolve("people", ("pg_catalog", "app")) is people
    assert catalog.resolve("people", ("pg_catalog", "public")) is None
    assert {"app", "public", "pg_catalog", "information_schema", "Odd schema"} <= catalog.schemas
    pg_class = catalog.relation("pg_catalog", "pg_class")
    assert pg_class is not None
    assert pg_class.builtin
    assert not people.builtin
    assert pg_class.column("relname") is not None


FUNCTIONS = [
    ("one", "f", 1, 3),
    ("many", "f", 1, None),
    ("nothing", "f", 0, 0),
    ("act", "p", 0, 0),
    ("total", "a", 1, 1),
]


@pytest.mark.parametrize(("name", "kind", "fewest", "most"), FUNCTIONS)
def test_functions(catalog: Catalog, name: str, kind: str, fewest: int, most: int | None) -> None:
    (found,) = (one for one in catalog.functions_named[name] if one.schema == "app")
    assert (found.kind, found.min_args, found.max_args) == (kind, fewest, most)
    assert not found.builtin


def test_what_aggregates_and_operators_call(catalog: Catalog) -> None:
    (total,) = (one for one in catalog.functions_named["total"] if one.schema == "app")
    (add,) = (one for one in catalog.functions_named["add"] if one.schema == "app")
    assert total.calls == {add.oid}
    (plus,) = (one for one in catalog.operators_named["+"] if one.schema == "app" and one.extension is None)
    (mixed,) = catalog.functions_named["mixed"]
    assert plus.functions == {mixed.oid}
    assert any(one.schema == "pg_catalog" for one in catalog.operators_named["+"])


def test_extension_members(catalog: Catalog) -> None:
    assert {one.extension for one in catalog.functions_named["l2_distance"]} == {"vector"}
    assert {one.extension for one in catalog.operators_named["<->"] if one.schema == "app"} == {"vector"}
    (vector,) = catalog.types_named["vector"]
    assert vector.extension == "vector"
    names = {catalog.functions[oid].name for oid in vector.functions}
    assert {"vector_in", "vector_out", "vector_recv", "vector_send", "vector_typmod_in"} <= names
    assert {"vector_to_float4", "vector_cmp"} <= names, "casts and comparison run code too"
    assert catalog.implicit_casts
    assert {catalog.functions[oid].extension for oid in catalog.implicit_casts} == {"vector"}
    (one,) = (one for one in catalog.functions_named["one"] if one.schema == "app")
    assert one.extension is None


def test_builtin_functions_are_known(catalog: Catalog) -> None:
    assert all(one.builtin for one in catalog.functions_named["lower"])
    assert len(catalog.functions) > 3000


def test_row_types(catalog: Catalog) -> None:
    (people,) = catalog.types_named["people"]
    assert people.relation == relation(catalog, "people").oid
    assert people.functions == frozenset()
    (shorter,) = catalog.types_named["shorter"]
    assert shorter.functions == frozenset()
    assert shorter.kind == "d"


def test_other_sessions_temporary_tables_are_left_out(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TEMP TABLE scratch (id serial PRIMARY KEY, t text)")
        connection.execute("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        catalog = asyncio.run(read(database))
    assert not [name for _, name in catalog.relation_names if "scratch" in name]
    assert not [schema for schema in catalog.schemas if "temp" in schema]
    assert "f" not in catalog.functions_named
    assert "scratch" not in catalog.types_named
