"""Minor versions, protocol options, cancel keys of any length: what the upstream makes of them is what clients get."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from struct import pack

import psycopg
import pytest

from proxy.server import Address
from proxy.wire import backend, startup
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, simple


class VersionClient(RawClient):
    """Asks for any version and option. ``negotiated`` is what a NegotiateProtocolVersion said."""

    def __init__(self, address: tuple[str, int], database: str, version: tuple[int, int], **options: str) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        self.key = self._buffer = self.negotiated = b""
        self.send(startup.startup_message({"user": "postgres", "database": database, **options}, version))
        self.greeting = self.read_until_ready()

    def read_message(self) -> tuple[int, bytes]:
        kind, whole = super().read_message()
        if kind == backend.NEGOTIATE_PROTOCOL_VERSION:
            self.negotiated = whole
        return kind, whole


ASKED = [
    ((3, 0), {}),
    ((3, 1), {}),
    ((3, 2), {}),
    ((3, 9999), {}),
    ((3, 0), {"_pq_.command_tag_format": "x"}),
    ((3, 2), {"_pq_.one": "1", "_pq_.two": "2"}),
    ((3, 9999), {"_pq_.test_protocol_negotiation": ""}),
]


@pytest.mark.parametrize(("version", "options"), ASKED, ids=str)
def test_the_upstream_negotiates(
    server: RunningServer, module_database: Database, version: tuple[int, int], options: dict[str, str]
) -> None:
    postgres = module_database.postgres
    with VersionClient((postgres.host, postgres.port), module_database.name, version, **options) as direct:
        expected = direct.greeting, direct.negotiated, len(direct.key)
    with VersionClient(("127.0.0.1", server.port), module_database.name, version, **options) as client:
        assert (client.greeting, client.negotiated, len(client.key)) == expected
        if client.greeting[-1] == "Z I":
            assert "D 1" in client.query("SELECT 1")


@pytest.mark.parametrize("version", [(2, 0), (4, 0), (1234, 5681)], ids=str)
def test_another_major_version(server: RunningServer, version: tuple[int, int]) -> None:
    with VersionClient(("127.0.0.1", server.port), "postgres", version) as client:
        assert client.greeting[-1] == "closed"
        assert client.greeting[0].startswith(f"E FATAL 0A000 unsupported frontend protocol {version[0]}.{version[1]}")


@pytest.mark.parametrize("version", [(3, 0), (3, 2)], ids=str)
def test_cancel_with_the_key_of_each_version(
    server: RunningServer, module_database: Database, version: tuple[int, int]
) -> None:
    with VersionClient(("127.0.0.1", server.port), module_database.name, version) as client:
        assert len(client.key) in (8, 4 + 32)
        client.send(simple("SELECT pg_sleep(20)"))
        time.sleep(0.3)
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as cancel:
            cancel.sendall(startup.request(startup.CANCEL_REQUEST, client.key))
            assert cancel.recv(1) == b""
        assert "E ERROR 57014 canceling statement due to user request" in client.read_until_ready()


def test_libpq_with_the_newest_version(server: RunningServer, module_database: Database) -> None:
    where = module_database.through("127.0.0.1", server.port)
    with psycopg.connect(where, max_protocol_version="latest") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


# --- an upstream that is newer than any -------------------------------------------------------------------------------


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(20)
        yield listener, listener.getsockname()[1]


@pytest.mark.parametrize("length", [0, 4, 32, 256])
def test_a_key_of_any_length_is_handed_on_as_it_is(start_server: Callable[..., RunningServer], length: int) -> None:
    packet = startup.request(startup.CANCEL_REQUEST, pack("!I", 4711) + bytes(range(256))[:length])
    with listening() as (listener, port):
        server = start_server(upstream=Address("127.0.0.1", port))
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as client:
            client.sendall(packet[:7])
            time.sleep(0.05)
            client.sendall(packet[7:])
            upstream, _ = listener.accept()
            with upstream:
                received = b""
                while len(received) < len(packet):
                    received += upstream.recv(1000)
                assert received == packet
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):  # the client waits until the upstream has dealt with it
                    client.recv(1)
            client.settimeout(20)
            assert client.recv(1) == b""
