"""Reads one database's system catalogs over one connection, in one snapshot: all of them once, then what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import asyncpg

from proxy.catalog import queries
from proxy.catalog.announcement import CHANNEL
from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID
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

# What PostgreSQL says to whoever asks for the text of a view that others have dropped, with a table of it, or locked.
_GONE_OR_LOCKED = (asyncpg.InternalServerError, asyncpg.UndefinedTableError, asyncpg.LockNotAvailableError)
_IMPATIENT = "SET LOCAL lock_timeout = '50ms'"


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

    async def listen(self, changed: Callable[[], None]) -> None:
        """Calls ``changed`` when the database announces that its catalog changed (:mod:`proxy.catalog.announcement`).

        A standby takes no LISTEN (manual 26.4.1); there it is never called.
        """
        with suppress(asyncpg.PostgresError):
            await self._connection.add_listener(CHANNEL, lambda *_: changed())

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
            nothing = SystemRows()
            for source in SOURCES.values():
                groups = _grouped(await self._connection.fetch(source.users))
                changes.rows[source.name] = {key: groups[key] for key in nothing.owners(source, changes, groups)}
                if source.split:
                    changes.rows[source.name] |= _grouped(await self._connection.fetch(source.builtin))
                changes.recent[source.name] = await self._recent(source, horizon)
            await self._read_rest(nothing, changes)
        return changes

    async def changes(self, known: SystemRows) -> Changes | None:
        """What changed since ``known``, as of one moment; None if nothing did. If initdb's rows changed, no more than
        the word that everything has to be read afresh.
        """
        async with self._snapshot():
            changes = Changes(known.horizon, await self._states(known.horizon))
            if changes.states == known.states and not known.unread:
                return None
            changes.afresh = not await self._read_users(known, changes)
        return changes

    def _snapshot(self) -> Any:
        return self._connection.transaction(isolation="repeatable_read", readonly=True)

    async def _states(self, horizon: str) -> dict[str, State]:
        rows = await self._connection.fetch(queries.STATES, horizon)
        return {row["source"]: (row["rows"], row["recent"]) for row in rows}

    async def _recent(self, source: Source, horizon: str) -> dict[int, State]:
        keys, counts, hashes = await self._connection.fetchrow(source.recent, horizon)
        return dict(zip(keys or (), zip(counts or (), hashes or (), strict=True), strict=True))

    async def _read_users(self, known: SystemRows, changes: Changes) -> bool:
        """Reads what users changed. False, before all is read, if they changed what initdb made."""
        for source in SOURCES.values():
            if changes.states[source.name] != known.states[source.name]:
                changes.recent[source.name] = await self._recent(source, known.horizon)
                keys = known.differing(source, changes)
                if source.split and any(key < FIRST_NORMAL_OBJECT_ID for key in keys):
                    return False
                await self._read_changed(source, known, changes, keys)
                if not await self._read_gone(source, known, changes):
                    return False
        await self._read_rest(known, changes)
        return True

    async def _read_gone(self, source: Source, known: SystemRows, changes: Changes) -> bool:
        """Finds what is gone and was not recent. False if initdb made it."""
        if source.lasting:
            return bool(await self._connection.fetchval(queries.BUILTIN_COLUMNS) == known.builtin(source))
        if known.balanced(source, changes):
            return True
        builtin, keys, counts = await self._connection.fetchrow(source.counts)
        if builtin != known.builtin(source):
            return False
        missed = known.miscounted(source, changes, dict(zip(keys or (), counts or (), strict=True)))
        await self._read_changed(source, known, changes, missed)
        return True

    async def _read_changed(self, source: Source, known: SystemRows, changes: Changes, keys: set[int]) -> None:
        wanted = known.owners(source, changes, keys)
        groups = _grouped(await self._connection.fetch(source.changed, wanted)) if wanted else {}
        new = {key: group for key, group in groups.items() if known.really_changed(source, key, group)}
        new |= {key: () for key in keys - groups.keys() if known.group(source.name, key)}
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
            await self._connection.execute(_IMPATIENT)
            definitions = await self._definitions(views)
            changes.definitions = dict(definitions.items() - known.definitions.items())
            changes.unread = set(views) - definitions.keys()
        if pairs := known.missing_modifiers(changes):
            wanted = [oid for oid, _ in pairs], [typmod for _, typmod in pairs]
            found = await self._connection.fetch(queries.MODIFIERS, *wanted)
            changes.modifiers = {(row["type"], row["typmod"]): row["modifier"] or "" for row in found}

    async def _definitions(self, views: list[int]) -> dict[int, str]:
        """The texts of views, but of those that are just being dropped, or read what somebody has locked."""
        try:
            async with self._connection.transaction():
                found = await self._connection.fetch(queries.DEFINITIONS, views)
                return {row["oid"]: row["definition"] or "" for row in found}
        except _GONE_OR_LOCKED:
            if len(views) == 1:
                return {}
        half = len(views) // 2
        return await self._definitions(views[:half]) | await self._definitions(views[half:])

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
