"""What a text is, whoever sends it."""

from __future__ import annotations

import pytest

from proxy.errors import Refused
from proxy.sql.facts import facts
from proxy.verdict import Begin, Commit, Deallocate, Effect, Isolate, Prepare, ResetAll, Rollback, Savepoint, SetSetting


@pytest.mark.parametrize(
    ("text", "purpose"),
    [
        ("SELECT 1", None),
        ("/*purpose='billing'*/ SELECT 1", "billing"),
        ("SELECT 1 /*app='x',purpose='billing'*/", "billing"),
        ("SELECT 1; /*purpose='billing'*/", "billing"),
        ("/*purpose='a%20b'*/ SELECT 1", "a b"),
        ("/*purpose='it\\'s'*/ SELECT 1", "it's"),
        ("SELECT /*purpose='billing'*/ 1", None),
        ("-- purpose='billing'\nSELECT 1", None),
        ("/* purpose=billing */ SELECT 1", None),
        ("/*purpose=''*/ SELECT 1", None),
        ("SELECT '/*purpose=''billing''*/'", None),
        ("/*purpose='billing'*/ SELECT 1 /*purpose='billing'*/", "billing"),
    ],
)
def test_purposes_in_comments(text: str, purpose: str | None) -> None:
    assert [one.purpose for one in facts(text.encode())] == [purpose]


def test_comments_that_disagree() -> None:
    with pytest.raises(Refused, match="different purposes"):
        facts(b"/*purpose='a'*/ SELECT 1 /*purpose='b'*/")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("SELECT  'x''y' , 1.5e3,\n $1 -- c", "SELECT ?, ?, $1"),
        ("SELECT \"Name\" AS n /* c */ FROM t WHERE a=E'\\''", 'SELECT "Name" AS n FROM t WHERE a=?'),
        ("SELECT U&'\\0061', B'01', X'ff', $q$x$q$", "SELECT ?, ?, ?, ?"),
    ],
)
def test_literals_are_never_kept(text: str, kept: str) -> None:
    (one,) = facts(text.encode())
    assert one.normalized.replace(" ,", ",") == kept


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT * FROM a, b.c x JOIN d USING (e)", ["a", "b.c", "d"]),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a, public.a", ["a", "public.a"]),
        ("WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) TABLE a", []),
        ("WITH a AS (SELECT 1) INSERT INTO a SELECT * FROM a", ["a"]),
        ("SELECT (SELECT 1 FROM a WHERE EXISTS (TABLE b)) FROM (SELECT * FROM c FOR UPDATE OF c) x", ["a", "b", "c"]),
        ("SET CONSTRAINTS a, b.c IMMEDIATE", []),
        ("MERGE INTO a USING (SELECT * FROM b) s ON true WHEN MATCHED THEN DELETE", ["a", "b"]),
        ("COPY (SELECT * FROM a) TO STDOUT", ["a"]),
        ("EXPLAIN SELECT * FROM a TABLESAMPLE SYSTEM ((SELECT 1 FROM b))", ["a", "b"]),
    ],
)
def test_relations_with_their_scopes(text: str, names: list[str]) -> None:
    (one,) = facts(text.encode())
    assert [f"{found.schema}.{found.name}" if found.schema else found.name for found in one.relations] == names


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("SET consentry.purpose = billing", [SetSetting("consentry.purpose", "billing")]),
        ('SET LOCAL Search_Path = a, "B"', [SetSetting("search_path", '"a", "B"', local=True)]),
        ("SELECT set_config('consentry.purpose', 'x', true)", [SetSetting("consentry.purpose", "x", local=True)]),
        ("RESET consentry.purpose", [SetSetting("consentry.purpose", None)]),
        ("RESET ALL", [ResetAll()]),
        ("SET work_mem = '1MB'", []),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", [Begin(), Isolate("repeatable read")]),
        ("START TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE", [Begin(), Isolate("serializable")]),
        ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", [Isolate("read committed")]),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            [Isolate("serializable", session=True)],
        ),
        ("SET default_transaction_isolation = 'Serializable'", [Isolate("serializable", session=True)]),
        ("SET transaction_isolation TO DEFAULT", [Isolate(None)]),
        ("SET TRANSACTION READ ONLY", []),
        ("BEGIN; SAVEPOINT a; COMMIT AND CHAIN; ROLLBACK", [Begin(), Savepoint("a"), Commit(chain=True), Rollback()]),
        ("PREPARE p(int) AS SELECT $1 ; DEALLOCATE ALL", [Prepare("p", "SELECT $1"), Deallocate(None)]),
    ],
)
def test_effects(text: str, effects: list[Effect]) -> None:
    assert [effect for one in facts(text.encode()) for effect in one.effects] == effects


@pytest.mark.parametrize(
    ("text", "operators"),
    [
        ("BEGIN", []),
        ("SET search_path = a", []),
        ("SELECT a FROM t ORDER BY a", []),
        ("SELECT a FROM t WHERE a < 1", ["<"]),
        ("SELECT a FROM t JOIN u USING (a)", ["="]),
        ("SELECT a FROM t NATURAL JOIN u", ["="]),
        ("SELECT CASE a WHEN 1 THEN 2 END FROM t", ["="]),
        ("SELECT CASE WHEN a THEN 2 END FROM t", []),
        ("SELECT a FROM t WHERE a IN (SELECT 1)", ["="]),
        ("SELECT a FROM t WHERE a IN (1, 2) OR a IS DISTINCT FROM 3", ["="]),
        ("SELECT NULLIF(a, 1) FROM t", ["="]),
        ("UPDATE t SET a = 1", ["="]),
        ("WITH w AS (UPDATE t SET a = 1) SELECT 1", ["="]),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1", ["="]),
    ],
)
def test_operators_that_are_applied(text: str, operators: list[str]) -> None:
    [found] = facts(text.encode())
    assert sorted(one.name for one in found.operators) == operators
