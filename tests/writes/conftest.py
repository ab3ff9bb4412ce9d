"""A proxy before a database of subscribers with accounts and consents of every kind, as it was before each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

POLICY = Path(__file__).parent / "policy.yaml"
ROLES = ("billing", "signup", "clerk", "registrar", "support", "myself", "nobody")

SCHEMA = """
CREATE TABLE subscribers (id int PRIMARY KEY, full_name text, phone varchar(20) UNIQUE, id_number text, plan text,
    status text NOT NULL DEFAULT 'active');
CREATE TABLE consents (subscriber_id int REFERENCES subscribers ON DELETE CASCADE, purpose text,
    granted_at timestamptz DEFAULT now(), withdrawn_at timestamptz, expires_at timestamptz,
    is_express bool DEFAULT false, notice_version int DEFAULT 2);
CREATE INDEX ON consents (subscriber_id, purpose);
CREATE TABLE calls (id int PRIMARY KEY, subscriber_id int REFERENCES subscribers ON DELETE CASCADE, callee text,
    started_at timestamptz DEFAULT now(), seconds int, cell text);
CREATE TABLE invoices (id int PRIMARY KEY, subscriber_id int REFERENCES subscribers ON DELETE CASCADE, total int);
CREATE TABLE lines (id int PRIMARY KEY, invoice_id int REFERENCES invoices ON DELETE CASCADE, ship_to text,
    amount int);
CREATE TABLE moves (id int, subscriber_id int, address text, year int, PRIMARY KEY (id, year))
    PARTITION BY RANGE (year);
CREATE TABLE moves_old PARTITION OF moves FOR VALUES FROM (2000) TO (2020);
CREATE TABLE moves_new PARTITION OF moves FOR VALUES FROM (2020) TO (2040);
CREATE TABLE plans (code text PRIMARY KEY, price int);
ALTER TABLE subscribers ADD CHECK (plan <> '');
CREATE VIEW dials AS SELECT id, subscriber_id AS who, callee, started_at FROM calls;
CREATE VIEW agreed AS SELECT subscriber_id, purpose FROM consents;
CREATE VIEW contacts AS SELECT id, full_name AS name, phone FROM subscribers;
CREATE VIEW tariffs AS SELECT id, plan FROM subscribers;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {roles};
GRANT CREATE, TEMPORARY ON DATABASE {database} TO {roles};
"""
DATA = """
DELETE FROM consents; DELETE FROM calls; DELETE FROM lines; DELETE FROM invoices; DELETE FROM moves;
DELETE FROM plans; DELETE FROM subscribers;
INSERT INTO subscribers (id, full_name, phone, id_number, plan, status)
    SELECT n, 'Anna ' || n, '1380000000' || n, '11010119900101000' || n, 'basic',
        CASE n WHEN 6 THEN 'closed' WHEN 7 THEN 'legal_hold' ELSE 'active' END FROM generate_series(1, 8) n;
INSERT INTO consents (subscriber_id, purpose, withdrawn_at, expires_at, is_express, notice_version) VALUES
    (1, 'billing', NULL, NULL, true, 2), (2, 'billing', NULL, NULL, false, 2),
    (3, 'billing', now() - interval '1 day', NULL, true, 2), (4, 'billing', NULL, now() - interval '1 day', true, 2),
    (5, 'billing', NULL, NULL, true, 1), (6, 'billing', NULL, NULL, true, 2), (7, 'billing', NULL, NULL, true, 2),
    (1, 'cleaning', NULL, NULL, true, 2), (1, 'names', NULL, NULL, true, 2);
INSERT INTO calls SELECT n, n, '1390000000' || n, now(), 60, 'cell ' || n FROM generate_series(1, 8) n;
INSERT INTO invoices SELECT n, n, 10 FROM generate_series(1, 8) n;
INSERT INTO lines SELECT n, n, 'Street ' || n, 10 FROM generate_series(1, 8) n;
INSERT INTO moves SELECT n, n, 'Street ' || n, 2019 + n % 2 FROM generate_series(1, 8) n;
INSERT INTO plans VALUES ('basic', 10), ('full', 20);
"""
"""Subscriber 1 consents expressly, 2 not expressly; 3 has withdrawn, 4's consent has expired, 5 was given an older
notice; 6's account is closed, 7's is frozen; 8 never consented."""

Connect = Callable[..., psycopg.Connection[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A server of its own: roles are cluster-wide, and other tests' roles have the same names."""
    with EmbeddedPostgres(version=request.config.getoption("--postgres")) as server:
        yield server


@pytest.fixture(scope="package")
def roles(postgres: EmbeddedPostgres) -> Iterator[tuple[str, ...]]:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    yield ROLES
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.fixture(scope="module")
def filled(roles: tuple[str, ...], module_database: Database) -> Database:
    module_database.execute(SCHEMA.format(database=module_database.name, roles=", ".join(roles)))
    return module_database


@pytest.fixture(scope="module")
def address(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("writes")
    with Proxy(folder, "--policy", str(POLICY), "--upstream", filled.dsn()) as proxy:
        host, _, port = proxy.ready().rpartition(":")
        yield host, int(port)


@pytest.fixture
def direct(filled: Database) -> Database:
    """The database without the proxy, with its data as it was."""
    filled.execute(DATA)
    return filled


@pytest.fixture
def connect(direct: Database, address: tuple[str, int]) -> Iterator[Connect]:
    """Connections by way of the proxy, in autocommit mode."""
    made: list[psycopg.Connection[tuple[Any, ...]]] = []

    def connected(role: str, **settings: str) -> psycopg.Connection[tuple[Any, ...]]:
        options = " ".join(f"-c consentry.{name}={value}" for name, value in settings.items())
        url = direct.through(*address, role)
        made.append(psycopg.connect(url, autocommit=True, options=options))
        return made[-1]

    yield connected
    for connection in made:
        connection.close()
