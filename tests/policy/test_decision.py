"""What is decided, step by step. One policy, and tables of questions with their answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from proxy.masks import Mask
from proxy.policy.decision import decide, next_change, sources
from proxy.policy.model import (
    AccountCondition,
    Condition,
    ConsentCondition,
    Decision,
    Name,
    NeverCondition,
    Outcome,
    RetentionCondition,
    SelfCondition,
    Sensitivity,
    Use,
)
from tests.policy.policies import policy_of

BASE = """
version: 1
categories:
  name: {sensitivity: general, mask: name}
  phone: {sensitivity: general, mask: phone}
  id_number: {sensitivity: sensitive, mask: id_card}
  password: {sensitivity: sensitive, mask: redact}
subjects:
  person:
    table: public.people
    key: id
    account: {column: status, states: {active: [a, A], suspended: [s], closed: [c]}}
    consent: {table: public.consents, subject: person, purpose: why, express: is_express, notice_version: notice}
  guest:
    table: public.guests
    key: id
    consent: {table: public.guest_consents, subject: guest, purpose: why}
  visitor: {table: public.visitors, key: id}
tables:
  public.people:
    subject: {kind: person, key: id}
    columns: {name: name, phone: phone, id_number: id_number, password: password}
  public.calls:
    subject: {kind: person, key: person}
    retention: {from: at, keep: 90 days}
    columns: {callee: phone}
  public.guests: {subject: {kind: guest, key: id}, columns: {name: name, id_number: id_number}}
  public.visitors: {subject: {kind: visitor, key: id}, columns: {name: name}}
  public.strays: {retention: {from: at, keep: 1 week}, columns: {name: name}}
  public.bills: {subject: {kind: person, key: person}}
  public.lines:
    subject: {kind: person, via: {table: public.bills, column: bill, key: id}}
    columns: {ship_to: name}
purposes:
  billing: {basis: consent, categories: [name, phone, id_number], accounts: [active, suspended], notice: {version: 3}}
  contract: {basis: contract, categories: [name, phone, id_number], share: [partner]}
  research: {basis: public_interest, categories: [name], accounts: any}
  own: {basis: legal_obligation, self: true, categories: ['*'], accounts: any}
  stopped: {basis: contract, categories: [name], accounts: any}
  halted: {basis: contract, categories: [name], accounts: any}
roles:
  app: {purposes: [billing, contract, research, own, stopped, halted]}
  narrow: {purposes: [billing]}
  partner: {purposes: [contract, billing, research], recipient: third_party}
suspensions:
  - {purpose: stopped, from: 2026-01-01T00:00:00Z, until: 2026-03-01T00:00:00Z, reason: ordered}
  - {purpose: halted, from: 2026-02-15T00:00:00Z, reason: ordered}
