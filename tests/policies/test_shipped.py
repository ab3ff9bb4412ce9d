"""The shipped packs and the sample policy: clean, enforced, and saying what the law and the demonstration need."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from proxy.masks import Mask
from proxy.policy import packs
from proxy.policy.decision import decide
from proxy.policy.loader import load
from proxy.policy.model import (
    AccountCondition,
    Category,
    ConsentCondition,
    Name,
    Outcome,
    Policy,
    RetentionCondition,
    SelfCondition,
    Sensitivity,
    SubjectLink,
    Use,
    Via,
)
from tests.policy.policies import policy_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def shipped(name: str) -> Policy:
    path = packs.path(name)
    assert path is not None
    loaded = load(path)
    assert loaded.report() == ()
    assert loaded.policy is not None
    return loaded.policy


@pytest.mark.parametrize("name", ["cn-miit-2013", "cn-pipl-2021", "eu-gdpr", "telecom"])
def test_is_clean_and_has_nothing_unenforced(name: str) -> None:
    assert shipped(name).name == name


def test_names_are_those_of_the_folder() -> None:
    assert packs.names() == ("cn-miit-2013", "cn-pipl-2021", "eu-gdpr", "telecom")
    assert packs.path("../telecom") is None
    assert packs.path("unknown") is None


@pytest.mark.parametrize(
    ("category", "sensitivity", "mask"),
    [
        ("name", Sensitivity.GENERAL, "name"),
        ("birth_date", Sensitivity.GENERAL, "year"),
        ("id_number", Sensitivity.SENSITIVE, "id_card"),
        ("address", Sensitivity.GENERAL, "address"),
        ("telephone_number", Sensitivity.GENERAL, "phone"),
        ("account_number", Sensitivity.GENERAL, "partial"),
        ("password", Sensitivity.SENSITIVE, "nullify"),
        ("login_time", Sensitivity.GENERAL, "month"),
        ("login_location", Sensitivity.SENSITIVE, "redact"),
    ],
)
def test_miit_names_what_article_4_names(category: str, sensitivity: Sensitivity, mask: str) -> None:
    found = shipped("cn-miit-2013").categories[category]
    assert (found.sensitivity, found.mask.kind) == (sensitivity, mask)


def test_a_pack_can_be_extended_with_less() -> None:
    """The stricter of two packs holds."""
    text = "version: 1\nextends: [cn-miit-2013, eu-gdpr]\ncontact: {email: a@example.com}\n"
    assert policy_of(text).categories["id_number"] == Category("id_number", Sensitivity.SENSITIVE, Mask("id_card"))


# --- the sample -------------------------------------------------------------------------------------------------------

ACTIVE = AccountCondition("subscriber", frozenset({"active"}))
OPEN = AccountCondition("subscriber", frozenset({"active", "paused"}))
KNOWN = AccountCondition("subscriber", frozenset({"active", "paused", "closed", "ported_out"}))


def consent(purpose: str, *, express: bool = False) -> ConsentCondition:
    return ConsentCondition("subscriber", purpose, express, notice_version=3)


@pytest.mark.parametrize(
    ("role", "purpose", "column", "outcome", "conditions"),
    [
        ("analyst", "marketing", "phone", Outcome.ALLOW, (ACTIVE, consent("marketing"))),
        ("analyst", "marketing", "id_number", Outcome.ALLOW, (ACTIVE, consent("marketing", express=True))),
        ("analyst", "marketing", "address", Outcome.MASK, ()),
        ("analyst", None, "phone", Outcome.MASK, ()),
        ("analyst", "billing", "phone", Outcome.REJECT, ()),
        ("analyst", "marketing", "password_hash", Outcome.NULLIFY, ()),
        ("partner", "marketing", "phone", Outcome.MASK, ()),
        ("billing_app", "billing", "phone", Outcome.ALLOW, (OPEN, consent("billing"))),
        ("support", "support", "id_number", Outcome.MASK, (OPEN, consent("support", express=True))),
        ("self_care_app", "self_care", "id_number", Outcome.ALLOW, (KNOWN, SelfCondition("subscriber"))),
        ("self_care_app", "self_care", "password_hash", Outcome.NULLIFY, ()),
        ("migrator", None, "full_name", Outcome.MASK, ()),
    ],
)
def test_the_sample_reads(
    role: str, purpose: str | None, column: str, outcome: Outcome, conditions: tuple[object, ...]
) -> None:
    decision = decide(shipped("telecom"), role, purpose, Use.READ, Name("public", "subscribers"), column, NOW)
    assert (decision.outcome, decision.conditions) == (outcome, conditions)


def test_the_sample_shows_support_the_last_four_of_an_id_number() -> None:
    table = Name("public", "subscribers")
    decision = decide(shipped("telecom"), "support", "support", Use.READ, table, "id_number", NOW)
    assert (decision.mask, decision.rule) == (Mask("partial", 0, 4), "support-last-4")


def test_the_sample_lets_calls_grow_old() -> None:
    calls = shipped("telecom").tables[Name("public", "calls")]
    assert calls.retention is not None
    decision = decide(shipped("telecom"), "self_care_app", "self_care", Use.READ, calls.name, "cell", NOW)
    assert RetentionCondition("started_at", calls.retention.keep) in decision.conditions


def test_the_sample_reaches_subscribers_through_invoices() -> None:
    lines = shipped("telecom").tables[Name("public", "invoice_lines")]
    assert lines.subject == SubjectLink("subscriber", None, Via(Name("public", "invoices"), "invoice_id", "id"))


def test_the_digest_changes_with_any_file() -> None:
    digests = {shipped(name).digest for name in packs.names()}
    assert len(digests) == len(packs.names())
    assert all(len(digest) == 64 for digest in digests)
