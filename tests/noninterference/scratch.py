"""Two databases that may be changed: they are given back as they were made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from proxy.demo.postgres import EmbeddedPostgres
from tests.fix_postgres import create_database
from tests.noninterference import cells
from tests.noninterference.cells import Cells, Hidden
from tests.noninterference.databases import POLICY, Pair, pair, set_up

_numbers = count(1)


class Scratch:
    """Copies of the two databases. ``pair`` is how to reach them, until the next :meth:`restore`."""

    def __init__(self, postgres: EmbeddedPostgres, made: Pair) -> None:
        self._postgres = postgres
        self._made = made
        self._owners: list[psycopg.Connection[Any]] = []
        self.pair = made
        self._copy()
        first, second = self.cells()
        self.before = (first, second)
        self.hidden: Hidden = cells.differing(first, second)

    def cells(self) -> tuple[Cells, Cells]:
        """All that both databases hold now."""
        first, second = (cells.read(owner) for owner in self._owners)
        return first, second

    def ask(self, side: int, sql: str) -> list[tuple[Any, ...]]:
        """What the owner is told."""
        return self._owners[side].execute(sql.encode()).fetchall()

    def restore(self, now: tuple[Cells, Cells], *, tell: bool = True) -> None:
        """Makes both databases what they were. ``now`` is what they hold. ``tell``: the proxy must know at once."""
        if any(after.objects != before.objects for before, after in zip(self.before, now, strict=True)):
            now = self._without_new(tell=tell)
        kept = zip(self._owners, self.before, now, strict=True)
        done = [cells.restore(owner, before, after) for owner, before, after in kept]
        if not all(done):
            self.drop()
            self._copy()

    def _without_new(self, *, tell: bool) -> tuple[Cells, Cells]:
        """What the databases hold when all that was made is dropped; the proxy hears of it by DDL of its own."""
        for side, owner in enumerate(self._owners):
            cells.drop_new(owner, self.pair.newest)
            if tell:
                with self.pair.through(side, "maker") as maker:
                    maker.query("COMMENT ON SCHEMA helpers IS NULL")
        return self.cells()

    def _copy(self) -> None:
        number = next(_numbers)
        first, second = (f"{name}_{number}" for name in self._made.names)
        with psycopg.connect(self._postgres.dsn(), autocommit=True) as connection:
            for name, made in zip((first, second), self._made.names, strict=True):
                create_database(connection, name, made)
                set_up(connection, name)
        self.pair = self._made._replace(names=(first, second))
        self._owners = [psycopg.connect(self._postgres.dsn(database=name), autocommit=True) for name in self.pair.names]

    def drop(self) -> None:
        """Ends it."""
        for owner in self._owners:
            owner.close()
        with psycopg.connect(self._postgres.dsn(), autocommit=True) as connection:
            # What a sequence prepared in two phases would keep its database.
            for gid, database in connection.execute("SELECT gid, database FROM pg_prepared_xacts").fetchall():
                with psycopg.connect(self._postgres.dsn(database=database), autocommit=True) as there:
                    there.execute(f"ROLLBACK PREPARED '{gid}'".encode())
            for name in self.pair.names:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def scratch(postgres: EmbeddedPostgres, folder: Path, prefix: str, policy: Path = POLICY) -> Iterator[Scratch]:
    """Roles, databases and proxy, for as long as the context lasts."""
    with pair(postgres, folder, prefix, analyze=False, policy=policy) as made:
        opened = Scratch(postgres, made)
        yield opened
        opened.drop()
