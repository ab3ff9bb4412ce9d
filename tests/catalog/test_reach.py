"""What each access to a relation reaches, as a table: relation, access, what it reaches beyond itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.catalog.model import Access, Catalog
from tests.catalog.conftest import read
from tests.fix_postgres import Database


def function(name: str, arguments: str = "", result: str = "int", body: str = "SELECT 1") -> str:
    return f"CREATE FUNCTION app.{name}({arguments}) RETURNS {result} LANGUAGE sql IMMUTABLE AS $$ {body} $$;"


def trigger_function(name: str) -> str:
    return f"CREATE FUNCTION app.{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"


SCHEMA = f"""
CREATE SCHEMA app;
SET search_path = app;

{"".join(function(name) for name in ("made", "viewed", "policed", "asked"))}
{"".join(function(name, "int", "int", "SELECT $1") for name in ("generated", "keyed", "parted"))}
{"".join(function(name, "int", "bool", "SELECT true") for name in ("checked", "filtered", "judged", "added_check"))}
{"".join(trigger_function(f"on_{event}") for event in ("insert", "update", "delete", "truncate", "off", "row", "view"))}

CREATE TABLE secret (id int PRIMARY KEY, phone text);
CREATE TABLE plain (id int PRIMARY KEY);

-- views over views
CREATE VIEW over_secret AS SELECT id, phone FROM secret;
CREATE VIEW over_view AS SELECT v.id FROM over_secret v JOIN plain USING (id) WHERE app.viewed() = 1;
CREATE VIEW nested AS SELECT 1 AS one WHERE EXISTS (WITH x AS (SELECT 1 FROM over_view) SELECT FROM x);
CREATE VIEW over_statistics AS SELECT starelid FROM pg_catalog.pg_statistic;
CREATE VIEW over_builtin_view AS SELECT tablename FROM pg_catalog.pg_stats;
CREATE VIEW by_name AS SELECT pg_catalog.query_to_xml('SELECT * FROM app.secret', true, true, '') AS all_of_it;
CREATE VIEW over_by_name AS SELECT * FROM by_name;
CREATE VIEW "odd :relid 1 name" AS SELECT id AS "x :relid 2 y" FROM plain;
CREATE MATERIALIZED VIEW stored AS SELECT id FROM over_view;
CREATE VIEW over_stored AS SELECT id FROM stored;

-- triggers, and what a view's own do
CREATE TABLE fired (id int, n int);
CREATE TRIGGER a BEFORE INSERT ON fired FOR EACH ROW WHEN (app.asked() = 1) EXECUTE FUNCTION on_insert();
CREATE TRIGGER b AFTER UPDATE OF n ON fired FOR EACH ROW EXECUTE FUNCTION on_update();
CREATE TRIGGER c AFTER DELETE ON fired FOR EACH STATEMENT EXECUTE FUNCTION on_delete();
CREATE TRIGGER d AFTER TRUNCATE ON fired FOR EACH STATEMENT EXECUTE FUNCTION on_truncate();
CREATE TRIGGER e AFTER INSERT ON fired FOR EACH ROW EXECUTE FUNCTION on_off();
ALTER TABLE fired DISABLE TRIGGER e;
CREATE VIEW over_fired AS SELECT * FROM fired;
CREATE VIEW instead AS SELECT id FROM plain;
CREATE TRIGGER i INSTEAD OF INSERT ON instead FOR EACH ROW EXECUTE FUNCTION on_view();

-- rules
CREATE TABLE ruled (id int);
CREATE RULE copy AS ON INSERT TO ruled DO ALSO INSERT INTO fired VALUES (NEW.id);
CREATE RULE keep AS ON DELETE TO ruled DO INSTEAD NOTHING;

-- row security
CREATE TABLE policed_table (id int);
CREATE POLICY p ON policed_table FOR SELECT USING (id IN (SELECT id FROM plain) AND app.policed() = 1);
CREATE POLICY q ON policed_table FOR INSERT WITH CHECK (EXISTS (SELECT FROM over_secret));
ALTER TABLE policed_table ENABLE ROW LEVEL SECURITY;
CREATE TABLE not_policed (id int);
CREATE POLICY p ON not_policed USING (id IN (SELECT id FROM plain));
CREATE TABLE policed_by_system (id int);
CREATE POLICY p ON policed_by_system USING (EXISTS (SELECT FROM pg_catalog.pg_authid));
ALTER TABLE policed_by_system ENABLE ROW LEVEL SECURITY;

-- what runs when rows are stored
CREATE SEQUENCE numbers;
CREATE TABLE defaults (id int DEFAULT nextval('numbers'), n int DEFAULT app.made(), x xml DEFAULT
  pg_catalog.table_to_xml('app.secret', true, true, ''));
