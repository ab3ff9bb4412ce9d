"""What the policy says of one column for one role, purpose and use. Pure: no clock, no database.

Steps 1 to 6 hold for every row and give the outcome. Step 7 gives conditions that the upstream evaluates for each row.
The most restrictive outcome of all steps wins (allow < mask < nullify < drop_row < reject), and where several of them
mask, what shows is at most what each of them would show; so nothing that is added to a policy's rules ever loosens it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import reduce
from typing import NamedTuple

from proxy.masks import Mask
from proxy.policy.mask_order import at_most, meet
from proxy.policy.model import (
    AccountCondition,
    ColumnPolicy,
    Condition,
    ConsentCondition,
    Decision,
    Name,
    NeverCondition,
    Outcome,
    Policy,
    Purpose,
    RetentionCondition,
    Rule,
    SelfCondition,
    Sensitivity,
    SubjectKind,
    Suspension,
    TablePolicy,
    Use,
)


class _Reason(NamedTuple):
    """A step that held: what it demands, by which mask (None: the column's), and the rule that says so."""

    outcome: Outcome
    word: str
    mask: Mask | None = None
    rule: str | None = None


class _Question(NamedTuple):
    """Who asks for what."""

    policy: Policy
    role: str
    purpose: str | None
    use: Use
    table: TablePolicy
    column: ColumnPolicy
    now: datetime

    @property
    def granted(self) -> bool:
        role = self.policy.role(self.role)
        return role is not None and self.purpose in role.purposes

    @property
    def third_party(self) -> bool:
        role = self.policy.role(self.role)
        return role is not None and role.third_party

    @property
    def shared(self) -> bool:
        purpose = self.known
        return purpose is not None and self.role in purpose.share

    @property
    def known(self) -> Purpose | None:
        return None if self.purpose is None else self.policy.purposes.get(self.purpose)


def decide(
    policy: Policy, role: str, purpose: str | None, use: Use, table: Name, column: str, now: datetime
) -> Decision:
    """Decides one classified column. ``purpose`` None or empty is undeclared; ``now`` is aware.

    ``conditions`` is empty where no row could come out worse by failing one. Raises KeyError for a column that the
    policy does not classify: nobody may ask about those.
    """
    entry = policy.tables[table]
    question = _Question(policy, role, purpose or None, use, entry, entry.columns[column], now)
    reasons = [_for_use(reason, use) for reason in _static(question)]
    outcome = max((reason.outcome for reason in reasons), default=Outcome.ALLOW)
    own = question.column.mask
    mask = reduce(meet, (reason.mask or own for reason in reasons)) if outcome is Outcome.MASK else None

    failed = Outcome.REJECT if use is Use.WRITE else policy.defaults.condition_failed
    failed_mask = (own if mask is None else meet(own, mask)) if failed is Outcome.MASK else None
    conditions = _conditions(question) if _worse(failed, failed_mask, outcome, mask) else ()
    words = [reason.word for reason in reasons if reason.outcome is not Outcome.ALLOW]
    words += [_word(condition) for condition in conditions]
    return Decision(
        category=question.column.category,
        sensitivity=question.column.sensitivity,
        outcome=outcome,
        mask=mask,
        conditions=conditions,
        failed=failed,
        failed_mask=failed_mask,
        reasons=tuple(dict.fromkeys(words)),
        rule=next((reason.rule for reason in reasons if reason.outcome is outcome), None),
    )


def strictest(decisions: Sequence[Decision], *, same_subject: bool) -> Decision:
    """One decision that allows what every one of them allows. ``same_subject``: rows reach the same subject by all of
    them; if not, no row meets their conditions."""
    if len(decisions) == 1:
        return decisions[0]
    outcome = max(one.outcome for one in decisions)
    masks = [one.mask for one in decisions if one.outcome is Outcome.MASK and one.mask is not None]
    mask = reduce(meet, masks) if outcome is Outcome.MASK and masks else None
    conditional = [one for one in decisions if one.conditions]
    failed = max((one.failed for one in conditional), default=outcome)
    hidden = masks + [one.failed_mask for one in conditional if one.failed_mask is not None]
    failed_mask = reduce(meet, hidden) if failed is Outcome.MASK and hidden else None
    conditions = tuple(dict.fromkeys(condition for one in conditional for condition in one.conditions))
    if conditions and not same_subject:
        conditions = (NeverCondition("classified twice, with different subjects"),)
    if not _worse(failed, failed_mask, outcome, mask):
        conditions = ()
    most = max(decisions, key=lambda one: one.sensitivity)
    return Decision(
        category=most.category,
        sensitivity=most.sensitivity,
        outcome=outcome,
        mask=mask,
        conditions=conditions,
        failed=failed,
        failed_mask=failed_mask,
        reasons=tuple(dict.fromkeys(word for one in decisions for word in one.reasons)),
        rule=next((one.rule for one in decisions if one.outcome is outcome and one.rule is not None), None),
    )


def _for_use(reason: _Reason, use: Use) -> _Reason:
    """A cell cannot be written masked, nor half: whatever restricts a write rejects it."""
    if use is Use.WRITE and reason.outcome is not Outcome.ALLOW:
        return reason._replace(outcome=Outcome.REJECT, mask=None)
    return reason


def _worse(failed: Outcome, failed_mask: Mask | None, outcome: Outcome, mask: Mask | None) -> bool:
    """A row that fails a condition shows less than one that meets them all."""
    if failed_mask is not None and mask is not None:
        return not at_most(mask, failed_mask)
    return failed > outcome


# --- steps 1 to 6 -----------------------------------------------------------------------------------------------------


def _static(question: _Question) -> Iterator[_Reason]:
    policy, column = question.policy, question.column
    if question.purpose is None:
        yield _Reason(policy.defaults.undeclared_purpose, "no purpose declared")
    elif not question.granted:
        yield _Reason(Outcome.REJECT, "purpose not granted")
    if any(_suspends(suspension, question.purpose, question.now) for suspension in policy.suspensions):
        yield _Reason(Outcome.REJECT, "purpose suspended")
    if question.known is not None and not {column.category, "*"} & question.known.categories:
        yield _Reason(policy.defaults.out_of_scope, "category out of scope")
    if question.third_party and not question.shared:
        yield _Reason(Outcome.MASK, "third party")
    for rule in policy.rules:
        if _matches(rule, question):
            mask = rule.mask if rule.effect is Outcome.MASK else None
            yield _Reason(rule.effect, f"rule {rule.id}", mask, rule.id)


def _suspends(suspension: Suspension, purpose: str | None, now: datetime) -> bool:
    started = suspension.purpose == purpose and suspension.start <= now
    return started and (suspension.until is None or now < suspension.until)


def _matches(rule: Rule, question: _Question) -> bool:
    # An export reads: a rule for reading that COPY TO could walk around would be none.
    uses = {question.use, Use.READ} if question.use is Use.EXPORT else {question.use}
    return (
        (rule.roles is None or question.role in rule.roles)
        and (rule.purposes is None or question.purpose in rule.purposes)
        and (rule.categories is None or question.column.category in rule.categories)
        and (rule.uses is None or not uses.isdisjoint(rule.uses))
    )


# --- step 7 -----------------------------------------------------------------------------------------------------------


def _conditions(question: _Question) -> tuple[Condition, ...]:
    return tuple(_each_condition(question))


def _each_condition(question: _Question) -> Iterator[Condition]:
    purpose, link = question.known, question.table.subject
    kind = None if link is None else question.policy.subjects[link.kind]
    if purpose is not None:
        yield from _account(question.policy, purpose, kind)
        if purpose.basis == "consent" or (question.third_party and question.shared):
            yield _consent(purpose, kind, question.column.sensitivity)
    if question.table.retention is not None:
        yield RetentionCondition(question.table.retention.start, question.table.retention.keep)
    if purpose is not None and purpose.self_only:
        yield NeverCondition("self: the table has no subject") if kind is None else SelfCondition(kind.name)


def _account(policy: Policy, purpose: Purpose, kind: SubjectKind | None) -> Iterator[Condition]:
    if purpose.accounts is None:
        return
    if kind is None:
        # Where no kind of subject has accounts, there is no such condition for anybody.
        if any(known.account is not None for known in policy.subjects.values()):
            yield NeverCondition("account: the table has no subject")
    elif kind.account is not None:
        states = kind.account.states
        values = frozenset(value for state in purpose.accounts for value in states.get(state, ()))
        yield AccountCondition(kind.name, values) if values else NeverCondition("account: no state of it is admitted")


def _consent(purpose: Purpose, kind: SubjectKind | None, sensitivity: Sensitivity) -> Condition:
    if kind is None:
        return NeverCondition("consent: the table has no subject")
    source = kind.consent
    if source is None:
        return NeverCondition("consent: nothing says who consented")
    express = sensitivity is Sensitivity.SENSITIVE and purpose.basis == "consent"
    if express and source.express is None:
        return NeverCondition("express consent: nothing says whose consent was express")
    return ConsentCondition(kind.name, purpose.name, express, purpose.notice_version if source.notice_version else None)


def _word(condition: Condition) -> str:
    match condition:
        case AccountCondition():
            return "account"
        case ConsentCondition(express=express):
            return "express consent" if express else "consent"
        case RetentionCondition():
            return "retention"
        case SelfCondition():
            return "self"
        case NeverCondition(why=why):
            return why


# --- what else follows from a policy ----------------------------------------------------------------------------------


def next_change(policy: Policy, now: datetime) -> datetime | None:
    """When a suspension begins or ends next after ``now``: decisions made before that moment do not hold after it."""
    moments = {moment for one in policy.suspensions for moment in (one.start, one.until) if moment is not None}
    return min((moment for moment in moments if moment > now), default=None)


def sources(policy: Policy) -> frozenset[Name]:
    """Protected tables that are not classified: registries, consent and account sources, ways to a subject."""
    names = {table.subject.via.table for table in policy.tables.values() if table.subject and table.subject.via}
    for kind in policy.subjects.values():
        names.add(kind.table)
        names |= {source.table for source in (kind.account, kind.consent) if source is not None}
    names |= policy.tables.keys()
    return frozenset(name for name in names if name not in policy.tables or not policy.tables[name].columns)
