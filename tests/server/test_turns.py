"""Changes after which statements that were judged before would run other code: none of these ever does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine import ConsentEngine
from proxy.server import Address, ServerOptions
from proxy.session import turns
from proxy.wire import frontend
from proxy.wire.frontend import SYNC_MESSAGE
from tests.fix_postgres import Database
from tests.server.raw import RawClient, extended, pipeline, simple
from tests.server.test_late_answers import POLICY
from tests.server.test_witnesses import WatchedServer

_COPIES = "BEGIN INSERT INTO public.loot SELECT phone FROM public.patients; RETURN {}; END"
_FUNCTION = "CREATE OR REPLACE FUNCTION {} LANGUAGE plpgsql AS $$" + _COPIES + "$$"
SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, phone text);
INSERT INTO patients VALUES (1, '13812345678');
CREATE TABLE loot (phone text);
CREATE TABLE wards (id int, title text);
CREATE FUNCTION welcome(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER keeping BEFORE INSERT ON wards FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TABLE beds (id int);
CREATE TABLE copied (id int);
"""
EVIL_TRIGGER = _FUNCTION.format("steal() RETURNS trigger", "NEW")

CHANGES = {
    "a function that is called": (
        _FUNCTION.format("welcome(text) RETURNS text", "$1"),
        "SELECT welcome(title) FROM wards",
    ),
    "another of its name": (
        _FUNCTION.format("welcome(varchar) RETURNS text", "$1"),
        "SELECT welcome(title::varchar) FROM wards",
    ),
    "the function of a trigger": (
        _FUNCTION.format("keep() RETURNS trigger", "NEW"),
        "INSERT INTO wards VALUES (1, 'x')",
    ),
    "a trigger": (
        "CREATE TRIGGER t BEFORE INSERT ON beds FOR EACH ROW EXECUTE FUNCTION steal()",
        "INSERT INTO beds SELECT id FROM wards",
    ),
    "a table that takes the place of another": (
        "ALTER TABLE beds RENAME TO before; ALTER TABLE trapped RENAME TO beds",
        "INSERT INTO beds SELECT id FROM wards",
    ),
    "a trigger that is enabled": ("ALTER TABLE off ENABLE TRIGGER t", "INSERT INTO off SELECT id FROM wards"),
    "a function that is renamed": (
        "ALTER FUNCTION welcome(text) RENAME TO farewell; ALTER FUNCTION lure(text) RENAME TO welcome",
        "SELECT welcome(title) FROM wards",
    ),
    "a function that goes away": ("DROP FUNCTION welcome(text)", "SELECT welcome(title) FROM wards"),
}
MORE = (
    EVIL_TRIGGER
    + ";"
    + _FUNCTION.format("lure(text) RETURNS text", "$1")
    + ";"
    + _FUNCTION.format("other.welcome(varchar) RETURNS text", "$1")
    + """;
CREATE TABLE trapped (id int);
CREATE TRIGGER t BEFORE INSERT ON trapped FOR EACH ROW EXECUTE FUNCTION steal();
CREATE TABLE off (id int);
CREATE TRIGGER t BEFORE INSERT ON off FOR EACH ROW EXECUTE FUNCTION steal();
ALTER TABLE off DISABLE TRIGGER t
"""
)
UNDER_WAY = "consentry: the schema cannot be changed now: statements of other sessions are under way"


@pytest.fixture
def database(database: Database) -> Database:
    database.execute("CREATE SCHEMA other;" + SCHEMA + "INSERT INTO wards VALUES (7, 'north');" + MORE)
    return database


@pytest.fixture
def alone() -> bool:
    """No other worker serves."""
    return True


@pytest.fixture
def server(postgres: EmbeddedPostgres, database: Database, tmp_path: Path, alone: bool) -> Iterator[WatchedServer]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY + "functions: {trusted: [public.welcome, public.keep]}\n")
    upstream = Address(postgres.host, postgres.port)
    options = ServerOptions((Address("127.0.0.1", 0),), upstream, grace_seconds=0.0, alone=alone)
    running = WatchedServer(options, ConsentEngine(), policy, database.dsn(), None)
    yield running
    running.stop()
    assert running.faults == []


