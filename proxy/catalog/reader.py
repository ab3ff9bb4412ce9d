"""Follows the catalog of one database: reads it on first use, and then what changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import asyncpg

from proxy.catalog.assembly import Assembly
from proxy.catalog.introspection import Introspection
from proxy.catalog.model import Catalog
from proxy.catalog.pace import lasting
from proxy.catalog.rows import Changes, SystemRows

_log = logging.getLogger(__name__)

# KeyError: the rows contradict each other.
FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, KeyError)


_BREATH = 0.02
"""Seconds that announcements are gathered for: whoever may NOTIFY cannot keep the reader busy."""


class _Memory(NamedTuple):
    """What was read, what builds catalogs of it, and the catalog that it made of it."""

    rows: SystemRows
    assembly: Assembly
    catalog: Catalog


class Reader:
    """The catalog of ``database``, over one connection that is made when there is something to ask.

    ``connect`` is a connection URL or asyncpg's connection parameters, without regard to the database they name; None
    is the usual ``PG…`` environment.
    """

    def __init__(self, database: str, connect: str | Mapping[str, Any] | None) -> None:
        self.database = database
        self.catalog: Catalog | None = None
        self._dsn = connect if isinstance(connect, str) else None
        self._parameters = {} if connect is None or isinstance(connect, str) else dict(connect)
        self._parameters.pop("database", None)
        self._introspection: Introspection | None = None
        self._memory: _Memory | None = None
        self._identity = ""
        self._task: asyncio.Task[None] | None = None
        self._confirmed = float("-inf")
        self._lock = asyncio.Lock()
        self._announced = asyncio.Event()

    def trusted(self, seconds: float) -> bool:
        """There is a catalog, and it was confirmed not longer ago than that."""
        return self.catalog is not None and time.monotonic() - self._confirmed <= seconds

    @property
    def age(self) -> float:
        """Seconds since the catalog was last confirmed."""
        return time.monotonic() - self._confirmed

    async def refresh(self) -> Catalog:
        """Asks whether anything changed since this call, and reads what did. Raises one of ``FAILURES``."""
        asked = time.monotonic()
        async with self._lock:
            if self.catalog is not None and self._confirmed >= asked:
                return self.catalog  # somebody else asked after we did, while we waited
            started = time.monotonic()
            try:
                self.catalog = await self._read()
            except BaseException:
                # Also when cancelled: a connection in the middle of an answer cannot be used again.
                self._drop()
                raise
            self._confirmed = started
            return self.catalog

    async def _read(self) -> Catalog:
        introspection = await self._connected()
        if self._memory is not None:
            changes = await introspection.changes(self._memory.rows)
            if changes is None:
                return self._memory.catalog
            if not changes.afresh:
                return await self._build(self._memory.rows, self._memory.assembly, changes)
        self._memory = None
        with lasting():
            changes = await introspection.everything()
            rows = SystemRows()
            return await self._build(rows, Assembly(self.database, introspection.server_version, rows), changes)

    async def _build(self, rows: SystemRows, assembly: Assembly, changes: Changes) -> Catalog:
        self._memory = None  # half of the changes are worse than nothing, should the rest fail
        # Building may take as long as reading does; the event loop has sessions to serve meanwhile.
        catalog = await asyncio.to_thread(_take_over, rows, assembly, changes, self.catalog)
        self._memory = _Memory(rows, assembly, catalog)
        return catalog

    async def _connected(self) -> Introspection:
        """The connection. What was known counts no more if it leads elsewhere than the one before."""
        if self._introspection is None:
            self._introspection = await Introspection.connect(self.database, self._dsn, self._parameters)
            await self._introspection.listen(self._announced.set)
            identity = await self._introspection.identity()
            if identity != self._identity:
                self._memory, self._identity = None, identity
        return self._introspection

    async def fork(self) -> tuple[SystemRows, Assembly, Catalog]:
        """What is known, for somebody to build upon, and the catalog made of it. Raises one of ``FAILURES``."""
        if self._memory is None:
            await self.refresh()
        async with self._lock:
            if self._memory is None:
                message = "the catalog was not read"
                raise OSError(message)
            rows = self._memory.rows.fork()
            return rows, self._memory.assembly.fork(rows), self._memory.catalog

    def follow(self, seconds: float) -> None:
        """Refreshes from now on, every so many seconds."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(seconds), name=f"catalog of {self.database}")

    @property
    def followed(self) -> bool:
        return self._task is not None

    async def _follow(self, seconds: float) -> None:
        """At once when the database announces a change. What fails is tried again at the next time."""
        failing = False
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._announced.wait(), seconds)
                await asyncio.sleep(_BREATH)
            self._announced.clear()
            try:
                await self.refresh()
            except FAILURES as error:
                if not failing:
                    _log.warning("catalog of database %s cannot be refreshed: %s", self.database, error)
                failing = True
            else:
                if failing:
                    _log.warning("catalog of database %s is fresh again", self.database)
                failing = False

    def _drop(self) -> None:
        if self._introspection is not None:
            self._introspection.terminate()
            self._introspection = None

    async def rest(self) -> None:
        """Ends refreshing and closes the connection; what was read is kept, to be confirmed when it is asked for."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        async with self._lock:
            if self._task is not None:
                return  # somebody came back meanwhile
            introspection, self._introspection = self._introspection, None
            if introspection is not None:
                try:
                    await introspection.close()
                except FAILURES:
                    introspection.terminate()


def _take_over(rows: SystemRows, assembly: Assembly, changes: Changes, before: Catalog | None) -> Catalog:
    rows.apply(changes)
    return assembly.catalog(changes, before)
