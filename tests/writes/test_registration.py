"""A subject that is registered and consents in one transaction: checked as a deferred constraint would be."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.writes.conftest import Connect

REGISTER = "INSERT INTO subscribers (id, full_name, phone) VALUES (10, 'Bo Li', '139')"
CONSENT = "INSERT INTO consents (subscriber_id, purpose) VALUES (10, 'billing')"
CALL = "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 10, '137')"
SENSITIVE = "UPDATE subscribers SET id_number = 'x' WHERE id = 10"


class Case(NamedTuple):
    """``fails``: the statement, counted from 0, that is refused; None if none is. ``left``: new subscribers."""

    statements: tuple[str, ...]
    fails: int | None
    left: int


CASES = {
    "consenting after": Case(("BEGIN", REGISTER, CONSENT, "COMMIT"), None, 1),
    "not consenting": Case(("BEGIN", REGISTER, "COMMIT"), 2, 0),
    "not consenting, and END": Case(("BEGIN", REGISTER, "SELECT 1", "END"), 3, 0),
    "outside of a block": Case((REGISTER,), 0, 0),
    "outside of a block, without personal information": Case(("INSERT INTO subscribers (id) VALUES (10)",), None, 1),
    "with a call": Case(("BEGIN", REGISTER, CALL, CONSENT, "COMMIT"), None, 1),
    "a call, not consenting": Case(("BEGIN", REGISTER, CALL, "COMMIT"), 3, 0),
    "a call, where nothing else is said of them": Case(
        ("BEGIN", "INSERT INTO subscribers (id) VALUES (10)", CALL, "COMMIT"), 3, 0
    ),
    "a call, consenting, where nothing else is said of them": Case(
        ("BEGIN", "INSERT INTO subscribers (id) VALUES (10)", CALL, CONSENT, "COMMIT"), None, 1
    ),
    "a call of another": Case(
        ("BEGIN", REGISTER, "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 3, '137')", "ROLLBACK"), 2, 0
    ),
    "sensitive, without express consent": Case(("BEGIN", REGISTER, CONSENT, SENSITIVE, "COMMIT"), 4, 0),
    "sensitive, with express consent": Case(
        (
            "BEGIN",
            REGISTER,
            CONSENT,
            SENSITIVE,
            "UPDATE consents SET is_express = true WHERE subscriber_id = 10",
            "COMMIT",
        ),
        None,
        1,
    ),
    "a closed account": Case(
        ("BEGIN", "INSERT INTO subscribers (id, phone, status) VALUES (10, '139', 'closed')", "ROLLBACK"), 1, 0
    ),
    "rolled back": Case(("BEGIN", REGISTER, "ROLLBACK"), None, 0),
    "rolled back to a savepoint": Case(("BEGIN", "SAVEPOINT s", REGISTER, "ROLLBACK TO s", "COMMIT"), None, 0),
    "released": Case(("BEGIN", "SAVEPOINT s", REGISTER, "RELEASE s", "COMMIT"), 4, 0),
    "consent rolled back": Case(("BEGIN", REGISTER, "SAVEPOINT s", CONSENT, "ROLLBACK TO s", "COMMIT"), 5, 0),
    "registered and gone": Case(("BEGIN", REGISTER, "DELETE FROM subscribers WHERE id = 10", "COMMIT"), 3, 0),
    "one of two": Case(
        (
            "BEGIN",
            REGISTER,
            "INSERT INTO subscribers (id, phone) VALUES (11, '136')",
            CONSENT,
            "COMMIT",
        ),
        4,
        0,
    ),
    "in one message": Case((f"BEGIN; {REGISTER}; {CONSENT}; COMMIT",), None, 1),
    "in one message, not consenting": Case((f"BEGIN; {REGISTER}; COMMIT",), 0, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_registration(connect: Connect, direct: Database, name: str) -> None:
    case = CASES[name]
    connection = connect("signup")
    for index, statement in enumerate(case.statements):
        if index != case.fails:
            connection.execute(statement.encode())
            continue
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"consentry: writing public\.") as raised:
            connection.execute(statement.encode())
        assert "consent" in (raised.value.diag.message_detail or "") or "account" in str(raised.value)
    connection.rollback()
    assert direct.execute("SELECT count(*) FROM subscribers WHERE id > 8") == [(case.left,)]
