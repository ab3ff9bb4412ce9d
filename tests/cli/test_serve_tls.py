"""``consentry serve`` with TLS on either side, and on both."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.wire import startup
from tests.cli.test_serve import policy
from tests.fix_postgres import Database, Login
from tests.fix_proxy import Proxy
from tests.fix_tls import Certificates, Issued, TlsRelay, server_context
from tests.server.test_connections import wait_until

__all__ = ["policy"]

Configure = Callable[..., list[str]]


@pytest.fixture
def configure(tmp_path: Path, policy: Path) -> Configure:
    """Writes the configuration file, and returns the flags that name it."""

    def write(tls: str, *flags: str) -> list[str]:
        file = tmp_path / "consentry.yaml"
        file.write_text(f"policy: {policy}\n{tls}\n")
        return ["--config", str(file), *flags]

    return write


def connect(proxy: Proxy, database: Database, user: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
    host, _, port = proxy.ready().rpartition(":")
    return psycopg.connect(database.through(host, int(port), user), autocommit=True, **options)


def shown(proxy: Proxy) -> bytes:
    """The certificate that clients get to see."""
    host, _, port = proxy.ready().rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=20) as plain:
        plain.sendall(startup.request(startup.SSL_REQUEST))
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True) or b""


def install(issued: Issued, folder: Path) -> bytes:
    """Puts a certificate in place, and returns it."""
    (folder / "server.key").write_bytes(issued.key.read_bytes())
    (folder / "server.crt").write_bytes(issued.cert.read_bytes())
    return ssl.PEM_cert_to_DER_cert(issued.cert.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_certificates_are_read_again_on_sighup_and_sessions_go_on(
    tmp_path: Path, configure: Configure, database: Database, certificates: Certificates, workers: int
) -> None:
    first = install(certificates.server, tmp_path)
    flags = configure("tls: {client: {mode: require, cert: server.crt, key: server.key}}", "--workers", str(workers))
    with Proxy(tmp_path, *flags, "--upstream", database.dsn()) as proxy:
        with connect(proxy, database, sslmode="verify-full", sslrootcert=str(certificates.trusted.ca)) as session:
            assert shown(proxy) == first
            (tmp_path / "server.key").write_text("nonsense")
            proxy.process.send_signal(signal.SIGHUP)
            proxy.await_said("a certificate cannot be used; those before stay in force")
            assert shown(proxy) == first
            second = install(certificates.elsewhere, tmp_path)
            proxy.process.send_signal(signal.SIGHUP)
            wait_until(lambda: all(shown(proxy) == second for _ in range(4)))
            assert session.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="consentry: connections must be encrypted"):
            connect(proxy, database, sslmode="disable")
        assert proxy.stop() == 0


def test_the_catalogs_reader_goes_by_the_upstreams_tls(
    tmp_path: Path, configure: Configure, database: Database, certificates: Certificates
) -> None:
    """Every connection to the upstream does: of clients, of their cancels, of the reader and of the plans."""
    database.execute("CREATE TABLE patients (id int PRIMARY KEY, phone varchar(20));"
                     "INSERT INTO patients VALUES (1, '13812345678')")  # fmt: skip
    postgres = database.postgres
    demanding = server_context(certificates.server, certificates.trusted)
    issued = certificates.postgres
    with TlsRelay((postgres.host, postgres.port), demanding) as relay:
        files = f"ca: {certificates.trusted.ca}, cert: {issued.cert}, key: {issued.key}"
        flags = configure(f"tls: {{upstream: {{mode: verify-full, {files}}}}}")
        upstream = f"postgresql://postgres@127.0.0.1:{relay.port}"
        with Proxy(tmp_path, *flags, "--upstream", upstream) as proxy, connect(proxy, database) as session:
            assert session.execute("SELECT phone FROM patients WHERE id = 1").fetchone() == ("138****5678",)
        names = {part for first, _, _ in relay.seen for part in first.split(b"\0") if part.startswith(b"consentry ")}
        assert names == {b"consentry catalog", b"consentry plans"}
        assert all(encrypted and certificate for _, encrypted, certificate in relay.seen)


def test_tls_on_both_sides_with_a_password(
    tmp_path: Path,
    configure: Configure,
    database: Database,
    certificates: Certificates,
    logins: dict[str, Login],
) -> None:
    install(certificates.server, tmp_path)
    login, postgres = logins["scram-sha-256"], database.postgres
    tls = f"""
tls:
  client: {{mode: require, cert: server.crt, key: server.key}}
  upstream: {{mode: verify-full, ca: {certificates.trusted.ca}}}
"""
    with TlsRelay((postgres.host, postgres.port), server_context(certificates.server)) as relay:
        where = ["--upstream", f"postgresql://postgres@127.0.0.1:{relay.port}"]
        with Proxy(tmp_path, *configure(tls), *where) as refused:
            assert refused.ended() == 3
            assert "tls: SCRAM cannot pass from TLS on one side to TLS on the other" in refused.said
        with Proxy(tmp_path, *configure(tls + "auth: password\n"), *where) as proxy:
            with connect(proxy, database, login.user, password=login.password, sslmode="require") as session:
                assert session.execute("SELECT current_user::text").fetchone() == (login.user,)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                connect(proxy, database, login.user, password="wrong", sslmode="require")
            assert login.password not in proxy.audit.read_text() + proxy.said
