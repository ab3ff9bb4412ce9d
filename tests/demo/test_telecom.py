"""The sample database: complete, consistent, in every state that a policy knows, and equal for equal seeds."""

from __future__ import annotations

import pytest

from proxy.demo.cast import CAST
from proxy.demo.telecom import ROLES, load
from tests.fix_postgres import Database
from tests.fix_telecom import CALLS, SUBSCRIBERS, TODAY

TABLES = ("plans", "subscribers", "consents", "calls", "invoices", "invoice_lines")


def digest(database: Database) -> list[tuple[str, str]]:
    return [
        (
            table,
            database.execute(f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM public.{table} t")[0][0],
        )
        for table in TABLES
    ]


def test_equal_seeds_give_equal_rows(telecom: Database, database: Database) -> None:
    load(database.dsn(), subscribers=SUBSCRIBERS, calls=CALLS, today=TODAY)
    assert digest(database) == digest(telecom)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("SELECT count(*) FROM subscribers", SUBSCRIBERS),
        ("SELECT count(*) FROM calls", CALLS),
        ("SELECT count(DISTINCT status) FROM subscribers", 5),
        ("SELECT count(DISTINCT plan) FROM subscribers", 5),
        ("SELECT count(*) FROM calls WHERE started_at >= current_date + interval '1 day'", 0),
        ("SELECT count(*) FROM consents WHERE withdrawn_at < granted_at OR expires_at < granted_at", 0),
        ("SELECT count(*) FROM consents WHERE granted_at > current_date + interval '1 day'", 0),
        ("SELECT count(*) FROM invoices i JOIN subscribers s ON s.id = subscriber_id WHERE status = 'closed'", 0),
        ("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace", 5),
        ("SELECT count(*) FROM pg_index WHERE indrelid = 'public.subscribers'::regclass AND indisunique", 2),
        ("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%consents USING btree (subscriber_id, purpose)'", 1),
    ],
)  # fmt: skip
def test_rows(telecom: Database, question: str, answer: int) -> None:
    assert telecom.execute(question) == [(answer,)]


def test_invoices_are_the_sum_of_their_lines(telecom: Database) -> None:
    lines = "SELECT invoice_id, sum(amount) AS total FROM invoice_lines GROUP BY invoice_id"
    assert telecom.execute(f"SELECT id FROM invoices JOIN ({lines}) l ON invoice_id = id WHERE total <> amount") == []


@pytest.mark.parametrize(
    "condition",
    [
        "withdrawn_at IS NOT NULL",
        "expires_at IS NOT NULL",
        "notice_version < 3",
        "NOT is_express",
        "is_express AND withdrawn_at IS NULL AND expires_at IS NULL AND notice_version = 3",
    ],
)
def test_every_state_of_marketing_consent_occurs_often(telecom: Database, condition: str) -> None:
    ((count,),) = telecom.execute(f"SELECT count(*) FROM consents WHERE purpose = 'marketing' AND {condition}")
    assert count >= 10


def test_consents_have_a_history(telecom: Database) -> None:
    ((repeated,),) = telecom.execute(
        "SELECT count(*) FROM (SELECT 1 FROM consents GROUP BY subscriber_id, purpose HAVING count(*) > 1) x"
    )
    assert repeated >= 50


def test_the_cast_comes_first(telecom: Database) -> None:
    rows = telecom.execute(f"SELECT id, full_name, email, status FROM subscribers ORDER BY id LIMIT {len(CAST)}")
    assert rows == [tuple(member) for member in CAST]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_read_people_and_consents(telecom: Database, role: str) -> None:
    assert telecom.execute("SELECT count(*) FROM subscribers JOIN consents ON subscriber_id = subscribers.id", role)
