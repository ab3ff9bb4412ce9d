"""TLS towards clients: what is offered and demanded, certificates of both, and nothing that came before it."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.server import Address
from proxy.server.certificates import Checked, ClientTls, Tls
from proxy.wire import backend, startup
from tests.fix_postgres import Database
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


# --- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sslmode", ["allow", "prefer", "require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_every_sslmode(
    secured: RunningServer, module_database: Database, certificates: Certificates, sslmode: str, negotiation: str
) -> None:
    if negotiation == "direct" and sslmode in ("allow", "prefer"):
        return  # libpq refuses to combine them
    options = {"sslmode": sslmode, "sslnegotiation": negotiation, "sslrootcert": str(certificates.trusted.ca)}
    with connect(secured, module_database, **options) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("SELECT 'inside'").fetchone() == ("inside",)


def test_who_must_have_tls_and_has_none_is_told_so(secured: RunningServer, module_database: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="consentry: connections must be encrypted"):
        connect(secured, module_database, sslmode="disable")


def test_tls_may_be_left_to_the_client(start_server: Start, tls: ClientTls, module_database: Database) -> None:
    server = start_server(tls=Tls(replace(tls, required=False)))
    for sslmode, encryption in (("disable", False), ("allow", False), ("prefer", True), ("require", True)):
        with connect(server, module_database, sslmode=sslmode) as connection:
            assert connection.pgconn.ssl_in_use == encryption


def test_a_unix_socket_needs_none(
    start_server: Start, tls: ClientTls, module_database: Database, tmp_path: Path
) -> None:
    path = tmp_path / ".s.PGSQL.6432"
    server = start_server(listen=(Address(path=str(path)),), tls=Tls(tls))
    with psycopg.connect(f"host={tmp_path} port=6432 dbname={module_database.name} user=postgres") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path))
        raw.sendall(startup.request(startup.SSL_REQUEST))
        assert raw.recv(10) == b"N"
    wait_until(lambda: server.server.connections == 0)


def test_the_client_checks_whom_it_speaks_to(
    start_server: Start, module_database: Database, certificates: Certificates
) -> None:
    elsewhere = start_server(tls=Tls(ClientTls(certificates.elsewhere.cert, certificates.elsewhere.key)))
    trusted, other = str(certificates.trusted.ca), str(certificates.other.ca)
    connect(elsewhere, module_database, sslmode="verify-ca", sslrootcert=trusted).close()
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(elsewhere, module_database, sslmode="verify-full", sslrootcert=trusted)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(elsewhere, module_database, sslmode="verify-ca", sslrootcert=other)


def test_the_lowest_version(start_server: Start, tls: ClientTls, module_database: Database) -> None:
    server = start_server(tls=Tls(replace(tls, min_version="TLSv1.3")))
    connect(server, module_database, sslmode="require").close()
    with pytest.raises(psycopg.OperationalError, match="protocol version"):
        connect(server, module_database, sslmode="require", ssl_max_protocol_version="TLSv1.2")


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_every_version(secured: RunningServer, module_database: Database, version: str) -> None:
    options = {"sslmode": "require", "ssl_min_protocol_version": version, "ssl_max_protocol_version": version}
    with connect(secured, module_database, **options) as connection:
        assert connection.execute("SELECT 'through'").fetchone() == ("through",)


def test_psql(secured: RunningServer, module_database: Database, certificates: Certificates) -> None:
    where = module_database.through("127.0.0.1", secured.port)
    command = ["psql", f"{where}?sslmode=verify-full&sslrootcert={certificates.trusted.ca}", "-c", "\\conninfo"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert found.returncode == 0, found.stderr


# --- direct TLS (PostgreSQL 17) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)], ids=["no ALPN", "another protocol"])
def test_direct_tls_must_name_the_protocol(
    secured: RunningServer, certificates: Certificates, alpn: tuple[str, ...]
) -> None:
    plain = socket.create_connection(("127.0.0.1", secured.port), timeout=20)
    with client_context(certificates, *alpn).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        assert connection.recv(10) == b""
    wait_until(lambda: secured.server.connections == 0)


def test_direct_tls_where_there_is_none(server: RunningServer, module_database: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="SSL error"):
        connect(server, module_database, sslmode="require", sslnegotiation="direct")


def test_a_handshake_in_any_pieces(
    secured: RunningServer, module_database: Database, certificates: Certificates
) -> None:
    """A byte at a time: the first bytes of a direct handshake are no packet and no whole record."""
    with ByHand(secured, client_context(certificates, "postgresql"), piece=1) as client:
        client.send(startup.startup_message({"user": "postgres", "database": module_database.name}))
        client.send(simple("SELECT 'pieces'"))
        client.read_until(b"pieces")


# --- what came before -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_code", "behind"),
    [
        (startup.SSL_REQUEST, startup.startup_message({"user": "postgres", "database": "postgres"})),
        (startup.SSL_REQUEST, b"\x16\x03\x01"),
        (startup.SSL_REQUEST, b"x"),
        (startup.GSSENC_REQUEST, startup.request(startup.SSL_REQUEST)),
    ],
    ids=["a StartupMessage", "a ClientHello", "a byte", "an SSLRequest"],
)
def test_nothing_may_stand_behind_a_request_for_encryption(
    secured: RunningServer, request_code: tuple[int, int], behind: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", secured.port), timeout=20) as connection:
        connection.sendall(startup.request(request_code) + behind)
        received = b""
        while data := connection.recv(4096):
            received += data
        assert received.startswith(b"E" if request_code == startup.SSL_REQUEST else b"NE")
        assert b"C08P01" in received
        assert b"received unencrypted data after" in received


@pytest.mark.parametrize("request_code", [startup.SSL_REQUEST, startup.GSSENC_REQUEST], ids=["SSL", "GSSAPI"])
@pytest.mark.parametrize("behind", [b"x", startup.startup_message({"user": "postgres"})], ids=["a byte", "a packet"])
def test_where_there_is_no_encryption_either_postgresql_says_the_same(
    server: RunningServer, module_database: Database, request_code: tuple[int, int], behind: bytes
) -> None:
    def answer(host: str, port: int) -> tuple[bytes, dict[str, str]]:
        with socket.create_connection((host, port), timeout=20) as connection:
            connection.sendall(startup.request(request_code) + behind)
            received = b""
            while data := connection.recv(4096):
                received += data
        fields = backend.read_fields(received[1:])
        return received[:1], {code: fields[code] for code in "SVCMD"}

    postgres = module_database.postgres
    assert answer("127.0.0.1", server.port) == answer(postgres.host, postgres.port)


def test_plain_bytes_in_place_of_the_handshake(secured: RunningServer, module_database: Database) -> None:
    """What is injected after the answer is taken for the handshake's, and breaks it."""
    with socket.create_connection(("127.0.0.1", secured.port), timeout=20) as connection:
        connection.sendall(startup.request(startup.SSL_REQUEST))
        assert connection.recv(1) == b"S"
        connection.sendall(startup.startup_message({"user": "postgres", "database": module_database.name}))
        connection.sendall(simple("SELECT 'injected'"))
        received = b""
        while data := connection.recv(4096):
            received += data
        assert received in (b"", startup.TLS_HANDSHAKE_FAILURE)
    wait_until(lambda: secured.server.connections == 0)
    assert not any(event[0] == "session_start" for event in secured.journal.events)


