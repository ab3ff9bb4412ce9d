"""Properties: what is added to a policy tightens it, and masks are ordered by what shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.masks import Mask
from proxy.policy.decision import decide
from proxy.policy.mask_order import at_most, ends, meet, shows
from proxy.policy.model import Decision, Name, Outcome, Policy, Rule, Suspension, Use
from tests.policy.policies import policy_of
from tests.policy.test_decision import BASE

POLICY = policy_of(BASE)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
COLUMNS = [(name, column) for name, table in POLICY.tables.items() for column in table.columns]

masks = st.one_of(
    st.sampled_from(
        [Mask(kind) for kind in ("phone", "id_card", "name", "email", "bank_card", "address", "redact", "nullify")]
        + [Mask("year"), Mask("month"), Mask("range", step=10), Mask("range", step=30), Mask("range", step=7)]
        + [Mask("constant", value="-"), Mask("hash", length=16), Mask("hash", length=8)]
    ),
    st.builds(
        Mask, st.just("partial"), st.integers(0, 5), st.integers(0, 5), min_length=st.none() | st.integers(11, 20)
    ),
)


def subset(*items: str) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(items), min_size=1)


effects = st.sampled_from([Outcome.MASK, Outcome.NULLIFY, Outcome.DROP_ROW, Outcome.REJECT])
rules = st.builds(
    Rule,
    id=st.sampled_from(["a", "b", "c"]),
    roles=subset("app", "narrow", "partner", "nobody"),
    purposes=subset("billing", "contract", "research", "own"),
    categories=subset("name", "phone", "id_number", "password"),
    uses=st.none() | st.frozensets(st.sampled_from(Use), min_size=1),
    effect=effects,
    mask=st.none() | masks,
)
defaults = st.builds(
    replace,
    st.just(POLICY.defaults),
    undeclared_purpose=st.sampled_from([Outcome.MASK, Outcome.NULLIFY, Outcome.REJECT]),
    out_of_scope=st.sampled_from([Outcome.MASK, Outcome.NULLIFY, Outcome.REJECT]),
    condition_failed=st.sampled_from([Outcome.MASK, Outcome.NULLIFY, Outcome.DROP_ROW]),
)
policies = st.builds(replace, st.just(POLICY), rules=st.lists(rules, max_size=3).map(tuple), defaults=defaults)
questions = st.tuples(
    st.sampled_from(["app", "narrow", "partner", "nobody"]),
    st.sampled_from([None, "billing", "contract", "research", "own", "stopped", "nonsense"]),
    st.sampled_from(Use),
    st.sampled_from(COLUMNS),
)


def answer(policy: Policy, question: tuple[str, str | None, Use, tuple[Name, str]]) -> Decision:
    role, purpose, use, (table, column) = question
    return decide(policy, role, purpose, use, table, column, NOW)


def seen(decision: Decision, *, fails: bool) -> tuple[Outcome, Mask | None]:
    """What becomes of the cell of a row that fails a condition, or of one that meets all."""
    if fails and decision.conditions:
        return decision.failed, decision.failed_mask
    return decision.outcome, decision.mask


def at_most_as_open(one: tuple[Outcome, Mask | None], other: tuple[Outcome, Mask | None]) -> bool:
    if one[0] is other[0] is Outcome.MASK:
        assert one[1] is not None
        assert other[1] is not None
        return at_most(one[1], other[1])
    return one[0] >= other[0]


@settings(deadline=None)
@given(policy=policies, rule=rules, question=questions, place=st.integers(0, 3))
def test_a_rule_never_loosens(
    policy: Policy, rule: Rule, question: tuple[str, str | None, Use, tuple[Name, str]], place: int
) -> None:
    tightened = replace(policy, rules=(*policy.rules[:place], rule, *policy.rules[place:]))
    before, after = answer(policy, question), answer(tightened, question)
    for fails in (False, True):
        assert at_most_as_open(seen(after, fails=fails), seen(before, fails=fails))


@settings(deadline=None)
@given(policy=policies, question=questions)
def test_a_row_that_fails_is_never_more_open(
    policy: Policy, question: tuple[str, str | None, Use, tuple[Name, str]]
) -> None:
    decision = answer(policy, question)
    assert at_most_as_open(seen(decision, fails=True), seen(decision, fails=False))


@settings(deadline=None)
@given(policy=policies, question=questions)
def test_a_suspension_rejects(policy: Policy, question: tuple[str, str | None, Use, tuple[Name, str]]) -> None:
    purpose = question[1]
    stopped = replace(policy, suspensions=(Suspension(purpose or "", NOW, None, "ordered"),))
    decision = answer(stopped, question)
    assert (decision.outcome is Outcome.REJECT) or purpose is None


@settings(deadline=None)
@given(policy=policies, question=questions)
def test_decisions_are_well_formed(policy: Policy, question: tuple[str, str | None, Use, tuple[Name, str]]) -> None:
    decision = answer(policy, question)
    assert (decision.mask is not None) == (decision.outcome is Outcome.MASK)
    assert (decision.failed_mask is not None) == (decision.failed is Outcome.MASK)
    assert bool(decision.reasons) == (decision.outcome is not Outcome.ALLOW or bool(decision.conditions))
    if question[2] is Use.WRITE:
        assert decision.outcome in {Outcome.ALLOW, Outcome.REJECT}
        assert decision.failed is Outcome.REJECT


@settings(deadline=None)
@given(masks, masks)
def test_what_two_masks_have_in_common_shows_at_most_what_either_shows(one: Mask, other: Mask) -> None:
    both = meet(one, other)
    assert at_most(both, one)
    assert at_most(both, other)


@settings(deadline=None)
@given(masks, masks, masks)
def test_masks_are_ordered(one: Mask, two: Mask, three: Mask) -> None:
    assert at_most(one, one)
    if at_most(one, two) and at_most(two, three):
        assert at_most(one, three)


def visible(mask: Mask, length: int) -> set[int]:
    """The characters of a text of this length that show."""
    kept = ends(mask)
    assert kept is not None
    if length < kept.min_length:
        return set()
    return {*range(kept.first), *range(length - kept.last, length)}


ended = masks.filter(lambda mask: ends(mask) is not None)


@settings(deadline=None)
@given(ended, ended, st.integers(0, 40))
def test_the_order_of_masks_is_what_shows(one: Mask, other: Mask, length: int) -> None:
    if at_most(one, other):
        assert visible(one, length) <= visible(other, length)
    assert visible(meet(one, other), length) <= visible(one, length) & visible(other, length)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Mask("nullify"), Mask("redact"), True),
        (Mask("redact"), Mask("nullify"), False),
        (Mask("redact"), Mask("constant", value=1), True),
        (Mask("redact"), Mask("email"), True),
        (Mask("year"), Mask("month"), True),
        (Mask("month"), Mask("year"), False),
        (Mask("range", step=30), Mask("range", step=10), True),
        (Mask("range", step=10), Mask("range", step=30), False),
        (Mask("range", step=15), Mask("range", step=10), False),
        (Mask("hash", length=8), Mask("hash", length=16), True),
        (Mask("bank_card"), Mask("phone"), True),
        (Mask("phone"), Mask("bank_card"), False),
        (Mask("email"), Mask("phone"), False),
        (Mask("partial", 3, 4, min_length=8), Mask("phone"), True),
        (Mask("partial", 3, 4), Mask("phone"), True),
    ],
)
def test_order(one: Mask, other: Mask, expected: bool) -> None:
    assert at_most(one, other) is expected


def test_what_shows_nothing() -> None:
    assert [shows(Mask(kind)) for kind in ("nullify", "redact", "constant", "year", "hash")] == [
        False,
        False,
        False,
        True,
        True,
    ]
