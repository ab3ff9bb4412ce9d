"""What is remembered of decisions, for how long, and how much of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

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
