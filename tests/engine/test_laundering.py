"""What may be stored where: a table of what a session sees of a value, and of the column that is to hold it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.engine.classification import of_table
from proxy.engine.laundering import Destination, Flowing, check_flows, flowing, why_not
from proxy.engine.refusals import PolicyRefused
from proxy.engine.secured import Viewer, look
from proxy.masks import Mask
from proxy.policy.model import ConsentCondition, Decision, Outcome, Sensitivity
from proxy.sql.flows import Flows
from proxy.sql.grammar import parse
from proxy.sql.relations import relations
from tests.engine.telecom import NOW, POLICY, catalog

_CONSENT = (ConsentCondition("subscriber", "billing", express=False, notice_version=None),)


def _seen(outcome: Outcome, *, conditional: bool = False, sensitive: bool = False) -> Flowing:
    sensitivity = Sensitivity.SENSITIVE if sensitive else Sensitivity.GENERAL
    mask = Mask("redact") if outcome is Outcome.MASK else None
    conditions = _CONSENT if conditional else ()
    decision = Decision("name", sensitivity, outcome, mask, conditions, Outcome.MASK, Mask("redact"), (), None)
    return Flowing("public.p.name", decision)


_RAW = _seen(Outcome.ALLOW)
_CONDITIONAL = _seen(Outcome.ALLOW, conditional=True)
_MASKED = _seen(Outcome.MASK)
_NULL = _seen(Outcome.NULLIFY)
_SENSITIVE = _seen(Outcome.ALLOW, sensitive=True)
_OPEN = Destination("public.o.note", None)
_GENERAL = Destination("public.o.contact", Sensitivity.GENERAL)
_STRICT = Destination("public.o.card", Sensitivity.SENSITIVE)


@pytest.mark.parametrize(
    ("flow", "destination", "why"),
    [
        (_RAW, _OPEN, "not classified"),
        (_RAW, _GENERAL, ""),
        (_RAW, _STRICT, ""),
        (_SENSITIVE, _GENERAL, "less sensitive"),
        (_SENSITIVE, _STRICT, ""),
        (_CONDITIONAL, _OPEN, "not classified"),
        (_CONDITIONAL, _GENERAL, "masked values"),
        (_CONDITIONAL, replace(_GENERAL, new=True), ""),
        (_MASKED, _OPEN, ""),
        (_MASKED, _GENERAL, "masked values"),
        (_MASKED, replace(_GENERAL, new=True), ""),
        (_NULL, _OPEN, ""),
        (_NULL, _STRICT, "masked values"),
    ],
)
def test_where_values_may_go(flow: Flowing, destination: Destination, why: str) -> None:
    found = why_not([flow], destination)
    assert (found[0] if found else "") == "" if not why else found is not None and why in found[0]


def test_one_of_many_is_enough() -> None:
    assert why_not([_MASKED, _RAW], _OPEN) is not None
    assert why_not([], _STRICT) is None


def test_the_refusal_names_both_columns() -> None:
    with pytest.raises(PolicyRefused) as caught:
        check_flows([_RAW], _OPEN, POLICY, 7)
    refusal = caught.value.refusal
    assert (refusal.sqlstate, refusal.position) == ("42501", 7)
    assert "public.p.name" in refusal.message
    assert "public.o.note" in refusal.message


def test_only_classified_columns_count() -> None:
    (statement,) = parse(b"SELECT phone, plan, strange.* FROM subscribers, strange")
    known = catalog()
    relation = known.relation("public", "subscribers")
    assert relation is not None
    (name, other) = relations(statement.node, statement.kind)
    columns = {name: [column.name for column in relation.columns]}
    flows = Flows(statement.kind, statement.node, [name, other], columns.get)
    viewer = Viewer(POLICY, "billing_app", "billing", None, NOW)
    table = next(table for full, table in POLICY.tables.items() if full.relation == "subscribers")
    sights = {id(name.node): look(viewer, relation, of_table(table))}
    found = [flow.column for flow in flowing(flows.query(statement.node).every, sights)]
    assert found == ["public.subscribers.phone"]
