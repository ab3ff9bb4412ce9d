"""Reads the catalog of a test's database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.catalog.catalogs import Catalogs
from proxy.catalog.model import Catalog
from tests.fix_postgres import Database


async def read(database: Database) -> Catalog:
    """The catalog as it is now, read from nothing."""
    catalogs = Catalogs(database.dsn(), refresh_seconds=3600)
    try:
        return await catalogs.catalog(database.name)
    finally:
        await catalogs.close()


@pytest.fixture
async def catalogs(database: Database) -> AsyncIterator[Catalogs]:
    """Catalogs of the test's server that refresh every 50 ms."""
    opened = Catalogs(database.dsn(), refresh_seconds=0.05)
    yield opened
    await opened.close()
