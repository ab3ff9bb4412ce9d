"""The catalog as one session alone sees it: with its temporary objects, and with what its open transaction did.

DDL in a transaction is invisible to other connections, and reading of it from outside could wait for a lock that only
the session's next message releases. So the session's own connection is asked, between the client's messages and in a
way that leaves nothing behind: inside a savepoint that is rolled back, or in a transaction of its own where none is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

from proxy.catalog import queries
from proxy.catalog.assembly import Assembly
from proxy.catalog.introspection import Introspection
from proxy.catalog.model import Catalog
from proxy.catalog.rows import Changes, SystemRows

Answer = tuple[Sequence[tuple[str, int]], Sequence[Sequence[bytes | None]]]
"""The columns of a result by name and type OID, and its rows in text format."""

Ask = Callable[[str, Sequence[str]], Awaitable[Answer]]
"""Runs one statement with parameters in text format on the session's connection. Raises ConnectionError."""

Fork = Callable[[], Awaitable[tuple[SystemRows, Assembly, Catalog]]]
"""What is known of the database, to be built upon, and the catalog that others see."""


class Unreadable(Exception):
    """The session's own catalog cannot be read now. ``passing``: perhaps the next time."""

    passing = False


# search_path: names and types of the client's making must not stand for PostgreSQL's own, and texts of views are to
# name their relations in full. The timeouts (in milliseconds) are the client's no more.
_SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "lock_timeout": "500",
    "statement_timeout": "10000",
    "quote_all_identifiers": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_PREPARE = "SELECT {}, pg_catalog.pg_my_temp_schema(), pg_catalog.current_setting('transaction_isolation')".format(
    ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())
)

_ATTEMPTS = 3
_SCHEMAS = queries.changed([queries.SOURCES["schemas"]])


class OwnCatalog:
    """Follows what one session sees, reading what changed since the last time. Not for concurrent use."""

    def __init__(self, fork: Fork, committed: Callable[[], Catalog]) -> None:
        self._fork = fork
        self._committed = committed
        self._rows: SystemRows | None = None
        self._assembly: Assembly | None = None
        self._catalog: Catalog | None = None

    async def read(self, ask: Ask, savepoint: str | None, *, steady: bool) -> Catalog:
        """What the session sees now; ``committed`` of it is what others saw when it was asked.

        ``savepoint``: a name for one, in a transaction; None outside. ``steady``: others changed nothing since that
        transaction began, which is all that can be known under a snapshot of its beginning.

        Raises Unreadable, or what asking raises; the object is then of no more use.
        """
        if self._assembly is None:
            self._rows, self._assembly, self._catalog = await self._fork()
        assert self._rows is not None  # noqa: S101 - set together
        async with _apart(ask, savepoint) as (isolation, temporary):
            if savepoint is not None and isolation != "read committed" and not steady:
                message = "others changed the catalog since the transaction's snapshot"
                raise Unreadable(message)
            others = self._committed()
            changes = await _OwnIntrospection(_Connection(ask), temporary).changes(self._rows)
        if changes is not None:
            rows, assembly, before = self._rows, self._assembly, self._catalog
            self._assembly = None  # half of the changes are worse than nothing, should the rest fail
            if changes.afresh:
                message = "what initdb made was changed"
                raise Unreadable(message)
            self._catalog = await asyncio.to_thread(_take_over, rows, assembly, changes, before)
            self._assembly = assembly
        assert self._catalog is not None  # noqa: S101 - set together
        return replace(self._catalog, committed=others)


def _take_over(rows: SystemRows, assembly: Assembly, changes: Changes, before: Catalog | None) -> Catalog:
    try:
        rows.apply(changes)
        return assembly.catalog(changes, before)
    except KeyError as contradiction:
        message = "the rows of the catalog contradict each other"
        unreadable = Unreadable(message)
        unreadable.passing = True  # the questions are no one snapshot, and others go on meanwhile
        raise unreadable from contradiction


@asynccontextmanager
async def _apart(ask: Ask, savepoint: str | None) -> AsyncIterator[tuple[str, int]]:
    """Leaves the client's transaction, settings and connection as they were. Gives the isolation level, and the OID of
    the session's temporary schema, 0 if it has none."""
    begin = f'SAVEPOINT "{savepoint}"' if savepoint else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    end = [f'ROLLBACK TO SAVEPOINT "{savepoint}"', f'RELEASE SAVEPOINT "{savepoint}"'] if savepoint else ["ROLLBACK"]
    await ask(begin, ())
    try:
        _, rows = await ask(_PREPARE, ())
        temporary, isolation = rows[0][-2:]
        yield (isolation or b"").decode(), int(temporary or 0)
    finally:
        await _leave(ask, end)


async def _leave(ask: Ask, end: Sequence[str]) -> None:
    """Whoever cancels a statement may hit these, too: they are said again then."""
    for attempt in range(_ATTEMPTS):
        try:
            for statement in end:
                await ask(statement, ())
        except ConnectionError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


class _OwnIntrospection(Introspection):
    """Reads in the transaction that is there. ``temporary``: the OID of the session's temporary schema, or 0."""

    def __init__(self, connection: _Connection, temporary: int) -> None:
        super().__init__(connection)
        self._temporary = temporary

    async def changes(self, known: SystemRows) -> Changes | None:
        found = await super().changes(known)
        if found is not None and self._temporary:
            # The schema may be an old one, which another session used before under its number.
            (schema,) = await self._connection.fetch(_SCHEMAS, [self._temporary])
            found.rows.setdefault("schemas", {})[self._temporary] = json.loads(schema["rows"])
        return found

    def _snapshot(self) -> Any:
        return nullcontext()

    async def _definitions(self, views: list[int]) -> dict[int, str]:
        found = await self._connection.fetch(queries.DEFINITIONS, views)
        return {row["oid"]: row["definition"] or "" for row in found}


class _Connection:
    """What :class:`Introspection` asks of a connection."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def fetch(self, query: str, *arguments: object) -> list[Mapping[str, Any]]:
        names, rows = await self._rows(query, arguments)
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def fetchrow(self, query: str, *arguments: object) -> tuple[Any, ...]:
        _, rows = await self._rows(query, arguments)
        return rows[0]

    async def _rows(self, query: str, arguments: Sequence[object]) -> tuple[list[str], list[tuple[Any, ...]]]:
        columns, rows = await self._ask(query, [_written(argument) for argument in arguments])
        readers = [_READERS.get(type_oid, _text) for _, type_oid in columns]
        return [name for name, _ in columns], [
            tuple(None if value is None else read(value) for read, value in zip(readers, row, strict=True))
            for row in rows
        ]

    async def execute(self, query: str) -> None:
        await self._ask(query, ())


def _written(argument: object) -> str:
    """A parameter in text format: text, a number, or a list of numbers."""
    return f"{{{','.join(map(str, argument))}}}" if isinstance(argument, list) else str(argument)


def _text(value: bytes) -> str:
    return value.decode()


def _numbers(value: bytes) -> list[int | None]:
    """An array of numbers. One that does not begin at 1 says so before the elements: ``[0:1]={23,25}``."""
    elements = value.partition(b"=")[2] if value.startswith(b"[") else value
    return [None if one == b"NULL" else int(one) for one in elements[1:-1].split(b",") if one]


_READERS: Mapping[int, Callable[[bytes], Any]] = {
    16: lambda value: value == b"t",
    **dict.fromkeys((20, 21, 23, 26), int),
    **dict.fromkeys((1005, 1007, 1016, 1028), _numbers),
}
"""By type OID: bool; int8, int2, int4, oid; int2[], int4[], int8[], oid[]."""
