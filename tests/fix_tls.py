"""Certificates for the tests, and PostgreSQL with TLS: the embedded one has none, so a relay stands before it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg
import pytest
import trustme

from proxy.demo.postgres import ACCOUNT, EmbeddedPostgres
from proxy.wire import startup
from tests.fix_postgres import LOGINS, make_logins


class Authority:
    """A certificate authority with a folder of its own. ``ca`` is its certificate."""

    def __init__(self, folder: Path, name: str) -> None:
        self._authority = trustme.CA(organization_name=name)
        self._folder = folder / name
        self._folder.mkdir()
        self.ca = self._folder / "ca.crt"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *identities: str, common_name: str | None = None) -> Issued:
        """A certificate and its key, in files named after ``name``."""
        made = self._authority.issue_cert(*identities, common_name=common_name)
        issued = Issued(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        issued.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(issued.key)
        issued.key.chmod(0o600)
        return issued


@dataclass(frozen=True, slots=True)
class Issued:
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """``server`` is for 127.0.0.1 and localhost, ``elsewhere`` for another host; ``postgres`` and ``nobody`` are
    clients'; ``stranger`` is of an authority that nobody trusts."""

    trusted: Authority
    other: Authority
    server: Issued
    elsewhere: Issued
    postgres: Issued
    nobody: Issued
    stranger: Issued


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    trusted, other = Authority(folder, "trusted"), Authority(folder, "other")
    return Certificates(
        trusted,
        other,
        server=trusted.issue("server", "127.0.0.1", "localhost"),
        elsewhere=trusted.issue("elsewhere", "elsewhere.example"),
        postgres=trusted.issue("postgres", "postgres@example.com", common_name="postgres"),
        nobody=trusted.issue("nobody", "nobody@example.com", common_name="nobody"),
        stranger=other.issue("stranger", "127.0.0.1", common_name="postgres"),
    )


@dataclass
class TlsRelay:
    """Listens where a PostgreSQL with TLS would, and passes what it decrypts to one without.

    ``context`` None answers N. ``answer`` stands for the whole answer to an SSLRequest, handshake or not. ``seen``:
    the first packet of each connection behind its TLS, and the certificate that the peer showed.
    """

    upstream: tuple[str, int]
    context: ssl.SSLContext | None
    answer: bytes | None = None
    port: int = 0
    seen: list[tuple[bytes, bool, object]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        below = writer.transport
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._relay(reader, writer)
        finally:
            writer.close()
            # After a handshake that failed, nobody else closes it.
            below.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await _packet(reader)
        encrypted = False
        if first == startup.request(startup.SSL_REQUEST):
            if self.answer is not None:
                writer.write(self.answer)
                await writer.drain()
                return
            writer.write(b"N" if self.context is None else b"S")
            await writer.drain()
            if self.context is not None:
                await writer.start_tls(self.context)
                encrypted = True
            first = await _packet(reader)
        self.seen.append((first, encrypted, writer.get_extra_info("peercert")))
        back, forth = await asyncio.open_connection(*self.upstream)
        try:
            forth.write(first)
            passing = [asyncio.create_task(_pass(reader, forth)), asyncio.create_task(_pass(back, writer))]
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            writer.close()
            await asyncio.gather(*passing, return_exceptions=True)
        finally:
            forth.close()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "big") - 4)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


def server_context(issued: Issued, clients: Authority | None = None) -> ssl.SSLContext:
    """A PostgreSQL server's, which wants certificates of ``clients``, if given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    if clients is not None:
        context.load_verify_locations(clients.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


DEBIAN = Path("/usr/lib/postgresql")


class DebianPostgres(EmbeddedPostgres):
    """The newest PostgreSQL of Debian's packages, which speaks TLS; its roles are those of the embedded one's tests."""

    def __init__(self, certificates: Certificates, hba: Sequence[str]) -> None:
        files = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ca.crt"}
        super().__init__(hba=hba, settings={"ssl": "on", **files})
        self.binaries = max(DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name))
        self.version = int(self.binaries.parent.name)
        self._certificates = certificates

    def _configure(self) -> None:
        super()._configure()
        shown = self._certificates.server
        for name, file in (("crt", shown.cert), ("key", shown.key), ("ca.crt", self._certificates.trusted.ca)):
            target = self.data / (name if name == "ca.crt" else f"server.{name}")
            target.write_bytes(file.read_bytes())
            target.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(target, ACCOUNT)


@pytest.fixture(scope="session")
def debian_postgres(certificates: Certificates) -> Iterator[DebianPostgres]:
    """Wants TLS of everybody over TCP, and a certificate of ``certified``. Skips where the package is not installed."""
    if not any(DEBIAN.glob("*/bin/initdb")):
        pytest.skip("Debian's postgresql is not installed, the only one here with TLS: apt-get install postgresql")
    hba = [
        "hostssl all certified 127.0.0.1/32 cert",
        *(f"hostssl all {login.user} 127.0.0.1/32 {login.method}" for login in LOGINS.values()),
        "hostnossl all all 127.0.0.1/32 reject",
    ]
    with DebianPostgres(certificates, hba) as server:
        with psycopg.connect(server.socket_dsn(), autocommit=True) as connection:
            make_logins(connection)
            connection.execute("CREATE ROLE certified LOGIN")
        yield server
