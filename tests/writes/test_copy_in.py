"""COPY FROM STDIN: whose rows may be stored, in every format."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
import pytest
from psycopg.rows import tuple_row

from proxy.wire.copy_binary import SIGNATURE
from tests.fix_postgres import Database
from tests.writes.conftest import Connect


def binary(*rows: tuple[bytes | None, ...]) -> bytes:
    body = b""
    for row in rows:
        body += len(row).to_bytes(2, "big")
        body += b"".join(b"\xff" * 4 if cell is None else len(cell).to_bytes(4, "big") + cell for cell in row)
    return SIGNATURE + bytes(8) + body + b"\xff\xff"


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


class Load(NamedTuple):
    """``expect``: how many rows were stored, or an SQLSTATE with words of the error."""

    role: str
    sql: str
    data: bytes
    expect: int | str


CALLS = "COPY calls (id, subscriber_id, callee, started_at) FROM STDIN"
NOW = b"2126-01-01"
LOADS = {
    "calls of who consents": Load("billing", CALLS, b"10\t1\t139\t%b\n11\t2\t\\N\t%b\n" % (NOW, NOW), 2),
    "one of who has withdrawn": Load(
        "billing", CALLS, b"10\t1\t139\t%b\n11\t3\t139\t%b\n" % (NOW, NOW), "42501 consent"
    ),
    "of a closed account": Load("billing", CALLS, b"10\t6\t139\t%b\n" % NOW, "42501 account"),
    "of nobody": Load("billing", CALLS, b"10\t\\N\t139\t%b\n" % NOW, "42501 consent"),
    "past its retention": Load("billing", CALLS, b"10\t1\t139\t2001-01-01\n", "42501 retention"),
    "without personal information": Load(
        "billing", "COPY calls (id, subscriber_id, seconds) FROM STDIN", b"10\t3\t60\n11\t\\N\t60\n", 2
    ),
    "with NULL in the place of it": Load("billing", CALLS, b"10\t3\t\\N\t%b\n" % NOW, 1),
    "of all columns": Load("billing", "COPY calls FROM STDIN", b"10\t1\t139\t%b\t1\tcell\n" % NOW, 1),
    "without the column that retention asks for": Load(
        "billing", "COPY calls (id, subscriber_id, callee) FROM STDIN", b"10\t1\t139\n", "0A000 started_at"
    ),
    "without the subject's key": Load(
        "billing", "COPY calls (id, callee, started_at) FROM STDIN", b"10\t139\t%b\n" % NOW, "0A000 subscriber_id"
    ),
    "a subject's key that an option makes NULL": Load(
        "billing",
        CALLS + " (FORMAT csv, NULL '1', FORCE_NULL (subscriber_id))",
        b'10,"1",139,%b\n' % NOW,
        "0A000 subscriber_id",
    ),
    "a value that an option makes NULL": Load(
        "billing", CALLS + " (FORMAT csv, NULL 'x', FORCE_NULL (callee))", b'10,1,"x",%b\n' % NOW, 1
    ),
    "CSV": Load(
        "billing",
        CALLS + " (FORMAT csv, HEADER)",
        b'id,subscriber_id,callee,started_at\r\n10,"1","1,3",%b\r\n11,2,,%b\r\n' % (NOW, NOW),
        2,
    ),
    "CSV, refused": Load("billing", CALLS + " CSV", b'10,1,,%b\n11,"3",139,%b\n' % (NOW, NOW), "42501 consent"),
    "CSV without consent, and with NULL": Load("billing", CALLS + " CSV", b"10,3,,%b\n" % NOW, 1),
    "binary": Load(
        "billing",
        "COPY lines (id, invoice_id, ship_to) FROM STDIN (FORMAT binary)",
        binary((number(10), number(1), b"Street"), (number(11), number(3), None)),
        2,
    ),
    "binary, refused": Load(
        "billing",
        "COPY lines (id, invoice_id, ship_to) FROM STDIN WITH BINARY",
        binary((number(10), number(1), b"Street"), (number(11), number(3), b"Street")),
        "42501 consent",
    ),
    "by way of another table": Load("billing", "COPY lines FROM STDIN", b"10\t2\tStreet\t1\n", 1),
    "by way of another table, refused": Load(
        "billing", "COPY lines FROM STDIN", b"10\t8\tStreet\t1\n", "42501 consent"
    ),
    "into a partition": Load("billing", "COPY moves FROM STDIN", b"10\t1\tStreet\t2030\n11\t2\tStreet\t2001\n", 2),
    "into a partition, refused": Load(
        "billing", "COPY moves_new FROM STDIN", b"10\t3\tStreet\t2030\n", "42501 consent"
    ),
    "a column that is not among the purpose's": Load(
        "billing/names", "COPY lines FROM STDIN", b"10\t1\tStreet\t1\n", "42501 out of scope"
    ),
    "by a role without purposes": Load("nobody", CALLS, b"10\t1\t139\t%b\n" % NOW, "42501 no purpose"),
    "by whom the law obliges": Load("clerk", CALLS, b"10\t8\t139\t%b\n" % NOW, 1),
    "of oneself": Load("myself/care/1", "COPY lines FROM STDIN", b"10\t1\tStreet\t1\n", 1),
    "of another": Load("myself/care/1", "COPY lines FROM STDIN", b"10\t2\tStreet\t1\n", "42501 self"),
    "subscribers who cannot have consented": Load(
        "signup", "COPY subscribers (id, full_name) FROM STDIN", b"20\tBob\n", "42501 consent"
    ),
    "subscribers by whom the law obliges": Load(
        "clerk", "COPY subscribers (id, full_name) FROM STDIN", b"20\tBob\n", 1
    ),
    "subscribers whose account is closed": Load(
        "support", "COPY subscribers (id, full_name, status) FROM STDIN", b"20\tBob\tclosed\n", "42501 account"
    ),
    "consents by who manages them": Load(
        "signup", "COPY consents (subscriber_id, purpose) FROM STDIN", b"8\tbilling\n", 1
    ),
    "consents by another": Load(
        "billing", "COPY consents (subscriber_id, purpose) FROM STDIN", b"8\tbilling\n", "42501 manages subscriber"
    ),
    "rows that WHERE leaves out are checked too": Load(
        "billing", CALLS + " WHERE subscriber_id < 3", b"10\t1\t139\t%b\n11\t3\t139\t%b\n" % (NOW, NOW), "42501 consent"
    ),
    "WHERE": Load("billing", CALLS + " WHERE id < 11", b"10\t1\t139\t%b\n11\t1\t139\t%b\n" % (NOW, NOW), 1),
    "a default that stands for a value": Load("billing", CALLS + " (DEFAULT 'd')", b"10\t1\t139\td\n", "0A000 DEFAULT"),
    "what is no row": Load("billing", CALLS, b"10\t1\t139\n", "22P04 missing data"),
    "no number": Load("billing", CALLS, b"10\tx\t139\t%b\n" % NOW, "22P02"),
    "a table that nobody protects": Load("billing", "COPY plans FROM STDIN", b"new\t1\n", 1),
}


def load(connection: psycopg.Connection[tuple[object, ...]], sql: str, data: bytes) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        with cursor.copy(sql.encode()) as copy:
            copy.write(data)
        return cursor.rowcount


@pytest.mark.parametrize("name", LOADS)
def test_loads(connect: Connect, direct: Database, name: str) -> None:
    case = LOADS[name]
    role, *declared = case.role.split("/")
    table = case.sql.split()[1]
    before = direct.execute(f"SELECT count(*) FROM {table}")
    connection = connect(role, **dict(zip(("purpose", "subject"), declared, strict=False)))
    if isinstance(case.expect, int):
        assert load(connection, case.sql, case.data) == case.expect
        assert direct.execute(f"SELECT count(*) - {case.expect} FROM {table}") == before
        return
    sqlstate, _, words = case.expect.partition(" ")
    with pytest.raises(psycopg.Error) as raised:
        load(connection, case.sql, case.data)
    error = raised.value.diag
    said = f"{error.message_primary} {error.message_detail} {error.message_hint}"
    assert (error.sqlstate, words in said) == (sqlstate, True), said
    assert direct.execute(f"SELECT count(*) FROM {table}") == before
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


REGISTERED = b"20\tBob\t139\n21\tEve\t140\n"
SUBSCRIBERS = "COPY subscribers (id, full_name, phone) FROM STDIN"
CONSENTS = "COPY consents (subscriber_id, purpose) FROM STDIN"


def test_registration_in_one_transaction(connect: Connect, direct: Database) -> None:
    connection = connect("signup")
    with connection.transaction():
        assert load(connection, SUBSCRIBERS, REGISTERED) == 2
        assert load(connection, CALLS, b"10\t20\t139\t%b\n" % NOW) == 1
        assert load(connection, CONSENTS, b"20\tbilling\n21\tbilling\n") == 2
    assert direct.execute("SELECT id FROM subscribers WHERE id >= 20 ORDER BY id") == [(20,), (21,)]


def test_registration_without_consent_fails_at_commit(connect: Connect, direct: Database) -> None:
    connection = connect("signup")
    connection.execute("BEGIN")
    load(connection, SUBSCRIBERS, REGISTERED)
    load(connection, CONSENTS, b"20\tbilling\n")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="writing public"):
        connection.execute("COMMIT")
    assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    assert direct.execute("SELECT count(*) FROM subscribers WHERE id >= 20") == [(0,)]


def test_what_a_savepoint_takes_back_is_not_asked_for(connect: Connect, direct: Database) -> None:
    connection = connect("signup")
    with connection.transaction():
        with pytest.raises(ZeroDivisionError), connection.transaction():
            load(connection, SUBSCRIBERS, REGISTERED)
            raise ZeroDivisionError
        load(connection, "COPY plans FROM STDIN", b"new\t1\n")
    assert direct.execute("SELECT count(*) FROM plans") == [(3,)]


def test_a_refusal_is_audited_and_tells_no_secret(connect: Connect) -> None:
    connection = connect("billing")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
        load(connection, CALLS, b"10\t3\t139\t%b\n" % NOW)
    error = raised.value.diag
    assert error.message_primary == "consentry: writing public.calls.callee is not allowed"
    assert "audit event" in (error.message_detail or "")
    assert "privacy@example.com" in (error.message_hint or "")
    assert error.context is None
