"""What is notified reaches those who may hear it: a trigger may put a raw value into a notification."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import STARTED, Proxy

POLICY = """
version: 1
categories: {name: {sensitivity: general, mask: name}}
tables: {public.patients: {columns: {name: name}}}
purposes: {care: {basis: contract, categories: []}}
roles: {'*': {purposes: [care], default_purpose: care}}
functions: {trusted: [public.tell]}
channels: {trusted: [jobs]}
"""
SCHEMA = """
CREATE TABLE patients (id int, name text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('jobs', OLD.id::text), pg_notify('secrets', OLD.name); RETURN OLD; END $$;
CREATE TRIGGER told BEFORE DELETE ON patients FOR EACH ROW EXECUTE FUNCTION tell();
INSERT INTO patients SELECT n, 'Zoe' || n FROM generate_series(1, 9) n;
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def proxy(tmp_path: Path, policy: Path, database: Database) -> Iterator[Proxy]:
    database.execute(SCHEMA)
    with Proxy(tmp_path, "--policy", str(policy), "--upstream", database.dsn()) as running:
        yield running


def connect(proxy: Proxy, database: Database) -> psycopg.Connection:
    host, _, port = proxy.ready().rpartition(":")
    return psycopg.connect(database.through(host, int(port)), autocommit=True)


def heard(connection: psycopg.Connection, seconds: float) -> list[tuple[str, str]]:
    return [(note.channel, note.payload) for note in connection.notifies(timeout=seconds, stop_after=1)]


def test_a_trusted_channel_is_heard_and_another_is_not(proxy: Proxy, database: Database) -> None:
    with connect(proxy, database) as listener, connect(proxy, database) as sender:
        listener.execute("LISTEN jobs")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            listener.execute("LISTEN secrets")
        assert "channels.trusted" in str(refused.value)
        sender.execute("DELETE FROM patients WHERE id = 1")
        assert heard(listener, 5) == [("jobs", "1")]
        sender.execute("NOTIFY jobs, 'by hand'")
        assert heard(listener, 5) == [("jobs", "by hand")]
        listener.execute("UNLISTEN *")
        sender.execute("NOTIFY jobs")
        assert heard(listener, 0.3) == []


@pytest.mark.parametrize("name", ['"Jobs"', '"jobs "', "job", '"*"'])
def test_a_channel_is_named_as_postgresql_reads_it(name: str, proxy: Proxy, database: Database) -> None:
    with connect(proxy, database) as listener:
        listener.execute("LISTEN JOBS")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            listener.execute(f"LISTEN {name}".encode())


def test_a_channel_that_is_no_longer_trusted_falls_silent(proxy: Proxy, policy: Path, database: Database) -> None:
    with connect(proxy, database) as listener, connect(proxy, database) as sender:
        listener.execute("LISTEN jobs")
        reload(proxy, policy, POLICY.replace("[jobs]", "[]"))
        sender.execute("DELETE FROM patients WHERE id = 2")
        assert heard(listener, 0.3) == []
        reload(proxy, policy, POLICY.replace("[jobs]", "['*']"))
        sender.execute("DELETE FROM patients WHERE id = 3")
        assert heard(listener, 5) == [("jobs", "3")]
        listener.execute("LISTEN anything")


def reload(proxy: Proxy, policy: Path, text: str) -> None:
    before = [event["event"] for event in proxy.events()].count("reload")
    policy.write_text(text)
    proxy.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + STARTED
    while [event["event"] for event in proxy.events()].count("reload") == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_driver_listens(proxy: Proxy, database: Database) -> None:
    host, _, port = proxy.ready().rpartition(":")
    listener = await asyncpg.connect(database.through(host, int(port)))
    told: asyncio.Queue[str] = asyncio.Queue()
    await listener.add_listener("jobs", lambda *call: told.put_nowait(call[3]))
    await listener.execute("SELECT pg_notify('jobs', 'from itself')")
    assert await asyncio.wait_for(told.get(), 5) == "from itself"
    await listener.reset()
    await listener.close()
