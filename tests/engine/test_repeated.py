"""A long text that repeats itself gets the verdict that it would get by itself, decided on a short one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine import decisions
from proxy.sql.repetition import repetition
from proxy.verdict import Verdict
from tests.engine.telecom import context, engine

TEXTS = [
    # text, with {rows} and {items}; what may be left out of it
    "INSERT INTO plans VALUES {rows}",
    "INSERT INTO plans (code, price) VALUES {rows} ON CONFLICT DO NOTHING RETURNING code",
    "SELECT full_name FROM subscribers WHERE id IN ({items}) AND phone = '1'",
    "SELECT s.phone FROM subscribers s WHERE s.id NOT IN ({items}) OR s.id IN ({items}) /* é */ LIMIT 3",
    "SELECT v.a, s.phone FROM (VALUES {rows}) v(a, b) JOIN subscribers s ON s.id = v.b",
    "VALUES {rows}; SELECT phone FROM calls c JOIN subscribers s ON true WHERE subscriber_id IN ({items})",
    "INSERT INTO plans VALUES {rows} RETURNING nope(1)",
    "SELECT é.x FROM nope WHERE a IN ({items}) AND b = ANY (bad syntax here",
    "INSERT INTO nope VALUES {rows}",
    "SELECT a FROM (VALUES {rows}) AS values (a) WHERE a IN ({items}) AND id IN (SELECT 1, 2, 3, 4)",
    "SELECT set_config('application_name', a, false) FROM (VALUES {rows}) v(a) WHERE a IN ({items})",
    "INSERT INTO calls (id, subscriber_id, callee) VALUES {bound}",
    "INSERT INTO calls (id, subscriber_id, callee) SELECT a, b, c FROM (VALUES {bound}) v(a, b, c) RETURNING id",
    "SELECT s.phone FROM (VALUES {bound}) v(a, b, c) JOIN subscribers s ON s.id = v.b AND s.phone = v.c",
]
atoms = st.sampled_from(
    ["1", "-7", "'x'", "'é'''", "NULL", "DEFAULT", "1.5e3", "E'a\\'b'", "now()", "'1'::text", "$$q$$"]
)
rows = st.lists(atoms, min_size=1, max_size=3).map(lambda parts: f"({', '.join(parts)})")
items = st.sampled_from(["1", "2", "333", "'x'", "'it''s'"])


def decided(query: bytes) -> Verdict:
    return engine().decisions(context("analyst", "marketing")).authorize(query)


def essence(verdict: Verdict) -> tuple[object, ...]:
    """All but the text for the audit, which leaves out what repeats itself."""
    statements = tuple(replace(one, normalized="", fingerprint="") for one in verdict.statements)
    return verdict.text, statements, verdict.edits, verdict.splices, verdict.refusal, verdict.secured


@pytest.mark.parametrize("text", TEXTS)
@settings(max_examples=12, deadline=None)
@given(some=st.lists(rows, min_size=1, max_size=12), listed=st.lists(items, min_size=1, max_size=12))
def test_the_same_as_decided_whole(text: str, some: list[str], listed: list[str]) -> None:
    bound = ", ".join(f"(${3 * row + 1}, ${3 * row + 2}, ${3 * row + 3})" for row in range(len(some)))
    query = text.format(rows=",\n ".join(some), items=", ".join(listed), bound=bound).encode()
    with pytest.MonkeyPatch.context() as patch:
        whole = decided(query)
        patch.setattr(decisions, "_SHORT", 0)
        assert essence(decided(query)) == essence(whole)


@pytest.mark.parametrize(
    ("query", "short"),
    [
        ("VALUES (1), (2), (3), (4)", "VALUES (1), (2)"),
        ("VALUES (1), ('a'), (2), ('b'), (3), ('c')", "VALUES (1), ('a'), (2), ('b')"),
        ("SELECT 1 WHERE 1 IN (1, 2, 3, 4)", "SELECT 1 WHERE 1 IN (1, 2)"),
        ("VALUES (f('a', 1)), (f('b', 2)), (f('c', 3)), (g('d', 4))", "VALUES (f('a', 1)), (f('b', 2)), (g('d', 4))"),
        ("VALUES (1), (NULL), (2), (NULL), (3)", "VALUES (1), (NULL), (2), (NULL)"),
        ("SELECT 1 IN (SELECT 1), f(1, 2, 3, 4), ARRAY[1, 2, 3, 4]", None),
        ("SELECT 1 IN (1, 2, 3, x)", None),
        ("VALUES (1), (2) /* c */, (3 /* c */), (4)", None),
        ("VALUES ($1, 1), ($2, 2), ($3, 3)", "VALUES ($1, 1), ($2, 2)"),
        ("VALUES ($1), ($2), ($1)", None),
        ("SELECT $4 FROM (VALUES ($1), ($2), ($3)) v", None),
        ("SELECT $1 FROM (VALUES ($2), ($3), ($4)) v", "SELECT $1 FROM (VALUES ($2), ($3)) v"),
        ("SELECT 1 WHERE 1 IN ($1, $2, $3)", None),
        ("VALUES (1), (2)", None),
        ("VALUES (1), (2), (3", None),
    ],
)
def test_what_is_left_out(query: str, short: str | None) -> None:
    found = repetition(query.encode())
    assert (None if found is None else found.query.decode()) == short


def test_every_subject_is_named_and_every_place_found() -> None:
    ids = ", ".join(map(str, range(1, 400)))
    query = f"SELECT phone FROM subscribers s WHERE s.id IN ({ids}) ORDER BY s.nope"
    verdict = decided(query.encode())
    assert {key for _, key in verdict.statements[0].subjects} == set(map(str, range(1, 400)))
    assert verdict.client_position(len(verdict.text)) == len(query)


def test_the_rows_of_a_checked_insert_stay_rows() -> None:
    """The check goes behind the last row of the whole text, not behind the last that was decided on."""
    rows = ", ".join(f"({number}, {number % 9 + 1}, 'x{number}')" for number in range(200))
    query = f"INSERT INTO calls (id, subscriber_id, callee) VALUES {rows}".encode()
    verdict = engine().decisions(context("billing_app", "billing")).authorize(query)
    assert verdict.refusal is None and verdict.rewritten
    for text in (verdict.text, (verdict.within_block or verdict).text):
        assert text.count(b"'x") == 200
        assert text.index(b"RETURNING") > text.index(b"'x199'")
