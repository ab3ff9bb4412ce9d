"""The catalogs of all databases of the upstream, each read on first use and kept fresh while somebody uses it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import asyncpg

from proxy.catalog.model import Catalog
from proxy.catalog.own import OwnCatalog
from proxy.catalog.reader import FAILURES, Reader

_LEAST_TRUST = 30.0  # seconds
_REFRESHES_TRUSTED = 10

LINGER_SECONDS = 0.5
"""How long the connection of a database outlives its last session. DROP DATABASE and a copy by CREATE DATABASE …
TEMPLATE wait up to five seconds for others to leave (CountOtherDBBackends in procarray.c), so nobody notices."""

_RESTING = 16
"""Databases without a session of which what was read is kept."""


class CatalogUnavailable(Exception):
    """The catalog of a database cannot be read, or could not for so long that nothing may rest on it any more."""


class Catalogs:
    """Catalogs by database name, over one connection each.

    ``connect`` is a connection URL or asyncpg's connection parameters, without regard to the database they name; None
    is the usual ``PG…`` environment. Every ``refresh_seconds`` each database in use is asked whether its catalog
    changed. A catalog that could not be confirmed for ten refreshes, or 30 seconds if that is longer, is not given out
    any more: what it says of the tables may have become wrong.

    Each successful :meth:`catalog` is a use of the database until a :meth:`release`. The connection of a database that
    nobody uses any more is closed: as long as it is there the database can neither be dropped nor be copied.
    """

    def __init__(self, connect: str | Mapping[str, Any] | None = None, refresh_seconds: float = 1.0) -> None:
        self._connect = connect
        self._refresh_seconds = refresh_seconds
        self._trusted_seconds = max(_LEAST_TRUST, _REFRESHES_TRUSTED * refresh_seconds)
        self._readers: dict[str, Reader] = {}
        self._uses: Counter[str] = Counter()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def catalog(self, database: str) -> Catalog:
        """The newest snapshot; read now if nobody used the database before. Raises CatalogUnavailable."""
        self._uses[database] += 1
        self._stay(database)
        try:
            reader = self._readers.get(database)
            if reader is None or not reader.followed or not reader.trusted(self._trusted_seconds):
                return await self.reload(database)
            return self.current(database)
        except BaseException:
            self.release(database)
            raise

    def release(self, database: str) -> None:
        """Whoever asked for the catalog needs it no more."""
        self._uses[database] -= 1
        if self._uses[database] > 0:
            return
        del self._uses[database]
        if not self._closed and database in self._readers and database not in self._leaving:
            leaving = asyncio.get_running_loop().create_task(self._leave(database), name=f"leaving {database}")
            self._leaving[database] = leaving

    async def reload(self, database: str) -> Catalog:
        """A snapshot that is no older than this call. Raises CatalogUnavailable.

        Its generation is that of the snapshot before, and it is the same object, unless something changed.
        """
        if self._closed:
            message = "the catalogs are closed"
            raise CatalogUnavailable(message)
        reader = self._readers.get(database)
        if reader is None:
            reader = self._readers[database] = Reader(database, self._connect)
        try:
            catalog = await self._refreshed(reader)
        except FAILURES as error:
            if reader.catalog is None and self._readers.get(database) is reader:
                del self._readers[database]
            message = f"the catalog of database {database!r} cannot be read: {type(error).__name__}: {error}"
            raise CatalogUnavailable(message) from error
        if self._closed or self._readers.setdefault(database, reader) is not reader:
            await reader.rest()  # closed meanwhile, or another attempt took this one's place
        else:
            reader.follow(self._refresh_seconds)
        return catalog

    @staticmethod
    async def _refreshed(reader: Reader) -> Catalog:
        """What others do at the same time may have one reading fail, and a session that waits for it would end."""
        try:
            return await reader.refresh()
        except (asyncpg.PostgresError, KeyError):
            return await reader.refresh()

    def current(self, database: str) -> Catalog:
        """The newest snapshot. Raises CatalogUnavailable where there is none that can still be trusted."""
        reader = self._readers.get(database)
        if reader is None or reader.catalog is None:
            message = f"the catalog of database {database!r} was not read yet"
            raise CatalogUnavailable(message)
        if not reader.trusted(self._trusted_seconds):
            message = f"the catalog of database {database!r} could not be confirmed for {self._trusted_seconds:g} s"
            raise CatalogUnavailable(message)
        return reader.catalog

    def own(self, database: str) -> OwnCatalog:
        """What one session sees of a database in use, to be read on its own connection."""
        return OwnCatalog(self._readers[database].fork, lambda: self.current(database))

    def ages(self) -> dict[str, float]:
        """Seconds since the catalog of each database in use was last confirmed."""
        return {name: reader.age for name, reader in self._readers.items() if reader.followed and reader.catalog}

    async def close(self) -> None:
        """Ends all refreshing and closes the connections."""
        self._closed = True
        leaving, self._leaving = list(self._leaving.values()), {}
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, *self._closing, return_exceptions=True)
        readers, self._readers = list(self._readers.values()), {}
        await asyncio.gather(*(reader.rest() for reader in readers))

    def _stay(self, database: str) -> None:
        leaving = self._leaving.pop(database, None)
        if leaving is not None:
            leaving.cancel()

    async def _leave(self, database: str) -> None:
        """Closes the connection of a database if nobody comes back to it soon."""
        await asyncio.sleep(LINGER_SECONDS)
        leaving = self._leaving.pop(database)  # too late to be stopped
        self._closing.add(leaving)
        leaving.add_done_callback(self._closing.discard)
        reader = self._readers.pop(database)
        self._readers[database] = reader  # last of those that are at rest
        await reader.rest()
        resting = [name for name, one in self._readers.items() if not one.followed and name not in self._uses]
        for name in resting[:-_RESTING]:
            del self._readers[name]
