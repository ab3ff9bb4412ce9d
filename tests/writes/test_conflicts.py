"""What constraints tell of values that a session does not see: each conflict is an event, and there may be a limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.wire.frontend import SYNC_MESSAGE, bind, execute, parse
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy
from tests.server.raw import RawClient
from tests.writes.conftest import DATA, POLICY, SCHEMA, Connect

LIMITS = """
bulk:
  - {id: no-probing, roles: [billing], conflicts_per_minute: 2}
  - {id: watch, conflicts_per_minute: 0, effect: alert}
"""
TAKEN = "INSERT INTO subscribers (id, phone) VALUES (%s, '13800000001')"


@pytest.fixture
def proxy(roles: tuple[str, ...], module_database: Database, tmp_path: Path) -> Iterator[Proxy]:
    if not module_database.execute("SELECT 1 FROM pg_class WHERE relname = 'subscribers'"):
        module_database.execute(SCHEMA.format(database=module_database.name, roles=", ".join(roles)))
    module_database.execute(DATA)
    policy = tmp_path / "limits.yaml"
    policy.write_text(POLICY.read_text() + LIMITS)
    with Proxy(tmp_path, "--policy", str(policy), "--upstream", module_database.dsn(), "--workers", "2") as started:
        started.ready()
        yield started


@pytest.fixture
def connect(proxy: Proxy, module_database: Database) -> Iterator[Connect]:
    host, _, port = proxy.ready().rpartition(":")
    with ExitStack() as opened:
        yield lambda role: opened.enter_context(
            psycopg.connect(module_database.through(host, int(port), role), autocommit=True)
        )


def _conflicts(proxy: Proxy) -> list[tuple[Any, ...]]:
    events = [json.loads(line) for line in proxy.audit.read_text().splitlines()]
    found = [event for event in events if event["event"] == "conflict"]
    statements = {event["event_id"] for event in events if event["event"] == "statement"}
    assert all(event["event_id"] in statements for event in found)
    return [(one["role"], one["table"], one["constraint"], one["sqlstate"], one["exceeded"]) for one in found]


def _told(proxy: Proxy) -> list[str | None]:
    return [sqlstate for _, _, _, sqlstate, _ in _conflicts(proxy)]


def test_conflicts_are_told_and_limited(connect: Connect, proxy: Proxy) -> None:
    first, second = (connect("billing") for _ in range(2))
    clerk = connect("clerk")
    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        first.execute(TAKEN.encode(), (100,))
    assert not raised.value.diag.message_detail
    second.execute("INSERT INTO subscribers (id, plan) VALUES (1, 'x') ON CONFLICT DO NOTHING")
    second.execute("INSERT INTO subscribers (id, plan) VALUES (100, 'x') ON CONFLICT DO NOTHING")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        second.execute("INSERT INTO calls (id, subscriber_id, seconds) VALUES (100, 99, 1)")
    for connection in (first, second):
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match="too many conflicts with constraints"
        ) as refused:
            connection.execute(TAKEN.encode(), (101,))
        assert "no-probing, 2 within a minute" in str(refused.value.diag.message_detail)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="too many conflicts with constraints"):
            connection.execute("INSERT INTO subscribers (id, phone) VALUES (101, '13800000001')")
        connection.execute("SELECT * FROM subscribers")
        connection.execute("INSERT INTO plans VALUES ('new', 1) ON CONFLICT DO NOTHING")
    with pytest.raises(psycopg.errors.UniqueViolation):
        clerk.execute("INSERT INTO subscribers (id, phone) VALUES (101, '13800000001')")
    assert _conflicts(proxy) == [
        ("billing", "public.subscribers", "subscribers_phone_key", "23505", ["watch"]),
        ("billing", None, None, None, ["watch"]),
        ("billing", "public.calls", "calls_subscriber_id_fkey", "23503", ["no-probing", "watch"]),
    ]


def test_those_of_portals_too(proxy: Proxy, module_database: Database) -> None:
    host, _, port = proxy.ready().rpartition(":")
    taken = "INSERT INTO calls (id, subscriber_id) VALUES (1, 1)"
    several = (
        "INSERT INTO calls (id, subscriber_id) VALUES (1, 1), (20, 1), (21, 1) ON CONFLICT DO NOTHING RETURNING id"
    )
    fetch = parse(b"", b"FETCH ALL FROM p") + bind(b"", b"") + execute(b"")
    with RawClient(host, int(port), module_database.name, "clerk") as client:
        for text in (f"{taken} RETURNING id", f"{taken} ON CONFLICT DO NOTHING RETURNING id"):
            client.ask(parse(b"", text.encode()) + bind(b"p", b"") + fetch + SYNC_MESSAGE)
        assert _told(proxy) == ["23505", None]
        one = parse(b"", several.encode()) + bind(b"", b"") + execute(b"", 1)
        assert client.ask(one + execute(b"", 1) + execute(b"") + SYNC_MESSAGE)[-3:] == ["s", "C INSERT 0 0", "Z I"]
        assert _told(proxy) == ["23505", None, None]


def test_deferred_constraints_too(connect: Connect, proxy: Proxy, module_database: Database) -> None:
    module_database.execute("ALTER TABLE calls ADD UNIQUE (callee) DEFERRABLE INITIALLY DEFERRED")
    try:
        connection = connect("billing")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO calls (id, subscriber_id, callee) VALUES (100, 1, '13900000003')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("COMMIT")
        [(_, table, constraint, sqlstate, _)] = _conflicts(proxy)
        assert (table, constraint, sqlstate) == ("public.calls", "calls_callee_key", "23505")
    finally:
        module_database.execute("ALTER TABLE calls DROP CONSTRAINT calls_callee_key")