"""
NOW = datetime(2026, 2, 1, tzinfo=UTC)
ALLOW, MASK, NULLIFY, DROP_ROW, REJECT = Outcome
READ, WRITE, EXPORT = Use

ACCOUNT = AccountCondition("person", frozenset({"a", "A", "s"}))
ACTIVE = AccountCondition("person", frozenset({"a", "A"}))
CONSENT = ConsentCondition("person", "billing", express=False, notice_version=3)
EXPRESS = ConsentCondition("person", "billing", express=True, notice_version=3)
SHARED = ConsentCondition("person", "contract", express=False, notice_version=None)


class Case(NamedTuple):
    """A question in five words and the outcome, conditions and reasons of its answer."""

    role: str
    purpose: str | None
    use: Use
    column: str
    outcome: Outcome
    conditions: tuple[Condition, ...]
    reasons: tuple[str, ...]


CASES = [
    # 1 no purpose declared: a default for reads, and no writes
    Case("app", None, READ, "people.phone", MASK, (), ("no purpose declared",)),
    Case("app", "", READ, "people.phone", MASK, (), ("no purpose declared",)),
    Case("app", None, EXPORT, "people.phone", MASK, (), ("no purpose declared",)),
    Case("app", None, WRITE, "people.phone", REJECT, (), ("no purpose declared",)),
    Case("nobody", None, READ, "people.phone", MASK, (), ("no purpose declared",)),
    # 2 not granted, unknown, or to a role that the policy does not name
    Case("narrow", "research", READ, "people.name", REJECT, (), ("purpose not granted",)),
    Case("narrow", "research", WRITE, "people.name", REJECT, (), ("purpose not granted",)),
    Case("app", "nonsense", READ, "people.name", REJECT, (), ("purpose not granted",)),
    Case("nobody", "billing", READ, "people.name", REJECT, (), ("purpose not granted",)),
    # 3 suspended now
    Case("app", "stopped", READ, "people.name", REJECT, (), ("purpose suspended",)),
    Case("app", "halted", READ, "people.name", ALLOW, (), ()),
    Case("narrow", "stopped", READ, "people.name", REJECT, (), ("purpose not granted", "purpose suspended")),
    # 4 out of the purpose's categories
    Case("app", "research", READ, "people.phone", MASK, (), ("category out of scope",)),
    Case("app", "research", WRITE, "people.phone", REJECT, (), ("category out of scope",)),
    Case("app", "research", READ, "people.name", ALLOW, (), ()),
    Case("app", "own", READ, "people.password", ALLOW, (SelfCondition("person"),), ("self",)),
    # 5 third parties see masks, unless the purpose shares with them and the person agreed
    Case("partner", "research", READ, "people.name", MASK, (), ("third party",)),
    Case("partner", "research", WRITE, "people.name", REJECT, (), ("third party",)),
    Case("partner", None, READ, "people.name", MASK, (), ("no purpose declared", "third party")),
    Case("partner", "research", READ, "people.phone", MASK, (), ("category out of scope", "third party")),
    Case("partner", "contract", READ, "people.name", ALLOW, (ACTIVE, SHARED), ("account", "consent")),
    Case("partner", "contract", READ, "people.id_number", ALLOW, (ACTIVE, SHARED), ("account", "consent")),
    # 7 conditions of a row
    Case("app", "billing", READ, "people.phone", ALLOW, (ACCOUNT, CONSENT), ("account", "consent")),
    Case("app", "billing", EXPORT, "people.phone", ALLOW, (ACCOUNT, CONSENT), ("account", "consent")),
    Case("app", "billing", WRITE, "people.phone", ALLOW, (ACCOUNT, CONSENT), ("account", "consent")),
    Case("app", "billing", READ, "people.id_number", ALLOW, (ACCOUNT, EXPRESS), ("account", "express consent")),
    Case("app", "contract", READ, "people.id_number", ALLOW, (ACTIVE,), ("account",)),
    Case("app", "research", READ, "people.name", ALLOW, (), ()),
    Case("app", "billing", READ, "lines.ship_to", ALLOW, (ACCOUNT, CONSENT), ("account", "consent")),
    Case(
        "app",
        "billing",
        READ,
        "calls.callee",
        ALLOW,
        (ACCOUNT, CONSENT, RetentionCondition("at", timedelta(days=90))),
        ("account", "consent", "retention"),
    ),
    Case(
        "app",
        "own",
        WRITE,
        "calls.callee",
        ALLOW,
        (RetentionCondition("at", timedelta(days=90)), SelfCondition("person")),
        ("retention", "self"),
    ),
    # where a source is missing: no account, no condition; no consent source, no consent; nothing says it was express
    Case(
        "app",
        "billing",
        READ,
        "guests.name",
        ALLOW,
        (ConsentCondition("guest", "billing", express=False, notice_version=None),),
        ("consent",),
    ),
    Case(
        "app",
        "billing",
        READ,
        "guests.id_number",
        ALLOW,
        (NeverCondition("express consent: nothing says whose consent was express"),),
        ("express consent: nothing says whose consent was express",),
    ),
    Case("app", "contract", READ, "visitors.name", ALLOW, (), ()),
    Case(
        "app",
        "billing",
        READ,
        "visitors.name",
        ALLOW,
        (NeverCondition("consent: nothing says who consented"),),
        ("consent: nothing says who consented",),
    ),
    # a table without a subject fails every condition about one
    Case(
        "app",
        "billing",
        READ,
        "strays.name",
        ALLOW,
        (
            NeverCondition("account: the table has no subject"),
            NeverCondition("consent: the table has no subject"),
            RetentionCondition("at", timedelta(weeks=1)),
        ),
        ("account: the table has no subject", "consent: the table has no subject", "retention"),
    ),
    Case(
        "app",
        "own",
        READ,
        "strays.name",
        ALLOW,
        (RetentionCondition("at", timedelta(weeks=1)), NeverCondition("self: the table has no subject")),
        ("retention", "self: the table has no subject"),
    ),
    Case(
        "app", "research", READ, "strays.name", ALLOW, (RetentionCondition("at", timedelta(weeks=1)),), ("retention",)
    ),
]


def ask(text: str, role: str, purpose: str | None, use: Use, column: str, now: datetime = NOW) -> Decision:
    table, _, name = column.partition(".")
    return decide(policy_of(text), role, purpose, use, Name("public", table), name, now)


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case[:4])))
def test_steps(case: Case) -> None:
    decision = ask(BASE, case.role, case.purpose, case.use, case.column)
    assert (decision.outcome, decision.conditions, decision.reasons) == case[4:]
    assert decision.rule is None


def test_a_decision_says_what_it_is_about() -> None:
    decision = ask(BASE, "app", "billing", READ, "people.id_number")
    assert (decision.category, decision.sensitivity) == ("id_number", Sensitivity.SENSITIVE)
    assert (decision.mask, decision.failed, decision.failed_mask) == (None, MASK, Mask("id_card"))


def test_a_column_that_is_not_classified_may_not_be_asked_about() -> None:
    with pytest.raises(KeyError):
        ask(BASE, "app", "billing", READ, "people.plan")
    with pytest.raises(KeyError):
        ask(BASE, "app", "billing", READ, "plans.name")


def test_without_any_accounts_a_table_without_subject_has_no_such_condition() -> None:
    text = """
