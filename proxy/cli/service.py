"""One process's proxy: puts the rooms together."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from pathlib import PurePath
from typing import Any, Final

import structlog

from proxy.audit import AuditJournal
from proxy.catalog.catalogs import Catalogs
from proxy.cli.address import Upstream
from proxy.cli.checked_catalogs import CheckedCatalogs
from proxy.cli.configuration import Configuration
from proxy.cli.report import Report, cpu_seconds, policies_seen, resident_bytes
from proxy.engine import ConsentEngine
from proxy.policy.in_force import Policies
from proxy.policy.model import Policy
from proxy.server import Address, ConflictCounts, Headcount, Plans, Server, ServerOptions
from proxy.server.certificates import Tls, Unusable
from proxy.wire.client import MessageLimits

_SUSPENSION_SECONDS: Final = 0.1
"""How long a verdict may outlive the beginning of a suspension that was announced before."""

_log = structlog.get_logger(__name__)


class PoliciesInForce:
    """The policies that sessions ask for (:class:`proxy.session.PolicyHolder`). A reload swaps all of them at once."""

    def __init__(self, policies: Policies, journal: AuditJournal) -> None:
        self.policies = policies
        self.since = time.time()
        self._journal = journal

    def of(self, database: str) -> Policy | None:
        return self.policies.of(database)

    def put(self, policies: Policies) -> None:
        """From now on these decide, unless that cannot be audited."""
        try:
            self._journal.reload(policies)
        except OSError as error:
            _log.error("the audit cannot be written; the policy before stays in force", error=str(error))
            return
        self.policies = policies
        self.since = time.time()


class Service:
    """A proxy in this process's event loop. ``headcount``, ``conflicts`` and ``listener`` are what it shares with
    other workers: the counts of clients and of conflicts with constraints, and a unix socket (a TCP port is shared by
    ``reuse_port``).
    """

    def __init__(
        self,
        configuration: Configuration,
        policies: Policies,
        journal: AuditJournal,
        *,
        reuse_port: bool = False,
        headcount: Headcount | None = None,
        conflicts: ConflictCounts | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.policies = PoliciesInForce(policies, journal)
        self._tls = Tls(configuration.client_tls, configuration.upstream_tls)
        reader = catalog_connection(configuration, self._tls)
        self._catalogs = Catalogs(reader, configuration.catalog_refresh.total_seconds())
        self._plans = Plans(reader) if configuration.verify == "plan" and configuration.mode == "enforce" else None
        self._engine = ConsentEngine()
        self._server = Server(
            server_options(configuration, self._tls, reuse_port=reuse_port),
            engine=self._engine,
            journal=journal,
            policies=self.policies,
            catalogs=CheckedCatalogs(self._catalogs, self.policies.of),
            plans=self._plans,
            headcount=headcount,
            conflicts=conflicts,
            listener=listener,
        )
        self._suspending: asyncio.Task[None] | None = None
        self._journal = journal
        self._started = time.time()
        self._mode = configuration.mode

    async def start(self) -> Address:
        """Accepts connections from now on, and says where. Raises OSError."""
        self._journal.patient = True
        await self._server.start()
        self._suspending = asyncio.create_task(self._follow_suspensions())
        return self._server.addresses[0]

    def report(self, worker: int = 0) -> Report:
        """This process as it is now."""
        return Report(
            worker=worker,
            started=self._started,
            accepting=self._server.accepting,
            served=self._server.served,
            sessions=self._server.sessions(),
            policies=policies_seen(self.policies.policies),
            since=self.policies.since,
            catalogs=self._catalogs.ages(),
            tally=self._journal.tally,
            mode=self._mode,
            cpu_seconds=cpu_seconds(),
            resident_bytes=resident_bytes(),
        )

    def read_certificates(self) -> None:
        """Reads certificates and keys again, for connections from now on. If one is invalid, the old ones stay."""
        try:
            self._tls.reload()
        except Unusable as unusable:
            _log.error("a certificate cannot be used; those before stay in force", error=str(unusable))

    def hurry(self) -> None:
        """Drain without waiting for statements."""
        self._server.hurry()

    async def drain(self) -> None:
        """See :meth:`proxy.server.Server.drain`."""
        await self._server.drain()

    async def close(self) -> None:
        """Leaves the upstream's databases."""
        if self._suspending is not None:
            self._suspending.cancel()
        await self._catalogs.close()
        if self._plans is not None:
            await self._plans.close()

    async def _follow_suspensions(self) -> None:
        while True:
            await asyncio.sleep(_SUSPENSION_SECONDS)
            self._engine.expire()


def server_options(configuration: Configuration, tls: Tls | None = None, *, reuse_port: bool = False) -> ServerOptions:
    """What of a configuration is the server's. ``tls``: as it is in force."""
    idle, age = configuration.idle_timeout, configuration.snapshot_age
    return ServerOptions(
        listen=(configuration.listen,),
        upstream=configuration.upstream.address,
        startup_timeout=configuration.startup_timeout.total_seconds(),
        idle_timeout=None if idle is None else idle.total_seconds(),
        snapshot_age=None if age is None else age.total_seconds(),
        connections=configuration.connections,
        connections_per_role=configuration.connections_per_role,
        limits=MessageLimits(configuration.statement_bytes, configuration.message_bytes),
        tls=tls or Tls(),
        passwords=configuration.auth == "password",
        reuse_port=reuse_port,
        alone=configuration.workers == 1,
        observe=configuration.mode == "observe",
    )


def hash_key(configuration: Configuration) -> bytes:
    """The key of pseudonyms: the configured one, else a random one, another at each call."""
    return configuration.hash_key or secrets.token_bytes(32)


def catalog_connection(configuration: Configuration, tls: Tls) -> str | dict[str, Any]:
    """How the catalog is read: as was configured, else at the upstream, by its URL's user or the usual ``PG…`` one, and
    by its TLS."""
    if configuration.catalog_dsn is not None:
        return configuration.catalog_dsn
    connection = _connection(configuration.upstream)
    keys = configuration.upstream_tls
    if keys is None:
        return connection
    if keys.mode in ("disable", "prefer"):
        return connection | {"ssl": keys.mode}
    return connection | {"ssl": tls.upstream_in_force()}


def _connection(upstream: Upstream) -> dict[str, Any]:
    """asyncpg's parameters. It takes a unix socket as its folder and a port."""
    address, path = upstream.address, PurePath(upstream.address.path)
    where: dict[str, Any] = {"host": address.host, "port": address.port}
    if address.path:
        where = {"host": str(path.parent), "port": int(path.suffix[1:])}
    return where | {"user": upstream.user, "password": upstream.password}