def connect(server: WatchedServer, database: Database) -> RawClient:
    return RawClient("127.0.0.1", server.port, database.name)


def loot(database: Database) -> int:
    return int(database.execute("SELECT count(*) FROM loot")[0][0])


def errors(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("E")]


@pytest.mark.parametrize("title", CHANGES)
def test_a_statement_that_waits_for_a_lock_of_the_change(title: str, server: WatchedServer, database: Database) -> None:
    change, text = CHANGES[title]
    with connect(server, database) as maker, connect(server, database) as victim:
        assert not errors(victim.query("SELECT 1")), "both have a catalog"
        maker.query("BEGIN; LOCK TABLE wards, beds, off")
        victim.send(simple(text))
        time.sleep(0.1)
        for one in change.split("; ALTER"):
            assert errors(maker.query(one if one.startswith(("ALTER", "CREATE", "DROP")) else f"ALTER{one}")) == []
        assert errors(maker.query("COMMIT")) == [f"E ERROR 55P03 {UNDER_WAY}"]
        maker.query("ROLLBACK")
        assert errors(victim.read_until_ready()) == []
        assert loot(database) == 0


@pytest.mark.parametrize("title", CHANGES)
def test_a_statement_that_waits_behind_another(title: str, server: WatchedServer, database: Database) -> None:
    change, text = CHANGES[title]
    with connect(server, database) as maker, connect(server, database) as victim:
        victim.send(extended("SELECT pg_sleep(0.4)") + extended(text) + SYNC_MESSAGE)
        time.sleep(0.1)
        began = time.monotonic()
        assert errors(maker.query(change)) == []
        assert time.monotonic() - began > 0.1
        assert errors(victim.read_until_ready()) == []
        assert loot(database) == 0


