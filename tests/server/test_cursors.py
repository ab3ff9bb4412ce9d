"""Cursors and portals go on under the decision with which they began while it stands, and say so to the audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.errors import Refusal
from proxy.journal import SessionFacts
from proxy.policy.loader import load
from proxy.policy.model import Policy
from proxy.server import Address, ServerOptions
from proxy.verdict import StatementVerdict
from proxy.wire.frontend import PORTAL, SYNC_MESSAGE, bind, describe, execute, parse
from tests.fix_postgres import Database
from tests.server.raw import RawClient, pipeline, simple
from tests.server.test_witnesses import WatchedServer
from tests.session.rules import MemoryJournal

POLICY = """
version: 1
name: clinic
subjects:
  patient: {table: public.patients, key: id}
categories:
  telephone_number: {sensitivity: general, mask: MASK}
tables:
  public.patients:
    subject: {kind: patient, key: id}
    columns: {phone: telephone_number}
purposes:
  care: {description: To treat, basis: contract, categories: [telephone_number], accounts: any}
  research: {description: To learn, basis: contract, categories: [], accounts: any}
roles:
  postgres: {purposes: [PURPOSES]}
SUSPENSIONS
"""
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, phone text);
INSERT INTO patients VALUES (1, '13812345678'), (2, '13800000000'), (3, '13811111111');
CREATE TABLE wards (name text);
INSERT INTO wards VALUES ('north'), ('south');
"""
RAW = ["D 13812345678", "D 13800000000", "D 13811111111"]
MASKED = ["D 138****5678", "D 138****0000", "D 138****1111"]
PHONES = "SELECT phone FROM patients ORDER BY id"
HELD = f"DECLARE c CURSOR WITH HOLD FOR {PHONES}"
CURSOR_CHANGED = "E ERROR 42501 consentry: the decision on this cursor changed since it was declared"
PORTAL_CHANGED = "E ERROR 42501 consentry: the decision on this statement changed since it began to run"
UNBOUND = "E ERROR 42501 consentry: the decision on this statement changed since it was bound"


class Journal(MemoryJournal):
    """``said`` of each statement: its text, what became of it, its columns and its purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str, tuple[str, ...], str | None]] = []

    def statement(
        self,
        facts: SessionFacts,
        event_id: str,
        statement: StatementVerdict,
        policy: Policy,
        refusal: Refusal | None,
        subjects: tuple[tuple[str, str], ...] = (),
    ) -> None:
        said = refusal.sqlstate if refusal is not None else statement.kind
        columns = tuple(f"{use.column} {use.decision}" for use in statement.columns)
        self.said.append((statement.normalized, said, columns, statement.purpose))
        super().statement(facts, event_id, statement, policy, refusal, subjects)


class Clinic(WatchedServer):
    """``reload`` swaps the policy; ``now`` is the engine's time; ``heard`` is the journal."""

    heard: Journal

    def __init__(self, options: ServerOptions, folder: Path, dsn: str) -> None:
        self.now = NOON
        self.folder = folder
        super().__init__(options, ConsentEngine(lambda: self.now), self.written(), dsn, None)

    def written(self, mask: str = "phone", purposes: str = "care, research", suspensions: str = "") -> Path:
        text = POLICY.replace("MASK", mask).replace("PURPOSES", purposes).replace("SUSPENSIONS", suspensions)
        policy = self.folder / "policy.yaml"
        policy.write_text(text)
        return policy

    async def _start(self) -> Any:
        self.journal = self.heard = Journal()
        return await super()._start()

    def reload(self, **changes: str) -> None:
        loaded = load(self.written(**changes)).policy
        assert loaded is not None
        self.policies.policy = loaded

    def said(self, text: str) -> list[tuple[str, tuple[str, ...], str | None]]:
        return [one[1:] for one in self.heard.said if one[0] == text]


@pytest.fixture(scope="module")
def database(module_database: Database) -> Database:
    module_database.execute(SCHEMA)
    return module_database


@pytest.fixture(scope="module")
def running(
    postgres: EmbeddedPostgres, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clinic]:
    options = ServerOptions((Address("127.0.0.1", 0),), Address(postgres.host, postgres.port), grace_seconds=0.0)
    server = Clinic(options, tmp_path_factory.mktemp("cursors"), database.dsn())
    yield server
    server.stop()
    assert server.faults == []


@pytest.fixture
def server(running: Clinic) -> Clinic:
    """As it was at its start."""
    running.now = NOON
    running.reload()
    running.heard.said.clear()
    return running


@pytest.fixture
def client(server: Clinic, database: Database) -> Iterator[RawClient]:
    with RawClient("127.0.0.1", server.port, database.name) as connected:
        yield connected


def rows(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("D", "E"))]


