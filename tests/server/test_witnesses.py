"""What happens if the engine misunderstands a statement: engines that let something through, before a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.catalog.catalogs import Catalogs
from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.engine.session_state import SessionState
from proxy.policy.loader import load
from proxy.server import Address, Plans, Server, ServerOptions
from proxy.session import CheckPlan
from proxy.verdict import Verdict
from proxy.wire import frontend
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient

POLICY = """
version: 1
name: clinic
subjects:
  patient:
    table: public.patients
    key: id
    consent: {table: public.consents, subject: patient, purpose: purpose}
categories:
  telephone_number: {sensitivity: general, mask: phone}
  name: {sensitivity: general, mask: name}
tables:
  public.patients:
    subject: {kind: patient, key: id}
    columns: {name: name, phone: telephone_number}
  public.visits:
    subject: {kind: patient, key: patient}
    columns: {note: name}
purposes:
  care: {description: To treat, basis: contract, categories: [telephone_number, name], accounts: any}
  research: {description: To learn, basis: consent, categories: [telephone_number], accounts: any}
roles:
  postgres: {purposes: [care, research]}
functions: {trusted: [public.wards_of]}
"""

SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, name text, phone varchar(20), ward int);
INSERT INTO patients VALUES (1, '张三', '13812345678', 7), (2, 'Anna', '13800000000', 8);
CREATE TABLE consents (patient int, purpose text);
INSERT INTO consents VALUES (1, 'research');
CREATE TABLE visits (patient int, note text, at date) PARTITION BY RANGE (at);
CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE wards (id int PRIMARY KEY, title text);
INSERT INTO wards VALUES (7, 'north'), (8, 'south');
"""

HIDDEN = "the result would show classified columns that the decision on the statement hides"


class Blind(ConsentEngine):
    """Decides rightly, and forgets to secure."""

    def decide(self, query: bytes, state: SessionState, now: datetime) -> Verdict:
        verdict = super().decide(query, state, now)
        return replace(verdict, text=query, edits=(), splices=(), literals_are_data=False)


class Misreading(ConsentEngine):
    """Sees no relation in anything."""

    def decide(self, query: bytes, state: SessionState, now: datetime) -> Verdict:
        verdict = super().decide(query, state, now)
        statements = tuple(replace(one, kind="pass", columns=(), raw_origins=frozenset()) for one in verdict.statements)
        return replace(verdict, text=query, edits=(), splices=(), statements=statements, literals_are_data=False)


class CountedPlans(Plans):
    """``asked``: every text that somebody waited for."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.asked: list[bytes] = []

    async def check(self, command: CheckPlan) -> tuple[str, ...]:
        self.asked.append(command.query)
        return await super().check(command)


class WatchedServer(RunningServer):
    """A server with the engine under test, in front of a real catalog and policy."""

    def __init__(
        self, options: ServerOptions, engine: ConsentEngine, policy: Path, dsn: str, plans: str | None
    ) -> None:
        self._consent = engine
        self._policy = policy
        self._dsn = dsn
        self._plans = plans
        super().__init__(options)

    async def _start(self) -> Server:
        loaded = load(self._policy).policy
        assert loaded is not None
        self.engine: Any = self._consent
        self.policies.policy = loaded
        self.catalogs: Any = Catalogs(self._dsn, 3600)
        self.plans = None if self._plans is None else CountedPlans(self._plans)
        return await super()._start()

    def stop(self) -> None:
        self.run(self.catalogs.close())
        if self.plans is not None:
            self.run(self.plans.close())
        super().stop()

    def events(self, kind: str) -> list[tuple[object, ...]]:
        return [event[1:] for event in self.journal.events if event[0] == kind]


Start = Callable[..., WatchedServer]


@pytest.fixture(scope="module")
def clinic(module_database: Database) -> Database:
    module_database.execute(SCHEMA)
    return module_database


@pytest.fixture(scope="module")
def start(postgres: EmbeddedPostgres, clinic: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A server with an engine of this class, the same one whenever it is asked for, with nothing in its journal."""
    running: dict[object, WatchedServer] = {}
    policy = tmp_path_factory.mktemp("witnesses") / "policy.yaml"
    policy.write_text(POLICY)

    def make(engine: type[ConsentEngine], *, plans: str | None = clinic.dsn()) -> WatchedServer:
        if (engine, plans) not in running:
            address = Address(postgres.host, postgres.port)
            options = ServerOptions((Address("127.0.0.1", 0),), address, grace_seconds=0.0)
            running[engine, plans] = WatchedServer(options, engine(), policy, clinic.dsn(), plans)
        server = running[engine, plans]
        server.journal.events.clear()
        return server

    yield make
    for server in running.values():
        server.stop()
        assert server.faults == []


