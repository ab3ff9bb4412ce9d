"""A real Server on a thread of its own, in front of the embedded PostgreSQL, with the small engine of the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from proxy.demo.postgres import EmbeddedPostgres
from proxy.server import Address, Server, ServerOptions
from tests.session.rules import FixedPolicy, MemoryJournal, RulesEngine, StaticCatalogs


class RunningServer:
    """Runs in a thread with an event loop of its own. ``faults`` are what the loop had to report."""

    def __init__(self, options: ServerOptions) -> None:
        self.engine = RulesEngine()
        self.journal = MemoryJournal()
        self.policies = FixedPolicy()
        self.catalogs = StaticCatalogs()
        self.plans: Any = None
        self.faults: list[dict[str, Any]] = []
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(lambda _, fault: self.faults.append(fault))
        self._options = options
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.server: Server = self.run(self._start())

    async def _start(self) -> Server:
        server = Server(
            self._options,
            engine=self.engine,
            journal=self.journal,
            policies=self.policies,
            catalogs=self.catalogs,
            plans=self.plans,
        )
        await server.start()
        return server

    @property
    def port(self) -> int:
        return self.server.port

    def submit(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Any) -> Any:
        return self.submit(work).result(30)

    def stop(self) -> None:
        with suppress(RuntimeError):
            self.run(self.server.drain())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture
def start_server(postgres: EmbeddedPostgres) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers in front of the embedded PostgreSQL, with other options if told."""
    running: list[RunningServer] = []

    def start(**changes: Any) -> RunningServer:
        options = ServerOptions(
            listen=(Address("127.0.0.1", 0),), upstream=Address(postgres.host, postgres.port), grace_seconds=0.0
        )
        running.append(RunningServer(replace(options, **changes)))
        return running[-1]

    yield start
    for server in running:
        server.stop()
        assert server.faults == []


@pytest.fixture
def server(start_server: Callable[..., RunningServer]) -> RunningServer:
    return start_server()
