"""TLS to a PostgreSQL that speaks it itself: channel binding, and certificates in pg_hba.conf."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest

from proxy.server import Address
from proxy.server.certificates import ClientTls, Tls, UpstreamTls
from tests.fix_postgres import LOGINS
from tests.fix_tls import Certificates, DebianPostgres
from tests.server.conftest import RunningServer

Start = Callable[..., RunningServer]
SCRAM = LOGINS["scram-sha-256"]


@pytest.fixture
def start(start_server: Start, debian_postgres: DebianPostgres, certificates: Certificates) -> Start:
    """Starts a server that goes upstream by TLS, and lets clients have it if told."""

    def begin(*, client: bool = False, shown: Any = None, passwords: bool = False) -> RunningServer:
        own = ClientTls(certificates.server.cert, certificates.server.key, required=False) if client else None
        files = (None, None) if shown is None else (shown.cert, shown.key)
        tls = Tls(own, UpstreamTls("verify-full", certificates.trusted.ca, *files))
        where = Address(debian_postgres.host, debian_postgres.port)
        return start_server(upstream=where, tls=tls, passwords=passwords)

    return begin


def where(server: RunningServer, user: str, password: str = "") -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "dbname": "postgres", "user": user, "password": password}


def test_the_server_itself_offers_channel_binding(debian_postgres: DebianPostgres) -> None:
    """Or the tests below would show nothing."""
    there = debian_postgres.dsn(SCRAM.user, "postgres", SCRAM.password)
    psycopg.connect(there, sslmode="require", channel_binding="require").close()
    with pytest.raises(psycopg.OperationalError, match="rejects"):
        psycopg.connect(there, sslmode="disable")


@pytest.mark.parametrize("method", LOGINS)
def test_logins_pass_to_an_upstream_with_tls(start: Start, method: str) -> None:
    login = LOGINS[method]
    server = start()
    with psycopg.connect(**where(server, login.user, login.password)) as connection:
        found = connection.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert found == (True, "TLSv1.3")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(**where(server, login.user, "wrong"))


def test_scram_cannot_pass_between_two(start: Start) -> None:
    """Why such a configuration is refused at the start."""
    server = start(client=True)
    with pytest.raises(psycopg.OperationalError, match=r"channel binding|SCRAM"):
        psycopg.connect(**where(server, SCRAM.user, SCRAM.password), sslmode="require")


@pytest.mark.parametrize("method", LOGINS)
def test_a_password_can(start: Start, method: str) -> None:
    login = LOGINS[method]
    server = start(client=True, passwords=True)
    with psycopg.connect(**where(server, login.user, login.password), sslmode="require") as connection:
        assert connection.execute("SELECT current_user::text").fetchone() == (login.user,)
    with pytest.raises(psycopg.OperationalError, match=f'password authentication failed for user "{login.user}"'):
        psycopg.connect(**where(server, login.user, "wrong"), sslmode="require")


async def test_asyncpg(start: Start) -> None:
    server = start(client=True, passwords=True)
    options = {"host": "127.0.0.1", "port": server.port, "database": "postgres"}
    connection = await asyncpg.connect(user=SCRAM.user, password=SCRAM.password, ssl="require", **options)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def test_a_certificate_instead_of_a_password(start: Start, certificates: Certificates) -> None:
    shown = certificates.trusted.issue("certified", "certified@example.com", common_name="certified")
    with psycopg.connect(**where(start(shown=shown), "certified")) as connection:
        assert connection.execute("SELECT current_user::text").fetchone() == ("certified",)
    with pytest.raises(psycopg.OperationalError, match="valid client certificate"):
        psycopg.connect(**where(start(), "certified"))


def test_cancel(start: Start) -> None:
    server = start(client=True, passwords=True)
    with psycopg.connect(**where(server, SCRAM.user, SCRAM.password), sslmode="require") as connection:
        threading.Timer(0.3, connection.cancel_safe).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")


def test_psql(start: Start, certificates: Certificates) -> None:
    server = start(client=True, passwords=True)
    dsn = f"host=127.0.0.1 port={server.port} dbname=postgres user={SCRAM.user} sslmode=verify-full"
    found = subprocess.run(
        ["psql", "-XAtq", f"{dsn} sslrootcert={certificates.trusted.ca}", "-c", "SELECT 'by psql'"],
        capture_output=True, text=True, timeout=20, check=False, env={"PGPASSWORD": SCRAM.password, "PATH": "/usr/bin"},
    )  # fmt: skip
    assert found.stdout == "by psql\n", found.stderr
