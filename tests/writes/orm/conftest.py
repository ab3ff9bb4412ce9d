"""Sessions of an ORM, directly and through the proxy, over psycopg and asyncpg, before a shop as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio

from proxy.demo.postgres import EmbeddedPostgres
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy
from tests.writes.orm.models import Base

POLICY = Path(__file__).parent / "policy.yaml"
ROLES = ("shop", "desk", "office", "crew")
DRIVERS = ("psycopg", "asyncpg")
DATA = """
TRUNCATE people, clubs RESTART IDENTITY CASCADE;
INSERT INTO people (id, kind, name, phone, mood, tags, note, status, revision) OVERRIDING SYSTEM VALUE
    SELECT n, CASE WHEN n IN (2, 3) THEN 'customer' WHEN n = 6 THEN 'employee' ELSE 'person' END, 'Anna ' || n,
        '1380000000' || n, 'CALM', ARRAY['red', 'tea'], 'note', CASE n WHEN 5 THEN 'closed' ELSE 'active' END, 1
    FROM generate_series(1, 6) n;
INSERT INTO customers SELECT n, 'Long Street ' || n || ', Hangzhou', 10 FROM generate_series(2, 3) n;
INSERT INTO employees VALUES (6, 'DE02120300000000202051');
INSERT INTO consents SELECT n, 'sales', '2020-01-01', CASE n WHEN 3 THEN timestamptz '2021-01-01' END
    FROM unnest(ARRAY[1, 2, 3, 5, 6]) n;
INSERT INTO orders (id, person_id, address, total, details) OVERRIDING SYSTEM VALUE
    SELECT n, n, 'Short Street ' || n || ', Ningbo', n * 10, '{"gift": true}' FROM generate_series(1, 6) n;
INSERT INTO lines SELECT n, m, 'For Eva ' || n || m FROM generate_series(1, 6) n, generate_series(1, 2) m;
INSERT INTO preferences SELECT n, 'colour', 'red' FROM generate_series(1, 6) n;
INSERT INTO clubs (id, title) VALUES ('00000000-0000-0000-0000-000000000001', 'Chess');
INSERT INTO members SELECT n, id FROM generate_series(1, 3) n, clubs;
"""
"""1, 2 (a customer) and 6 (an employee) consent; 3 (a customer) has withdrawn, 4 never consented, 5's account is
closed."""
STORED = {
    "people": "to_jsonb(t) - 'saved_at'",
    **dict.fromkeys(("customers", "employees", "orders", "lines", "preferences"), "to_jsonb(t)"),
    "consents": "jsonb_build_array(person_id, purpose, withdrawn_at IS NULL)",
    "members": "jsonb_build_array(person_id, (SELECT title FROM clubs WHERE id = club_id))",
    "clubs": "to_jsonb(title)",
}


Engines = Callable[[str], sa.Engine]


class Shop(NamedTuple):
    """One way to the database."""

    database: Database
    address: tuple[str, int] | None
    engines: Engines

    def play(self, driver: str, role: str, part: Callable[[orm.Session], Any], **options: Any) -> Any:
        """What ``part`` gives, in a session of its own that is rolled back if it fails and is left open."""
        address = self.address or (self.database.postgres.host, self.database.postgres.port)
        url = self.database.through(*address, role).replace("postgresql://", f"postgresql+{driver}://")
        if driver == "asyncpg":
            return asyncio.run(self._play_async(url, part, options))
        with orm.Session(self.engines(url), **options) as session:
            return part(session)

    async def _play_async(self, url: str, part: Callable[[orm.Session], Any], options: dict[str, Any]) -> Any:
        """Without a pool: each play has an event loop of its own."""
        async with aio.AsyncSession(aio.AsyncEngine(self.engines(url)), **options) as session:
            return await session.run_sync(part)

    def fill(self) -> None:
        """Makes the data again what it was."""
        self.database.execute(DATA)

    def stored(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row, but for what the clock or chance wrote."""
        return {t: self.database.execute(f"SELECT {shown} FROM {t} t ORDER BY 1") for t, shown in STORED.items()}


@pytest.fixture(scope="package")
def roles(postgres: EmbeddedPostgres) -> Iterator[tuple[str, ...]]:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    yield ROLES
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.fixture(scope="module")
def filled(roles: tuple[str, ...], module_database: Database) -> Database:
    engine = sa.create_engine(module_database.dsn().replace("://", "+psycopg://", 1))
    Base.metadata.create_all(engine)
    engine.dispose()
    everything = "GRANT ALL ON ALL {} IN SCHEMA public TO " + ", ".join(roles)
    module_database.execute(f"{everything.format('TABLES')}; {everything.format('SEQUENCES')}")
    return module_database


@pytest.fixture(scope="module")
def address(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("mapped")
    with Proxy(folder, "--policy", str(POLICY), "--upstream", filled.dsn()) as proxy:
        host, _, port = proxy.ready().rpartition(":")
        yield host, int(port)


@pytest.fixture
def direct(filled: Database) -> Database:
    """The database without the proxy, with its data as it was."""
    filled.execute(DATA)
    return filled


@pytest.fixture(scope="module")
def engines() -> Engines:
    """Kept, since they keep what they have compiled."""
    return cache(lambda url: sa.create_engine(url, poolclass=sa.NullPool))


@pytest.fixture
def directly(direct: Database, engines: Engines) -> Shop:
    return Shop(direct, None, engines)


@pytest.fixture
def through(direct: Database, address: tuple[str, int], engines: Engines) -> Shop:
    return Shop(direct, address, engines)
