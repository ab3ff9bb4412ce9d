"""A real PostgreSQL for the tests: one embedded server a run, a fresh database for each test or module that asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
import pytest

from proxy.demo.postgres import SUPERUSER, EmbeddedPostgres, server_version

SERVERS = "major version of the server: 16, 18, what Debian's packages bring, or what $POSTGRES_PROGRAMS names"
_numbers = count(1)


class Login(NamedTuple):
    """A role that pg_hba.conf lets in over TCP by one method of authentication only."""

    method: str
    user: str
    password: str


LOGINS = {
    "password": Login("password", "plain_user", "plain pass"),
    "md5": Login("md5", "md5_user", "md5 pass"),
    "scram-sha-256": Login("scram-sha-256", "scram_user", "scram päss"),
}


@dataclass(frozen=True, slots=True)
class Database:
    """A database of its own, empty at first. `postgres` is the server that it stands on."""

    postgres: EmbeddedPostgres
    name: str

    def dsn(self, user: str = SUPERUSER, password: str | None = None) -> str:
        """A connection URL over TCP, direct to the server."""
        return self.postgres.dsn(user, self.name, password)

    def socket_dsn(self, user: str = SUPERUSER, password: str | None = None) -> str:
        """A connection URL over the unix socket, direct to the server."""
        return self.postgres.socket_dsn(user, self.name, password)

    def through(self, host: str, port: int, user: str = SUPERUSER, password: str | None = None) -> str:
        """A connection URL for this database by way of somebody who listens on host and port."""
        login = quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}")
        return f"postgresql://{login}@{host}:{port}/{self.name}"

    def connect(self, user: str = SUPERUSER, password: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        """A direct connection in autocommit mode."""
        return psycopg.connect(self.dsn(user, password), autocommit=True)

    def execute(self, sql: str, user: str = SUPERUSER) -> list[tuple[Any, ...]]:
        """Runs one or several statements directly; returns the rows of the last one that has any."""
        rows: list[tuple[Any, ...]] = []
        with self.connect(user) as connection, connection.cursor() as cursor:
            cursor.execute(sql.encode())
            while True:
                if cursor.description is not None:
                    rows = cursor.fetchall()
                if not cursor.nextset():
                    return rows


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgres", type=int, default=18, help=SERVERS)


def pytest_report_header(config: pytest.Config) -> str:
    return f"PostgreSQL: {server_version(config.getoption('--postgres'))} (embedded)"


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """The server of the run. Superuser `postgres`; trusts everybody but the roles of `LOGINS`."""
    hba = [f"host all {login.user} 127.0.0.1/32 {login.method}" for login in LOGINS.values()]
    with EmbeddedPostgres(version=request.config.getoption("--postgres"), hba=hba) as server:
        yield server


@pytest.fixture(scope="session")
def logins(postgres: EmbeddedPostgres) -> dict[str, Login]:
    """Roles that must authenticate, by method: `password`, `md5`, `scram-sha-256`."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        make_logins(connection)
    return LOGINS


def make_logins(connection: psycopg.Connection[Any]) -> None:
    """Makes the roles of `LOGINS` on a server."""
    for login in LOGINS.values():
        stored = "md5" if login.method == "md5" else "scram-sha-256"
        connection.execute(f"SET password_encryption = '{stored}'")
        connection.execute(f"CREATE ROLE {login.user} LOGIN PASSWORD '{login.password}'")


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh database for one test."""
    yield from _fresh_database(postgres)


@pytest.fixture(scope="module")
def module_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh database for all tests of one module."""
    yield from _fresh_database(postgres)


def create_database(connection: psycopg.Connection[Any], name: str, template: str = "template1") -> None:
    """A copy of ``template`` as files, the only way up to PostgreSQL 14 and here the quickest one since."""
    strategy = " STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
    connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}".encode())


def _fresh_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        create_database(connection, name)
    yield Database(postgres, name)
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
