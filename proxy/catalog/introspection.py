"""Reads one database's system catalogs over one connection, in one snapshot: all of them once, then what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from proxy.catalog import queries
from proxy.catalog.queries import SOURCES, Source
from proxy.catalog.reach import Object
from proxy.catalog.rows import Changes, Group, Row, State, SystemRows

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


class Introspection:
    """One connection to one database. Not for concurrent use.

    Methods raise ``OSError``, ``asyncpg.PostgresError``, ``asyncpg.InterfaceError`` or ``TimeoutError`` when the
    upstream does not answer; the connection is then of no more use.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

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

    @property
    def server_version(self) -> int:
        """The major version."""
        return int(self._connection.get_server_version().major)

    async def identity(self) -> str:
        """Which database of which start of a server this is. Under another identity nothing counts that was known."""
        return str(await self._connection.fetchval(queries.IDENTITY))

    async def everything(self) -> Changes:
        """All rows, as of one moment."""
        async with self._snapshot():
            horizon = await self._connection.fetchval(queries.HORIZON)
            changes = Changes(horizon, await self._states(horizon), afresh=True)
            for source in SOURCES.values():
                if source.split:
                    changes.rows[source.name] = _grouped(await self._connection.fetch(source.builtin))
            await self._read_users(SystemRows(), changes)
        return changes

    async def changes(self, known: SystemRows) -> Changes | None:
        """What changed since ``known``, as of one moment; None if nothing did. If initdb's rows changed, no more than
        the word that everything has to be read afresh.
        """
        async with self._snapshot():
            changes = Changes(known.horizon, await self._states(known.horizon))
            if changes.states == known.states:
                return None
            changes.afresh = not await self._read_users(known, changes)
        return changes

    def _snapshot(self) -> Any:
        return self._connection.transaction(isolation="repeatable_read", readonly=True)

    async def _states(self, horizon: str) -> dict[str, State]:
        rows = await self._connection.fetch(queries.STATES, horizon)
        return {row["source"]: (row["rows"], row["recent"]) for row in rows}

    async def _read_users(self, known: SystemRows, changes: Changes) -> bool:
        """Reads what users made. False, before all is read, if they changed what initdb made."""
        for source in SOURCES.values():
            if changes.states[source.name] != known.states.get(source.name):
                keys, counts, hashes, *builtin = await self._connection.fetchrow(source.listing, changes.horizon)
                changes.builtin[source.name] = builtin[0], builtin[1]
                if not changes.afresh and changes.builtin[source.name] != known.builtin[source.name]:
                    return False
                versions = zip(counts or (), hashes or (), strict=True)
                await self._read_changed(source, known, changes, dict(zip(keys or (), versions, strict=True)))
        await self._read_rest(known, changes)
        return True

    async def _read_changed(
        self, source: Source, known: SystemRows, changes: Changes, versions: dict[int, State]
    ) -> None:
        changed, gone = known.differences(source, versions, changes)
        wanted = known.owners(source, changes, changed)
        groups = _grouped(await self._connection.fetch(source.changed, wanted)) if wanted else {}
        new = {key: group for key, group in groups.items() if known.really_changed(source, key, group)}
        new |= {key: () for key in {*gone, *wanted} - groups.keys() if known.group(source.name, key)}
        changes.versions[source.name] = versions
        if new:
            changes.rows[source.name] = changes.rows.get(source.name, {}) | new

    async def _read_rest(self, known: SystemRows, changes: Changes) -> None:
        """What follows from the rows."""
        while missing := known.missing_types(changes):
            groups = _grouped(await self._connection.fetch(queries.TYPES_IN_USE, missing))
            changes.rows["types"] = changes.rows.get("types", {}) | groups
            if not groups:
                break
        if code := changes.code():
            wanted = [user.catalog for user in code], [user.oid for user in code]
            for row in await self._connection.fetch(queries.DEPENDENCIES, *wanted):
                user = Object(row["user_class"], row["user"])
                changes.edges.setdefault(user, []).append(Object(row["class"], row["oid"]))
            for row in await self._connection.fetch(queries.TREES, *wanted):
                changes.trees[Object(row["class"], row["oid"])] = row
        if views := known.outdated_definitions(changes):
            found = await self._connection.fetch(queries.DEFINITIONS, views)
            definitions = {row["oid"]: row["definition"] or "" for row in found}
            changes.definitions = dict(definitions.items() - known.definitions.items())
        if pairs := known.missing_modifiers(changes):
            wanted = [oid for oid, _ in pairs], [typmod for _, typmod in pairs]
            found = await self._connection.fetch(queries.MODIFIERS, *wanted)
            changes.modifiers = {(row["type"], row["typmod"]): row["modifier"] or "" for row in found}

    async def close(self) -> None:
        await self._connection.close(timeout=2)

    def terminate(self) -> None:
        """Drops the connection without a word."""
        self._connection.terminate()


def _grouped(rows: list[Row]) -> dict[int, Group]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["key"], []).append(row)
    return dict(groups)
