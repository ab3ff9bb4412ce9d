"""A small world with every kind of protected relation, and roles that differ in what they may do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

ROLES = ("migrator", "seer", "keeper", "analyst", "anything")

SCHEMA = """
CREATE SCHEMA app;
CREATE DOMAIN public.code AS text;
CREATE TYPE public.state AS ENUM ('open', 'closed');
CREATE TYPE public.shape AS (id int, phone varchar(20));
CREATE TABLE plans (id int PRIMARY KEY, title text);
CREATE TABLE people (
    id int PRIMARY KEY, name varchar(40), phone varchar(20), note text, card varchar(30), city text, born date,
    status public.state NOT NULL DEFAULT 'open', plan int REFERENCES plans, secret public.code, salary int);
CREATE TABLE consents (person int NOT NULL, purpose text, granted_at timestamptz);
CREATE TABLE fake_consents (LIKE consents INCLUDING ALL);
CREATE TABLE calls (id int, person int, callee varchar(20), started_at date NOT NULL) PARTITION BY RANGE (started_at);
CREATE TABLE calls_2025 PARTITION OF calls FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE calls_rest PARTITION OF calls DEFAULT;
CREATE TABLE orders (id int PRIMARY KEY, person int);
CREATE TABLE items (id int, of_order int, address text);
CREATE TABLE archive (id int, name varchar(40), phone varchar(20), born date, note text);
CREATE TABLE bare (id int, name varchar(40));
CREATE TABLE above (id int, word varchar(40));
CREATE TABLE below () INHERITS (above);
CREATE TABLE loose (id int, name varchar(40), phone varchar(20), word text);
CREATE VIEW book AS SELECT id, name, phone FROM people;
CREATE VIEW cards AS SELECT id, name AS holder FROM people;
CREATE MATERIALIZED VIEW copied AS SELECT id, name FROM people;
CREATE MATERIALIZED VIEW stale AS SELECT id, name FROM people;
CREATE FUNCTION app.trusted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION app.strange() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', NEW; RETURN NEW; END';
CREATE SEQUENCE numbering;
CREATE INDEX people_city ON people (city);
CREATE INDEX people_phone ON people (phone);
INSERT INTO plans VALUES (1, 'basic'), (2, 'more');
INSERT INTO people (id, name, phone, note, city, plan, salary) VALUES
    (1, 'Ann Archer', '13800004243', 'likes tea', 'Leeds', 1, 100),
    (2, 'Bob Baker', '13911112222', 'calls', 'York', 2, 200);
INSERT INTO consents VALUES (1, 'sales', '2020-01-01');
INSERT INTO calls VALUES (1, 1, '15900000001', '2025-05-05');
"""

POLICY = """
version: 1
name: schema
subjects:
  person:
    table: public.people
    key: id
    account: {column: status, states: {active: [open], closed: [closed]}}
    consent: {table: public.consents, subject: person, purpose: purpose, granted_at: granted_at}
  guest:
    table: public.guests
    key: id
    consent: {table: public.guest_consents, subject: guest, purpose: purpose}
  visitor:
    table: public.visitors
    key: id
    consent: {table: app.fake_consents, subject: person, purpose: purpose}
categories:
  name: {sensitivity: general, mask: name}
  phone: {sensitivity: general, mask: phone}
  birth: {sensitivity: sensitive, mask: year}
  other: {sensitivity: general, mask: redact}
  pay: {sensitivity: sensitive, mask: {range: {step: 100}}}
tables:
  public.people:
    subject: {kind: person, key: id}
    columns: {name: name, phone: phone, note: other, born: birth, secret: other, phone_old: phone, salary: pay}
  public.calls:
    subject: {kind: person, key: person}
    columns: {callee: phone}
  public.items:
    subject: {kind: person, via: {table: public.orders, column: of_order, key: id}}
    columns: {address: other}
  public.archive:
    subject: {kind: person, key: id}
    columns: {name: name, phone: phone, born: birth}
  public.former_items:
    columns: {address: other}
  public.below: {columns: {word: name}}
  public.cards: {columns: {holder: name}}
  public.copied: {columns: {name: name}}
purposes:
  sales: {description: Sell, basis: consent, categories: [name, phone, other]}
  audit: {description: Look, basis: legal_obligation, accounts: any, categories: ['*']}
roles:
  migrator: {ddl: true, purposes: [sales]}
  seer: {ddl: true, purposes: [audit], default_purpose: audit}
  keeper: {ddl: true, purposes: [audit], default_purpose: audit, manages: [person, guest, visitor]}
  analyst: {purposes: [audit], default_purpose: audit}
  anything: {ddl: true, code: true}
functions: {trusted: [app.trusted]}
"""

Connect = Callable[[str], psycopg.Connection[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A server of its own: roles are cluster-wide, and other tests' roles have the same names."""
    with EmbeddedPostgres(version=request.config.getoption("--postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def world(module_database: Database) -> Database:
    """The schema, and the roles, of which everybody may do everything that PostgreSQL has to say in."""
    for role in ROLES:
        module_database.execute(
            f"DO 'BEGIN CREATE ROLE {role} SUPERUSER LOGIN; EXCEPTION WHEN duplicate_object THEN END'"
        )
    module_database.execute(SCHEMA)
    return module_database


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def through(world: Database, policy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connect]:
    """Connects as a role by way of a proxy of the module's own."""
    upstream = world.dsn()
    folder = tmp_path_factory.mktemp("proxy")
    opened: list[psycopg.Connection[tuple[Any, ...]]] = []
    with Proxy(folder, "--policy", str(policy_file), "--upstream", upstream) as proxy:
        host, port = proxy.ready().rsplit(":", 1)

        def connect(role: str) -> psycopg.Connection[tuple[Any, ...]]:
            connection = psycopg.connect(world.through(host, int(port), role), autocommit=True, prepare_threshold=None)
            opened.append(connection)
            return connection

        yield connect
        for connection in opened:
            connection.close()
