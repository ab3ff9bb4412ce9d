"""The scenes of the tour: what different people see of the same rows, and why. Each fails unless it shows just that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy.demo.cast import (
    AGREED,
    CLOSED,
    EXPIRED,
    LEGAL_HOLD,
    NEVER_ASKED,
    NOT_EXPRESS,
    OLD_NOTICE,
    PAUSED,
    PORTED_OUT,
    WITHDRAWS,
    WITHDREW,
    Member,
)
from proxy.demo.stage import Stage

WHO = ("full_name", "phone")


class Scene(NamedTuple):
    """One scene; `why` is what the policy says, in a sentence."""

    title: str
    why: str
    play: Callable[[Stage], None]


def consented(stage: Stage) -> None:
    people = select("id, full_name, phone", AGREED, WITHDREW, EXPIRED, OLD_NOTICE, NEVER_ASKED)
    with stage.session("analyst", purpose="marketing") as session:
        session.sees(people, hidden={member.id: WHO for member in (WITHDREW, EXPIRED, OLD_NOTICE, NEVER_ASKED)})


def withdrawn(stage: Stage) -> None:
    person = select("id, full_name, phone", WITHDRAWS)
    consent = f"WHERE subscriber_id = {WITHDRAWS.id} AND purpose = 'marketing'"
    with stage.session("analyst", purpose="marketing") as session:
        session.sees(person, hidden={})
        stage.direct(f"UPDATE consents SET withdrawn_at = now() {consent}")
        try:
            session.sees(person, hidden={WITHDRAWS.id: WHO})
        finally:
            stage.direct(f"UPDATE consents SET withdrawn_at = NULL {consent}")
        session.sees(person, hidden={})


def closed(stage: Stage) -> None:
    people = select("id, full_name, phone, status", AGREED, PAUSED, CLOSED, PORTED_OUT, LEGAL_HOLD)
    with stage.session("billing_app", purpose="billing") as session:
        session.sees(people, hidden={member.id: WHO for member in (CLOSED, PORTED_OUT, LEGAL_HOLD)})


def sensitive(stage: Stage) -> None:
    people = select("id, full_name, id_number", AGREED, NOT_EXPRESS)
    with stage.session("analyst", purpose="marketing") as session:
        session.sees(people, hidden={NOT_EXPRESS.id: ("id_number",)})


def out_of_scope(stage: Stage) -> None:
    with stage.session("analyst", purpose="marketing") as session:
        session.sees(select("id, full_name, email, address", AGREED), hidden={AGREED.id: ("email", "address")})


def third_party(stage: Stage) -> None:
    person = select("id, full_name, phone", AGREED)
    with stage.session("partner", purpose="marketing") as session:
        session.sees(person, hidden={AGREED.id: WHO})


def undeclared(stage: Stage) -> None:
    with stage.session("analyst") as session:
        session.sees(select("id, full_name, phone", AGREED), hidden={AGREED.id: WHO})


def self_service(stage: Stage) -> None:
    columns = ("full_name", "phone", "id_number")
    people = select(f"id, {', '.join(columns)}", AGREED, WITHDRAWS)
    with stage.session("self_care_app", purpose="self_care", subject=f"subscriber:{AGREED.id}") as session:
        session.sees(people, hidden={WITHDRAWS.id: columns})


def past_retention(stage: Stage) -> None:
    (span,) = stage.stored(f"SELECT min(id), max(id) FROM calls WHERE subscriber_id = {AGREED.id}").rows
    oldest, newest = span
    calls = f"SELECT id, callee, started_at::date FROM calls WHERE id IN ({oldest}, {newest}) ORDER BY id"
    with stage.session("analyst", purpose="marketing") as session:
        session.sees(calls, hidden={oldest: ("callee",)})


def filters(stage: Stage) -> None:
    ((number,),) = stage.stored(f"SELECT phone FROM subscribers WHERE id = {WITHDREW.id}").rows
    with stage.session("analyst", purpose="marketing") as session:
        session.finds(
            f"SELECT id, full_name FROM subscribers WHERE phone = '{number}'", rows=[], verdicts={"mask", "allow"}
        )


def refused(stage: Stage) -> None:
    with stage.session("analyst", purpose="marketing") as session:
        session.is_refused(f"/*purpose='billing'*/ {select('full_name, phone', AGREED)}")


def unclassified(stage: Stage) -> None:
    query = "SELECT code, name, monthly_fee FROM plans ORDER BY monthly_fee LIMIT 2"
    with stage.session("analyst") as session:
        session.finds(query, stage.stored(query).rows, verdicts={"pass"})


def select(columns: str, *members: Member) -> str:
    """Reads some columns of some people."""
    ids = ", ".join(str(member.id) for member in members)
    condition = f"= {ids}" if len(members) == 1 else f"IN ({ids}) ORDER BY id"
    return f"SELECT {columns} FROM subscribers WHERE id {condition}"


SCENES = (
    Scene(
        "Marketing, with and without consent",
        "Subscriber 1 agreed; 5 withdrew, 6 let it expire, 7 agreed to an outdated notice, 11 was never asked.",
        consented,
    ),
    Scene(
        "Consent withdrawn a moment ago",
        "Consent is judged in each statement's own snapshot, so the very next statement masks, in the same session.",
        withdrawn,
    ),
    Scene(
        "Closed accounts",
        "Use ends with the service: 3 closed the account, 9 took the number elsewhere, 10 is frozen; 8 only paused.",
        closed,
    ),
    Scene(
        "Sensitive information without express consent",
        "Subscriber 4 agreed, but never expressly; that is enough for the name and not for the ID number.",
        sensitive,
    ),
    Scene(
        "Outside the purpose's scope",
        "E-mail and postal address are not among what marketing may use, whatever people agreed to.",
        out_of_scope,
    ),
    Scene(
        "A recipient who is a third party",
        "The partner is granted marketing, but nobody agreed to disclosure.",
        third_party,
    ),
    Scene("No purpose declared", "Who does not say why sees masks.", undeclared),
    Scene("Self-service", "Access to one's own data is a right; everybody else's stays hidden.", self_service),
    Scene("Past its retention", "Calls may be used for 180 days; the older one of the two is not.", past_retention),
    Scene("What is masked cannot be searched either", "A masked number does not match itself.", filters),
    Scene("A refusal", "The analyst claims a purpose that the policy does not grant.", refused),
    Scene("Unclassified tables", "A statement that reaches nothing personal passes byte for byte.", unclassified),
)