CREATE TABLE computed (id int, n int GENERATED ALWAYS AS (app.generated(id)) STORED);
CREATE TABLE checks (id int CHECK (app.checked(id)));
CREATE TABLE indexed (id int);
CREATE INDEX ON indexed (app.keyed(id)) WHERE app.filtered(id);
CREATE DOMAIN judged_int AS int CHECK (app.judged(VALUE));
CREATE DOMAIN deeper AS judged_int;
CREATE TYPE pair AS (a deeper, b int);
CREATE TABLE with_domain (id deeper);
CREATE TABLE with_array (pairs pair[]);

-- operators, casts, comparison
{function("same", "secret, secret", "bool", "SELECT true")}
{function("estimated", "int, int", "bool", "SELECT true")}
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = app.estimated, COMMUTATOR = ====);
{function("swapped", "int, int", "bool", "SELECT true")}
CREATE OPERATOR ==== (LEFTARG = int, RIGHTARG = int, FUNCTION = app.swapped, COMMUTATOR = ===);
CREATE VIEW by_operator AS SELECT id FROM plain WHERE id OPERATOR(app.===) 1;
CREATE TYPE coin AS (v int);
{function("to_coin", "int", "coin", "SELECT ROW($1)::app.coin")}
CREATE CAST (int AS coin) WITH FUNCTION app.to_coin(int) AS ASSIGNMENT;
CREATE VIEW by_cast AS SELECT id::coin FROM plain;
CREATE FUNCTION adding(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 + $2 $$;
CREATE AGGREGATE total(int) (SFUNC = app.adding, STYPE = int);
CREATE VIEW by_aggregate AS SELECT total(id) FROM plain;
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE moods (m mood, a text[], r int4range);

-- partitions and inheritance
CREATE TABLE whole (id int, n int) PARTITION BY RANGE (app.parted(id));
CREATE TABLE half PARTITION OF whole FOR VALUES FROM (0) TO (10) PARTITION BY LIST (n);
CREATE TABLE quarter PARTITION OF half DEFAULT;
CREATE TRIGGER t AFTER DELETE ON quarter FOR EACH ROW EXECUTE FUNCTION on_row();
CREATE TABLE elder (id int);
CREATE TABLE younger (n int CHECK (app.added_check(n))) INHERITS (elder);
ALTER TABLE younger ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON younger USING (EXISTS (SELECT FROM secret));

-- foreign keys
CREATE TABLE owner (id int PRIMARY KEY, boss int REFERENCES owner ON DELETE CASCADE);
CREATE TABLE owned (id int REFERENCES owner ON DELETE CASCADE ON UPDATE SET NULL);
CREATE TRIGGER t AFTER DELETE ON owned FOR EACH ROW EXECUTE FUNCTION on_delete();
CREATE TRIGGER u AFTER UPDATE ON owned FOR EACH ROW EXECUTE FUNCTION on_update();
CREATE TABLE pointing (id int REFERENCES owner);
CREATE TABLE emptied (id int REFERENCES plain ON DELETE SET DEFAULT DEFAULT app.made());

-- elsewhere
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER there FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE remote (id int) SERVER there;
CREATE VIEW over_remote AS SELECT id FROM remote;
"""

S, I, U, D, T = Access.SELECT, Access.INSERT, Access.UPDATE, Access.DELETE, Access.TRUNCATE  # noqa: E741 -- a legend

# relation, accesses, what they reach: relations by name, functions with (), rules after a colon, the rest is opaque
REACHES: list[tuple[str, tuple[Access, ...], str]] = [
    ("secret", (S, I, U, D, T), ""),
    ("over_secret", (S,), "secret"),
    ("over_secret", (I, U, D), "secret"),
    ("over_view", (S,), "over_secret secret plain viewed()"),
    ("nested", (S,), "over_view over_secret secret plain viewed()"),
    ("over_statistics", (S,), "pg_statistic"),
    ("over_builtin_view", (S,), "pg_stats pg_statistic pg_class pg_attribute pg_namespace"),
    ("by_name", (S,), "pg_catalog.query_to_xml"),
    ("over_by_name", (S,), "by_name pg_catalog.query_to_xml"),
    ("odd :relid 1 name", (S,), "plain"),
    ("stored", (S,), ""),
    ("over_stored", (S,), "stored"),
    ("fired", (S,), ""),
    ("fired", (I,), "on_insert() asked()"),
    ("fired", (U,), "on_update()"),
    ("fired", (D,), "on_delete()"),
    ("fired", (T,), "on_truncate()"),
    ("over_fired", (I,), "fired on_insert() asked()"),
    ("over_fired", (D,), "fired on_delete()"),
    ("instead", (I,), "plain on_view()"),
    ("ruled", (S, U, T), ""),
    ("ruled", (I,), "fired on_insert() asked() on_update() on_delete() on_truncate() :app.ruled.copy :app.ruled.keep"),
    # OLD and NEW stand in a rule's tree as the table itself, so any access to it may follow
    ("ruled", (D,), "fired on_insert() asked() on_update() on_delete() on_truncate() :app.ruled.copy :app.ruled.keep"),
    ("policed_table", (S,), "plain policed()"),
    ("policed_table", (I,), "over_secret secret"),
    ("policed_table", (U, D), "plain policed()"),
    ("policed_table", (T,), ""),
    ("not_policed", (S, I, U, D), ""),
    ("policed_by_system", (S, U, D), "pg_authid"),
    ("defaults", (S, D), ""),
    ("defaults", (I, U), "numbers secret made() pg_catalog.table_to_xml"),
    ("computed", (S, D), ""),
    ("computed", (I, U), "generated()"),
    ("checks", (S, D), ""),
    ("checks", (I, U), "checked()"),
    ("indexed", (S, D), ""),
    ("indexed", (I, U), "keyed() filtered()"),
    ("with_domain", (S, D), ""),
    ("with_domain", (I, U), "judged()"),
    ("with_array", (S, D), ""),
    ("with_array", (I, U), "judged()"),
    ("by_operator", (S,), "plain estimated() swapped()"),
    ("by_cast", (S,), "plain to_coin()"),
    ("by_aggregate", (S,), "plain total() adding()"),
    ("moods", (S, I, U, D), ""),
    ("whole", (S,), "half quarter"),
    ("whole", (I,), "half quarter parted()"),
    ("whole", (U,), "half quarter parted() on_row()"),
    ("whole", (D,), "half quarter on_row()"),
    ("half", (I,), "quarter parted()"),
    ("quarter", (I, U), "parted()"),
    ("quarter", (D,), "on_row()"),
    ("elder", (S, D), "younger"),
    ("elder", (I,), ""),
    ("elder", (U,), "younger added_check()"),
    ("younger", (S, D), "secret"),
    ("younger", (U, I), "secret added_check()"),
    ("owner", (S, I), ""),
    ("owner", (D,), "owned on_delete()"),
    ("owner", (U,), "owned on_update()"),
    ("owner", (T,), "owned pointing"),
    ("owned", (I,), ""),
    ("pointing", (S, I, U, D, T), ""),
    ("plain", (D,), "emptied made()"),
    ("plain", (U,), ""),
    ("plain", (T,), "emptied"),
    ("remote", (S, I), "foreign table app.remote"),
    ("over_remote", (S,), "remote foreign table app.remote"),
]


@pytest.fixture(scope="module")
def catalog(module_database: Database) -> Catalog:
    module_database.execute(SCHEMA)
    return asyncio.run(read(module_database))


def described(catalog: Catalog, relation: str, access: Access, schema: str = "app") -> str:
    """A reach as the table writes it, in alphabetical order."""
    found = catalog.relation(schema, relation)
    assert found is not None, relation
    reach = found.reach[access]
    relations = {catalog.relations[oid].name for oid in reach.relations}
    functions = {f"{catalog.functions[oid].name}()" for oid in reach.functions}
    rules = {f":{rule}" for rule in reach.rules}
    return " ".join(sorted(relations | functions | rules | {word for text in reach.opaque for word in text.split()}))


@pytest.mark.parametrize(
    ("relation", "access", "expected"),
    [(relation, access, expected) for relation, accesses, expected in REACHES for access in accesses],
)
def test_reach(catalog: Catalog, relation: str, access: Access, expected: str) -> None:
    assert described(catalog, relation, access) == " ".join(sorted(expected.split()))


def test_sources_of_a_materialized_view(catalog: Catalog) -> None:
    stored = catalog.relation("app", "stored")
    assert stored is not None
    names = {catalog.relations[oid].name for oid in stored.sources}
    assert names == {"over_view", "over_secret", "secret", "plain"}
    assert all(not relation.sources for relation in catalog.relations.values() if relation.kind != "m")


def test_a_toast_table_holds_the_values_of_its_table(catalog: Catalog) -> None:
    secret = catalog.relation("app", "secret")
    assert secret is not None
    assert described(catalog, f"pg_toast_{secret.oid}", Access.SELECT, "pg_toast") == "secret"


def test_builtin_relations_reach_their_base_relations_alone(catalog: Catalog) -> None:
    for relation in catalog.relations.values():
        if relation.builtin and relation.kind != "t":
            reach: Any = relation.reach[Access.SELECT]
            assert not reach.functions
            assert not reach.opaque
            assert not reach.rules
            assert relation.kind == "v" or not reach.relations
    assert described(catalog, "pg_stats", Access.SELECT, "pg_catalog") == (
        "pg_attribute pg_class pg_namespace pg_statistic"
    )
