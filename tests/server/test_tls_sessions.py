"""Sessions by TLS: logins, cancels, much data, and their end."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import psycopg
import pytest

from proxy.server.certificates import ClientTls, Tls
from proxy.wire import frontend, startup
from tests.fix_postgres import Database, Login
from tests.fix_tls import Certificates
from tests.server.conftest import RunningServer
from tests.server.raw import simple
from tests.server.test_connections import wait_until
from tests.server.tls_client import ByHand, TlsClient, client_context, encrypted

Start = Callable[..., RunningServer]


@pytest.fixture
def tls(certificates: Certificates) -> ClientTls:
    return ClientTls(certificates.server.cert, certificates.server.key)


@pytest.fixture
def secured(start_server: Start, tls: ClientTls) -> RunningServer:
    """Nobody is let in without TLS."""
    return start_server(tls=Tls(tls))


def connect(server: RunningServer, database: Database, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(database.through("127.0.0.1", server.port), autocommit=True, **options)


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_the_upstreams_authentication_passes(
    secured: RunningServer, module_database: Database, logins: dict[str, Login], method: str
) -> None:
    login = logins[method]
    where = module_database.through("127.0.0.1", secured.port, login.user, login.password)
    psycopg.connect(where, sslmode="require").close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(where, sslmode="require", password="wrong")


def test_channel_binding_cannot_be_had(
    secured: RunningServer, module_database: Database, logins: dict[str, Login]
) -> None:
    login = logins["scram-sha-256"]
    where = module_database.through("127.0.0.1", secured.port, login.user, login.password)
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        psycopg.connect(where, sslmode="require", channel_binding="require")


def test_cancel(secured: RunningServer, module_database: Database, certificates: Certificates) -> None:
    """Encrypted, and plain as older libpq sends it whatever the session is: the key says enough (manual, 55.2.8)."""
    with connect(secured, module_database, sslmode="require") as connection:
        threading.Timer(0.3, connection.cancel_safe).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")
    with encrypted(secured, client_context(certificates)) as connection:
        client = TlsClient(connection, module_database.name)
        client.send(simple("SELECT pg_sleep(20)"))
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", secured.port), timeout=20) as plain:
            plain.sendall(startup.request(startup.CANCEL_REQUEST, client.key))
            assert plain.recv(1) == b""
        assert "E ERROR 57014 canceling statement due to user request" in client.read_until_ready()


def test_cancel_by_another_replica(
    start_server: Start, tls: ClientTls, module_database: Database, certificates: Certificates
) -> None:
    """The key is the upstream's own: whoever gets it can hand it on, and it hits that session and no other."""
    one, other = start_server(tls=Tls(tls)), start_server(tls=Tls(tls))
    context = client_context(certificates)
    with encrypted(one, context) as first, encrypted(one, context) as second:
        victim, bystander = TlsClient(first, module_database.name), TlsClient(second, module_database.name)
        for client in (victim, bystander):
            client.send(simple("SELECT pg_sleep(1)"))
        time.sleep(0.3)
        with encrypted(other, context) as connection:
            connection.sendall(startup.request(startup.CANCEL_REQUEST, victim.key))
            assert connection.recv(1) == b""
        assert victim.read_until_ready()[-2:] == ["E ERROR 57014 canceling statement due to user request", "Z I"]
        assert bystander.read_until_ready()[-2:] == ["C SELECT 1", "Z I"]


