"""Parse messages that declare types of parameters: a Bind runs the input functions and checks behind them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.server import Address, ServerOptions
from proxy.wire import frontend
from tests.fix_postgres import Database
from tests.server.raw import RawClient, without_rows
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
  care: {description: To treat, basis: contract, categories: [telephone_number], accounts: any}
roles:
  postgres: {purposes: [care], ddl: true}
  keeper: {purposes: [care], code: true}
functions: {trusted: [public.even]}
"""

SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, phone text);
INSERT INTO patients VALUES (1, 'SECRET');
CREATE FUNCTION even(n int) RETURNS boolean LANGUAGE sql RETURN n % 2 = 0;
CREATE FUNCTION peek(t text) RETURNS boolean LANGUAGE plpgsql AS
  $$BEGIN RAISE NOTICE '%', (SELECT phone FROM public.patients); RETURN true; END$$;
CREATE DOMAIN plain AS text CHECK (VALUE <> 'x');
CREATE DOMAIN pair AS int CHECK (even(VALUE));
CREATE DOMAIN spy AS text CHECK (peek(VALUE));
CREATE DOMAIN agent AS spy;
CREATE TYPE mood AS ENUM ('low', 'high');
CREATE TYPE holds_spy AS (n int, s spy);
CREATE TYPE holds_plain AS (n int, s plain);
CREATE TYPE spans AS RANGE (subtype = float8);
CREATE TYPE spies AS RANGE (subtype = spy);
GRANT SELECT ON patients TO PUBLIC;
"""

OPEN = {
    "a domain whose check only compares": ("plain", "a"),
    "a domain whose check is trusted": ("pair", "2"),
    "an enum": ("mood", "low"),
    "an array of an enum": ("mood[]", "{low,high}"),
    "a composite type": ("holds_plain", "(1,a)"),
    "the rows of a table": ("patients", "(1,a)"),
    "a range": ("spans", "[1,2)"),
    "a multirange": ("spans_multirange", "{[1,2)}"),
}

CLOSED = {
    "a domain": ("spy", "a"),
    "a domain over it": ("agent", "a"),
    "an array of it": ("spy[]", "{a}"),
    "a composite type that holds it": ("holds_spy", "(1,a)"),
    "an array of those": ("holds_spy[]", '{"(1,a)"}'),
    "a range of it": ("spies", "[a,b)"),
}
NOT_TRUSTED = "E ERROR 42501 consentry: the conversion to public."


@pytest.fixture(scope="module")
def clinic(module_database: Database) -> Database:
    module_database.execute(SCHEMA)
    return module_database


@pytest.fixture(scope="module")
def server(
    postgres: EmbeddedPostgres, clinic: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WatchedServer]:
    policy = tmp_path_factory.mktemp("types") / "policy.yaml"
    policy.write_text(POLICY)
    options = ServerOptions((Address("127.0.0.1", 0),), Address(postgres.host, postgres.port), grace_seconds=0.0)
    running = WatchedServer(options, ConsentEngine(), policy, clinic.dsn(), None)
    yield running
    running.stop()
    assert running.faults == []


@pytest.fixture
def client(server: WatchedServer, clinic: Database) -> Iterator[RawClient]:
    with RawClient("127.0.0.1", server.port, clinic.name) as connected:
        yield connected


def oid(database: Database, name: str) -> int:
    [(found,)] = database.execute(f"SELECT '{name}'::regtype::oid")
    return int(found)


def parse(text: str, *oids: int, name: str = "") -> bytes:
    types = len(oids).to_bytes(2, "big") + b"".join(one.to_bytes(4, "big") for one in oids)
    return frontend.parse(name.encode(), text.encode(), types)


def run(value: str, name: str = "") -> bytes:
    rest = b"\0\0\0\1" + len(value).to_bytes(4, "big") + value.encode() + b"\0\0"
    return frontend.bind(b"", name.encode(), rest) + frontend.execute(b"")


@pytest.mark.parametrize("case", OPEN)
def test_a_type_whose_code_is_trusted_passes(clinic: Database, client: RawClient, case: str) -> None:
    name, value = OPEN[case]
    asked = parse("SELECT $1 IS NULL", oid(clinic, name)) + run(value) + frontend.SYNC_MESSAGE
    assert client.ask(asked) == ["1", "2", "D f", "C SELECT 1", "Z I"]


@pytest.mark.parametrize("case", CLOSED)
def test_a_type_that_runs_untrusted_code_is_refused(clinic: Database, client: RawClient, case: str) -> None:
    name, value = CLOSED[case]
    asked = parse("SELECT $1 IS NULL", 23, oid(clinic, name)) + run(value) + frontend.SYNC_MESSAGE
    [refused, ready] = client.ask(asked)
    assert refused.startswith(NOT_TRUSTED)
    assert ready == "Z I"


def test_a_role_that_may_run_any_code_is_not_asked(server: WatchedServer, clinic: Database) -> None:
    clinic.execute("DROP ROLE IF EXISTS keeper; CREATE ROLE keeper LOGIN")
    with RawClient("127.0.0.1", server.port, clinic.name, "keeper") as client:
        asked = parse("SELECT $1 IS NULL", oid(clinic, "spy")) + run("a") + frontend.SYNC_MESSAGE
        assert without_rows(client.ask(asked))[-2:] == ["C SELECT 1", "Z I"]


def test_a_type_is_judged_again_at_bind(clinic: Database, client: RawClient) -> None:
    """Parse runs nothing; what the type runs is what it runs when a value comes."""
    client.query("CREATE DOMAIN later AS text")
    asked = parse("SELECT $1 IS NULL", oid(clinic, "later"), name="s") + frontend.SYNC_MESSAGE
    assert client.ask(asked) == ["1", "Z I"]
    clinic.execute("ALTER DOMAIN later ADD CHECK (peek(VALUE))")
    assert client.query("COMMENT ON DOMAIN plain IS 'has the catalog read anew'") == ["C COMMENT", "Z I"]
    [refused, ready] = client.ask(run("a", "s") + frontend.SYNC_MESSAGE)
    assert refused.startswith(NOT_TRUSTED)
    assert ready == "Z I"


def test_a_type_that_another_session_made_is_looked_up(clinic: Database, client: RawClient) -> None:
    clinic.execute("CREATE TYPE fresh AS ENUM ('new')")
    asked = parse("SELECT $1 IS NULL", oid(clinic, "fresh")) + run("new") + frontend.SYNC_MESSAGE
    assert client.ask(asked) == ["1", "2", "D f", "C SELECT 1", "Z I"]


def test_a_type_that_nobody_knows_is_refused(client: RawClient) -> None:
    unknown = "E ERROR 42501 consentry: a parameter is declared to be of a type that cannot be judged"
    client.query("CREATE TEMP TABLE mine (n int)")
    client.send(frontend.query(b"SELECT 'mine'::regtype::oid"))
    [row] = [line for line in client.read_until_ready() if line.startswith("D ")]
    for number in (int(row[2:]), 4_000_000_000):
        asked = parse("SELECT $1 IS NULL", number) + run("(1)") + frontend.SYNC_MESSAGE
        assert client.ask(asked) == [unknown, "Z I"]


def test_drivers_that_know_types_are_served(server: WatchedServer, clinic: Database) -> None:
    with psycopg.connect(clinic.through("127.0.0.1", server.port), autocommit=True) as connection:
        info = psycopg.types.TypeInfo.fetch(connection, "mood")
        assert info is not None
        [(found,)] = connection.execute("SELECT %s::mood[]", [["low"]]).fetchall()
        assert found in ("{low}", ["low"])
