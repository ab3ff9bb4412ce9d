"""TLS towards the upstream: every mode, whom it trusts, what it shows, and nothing that came before the handshake."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.server import Address
from proxy.server.certificates import SYSTEM, ClientTls, Tls, UpstreamMode, UpstreamTls
from proxy.wire import startup
from tests.fix_postgres import Database, Login
from tests.fix_tls import Certificates, TlsRelay, server_context
from tests.server.conftest import RunningServer

Start = Callable[..., RunningServer]
REFUSED = "consentry: cannot connect to the upstream"


@contextmanager
def upstream(postgres: EmbeddedPostgres, context: ssl.SSLContext | None, answer: bytes | None = None) -> Iterator[Any]:
    with TlsRelay((postgres.host, postgres.port), context, answer) as relay:
        yield relay


def connect(server: RunningServer, database: Database, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(database.through("127.0.0.1", server.port), autocommit=True, **options)


MODES: list[tuple[UpstreamMode, str | None, str, bool | None]] = [
    # mode, ca, the upstream's certificate ("" speaks no TLS), encrypted (None: refused)
    ("disable", None, "server", False),
    ("prefer", None, "server", True),
    ("prefer", None, "", False),
    ("prefer", None, "stranger", True),
    ("require", None, "server", True),
    ("require", None, "stranger", True),
    ("require", None, "", None),
    ("require", "trusted", "server", True),
    ("require", "trusted", "stranger", None),
    ("require", "trusted", "elsewhere", True),
    ("verify-ca", "trusted", "server", True),
    ("verify-ca", "trusted", "elsewhere", True),
    ("verify-ca", "trusted", "stranger", None),
    ("verify-ca", "trusted", "", None),
    ("verify-ca", "system", "server", None),
    ("verify-full", "trusted", "server", True),
    ("verify-full", "trusted", "elsewhere", None),
    ("verify-full", "trusted", "stranger", None),
    ("verify-full", "trusted", "", None),
]


@pytest.mark.parametrize(("mode", "ca", "shown", "outcome"), MODES)
def test_every_mode(
    start_server: Start,
    module_database: Database,
    certificates: Certificates,
    mode: UpstreamMode,
    ca: str | None,
    shown: str,
    outcome: bool | None,
) -> None:
    authorities = {None: None, "trusted": certificates.trusted.ca, "system": Path(SYSTEM)}
    context = server_context(getattr(certificates, shown)) if shown else None
    with upstream(module_database.postgres, context) as relay:
        server = start_server(
            upstream=Address("127.0.0.1", relay.port), tls=Tls(upstream=UpstreamTls(mode, authorities[ca]))
        )
        if outcome is None:
            with pytest.raises(psycopg.OperationalError, match=REFUSED):
                connect(server, module_database)
            assert relay.seen == []
        else:
            with connect(server, module_database) as connection:
                assert connection.execute("SELECT 'through'").fetchone() == ("through",)
            assert [encrypted for _, encrypted, _ in relay.seen] == [outcome]


ANSWERS = {
    "bytes behind the answer": b"S" + startup.request(startup.SSL_REQUEST),
    "no answer": b"",
    "an error message": b"E\0\0\0\x1cSFATAL\0C53300\0Mforged\0\0",
    "nonsense": b"?",
    "no behind the no": b"N\0",
    "no handshake": b"S",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_is_none(start_server: Start, module_database: Database, answer: str) -> None:
    with upstream(module_database.postgres, None, ANSWERS[answer]) as relay:
        server = start_server(upstream=Address("127.0.0.1", relay.port), tls=Tls(upstream=UpstreamTls("require")))
        with pytest.raises(psycopg.OperationalError, match=REFUSED) as error:
            connect(server, module_database)
        assert "forged" not in str(error.value)


@pytest.mark.parametrize("answer", [answer for answer in ANSWERS if answer != "no behind the no"])
def test_preferred_tls_that_fails_is_done_without(start_server: Start, module_database: Database, answer: str) -> None:
    with upstream(module_database.postgres, None, ANSWERS[answer]) as relay:
        server = start_server(upstream=Address("127.0.0.1", relay.port), tls=Tls(upstream=UpstreamTls("prefer")))
        connect(server, module_database).close()
        assert [encrypted for _, encrypted, _ in relay.seen] == [False]


def test_a_certificate_for_the_upstream(
    start_server: Start, module_database: Database, certificates: Certificates
) -> None:
    shown = certificates.postgres
    keys = UpstreamTls("verify-full", certificates.trusted.ca, shown.cert, shown.key)
    with upstream(module_database.postgres, server_context(certificates.server, certificates.trusted)) as relay:
        server = start_server(upstream=Address("127.0.0.1", relay.port), tls=Tls(upstream=keys))
        connect(server, module_database).close()
        ((_, _, certificate),) = relay.seen
        assert ("commonName", "postgres") in [pair for part in certificate["subject"] for pair in part]
        bare = start_server(
            upstream=Address("127.0.0.1", relay.port),
            tls=Tls(upstream=UpstreamTls("verify-full", certificates.trusted.ca)),
        )
        with pytest.raises(psycopg.OperationalError, match="the upstream"):
            connect(bare, module_database)


def test_cancel_goes_by_the_same_tls(
    start_server: Start, module_database: Database, certificates: Certificates
) -> None:
    with upstream(module_database.postgres, server_context(certificates.server)) as relay:
        tls = Tls(upstream=UpstreamTls("verify-full", certificates.trusted.ca))
        server = start_server(upstream=Address("127.0.0.1", relay.port), tls=tls)
        with connect(server, module_database) as connection:
            threading.Timer(0.3, connection.cancel_safe).start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("SELECT pg_sleep(20)")
        requests = [first for first, _, _ in relay.seen]
        assert sum(first[4:8] == b"\x04\xd2\x16\x2e" for first in requests) == 1
        assert all(encrypted for _, encrypted, _ in relay.seen)


def test_certificates_are_read_again(
    start_server: Start, module_database: Database, certificates: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(certificates.other.ca.read_bytes())
    tls = Tls(upstream=UpstreamTls("verify-full", ca))
    with upstream(module_database.postgres, server_context(certificates.server)) as relay:
        server = start_server(upstream=Address("127.0.0.1", relay.port), tls=tls)
        with pytest.raises(psycopg.OperationalError, match=REFUSED):
            connect(server, module_database)
        ca.write_bytes(certificates.trusted.ca.read_bytes())
        tls.reload()
        connect(server, module_database).close()


def test_much_both_ways(start_server: Start, module_database: Database, certificates: Certificates) -> None:
    with upstream(module_database.postgres, server_context(certificates.server)) as relay:
        server = start_server(upstream=Address("127.0.0.1", relay.port), tls=Tls(upstream=UpstreamTls("require")))
        with connect(server, module_database) as connection:
            text = "x" * 3_000_000
            assert connection.execute("SELECT %s::text", (text,)).fetchone() == (text,)


# --- both legs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def both(start_server: Start, module_database: Database, certificates: Certificates) -> Iterator[Any]:
    """Starts a server with TLS on both legs."""
    with upstream(module_database.postgres, server_context(certificates.server)) as relay:

        def start(**options: Any) -> RunningServer:
            client = ClientTls(certificates.server.cert, certificates.server.key, required=False)
            tls = Tls(client, UpstreamTls("verify-full", certificates.trusted.ca))
            return start_server(upstream=Address("127.0.0.1", relay.port), tls=tls, **options)

        yield start


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_the_password_is_asked_for_and_used(
    both: Any, module_database: Database, logins: dict[str, Login], method: str
) -> None:
    login = logins[method]
    server = both(passwords=True)
    where = module_database.through("127.0.0.1", server.port, login.user, login.password)
    asked = "md5" if method == "md5" else "password"
    with psycopg.connect(where, sslmode="require", require_auth=asked) as connection:
        assert connection.execute("SELECT current_user::text").fetchone() == (login.user,)
    for wrong in ("wrong", "\x01", "pass\u200eword"):
        with pytest.raises(psycopg.OperationalError, match=f'password authentication failed for user "{login.user}"'):
            psycopg.connect(where, sslmode="require", password=wrong)


def test_nobody_is_asked_for_a_password_who_needs_none(both: Any, module_database: Database) -> None:
    with connect(both(passwords=True), module_database, sslmode="require", require_auth="none") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_without_tls_the_client_proves_itself_to_the_upstream(
    both: Any, module_database: Database, logins: dict[str, Login]
) -> None:
    """A password is never asked for where others could read it."""
    login = logins["scram-sha-256"]
    where = module_database.through("127.0.0.1", both(passwords=True).port, login.user, login.password)
    psycopg.connect(where, sslmode="disable", require_auth="scram-sha-256").close()


def test_a_password_for_all_to_read_is_not_sent(
    start_server: Start, module_database: Database, certificates: Certificates, logins: dict[str, Login]
) -> None:
    login = logins["password"]
    server = start_server(tls=Tls(ClientTls(certificates.server.cert, certificates.server.key)), passwords=True)
    where = module_database.through("127.0.0.1", server.port, login.user, login.password)
    with pytest.raises(psycopg.OperationalError, match="in clear text on a connection without TLS"):
        psycopg.connect(where, sslmode="require")


async def test_asyncpg_by_both(both: Any, module_database: Database, logins: dict[str, Login]) -> None:
    login = logins["scram-sha-256"]
    server = await asyncio.to_thread(both, passwords=True)
    where = module_database.through("127.0.0.1", server.port, login.user, login.password)
    connection = await asyncpg.connect(where, ssl="require")
    try:
        assert await connection.fetchval("SELECT $1::int + 1", 41) == 42
    finally:
        await connection.close()
