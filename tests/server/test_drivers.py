"""Ordinary clients connect through the proxy unchanged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import asyncpg
import psycopg
import pytest
import sqlalchemy

from proxy.demo.postgres import binaries
from proxy.server import Address
from tests.fix_postgres import Database, Login
from tests.server.conftest import RunningServer


def test_psycopg_with_parameters_transactions_and_prepared_statements(
    server: RunningServer, database: Database
) -> None:
    with psycopg.connect(database.through("127.0.0.1", server.port)) as connection:
        connection.execute("CREATE TABLE t (id int, name text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(number, f"n{number}") for number in range(20)])
        connection.commit()
        connection.prepare_threshold = 1
        for number in range(5):
            row = connection.execute("SELECT name FROM t WHERE id = %s", (number,)).fetchone()
            assert row == (f"n{number}",)
        with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
            connection.execute("CREATE UNIQUE INDEX ON t (id)")
            connection.execute("INSERT INTO t VALUES (1, 'again')")
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (20,)
        with connection.cursor(binary=True) as cursor:
            assert cursor.execute("SELECT id FROM t WHERE id > %s ORDER BY id", (17,)).fetchall() == [(18,), (19,)]


async def test_asyncpg_with_introspection_cursors_and_copy(server: RunningServer, database: Database) -> None:
    connection = await asyncpg.connect(database.through("127.0.0.1", server.port))
    try:
        await connection.execute("CREATE TYPE mood AS ENUM ('calm', 'cross'); CREATE TABLE t (id int, mood mood)")
        await connection.copy_records_to_table("t", records=[(number, "calm") for number in range(1000)])
        assert await connection.fetchval("SELECT count(*) FROM t WHERE mood = $1", "calm") == 1000
        async with connection.transaction():
            rows = [row["id"] async for row in connection.cursor("SELECT id FROM t ORDER BY id", prefetch=100)]
        assert rows == list(range(1000))
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM missing")
        await connection.executemany("INSERT INTO t VALUES ($1, $2)", [(number, "cross") for number in range(50)])
        assert await connection.fetchval("SELECT count(*) FROM t") == 1050
    finally:
        await connection.close()


def test_sqlalchemy(server: RunningServer, database: Database) -> None:
    url = database.through("127.0.0.1", server.port).replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url)
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table("t", metadata, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": number} for number in range(10)])
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)) == 10
        assert sqlalchemy.inspect(connection).get_columns("t")[0]["name"] == "id"
    engine.dispose()


def test_psql(server: RunningServer, database: Database) -> None:
    script = "\\d\nCREATE TABLE t (id int);\n\\copy t FROM PROGRAM 'seq 3'\nSELECT sum(id) FROM t;\n\\d t\n"
    ran = subprocess.run(
        [str(binaries() / "psql"), "-X", "-At", "-v", "ON_ERROR_STOP=1", database.through("127.0.0.1", server.port)],
        input=script,
        capture_output=True,
        text=True,
        check=True,
        env={"LANG": "C.UTF-8", "PATH": os.environ["PATH"]},
    )
    assert ran.stdout.splitlines() == ["CREATE TABLE", "COPY 3", "6", "id|integer|||"]


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_authentication_passes_through(
    server: RunningServer, database: Database, logins: dict[str, Login], method: str
) -> None:
    login = logins[method]
    through = database.through("127.0.0.1", server.port, login.user, login.password)
    with psycopg.connect(through) as connection:
        assert connection.execute("SELECT session_user").fetchone() == (login.user,)
    wrong = database.through("127.0.0.1", server.port, login.user, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_unix_sockets_on_both_sides(start_server: type[RunningServer], database: Database, tmp_path: Path) -> None:
    upstream = database.postgres.socket_directory / f".s.PGSQL.{database.postgres.port}"
    listening = tmp_path / ".s.PGSQL.6432"
    start_server(listen=(Address(path=str(listening)),), upstream=Address(path=str(upstream)))
    with psycopg.connect(host=str(tmp_path), port=6432, user="postgres", dbname=database.name) as connection:
        assert connection.execute("SELECT inet_client_addr()").fetchone() == (None,)
