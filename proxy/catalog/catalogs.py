"""The catalogs of all databases of the upstream, each read on first use and kept fresh."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Mapping
from typing import Any

import asyncpg

from proxy.catalog.introspection import Introspection
from proxy.catalog.model import Catalog

_log = logging.getLogger(__name__)

_LEAST_TRUST = 30.0  # seconds
_REFRESHES_TRUSTED = 10

# KeyError: the rows contradict each other.
_FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, KeyError)


class CatalogUnavailable(Exception):
    """The catalog of a database cannot be read, or could not for so long that nothing may rest on it any more."""


class Catalogs:
    """Catalogs by database name, over one connection each.

    ``connect`` is a connection URL or asyncpg's connection parameters, without regard to the database they name; None
    is the usual ``PG…`` environment. Every ``refresh_seconds`` each known database is asked whether its catalog
    changed. A catalog that could not be confirmed for ten refreshes, or 30 seconds if that is longer, is not given out
    any more: what it says of the tables may have become wrong.
    """

    def __init__(self, connect: str | Mapping[str, Any] | None = None, refresh_seconds: float = 1.0) -> None:
        self._connect = connect
        self._refresh_seconds = refresh_seconds
        self._trusted_seconds = max(_LEAST_TRUST, _REFRESHES_TRUSTED * refresh_seconds)
        self._readers: dict[str, _Reader] = {}
        self._closed = False

    async def catalog(self, database: str) -> Catalog:
        """The newest snapshot; read now if this is the database's first. Raises CatalogUnavailable."""
        reader = self._readers.get(database)
        if reader is None or not reader.trusted(self._trusted_seconds):
            return await self.reload(database)
        return self.current(database)

    async def reload(self, database: str) -> Catalog:
        """A snapshot that is no older than this call. Raises CatalogUnavailable.

        Its generation is that of the snapshot before, and it is the same object, unless something changed.
        """
        if self._closed:
            message = "the catalogs are closed"
            raise CatalogUnavailable(message)
        reader = self._readers.get(database)
        if reader is None:
            reader = self._readers[database] = _Reader(database, self._connect)
        try:
            catalog = await reader.refresh()
        except _FAILURES as error:
            if reader.catalog is None and self._readers.get(database) is reader:
                del self._readers[database]
            message = f"the catalog of database {database!r} cannot be read: {type(error).__name__}: {error}"
            raise CatalogUnavailable(message) from error
        if self._closed or self._readers.setdefault(database, reader) is not reader:
            await reader.close()  # closed meanwhile, or another attempt took this one's place
        elif reader.task is None:
            reader.task = asyncio.create_task(reader.follow(self._refresh_seconds), name=f"catalog of {database}")
        return catalog

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

    async def close(self) -> None:
        """Ends all refreshing and closes the connections."""
        self._closed = True
        readers, self._readers = list(self._readers.values()), {}
        await asyncio.gather(*(reader.close() for reader in readers))


class _Reader:
    """Follows the catalog of one database."""

    def __init__(self, database: str, connect: str | Mapping[str, Any] | None) -> None:
        self.database = database
        self.catalog: Catalog | None = None
        self.task: asyncio.Task[None] | None = None
        self._dsn = connect if isinstance(connect, str) else None
        self._parameters = {} if connect is None or isinstance(connect, str) else dict(connect)
        self._parameters.pop("database", None)
        self._introspection: Introspection | None = None
        self._fingerprint = ""
        self._confirmed = float("-inf")
        self._lock = asyncio.Lock()

    def trusted(self, seconds: float) -> bool:
        return self.catalog is not None and time.monotonic() - self._confirmed <= seconds

    async def refresh(self) -> Catalog:
        """Asks whether anything changed since this call, and reads the catalog if so."""
        asked = time.monotonic()
        async with self._lock:
            if self.catalog is not None and self._confirmed >= asked:
                return self.catalog  # somebody else asked after we did, while we waited
            started = time.monotonic()
            try:
                catalog = await self._read()
            except BaseException:
                # Also when cancelled: a connection in the middle of an answer cannot be used again.
                self._drop()
                raise
            self._confirmed = started
            return catalog

    async def _read(self) -> Catalog:
        if self._introspection is None:
            self._introspection = await Introspection.connect(self.database, self._dsn, self._parameters)
        reader, before = self._introspection, self.catalog
        if before is not None and await reader.fingerprint() == self._fingerprint:
            return before
        generation = 1 if before is None else before.generation + 1
        self._fingerprint, catalog = await reader.read(self.database, generation)
        if before is not None and dataclasses.replace(catalog, generation=before.generation) == before:
            return before
        self.catalog = catalog
        return catalog

    async def follow(self, seconds: float) -> None:
        """Refreshes for ever; what fails is tried again at the next time."""
        failing = False
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except _FAILURES as error:
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

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        async with self._lock:
            introspection, self._introspection = self._introspection, None
        if introspection is not None:
            try:
                await introspection.close()
            except _FAILURES:
                introspection.terminate()
