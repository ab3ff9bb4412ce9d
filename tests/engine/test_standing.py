"""What is protected by name is missed when it leaves its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.catalog.model import Catalog, Relation
from proxy.engine.standing import left, standing
from tests.engine.telecom import CATALOG, POLICY

SUBSCRIBERS = next(one for one in CATALOG.relations.values() if one.name == "subscribers")


def _renamed_column(relation: Relation) -> Relation:
    columns = tuple(replace(one, name="number") if one.name == "phone" else one for one in relation.columns)
    return replace(relation, columns=columns)


def _with(change: Callable[[Relation], Relation] | None) -> Catalog:
    relations = {oid: one for oid, one in CATALOG.relations.items() if oid != SUBSCRIBERS.oid}
    if change is not None:
        relations[SUBSCRIBERS.oid] = change(SUBSCRIBERS)
    return replace(CATALOG, relations=relations)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda one: one, []),
        (lambda one: replace(one, name="people"), [("public.subscribers", "public.people")]),
        (lambda one: replace(one, schema="archive"), [("public.subscribers", "archive.subscribers")]),
        (_renamed_column, [("public.subscribers.phone", "public.subscribers.number")]),
        (None, [("public.subscribers", "nothing")]),
    ],
    ids=["stays", "renamed", "moved", "a column renamed", "dropped"],
)
def test_what_left_its_place(change: Callable[[Relation], Relation] | None, expected: list[tuple[str, str]]) -> None:
    assert list(left(standing(POLICY, CATALOG), _with(change))) == expected