version: 1
categories: {name: {sensitivity: general}}
tables: {public.t: {columns: {name: name}}}
purposes: {service: {basis: contract, categories: [name]}}
roles: {app: {purposes: [service]}}
"""
    assert ask(text, "app", "service", READ, "t.name").conditions == ()


def test_an_account_state_that_the_kind_does_not_have_is_never_met() -> None:
    text = BASE.replace("accounts: [active, suspended]", "accounts: [vip]").replace(
        "visitor: {table: public.visitors, key: id}",
        "visitor: {table: public.visitors, key: id, account: {column: state, states: {vip: [v]}}}",
    )
    decision = ask(text, "app", "billing", READ, "people.phone")
    assert decision.conditions == (NeverCondition("account: no state of it is admitted"), CONSENT)


# --- defaults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("defaults", "purpose", "use", "column", "outcome", "failed", "conditional"),
    [
        ("undeclared_purpose: nullify", None, READ, "people.phone", NULLIFY, MASK, False),
        ("undeclared_purpose: reject", None, READ, "people.phone", REJECT, MASK, False),
        ("undeclared_purpose: nullify", None, WRITE, "people.phone", REJECT, REJECT, False),
        ("out_of_scope: nullify", "research", READ, "people.phone", NULLIFY, MASK, False),
        ("out_of_scope: reject", "research", EXPORT, "people.phone", REJECT, MASK, False),
        ("condition_failed: nullify", "billing", READ, "people.phone", ALLOW, NULLIFY, True),
        ("condition_failed: drop_row", "billing", READ, "people.phone", ALLOW, DROP_ROW, True),
        ("condition_failed: mask", "billing", WRITE, "people.phone", ALLOW, REJECT, True),
        ("condition_failed: drop_row", "billing", WRITE, "people.phone", ALLOW, REJECT, True),
        # a row that fails may come out worse than one that is masked anyway
        ("condition_failed: nullify", "billing", READ, "people.password", MASK, NULLIFY, True),
        ("condition_failed: drop_row", "billing", READ, "people.password", MASK, DROP_ROW, True),
        ("condition_failed: mask", "billing", READ, "people.password", MASK, MASK, False),
        (
            "out_of_scope: nullify, condition_failed: nullify",
            "billing",
            READ,
            "people.password",
            NULLIFY,
            NULLIFY,
            False,
        ),
        (
            "out_of_scope: nullify, condition_failed: drop_row",
            "billing",
            READ,
            "people.password",
            NULLIFY,
            DROP_ROW,
            True,
        ),
        ("undeclared_purpose: mask, condition_failed: drop_row", None, READ, "calls.callee", MASK, DROP_ROW, True),
    ],
)
def test_defaults(
    defaults: str,
    purpose: str | None,
    use: Use,
    column: str,
    outcome: Outcome,
    failed: Outcome,
    conditional: bool,
) -> None:
    decision = ask(f"{BASE}\ndefaults: {{{defaults}}}\n", "app", purpose, use, column)
    assert (decision.outcome, decision.failed, bool(decision.conditions)) == (outcome, failed, conditional)


def test_without_a_purpose_only_retention_is_asked_of_a_row() -> None:
    decision = ask(f"{BASE}\ndefaults: {{condition_failed: drop_row}}\n", "app", None, READ, "calls.callee")
    assert decision.conditions == (RetentionCondition("at", timedelta(days=90)),)


# --- rules ------------------------------------------------------------------------------------------------------------

LAST_4 = "{partial: {keep_last: 4}}"


@pytest.mark.parametrize(
    ("rules", "purpose", "use", "column", "outcome", "mask", "rule"),
    [
        # selectors: one that is left out, and '*', match everything; a list matches what it names
        ("{id: r, effect: nullify}", "contract", READ, "people.name", NULLIFY, None, "r"),
        ("{id: r, roles: ['*'], effect: nullify}", "contract", READ, "people.name", NULLIFY, None, "r"),
        ("{id: r, roles: [app], effect: nullify}", "contract", READ, "people.name", NULLIFY, None, "r"),
        ("{id: r, roles: [narrow], effect: nullify}", "contract", READ, "people.name", ALLOW, None, None),
        ("{id: r, purposes: [contract], effect: nullify}", "contract", READ, "people.name", NULLIFY, None, "r"),
        ("{id: r, purposes: [billing], effect: nullify}", "contract", READ, "people.name", ALLOW, None, None),
        ("{id: r, categories: [name], effect: nullify}", "contract", READ, "people.name", NULLIFY, None, "r"),
        ("{id: r, categories: [phone], effect: nullify}", "contract", READ, "people.name", ALLOW, None, None),
        ("{id: r, purposes: [contract], effect: reject}", None, READ, "people.name", MASK, "name", None),
        # uses: what holds for reading holds for export, and not the other way round
        ("{id: r, uses: [read], effect: nullify}", "contract", EXPORT, "people.name", NULLIFY, None, "r"),
        ("{id: r, uses: [export], effect: reject}", "contract", READ, "people.name", ALLOW, None, None),
        ("{id: r, uses: [export], effect: reject}", "contract", EXPORT, "people.name", REJECT, None, "r"),
        ("{id: r, uses: [read, export], effect: reject}", "contract", WRITE, "people.name", ALLOW, None, None),
        # nothing can be written masked
        ("{id: r, effect: mask}", "contract", WRITE, "people.name", REJECT, None, "r"),
        ("{id: r, effect: drop_row}", "contract", WRITE, "people.name", REJECT, None, "r"),
        # which mask
        ("{id: r, effect: mask}", "contract", READ, "people.name", MASK, "name", "r"),
        (f"{{id: r, effect: mask, mask: {LAST_4}}}", "contract", READ, "people.id_number", MASK, (0, 4, None), "r"),
        # the most restrictive wins, and its rule is named
        ("{id: a, effect: mask}, {id: b, effect: drop_row}", "contract", READ, "people.name", DROP_ROW, None, "b"),
        ("{id: a, effect: reject}, {id: b, effect: drop_row}", "contract", READ, "people.name", REJECT, None, "a"),
        ("{id: a, effect: nullify}, {id: b, effect: nullify}", "contract", READ, "people.name", NULLIFY, None, "a"),
        ("{id: a, effect: nullify}", None, READ, "people.name", NULLIFY, None, "a"),
        ("{id: a, effect: mask}", None, READ, "people.name", MASK, "name", None),
        ("{id: a, effect: mask}", "nonsense", READ, "people.name", REJECT, None, None),
        # two masks of one cell: what shows is at most what each would show
        (f"{{id: a, effect: mask, mask: {LAST_4}}}", None, READ, "people.phone", MASK, (0, 4, None), None),
        (f"{{id: a, effect: mask, mask: {LAST_4}}}", None, READ, "people.id_number", MASK, (0, 1, 15), None),
        ("{id: a, effect: mask, mask: redact}", None, READ, "people.phone", MASK, "redact", None),
        ("{id: a, effect: mask, mask: email}", None, READ, "people.phone", MASK, "redact", None),
        (
            "{id: a, effect: mask, mask: year}, {id: b, effect: mask, mask: month}",
            "contract",
            READ,
            "people.name",
            MASK,
            "year",
            "a",
        ),
    ],
)
def test_rules(
    rules: str,
    purpose: str | None,
    use: Use,
    column: str,
    outcome: Outcome,
    mask: str | tuple[int, int, int | None] | None,
    rule: str | None,
) -> None:
    decision = ask(f"{BASE}\nrules: [{rules}]\n", "app", purpose, use, column)
    wanted = (
        Mask(mask)
        if isinstance(mask, str)
        else Mask("partial", mask[0], mask[1], min_length=mask[2])
        if mask is not None
        else None
    )
    assert (decision.outcome, decision.mask, decision.rule) == (outcome, wanted, rule)


def test_every_rule_that_held_is_named() -> None:
    rules = "rules: [{id: a, effect: mask}, {id: b, effect: nullify}, {id: c, roles: [narrow], effect: reject}]"
    decision = ask(f"{BASE}\n{rules}\n", "app", None, READ, "people.name")
    assert decision.reasons == ("no purpose declared", "rule a", "rule b")


def test_a_row_that_fails_does_not_show_more_than_one_that_does_not() -> None:
    """The rule's mask shows the last four; a row without consent shows at most what the column's mask shows."""
    rules = f"rules: [{{id: r, effect: mask, mask: {LAST_4}}}]"
    decision = ask(f"{BASE}\n{rules}\n", "app", "billing", READ, "people.id_number")
    assert (decision.outcome, decision.mask) == (MASK, Mask("partial", 0, 4))
    assert (decision.failed, decision.failed_mask) == (MASK, Mask("partial", 0, 1, min_length=15))
    assert decision.conditions == (ACCOUNT, EXPRESS)


# --- time and tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "suspended", "change"),
    [
        ("2025-12-31T23:59:59Z", set(), "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00Z", {"stopped"}, "2026-02-15T00:00:00Z"),
        ("2026-01-01T07:59:59+08:00", set(), "2026-01-01T00:00:00Z"),
        ("2026-02-15T00:00:00Z", {"stopped", "halted"}, "2026-03-01T00:00:00Z"),
        ("2026-03-01T00:00:00Z", {"halted"}, None),
        ("2036-01-01T00:00:00Z", {"halted"}, None),
    ],
)
def test_suspensions(now: str, suspended: set[str], change: str | None) -> None:
    moment = datetime.fromisoformat(now)
    found = {
        purpose
        for purpose in ("stopped", "halted", "research")
        if ask(BASE, "app", purpose, READ, "people.name", moment).outcome is REJECT
    }
    assert found == suspended
    assert next_change(policy_of(BASE), moment) == (change and datetime.fromisoformat(change))


def test_sources_are_the_protected_tables_that_are_not_classified() -> None:
    names = {name.relation for name in sources(policy_of(BASE))}
    assert names == {"consents", "guest_consents", "bills"}


def test_an_account_table_and_a_registry_are_sources() -> None:
    text = """
version: 1
subjects:
  person: {table: hr.people, key: id, account: {table: hr.accounts, subject: p, column: s, states: {active: [a]}}}
"""
    assert sources(policy_of(text)) == {Name("hr", "people"), Name("hr", "accounts")}


def test_the_fallback_role() -> None:
    text = BASE.replace("  narrow:", "  '*': {purposes: [research]}\n  narrow:")
    assert ask(text, "somebody", "research", READ, "people.name").outcome is ALLOW
    assert ask(text, "somebody", "billing", READ, "people.name").outcome is REJECT
    assert ask(text, "narrow", "research", READ, "people.name").outcome is REJECT


def test_a_rule_may_name_a_role_that_only_the_fallback_stands_for() -> None:
    text = BASE.replace("  narrow:", "  '*': {purposes: [research]}\n  narrow:")
    text += "rules: [{id: r, roles: [somebody], effect: nullify}]\n"
    assert ask(text, "somebody", "research", READ, "people.name").outcome is NULLIFY
    assert ask(text, "anybody", "research", READ, "people.name").outcome is ALLOW