def bound(text: str, name: str = "p") -> bytes:
    return parse(b"", text.encode()) + bind(name.encode(), b"") + SYNC_MESSAGE


# --- what the audit hears -------------------------------------------------------------------------------------------


def test_fetch_is_audited_as_what_it_hands_out(server: Clinic, client: RawClient) -> None:
    client.query("SET consentry.notify = on")
    client.query(f"BEGIN; DECLARE c CURSOR FOR {PHONES}")
    lines = client.query("FETCH 2 FROM c")
    assert rows(lines) == MASKED[:2]
    assert [line for line in lines if line.startswith("N NOTICE")]
    client.query("MOVE ALL IN c")
    masked = ("mask", ("public.patients.phone mask",), None)
    assert server.said("FETCH ? FROM c") == [masked]
    assert server.said("MOVE ALL IN c") == [masked]


def test_fetch_in_the_message_that_declares(server: Clinic, client: RawClient) -> None:
    fetched = client.query(f"BEGIN; DECLARE c CURSOR FOR {PHONES}; FETCH 1 FROM c; CLOSE c; COMMIT")
    assert rows(fetched) == MASKED[:1]
    assert server.said("FETCH ? FROM c") == [("mask", ("public.patients.phone mask",), None)]


def test_fetch_of_what_nobody_objects_to_passes(server: Clinic, client: RawClient) -> None:
    client.query("BEGIN; DECLARE c CURSOR FOR SELECT name FROM wards")
    assert rows(client.query("FETCH ALL FROM c")) == ["D north", "D south"]
    assert server.said("FETCH ALL FROM c") == [("pass", (), None)]
    assert rows(client.query("FETCH ALL FROM nothing")) == ['E ERROR 34000 cursor "nothing" does not exist']


def test_the_purpose_of_a_cursor_is_that_of_its_declaration(server: Clinic, client: RawClient) -> None:
    client.query("SET consentry.purpose = 'care'")
    client.query(f"BEGIN; DECLARE c CURSOR FOR {PHONES}")
    client.query("SET LOCAL consentry.purpose = 'research'")
    assert rows(client.query("FETCH ALL FROM c")) == RAW
    assert server.said("FETCH ALL FROM c") == [("allow", ("public.patients.phone allow",), "care")]


# --- what ends a cursor ---------------------------------------------------------------------------------------------

TAKEN = {"purposes": "research"}
SUSPENDED = {"suspensions": "suspensions: [{purpose: care, from: 2026-11-01T00:00:00Z, until: null, reason: order}]"}
OTHER_MASK = {"mask": "redact"}

