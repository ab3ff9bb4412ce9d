"""The live catalog of one database, read once."""

from __future__ import annotations

import asyncpg

from proxy.catalog.catalogs import Catalogs
from proxy.catalog.model import Catalog


async def catalog_of(dsn: str) -> tuple[Catalog, str]:
    """The catalog of the database that ``dsn`` names, and the search_path of its user there.

    Raises OSError, asyncpg.PostgresError or CatalogUnavailable.
    """
    connection = await asyncpg.connect(dsn)
    try:
        database, search_path = await connection.fetchrow(
            "SELECT pg_catalog.current_database(), pg_catalog.current_setting('search_path')"
        )
    finally:
        await connection.close()
    catalogs = Catalogs(dsn)
    try:
        return await catalogs.catalog(database), search_path
    finally:
        await catalogs.close()
