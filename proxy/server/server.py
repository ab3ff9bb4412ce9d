"""Listens for clients and keeps their links until they end or the server drains."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from pathlib import Path
from typing import Final

from proxy.journal import Journal, SessionFacts
from proxy.server.conflicts import ConflictCounts
from proxy.server.deliberation import Deliberation
from proxy.server.headcount import Headcount
from proxy.server.link import Link
from proxy.server.options import Address, ServerOptions
from proxy.server.plans import Plans
from proxy.server.seen import Served, SessionSeen
from proxy.session import CatalogSource, ObservingSession, PolicyHolder, Session, Surroundings
from proxy.verdict import Engine

BACKLOG: Final = 1024

_log = logging.getLogger(__name__)


class Server:
    """A running proxy. Sessions share the engine, the journal, the policies and the catalogs, and nothing else.

    ``await start()``, then wait for whatever should end it, then ``await drain()``. An asyncio event loop of any kind
    will do; uvloop's is the fast one. ``plans`` None: no plan is looked at. ``headcount`` and ``conflicts``: of all
    workers, where there are others; ``listener``: a unix socket that they share.
    """

    def __init__(
        self,
        options: ServerOptions,
        *,
        engine: Engine,
        journal: Journal,
        policies: PolicyHolder,
        catalogs: CatalogSource,
        plans: Plans | None = None,
        headcount: Headcount | None = None,
        conflicts: ConflictCounts | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self._options = options
        self._headcount = headcount or Headcount(options.connections, options.connections_per_role)
        self._catalogs = catalogs
        self._plans = plans
        self._surroundings = Surroundings(
            engine,
            journal,
            policies,
            catalogs,
            options.limits,
            time.monotonic,
            witness=plans is not None,
            roles=self._headcount,
            conflicts=conflicts or ConflictCounts(),
            snapshot_age=options.snapshot_age,
            passwords=options.passwords,
            alone=options.alone,
        )
        self._listeners: list[asyncio.Server] = []
        self._deliberation = Deliberation()
        self._links: set[Link] = set()
        self._all_closed = asyncio.Event()
        self.served = Served()
        self._draining = False
        self._hurry = asyncio.Event()
        self._listener = listener

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the server listens, with the ports that were picked."""
        found: list[Address] = []
        for listener in self._listeners:
            for one in listener.sockets:
                name = one.getsockname()
                found.append(Address(path=name) if isinstance(name, str) else Address(name[0], name[1]))
        return tuple(found)

    @property
    def port(self) -> int:
        """The TCP port; 0 if it listens on unix sockets only."""
        return next((address.port for address in self.addresses if address.port), 0)

    @property
    def connections(self) -> int:
        """Links that have not come to their end."""
        return len(self._links)

    @property
    def accepting(self) -> bool:
        """New clients are served."""
        return bool(self._listeners) and not self._draining

    def sessions(self) -> tuple[SessionSeen, ...]:
        """Those that there are, oldest first."""
        return tuple(sorted((link.seen() for link in self._links), key=lambda seen: -seen.since))

    async def start(self) -> None:
        """Accepts connections from now on. Raises OSError where it cannot listen."""
        loop = asyncio.get_running_loop()
        try:
            for address in self._options.listen:
                if address.path and self._listener is not None:
                    listener = await loop.create_unix_server(self._accept, sock=self._listener, backlog=BACKLOG)
                elif address.path:
                    listener = await loop.create_unix_server(self._accept, address.path, backlog=BACKLOG)
                    _open_to_all(address.path)
                else:
                    host = address.host or None
                    reuse = self._options.reuse_port or None
                    listener = await loop.create_server(
                        self._accept, host, address.port, backlog=BACKLOG, reuse_port=reuse
                    )
                self._listeners.append(listener)
        except BaseException:
            self._stop_listening()
            raise

    async def drain(self) -> None:
        """Stops accepting, lets statements and open transactions come to their end for the grace period, and ends what
        is left with 57P01."""
        self._draining = True
        self._stop_listening()
        for link in list(self._links):
            link.session.drain()
            link.flush()
        await self._wait(self._options.grace_seconds, patient=False)
        for link in list(self._links):
            link.session.shut_down()
            link.flush()
        await self._wait(1.0)
        for link in list(self._links):
            link.abort()
        await self._wait(1.0)

    def hurry(self) -> None:
        """Whatever is drained now or later gets no grace period."""
        self._hurry.set()

    async def _wait(self, seconds: float, *, patient: bool = True) -> None:
        """Until no link is left, or ``seconds`` have passed, or somebody hurries who is not ``patient``."""
        if not self._links:
            return
        self._all_closed.clear()
        waiting = [asyncio.ensure_future(self._all_closed.wait())]
        if not patient:
            waiting.append(asyncio.ensure_future(self._hurry.wait()))
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for address in self._options.listen:
            if address.path and self._listener is None:
                Path(address.path).unlink(missing_ok=True)

    def _accept(self) -> asyncio.Protocol:
        return Link(
            self._options,
            self._catalogs,
            self._new_session,
            self._opened,
            self._closed,
            self._plans,
            self.served,
            self._surroundings.journal.flush,
            self._deliberation,
        ).client

    def _new_session(self, client: str) -> Session:
        facts = SessionFacts(session=secrets.token_hex(8), client=client)
        kind = ObservingSession if self._options.observe else Session
        return kind(self._surroundings, facts, secrets.token_hex(12))

    def _opened(self, link: Link) -> bool:
        self._links.add(link)
        self.served.connections += 1
        if self._draining:
            link.session.drain()
        if self._headcount.connect():
            return True
        self.served.turned_away += 1
        return False

    def _closed(self, link: Link) -> None:
        self._links.discard(link)
        self._headcount.disconnect()
        if not self._links:
            self._all_closed.set()


def _open_to_all(path: str) -> None:
    """Who may connect is the upstream's decision, by its authentication, as with PostgreSQL's own socket."""
    Path(path).chmod(0o777)
