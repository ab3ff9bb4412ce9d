"""What a write may rest on while others change it: sessions that take turns, at each isolation level."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.writes.conftest import Connect

CALL = "INSERT INTO calls (id, subscriber_id, callee) VALUES (%s, 1, '139')"
COPY = "COPY calls (id, subscriber_id, callee, started_at) FROM STDIN"
WITHDRAW = "UPDATE consents SET withdrawn_at = now() - interval '1 second' WHERE subscriber_id = 1"
CLOSE = "UPDATE subscribers SET status = 'closed' WHERE id = 1"
LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
Refused = psycopg.errors.InsufficientPrivilege


@pytest.mark.parametrize("change", [WITHDRAW, CLOSE], ids=["withdrawn", "closed"])
def test_read_committed_goes_by_what_was_committed_before_the_statement(
    connect: Connect, direct: Database, change: str
) -> None:
    writer = connect("billing")
    writer.execute("BEGIN")
    writer.execute(CALL, (10,))
    direct.execute(change)
    with pytest.raises(Refused):
        writer.execute(CALL, (11,))
    writer.execute("ROLLBACK")
    with pytest.raises(Refused):
        writer.execute(CALL, (12,))


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("change", [WITHDRAW, CLOSE], ids=["withdrawn", "closed"])
def test_a_snapshot_holds_to_the_end_of_its_transaction(
    connect: Connect, direct: Database, level: str, change: str
) -> None:
    writer = connect("billing")
    writer.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    writer.execute(CALL, (10,))
    direct.execute(change)
    writer.execute(CALL, (11,))
    writer.execute("COMMIT")
    with pytest.raises(Refused):
        writer.execute(CALL, (12,))
    assert direct.execute("SELECT count(*) FROM calls WHERE id >= 10") == [(2,)]


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_over_by_the_clock_is_over_in_every_snapshot(connect: Connect, direct: Database, level: str) -> None:
    direct.execute("UPDATE consents SET expires_at = clock_timestamp() + interval '1 second' WHERE subscriber_id = 1")
    writer = connect("billing")
    writer.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    writer.execute(CALL, (10,))
    time.sleep(1.1)
    with pytest.raises(Refused):
        writer.execute(CALL, (11,))


def test_a_statement_that_waits_for_a_row_is_checked_as_of_its_beginning(connect: Connect, direct: Database) -> None:
    """The row is the newest, the consent that of the statement's snapshot: from the next statement on it is gone."""
    writer = connect("billing")
    with direct.connect() as other:
        other.execute("BEGIN")
        other.execute("UPDATE calls SET seconds = 1 WHERE id = 1")
        other.execute(WITHDRAW)
        done = threading.Thread(target=lambda: writer.execute("UPDATE calls SET callee = '140' WHERE id = 1"))
        done.start()
        while not direct.execute("SELECT 1 FROM pg_locks WHERE NOT granted"):
            time.sleep(0.02)
        other.execute("COMMIT")
        done.join(10)
    assert direct.execute("SELECT callee, seconds FROM calls WHERE id = 1") == [("140", 1)]
    with pytest.raises(Refused):
        writer.execute("UPDATE calls SET callee = '141' WHERE id = 1")


@pytest.mark.parametrize("change", [WITHDRAW, CLOSE], ids=["withdrawn", "closed"])
def test_a_load_is_checked_when_its_rows_are_stored(connect: Connect, direct: Database, change: str) -> None:
    writer = connect("billing")
    with pytest.raises(Refused), writer.cursor().copy(COPY) as copy:
        copy.write(b"10\t1\t139\t2126-01-01\n")
        direct.execute(change)
    assert direct.execute("SELECT count(*) FROM calls WHERE id >= 10") == [(0,)]


def registering(connect: Connect, level: str) -> psycopg.Connection[tuple[object, ...]]:
    """A session that has registered somebody whose consent is there already, and has not committed."""
    session = connect("signup")
    session.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    session.execute("INSERT INTO subscribers (id, full_name) VALUES (20, 'Bob')")
    return session


@pytest.fixture
def early(direct: Database) -> Database:
    """Consents that may be given before the subject is registered."""
    direct.execute("ALTER TABLE consents DROP CONSTRAINT IF EXISTS consents_subscriber_id_fkey")
    direct.execute("DELETE FROM consents WHERE subscriber_id = 20")
    return direct


GIVE = "INSERT INTO consents (subscriber_id, purpose, is_express) VALUES (20, 'billing', true)"
TAKE = "UPDATE consents SET withdrawn_at = now() - interval '1 second' WHERE subscriber_id = 20"


@pytest.mark.parametrize("level", LEVELS)
def test_consent_given_by_another_session_before_commit(connect: Connect, early: Database, level: str) -> None:
    """READ COMMITTED sees it at COMMIT; the others go by the snapshot with which they began."""
    session = registering(connect, level)
    early.execute(GIVE)
    if level == "READ COMMITTED":
        session.execute("COMMIT")
    else:
        with pytest.raises(Refused):
            session.execute("COMMIT")
    assert early.execute("SELECT count(*) FROM subscribers WHERE id = 20") == [(int(level == "READ COMMITTED"),)]


@pytest.mark.parametrize("level", LEVELS)
def test_consent_withdrawn_by_another_session_before_commit(connect: Connect, early: Database, level: str) -> None:
    session = connect("signup")
    session.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    session.execute("INSERT INTO subscribers (id, full_name) VALUES (20, 'Bob')")
    session.execute(GIVE)
    assert early.execute(TAKE) == []  # it sees nothing of it yet, so there is nothing to withdraw
    session.execute("COMMIT")
    early.execute(TAKE)
    with pytest.raises(Refused):
        session.execute("UPDATE subscribers SET full_name = 'Rob' WHERE id = 20")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
def test_two_registrations_of_the_same_person(connect: Connect, direct: Database, level: str, ends: str) -> None:
    """The registry's key decides, as it would without consentry: the second waits for the first."""
    first, second = registering(connect, level), connect("signup")
    first.execute(GIVE)
    second.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    failed: list[psycopg.Error] = []

    def register() -> None:
        try:
            second.execute("INSERT INTO subscribers (id, full_name) VALUES (20, 'Bob')")
            second.execute(GIVE)
            second.execute("COMMIT")
        except psycopg.Error as error:
            failed.append(error)

    waiting = threading.Thread(target=register)
    waiting.start()
    while not direct.execute("SELECT 1 FROM pg_locks WHERE NOT granted"):
        time.sleep(0.02)
    first.execute(ends)
    waiting.join(10)
    assert [error.sqlstate for error in failed] == (["23505"] if ends == "COMMIT" else [])
    assert direct.execute("SELECT count(*) FROM subscribers WHERE id = 20") == [(1,)]


@pytest.mark.parametrize("level", LEVELS)
def test_a_withdrawal_between_check_and_commit_comes_after_the_write(
    connect: Connect, direct: Database, level: str
) -> None:
    """Both are stored, in an order in which the write was allowed; from then on nobody sees what was written."""
    writer = connect("billing")
    writer.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    writer.execute(CALL, (10,))
    with direct.connect() as other:
        other.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        other.execute(WITHDRAW)
        other.execute("COMMIT")
    writer.execute("COMMIT")
    assert writer.execute("SELECT callee FROM calls WHERE id = 10").fetchall() == [("****",)]
