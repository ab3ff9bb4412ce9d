"""While one session's long text is decided on, the others go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.server.deliberation import Deliberation
from proxy.verdict import Verdict
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, pipeline, simple
from tests.server.test_connections import wait_until
from tests.session.playbook import LONG
from tests.session.rules import THOUGHT

TEXT = f"SELECT '{LONG}'"
ROW = f"D {LONG}"


@contextmanager
def thinking() -> Iterator[None]:
    THOUGHT.clear()
    try:
        yield
    finally:
        THOUGHT.set()


def connect(server: RunningServer, database: Database) -> RawClient:
    return RawClient("127.0.0.1", server.port, database.name)


@pytest.mark.parametrize("message", [simple(TEXT), pipeline(TEXT)], ids=["simple", "extended"])
def test_others_go_on(message: bytes, server: RunningServer, module_database: Database) -> None:
    with connect(server, module_database) as one, connect(server, module_database) as other:
        with thinking():
            one.send(message)
            assert all("D 2" in other.query("SELECT 2") for _ in range(50))
            with connect(server, module_database) as late:
                assert "D 3" in late.query("SELECT 3")
        assert ROW in one.read_until_ready()
        assert ROW in one.query(TEXT)


def test_what_comes_behind_keeps_its_place(server: RunningServer, module_database: Database) -> None:
    with connect(server, module_database) as client:
        with thinking():
            client.send(simple(TEXT) + simple("SELECT 2"))
            time.sleep(0.05)
        assert ROW in client.read_until_ready()
        assert "D 2" in client.read_until_ready()


def test_a_client_may_leave_meanwhile(server: RunningServer, module_database: Database) -> None:
    with connect(server, module_database) as other:
        with thinking(), connect(server, module_database) as client:
            client.send(simple(TEXT))
            assert "D 2" in other.query("SELECT 2")
        wait_until(lambda: server.server.connections == 1)
        assert "D 2" in other.query("SELECT 2")


async def test_one_after_the_other_and_none_is_lost_where_one_raises() -> None:
    deliberation, done, held = Deliberation(), list[str](), threading.Event()

    def make(name: str) -> Verdict:
        if name == "first":
            assert held.wait(20)
        done.append(name)
        if name == "second":
            raise RuntimeError(name)
        return Verdict(name.encode(), ())

    asked = [asyncio.create_task(deliberation.verdict(lambda name=name: make(name))) for name in ("first", "second")]
    gone = asyncio.create_task(deliberation.verdict(lambda: make("gone")))
    last = asyncio.create_task(deliberation.verdict(lambda: make("last")))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    held.set()
    first, second = await asyncio.gather(*asked)
    assert (first and first.text, second) == (b"first", None)
    assert (await last) is not None
    assert done == ["first", "second", "last"]
