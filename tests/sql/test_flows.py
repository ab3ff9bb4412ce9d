"""What flows where: tables of queries with the columns that each output column is made of."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sql.flows import Flows
from proxy.sql.grammar import parse
from proxy.sql.relations import RelationName, relations
from proxy.sql.scopes import Outputs, Sources
from proxy.sql.tree import of_type

_TABLES = {
    "p": ("id", "name", "phone"),
    "o": ("id", "person", "note"),
    "w": ("id", "title"),
}


def _columns(name: RelationName) -> Sequence[str] | None:
    return _TABLES.get(name.name)


def _flows(text: str) -> tuple[Flows, dict[str, object]]:
    (statement,) = parse(text.encode())
    named = relations(statement.node, statement.kind)
    return Flows(statement.kind, statement.node, named, _columns), statement.node


def _words(sources: Sources) -> str:
    return " ".join(sorted({f"{one.relation.visible_name}.{one.column}" for one in sources}))


def _shown(outputs: Outputs) -> list[str] | str:
    columns = [_words(column.sources) for column in outputs.columns]
    return columns if outputs.complete else _words(outputs.every)


_QUERIES: list[tuple[str, list[str] | str]] = [
    # plain columns, and expressions
    ("SELECT name, phone FROM p", ["p.name", "p.phone"]),
    ("SELECT 1, now(), $1 FROM p", ["", "", ""]),
    ("SELECT * FROM p", ["p.id", "p.name", "p.phone"]),
    ("SELECT x.* FROM p x", ["x.id", "x.name", "x.phone"]),
    ("SELECT x.c FROM p x (a, b, c)", ["x.phone"]),
    ("TABLE p", ["p.id", "p.name", "p.phone"]),
    ("SELECT upper(left(phone, 3)) || '-' || name FROM p", ["p.name p.phone"]),
    ("SELECT public.p.phone FROM public.p", ["p.phone"]),
    ("SELECT phone::bytea::text COLLATE \"C\" FROM p", ["p.phone"]),
    ("SELECT CASE WHEN phone LIKE '1%' THEN name END FROM p", ["p.name p.phone"]),
    ("SELECT CASE name WHEN 'x' THEN 1 ELSE id END FROM p", ["p.id p.name"]),
    ("SELECT coalesce(phone, name), nullif(phone, ''), greatest(name, 'x') FROM p",
     ["p.name p.phone", "p.phone", "p.name"]),
    ("SELECT phone = '1', phone IN ('1', '2'), phone IS NULL, phone BETWEEN '1' AND '2' FROM p", ["p.phone"] * 4),
    ("SELECT ARRAY[phone, name], ROW(phone), (ARRAY[phone])[1] FROM p", ["p.name p.phone", "p.phone", "p.phone"]),
    ("SELECT format('%s', VARIADIC ARRAY[phone]) FROM p", ["p.phone"]),
    ("SELECT json_build_object('a', phone), jsonb_path_query(to_jsonb(name), '$') FROM p", ["p.phone", "p.name"]),
    ("SELECT JSON_OBJECT('a': phone), JSON_ARRAY(name) FROM p", ["p.phone", "p.name"]),
    ("SELECT xmlelement(name a, phone) FROM p", ["p.phone"]),
    ("SELECT extract(year FROM name::date), name AT TIME ZONE phone FROM p", ["p.name", "p.name p.phone"]),
    ("SELECT ctid, tableoid FROM p", ["p.ctid", "p.tableoid"]),
    # whole rows, however they are written
    ("SELECT p FROM p", ["p.id p.name p.phone"]),
    ("SELECT to_jsonb(x) FROM p AS x", ["x.id x.name x.phone"]),
    ("SELECT to_jsonb(p.*), ROW(p.*), p::text, (p).phone, phone(p) FROM p", ["p.id p.name p.phone"] * 5),
    ("SELECT p.anything FROM p", ["p.id p.name p.phone"]),
    ("SELECT (p).* FROM p", "p.id p.name p.phone"),
    ("SELECT json_agg(x) FROM (SELECT phone FROM p) x", ["p.phone"]),
    # aggregates and windows: their arguments, not what chooses, orders or groups
    ("SELECT count(*), max(phone), string_agg(name, ',' ORDER BY phone) FROM p", ["", "p.phone", "p.name"]),
    ("SELECT count(id) FILTER (WHERE phone = '1') FROM p GROUP BY name HAVING max(phone) = '1'", ["p.id"]),
    ("SELECT mode() WITHIN GROUP (ORDER BY phone) FROM p", ["p.phone"]),
    ("SELECT row_number() OVER (PARTITION BY name ORDER BY phone), lag(phone) OVER w FROM p WINDOW w AS (ORDER BY id)",
     ["", "p.phone"]),
    ("SELECT DISTINCT ON (phone) id FROM p ORDER BY phone LIMIT (SELECT count(phone) FROM p)", ["p.id"]),
    # predicates
    ("SELECT id FROM p WHERE phone = '1'", ["p.id"]),
    ("SELECT o.id FROM o JOIN p ON p.phone = o.note", ["o.id"]),
    ("SELECT EXISTS (SELECT phone FROM p), o.id IN (SELECT id FROM p), o.id = ANY (SELECT id FROM p) FROM o", [""] * 3),
    # scalar sub-selects and arrays of them
    ("SELECT (SELECT phone FROM p WHERE p.id = o.person), o.note FROM o", ["p.phone", "o.note"]),
    ("SELECT ARRAY(SELECT phone FROM p ORDER BY name)", ["p.phone"]),
    ("SELECT (SELECT p.phone) FROM p", ["p.phone"]),
    ("SELECT (SELECT phone) FROM p", ["p.phone"]),
    ("SELECT (SELECT phone FROM o) FROM p", ["p.phone"]),
    ("SELECT (SELECT note FROM o) FROM p", ["o.note"]),
    # sub-selects in FROM
    ("SELECT x.b, * FROM (SELECT id AS a, phone AS b FROM p) x", ["p.phone", "p.id", "p.phone"]),
    ("SELECT u FROM (SELECT phone, name FROM p) x (t, u)", ["p.name"]),
    ("SELECT a FROM (SELECT name AS a FROM p) x, LATERAL (SELECT x.a AS b) y", ["p.name"]),
    ("SELECT b FROM (SELECT name AS a FROM p) x, LATERAL (SELECT x.a AS b) y", ["p.name"]),
    ("SELECT b FROM p, LATERAL (SELECT phone AS b FROM o) y", ["p.phone"]),
    ("SELECT s FROM p CROSS JOIN LATERAL unnest(ARRAY[phone]) AS s", ["p.phone"]),
    ("SELECT g, id FROM p, generate_series(1, 3) g", ["", "p.id"]),
    ("SELECT e.value, p.id FROM p, jsonb_each(to_jsonb(phone)) e", ["p.phone", "p.id"]),
    ("SELECT * FROM p, jsonb_each(to_jsonb(phone)) e", "p.id p.name p.phone"),
    ("SELECT y FROM p, xmltable('/a' PASSING (phone::xml) COLUMNS y int PATH '.') t", ["p.phone"]),
    ("SELECT z FROM p, JSON_TABLE(phone::jsonb, '$' COLUMNS (z int PATH '$.z')) t", ["p.phone"]),
    ("SELECT phone FROM p TABLESAMPLE system (10)", ["p.phone"]),
    ("SELECT name FROM ONLY p", ["p.name"]),
    ("SELECT b FROM (VALUES ((SELECT phone FROM p), 1)) v (a, b)", [""]),
    ("SELECT a FROM (VALUES (1, 2), ((SELECT phone FROM p), 3)) v (a, b)", ["p.phone"]),
    # joins
    ("SELECT * FROM o JOIN p ON o.person = p.id",
     ["o.id", "o.person", "o.note", "p.id", "p.name", "p.phone"]),
    ("SELECT * FROM o JOIN p USING (id)", ["o.id p.id", "o.person", "o.note", "p.name", "p.phone"]),
    ("SELECT * FROM o NATURAL FULL JOIN p", ["o.id p.id", "o.person", "o.note", "p.name", "p.phone"]),
    ("SELECT id, phone FROM o LEFT JOIN p USING (id)", ["o.id p.id", "p.phone"]),
    ("SELECT j.d, j.a FROM (o JOIN p USING (id)) AS j (a, b, c, d)", ["p.name", "o.id p.id"]),
    ("SELECT u.id FROM o JOIN p USING (id) AS u", ["o.id p.id"]),
    ("SELECT p.*, w.title FROM (o CROSS JOIN p) JOIN w ON true", ["p.id", "p.name", "p.phone", "w.title"]),
    # WITH
    ("WITH x AS (SELECT phone, id FROM p) SELECT * FROM x", ["p.phone", "p.id"]),
    ("WITH x (a, b) AS (SELECT phone, id FROM p), y AS (SELECT b, a FROM x) SELECT y.a, y.b FROM y",
     ["p.phone", "p.id"]),
    ("WITH p AS (SELECT name AS phone FROM p) SELECT phone FROM p", ["p.name"]),
    ("WITH x AS (SELECT 1 AS a) SELECT (WITH x AS (SELECT phone AS a FROM p) SELECT a FROM x), a FROM x",
     ["p.phone", ""]),
    ("WITH RECURSIVE x (n, v) AS (SELECT 1, name FROM p UNION ALL SELECT n + 1, v FROM x WHERE n < 5) SELECT * FROM x",
     ["", "p.name"]),
    (("WITH RECURSIVE x (n, v) AS (SELECT name, id::text FROM p UNION ALL SELECT v, (SELECT phone FROM p) FROM x)"
     " SELECT * FROM x"), ["p.id p.name p.phone", "p.id p.phone"]),
    ("WITH RECURSIVE x AS (SELECT id, phone FROM p UNION ALL SELECT * FROM x) SELECT id, phone FROM x",
     ["p.id", "p.phone"]),
    (("WITH RECURSIVE x (n) AS (SELECT id FROM p UNION ALL SELECT n FROM x) SEARCH DEPTH FIRST BY n SET s"
     " CYCLE n SET m USING c SELECT * FROM x"), ["p.id"] * 4),
    ("WITH x AS (DELETE FROM p RETURNING phone AS q, 1) SELECT q FROM x", ["p.phone"]),
    ("WITH x AS (UPDATE p SET name = note FROM o WHERE person = p.id RETURNING o.*, phone) SELECT * FROM x",
     ["o.id", "o.person", "o.note", "p.phone"]),
    ("WITH x AS (INSERT INTO o SELECT * FROM p RETURNING *) SELECT note FROM x", ["o.note"]),
    ("WITH x AS (UPDATE p SET id = 1 RETURNING old.phone, new.name) SELECT * FROM x", ["p.phone", "p.name"]),
    ("WITH x AS (UPDATE p SET id = 1 RETURNING WITH (OLD AS before) before.*) SELECT phone FROM x", ["p.phone"]),
    (("WITH x AS (MERGE INTO p USING o ON o.person = p.id WHEN MATCHED THEN DELETE RETURNING merge_action(), *)"
     " SELECT * FROM x"), ["", "o.id", "o.person", "o.note", "p.id", "p.name", "p.phone"]),
    # set operations
    ("SELECT id, phone FROM p UNION SELECT id, note FROM o ORDER BY 1", ["o.id p.id", "o.note p.phone"]),
    ("SELECT 'x' EXCEPT ALL (SELECT name FROM p INTERSECT SELECT title FROM w)", ["p.name w.title"]),
    ("SELECT q FROM (SELECT id AS q FROM p UNION ALL SELECT note FROM o) x", ["o.note p.id"]),
    ("VALUES ((SELECT phone FROM p), 1), (2, 3)", ["p.phone", ""]),
    # what is not known flows everywhere
    ("SELECT mystery FROM strange, p", ["strange.*"]),
    ("SELECT name, phone FROM strange, p", ["p.name", "p.phone"]),
    ("SELECT * FROM strange, p", "p.id p.name p.phone strange.*"),
    ("SELECT nowhere FROM p", ["p.id p.name p.phone"]),
    ("SELECT b FROM (SELECT phone || '' AS a, id + 1 FROM p) x", ["p.id"]),
    ("SELECT * FROM (SELECT id + 1, phone FROM p) x NATURAL JOIN o", "o.id o.note o.person p.id p.phone"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), _QUERIES, ids=[text for text, _ in _QUERIES])
def test_queries(text: str, expected: list[str] | str) -> None:
    flows, node = _flows(text)
    assert _shown(flows.query(node)) == expected


_ASSIGNED = [
    ("UPDATE o SET note = phone FROM p WHERE p.id = person", {"note": "p.phone"}),
    ("UPDATE o SET note = note || 'x', person = id", {"note": "o.note", "person": "o.id"}),
    ("UPDATE o SET note = 'x' WHERE note IN (SELECT phone FROM p)", {"note": ""}),
    ("UPDATE o SET note = (SELECT phone FROM p WHERE p.id = o.person)", {"note": "p.phone"}),
    ("UPDATE o SET (note, person) = (SELECT phone, id FROM p)", {"note": "p.phone", "person": "p.id"}),
    ("UPDATE o SET (note, person) = (name, 1) FROM p", {"note": "p.name", "person": ""}),
    ("UPDATE o SET (note, person) = ROW (p.*) FROM p", dict.fromkeys(["note", "person"], "p.id p.name p.phone")),
    ("UPDATE o SET note = x.phone FROM (SELECT * FROM p) x", {"note": "p.phone"}),
    ("WITH x AS (SELECT phone AS f FROM p) UPDATE o SET note = f FROM x", {"note": "p.phone"}),
    ("UPDATE o SET note = DEFAULT, person = $1", {"note": "", "person": ""}),
    ("UPDATE o AS p SET note = p.note", {"note": "p.note"}),
    ("MERGE INTO o USING p ON p.id = person WHEN MATCHED AND phone = '1' THEN UPDATE SET note = p.name",
     {"note": "p.name"}),
    ("MERGE INTO o USING (SELECT phone AS f FROM p) s ON true WHEN MATCHED THEN UPDATE SET note = s.f",
     {"note": "p.phone"}),
    ("INSERT INTO o SELECT * FROM p ON CONFLICT (id) DO UPDATE SET person = excluded.id, note = excluded.note",
     {"person": "p.id", "note": "p.phone"}),
    ("INSERT INTO o (note, id) SELECT phone, 1 FROM p ON CONFLICT DO NOTHING", {}),
    (("INSERT INTO o (note, id) SELECT phone, 1 FROM p ON CONFLICT (id) DO UPDATE SET id = excluded.id,"
     " person = excluded.person, note = o.note"), {"id": "", "person": "p.phone", "note": "o.note"}),
    ("INSERT INTO o (id, note) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET note = excluded.note", {"note": ""}),
    ("INSERT INTO o DEFAULT VALUES ON CONFLICT (id) DO UPDATE SET note = excluded.note", {"note": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), _ASSIGNED, ids=[text for text, _ in _ASSIGNED])
def test_assigned_expressions(text: str, expected: dict[str, str]) -> None:
    flows, node = _flows(text)
    assigned = {item["name"]: item["val"] for item in of_type(node, "ResTarget") if "val" in item and "name" in item}
    found = {name: _words(flows.of(value)) for name, value in assigned.items() if name in _TABLES["o"]}
    assert found == expected


def test_values_that_merge_inserts() -> None:
    flows, node = _flows("MERGE INTO o USING p ON false WHEN NOT MATCHED THEN INSERT (id, note) VALUES (1, p.phone)")
    (clause,) = of_type(node, "MergeWhenClause")
    assert [_words(flows.of(value)) for value in clause["values"]] == ["", "p.phone"]


def test_nested_recursion_ends() -> None:
    text = "SELECT phone FROM p"
    for number in range(24):
        text = f"WITH RECURSIVE x{number} AS ({text} UNION ALL SELECT * FROM x{number}) SELECT * FROM x{number}"
    flows, node = _flows(text)
    assert "p.phone" in _words(flows.query(node).every)


_EXPRESSIONS = st.recursive(
    st.sampled_from(["p.phone", "phone", "(SELECT phone)", "(SELECT q.phone FROM p AS q LIMIT 1)", "(p).phone"]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["upper({})", "({} || 'x')", "coalesce({}, '')", "(ARRAY[{}])[1]", "({})::text",
                                   "CASE WHEN true THEN {} END", "(SELECT {})", "(SELECT v FROM (SELECT {} AS v) s)",
                                   "(WITH c AS (SELECT {} AS v) SELECT v FROM c)", "(VALUES ({}))",
                                   "(SELECT max({}) FROM o)", "to_json(ROW({}))->>'f1'",
                                   "(SELECT v FROM LATERAL (SELECT {} AS v) s)", "(SELECT {} UNION SELECT 'x')",
                                   "(SELECT f FROM unnest(ARRAY[{}]) f)"]), inner).map(
            lambda pair: pair[0].format(pair[1])),
    ),
    max_leaves=4,
)  # fmt: skip


@given(_EXPRESSIONS)
def test_no_wrapping_loses_a_value(expression: str) -> None:
    flows, node = _flows(f"SELECT {expression} FROM p")
    found = {source.column for source in flows.query(node).at(0)}
    assert "phone" in found