Change = Callable[[Clinic], None]
CHANGES: dict[str, tuple[str, Change, bool]] = {
    "the same policy again": ("care", lambda server: server.reload(), True),
    "the purpose is not granted any more": ("care", lambda server: server.reload(**TAKEN), False),
    "the purpose is suspended": ("care", lambda server: server.reload(**SUSPENDED), False),
    "another mask": ("research", lambda server: server.reload(**OTHER_MASK), False),
    "a mask that it does not show": ("care", lambda server: server.reload(**OTHER_MASK), True),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("declare", [HELD, f"SELECT 1; {HELD} ; SELECT 2", f"DECLARE c CURSOR FOR {PHONES}"])
def test_a_cursor_after_a_reload(server: Clinic, client: RawClient, case: str, declare: str) -> None:
    purpose, change, goes_on = CHANGES[case]
    client.query(f"SET consentry.purpose = '{purpose}'")
    if "HOLD" not in declare:
        client.query("BEGIN")
    client.query(declare)
    seen = RAW if purpose == "care" else MASKED
    assert rows(client.query("FETCH 1 FROM c")) == seen[:1]
    change(server)
    assert rows(client.query("FETCH 1 FROM c")) == (seen[1:2] if goes_on else [CURSOR_CHANGED])
    assert rows(client.ask(execute(b"c", 1) + SYNC_MESSAGE))[-1:] != seen[2:] or goes_on


@pytest.mark.parametrize("case", CHANGES)
def test_a_portal_after_a_reload(server: Clinic, client: RawClient, case: str) -> None:
    purpose, change, goes_on = CHANGES[case]
    client.query(f"SET consentry.purpose = '{purpose}'")
    seen = RAW if purpose == "care" else MASKED
    client.query("BEGIN")
    assert rows(client.ask(bound(PHONES) + execute(b"p", 1) + SYNC_MESSAGE, 2)) == seen[:1]
    change(server)
    assert rows(client.ask(execute(b"p", 1) + SYNC_MESSAGE)) == (seen[1:2] if goes_on else [PORTAL_CHANGED])


def test_a_suspension_that_begins_ends_cursors_and_portals(server: Clinic, client: RawClient) -> None:
    server.reload(suspensions="suspensions: [{purpose: care, from: 2026-11-01T13:00:00Z, until: null, reason: order}]")
    client.query("SET consentry.purpose = 'care'")
    client.query(HELD)
    client.query("BEGIN")
    assert rows(client.ask(bound(PHONES) + execute(b"p", 1) + SYNC_MESSAGE, 2)) == RAW[:1]
    assert rows(client.query("FETCH 1 FROM c")) == RAW[:1]
    server.now = NOON + timedelta(hours=2)
    server.run(_expire(server))
    assert rows(client.ask(execute(b"p", 1) + SYNC_MESSAGE)) == [PORTAL_CHANGED]
    client.query("ROLLBACK")
    assert rows(client.query("FETCH 1 FROM c")) == [CURSOR_CHANGED]
    client.query("CLOSE c")
    assert rows(client.query("FETCH 1 FROM c")) == ['E ERROR 34000 cursor "c" does not exist']


async def _expire(server: Clinic) -> None:
    server.engine.expire()


def test_a_portal_goes_on_when_the_purpose_changes(client: RawClient) -> None:
    client.query("BEGIN")
    assert rows(client.ask(bound(PHONES) + execute(b"p", 1) + SYNC_MESSAGE, 2)) == MASKED[:1]
    client.query("SET LOCAL consentry.purpose = 'care'")
    assert rows(client.ask(execute(b"p", 1) + SYNC_MESSAGE)) == MASKED[1:2]


# --- one name space for portals and cursors -------------------------------------------------------------------------


def test_fetch_reads_a_portal_that_was_bound(server: Clinic, client: RawClient) -> None:
    client.query("SET consentry.purpose = 'care'")
    client.query("BEGIN")
    client.ask(bound(PHONES))
    assert rows(client.query("FETCH 1 FROM p")) == RAW[:1]
    client.query("SET LOCAL consentry.purpose = 'research'")
    assert rows(client.query("FETCH 1 FROM p")) == RAW[1:2]
    assert server.said("FETCH ? FROM p") == [("allow", ("public.patients.phone allow",), "care")] * 2


def test_fetch_of_a_portal_under_another_purpose_is_refused_as_execute_is(client: RawClient) -> None:
    client.query("SET consentry.purpose = 'care'")
    client.query("BEGIN")
    client.ask(bound(PHONES))
    client.query("SET LOCAL consentry.purpose = 'research'")
    assert rows(client.query("FETCH ALL FROM p")) == [UNBOUND]


@pytest.mark.parametrize("text", ["SELECT set_config('consentry.purpose', 'care', false)", "FETCH ALL FROM c"])
def test_fetch_runs_no_portal_that_does_more_than_show(client: RawClient, text: str) -> None:
    client.query(f"BEGIN; DECLARE c CURSOR FOR {PHONES}")
    client.ask(bound(text))
    [refused] = rows(client.query("FETCH ALL FROM p"))
    assert refused.startswith("E ERROR 42501 consentry: FETCH cannot run a bound statement")


def test_execute_runs_a_cursor_that_was_declared(server: Clinic, client: RawClient) -> None:
    client.query(f"BEGIN; DECLARE c CURSOR FOR {PHONES}")
    described = client.ask(describe(PORTAL, b"c") + execute(b"c", 2) + execute(b"c", 0) + SYNC_MESSAGE)
    assert described == ["T", *MASKED[:2], "s", *MASKED[2:], "C SELECT 1", "Z T"]
    [(kind, columns, _), _] = server.said(f"DECLARE c CURSOR FOR {PHONES}")
    assert (kind, columns) == ("mask", ("public.patients.phone mask",))


ENDS = {
    "CLOSE": simple("CLOSE c"),
    "CLOSE ALL": simple("CLOSE ALL"),
    "COMMIT": simple("COMMIT"),
    "ROLLBACK": simple("ROLLBACK"),
    "CLOSE in a pipeline": pipeline("CLOSE c"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("hold", ["", "WITH HOLD "])
def test_a_name_is_free_again(server: Clinic, client: RawClient, end: str, hold: str) -> None:
    """What stands under it later is another cursor, with a decision of its own."""
    client.query(f"BEGIN; DECLARE c CURSOR {hold}FOR {PHONES}")
    client.ask(ENDS[end])
    client.query("CLOSE c" if hold and end == "COMMIT" else "COMMIT")
    client.query("SET consentry.purpose = 'care'")
    client.query("BEGIN")
    assert rows(client.query(f"DECLARE c CURSOR FOR {PHONES}")) == []
    assert rows(client.query("FETCH ALL FROM c")) == RAW
    assert server.said("FETCH ALL FROM c")[-1] == ("allow", ("public.patients.phone allow",), "care")
