"""Who may read what: a text, the session it comes from, and what becomes of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import pytest

from proxy.engine.aliases import readable
from proxy.verdict import Verdict
from tests.engine.telecom import context, engine


class Case(NamedTuple):
    """``shown``: the text that runs, with a secured relation as ``«table: columns that are not NULL»``; or, of a
    refusal, its SQLSTATE and a part of its message.
    """

    title: str
    session: tuple[str, str | None]
    text: str
    kind: str
    shown: str


ANALYST = ("analyst", "marketing")
BILLING = ("billing_app", None)
MIGRATOR = ("migrator", None)

PASSED = [
    Case("no relation", BILLING, "SELECT 1", "pass", "SELECT 1"),
    Case("an unclassified table", BILLING, "SELECT * FROM plans -- c", "pass", "SELECT * FROM plans -- c"),
    Case("an unclassified join", BILLING, "SELECT count(*) FROM plans p, invoices i", "pass", ""),
    Case("a WITH query that hides a table", BILLING, "WITH subscribers AS (SELECT 1) TABLE subscribers", "pass", ""),
    Case("a consent source, unclassified", BILLING, "SELECT * FROM consents", "pass", ""),
    Case("a write that concerns nobody", BILLING, "INSERT INTO plans VALUES ('x', 1)", "pass", ""),
    Case("ordinary settings", BILLING, "SET TimeZone = 'UTC'", "pass", ""),
    Case("a custom setting", BILLING, "SET app.tenant = '7'", "pass", ""),
    Case("transactions", BILLING, "BEGIN; SELECT 1; COMMIT", "pass", ""),
    Case("a granted purpose", BILLING, "SET consentry.purpose = 'marketing'", "pass", ""),
    Case("a view that shows nothing classified", ANALYST, "SELECT * FROM per_plan", "pass", ""),
    Case("an empty purpose in a comment", ANALYST, "/*purpose=''*/ SELECT 1 -- purpose='x'", "pass", ""),
    Case(
        "what pg_dump sets where there is such a parameter",
        BILLING,
        "SELECT set_config(name, 'view', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
        "pass",
        "",
    ),
    Case(
        "an alteration and its use in one transaction",
        MIGRATOR,
        "BEGIN; ALTER TABLE plans ADD note text DEFAULT lower('X'); UPDATE plans SET price = 1; COMMIT",
        "pass",
        "",
    ),
    Case("LOCK", BILLING, "LOCK subscribers", "pass", ""),
    Case("a temporary table", BILLING, "CREATE TEMP TABLE t (a int); SELECT * FROM t", "pass", ""),
    Case("DDL for who may", MIGRATOR, "CREATE TABLE app.things (a int)", "pass", ""),
    Case("a prepared statement of nothing", BILLING, "PREPARE p AS SELECT 1; EXECUTE p", "pass", ""),
]

SECURED = [
    Case(
        "a qualified star",
        ANALYST,
        "SELECT c.*, p.price, c.* FROM calls c, plans p",
        "mask",
        "SELECT c.*, p.price, c.* FROM «calls: id subscriber_id callee started_at duration_s cell» c, plans p",
    ),
    Case(
        "a star qualified with the schema",
        ANALYST,
        "SELECT invoice_lines.* FROM public.invoice_lines",
        "mask",
        "SELECT invoice_lines.* FROM «invoice_lines: id invoice_id ship_to amount»",
    ),
    Case(
        "a column of the alias's name",
        ANALYST,
        "SELECT callee FROM calls callee",
        "mask",
        "SELECT callee FROM «calls: id subscriber_id callee started_at duration_s cell» callee",
    ),
    Case("a column", ANALYST, "SELECT phone FROM subscribers", "mask", "SELECT phone FROM «subscribers: phone»"),
    Case(
        "a predicate and a key",
        ANALYST,
        "SELECT id FROM subscribers s WHERE s.phone = '1' ORDER BY email",
        "mask",
        "SELECT id FROM «subscribers: id phone email» s WHERE s.phone = '1' ORDER BY email",
    ),
    Case("nothing classified", ANALYST, "SELECT id FROM subscribers", "allow", "SELECT id FROM «subscribers: id»"),
    Case("count", ANALYST, "SELECT count(*) FROM calls", "allow", "SELECT count(*) FROM «calls: »"),
    Case(
        "star",
        ANALYST,
        "SELECT * FROM public.calls",
        "mask",
        "SELECT * FROM «calls: id subscriber_id callee started_at duration_s cell»",
    ),
    Case("TABLE", ANALYST, "TABLE app.subscribers", "pass", "TABLE app.subscribers"),
    Case(
        "TABLE of a classified one",
        ANALYST,
        "TABLE ONLY calls",
        "mask",
        "SELECT * FROM «calls: id subscriber_id callee started_at duration_s cell»",
    ),
    Case(
        "ONLY in parentheses, with an alias list",
        ANALYST,
        "SELECT a FROM ONLY (invoice_lines) AS l(a, b)",
        "mask",
        "SELECT a FROM «invoice_lines: id invoice_id ship_to amount» AS l(a, b)",
    ),
    Case(
        "each reference its own columns",
        ANALYST,
        "SELECT a.phone, b.full_name FROM subscribers a JOIN subscribers b USING (id)",
        "mask",
        "SELECT a.phone, b.full_name FROM «subscribers: id phone» a JOIN «subscribers: id full_name» b USING (id)",
    ),
    Case(
        "a subquery, and a correlated one",
        ANALYST,
        "SELECT (SELECT callee FROM calls c WHERE c.subscriber_id = s.id LIMIT 1) FROM (SELECT id FROM subscribers) s",
        "mask",
        "SELECT (SELECT callee FROM «calls: id subscriber_id callee» c WHERE c.subscriber_id = s.id LIMIT 1)"
        " FROM (SELECT id FROM «subscribers: id») s",
    ),
    Case(
        "WITH and UNION",
        ANALYST,
        "WITH w AS (SELECT phone FROM subscribers) SELECT * FROM w UNION SELECT callee FROM calls",
        "mask",
        "WITH w AS (SELECT phone FROM «subscribers: phone») SELECT * FROM w UNION SELECT callee FROM «calls: callee»",
    ),
    Case(
        "a whole row inside a function",
        ANALYST,
        "SELECT s.phone, EXISTS (SELECT FROM calls) FROM subscribers s",
        "mask",
        "SELECT s.phone, EXISTS (SELECT FROM «calls: ») FROM «subscribers: phone» s",
    ),
    Case(
        "NATURAL needs every name",
        ANALYST,
        "SELECT amount FROM invoice_lines NATURAL JOIN plans",
        "mask",
        "SELECT amount FROM «invoice_lines: id invoice_id ship_to amount» NATURAL JOIN plans",
    ),
    Case(
        "one's own purpose in a comment",
        BILLING,
        "/*purpose='marketing'*/ SELECT phone FROM subscribers",
        "mask",
        "/*purpose='marketing'*/ SELECT phone FROM «subscribers: phone»",
    ),
    Case(
        "a purpose set earlier in the text",
        ("billing_app", None),
        "SET consentry.purpose = 'marketing'; SELECT phone FROM subscribers",
        "mask",
        "SET consentry.purpose = 'marketing'; SELECT phone FROM «subscribers: phone»",
    ),
]

REFUSED = [
    Case("no SQL", BILLING, "SELECT FROM FROM", "42601", 'syntax error at or near "FROM"'),
    Case("an unterminated string", BILLING, "SELECT 'x", "42601", "unterminated quoted string"),
    Case("an unknown table", BILLING, "SELECT * FROM nope", "42P01", 'relation "nope" does not exist'),
    Case("a purpose that is not granted", ANALYST, "SET consentry.purpose = 'billing'", "42501", "not granted"),
    Case("the same in a comment", ANALYST, "SELECT 1 /*purpose='billing'*/", "42501", "not granted"),
    Case(
        "a name that two things may bear", ANALYST, "SELECT c FROM calls c, (SELECT 1 AS c) x", "0A000", "a column, or"
    ),
    Case(
        "comments that disagree",
        BILLING,
        "/*purpose='billing'*/ SELECT 1 /*purpose='marketing'*/",
        "42501",
        "different",
    ),
    Case("an unknown setting of ours", BILLING, "SET consentry.mode = 'off'", "42501", "no parameter"),
    Case("a setting that changes SQL", BILLING, "SET standard_conforming_strings = off", "42501", "must stay on"),
    Case("an encoding", BILLING, "SET NAMES 'latin1'", "42501", "must stay UTF8"),
    Case("plans spoken of", BILLING, "SET debug_print_plan = on", "42501", "cannot be set"),
    Case("a computed setting name", BILLING, "SELECT set_config(lower('X'), '1', false)", "42501", "computed name"),
    Case(
        "set_config not alone", BILLING, "SELECT set_config('consentry.purpose', 'billing', true), 1", "42501", "alone"
    ),
    Case("a name cut by a cast", BILLING, "SELECT set_config('x.y'::varchar(1), '', false)", "42501", "computed name"),
    Case("another spelling of true", BILLING, "SELECT set_config('search_path', 'x', 'tru')", "42501", "alone"),
    Case("true by a cast", BILLING, "SELECT set_config('search_path', 'x', 2::bool)", "42501", "alone"),
    Case("DO", BILLING, "DO $$ BEGIN END $$", "42501", "DO runs code"),
    Case("DDL", BILLING, "CREATE TABLE x (a int)", "42501", "changes the schema"),
    Case("COPY to a program", BILLING, "COPY plans TO PROGRAM 'cat'", "42501", "server files and programs"),
    Case("LISTEN", BILLING, "LISTEN x", "42501", "LISTEN on channel"),
    Case("an untrusted function", BILLING, "SELECT app.peek(1)", "42501", "app.peek is not trusted"),
    Case("the same behind a dot", BILLING, "SELECT p.of_row FROM plans p", "42501", "public.of_row is not trusted"),
    Case("the same of a row in parentheses", BILLING, "SELECT (p).of_row FROM plans p", "42501", "public.of_row"),
    Case("the same of a value, whatever its type", BILLING, "SELECT (3).peek", "42501", "public.peek is not trusted"),
    Case(
        "EXECUTE below CREATE",
        MIGRATOR,
        "PREPARE p AS SELECT full_name FROM subscribers; CREATE TABLE x AS EXECUTE p",
        "0A000",
        "CREATE TABLE AS of EXECUTE",
    ),
    Case("a schema renamed away", MIGRATOR, "ALTER SCHEMA public RENAME TO x", "0A000", "holds the protected table"),
    Case(
        "a default taken along", ANALYST, "CREATE TEMP TABLE t (LIKE orders INCLUDING ALL)", "42501", "public.log_order"
    ),
    Case(
        "EXECUTE below EXPLAIN",
        ANALYST,
        "PREPARE p AS SELECT full_name FROM subscribers; EXPLAIN EXECUTE p",
        "0A000",
        "EXPLAIN of EXECUTE",
    ),
    Case("DDL below EXPLAIN", BILLING, "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "42501", "changes the schema"),
    Case("a copy below EXPLAIN", MIGRATOR, "EXPLAIN ANALYZE CREATE TABLE x AS TABLE subscribers", "0A000", "copies"),
    Case("an unknown function", BILLING, "SELECT nope(1)", "42883", "function nope does not exist"),
    Case("SQL as data", BILLING, "SELECT query_to_xml('TABLE subscribers', true, true, '')", "42501", "query_to_xml"),
    Case("a trigger that nobody trusts", BILLING, "INSERT INTO orders VALUES (1)", "42501", "public.log_order"),
    Case("a view that judges", ANALYST, "SELECT * FROM long_names", "42501", "it does more than to show full_name"),
    Case("memory", BILLING, "SELECT * FROM pg_backend_memory_contexts", "0A000", "holds stored values"),
    Case("a whole row of a target", BILLING, "DELETE FROM calls RETURNING calls", "0A000", "a whole row"),
    Case("a write to consent", BILLING, "INSERT INTO consents VALUES (1)", "42501", "a role that manages subscriber"),
    Case("a copy elsewhere", BILLING, "INSERT INTO plans SELECT phone, 1 FROM subscribers", "42501", "not classified"),
    Case("EXPLAIN", ANALYST, "EXPLAIN SELECT phone FROM subscribers", "42501", "EXPLAIN over"),
    Case("a whole row of a join", ANALYST, "SELECT j FROM (subscribers s CROSS JOIN plans) j", "0A000", "whole-row"),
    Case("the text that runs", ANALYST, "SELECT * FROM current_query(), subscribers", "0A000", "current_query"),
    Case(
        "a registry renamed", MIGRATOR, "ALTER TABLE subscribers RENAME TO x", "0A000", "RENAME of public.subscribers"
    ),
    Case("DROP of it", MIGRATOR, "DROP TABLE IF EXISTS plans, public.subscribers", "42501", "roles that manage"),
    Case("a table from it", BILLING, "CREATE TEMP TABLE x AS SELECT phone FROM subscribers", "42501", "not classified"),
    Case("DROP of what shadows it", ANALYST, "CREATE TEMP TABLE calls (); DROP TABLE calls", "0A000", "bears too"),
    Case("rows counted", ANALYST, "VACUUM (VERBOSE) subscribers", "42501", "VERBOSE"),
    Case("a purpose by the back door", MIGRATOR, "ALTER ROLE x SET consentry.purpose = 'y'", "42501", "by sessions"),
    Case("an unknown prepared statement", BILLING, "EXECUTE p", "26000", '"p" does not exist'),
    Case(
        "a state that cannot be foreseen",
        BILLING,
        "SET LOCAL search_path = app; COMMIT; SELECT * FROM plans",
        "0A000",
        "cannot be foreseen",
    ),
    Case("one of several", BILLING, "SELECT 1; SELECT * FROM nope", "42P01", "nope"),
    Case(
        "two readings",
        ANALYST,
        "SELECT $1,$2, (SELECT phone FROM subscribers), ' $1,$ AS z FROM t --'",
        "0A000",
        "two ways",
    ),
    Case("a NUL", BILLING, "SELECT '\0'", "22021", "invalid byte"),
    Case("nested comments", BILLING, "SELECT 1 " + "/*" * 5000 + "*/" * 5000, "54001", "comments"),
    Case("deep nesting", BILLING, "SELECT " + "-(" * 5000 + "1" + ")" * 5000, "54001", ""),
]


FORMS = [
    Case(
        "COPY of a name that two bear",
        ANALYST,
        "CREATE TEMP TABLE subscribers (code text); COPY subscribers TO STDOUT",
        "pass",
        'COPY "pg_temp".subscribers TO STDOUT',
    ),
    Case(
        "a temporary table that is written to",
        ANALYST,
        "CREATE TEMP TABLE subscribers (code text); INSERT INTO subscribers VALUES ('x')",
        "pass",
        '; INSERT INTO "pg_temp".subscribers VALUES',
    ),
    Case(
        "a temporary table that may go, and then a protected one is meant",
        ANALYST,
        "CREATE TEMP TABLE subscribers (phone text) ON COMMIT DROP; SELECT phone FROM subscribers",
        "pass",
        '; SELECT phone FROM "pg_temp".subscribers',
    ),
    Case(
        "a view without the subject's key",
        ANALYST,
        "SELECT name FROM phone_book",
        "mask",
        """SELECT name FROM (SELECT (CASE WHEN (pg_catalog.length((t."name")""",
    ),
    Case(
        "a view with it",
        ANALYST,
        "SELECT name FROM contacts",
        "mask",
        'k."subscriber_id" OPERATOR(pg_catalog.=) t."customer"',
    ),
    Case(
        "COPY", ANALYST, "COPY calls (id, callee) TO STDOUT", "mask", 'COPY (SELECT "id", "callee" FROM (SELECT t."id"'
    ),
    Case("COPY of a query", ANALYST, "COPY (TABLE calls) TO STDOUT", "mask", "COPY (SELECT * FROM (SELECT t."),
    Case(
        "a cursor", ANALYST, "DECLARE c CURSOR FOR SELECT callee FROM calls", "mask", "FOR SELECT callee FROM (SELECT"
    ),
    Case("a prepared read", ANALYST, "PREPARE p AS TABLE calls; EXECUTE p", "mask", "AS SELECT * FROM (SELECT"),
    Case("a row lock", ANALYST, "SELECT phone FROM subscribers FOR UPDATE", "mask", "(SELECT pg_catalog.bool_or("),
    Case(
        "a whole row",
        ANALYST,
        "SELECT p FROM invoice_lines p",
        "mask",
        'SELECT CASE WHEN "p" IS DISTINCT FROM NULL THEN ROW("p"."id", "p"."invoice_id", "p"."ship_to", "p"."amount")'
        '::"public"."invoice_lines" END AS "p" FROM (SELECT',
    ),
    Case("a system column", ANALYST, "SELECT xmin, phone FROM subscribers", "mask", "t.xmin AS xmin FROM"),
    Case("a schema before a star", ANALYST, "SELECT public.calls.* FROM calls", "mask", "SELECT calls.* FROM (SELECT"),
    Case("a schema before it", ANALYST, "SELECT public.calls.callee FROM calls", "mask", "SELECT calls.callee FROM"),
    Case(
        "TABLESAMPLE",
        ANALYST,
        "SELECT x.phone FROM subscribers AS x TABLESAMPLE SYSTEM (1) REPEATABLE (2) WHERE true",
        "mask",
        '"public"."subscribers" AS t TABLESAMPLE SYSTEM (1) REPEATABLE (2) LEFT JOIN',
    ),
    Case(
        "GROUP BY a key",
        ANALYST,
        "SELECT s.id, s.phone, count(*) FROM subscribers s JOIN calls c ON c.subscriber_id = s.id GROUP BY s.id",
        "mask",
        'GROUP BY s.id, "s"."phone"',
    ),
]


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("SELECT plan FROM subscribers WHERE id = 1", True),
        ("SELECT count(*) FROM calls", True),
        ("SELECT phone FROM subscribers", False),
        ("SELECT id FROM subscribers ORDER BY email", False),
        ("SELECT * FROM subscribers", False),
        ("SELECT s FROM subscribers s", False),
    ],
)
def test_explain_of_what_shows(text: str, passes: bool) -> None:
    verdict = engine().decisions(context("analyst", "marketing")).authorize(b"EXPLAIN " + text.encode())
    assert (verdict.refusal is None) is passes
    assert b"(SELECT" not in verdict.text


def test_every_refusal_of_ours_names_the_contact() -> None:
    for case in REFUSED:
        refusal = decided(case).refusal
        assert refusal is not None
        assert ("Contact: " in refusal.hint) == refusal.message.startswith("consentry:"), refusal


@pytest.mark.parametrize("text", ["SELECT price FROM plans", "SELECT * FROM price_list"])
def test_unclassified_tables_may_be_rejected(text: str) -> None:
    base = context("billing_app")
    policy = replace(base.policy, defaults=replace(base.policy.defaults, unclassified_tables="reject"))
    verdict = engine().decisions(replace(base, policy=policy)).authorize(text.encode())
    assert verdict.refusal is not None
    assert "public.plans is not classified" in verdict.refusal.message


def test_what_only_a_code_role_may_do_is_unverified() -> None:
    base = context("migrator")
    trusted = replace(base.policy.roles["migrator"], code=True)
    policy = replace(base.policy, roles={**base.policy.roles, "migrator": trusted})
    decisions = engine().decisions(replace(base, policy=policy))
    for text, unverified in (
        (b"DO $$ BEGIN END $$", True),
        (b"SELECT app.peek(1)", True),
        (b"INSERT INTO orders VALUES (1)", True),
        (b"SELECT lower('X')", False),
        (b"SELECT price FROM plans", False),
        (b"SET ROLE postgres; SELECT price FROM plans", True),  # whose search_path nobody here knows
    ):
        verdict = decisions.authorize(text)
        assert verdict.refusal is None
        assert verdict.statements[-1].unverified is unverified


def decided(case: Case) -> Verdict:
    role, purpose = case.session
    return engine().decisions(context(role, purpose)).authorize(case.text.encode())


def shown(verdict: Verdict) -> str:
    """The text that runs, each secured relation as ``«table: columns»``."""
    text = verdict.text.decode()
    for offset, length, _ in reversed(verdict.edits):
        edit = readable(text[offset : offset + length])
        if edit.startswith("(SELECT"):
            table = re.findall(r'FROM (?:ONLY )?"\w+"\."(\w+)" AS t', edit)[0]
            columns = re.findall(r'(?:^\(SELECT|,) (?!NULL::)(?:(?!, NULL::).)*? AS "(\w+)"', edit.split(" FROM ")[0])
            text = f"{text[:offset]}«{table}: {' '.join(columns)}»{text[offset + length :]}"
    return text


def title(case: Case) -> str:
    return case.title


@pytest.mark.parametrize("case", PASSED, ids=title)
def test_what_concerns_nobody_goes_upstream_byte_for_byte(case: Case) -> None:
    verdict = decided(case)
    assert verdict.refusal is None
    assert {statement.kind for statement in verdict.statements} == {"pass"}
    assert verdict.text == case.text.encode()
    assert not verdict.rewritten


@pytest.mark.parametrize("case", SECURED, ids=title)
def test_classified_relations_are_secured(case: Case) -> None:
    verdict = decided(case)
    assert verdict.refusal is None
    assert verdict.statements[-1].kind == case.kind
    assert shown(verdict) == case.shown


@pytest.mark.parametrize("case", FORMS, ids=title)
def test_forms_of_reading(case: Case) -> None:
    verdict = decided(case)
    assert verdict.refusal is None
    assert verdict.statements[-1].kind == case.kind
    assert case.shown in readable(verdict.text.decode())


@pytest.mark.parametrize("case", REFUSED, ids=title)
def test_refusals(case: Case) -> None:
    verdict = decided(case)
    assert verdict.refusal is not None
    assert verdict.refusal.sqlstate == case.kind
    assert case.shown in verdict.refusal.message + verdict.refusal.detail
    assert {statement.kind for statement in verdict.statements} == {"reject"}
