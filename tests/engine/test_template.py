"""A text that differs from a decided one in its literals gets the verdict that it would get by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.verdict import Verdict
from tests.engine.telecom import context, engine

FORMS = [
    "SELECT id, phone FROM subscribers WHERE id = {0} AND full_name <> {1}",
    "SELECT {0}, callee FROM calls c WHERE c.subscriber_id IN ({0}, {2}) ORDER BY {1}",
    "/* é */ SELECT {1}, s.* FROM ONLY (subscribers) s, calls TABLESAMPLE SYSTEM ({2}) WHERE {0} = {1} -- {0}",
    "SELECT price FROM plans WHERE code = {1} LIMIT {2}",
    "SELECT s.id, count({1}) FROM subscribers s WHERE s.id = {0} GROUP BY s.id, s.plan HAVING count(*) > {2}",
    "WITH w AS (SELECT phone FROM subscribers WHERE id = {0}) SELECT {1} FROM w UNION ALL SELECT callee FROM calls",
    "INSERT INTO plans VALUES ({1}, {2})",
    "INSERT INTO subscribers (id, phone) VALUES ({0}, {1}), ({2}, NULL)",
    "UPDATE subscribers SET phone = {1}, plan = {3} WHERE id = {0} RETURNING phone",
    "DELETE FROM calls WHERE callee = {1} AND subscriber_id = {0}",
    "SELECT nope FROM {1}",
    "SELECT * FROM nope WHERE a = {1}",
    "SELECT set_config({1}, {1}, false)",
    'SELECT U&"d!0061t!+000061" UESCAPE {1} FROM subscribers',
    "SELECT phone FROM subscribers WHERE id = {1}::bigint AND plan = {3}",
]
numbers = st.integers(0, 10**9).map(str)
strings = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).map(
    lambda text: "'" + text.replace("'", "''") + "'"
)
others = st.sampled_from(["E'a\\'b'", "B'01'", "X'1F'", "1.5e3", "$q$x'y$q$", "'a'\n'b'"])


def essence(verdict: Verdict) -> tuple[object, ...]:
    told = verdict.text, verdict.statements, verdict.edits, verdict.splices, verdict.refusal, verdict.secured
    return *told, verdict.checks, verdict.within_block and essence(verdict.within_block)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, deadline=None)
@given(values=st.lists(st.tuples(numbers, strings, numbers, strings | others), min_size=2, max_size=4))
def test_the_same_as_by_itself(form: str, values: list[tuple[str, ...]]) -> None:
    remembering = engine().decisions(context("analyst", "marketing"))
    for one in values:
        query = form.format(*one).encode()
        by_itself = engine().decisions(context("analyst", "marketing")).authorize(query)
        assert essence(remembering.authorize(query)) == essence(by_itself)


def test_texts_share_one_decision() -> None:
    decisions = engine().decisions(context("analyst", "marketing"))
    first, second = (decisions.authorize(b"SELECT phone FROM subscribers WHERE plan = '%d'" % n) for n in (1, 22222))
    assert first.statements[0] is second.statements[0]
    assert second.text.endswith(b"WHERE plan = '22222'")
    assert second.client_position(len(second.text)) == len("SELECT phone FROM subscribers WHERE plan = '22222'")
