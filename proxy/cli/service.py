"""The process behind ``consentry serve``: puts the rooms together, follows signals, ends in order."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import structlog
import uvloop

from proxy.audit import AuditJournal, Damaged, open_journal
from proxy.catalog.catalogs import Catalogs
from proxy.cli import Code
from proxy.cli.address import Upstream, written
from proxy.cli.checked_catalogs import CheckedCatalogs
from proxy.cli.configuration import Configuration
from proxy.engine import ConsentEngine
from proxy.policy.model import Policy
from proxy.server import Plans, Server, ServerOptions
from proxy.wire.client import MessageLimits

_log = structlog.get_logger(__name__)


class PolicyInForce:
    """The policy that sessions ask for (:class:`proxy.session.PolicyHolder`). SIGHUP swaps the whole of it."""

    def __init__(self, policy: Policy, read_again: Callable[[], Policy | None], journal: AuditJournal) -> None:
        self.policy = policy
        self._read_again = read_again
        self._journal = journal

    def reload(self) -> None:
        """Puts what the file says now in force; the old policy stays where the new one is invalid or not audited."""
        policy = self._read_again()
        if policy is None:
            _log.error("the policy is invalid; the one before stays in force", digest=self.policy.digest)
            return
        try:
            self._journal.reload(policy)
        except OSError as error:
            _log.error("the audit cannot be written; the policy before stays in force", error=str(error))
            return
        self.policy = policy


def run(configuration: Configuration, policy: Policy, read_again: Callable[[], Policy | None]) -> Code:
    """Serves until SIGTERM or SIGINT. ``read_again`` reads the policy file, and gives None if it is invalid."""
    try:
        journal = open_journal(
            configuration.audit,
            policy,
            hash_key=configuration.hash_key or secrets.token_bytes(32),
            chain_key=configuration.audit_key,
        )
    except BlockingIOError:
        return _could_not_run(f"{configuration.audit}: another process writes this audit file")
    except OSError as error:
        return _could_not_run(f"{configuration.audit}: {error.strerror}")
    except Damaged as damaged:
        return _could_not_run(f"{configuration.audit}: the last line {damaged}; move the file away to begin another")
    try:
        uvloop.run(_serve(configuration, PolicyInForce(policy, read_again, journal), journal))
    except OSError as error:
        return _could_not_run(f"{written(configuration.listen)}: {error.strerror or error}")
    try:
        journal.stop()
    except OSError as error:
        return _could_not_run(f"{configuration.audit}: {error.strerror}")
    return Code.FINE


_SUSPENSION_SECONDS = 0.1
"""How long a verdict may outlive the beginning of a suspension that was announced before."""


async def _follow_suspensions(engine: ConsentEngine) -> None:
    while True:
        await asyncio.sleep(_SUSPENSION_SECONDS)
        engine.expire()


async def _serve(configuration: Configuration, policies: PolicyInForce, journal: AuditJournal) -> None:
    catalogs = Catalogs(catalog_connection(configuration), configuration.catalog_refresh.total_seconds())
    plans = Plans(catalog_connection(configuration)) if configuration.verify == "plan" else None
    engine = ConsentEngine()
    server = Server(
        ServerOptions(
            listen=(configuration.listen,),
            upstream=configuration.upstream.address,
            startup_timeout=configuration.startup_timeout.total_seconds(),
            connections=configuration.connections,
            connections_per_role=configuration.connections_per_role,
            idle_timeout=configuration.idle_timeout.total_seconds() if configuration.idle_timeout else None,
            limits=MessageLimits(configuration.statement_bytes, configuration.message_bytes),
        ),
        engine=engine,
        journal=journal,
        policies=policies,
        catalogs=CheckedCatalogs(catalogs, lambda: policies.policy),
        plans=plans,
    )
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    loop.add_signal_handler(signal.SIGHUP, policies.reload)
    await server.start()
    suspending = asyncio.create_task(_follow_suspensions(engine))
    try:
        print(f"consentry ready on {written(server.addresses[0])}", file=sys.stderr, flush=True)
        await ended.wait()
        await server.drain()
    finally:
        suspending.cancel()
        await catalogs.close()
        if plans is not None:
            await plans.close()


def catalog_connection(configuration: Configuration) -> str | dict[str, Any]:
    """How the catalog is read: as was configured, else at the upstream, by its URL's user or the usual ``PG…`` one."""
    if configuration.catalog_dsn is not None:
        return configuration.catalog_dsn
    return _connection(configuration.upstream)


def _connection(upstream: Upstream) -> dict[str, Any]:
    """asyncpg's parameters. It takes a unix socket as its folder and a port."""
    address, path = upstream.address, PurePath(upstream.address.path)
    where: dict[str, Any] = {"host": address.host, "port": address.port}
    if address.path:
        where = {"host": str(path.parent), "port": int(path.suffix[1:])}
    return where | {"user": upstream.user, "password": upstream.password}


def _could_not_run(message: str) -> Code:
    print(f"consentry: {message}", file=sys.stderr, flush=True)
    return Code.COULD_NOT_RUN
