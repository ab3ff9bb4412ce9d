"""set_config with its value as a parameter, as drivers send it who bind what they are given: what is judged, and runs,
is the statement with the value in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.server import Address, ServerOptions
from tests.fix_postgres import Database
from tests.server.test_witnesses import WatchedServer

POLICY = """
version: 1
name: clinic
subjects:
  patient: {table: public.patients, key: id}
categories:
  telephone_number: {sensitivity: general, mask: phone}
tables:
  public.patients:
    subject: {kind: patient, key: id}
    columns: {phone: telephone_number}
purposes:
  care: {description: To treat, basis: contract, categories: [], accounts: any}
roles:
  postgres: {purposes: [care], default_purpose: care, ddl: true}
"""
SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, phone text);
INSERT INTO patients VALUES (1, '13800000001');
CREATE SCHEMA other;
CREATE TABLE other.patients (id int, phone text);
INSERT INTO other.patients VALUES (2, 'other');
"""
SET = "SELECT set_config('search_path', %s, false)"
SET_LOCAL = "SELECT set_config('search_path', %s, true)"
READ = "SELECT phone FROM patients"

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def clinic(module_database: Database) -> Database:
    module_database.execute(SCHEMA)
    return module_database


@pytest.fixture(scope="module")
def server(
    postgres: EmbeddedPostgres, clinic: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WatchedServer]:
    policy = tmp_path_factory.mktemp("settings") / "policy.yaml"
    policy.write_text(POLICY)
    options = ServerOptions((Address("127.0.0.1", 0),), Address(postgres.host, postgres.port), grace_seconds=0.0)
    running = WatchedServer(options, ConsentEngine(), policy, clinic.dsn(), None)
    yield running
    running.stop()
    assert running.faults == []


@pytest.fixture
def connection(server: WatchedServer, clinic: Database) -> Iterator[Connection]:
    with psycopg.connect(clinic.through("127.0.0.1", server.port), autocommit=True) as connected:
        yield connected


def value(connection: Connection, statement: str, *parameters: object, **options: bool) -> object:
    row = connection.execute(statement, parameters or None, **options).fetchone()
    return None if row is None else row[0]


@pytest.mark.parametrize(
    "text", ["other", "other, public", "", "we'ird", r"a\b", r"\'", '"Ä", other', "$1", '"/*x*/ --"']
)
@pytest.mark.parametrize("binary", [False, True])
def test_the_value_is_set_as_it_came(connection: Connection, text: str, binary: bool) -> None:
    assert value(connection, SET.replace("%s", "%b" if binary else "%s"), text, binary=binary) == text
    assert value(connection, "SHOW search_path") == text


def test_names_mean_what_the_path_makes_of_them(connection: Connection) -> None:
    for path, seen in (("other", "other"), ("public", "138****0001"), ("other, public", "other")):
        value(connection, SET, path)
        assert value(connection, READ) == seen


def test_a_prepared_statement_sets_each_value_that_is_bound(connection: Connection) -> None:
    for number in range(20):
        path = f"s{number}, {'other' if number % 2 else 'public'}"
        assert value(connection, SET, path, prepare=True) == path
        assert value(connection, "SHOW search_path") == path
        assert value(connection, READ) == ("other" if number % 2 else "138****0001")


def test_transactions_end_it(connection: Connection) -> None:
    value(connection, SET, "public")
    with connection.transaction():
        value(connection, SET_LOCAL, "other")
        assert value(connection, READ) == "other"
    assert value(connection, READ) == "138****0001"
    with connection.transaction(force_rollback=True):
        value(connection, SET, "other")
        with connection.transaction(force_rollback=True):
            value(connection, SET, "public")
            assert value(connection, READ) == "138****0001"
        assert value(connection, READ) == "other"
    assert value(connection, READ) == "138****0001"


def test_in_a_pipeline_the_next_statement_knows(connection: Connection) -> None:
    with connection.pipeline():
        results = [
            connection.execute(*one) for path in ("other", "public", "other") for one in ((SET, [path]), (READ, None))
        ]
        seen = [result.fetchone() for result in results[1::2]]
    assert seen == [("other",), ("138****0001",), ("other",)]


REFUSED = {
    "another encoding": ("SELECT set_config('client_encoding', %s, false)", "latin1", "must stay UTF8"),
    "other strings": ("SELECT set_config('standard_conforming_strings', %s, false)", "off", "must stay on"),
    "what a purpose is": ("SELECT set_config('consentry.purpose', %s, false)", "care", "must stand alone"),
    "a name": ("SELECT set_config(%s, 'other', false)", "search_path", "computed name"),
    "nothing": (SET, None, "must stand alone"),
    "more than names have": (SET, "x" * 5000, "must stand alone"),
    "much more": (SET, "x" * 500_000, "must stand alone"),
    "beside something": ("SELECT set_config('search_path', %s, false), 1", "other", "must stand alone"),
    "for each row": ("SELECT set_config('search_path', %s, false) FROM other.patients", "other", "must stand alone"),
    "within something": ("SELECT upper(set_config('search_path', %s, false))", "other", "must stand alone"),
    "a part of it": ("SELECT set_config('search_path', 'pub' || %s, false)", "lic", "must stand alone"),
}


@pytest.mark.parametrize(("statement", "parameter", "why"), REFUSED.values(), ids=REFUSED)
def test_what_may_not_be_set_is_refused(connection: Connection, statement: str, parameter: object, why: str) -> None:
    value(connection, SET, "public")
    for prepare in (False, True):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=why):
            connection.execute(statement, [parameter], prepare=prepare)
    assert value(connection, "SHOW search_path") == "public"
    assert value(connection, READ) == "138****0001"


def test_utf8_by_any_of_its_names(connection: Connection) -> None:
    assert value(connection, "SELECT set_config('client_encoding', %s, false)", "utf-8") == "UTF8"
