"""``mode: observe``: clients see what PostgreSQL alone would show, the audit says what enforce would have done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from proxy.audit import verify
from tests.cli.test_serve import POLICY, connect
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy
from tests.server.raw import RawClient, pipeline, simple

RAW = "13812345678"
SELECT = "SELECT phone FROM patients WHERE id = 1"


@pytest.fixture(scope="module")
def observing(tmp_path_factory: pytest.TempPathFactory, module_database: Database) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("observe")
    policy = folder / "policy.yaml"
    policy.write_text(POLICY + "bulk: [{id: b, rows_per_statement: 9}]\n")
    module_database.execute(
        "CREATE TABLE patients (id int PRIMARY KEY, phone varchar(20)); CREATE TABLE sink (a int);"
        f"INSERT INTO patients VALUES (1, '{RAW}')"
    )
    with Proxy(folder, "--policy", str(policy), "--upstream", module_database.dsn(), "--mode", "observe") as proxy:
        proxy.ready()
        yield proxy
        assert proxy.stop() == 0
        with proxy.audit.open("rb") as lines:
            assert list(verify(lines)) == []


def told(proxy: Proxy, session: str = "") -> list[dict[str, Any]]:
    """The statements of the newest session."""
    events = proxy.events()
    newest = session or next(event["session"] for event in reversed(events) if event["event"] == "session_start")
    return [event for event in events if event["event"] == "statement" and event["session"] == newest]


WOULD_BE: dict[str, tuple[str, str, str | None]] = {
    "a masked column": (SELECT, "mask", None),
    "a statement that concerns nobody": ("SELECT 1", "pass", None),
    "EXPLAIN of masked cells": (f"EXPLAIN {SELECT}", "reject", "42501"),
    "a function that reads files": ("SELECT pg_read_file('PG_VERSION')", "reject", "42501"),
    "a purpose that is not granted": ("SET consentry.purpose = 'advertising'", "reject", "42501"),
    "a laundering write": ("UPDATE patients SET phone = phone", "reject", None),
}


@pytest.mark.parametrize("what", WOULD_BE)
def test_what_enforce_would_have_done(observing: Proxy, module_database: Database, what: str) -> None:
    sql, verdict, sqlstate = WOULD_BE[what]
    with connect(observing, module_database, **{"consentry.purpose": "research"}) as connection:
        connection.execute(sql)
    event = told(observing)[-1]
    assert (event["verdict"], event["mode"]) == (verdict, "observe")
    assert sqlstate is None or event["sqlstate"] == sqlstate
    result = next(
        one for one in observing.events() if one["event"] == "result" and one["event_id"] == event["event_id"]
    )
    assert result["sqlstate"] is None


def test_values_are_shown_as_they_are(observing: Proxy, module_database: Database) -> None:
    with connect(observing, module_database, **{"consentry.purpose": "research"}) as connection:
        assert connection.execute(SELECT).fetchone() == (RAW,)
        assert connection.execute("SELECT phone FROM patients WHERE id = %s", (1,)).fetchone() == (RAW,)
        with connection.cursor().copy("COPY patients TO STDOUT") as copy:
            assert RAW.encode() in b"".join(bytes(part) for part in copy)
    assert RAW not in observing.audit.read_text()
    assert [event["verdict"] for event in told(observing)] == ["mask", "mask", "mask"]


def test_a_session_that_enforce_would_not_let_in(observing: Proxy, module_database: Database) -> None:
    with connect(observing, module_database, **{"consentry.purpose": "advertising"}) as connection:
        assert connection.execute(SELECT).fetchone() == (RAW,)
        connection.execute("SET client_encoding = 'LATIN1'")
        assert connection.execute("SHOW client_encoding").fetchone() == ("LATIN1",)


def test_the_purpose_is_followed_through_transactions(observing: Proxy, module_database: Database) -> None:
    with connect(observing, module_database) as connection:
        for statement in ("BEGIN", "SET LOCAL consentry.purpose = 'care'", SELECT, "ROLLBACK", SELECT):
            connection.execute(statement)
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        connection.execute("SET consentry.purpose = 'research'")
        connection.execute(SELECT)
    seen = [(event["purpose"], event["verdict"]) for event in told(observing) if event["columns"]]
    assert seen == [("care", "allow"), (None, "mask"), ("research", "mask")]


def test_a_bound_setting_is_followed(observing: Proxy, module_database: Database) -> None:
    with connect(observing, module_database) as connection:
        connection.execute("CREATE TEMPORARY TABLE patients (id int, phone text)")
        for path in ("pg_temp, public", "public, pg_temp"):
            connection.execute("SELECT set_config('search_path', %s, false)", [path])
            connection.execute(SELECT)
        connection.execute("SELECT set_config('client_encoding', %s, false)", ["latin1"])
    verdicts = [event["verdict"] for event in told(observing)]
    assert verdicts[1:] == ["pass", "pass", "pass", "mask", "reject"]


CONVERSATIONS = {
    "a pipeline with an error": pipeline(SELECT, "SELECT 1/0", SELECT) + pipeline("SELECT 2"),
    "several statements": simple(f"{SELECT}; SELECT 1/0; SELECT 3") + simple("SELECT 4"),
    "what cannot be analysed": simple("SELEC 1") + simple(SELECT),
    "an empty query": simple("") + simple("SELECT 5"),
    "COPY": simple("COPY sink FROM STDIN") + b"d\0\0\0\x061\n" + b"c\0\0\0\4" + simple("SELECT 6"),
    "a function call": b"F" + (4 + 4 + 2 + 2 + 2).to_bytes(4, "big") + b"\0\0\4\x31\0\0\0\0\0\0" + simple("SELECT 7"),
}


@pytest.mark.parametrize("what", CONVERSATIONS)
def test_every_byte_is_postgresqls(observing: Proxy, module_database: Database, what: str) -> None:
    host, _, port = observing.ready().rpartition(":")
    postgres = module_database.postgres
    seen = []
    for where in ((host, int(port)), (postgres.host, postgres.port)):
        with RawClient(*where, module_database.name) as client:
            client.send(CONVERSATIONS[what] + simple("SELECT 'end'"))
            received = []
            while not received or "D end" not in received:
                received.append(client.read())
            seen.append([*received, client.read(), client.read()])
    assert seen[0] == seen[1]
    assert "lost" not in observing.said


def test_the_beginning_says_so(observing: Proxy) -> None:
    assert observing.events()[0]["mode"] == "observe"
