"""``consentry check --dsn``: what a database's administrator should look at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from proxy.cli.check import check
from tests.fix_postgres import Database

POLICY = """
version: 1
name: live
subjects:
  person:
    table: public.people
    key: id
    account: {column: status, states: {active: [open]}}
    consent: {table: app.consents, subject: person, purpose: purpose, granted_at: granted_at}
categories: {name: {sensitivity: general, mask: name}, phone: {sensitivity: general, mask: phone}}
tables:
  public.people:
    subject: {kind: person, key: id}
    columns: {full_name: name, phone: phone}
  public.calls:
    subject: {kind: person, key: person}
    columns: {callee: phone}
  public.wards: {columns: {}}
purposes:
  sales: {description: Sell, basis: consent, categories: ['*']}
roles:
  seller: {purposes: [sales]}
"""

CLEAN = """
CREATE SCHEMA app;
CREATE TABLE people (id int PRIMARY KEY, full_name text, phone text, status text);
CREATE TABLE app.consents (person int, purpose text, granted_at timestamptz, PRIMARY KEY (person, purpose));
CREATE TABLE calls (id int PRIMARY KEY, person int, callee text);
CREATE INDEX ON calls (person);
CREATE TABLE wards (id int, street text);
GRANT USAGE ON SCHEMA app TO seller;
GRANT SELECT ON people, app.consents, calls TO seller;
"""

CASES = {
    "clean": ("", []),
    "keys and indexes": (
        """
        ALTER TABLE app.consents DROP CONSTRAINT consents_pkey, ADD UNIQUE (person, purpose, granted_at);
        ALTER TABLE people DROP CONSTRAINT people_pkey;
        DROP INDEX calls_person_idx;
        CREATE INDEX ON calls (id, person);
        CREATE INDEX ON calls (person) WHERE id > 3
        """,
        [
            ("consent-key", "app.consents may hold several rows for one person and purpose"),
            ("subject-index", "no index of public.people begins with id"),
            ("subject-index", "no index of public.calls begins with person"),
        ],
    ),
    "roles that lack a privilege": (
        """
        REVOKE ALL ON app.consents, people FROM seller;
        GRANT SELECT (person) ON app.consents TO seller;
        GRANT SELECT (id, phone) ON people TO seller;
        REVOKE USAGE ON SCHEMA app FROM seller
        """,
        [
            ("privilege", "GRANT USAGE ON SCHEMA app TO seller"),
            ("privilege", "GRANT SELECT (granted_at, purpose) ON app.consents TO seller"),
            ("privilege", "GRANT SELECT (status) ON public.people TO seller"),
        ],
    ),
    "code that nobody trusts": (
        """
        CREATE FUNCTION app.spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE FUNCTION app.even(n int) RETURNS boolean LANGUAGE sql RETURN n % 2 = 0;
        CREATE TRIGGER spied BEFORE INSERT OR UPDATE ON calls FOR EACH ROW EXECUTE FUNCTION app.spy();
        CREATE DOMAIN app.even_number AS int CHECK (app.even(VALUE));
        ALTER TABLE people ADD COLUMN visits app.even_number;
        ALTER TABLE app.consents RENAME TO log;
        CREATE VIEW app.consents AS SELECT DISTINCT person, purpose, granted_at FROM app.log WHERE app.even(person);
        GRANT SELECT ON app.consents TO seller
        """,
        [
            ("untrusted-code", "INSERT into, UPDATE of public.people runs app.even"),
            ("untrusted-code", "INSERT into, UPDATE of public.calls runs app.spy"),
            ("untrusted-code", "reading app.consents runs app.even"),
        ],
    ),
    "a role that reads nothing classified": (
        "REVOKE ALL ON people, calls, app.consents FROM seller; GRANT SELECT (id, person) ON calls TO seller",
        [],
    ),
    "copies and columns that nobody classified": (
        """
        CREATE TABLE leftover AS SELECT * FROM people;
        CREATE TABLE app.half AS SELECT id, phone FROM people;
        CREATE TABLE other (full_name int, callee int);
        CREATE MATERIALIZED VIEW seen AS SELECT id, phone FROM people;
        ALTER TABLE people ADD COLUMN "birthDate" date, ADD COLUMN vip_email boolean, ADD COLUMN 手机号 text;
        CREATE TABLE guests (id int, email_address text, number int, filename text, hostname text, street_no int)
        """,
        [
            ("unclassified-copy", "public.seen holds rows of public.people"),
            ("likely-copy", "app.half looks like a copy of public.people (phone)"),
            ("likely-copy", "public.leftover looks like a copy of public.people (full_name, phone)"),
            ("unclassified-personal", "public.guests.email_address"),
            ("unclassified-personal", "public.guests.street_no"),
            ("unclassified-personal", "public.other.full_name"),
            ("unclassified-personal", "public.people.birthDate"),
            ("unclassified-personal", "public.people.手机号"),
            ("unclassified-personal", "public.seen.phone"),
        ],
    ),
}


_app = typer.Typer()
_app.command()(check)


@pytest.fixture
def live(database: Database) -> Database:
    database.execute("DO 'BEGIN CREATE ROLE seller LOGIN; EXCEPTION WHEN duplicate_object THEN END'")
    database.execute(CLEAN)
    return database


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", "check", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("title", CASES)
def test_findings(title: str, live: Database, tmp_path: Path) -> None:
    changed, expected = CASES[title]
    if changed:
        live.execute(changed)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    done = CliRunner().invoke(_app, [str(policy), "--dsn", live.dsn(), "--output", "json"])
    assert done.exit_code == 0, done.output
    found = [(one["code"], one["message"]) for one in json.loads(done.stdout)["diagnostics"]]
    assert [code for code, _ in found] == [code for code, _ in expected], found
    for (_, words), (_, message) in zip(expected, found, strict=True):
        assert words in message


def test_the_event_trigger_announces_schema_changes(live: Database) -> None:
    done = run("--print-trigger")
    assert done.returncode == 0
    live.execute(done.stdout)
    with psycopg.connect(live.dsn(), autocommit=True) as listening:
        listening.execute("LISTEN consentry_catalog")
        for text in ("CREATE TABLE made (id int)", "ALTER TABLE made ADD COLUMN phone text", "DROP TABLE made"):
            live.execute(text)
            assert [one.channel for one in listening.notifies(timeout=5, stop_after=1)] == ["consentry_catalog"]


def test_without_a_policy_there_is_nothing_to_check() -> None:
    assert run().returncode != 0
