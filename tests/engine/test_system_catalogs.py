"""What is spliced in for a system catalog, without a server."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from proxy.catalog.model import Access, Catalog, Reach, Relation
from proxy.engine.aliases import readable
from proxy.engine.closed_world import holds_values
from proxy.engine.protected import protect
from proxy.engine.system_catalogs import SYSTEM_CATALOGS, system_catalog
from proxy.engine.system_reading import chosen_partitions, hidden_relations
from proxy.verdict import Verdict
from tests.engine.telecom import CATALOG, POLICY, context, engine, relation

STATEMENTS = (
    "userid int4, dbid int4, toplevel bool, queryid int8, query text, calls int8, total_exec_time int8, rows int8,"
    " shared_blks_hit int8, something_new int8, stats_since timestamptz"
)
ADDED = (
    relation(12226, "pg_catalog.pg_stat_activity", "pid int4, state text, query_id int8, query text", kind="v"),
    relation(12073, "pg_catalog.pg_locks", "locktype text, page int4, pid int4, mode text, something text", kind="v"),
    relation(12165, "pg_catalog.pg_stat_user_tables", "relid int4, relname text, n_live_tup int8", kind="v"),
    relation(12166, "pg_catalog.pg_stat_newer", "pid int4", kind="v"),
    relation(12095, "pg_catalog.pg_prepared_statements", "name text, statement text, from_sql bool", kind="v"),
    relation(30100, "public.pg_stat_statements", STATEMENTS, kind="v", extension="pg_stat_statements"),
    relation(30101, "public.pg_stat_activity_log", "query text"),
)


def catalog(*added: Relation) -> Catalog:
    relations = {**CATALOG.relations, **{one.oid: one for one in added}}
    return replace(
        CATALOG, relations=relations, relation_names={(one.schema, one.name): oid for oid, one in relations.items()}
    )


KNOWN = catalog(*ADDED)


def decided(text: str, prepared: dict[str, str] | None = None, sent: dict[str, str] | None = None) -> Verdict:
    session = replace(context("analyst", "marketing"), catalog=KNOWN, prepared=prepared or {}, prepared_sent=sent or {})
    return engine().decisions(session).authorize(text.encode())


class Case(NamedTuple):
    """``shown``: parts of the text that runs, in order."""

    title: str
    text: str
    shown: tuple[str, ...]


HIDDEN = "'{20001,"
"""The protected relations begin with public.subscribers."""

SECURED = [
    Case(
        "text", "SELECT query FROM pg_stat_activity", ("THEN 'SELECT query FROM pg_stat_activity'::", 'END AS "query"')
    ),
    Case("everything", "TABLE pg_stat_activity", ('t."state" AS "state", (NULL::pg_catalog.int8) AS "query_id"',)),
    Case(
        "no column that nobody asks for",
        "SELECT query_id FROM pg_stat_activity",
        ('(NULL::pg_catalog.text) AS "query" ',),
    ),
    Case(
        "counters",
        "SELECT n_live_tup FROM pg_stat_user_tables",
        ('CASE WHEN t."relid" OPERATOR(pg_catalog.=) ANY (SELECT c.oid', HIDDEN, 'THEN t."n_live_tup" END'),
    ),
    Case(
        "locks, whatever is asked",
        "SELECT count(*) FROM pg_locks",
        (" WHERE NOT t.\"locktype\" OPERATOR(pg_catalog.=) ANY (ARRAY['page'", "'SIReadLock'", "OFFSET 0) AS"),
    ),
    Case("a column of a later version", "SELECT something FROM pg_locks", ('(NULL::pg_catalog.text) AS "something"',)),
    Case(
        "statements of everybody",
        "SELECT queryid, query, calls, rows, something_new FROM pg_stat_statements",
        (
            '(NULL::pg_catalog.int8) AS "queryid", (NULL::pg_catalog.text) AS "query"',
            'CASE WHEN t."toplevel" THEN t."calls" END AS "calls"',
            '(NULL::pg_catalog.int8) AS "rows"',
            '(NULL::pg_catalog.int8) AS "something_new"',
            'FROM "public"."pg_stat_statements" AS t',
        ),
    ),
    Case("no prepared statement", "SELECT statement FROM pg_prepared_statements", ("ARRAY[]::pg_catalog.text[]",)),
]

PASSED = [
    "SELECT pid, state FROM pg_stat_activity WHERE state = 'idle'",
    "SELECT count(*) FROM pg_stat_activity",
    "SELECT relid, relname FROM pg_stat_user_tables",
    "SELECT query FROM pg_stat_activity_log",
    "WITH pg_locks AS (SELECT 1 AS tuple) SELECT tuple FROM pg_locks",
    "CREATE TEMP TABLE pg_stat_activity (query text); SELECT query FROM pg_temp.pg_stat_activity",
]


@pytest.mark.parametrize("case", SECURED, ids=lambda case: case.title)
def test_what_runs(case: Case) -> None:
    verdict = decided(case.text)
    assert verdict.refusal is None
    assert verdict.statements[0].kind == "pass"
    rest = readable(verdict.text.decode())
    for part in case.shown:
        _, found, rest = rest.partition(part)
        assert found, (part, verdict.text)


@pytest.mark.parametrize("text", PASSED)
def test_what_tells_nothing_goes_upstream_byte_for_byte(text: str) -> None:
    verdict = decided(text)
    assert (verdict.refusal, verdict.text, verdict.rewritten) == (None, text.encode(), False)


@pytest.mark.parametrize("text", ["SELECT * FROM pg_stat_newer", "LOCK pg_stat_newer"])
def test_what_no_list_names_is_refused(text: str) -> None:
    refusal = decided(text).refusal
    assert refusal is not None
    assert refusal.sqlstate == "0A000"


@pytest.mark.parametrize(
    ("literal", "quoted"),
    [
        ("'it''s'", "'SELECT query, ''it''''s'' FROM pg_stat_activity'::"),
        (r"E'\''", r"E'SELECT query, E''\\'''' FROM pg_stat_activity'::"),
        ("'" + "é" * 600 + "'", "'SELECT query, ''" + "é" * 504 + "'::"),
    ],
)
def test_ones_own_text_is_data(literal: str, quoted: str) -> None:
    """Whatever it holds, cut where PostgreSQL cuts it."""
    assert quoted in decided(f"SELECT query, {literal} FROM pg_stat_activity").text.decode()


def test_texts_that_differ_in_literals_tell_of_themselves() -> None:
    decisions = engine().decisions(replace(context("analyst", "marketing"), catalog=KNOWN))
    for number in (1, 2):
        text = f"SELECT query FROM pg_stat_activity WHERE pid = {number}"
        assert f"THEN '{text}'::" in decisions.authorize(text.encode()).text.decode()


def test_prepared_statements_under_the_clients_names() -> None:
    verdict = decided(
        "SELECT statement FROM pg_prepared_statements",
        {"plain": "SELECT 1", 'a"b': "SELECT phone FROM subscribers"},
        {'a"b': "SELECT phone FROM (SELECT …) AS subscribers"},
    )
    text = readable(verdict.text.decode())
    assert """WHEN t."name" OPERATOR(pg_catalog.=) 'a"b'::pg_catalog.text THEN CASE WHEN t."from_sql" THEN""" in text
    assert """ELSE t."statement" END AS "statement",""" in text
    assert "ARRAY['a\"b'::pg_catalog.text, 'plain'::pg_catalog.text]" in text
    assert "…" not in text


def test_what_is_made_of_protected_relations_is_hidden_too() -> None:
    parent = relation(40001, "public.everybody", "id int8", kind="p")
    child = replace(CATALOG.relations[20001], parents=(40001,))
    copy = relation(40002, "public.copy", "phone text", kind="m", sources=frozenset({20001}))
    other = relation(40003, "public.other_copy", "code text", kind="m", sources=frozenset({20006}))
    found = catalog(parent, child, copy, other)
    hidden = hidden_relations(found.relations, protect(POLICY, found))
    assert {20001, 20002, 20003, 20004, 20005, 40001, 40002} <= hidden
    assert hidden.isdisjoint({20006, 20008, 40003})


def test_partitions_that_hidden_values_chose() -> None:
    """By the key of any ancestor; an expression may be of any column."""
    parents = {
        40001: replace(relation(40001, "public.by_phone", "id int8", kind="p"), partition_key=("phone",)),
        40002: replace(relation(40002, "public.by_id", "id int8", kind="p", parents=(40001,)), partition_key=("id",)),
        40003: replace(relation(40003, "public.by_year", "id int8", kind="p"), partition_key=("id",)),
        40004: replace(relation(40004, "public.by_something", "id int8", kind="p"), partition_key=("",)),
    }
    for parent, chosen in {40001: True, 40002: True, 40003: False, 40004: True}.items():
        found = catalog(*parents.values(), replace(CATALOG.relations[20001], parents=(parent,)))
        assert (20001 in chosen_partitions(found.relations, protect(POLICY, found))) is chosen, parent


@pytest.mark.parametrize(
    ("definition", "refused"),
    [
        (" SELECT c.relname, c.oid FROM pg_class c;", False),
        (" SELECT c.relname, c.reltuples AS n FROM pg_class c;", True),
        (" SELECT row_to_json(c.*) AS row FROM pg_class c;", True),
    ],
)
def test_views_of_users_over_the_catalog(definition: str, refused: bool) -> None:
    reach = {Access.SELECT: Reach(relations=frozenset({1259}))}
    view = relation(40001, "public.sizes", "relname text", kind="v", reach=reach, definition=definition)
    session = replace(context("analyst", "marketing"), catalog=catalog(view))
    assert (engine().decisions(session).authorize(b"TABLE sizes").refusal is not None) is refused


@pytest.mark.parametrize("name", SYSTEM_CATALOGS)
def test_what_is_secured_where_it_stands_is_refused_below_views_of_users(name: str) -> None:
    """But for two that views read for other things than what is secured of them."""
    assert holds_values("pg_catalog", name) or name in ("pg_attribute", "pg_class")


@pytest.mark.parametrize(
    ("full", "oid"), [("public.pg_stat_activity", 20100), ("app.pg_statistic", 20101), ("pg_temp.pg_locks", 0)]
)
def test_tables_of_users_are_none_of_them(full: str, oid: int) -> None:
    assert system_catalog(relation(oid, full, "id int8")) is None
