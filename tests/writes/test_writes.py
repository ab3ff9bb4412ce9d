"""Who may write what: each case on a fresh database, every other one by the extended protocol."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
import pytest
from psycopg.rows import tuple_row

from tests.fix_postgres import Database
from tests.writes.conftest import Connect


class Case(NamedTuple):
    """``role`` may be followed by a purpose: ``billing/names``. ``expect`` is the command tag, rows as text after it,
    or an SQLSTATE with words of the error. ``then``: a query on the database itself, and its rows. ``since``: the
    major version of PostgreSQL with which that works."""

    role: str
    sql: str
    expect: str
    then: tuple[str, str] | None = None
    since: int = 14


PHONE_OF = "SELECT phone FROM subscribers WHERE id = "
CASES = {
    # --- INSERT
    "a call of who consents": Case(
        "billing", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 1, '139')", "INSERT 0 1"
    ),
    "several, one of who has withdrawn": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 1, '139'), (11, 3, '139')",
        "42501 writing public.calls.callee is not allowed",
        ("SELECT count(*) FROM calls", "8"),
    ),
    **{
        f"a call of who {why}": Case(
            "billing", f"INSERT INTO calls (id, subscriber_id, callee) VALUES (10, {who}, '139')", "42501 consent"
        )
        for who, why in {3: "has withdrawn", 4: "let it expire", 5: "saw an old notice", 8: "never consented"}.items()
    },
    "a call of a closed account": Case(
        "billing", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 6, '139')", "42501 account"
    ),
    "a call of a frozen account": Case(
        "billing", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 7, '139')", "42501 account"
    ),
    "a call of nobody": Case(
        "billing", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, NULL, '139')", "42501 consent"
    ),
    "a call without personal information": Case(
        "billing", "INSERT INTO calls (id, subscriber_id, seconds) VALUES (10, 3, 60)", "INSERT 0 1"
    ),
    "a call with a NULL": Case(
        "billing", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 3, NULL)", "INSERT 0 1"
    ),
    "a call past its retention": Case(
        "billing", "INSERT INTO calls VALUES (10, 1, '139', now() - interval '200 days', 1, NULL)", "42501 retention"
    ),
    "a line, through its invoice": Case("billing", "INSERT INTO lines VALUES (10, 1, 'Road', 1)", "INSERT 0 1"),
    "a line of who has withdrawn": Case("billing", "INSERT INTO lines VALUES (10, 3, 'Road', 1)", "42501 consent"),
    "sensitive, with express consent": Case(
        "billing", "UPDATE subscribers SET id_number = 'x' WHERE id = 1", "UPDATE 1"
    ),
    "sensitive, without": Case(
        "billing", "UPDATE subscribers SET id_number = 'x' WHERE id = 2", "42501 express consent"
    ),
    "into a partition": Case("billing", "INSERT INTO moves VALUES (10, 1, 'Road', 2025)", "INSERT 0 1"),
    "into a partition by name": Case("billing", "INSERT INTO moves_new VALUES (10, 3, 'Road', 2025)", "42501 consent"),
    "out of scope": Case(
        "billing/names", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 1, '139')", "42501 out of scope"
    ),
    "without a purpose": Case(
        "nobody", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 1, '139')", "42501 no purpose declared"
    ),
    "without a purpose and without personal information": Case(
        "nobody", "INSERT INTO calls (id, subscriber_id, seconds) VALUES (10, 1, 1)", "INSERT 0 1"
    ),
    "by law": Case("clerk", "INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 3, '139')", "INSERT 0 1"),
    "what another has, without a purpose": Case(
        "nobody", "INSERT INTO subscribers (id, phone) VALUES (10, '13800000001')", "42501 no purpose declared"
    ),
    # --- UPDATE
    "a phone of who consents": Case(
        "billing", "UPDATE subscribers SET phone = '139' WHERE id = 1", "UPDATE 1", (PHONE_OF + "1", "139")
    ),
    "a phone of who has withdrawn": Case(
        "billing", "UPDATE subscribers SET phone = '139' WHERE id = 3", "42501 consent", (PHONE_OF + "3", "13800000003")
    ),
    "all at once": Case("billing", "UPDATE calls SET callee = '139'", "42501 consent"),
    "what is not classified": Case("billing", "UPDATE subscribers SET plan = 'full'", "UPDATE 8"),
    "what shows finds": Case("billing", "UPDATE subscribers SET plan = 'x' WHERE phone = '13800000001'", "UPDATE 1"),
    "what does not show finds nothing": Case(
        "billing", "UPDATE subscribers SET plan = 'x' WHERE phone = '13800000003'", "UPDATE 0"
    ),
    "a mask finds all that look alike": Case(
        "billing", "UPDATE subscribers SET plan = 'x' WHERE phone = '138****0003'", "UPDATE 1"
    ),
    "by a join": Case(
        "billing",
        "UPDATE calls SET seconds = 0 FROM subscribers s WHERE s.id = calls.subscriber_id AND s.phone LIKE '1380%'",
        "UPDATE 2",
    ),
    "by a subquery": Case(
        "billing",
        "UPDATE calls SET seconds = 0 WHERE subscriber_id IN (SELECT id FROM subscribers WHERE phone LIKE '1380%')",
        "UPDATE 2",
    ),
    "masked over raw": Case("billing", "UPDATE subscribers SET phone = id_number", "42501 "),
    "to itself, raw": Case(
        "billing",
        "UPDATE subscribers SET phone = phone || '9' WHERE id = 1",
        "UPDATE 1",
        (PHONE_OF + "1", "138000000019"),
    ),
    "to itself, masked": Case("billing", "UPDATE subscribers SET phone = phone WHERE id = 3", "42501 consent"),
    "to itself, by who sees masks": Case(
        "support", "UPDATE subscribers SET phone = phone WHERE id = 1", "42501 masked"
    ),
    "a new one by who sees masks": Case("support", "UPDATE subscribers SET phone = '139' WHERE id = 1", "UPDATE 1"),
    "a mask by who sees it": Case(
        "support",
        "UPDATE subscribers SET plan = 'full', phone = '138****0001' WHERE id = 1",
        "42501 the mask of public.subscribers.phone may not be stored",
        (PHONE_OF + "1", "13800000001"),
    ),
    "a mask, where it shows raw": Case(
        "billing", "UPDATE subscribers SET phone = '138****0001' WHERE id = 1", "UPDATE 1"
    ),
    "a mask, sensitive": Case(
        "support", "UPDATE subscribers SET id_number = '1****1' WHERE id = 1", "42501 the mask of"
    ),
    "what shows, again": Case("billing", "UPDATE subscribers SET phone = '13800000001' WHERE id = 1", "UPDATE 1"),
    "raw to where it is not classified": Case("clerk", "UPDATE subscribers SET plan = phone", "42501 not classified"),
    "sensitive to less": Case("clerk", "UPDATE subscribers SET phone = id_number", "42501 less sensitive"),
    "raw to as sensitive": Case("clerk", "UPDATE subscribers SET id_number = phone WHERE id = 1", "UPDATE 1"),
    # --- NULL
    "emptied by who sees it": Case("billing", "UPDATE subscribers SET phone = NULL WHERE id = 1", "UPDATE 1"),
    "emptied by who does not": Case("billing", "UPDATE subscribers SET phone = NULL WHERE id = 3", "42501 "),
    "emptied by who sees masks": Case("support", "UPDATE subscribers SET phone = NULL WHERE id = 1", "42501 emptied"),
    "erased": Case(
        "billing/cleaning", "UPDATE subscribers SET phone = NULL WHERE id = 3", "UPDATE 1", (PHONE_OF + "3", "None")
    ),
    "emptied by default": Case("billing", "UPDATE subscribers SET phone = DEFAULT WHERE id = 3", "42501 "),
    # --- DELETE
    "deleted": Case("nobody", "DELETE FROM calls WHERE id = 3", "DELETE 1"),
    "deleted with all that belongs to them": Case("billing", "DELETE FROM subscribers WHERE id = 3", "DELETE 1"),
    "deleted by what shows": Case("billing", "DELETE FROM calls WHERE callee LIKE '13900%'", "DELETE 2"),
    "deleted by a join": Case(
        "billing",
        "DELETE FROM calls USING subscribers s WHERE s.id = subscriber_id AND s.phone = '13800000003'",
        "DELETE 0",
    ),
    "emptied tables": Case("billing", "TRUNCATE calls", "TRUNCATE TABLE"),
    # --- RETURNING
    "what is returned is secured": Case(
        "billing",
        "UPDATE subscribers SET plan = 'x' WHERE id IN (2, 3) RETURNING id, phone, phone::text",
        "UPDATE 2 2,13800000002,13800000002 3,138****0003,138****0003",
    ),
    "returned stars": Case(
        "billing",
        "DELETE FROM calls WHERE id = 3 RETURNING *, callee || '!' AS c",
        "DELETE 1 3,3,139****0003,<now>,60,[masked],139****0003!",
    ),
    "returned by an insert": Case(
        "billing", "INSERT INTO lines VALUES (10, 1, 'Road', 1) RETURNING lines.*", "INSERT 0 1 10,1,Road,1"
    ),
    # --- ON CONFLICT
    "ON CONFLICT DO NOTHING": Case(
        "billing", "INSERT INTO subscribers (id, phone) VALUES (1, '139') ON CONFLICT DO NOTHING", "INSERT 0 0"
    ),
    "ON CONFLICT DO UPDATE": Case(
        "billing",
        "INSERT INTO subscribers (id, phone) VALUES (1, '139') ON CONFLICT (id) DO UPDATE SET phone = excluded.phone",
        "INSERT 0 1",
        (PHONE_OF + "1", "139"),
    ),
    "ON CONFLICT DO UPDATE of who has withdrawn": Case(
        "billing",
        "INSERT INTO subscribers (id, phone) VALUES (3, '139') ON CONFLICT (id) DO UPDATE SET phone = excluded.phone",
        "42501 ",
    ),
    "ON CONFLICT DO UPDATE of what shows masked": Case(
        "support",
        "INSERT INTO subscribers (id, phone) VALUES (1, '139') ON CONFLICT (id) DO UPDATE SET phone = excluded.phone",
        "42501 ",
    ),
    "ON CONFLICT DO UPDATE with what was there": Case(
        "support",
        "INSERT INTO plans VALUES ('basic', 1) ON CONFLICT (code) DO UPDATE SET price = plans.price + 1",
        "INSERT 0 1",
    ),
    # --- INSERT … SELECT
    "raw into a table that is not classified": Case(
        "clerk", "INSERT INTO plans SELECT phone, 1 FROM subscribers", "42501 not classified"
    ),
    "masked into a table that is not classified": Case(
        "nobody",
        "INSERT INTO plans SELECT phone, 1 FROM subscribers",
        "INSERT 0 8",
        ("SELECT code FROM plans ORDER BY code LIMIT 1", "138****0001"),
    ),
    "masked into a classified one": Case(
        "nobody", "INSERT INTO calls (id, subscriber_id, callee) SELECT 10, 1, phone FROM subscribers", "42501 "
    ),
    "what is not classified, from a classified table": Case(
        "nobody", "INSERT INTO plans SELECT plan || id, id FROM subscribers", "INSERT 0 8"
    ),
    "from a classified table to another, by law": Case(
        "clerk",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT id + 10, id, phone FROM subscribers",
        "INSERT 0 8",
    ),
    "what all of the rows show": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT id + 10, id, phone FROM subscribers WHERE id IN (1, 2)",
        "INSERT 0 2",
        ("SELECT callee FROM calls WHERE id > 10 ORDER BY id", "13800000001\n13800000002"),
    ),
    "what one of the rows does not show": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT id + 10, 1, phone FROM subscribers WHERE id IN (1, 3)",
        "42501 masked values of public.subscribers.phone may not be stored",
        ("SELECT count(*) FROM calls", "8"),
    ),
    "what all of the rows show, found by it": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT 10, s.id, s.phone FROM subscribers s"
        " WHERE s.phone = '13800000002'",
        "INSERT 0 1",
    ),
    "for those who do not consent to be called": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT 10, 3, phone FROM subscribers WHERE id = 1",
        "42501 consent",
    ),
    "whole rows that show": Case(
        "billing", "INSERT INTO calls SELECT c.* FROM calls c WHERE id = 1 ON CONFLICT DO NOTHING", "INSERT 0 0"
    ),
    "whole rows, one of which does not show": Case(
        "billing", "INSERT INTO calls SELECT * FROM calls WHERE id = 3", "42501 masked values of public.calls.c"
    ),
    "a part of what shows": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT 10, 1, left(phone, 3) FROM subscribers WHERE id = 1",
        "42501 masked values",
    ),
    "what shows, from a subquery": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT 10, 1, x.phone FROM (SELECT * FROM subscribers) x"
        " WHERE x.id = 1",
        "42501 masked values",
    ),
    "set to what another table's row shows": Case(
        "billing",
        "UPDATE calls SET callee = s.phone FROM subscribers s WHERE s.id = subscriber_id AND s.id < 3",
        "UPDATE 2",
        ("SELECT callee FROM calls WHERE id < 3 ORDER BY id", "13800000001\n13800000002"),
    ),
    "set to what another table's row does not show": Case(
        "billing",
        "UPDATE calls SET callee = s.phone FROM subscribers s WHERE s.id = 3 AND subscriber_id = 1",
        "42501 masked values of public.subscribers.phone may not be stored",
    ),
    "to where it is not classified, what shows": Case(
        "billing", "INSERT INTO plans SELECT phone, 1 FROM subscribers WHERE id = 1", "42501 not classified"
    ),
    "sensitive to less, what shows": Case(
        "billing",
        "INSERT INTO calls (id, subscriber_id, callee) SELECT 10, 1, id_number FROM subscribers WHERE id = 1",
        "42501 less sensitive",
    ),
    "returned beside another table": Case(
        "billing",
        "UPDATE calls SET seconds = 1 FROM plans p WHERE p.code = 'full' AND id IN (2, 3)"
        " RETURNING *, calls.callee AS dialled",
        "UPDATE 2 2,2,13900000002,<now>,1,cell 2,full,20,13900000002"
        " 3,3,139****0003,<now>,1,[masked],full,20,139****0003",
    ),
    "returned beside a join": Case(
        "billing",
        "DELETE FROM lines USING plans JOIN subscribers s ON s.plan = plans.code WHERE lines.id = s.id AND s.id < 4"
        " AND s.id <> 2"
        " RETURNING *",
        "DELETE 2 1,1,Street 1,10,basic,10,1,Anna 1,13800000001,110101199001010001,basic,active"
        " 3,3,[masked],10,basic,10,3,A**,138****0003,1****3,basic,active",
    ),
    "returned beside the source of a MERGE": Case(
        "billing",
        "MERGE INTO lines USING plans p ON lines.id = p.price / 10 AND p.code = 'basic'"
        " WHEN MATCHED THEN UPDATE SET amount = 1 RETURNING *",
        "MERGE 1 basic,10,1,1,Street 1,1",
        since=17,
    ),
    # --- retention
    "a retention that goes on": Case(
        "billing", "UPDATE calls SET started_at = started_at - interval '1 day' WHERE id < 3", "UPDATE 2"
    ),
    "a retention that begins again": Case(
        "billing",
        "UPDATE calls SET started_at = now() FROM (VALUES (1)) v (i) WHERE id = v.i OR started_at IS NULL",
        "UPDATE 1",
    ),
    "a retention that ends": Case("nobody", "UPDATE calls SET started_at = '2001-01-01' WHERE id = 1", "UPDATE 1"),
    # --- what decides
    "consent": Case("billing", "INSERT INTO consents (subscriber_id, purpose) VALUES (3, 'billing')", "42501 manages"),
    "consent taken": Case("billing", "DELETE FROM consents WHERE subscriber_id = 1", "42501 manages"),
    "consent emptied": Case("billing", "TRUNCATE consents", "42501 manage"),
    "consent by who manages": Case(
        "signup", "INSERT INTO consents (subscriber_id, purpose) VALUES (3, 'billing')", "INSERT 0 1"
    ),
    "an account state": Case("billing", "UPDATE subscribers SET status = 'active' WHERE id = 6", "42501 manages"),
    "an account state by who manages": Case(
        "signup", "UPDATE subscribers SET status = 'active' WHERE id = 6", "UPDATE 1"
    ),
    "a subject key": Case("billing", "UPDATE calls SET subscriber_id = 1 WHERE id = 3", "42501 "),
    "a link to a subject": Case("billing", "UPDATE lines SET invoice_id = 1 WHERE id = 3", "42501 "),
    "a subject key of a parent": Case("billing", "UPDATE invoices SET subscriber_id = 1 WHERE id = 3", "42501 "),
    "a subject's own key": Case("billing", "UPDATE subscribers SET id = 9 WHERE id = 8", "42501 "),
    "a subject key that stays": Case(
        "billing", "UPDATE calls SET subscriber_id = 1, callee = '139' WHERE id = 1", "UPDATE 1"
    ),
    "an account state that stays": Case(
        "billing", "UPDATE subscribers SET status = 'active', phone = '139' WHERE id = 1", "UPDATE 1"
    ),
    "a row moved": Case("signup", "UPDATE calls SET subscriber_id = 2 WHERE id = 1", "UPDATE 1"),
    "a row moved to another": Case("signup", "UPDATE calls SET subscriber_id = 3 WHERE id = 1", "42501 consent"),
    "a row moved from who has withdrawn": Case("signup", "UPDATE calls SET subscriber_id = 1 WHERE id = 3", "42501 "),
    "a parent moved": Case("signup", "UPDATE invoices SET subscriber_id = 2 WHERE id = 1", "UPDATE 1"),
    "a parent moved from who has withdrawn": Case(
        "signup", "UPDATE invoices SET subscriber_id = 1 WHERE id = 3", "42501 consent"
    ),
    "a parent moved to another": Case(
        "signup",
        "UPDATE invoices SET subscriber_id = 3 WHERE id = 1",
        "42501 writing public.lines.ship_to is not allowed",
    ),
    "a line moved": Case("signup", "UPDATE lines SET invoice_id = 2 WHERE id = 1", "UPDATE 1"),
    "a line moved from who has withdrawn": Case("signup", "UPDATE lines SET invoice_id = 2 WHERE id = 3", "42501 "),
    "moved by law": Case("registrar", "UPDATE calls SET subscriber_id = 2 WHERE id = 3", "UPDATE 1"),
    "all columns saved, one emptied": Case(
        "billing",
        "UPDATE calls SET subscriber_id = 1, callee = NULL, started_at = now(), seconds = 1, cell = 'x' WHERE id = 1",
        "UPDATE 1",
    ),
    "all columns saved, one emptied unseen": Case(
        "billing",
        "UPDATE calls SET subscriber_id = 3, callee = NULL, started_at = now(), seconds = 1 WHERE id = 3",
        "42501 emptied",
    ),
    # --- MERGE
    "merged": Case(
        "billing",
        "MERGE INTO calls c USING (VALUES (1, 1, '137'), (10, 2, '136')) v (id, who, callee) ON v.id = c.id"
        " WHEN MATCHED THEN UPDATE SET callee = v.callee"
        " WHEN NOT MATCHED THEN INSERT (id, subscriber_id, callee) VALUES (v.id, v.who, v.callee)",
        "MERGE 2",
        since=17,
    ),
    "merged with a row of who has withdrawn": Case(
        "billing",
        "MERGE INTO calls c USING (VALUES (1, 1, '137'), (10, 3, '136')) v (id, who, callee) ON v.id = c.id"
        " WHEN MATCHED THEN UPDATE SET callee = v.callee"
        " WHEN NOT MATCHED THEN INSERT (id, subscriber_id, callee) VALUES (v.id, v.who, v.callee)",
        "42501 consent",
        since=17,
    ),
    "a row moved to another, where other rows are inserted with what it holds": Case(
        "signup",
        "MERGE INTO calls c USING (VALUES (1, 3)) v (id, who) ON v.id = c.id"
        " WHEN MATCHED THEN UPDATE SET subscriber_id = v.who"
        " WHEN NOT MATCHED THEN INSERT (id, subscriber_id, callee, cell) VALUES (v.id, v.who, '137', 'x')",
        "42501 consent",
        since=17,
    ),
    "moved to nobody, where others are inserted": Case(
        "signup",
        "MERGE INTO calls c USING (VALUES (1)) v (id) ON v.id = c.id WHEN MATCHED THEN UPDATE SET subscriber_id = NULL"
        " WHEN NOT MATCHED THEN INSERT (id, subscriber_id, callee, cell) VALUES (v.id, 1, '137', 'x')",
        "42501 consent",
        since=17,
    ),
    "merged where another's row is deleted": Case(
        "billing",
        "MERGE INTO calls c USING (VALUES (3, 3, '137'), (10, 2, '136')) v (id, who, callee) ON v.id = c.id"
        " WHEN MATCHED THEN DELETE"
        " WHEN NOT MATCHED THEN INSERT (id, subscriber_id, callee) VALUES (v.id, v.who, v.callee)"
        " RETURNING merge_action(), c.id, c.callee",
        "MERGE 2 DELETE,3,139****0003 INSERT,10,136",
        since=17,
    ),
    "merged by what shows": Case(
        "billing",
        "MERGE INTO calls c USING plans p ON c.callee = '13900000003' WHEN MATCHED THEN UPDATE SET seconds = 0",
        "MERGE 0",
        since=15,
    ),
    # --- WITH
    "in WITH": Case(
        "billing",
        "WITH d AS (DELETE FROM calls WHERE id IN (1, 3) RETURNING *) SELECT id, callee FROM d ORDER BY id",
        "SELECT 2 1,13900000001 3,139****0003",
    ),
    "in WITH, checked": Case(
        "billing",
        "WITH i AS (INSERT INTO calls (id, subscriber_id, callee) VALUES (10, 1, '137') RETURNING id, callee),"
        " u AS (UPDATE subscribers SET phone = '136' WHERE id = 2)"
        " SELECT * FROM i AS inserted",
        "SELECT 1 10,137",
    ),
    "in WITH, of who has withdrawn": Case(
        "billing",
        "WITH u AS (UPDATE subscribers SET phone = '136' WHERE id = 3 RETURNING id) SELECT count(*) FROM plans",
        "42501 consent",
    ),
    "in WITH, into a table that is not classified": Case(
        "clerk",
        "WITH d AS (DELETE FROM calls RETURNING callee) INSERT INTO plans SELECT callee, 1 FROM d",
        "42501 not classified",
    ),
    "a WITH query of consent": Case("billing", "WITH d AS (DELETE FROM consents) SELECT 1", "42501 manages"),
    # --- what the server says of rows
    "a failing row": Case("billing", "UPDATE subscribers SET status = NULL WHERE id = 3", "42501 manages"),
    "a row that fails a check": Case("billing", "UPDATE subscribers SET plan = '' WHERE id = 3", "23514 "),
    # --- one's own
    "one's own": Case("myself", "UPDATE subscribers SET phone = '139' WHERE id = 3", "UPDATE 1"),
    "another's": Case("myself", "UPDATE subscribers SET phone = '139' WHERE id = 1", "42501 self"),
}


def outcome(connection: psycopg.Connection[tuple[object, ...]], sql: str, *, extended: bool) -> str:
    """The tag and the rows, or the SQLSTATE and the whole error."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        try:
            if extended:
                cursor.execute(sql.encode(), prepare=True)
            else:
                cursor.execute(sql.encode())
        except psycopg.Error as error:
            detail = error.diag.message_detail or ""
            return f"{error.sqlstate} {error.diag.message_primary} {detail}"
        rows = cursor.fetchall() if cursor.description is not None else []
        shown = [",".join("<now>" if hasattr(cell, "year") else str(cell) for cell in row) for row in rows]
        return " ".join([cursor.statusmessage or "", *shown])


