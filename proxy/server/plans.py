"""Has the upstream plan new secured texts, on connections of its own: the client's transaction, settings, snapshot and
messages know nothing of it.

A plan is a second opinion on a decision that stands without it. What cannot be planned here (a relation that only the
client's session sees, a table that the connection's user may not read, an upstream that does not answer) is not held
against the statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

import asyncpg

from proxy.session import CheckPlan
from proxy.verdict import PlanCheck, Probe

_SETTINGS: Final = {
    "application_name": "consentry plans",
    "default_transaction_read_only": "on",
    # Parameters have no values here, and a plan for one value would leave out what others need.
    "plan_cache_mode": "force_generic_plan",
    # The client's own open transaction may hold the lock that planning waits for, and nobody would see the deadlock.
    "lock_timeout": "250",
    "statement_timeout": "5000",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_SELF_JOINS: Final = """SELECT pg_catalog.set_config(name, 'off', false) FROM pg_catalog.pg_settings
 WHERE name OPERATOR(pg_catalog.=) 'enable_self_join_elimination'"""
"""PostgreSQL 18 would make one scan of a missed reference and our own, under one of the two names."""

_NAME: Final = "consentry_witness"
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 1.0
"""How long a connection outlives its last plan. DROP DATABASE waits up to five seconds for others to leave
(CountOtherDBBackends in procarray.c), so nobody notices."""
_RETRY_SECONDS: Final = 10.0
"""After a failed connection nobody waits for another for so long."""

_BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
_NEVER = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)
"""Whatever the literals are."""

_log = logging.getLogger(__name__)


class Unknown(Enum):
    """Why there is no plan: the text cannot be planned so, or not for any literals, or there is no connection now."""

    SO = auto()
    EVER = auto()
    NOW = auto()


class Plans:
    """Planners by database name, over one connection each; ``connect`` as for :class:`proxy.catalog.catalogs.Catalogs`.

    Their user must be allowed to read the tables (``pg_read_all_data``), or nothing can be planned.
    """

    def __init__(self, connect: str | Mapping[str, Any] | None = None) -> None:
        self._connect = connect
        self._planners: dict[str, _Planner] = {}

    async def check(self, command: CheckPlan) -> tuple[str, ...]:
        """The relations that the upstream would scan in a way that was not decided. Never raises; remembers."""
        check = command.verdict.plan
        if check is None:
            return ()
        planner = self._planners.get(command.database)
        if planner is None:
            planner = self._planners[command.database] = _Planner(command.database, self._connect)
        async with planner.lock:
            found = check.outcome(command.verdict.text, command.types)  # somebody else may have asked meanwhile
            if found is None:
                found = await self._check(planner, check, command)
                planner.linger()
        return found

    async def _check(self, planner: _Planner, check: PlanCheck, command: CheckPlan) -> tuple[str, ...]:
        """Plans for all texts that differ in literals alone if that can be done, else for this one."""
        text, types = command.verdict.text, command.types
        for shape in (True, False):
            try:
                probes = check.probes(command.query, command.verdict, types, shape=shape)
                found = Unknown.SO if probes is None else await planner.unexplained(probes)
            except Exception:
                _log.exception("a plan in database %s could not be judged", command.database)
                found = Unknown.SO
            if found is Unknown.NOW:
                return ()
            if found is not Unknown.SO:
                known = () if found is Unknown.EVER else found
                check.settle(text, types, known, shape=shape or found is Unknown.EVER)
                for relation in known:
                    _log.error("a plan in database %s reads %s as was not decided", command.database, relation)
                return known
        check.settle(text, types, (), shape=False)
        return ()

    async def close(self) -> None:
        """Closes the connections."""
        planners, self._planners = list(self._planners.values()), {}
        await asyncio.gather(*(planner.close() for planner in planners))


class _Planner:
    """One connection to one database. Whoever calls holds ``lock``."""

    def __init__(self, database: str, connect: str | Mapping[str, Any] | None) -> None:
        self.lock = asyncio.Lock()
        self._database = database
        self._dsn = connect if isinstance(connect, str) else None
        self._parameters = {} if connect is None or isinstance(connect, str) else dict(connect)
        self._parameters.pop("database", None)
        self._connection: Any = None
        self._path = ""
        self._types: dict[int, str] = {0: "unknown"}
        self._retry = 0.0
        self._leaving: asyncio.Task[None] | None = None
        self._warned: set[str] = set()

    async def unexplained(self, probes: tuple[Probe, ...]) -> tuple[str, ...] | Unknown:
        """What the plans of ``probes`` scan that was not decided, or why one of them cannot be made."""
        found: list[str] = []
        if time.monotonic() < self._retry:
            return Unknown.NOW
        try:
            connection = await self._connected()
        except (asyncpg.PostgresError, *_BROKEN) as error:
            return self._broken(error)
        try:
            for probe in probes:
                found += probe.judge(await self._plan(connection, probe))
        except _BROKEN as error:
            return self._broken(error)
        except asyncpg.InsufficientPrivilegeError as error:
            self._warn("privilege", f"{error}. Grant pg_read_all_data to the user of catalog.dsn.")
            return Unknown.EVER
        except asyncpg.PostgresError as error:
            return Unknown.EVER if isinstance(error, _NEVER) else Unknown.SO
        except BaseException:
            self._drop()
            raise
        return tuple(found)

    def _broken(self, error: Exception) -> Unknown:
        self._drop()
        self._retry = time.monotonic() + _RETRY_SECONDS
        self._warn("connection", f"{type(error).__name__}: {error}")
        return Unknown.NOW

    async def _plan(self, connection: Any, probe: Probe) -> object:
        if probe.search_path != self._path:
            await connection.fetch("SELECT pg_catalog.set_config('search_path', $1, false)", probe.search_path)
            self._path = probe.search_path
            self._types = {0: "unknown"}
        types = [await self._type(connection, oid) for oid in probe.types]
        declared = f"({', '.join(types)}) " if types else ""
        # By a Parse message each, which takes no more than one statement.
        await connection.fetch(f"PREPARE {_NAME} {declared}{probe.text}")
        try:
            values = f"({', '.join(['NULL'] * probe.parameters)})" if probe.parameters else ""
            rows = await connection.fetch(f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) EXECUTE {_NAME}{values}")
        finally:
            await connection.execute(f"DEALLOCATE {_NAME}")
        return [json.loads(row[0]) for row in rows]

    async def _type(self, connection: Any, oid: int) -> str:
        if oid not in self._types:
            name = await connection.fetchval("SELECT pg_catalog.format_type($1::pg_catalog.oid, -1)", oid)
            self._types[oid] = str(name)
        return self._types[oid]

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            options = {"timeout": _CONNECT_SECONDS, "command_timeout": _ANSWER_SECONDS, "statement_cache_size": 0}
            self._connection = await asyncpg.connect(
                self._dsn, **options | self._parameters, database=self._database, server_settings=_SETTINGS
            )
            self._path = ""
            self._types = {0: "unknown"}
            await self._connection.fetch(_SELF_JOINS)
        return self._connection

    def _warn(self, kind: str, why: str) -> None:
        """Once: the statements go on, and the operator should know that nobody looks at their plans."""
        if kind not in self._warned:
            self._warned.add(kind)
            _log.warning("plans in database %s cannot be looked at: %s", self._database, why)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def linger(self) -> None:
        """Leaves the database, unless somebody asks again in time."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = asyncio.get_running_loop().create_task(self._leave(), name=f"plans of {self._database}")

    async def _leave(self) -> None:
        await asyncio.sleep(_IDLE_SECONDS)
        async with self.lock:
            connection, self._connection = self._connection, None
        await _closed(connection)

    async def close(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        async with self.lock:
            connection, self._connection = self._connection, None
            self._retry = float("inf")
        await _closed(connection)


async def _closed(connection: Any) -> None:
    if connection is not None:
        with contextlib.suppress(asyncpg.PostgresError, *_BROKEN):
            await connection.close(timeout=2)