def connect(server: WatchedServer, clinic: Database, purpose: str = "research") -> psycopg.Connection[Any]:
    dsn = clinic.through("127.0.0.1", server.port)
    return psycopg.connect(dsn, autocommit=True, options=f"-c consentry.purpose={purpose}")


# --- the result's description ---------------------------------------------------------------------------------------

LEAKS = {
    "a column": ("SELECT phone FROM patients", ("public.patients.phone",)),
    "among others": ("SELECT w.title, phone FROM patients p JOIN wards w ON w.id = ward", ("public.patients.phone",)),
    "through a subquery": ("SELECT x.n FROM (SELECT name AS n FROM patients) x", ("public.patients.name",)),
    "of a partition": ("SELECT note FROM visits_2026", ("public.visits_2026.note",)),
    "from the second statement": ("SELECT 1; SELECT phone FROM patients", ("public.patients.phone",)),
}


@pytest.mark.parametrize("engine", [Blind, Misreading])
@pytest.mark.parametrize("case", LEAKS)
def test_a_hidden_origin_ends_the_session(
    start: Start, clinic: Database, engine: type[ConsentEngine], case: str
) -> None:
    text, columns = LEAKS[case]
    server = start(engine, plans=None)
    with connect(server, clinic) as connection, pytest.raises(psycopg.errors.InternalError, match=HIDDEN) as raised:
        connection.execute(text.encode())
    assert connection.closed
    assert raised.value.diag.severity_nonlocalized == "FATAL"
    [(event, witness, found)] = server.events("alarm")
    assert witness == "row_description"
    assert found == columns
    assert event in [statement[0] for statement in server.events("statement")]
    assert server.events("session_end") == [("XX000",)]


def test_a_hidden_origin_ends_a_session_that_describes_what_it_prepares(start: Start, clinic: Database) -> None:
    server = start(Blind, plans=None)
    with connect(server, clinic) as connection, pytest.raises(psycopg.errors.InternalError, match=HIDDEN):
        connection.execute("SELECT phone FROM patients WHERE id = %s", [1], prepare=True)
    assert [event[1] for event in server.events("alarm")] == ["row_description"]


@pytest.mark.parametrize("binary", [False, True])
def test_origins_that_are_allowed_are_no_alarm(start: Start, clinic: Database, binary: bool) -> None:
    server = start(ConsentEngine)
    with connect(server, clinic, "care") as connection, connection.cursor(binary=binary) as cursor:
        for prepare in (False, True):
            seen = cursor.execute("SELECT *, phone FROM patients p WHERE id = %s", [1], prepare=prepare).fetchall()
            assert seen == [(1, "张三", "13812345678", 7, "13812345678")]
        with connection.transaction():
            cursor.execute("DECLARE c CURSOR FOR SELECT phone FROM patients ORDER BY id")
            cursor.execute("SET LOCAL consentry.purpose = 'research'")
            assert cursor.execute("FETCH ALL FROM c").fetchall() == [("13812345678",), ("13800000000",)]
        cursor.execute("SET consentry.purpose = 'research'")
        seen = cursor.execute("SELECT phone, ward, name FROM patients ORDER BY id").fetchall()
        assert seen == [("13812345678", 7, "张**"), ("138****0000", 8, "A**")]
    assert server.events("alarm") == []


def test_a_text_that_is_refused_for_now_may_be_described(start: Start, clinic: Database) -> None:
    """It has no rows, and its description is the upstream's own: a pool may prepare before it declares a purpose."""
    server = start(ConsentEngine)
    text = b"SELECT *, ctid FROM patients"
    describe = frontend.describe(frontend.STATEMENT, b"p") + frontend.SYNC_MESSAGE
    with RawClient("127.0.0.1", server.port, clinic.name) as client:
        assert client.ask(frontend.parse(b"p", text) + describe) == ["1", "t", "T", "Z I"]
        [refused, ready] = client.ask(frontend.bind(b"", b"p") + frontend.SYNC_MESSAGE)
        assert (refused[:15], ready) == ("E ERROR 0A000 c", "Z I")
        client.query("SET consentry.purpose = 'care'")
        bound = frontend.bind(b"", b"p") + frontend.describe(frontend.PORTAL, b"") + frontend.execute(b"", 1)
        assert client.ask(bound + describe)[:2] == ["2", "T"]
    assert server.events("alarm") == []
