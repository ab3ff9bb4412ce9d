"""Reads one database's system catalogs over one connection, in one snapshot: all of them once, then what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from proxy.catalog import queries
from proxy.catalog.announcement import CHANNEL
from proxy.catalog.queries import SOURCES
from proxy.catalog.reach import Object
from proxy.catalog.rows import Changes, Group, Row, State, SystemRows, Versions

# A catalog locked by DDL under way must not hold up the reader, nor the reader the DDL (both in milliseconds).
_SETTINGS = {
    "application_name": "consentry catalog",
    "plan_cache_mode": "force_generic_plan",
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
            changes = await self._look("", afresh=True)
            nothing = SystemRows()
            for source in SOURCES.values():
                groups = _grouped(await self._connection.fetch(source.users))
                changes.rows[source.name] = {key: groups[key] for key in nothing.owners(source, changes, groups)}
                if source.split:
                    changes.rows[source.name] |= _grouped(await self._connection.fetch(source.builtin))
            await self._read_rest(nothing, changes)
        return changes

    async def changes(self, known: SystemRows) -> Changes | None:
        """What changed since ``known``, as of one moment; None if nothing did. If initdb's rows changed, no more than
        the word that everything has to be read afresh.
        """
        async with self._snapshot():
            changes = await self._look(known.horizon)
            if known.confirmed(changes) and not known.unread:
                return None
            changes.afresh = known.overthrown(changes)
            if not changes.afresh:
                await self._read_users(known, changes)
        return changes

    def _snapshot(self) -> Any:
        return self._connection.transaction(isolation="repeatable_read", readonly=True)

    async def _look(self, horizon: str, *, afresh: bool = False) -> Changes:
        """What is there now, and what of it was made since ``horizon``."""
        changes = Changes("", {}, afresh=afresh)
        for row in await self._connection.fetch(queries.STATES, horizon):
            if not row["source"]:
                changes.horizon = str(row["rows"])
                continue
            changes.states[row["source"]] = State(row["rows"], row["builtin"])
            made = [tuple(map(int, one.split())) for one in row["made"].split(",")] if row["made"] else []
            changes.recent[row["source"]] = _versions((key, version) for key, version, _ in made)
            changes.young[row["source"]] = _versions((key, version) for key, version, young in made if young)
        return changes

    async def _read_users(self, known: SystemRows, changes: Changes) -> None:
        """Reads what users changed."""
        await self._read_changed(known, changes, {name: known.differing(name, changes) for name in SOURCES})
        # Relations first: with one of them goes what belongs to it.
        for source in sorted(SOURCES.values(), key=lambda source: source.name != "relations"):
            known.take_away(source, changes)
            if not (source.lasting or known.balanced(source, changes)):
                keys, counts = await self._connection.fetchrow(source.counts)
                missed = known.miscounted(source, changes, dict(zip(keys or (), counts or (), strict=True)))
                await self._read_changed(known, changes, {source.name: missed})
        await self._read_rest(known, changes)

    async def _read_changed(self, known: SystemRows, changes: Changes, wanted: Mapping[str, set[int]]) -> None:
        """Reads the rows of the keys that are ``wanted`` of each source, all by one query."""
        sources = [SOURCES[name] for name, keys in wanted.items() if keys]
        if not sources:
            return
        found = await self._connection.fetch(queries.changed(sources), *(sorted(wanted[one.name]) for one in sources))
        groups = {row["source"]: _grouped(json.loads(row["rows"] or "[]")) for row in found}
        for source in sources:  # relations before what belongs to them
            keys, read = wanted[source.name], groups[source.name]
            read = {key: read[key] for key in known.owners(source, changes, keys & read.keys())}
            new = {key: group for key, group in read.items() if known.really_changed(source, key, group)}
            new |= {key: () for key in keys - read.keys() if known.group(source.name, key)}
            if new:
                changes.rows[source.name] = changes.rows.get(source.name, {}) | new

    async def _read_rest(self, known: SystemRows, changes: Changes) -> None:
        """What follows from the rows."""
        while missing := known.missing_types(changes):
            (row,) = await self._connection.fetch(queries.TYPES_IN_USE, missing)
            groups = _grouped(json.loads(row["rows"] or "[]"))
            changes.rows["types"] = changes.rows.get("types", {}) | groups
            if not groups:
                break
        if code := changes.code():
            wanted = [user.catalog for user in code], [user.oid for user in code]
            for row in await self._connection.fetch(queries.CODE, *wanted):
                user = Object(row["user_class"], row["user"])
                if row["class"] is None:
                    changes.trees[user] = row
                else:
                    changes.edges.setdefault(user, []).append(Object(row["class"], row["oid"]))
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


def _grouped(rows: Sequence[Row]) -> dict[int, Group]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["key"], []).append(row)
    return dict(groups)


def _versions(made: Iterable[tuple[int, int]]) -> dict[int, Versions]:
    """By key: how many row versions it has, and a number that tells whether they are the same ones."""
    found: dict[int, Versions] = {}
    for key, version in made:
        count, versions = found.get(key, (0, 0))
        found[key] = (count + 1, versions ^ version)
    return found