def test_who_is_turned_away_hears_of_it(start_server: Start, tls: ClientTls, module_database: Database) -> None:
    server = start_server(tls=Tls(tls), connections=1)
    with connect(server, module_database, sslmode="require") as connection:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            connect(server, module_database, sslmode="require")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_garbage_in_place_of_a_handshake_disturbs_nobody(secured: RunningServer, module_database: Database) -> None:
    chance = random.Random(7)
    with connect(secured, module_database, sslmode="require") as other:
        for number in range(40):
            with socket.create_connection(("127.0.0.1", secured.port), timeout=20) as connection:
                if number % 2:
                    connection.sendall(startup.request(startup.SSL_REQUEST))
                    assert connection.recv(1) == b"S"
                header = b"\x16\x03\x01" + chance.randbytes(2) if number % 3 else b""
                connection.sendall((header or b"\x16") + chance.randbytes(chance.randrange(600)))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        wait_until(lambda: secured.server.connections == 1)
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_much_both_ways(secured: RunningServer, module_database: Database) -> None:
    with connect(secured, module_database, sslmode="require") as connection:
        text = "".join(chr(0x4E00 + place % 5000) for place in range(1_000_000))
        assert connection.execute("SELECT %s::text, repeat('y', 10000000)", (text,)).fetchone() == (
            text,
            "y" * 10_000_000,
        )
        with connection.cursor().copy("COPY (SELECT g FROM generate_series(1, 200000) g) TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 200_000


def test_a_slow_reader_costs_little_memory(
    secured: RunningServer, module_database: Database, certificates: Certificates
) -> None:
    process = psutil.Process(os.getpid())
    with encrypted(secured, client_context(certificates)) as connection:
        client = TlsClient(connection, module_database.name)
        before = process.memory_info().rss
        client.send(simple("SELECT repeat('x', 100000) FROM generate_series(1, 2000)"))
        time.sleep(1.0)
        assert process.memory_info().rss - before < 40 << 20
        received = 0
        while received < 2000 * 100_000:
            received += len(client.socket.recv(1 << 20))


def test_a_client_that_only_stops_sending_is_still_answered(
    secured: RunningServer, module_database: Database, certificates: Certificates
) -> None:
    """Its close_notify (RFC 8446, 6.1) ends one direction, as it does with PostgreSQL."""
    with ByHand(secured, client_context(certificates, "postgresql")) as client:
        client.send(startup.startup_message({"user": "postgres", "database": module_database.name}))
        client.read_until(b"Z\0\0\0\5I")
        client.send(simple("SELECT pg_sleep(0.3)") + simple("SELECT 'in between'") + simple("SELECT 'late'"))
        client.stop_sending()
        client.read_until(b"late")
        with pytest.raises(EOFError):
            client.read_until(b"never")
    wait_until(lambda: secured.server.connections == 0)


def test_a_client_that_goes_without_a_word_takes_its_upstream_connection_along(
    secured: RunningServer, module_database: Database, certificates: Certificates
) -> None:
    connection = encrypted(secured, client_context(certificates))
    client = TlsClient(connection, module_database.name)
    pid = next(line for line in client.query("SELECT pg_backend_pid()") if line.startswith("D"))[2:]
    socket.socket(fileno=connection.detach()).close()
    wait_until(lambda: module_database.execute(f"SELECT FROM pg_stat_activity WHERE pid = {pid}") == [])
    wait_until(lambda: secured.server.connections == 0)


def test_a_record_that_cannot_be_decrypted_ends_that_session_alone(
    secured: RunningServer, module_database: Database, certificates: Certificates
) -> None:
    with connect(secured, module_database, sslmode="require") as other:
        connection = encrypted(secured, client_context(certificates))
        TlsClient(connection, module_database.name)
        plain = socket.socket(fileno=connection.detach())
        plain.settimeout(20)
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        while plain.recv(4096):
            pass
        plain.close()
        wait_until(lambda: secured.server.connections == 1)
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_the_end_is_said(secured: RunningServer, module_database: Database, certificates: Certificates) -> None:
    """A close_notify, without which an attacker could cut off the rest."""
    with encrypted(secured, client_context(certificates)) as connection:
        client = TlsClient(connection, module_database.name)
        client.send(frontend.TERMINATE_MESSAGE)
        connection.suppress_ragged_eofs = False
        assert connection.recv(100) == b""
