"""The embedded server: it starts, stops, restarts, authenticates, and never outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres, PostgresUnavailable
from tests.fix_postgres import Database, Login

LEAVES_A_SERVER_BEHIND = """
import sys, time
from proxy.demo.postgres import EmbeddedPostgres
server = EmbeddedPostgres().start()
print(server.dsn(), server.data, server.socket_directory, flush=True)
sys.stdin.read()
"""


def test_over_tcp_and_unix_socket(database: Database) -> None:
    for dsn in (database.dsn(), database.socket_dsn()):
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == (database.name,)


def test_fresh_databases_are_empty(database: Database) -> None:
    assert database.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


def test_execute_returns_the_rows_of_the_last_statement_that_has_any(database: Database) -> None:
    assert database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (7); SELECT a FROM t; DROP TABLE t") == [(7,)]


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_authentication(database: Database, logins: dict[str, Login], method: str) -> None:
    login = logins[method]
    with database.connect(login.user, login.password) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (login.user,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        database.connect(login.user, "wrong")


def test_unknown_version() -> None:
    with pytest.raises(PostgresUnavailable, match="no embedded PostgreSQL 9"):
        EmbeddedPostgres(version=9)


def test_start_and_stop_may_be_repeated_and_data_may_stay(tmp_path: Path) -> None:
    server = EmbeddedPostgres(version=16, data=tmp_path / "cluster", settings={"work_mem": "5MB"})
    server.stop()
    with server.start() as again:
        assert again is server.start()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)
        port = server.port
        server.restart()
        server.set_hba(["host all nobody 127.0.0.1/32 reject"])
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
            assert connection.execute("SHOW port").fetchone() == (str(port),)
        with pytest.raises(psycopg.OperationalError, match="rejects"):
            psycopg.connect(server.dsn("nobody"))
    server.stop()
    assert not server.running
    with server, psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


@pytest.mark.parametrize("end", [None, signal.SIGTERM, signal.SIGKILL], ids=["exit", "SIGTERM", "SIGKILL"])
def test_never_outlives_the_process_that_started_it(end: signal.Signals | None) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", LEAVES_A_SERVER_BEHIND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    dsn, *folders = parent.stdout.readline().split()
    psycopg.connect(dsn).close()
    if end:
        os.kill(parent.pid, end)
    parent.communicate()
    deadline = time.monotonic() + 20
    while any(Path(folder).exists() for folder in folders) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [folder for folder in folders if Path(folder).exists()] == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
