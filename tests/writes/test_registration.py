"""A subject that is registered and consents in one transaction: checked as a deferred constraint would be."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import asyncpg
import psycopg
import pytest

from tests.fix_postgres import Database
from tests.writes.conftest import Connect

REGISTER = "INSERT INTO subscribers (id, full_name, phone) VALUES (10, 'Bo Li', '139')"
CONSENT = "INSERT INTO consents (subscriber_id, purpose) VALUES (10, 'billing')"
CALL = "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 10, '137')"
BOTH = f"WITH s AS ({REGISTER} RETURNING id) INSERT INTO consents (subscriber_id, purpose) SELECT id, 'billing' FROM s"
PREPARE = "PREPARE register (int) AS INSERT INTO subscribers (id, full_name, phone) VALUES ($1, 'Bo Li', '139')"
SHOWN = "INSERT INTO contacts (phone, id, name) VALUES ('139', 10, 'Bo Li')"
LINE = "INSERT INTO lines (id, invoice_id, ship_to) SELECT 10, id, 'Main Street' FROM i"
BILLED = f"WITH i AS (INSERT INTO invoices VALUES (10, 1, 5) RETURNING id) {LINE}"
"""An invoice and its line, which reaches its subject by it."""
UNBILLED = BILLED.replace("(10, 1, 5)", "(10, 3, 5)")
ALL = (
    f"WITH s AS ({REGISTER} RETURNING id), i AS (INSERT INTO invoices SELECT 10, id, 5 FROM s RETURNING id),"
    f" c AS (INSERT INTO calls (id, subscriber_id, callee) SELECT 10, id, '137' FROM s) {LINE}"
)
ALL_CONSENTING = ALL.replace(
    f" {LINE}", f", a AS (INSERT INTO consents (subscriber_id, purpose) SELECT id, 'billing' FROM s) {LINE}"
)
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
    "an invoice with its line": Case((BILLED,), None, 0),
    "an invoice with its line, in a block": Case(("BEGIN", BILLED, "COMMIT"), None, 0),
    "an invoice with its line, of who does not consent": Case((UNBILLED,), 0, 0),
    "an invoice with its line, of who does not consent, in a block": Case(("BEGIN", UNBILLED, "COMMIT"), 2, 0),
    "an invoice with the line of another": Case((BILLED.replace("SELECT 10, id", "SELECT 10, 3"),), 0, 0),
    "an invoice with its line, prepared": Case(("PREPARE b AS " + BILLED, "EXECUTE b"), None, 0),
    "an invoice with its line, prepared, of who does not consent": Case(
        ("PREPARE b AS " + UNBILLED, "EXECUTE b"), 1, 0
    ),
    "through a view": Case(("BEGIN", SHOWN, CONSENT, "COMMIT"), None, 1),
    "through a view, not consenting": Case(("BEGIN", SHOWN, "COMMIT"), 2, 0),
    "through a view, outside of a block": Case((SHOWN,), 0, 0),
    "through a view, with the consent": Case((BOTH.replace(REGISTER, SHOWN),), None, 1),
    "all in one, consenting": Case((ALL_CONSENTING,), None, 1),
    "all in one, not consenting": Case((ALL,), 0, 0),
    "all in one, consenting after": Case(("BEGIN", ALL, CONSENT, "COMMIT"), None, 1),
    "all in one, consenting nowhere": Case(("BEGIN", ALL, "SELECT 1", "COMMIT"), 3, 0),
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
    "in one statement": Case((BOTH,), None, 1),
    "in one statement, to something else": Case((BOTH.replace("'billing'", "'names'"),), 0, 0),
    "in one statement, within a block": Case(("BEGIN", BOTH, "COMMIT"), None, 1),
    "in one statement, within a block, to something else": Case(
        ("BEGIN", BOTH.replace("'billing'", "'names'"), "COMMIT"), 2, 0
    ),
    "in one statement of several": Case((f"SELECT 1; {BOTH}; SELECT 2",), None, 1),
    "in one statement of several, to something else": Case(
        (f"SELECT 1; {BOTH}; SELECT 2;".replace("'billing'", "'names'"),), 0, 0
    ),
    "in one statement, with a comment behind": Case((f"{BOTH} -- and that was it",), None, 1),
    "prepared by SQL": Case(("BEGIN", PREPARE, "EXECUTE register (10)", CONSENT, "COMMIT"), None, 1),
    "prepared by SQL, not consenting": Case(("BEGIN", PREPARE, "EXECUTE register (10)", "COMMIT"), 3, 0),
    "prepared by SQL, outside of a block": Case((PREPARE, "EXECUTE register (10)"), 1, 0),
    "prepared by SQL, of several": Case((PREPARE, f"SELECT 1; EXECUTE register (10); {CONSENT}"), None, 1),
    "prepared by SQL, in one statement": Case((f"PREPARE register AS {BOTH}", "EXECUTE register"), None, 1),
    "prepared by SQL, in one statement, to something else": Case(
        (f"PREPARE register AS {BOTH}".replace("'billing'", "'names'"), "EXECUTE register"), 1, 0
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


WITH_BOTH = (
    "WITH s AS (INSERT INTO subscribers (id, full_name) VALUES (%s, 'Bo Li') RETURNING id)"
    " INSERT INTO consents (subscriber_id, purpose) SELECT id, %s FROM s"
)


@pytest.mark.parametrize("returning", ["", " RETURNING subscriber_id"])
def test_one_statement_of_the_extended_protocol(connect: Connect, direct: Database, returning: str) -> None:
    connection = connect("signup")
    done = connection.execute((WITH_BOTH + returning).encode(), (10, "billing"))
    assert done.statusmessage == "INSERT 0 1"
    assert not returning or done.fetchall() == [(10,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"consentry: writing public\."):
        connection.execute((WITH_BOTH + returning).encode(), (11, "names"))
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert direct.execute("SELECT id FROM subscribers WHERE id > 8") == [(10,)]
    assert connection.execute("SELECT full_name FROM subscribers WHERE id = 10").fetchall() == [("Bo Li",)]


def test_one_statement_amid_a_pipeline(connect: Connect, direct: Database) -> None:
    connection = connect("signup")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="consentry: writing"), connection.pipeline():
        before = connection.execute("UPDATE plans SET price = 11 WHERE code = 'basic'")
        first = connection.execute(WITH_BOTH.encode(), (10, "billing"))
        second = connection.execute(WITH_BOTH.encode(), (11, "names"))
        connection.execute("UPDATE plans SET price = 12")
    assert (before.statusmessage, first.statusmessage) == ("UPDATE 1", "INSERT 0 1")
    assert second.statusmessage is None
    assert direct.execute("SELECT id FROM subscribers WHERE id > 8") == []
    assert direct.execute("SELECT price FROM plans WHERE code = 'basic'") == [(10,)]


@pytest.mark.parametrize("to", ["billing", "names"])
def test_the_first_row_of_one_statement(direct: Database, address: tuple[str, int], to: str) -> None:
    """asyncpg asks for one row only: all are written and checked by then, and it is done only afterwards."""

    async def conversation() -> None:
        connection = await asyncpg.connect(direct.through(*address, "signup"))
        text = WITH_BOTH.replace("VALUES (%s, 'Bo Li')", "SELECT n, 'Bo Li' FROM generate_series(10, 14) n")
        text = text.replace("%s", "$1") + " RETURNING subscriber_id"
        if to == "billing":
            assert await connection.fetchrow(text, to) == (10,)
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="consentry: writing"):
                await connection.fetchrow(text, to)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    asyncio.run(conversation())
    assert direct.execute("SELECT count(*) FROM subscribers WHERE id > 8") == [(5 if to == "billing" else 0,)]
