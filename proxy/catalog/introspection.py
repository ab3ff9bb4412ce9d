"""Reads one database's system catalogs over one connection, in one snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg

from proxy.catalog import queries
from proxy.catalog.assembly import assemble
from proxy.catalog.model import Catalog

# A catalog locked by DDL under way must not hold up the reader, nor the reader the DDL (both in milliseconds).
_SETTINGS = {
    "application_name": "consentry catalog",
    "search_path": "",
    "lock_timeout": "2000",
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "30000",
    "jit": "off",
}
_CONNECT_TIMEOUT = 10.0  # seconds
_COMMAND_TIMEOUT = 15.0  # seconds: for a network that went silent, where the server's own timeouts do not reach

_QUERIES = {
    "schemas": queries.SCHEMAS,
    "relations": queries.RELATIONS,
    "views": queries.VIEWS,
    "columns": queries.COLUMNS,
    "types": queries.TYPES,
    "modifiers": queries.MODIFIERS,
    "collations": queries.COLLATIONS,
    "functions": queries.FUNCTIONS,
    "aggregates": queries.AGGREGATES,
    "operators": queries.OPERATORS,
    "casts": queries.CASTS,
    "operator_classes": queries.OPERATOR_CLASSES,
    "family_members": queries.FAMILY_MEMBERS,
    "rules": queries.RULES,
    "policies": queries.POLICIES,
    "triggers": queries.TRIGGERS,
    "defaults": queries.DEFAULTS,
    "constraints": queries.CONSTRAINTS,
    "inheritance": queries.INHERITANCE,
    "indexes": queries.INDEXES,
    "partitioned": queries.PARTITIONED,
    "dependencies": queries.DEPENDENCIES,
    "extensions": queries.EXTENSIONS,
}

Tree = tuple[int, int, int]
"""A stored expression: its catalog, the OID of its object there, its version."""


class Introspection:
    """One connection to one database. Not for concurrent use.

    Methods raise ``OSError``, ``asyncpg.PostgresError``, ``asyncpg.InterfaceError`` or ``TimeoutError`` when the
    upstream does not answer; the connection is then of no more use.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._trees: dict[Tree, Mapping[str, Any]] = {}

    @classmethod
    async def connect(cls, database: str, dsn: str | None, parameters: Mapping[str, Any]) -> Introspection:
        """Connects as ``dsn`` and asyncpg's ``parameters`` say, else as the usual ``PG…`` environment does."""
        connection = await asyncpg.connect(
            dsn,
            **{"timeout": _CONNECT_TIMEOUT, "command_timeout": _COMMAND_TIMEOUT, **parameters},
            database=database,
            server_settings=_SETTINGS,
        )
        return cls(connection)

    async def fingerprint(self) -> str:
        """A text that changes with every change of what :meth:`read` would return."""
        return str(await self._connection.fetchval(queries.FINGERPRINT))

    async def read(self, database: str, generation: int) -> tuple[str, Catalog]:
        """The whole catalog and its fingerprint, as of one moment."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            fingerprint = await self.fingerprint()
            rows = {name: await self._connection.fetch(query) for name, query in _QUERIES.items()}
            rows["trees"] = await self._read_trees()
        version = self._connection.get_server_version()
        # Building takes as long as reading does; the event loop has sessions to serve meanwhile.
        catalog = await asyncio.to_thread(assemble, database, generation, version.major, rows)
        return fingerprint, catalog

    async def _read_trees(self) -> list[Mapping[str, Any]]:
        """What stored expressions refer to; those that did not change since the last time are not searched again."""
        present = {(row["class"], row["oid"], row["version"]) for row in await self._connection.fetch(queries.TREES)}
        missing = [tree for tree in present if tree not in self._trees]
        found = await self._connection.fetch(
            queries.TREE_REFERENCES, [tree[0] for tree in missing], [tree[1] for tree in missing]
        )
        self._trees = {tree: row for tree, row in self._trees.items() if tree in present}
        self._trees |= {(row["class"], row["oid"], row["version"]): row for row in found}
        return list(self._trees.values())

    async def close(self) -> None:
        await self._connection.close(timeout=2)

    def terminate(self) -> None:
        """Drops the connection without a word."""
        self._connection.terminate()
