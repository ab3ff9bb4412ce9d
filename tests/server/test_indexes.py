"""Searching a row-conditional column uses the index that the bare table would use, and finds what the session sees."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from proxy.cli.live import catalog_of
from proxy.engine import ConsentEngine
from proxy.policy.loader import load
from proxy.verdict import Context
from tests.fix_postgres import Database

SCHEMA = """
CREATE TABLE people (
  id int PRIMARY KEY, phone varchar(20), email text, born date, code uuid, score int, state text NOT NULL,
  rank smallint DEFAULT 7);
INSERT INTO people SELECT n, (13800000000 + n)::text, 'p' || n || '@example.com', date '1950-01-01' + n,
  ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, n, CASE WHEN n % 10 = 0 THEN 'closed' ELSE 'active' END
  FROM generate_series(1, 20000) n;
INSERT INTO people VALUES (20001, '138****0010', 'p****@example.com', '1977-01-01', NULL, NULL, 'active');
CREATE INDEX ON people (phone); CREATE INDEX ON people (email text_pattern_ops); CREATE INDEX ON people (email);
CREATE INDEX ON people (born); CREATE INDEX ON people (code); CREATE INDEX ON people (score);
CREATE TABLE orders (id int PRIMARY KEY, person int NOT NULL);
INSERT INTO orders SELECT n, n FROM generate_series(1, 20000) n;
CREATE INDEX ON orders (person);
ANALYZE;
"""
POLICY = """
version: 1
name: people
subjects:
  person: {{table: public.people, key: id, account: {{column: state, states: {{active: [active]}}}}}}
categories:
  phone: {{sensitivity: general, mask: phone}}
  email: {{sensitivity: general, mask: email}}
  born: {{sensitivity: general, mask: year}}
  other: {{sensitivity: general, mask: nullify}}
tables:
  public.people:
    subject: {{kind: person, key: id}}
    columns: {{phone: phone, email: email, born: born, code: other, score: other}}
purposes:
  care: {{basis: contract, categories: ['*'], accounts: [active]}}
roles:
  app: {{purposes: [care], default_purpose: care}}