@pytest.mark.parametrize(("name", "extended"), [(name, bool(index % 2)) for index, name in enumerate(CASES)])
def test_what_may_be_written(connect: Connect, direct: Database, name: str, *, extended: bool) -> None:
    check(connect, direct, CASES[name], extended=extended)


def check(connect: Connect, direct: Database, case: Case, *, extended: bool) -> None:
    """What becomes of the case is what it expects."""
    if direct.postgres.version < case.since:
        pytest.skip(f"uses what came with PostgreSQL {case.since}")
    role, _, purpose = case.role.partition("/")
    settings = {"purpose": purpose} if purpose else {}
    if role == "myself":
        settings["subject"] = "subscriber:3"
    found = outcome(connect(role, **settings), case.sql, extended=extended)
    if case.expect[0].isdigit():
        sqlstate, _, words = case.expect.partition(" ")
        assert found.startswith(sqlstate + (" " if sqlstate[:2] == "23" else " consentry:")) and words in found, found
        assert "0000" not in found.partition("audit event")[0], "a stored number shows"
    else:
        assert found == case.expect
    if case.then is not None:
        query, expected = case.then
        assert "\n".join(",".join(map(str, row)) for row in direct.execute(query)) == expected


@pytest.mark.parametrize("role", ["billing", "nobody", "signup"])
def test_a_retention_does_not_begin_again(connect: Connect, direct: Database, role: str) -> None:
    """What is hidden since a row is past its retention would show again; only who manages the subjects may do that."""
    direct.execute("UPDATE calls SET started_at = '2001-01-01' WHERE id = 1")
    connection = connect(role)
    connection.execute("UPDATE calls SET started_at = started_at, seconds = 5 WHERE id = 1")
    merge = "MERGE INTO calls USING (VALUES (1)) v (i) ON id = v.i WHEN MATCHED THEN UPDATE SET started_at = now()"
    for sql in (
        "UPDATE calls SET started_at = now() WHERE id = 1",
        "UPDATE dials SET started_at = now() WHERE id = 1",
        "INSERT INTO calls (id, subscriber_id) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET started_at = now()",
        *([merge] if direct.postgres.version >= 15 else []),
    ):
        if role == "signup":
            connection.execute(sql.encode())
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="past its retention"):
                connection.execute(sql.encode())