def test_many_statements_beside_many_changes(server: WatchedServer, database: Database) -> None:
    """Whatever the interleaving: what nobody trusts never runs."""
    harmless = "CREATE OR REPLACE FUNCTION welcome(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'"
    with connect(server, database) as maker, connect(server, database) as one, connect(server, database) as two:
        until = time.monotonic() + 2
        seen: list[list[str]] = []

        def run(client: RawClient, text: str, by: str) -> None:
            while time.monotonic() < until:
                seen.append(client.ask(simple(text) if by == "simple" else pipeline(text)))

        threads = [
            Thread(target=run, args=(one, "INSERT INTO wards SELECT 1, welcome('x')", "simple")),
            Thread(target=run, args=(two, "SELECT welcome(title) FROM wards LIMIT 1", "extended")),
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            assert errors(maker.query(CHANGES["a function that is called"][0])) == []
            assert errors(maker.query(harmless)) == []
        for thread in threads:
            thread.join()
        assert loot(database) == 0
        assert {line for lines in seen for line in errors(lines)} <= {
            "E ERROR 42501 consentry: function public.welcome is not trusted"
        }


PASSES = [
    "CREATE OR REPLACE FUNCTION fresh() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER t2 BEFORE UPDATE ON beds FOR EACH ROW EXECUTE FUNCTION keep()",
    "ALTER TABLE beds RENAME TO cots",
    "CREATE VIEW named AS SELECT title FROM wards",
    "ALTER TABLE beds ADD COLUMN size int DEFAULT 7 CHECK (size > 0)",
    "CREATE FUNCTION other.lure(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE DOMAIN size AS int CHECK (VALUE > 0)",
    "CREATE AGGREGATE fresh(int) (sfunc = int4pl, stype = int)",
    "CREATE OPERATOR === (function = int4eq, leftarg = int, rightarg = int)",
]


@pytest.mark.parametrize("change", PASSES)
def test_other_changes_wait_for_nobody(change: str, server: WatchedServer, database: Database) -> None:
    with connect(server, database) as maker, connect(server, database) as busy:
        busy.send(simple("SELECT pg_sleep(1)"))
        time.sleep(0.1)
        began = time.monotonic()
        assert errors(maker.query(change)) == []
        assert time.monotonic() - began < 0.8
        busy.read_until_ready()


TAKEN = {
    "CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT $1'": "function public.lower",
    "CREATE FUNCTION public.now(int) RETURNS text LANGUAGE sql AS 'SELECT 1::text'": "function public.now",
    "CREATE AGGREGATE min(point) (sfunc = point_add, stype = point)": "function public.min",
    "ALTER FUNCTION lure(text) RENAME TO upper": "function public.upper",
    "ALTER FUNCTION other.length(text) SET SCHEMA public": "function public.length",
    "CREATE OPERATOR = (function = lure2, leftarg = text, rightarg = varchar)": "operator public.=",
}


@pytest.mark.parametrize("change", TAKEN)
def test_names_of_postgresql_s_own_are_taken(change: str, server: WatchedServer, database: Database) -> None:
    database.execute(
        "CREATE FUNCTION other.length(text) RETURNS text LANGUAGE sql AS 'SELECT $1';"
        "CREATE FUNCTION lure2(text, varchar) RETURNS bool LANGUAGE sql AS 'SELECT true'"
    )
    with connect(server, database) as maker:
        found = errors(maker.query(change))
        assert found and found[0].startswith(f"E ERROR 42501 consentry: {TAKEN[change]} would bear the name of")


def test_a_change_that_waits_for_a_lock_of_who_waits_for_it(
    server: WatchedServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.3)
    with connect(server, database) as maker, connect(server, database) as holder:
        holder.query("BEGIN; LOCK TABLE beds IN ROW EXCLUSIVE MODE")
        maker.send(simple(CHANGES["a trigger"][0]))
        time.sleep(0.1)
        assert errors(holder.query("INSERT INTO beds VALUES (1)")) == []
        assert errors(maker.read_until_ready()) == ["E ERROR 57014 canceling statement due to user request"]
        assert errors(holder.query("COMMIT")) == []
        assert loot(database) == 0


def test_a_client_that_goes_away_amid_its_turn(server: WatchedServer, database: Database) -> None:
    with connect(server, database) as holder, connect(server, database) as other:
        holder.query("BEGIN; LOCK TABLE beds IN ROW EXCLUSIVE MODE")
        with connect(server, database) as maker:
            maker.send(simple(CHANGES["a trigger"][0]))
            time.sleep(0.1)
        began = time.monotonic()
        assert errors(other.query("INSERT INTO beds VALUES (1)")) == []
        assert time.monotonic() - began < 5
        assert errors(holder.query("COMMIT")) == []
        assert loot(database) == 0
        assert database.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'beds'::regclass") == [(0,)]


def test_a_client_that_goes_away_when_its_change_is_done(server: WatchedServer, database: Database) -> None:
    """Others wait for what it committed to be known, and no longer."""
    for number in range(5):
        with connect(server, database) as one:
            assert errors(one.query(f"CREATE TABLE gone{number} (id int)")) == []
            one.send(frontend.TERMINATE_MESSAGE)
        with connect(server, database) as other:
            started = time.monotonic()
            assert errors(other.query(f"SELECT * FROM gone{number}")) == []
            assert time.monotonic() - started < 5


@pytest.mark.parametrize("alone", [False])
@pytest.mark.parametrize("title", CHANGES)
def test_where_several_workers_serve_nobody_could_be_waited_for(
    title: str, server: WatchedServer, database: Database
) -> None:
    *_, last = CHANGES[title][0].rpartition("; ALTER")
    change = last if last.startswith(("ALTER", "CREATE", "DROP")) else f"ALTER{last}"
    with connect(server, database) as maker:
        for before in ("SELECT 1", "BEGIN"):
            maker.query(before)
            refused = errors(maker.query(change))
            assert refused and refused[0].startswith("E ERROR 0A000 consentry: this change of the schema is not")
            maker.query("ROLLBACK")


@pytest.mark.parametrize("alone", [False])
@pytest.mark.parametrize("change", PASSES)
def test_other_changes_are_there_with_several_workers(change: str, server: WatchedServer, database: Database) -> None:
    with connect(server, database) as maker:
        assert errors(maker.query(change)) == []