defaults: {{condition_failed: {failed}}}
"""

Searching = dict[str, Any]


@pytest.fixture(params=["mask", "nullify", "drop_row"])
async def searching(
    request: pytest.FixtureRequest, module_database: Database, tmp_path: Path
) -> AsyncIterator[Searching]:
    """The engine for this policy, and a direct connection."""
    connection = await asyncpg.connect(module_database.dsn())
    if await connection.fetchval("SELECT to_regclass('people')") is None:
        await connection.execute(SCHEMA)
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(failed=request.param))
    policy = load(path).policy
    assert policy is not None
    catalog, search_path = await catalog_of(module_database.dsn())
    settings = {"search_path": search_path}
    context = Context(catalog.database, "app", "app", settings, None, catalog, policy, settings)
    yield {"engine": ConsentEngine().decisions(context), "direct": connection, "failed": request.param}
    await connection.close()


PREDICATES = [
    # predicate, parameters, is an index of the column used under mask, under nullify and drop_row
    ("p.phone = '13800000007'", (), True, True),
    ("p.phone = '13800000010'", (), True, True),  # of somebody whose account is closed
    ("p.phone = '138****0010'", (), None, True),  # what shows of it: the index cannot tell
    ("p.phone = $1", ("13800000007",), True, True),
    ("p.phone = $1", ("138****0010",), None, True),
    ("p.phone = $1::varchar", ("13800000007",), True, True),
    ("'13800000007' = p.phone", (), True, True),
    ("p.phone IN ('13800000007', '13800000010')", (), True, True),
    ("p.phone IN ($1, $2)", ("13800000007", "138****0010"), None, True),
    ("p.phone = ANY ($1)", (["13800000007", "13800000010"],), False, True),
    ("p.phone = '13800000007' AND p.state = 'active' AND 1 / (p.id - 10) < 2", (), True, True),
    ("p.email = 'p7@example.com'", (), True, True),
    ("p.email LIKE 'p7@%'", (), False, True),
    ("p.email LIKE 'p7@_'", (), False, False),  # no plain prefix
    ("p.email LIKE E'p7\\\\'", (), False, False),  # raises where a value reaches its end
    ("p.born = '1960-02-01'", (), True, True),
    ("p.born = '1960-01-01'", (), None, True),
    ("p.born BETWEEN '1960-02-01' AND '1960-02-09'", (), False, True),
    ("p.code = '00000000-0000-0000-0000-000000000007'", (), True, True),
    ("p.score = 7", (), True, True),
    ("p.score > 19990", (), True, True),
    ("p.score >= $1", (19990,), True, True),
    ("p.score IN (1, 10, 30)", (), True, True),
    ("p.id = 7", (), True, True),  # no conditional column: the fence that drops rows must not hide the key
    ("p.id = $1", (10,), True, True),
    ("p.id IN (7, 10, 20001) AND p.phone LIKE '%7'", (), True, True),
    ("p.id BETWEEN $1 AND $2 AND 1 / (p.id - 10) < 2", (9, 9), True, True),
    ("p.phone = '13800000007' AND p.rank IN (7, 40000)", (), True, True),  # no smallint has that value
    ("p.phone = '13800000007' OR p.id = 3", (), False, False),
    ("p.phone = (SELECT '13800000007')", (), False, False),
    ("p.phone = p.email", (), False, False),
]


async def seen(searching: Searching, sql: str) -> str:
    verdict = searching["engine"].authorize(sql.encode())
    assert verdict.refusal is None, verdict.refusal
    return str(verdict.text.decode())


async def plan(searching: Searching, sql: str, parameters: tuple[object, ...]) -> str:
    direct = searching["direct"]
    if not parameters:
        return str(await direct.fetchval(f"EXPLAIN (FORMAT JSON) {sql}"))
    values = ", ".join(
        "ARRAY[" + ", ".join(f"'{one}'" for one in value) + "]" if isinstance(value, list) else f"'{value}'"
        for value in parameters
    )
    await direct.execute(f"PREPARE probe AS {sql}")
    try:
        return str(await direct.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE probe ({values})"))
    finally:
        await direct.execute("DEALLOCATE probe")


def scans_people(node: object) -> list[str]:
    """The kinds of nodes that read the table."""
    if isinstance(node, list):
        return [kind for item in node for kind in scans_people(item)]
    if not isinstance(node, dict):
        return []
    own = [str(node["Node Type"])] if node.get("Relation Name") == "people" else []
    return own + [kind for value in node.values() for kind in scans_people(value)]


@pytest.mark.parametrize(("predicate", "parameters", "masked", "hidden"), PREDICATES)
async def test_index_and_result(
    searching: Searching, predicate: str, parameters: tuple[object, ...], masked: bool | None, hidden: bool
) -> None:
    sql = await seen(searching, f"SELECT p.id, p.phone, p.email, p.born FROM people p WHERE {predicate}")
    indexed = masked if searching["failed"] == "mask" else hidden
    kinds = scans_people(json.loads(await plan(searching, sql, parameters)))
    if indexed is not None:
        assert all("Index" in kind or "Bitmap" in kind for kind in kinds) is indexed, (kinds, sql)
    whole = await seen(searching, "SELECT * FROM people")
    expected = f"SELECT p.id, p.phone, p.email, p.born FROM ({whole} OFFSET 0) p WHERE {predicate}"
    try:
        there = sorted(map(tuple, await searching["direct"].fetch(expected, *parameters)))
    except asyncpg.PostgresError as error:
        with pytest.raises(type(error)):
            await searching["direct"].fetch(sql, *parameters)
    else:
        assert sorted(map(tuple, await searching["direct"].fetch(sql, *parameters))) == there


async def test_in_a_join(searching: Searching) -> None:
    sql = await seen(
        searching,
        "SELECT o.id, p.phone FROM orders o LEFT JOIN people p ON p.id = o.person WHERE p.phone = '13800000007'",
    )
    kinds = scans_people(json.loads(await plan(searching, sql, ())))
    assert kinds and all("Index" in kind or "Bitmap" in kind for kind in kinds)
    assert [tuple(row) for row in await searching["direct"].fetch(sql)] == [(7, "13800000007")]


async def test_texts_that_differ_in_literals_share_a_decision_and_keep_their_own_values(searching: Searching) -> None:
    for number in (7, 8, 12345):
        sql = await seen(searching, f"SELECT id FROM people WHERE phone = '{13800000000 + number}' AND id > 0")
        assert sql.count(str(13800000000 + number)) >= 3
        assert [row[0] for row in await searching["direct"].fetch(sql)] == [number]


async def test_what_a_stored_value_looks_like_a_mask(searching: Searching) -> None:
    """Both the row whose stored value is the text of a mask, and those that are masked so, are found."""
    sql = await seen(searching, "SELECT id FROM people WHERE phone = '138****0010'")
    found = {row[0] for row in await searching["direct"].fetch(sql)}
    assert 20001 in found
    assert (10 in found) is (searching["failed"] == "mask")


@pytest.mark.parametrize(
    "rest",
    [
        "people p WHERE p.phone = '13800000007' FOR UPDATE OF p SKIP LOCKED",
        "people p TABLESAMPLE BERNOULLI (100) WHERE p.phone = '13800000007'",
        "ONLY people AS p WHERE phone = '13800000007'",
        "people p JOIN people q USING (id) WHERE q.phone = '13800000007'",
        "people p, LATERAL (SELECT FROM people q WHERE q.phone = '13800000007' AND q.id = p.id) x",
        "(SELECT * FROM people WHERE phone = '13800000007') p",
    ],
)
async def test_in_other_places(searching: Searching, rest: str) -> None:
    sql = await seen(searching, f"SELECT p.id FROM {rest}")
    assert "OFFSET 0" in sql
    assert [row[0] for row in await searching["direct"].fetch(sql)] == [7]


async def test_serializable_transactions_search_by_no_raw_value(searching: Searching) -> None:
    """What an index finds there is locked, and the conflicts of others would tell of it."""
    select = "SELECT p.id FROM people p WHERE p.phone = '13800000007'"
    begun = await seen(searching, f"BEGIN ISOLATION LEVEL SERIALIZABLE; {select}")
    assert begun.count("'13800000007'") == 1
    assert (await seen(searching, f"BEGIN; {select}")).count("'13800000007'") > 1


async def test_a_name_that_a_join_with_an_alias_hides_is_an_outer_one(searching: Searching) -> None:
    """What the inner WHERE asks of ``p`` is asked of the outer ``p``, not of the one within the join."""
    sql = await seen(
        searching,
        "SELECT p.id, x.order_id FROM people p, LATERAL (SELECT j.order_id FROM "
        "(orders o JOIN people p ON p.id = o.person AND o.person < 5) AS j (order_id) WHERE p.phone = '13800000007') x",
    )
    found = sorted(tuple(row) for row in await searching["direct"].fetch(sql))
    assert found == [(7, 1), (7, 2), (7, 3), (7, 4)]
