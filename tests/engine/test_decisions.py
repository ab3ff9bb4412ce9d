"""What is remembered of decisions, for how long, and how much of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from proxy.engine import ConsentEngine
from proxy.policy.model import Suspension
from tests.engine.telecom import CATALOG, NOW, POLICY, context


def test_equal_contexts_share_their_decisions() -> None:
    engine = ConsentEngine(clock=lambda: NOW)
    first = engine.decisions(context("analyst", "marketing"))
    assert first.authorize(b"SELECT 1") is first.known[b"SELECT 1"]
    assert engine.decisions(context("analyst", "marketing")) is first
    assert engine.decisions(context("analyst")) is not first


def test_a_suspension_takes_effect_at_its_moment() -> None:
    now = NOW
    engine = ConsentEngine(clock=lambda: now)
    start = NOW + timedelta(hours=1)
    order = Suspension("marketing", start, start + timedelta(hours=1), "ordered by the regulator")
    decisions = engine.decisions(replace(context("analyst", "marketing"), policy=replace(POLICY, suspensions=(order,))))
    query = b"SELECT phone FROM subscribers"

    def refused() -> bool:
        engine.expire()
        verdict = decisions.known.get(query) or decisions.authorize(query)
        return verdict.refusal is not None

    told = []
    for minutes in (0, 59, 60, 119, 120):
        now = NOW + timedelta(minutes=minutes)
        told.append(refused())
    assert told == [False, False, True, True, False]


def test_an_older_catalog_is_let_go() -> None:
    engine = ConsentEngine(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    for generation in range(1, 50):
        current = replace(CATALOG, generation=generation)
        engine.decisions(replace(context("analyst"), catalog=current)).authorize(b"SELECT phone FROM subscribers")
    assert len(engine._contexts) == 1
    assert len(engine._grounds) == 1


def test_what_is_remembered_is_bounded() -> None:
    engine = ConsentEngine(clock=lambda: NOW)
    decisions = engine.decisions(context("analyst"))
    for number in range(300):
        decisions.authorize(b"SELECT 1 -- " + b"x" * 20_000 + str(number).encode())
    assert engine._facts_bytes <= 2 * 1024 * 1024
    too_long = b"SELECT 1 -- " + b"x" * 70_000
    assert decisions.authorize(too_long).refusal is None
    assert too_long not in decisions.known


LONG = {
    "comparisons": " OR ".join(f"id = {n}" for n in range(300)),
    "a list": f"id IN ({', '.join(str(n) for n in range(3000))})",
    "hidden": " AND ".join(f"phone <> '{n}'" for n in range(300)),
    "nested too deeply": "id = 0" + " + 1" * 3000,
    "no SQL": " OR ".join("id = 1" for _ in range(300)) + " OR OR",
    "an untrusted function": " OR ".join(f"app.peek({n})" for n in range(300)),
}


@pytest.mark.parametrize("condition", LONG.values(), ids=LONG)
def test_what_is_decided_apart_is_what_would_be_decided_here(condition: str) -> None:
    query = f"SELECT id, full_name FROM subscribers WHERE {condition}".encode()
    here = ConsentEngine(clock=lambda: NOW).decisions(context("analyst", "marketing")).authorize(query)
    decisions = ConsentEngine(clock=lambda: NOW).decisions(context("analyst", "marketing"))
    work = decisions.work(query)
    assert work is not None
    with ThreadPoolExecutor(1) as other:
        apart = other.submit(work.make).result()
    assert replace(apart, statements=()) == replace(here, statements=())
    assert [(one.kind, one.columns) for one in apart.statements] == [(one.kind, one.columns) for one in here.statements]
    work.take(apart)
    assert decisions.work(query) is None
    assert decisions.authorize(query) is apart


def test_what_was_decided_apart_before_a_suspension_began_is_not_kept() -> None:
    now = NOW
    engine = ConsentEngine(clock=lambda: now)
    order = Suspension("marketing", NOW + timedelta(seconds=1), None, "ordered by the regulator")
    decisions = engine.decisions(replace(context("analyst", "marketing"), policy=replace(POLICY, suspensions=(order,))))
    query = b"SELECT phone FROM subscribers WHERE id IN (" + b"1, " * 1000 + b"1)"
    work = decisions.work(query)
    assert work is not None
    verdict = work.make()
    assert verdict.refusal is None
    now = NOW + timedelta(seconds=1)
    work.take(verdict)
    assert decisions.work(query) is not None
    assert decisions.authorize(query).refusal is not None


def test_of_very_long_texts_few_are_held() -> None:
    engine = ConsentEngine(clock=lambda: NOW)
    query = b"SELECT 1 -- " + b"x" * 70_000
    many = [engine.decisions(replace(context("analyst"), start={"n": str(n)})) for n in range(6)]
    assert len({id(one) for one in many}) == 6
    verdicts = [one.authorize(query) for one in many]
    held = [one.authorize(query) is verdict for one, verdict in zip(reversed(many), reversed(verdicts), strict=True)]
    assert held[:4] == [True] * 4
    assert held[4:] == [False] * 2