def test_encryption_is_asked_for_once(secured: RunningServer, certificates: Certificates) -> None:
    for again in (startup.SSL_REQUEST, startup.GSSENC_REQUEST):
        with encrypted(secured, client_context(certificates)) as connection:
            connection.sendall(startup.request(again))
            assert b"unsupported frontend protocol 1234." in connection.recv(4096)


def test_gssapi_is_declined_and_tls_still_possible(
    secured: RunningServer, module_database: Database, certificates: Certificates
) -> None:
    with socket.create_connection(("127.0.0.1", secured.port), timeout=20) as plain:
        for request_code, answer in ((startup.GSSENC_REQUEST, b"N"), (startup.SSL_REQUEST, b"S")):
            plain.sendall(startup.request(request_code))
            assert plain.recv(10) == answer
        with client_context(certificates).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            assert TlsClient(connection, module_database.name).greeting[-1] == "Z I"


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_handshake_that_is_broken_off(
    secured: RunningServer, certificates: Certificates, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As load balancers do it that only want to know who is alive: nothing to log."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(certificates).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(("127.0.0.1", secured.port), timeout=20) as connection:
        connection.sendall(startup.request(startup.SSL_REQUEST))
        assert connection.recv(1) == b"S"
        connection.sendall(outgoing.read()[:cut])
    wait_until(lambda: secured.server.connections == 0)
    assert caplog.records == []


def test_a_handshake_that_never_ends(start_server: Start, tls: ClientTls) -> None:
    server = start_server(startup_timeout=0.2, tls=Tls(tls))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(startup.request(startup.SSL_REQUEST))
        assert connection.recv(1) == b"S"
        assert connection.recv(1) == b""
    wait_until(lambda: server.server.connections == 0)


# --- certificates of clients ------------------------------------------------------------------------------------------


CERTIFICATES: list[tuple[Checked, str, str | None]] = [
    ("off", "none", None),
    ("off", "stranger", None),
    ("optional", "none", None),
    ("optional", "nobody", None),
    ("optional", "stranger", "unknown ca"),
    ("verify-ca", "none", "connection requires a valid client certificate"),
    ("verify-ca", "nobody", None),
    ("verify-ca", "stranger", "unknown ca"),
    ("verify-full", "none", "connection requires a valid client certificate"),
    ("verify-full", "nobody", 'certificate authentication failed for user "postgres"'),
    ("verify-full", "postgres", None),
    ("verify-full", "stranger", "unknown ca"),
]


@pytest.mark.parametrize(("demanded", "shown", "error"), CERTIFICATES, ids=lambda value: str(value)[:20])
def test_client_certificates(
    start_server: Start,
    tls: ClientTls,
    module_database: Database,
    certificates: Certificates,
    demanded: Checked,
    shown: str,
    error: str | None,
) -> None:
    server = start_server(tls=Tls(replace(tls, ca=certificates.trusted.ca, certificates=demanded)))
    options = {"sslmode": "require"}
    if shown == "none":
        options["sslcertmode"] = "disable"
    else:
        issued = getattr(certificates, shown)
        options |= {"sslcert": str(issued.cert), "sslkey": str(issued.key)}
    if error is None:
        connect(server, module_database, **options).close()
    else:
        with pytest.raises(psycopg.OperationalError, match=error):
            connect(server, module_database, **options)


def test_certificates_are_read_again_and_sessions_go_on(
    start_server: Start, module_database: Database, certificates: Certificates, tmp_path: Path
) -> None:
    cert, key = tmp_path / "server.crt", tmp_path / "server.key"

    def install(issued: Any) -> None:
        cert.write_bytes(issued.cert.read_bytes())
        key.write_bytes(issued.key.read_bytes())

    install(certificates.stranger)
    tls = Tls(ClientTls(cert, key))
    server = start_server(tls=tls)
    old = {"sslmode": "verify-ca", "sslrootcert": str(certificates.other.ca)}
    new = {"sslmode": "verify-full", "sslrootcert": str(certificates.trusted.ca)}
    with connect(server, module_database, **old) as before:
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            connect(server, module_database, **new)
        install(certificates.server)
        tls.reload()
        with connect(server, module_database, **new) as after:
            assert after.execute("SELECT 2").fetchone() == (2,)
        assert before.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            connect(server, module_database, **old)
