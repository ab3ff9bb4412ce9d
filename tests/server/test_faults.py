"""Faults of every kind, injected for real: whatever breaks, only its own session ends, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import psutil
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.server import Address
from proxy.wire import backend, frontend, startup
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, extended, pipeline, simple
from tests.server.relay import Relay
from tests.server.test_connections import wait_until

LOST = "E FATAL 08006 consentry: the connection to the upstream was lost"
TERMINATED = "E FATAL 57P01 terminating connection due to administrator command"
ROWS = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)"


@dataclass
class Stage:
    """A proxy whose clients come through ``before`` and whose upstream is behind ``behind``. ``port`` leads to it
    directly."""

    server: RunningServer
    database: Database
    before: Relay
    behind: Relay

    @property
    def port(self) -> int:
        return self.server.port

    def client(self, port: int | None = None) -> RawClient:
        return RawClient("127.0.0.1", port or self.before.port, self.database.name)

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def backend_of(self, client: RawClient) -> psutil.Process:
        return psutil.Process(int(next(line for line in client.query("SELECT pg_backend_pid()") if line[0] == "D")[2:]))


@pytest.fixture
def stage(start_server: Callable[..., RunningServer], module_database: Database) -> Iterator[Stage]:
    """Beside the session that suffers there is another one, in a transaction, which never notices."""
    postgres = module_database.postgres
    with Relay(postgres.host, postgres.port) as behind:
        server = start_server(upstream=Address("127.0.0.1", behind.port), startup_timeout=2.0)
        with (
            Relay("127.0.0.1", server.port) as before,
            RawClient("127.0.0.1", server.port, module_database.name) as other,
        ):
            other.query("BEGIN")
            behind.spare()
            yield Stage(server, module_database, before, behind)
            assert other.query("SELECT 'there'")[-3:] == ["D there", "C SELECT 1", "Z T"]
        wait_until(lambda: server.server.connections == 0, 15)
        assert server.server.served.faults == 0


def reset_on_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def undisturbed(stage: Stage) -> None:
    """The same proxy goes on serving."""
    with stage.client(stage.port) as client:
        assert "D 1" in client.query("SELECT 1")


# --- the client's side ------------------------------------------------------------------------------------------------

FIRST = simple("SELECT 'first'")
LONG_BIND = frontend.parse(b"s", b"SELECT length($1)") + frontend.bind(
    b"", b"s", struct.pack("!HHi", 0, 1, 200_000) + b"x" * 200_000 + b"\0\0"
)
COPY = simple("COPY sink FROM STDIN") + frontend.message(frontend.COPY_DATA, b"1\n" * 10_000)

CUT_AFTER = {
    "in a statement": (FIRST, 3),
    "in the middle of a Query's text": (FIRST + simple("SELECT " + "1 + " * 9000 + "1"), 9000),
    "in a pipeline": (pipeline("SELECT 1", ROWS, "SELECT 2"), 60),
    "in a long Bind": (LONG_BIND + frontend.execute(b"") + frontend.SYNC_MESSAGE, 120_000),
    "in COPY data": (COPY, 5000),
    "between COPY data and its end": (COPY, len(COPY)),
    "in an open transaction": (simple("BEGIN") + FIRST, len(simple("BEGIN")) + 20),
}


@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
@pytest.mark.parametrize("where", CUT_AFTER)
def test_the_client_is_cut_off(stage: Stage, where: str, reset: bool) -> None:
    stage.database.execute("CREATE TABLE IF NOT EXISTS sink (a int)")
    data, after = CUT_AFTER[where]
    stage.before.reset = reset
    with stage.client() as client:
        worker = stage.backend_of(client)
        stage.before.up.cut = stage.before.up.passed + after
        with suppress(OSError):
            client.send(data)
        wait_until(lambda: not worker.is_running())
    assert stage.database.execute("SELECT FROM sink") == []
    undisturbed(stage)


@pytest.mark.parametrize("after", [0, 1, 4, 7, 8, 20])
def test_the_client_is_cut_off_before_it_says_who_it_is(stage: Stage, after: int) -> None:
    stage.before.up.cut = after
    with closing(socket.create_connection(("127.0.0.1", stage.before.port), 10)) as client, suppress(OSError):
        client.sendall(startup.startup_message({"user": "postgres", "database": stage.database.name}))
        assert client.recv(100) == b""
    undisturbed(stage)


@pytest.mark.parametrize("after", [0, 1, 9, 60, 200])
def test_the_client_is_gone_while_it_is_greeted(stage: Stage, after: int) -> None:
    stage.before.down.cut = after
    received = b""
    with closing(socket.create_connection(("127.0.0.1", stage.before.port), 10)) as client, suppress(ConnectionError):
        client.sendall(startup.startup_message({"user": "postgres", "database": stage.database.name}))
        while data := client.recv(4096):
            received += data
    assert len(received) <= after
    undisturbed(stage)


def test_the_client_reads_slowly_and_goes(stage: Stage) -> None:
    """Everything between server and client is full when it does."""
    with stage.client() as client:
        worker = stage.backend_of(client)
        stage.before.down.stalled = True
        client.send(simple("SELECT repeat('x', 100000) FROM generate_series(1, 2000)"))
        time.sleep(0.5)
    stage.before.break_all()
    wait_until(lambda: not worker.is_running())
    undisturbed(stage)


@pytest.mark.parametrize("way", ["up", "down"])
def test_one_byte_at_a_time(stage: Stage, way: str) -> None:
    getattr(stage.before, way).piece = 1
    with stage.client() as client:
        assert "D first" in client.query("SELECT 'first'")
        assert client.ask(pipeline("SELECT 'a'", "SELECT 1/0", "SELECT 'b'"))[-2:] == [
            "E ERROR 22012 division by zero",
            "Z I",
        ]


def test_a_slow_line(stage: Stage) -> None:
    for way in (stage.before.up, stage.before.down, stage.behind.up, stage.behind.down):
        way.delay = 0.01
    with stage.client() as client:
        assert "D first" in client.query("SELECT 'first'")


GARBAGE = {
    "nothing": b"",
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01" + b"\0" * 512,
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "a startup packet of length 0": b"\0\0\0\0\0\3\0\0",
    "a startup packet of 2 GiB": b"\x7f\xff\xff\xff\0\3\0\0",
    "protocol 2": b"\0\0\0\x08\0\2\0\0",
    "a thousand SSLRequests": startup.request(startup.SSL_REQUEST) * 1000,
    "a login without a name": startup.startup_message({}),
    "a login that does not end": startup.startup_message({"user": "postgres"})[:-1],
    "names that are not UTF-8": b"\0\0\0\x15\0\3\0\0user\0\xff\xfe\0\0\0\0",
    "zeros": bytes(100_000),
    "a cancel request of nobody": startup.request(startup.CANCEL_REQUEST, b"\0\0\0\1\0\0\0\2"),
    "a cancel request without a key": startup.request(startup.CANCEL_REQUEST),
    "a cancel request with a long key": startup.request(startup.CANCEL_REQUEST, b"\0\0\0\1" + b"k" * 9000),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_from_a_stranger(stage: Stage, what: str) -> None:
    """It is told off, or the connection closes without a word."""
    received = b""
    with closing(stage.plain()) as stranger, suppress(ConnectionError):
        stranger.sendall(GARBAGE[what])
        stranger.shutdown(socket.SHUT_WR)
        while data := stranger.recv(4096):
            received += data
    assert received.strip(b"N")[:1] in (b"", b"E", b"\x15"), received[:200]
    undisturbed(stage)


GARBAGE_LATER = {
    "an unknown message": b"?\0\0\0\4",
    "a message of length 0": b"Q\0\0\0\0",
    "a Query with a NUL": frontend.query(b"a\0b"),
    "a Query without its end": frontend.message(frontend.QUERY, b"SELECT 1"),
    "a Sync with a body": frontend.message(frontend.SYNC, b"x"),
    "a Sync of 2 GiB": b"S\x7f\xff\xff\xff",
    "a Bind without names": frontend.message(frontend.BIND, b"x" * 100),
    "a Bind of 2 GiB": b"B\x7f\xff\xff\xff",
    "a long Bind that names nothing": frontend.message(frontend.BIND, b"x" * 100_000),
    "a Parse whose types are missing": frontend.message(frontend.PARSE, b"\0SELECT 1\0\0\2"),
    "a Describe of something else": frontend.message(frontend.DESCRIBE, b"Xname\0"),
    "an Execute without a limit": frontend.message(frontend.EXECUTE, b"\0"),
    "a Close without a name": frontend.message(frontend.CLOSE, b"S"),
    "a password that nobody asked for": frontend.message(frontend.PASSWORD, b"secret\0"),
    "a startup packet": startup.startup_message({"user": "postgres"}),
    "a Query amid COPY data": simple("COPY sink FROM STDIN") + simple("SELECT 1"),
}


@pytest.mark.parametrize("what", GARBAGE_LATER)
def test_garbage_from_somebody_who_logged_in(stage: Stage, what: str) -> None:
    stage.database.execute("CREATE TABLE IF NOT EXISTS sink (a int)")
    with stage.client(stage.port) as client:
        client.send(FIRST)
        assert "D first" in client.read_until_ready()
        with suppress(ConnectionError):
            client.send(GARBAGE_LATER[what])
        lines = client.read_until_ready()
        assert lines[-2].startswith("E FATAL 08P01"), lines
        assert lines[-1] == "closed"
    undisturbed(stage)


def test_a_port_scan(stage: Stage) -> None:
    for _ in range(100):
        with closing(stage.plain()) as stranger:
            reset_on_close(stranger)
    undisturbed(stage)


def test_a_flood_of_clients_that_say_nothing(stage: Stage) -> None:
    """They keep nobody out, and are gone when their time to log in is over."""
    silent = [stage.plain() for _ in range(300)]
    undisturbed(stage)
    for one in silent:
        one.settimeout(10)
        assert one.recv(1) == b""
        one.close()


def test_a_flood_beyond_the_limit(start_server: Callable[..., RunningServer], module_database: Database) -> None:
    server = start_server(connections=5)
    inside = [RawClient("127.0.0.1", server.port, module_database.name) for _ in range(5)]
    for _ in range(100):
        with RawClient("127.0.0.1", server.port, module_database.name) as refused:
            assert refused.greeting == ["E FATAL 53300 sorry, too many clients already", "closed"]
    for client in inside:
        assert "D 1" in client.query("SELECT 1")
        client.socket.close()
    wait_until(lambda: server.server.connections == 0)
    RawClient("127.0.0.1", server.port, module_database.name).socket.close()


# --- the upstream's side ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
def test_the_upstream_is_lost_while_nothing_happens(stage: Stage, reset: bool) -> None:
    stage.behind.reset = reset
    with stage.client(stage.port) as client:
        stage.behind.break_all()
        assert client.read_until_ready() == [LOST, "closed"]
    assert ("session_end", "08006") in stage.server.journal.events


@pytest.mark.parametrize("after", [1, 4, 5, 6, 30, 100, 70_000, 300_000])
def test_the_upstream_is_lost_in_a_result(stage: Stage, after: int) -> None:
    """Nothing that was cut is patched up: a message is whole, or the stream ends."""
    with stage.client(stage.port) as client:
        stage.behind.down.cut = stage.behind.down.passed + after
        client.send(simple(ROWS))
        received = b""
        while data := client.socket.recv(1 << 16):
            received += data
    stage.behind.down.cut = None
    last = cut_into_messages(received)
    assert last is None or (last[0] == backend.ERROR_RESPONSE and b"C08006" in last) or last[0] == backend.DATA_ROW
    undisturbed(stage)


def cut_into_messages(data: bytes) -> bytes | None:
    """The last message of ``data``, whole or not."""
    last = None
    while data:
        size = 1 + int.from_bytes(data[1:5], "big") if len(data) >= 5 else len(data)
        last, data = data[:size], data[size:]
    return last


@pytest.mark.parametrize("after", [0, 1, 9, 30, 300, 700])
def test_the_upstream_is_lost_while_it_greets(stage: Stage, after: int) -> None:
    stage.behind.down.cut = after
    with stage.client(stage.port) as client:
        assert client.greeting[-1] == "closed"
        assert client.greeting[-2].startswith("E FATAL 08006")
    stage.behind.down.cut = None
    undisturbed(stage)


@pytest.mark.parametrize("way", ["up", "down"])
def test_one_byte_at_a_time_from_the_upstream(stage: Stage, way: str) -> None:
    getattr(stage.behind, way).piece = 1
    with stage.client(stage.port) as client:
        assert "D first" in client.query("SELECT 'first'")
        assert "C SELECT 1" in client.ask(extended("SELECT 1") + frontend.SYNC_MESSAGE)


def test_an_upstream_that_accepts_and_says_nothing(start_server: Callable[..., RunningServer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = start_server(upstream=Address("127.0.0.1", mute.getsockname()[1]), startup_timeout=0.5)
        with RawClient("127.0.0.1", server.port, "postgres") as client:
            assert client.greeting == ["closed"]
        wait_until(lambda: server.server.connections == 0)


ANSWERS = {
    "closes at once": (b"", "08006"),
    "speaks HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "08P01"),
    "sends a length that cannot be": (b"R\0\0\0\1", "08P01"),
    "is ready before it knows who it is": (b"Z\0\0\0\5I", "XX000"),
    "sends rows before login": (b"D\0\0\0\6\0\0", "XX000"),
    "refuses": (backend.fatal("53300", "sorry, too many clients already"), "53300"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_upstream_that(start_server: Callable[..., RunningServer], what: str) -> None:
    answer, sqlstate = ANSWERS[what]
    with socket.create_server(("127.0.0.1", 0)) as strange:
        server = start_server(upstream=Address("127.0.0.1", strange.getsockname()[1]))
        with closing(socket.create_connection(("127.0.0.1", server.port), 10)) as client:
            client.sendall(startup.startup_message({"user": "postgres"}))
            upstream, _ = strange.accept()
            with closing(upstream):
                upstream.recv(1000)
                upstream.sendall(answer)
                upstream.shutdown(socket.SHUT_WR)
                received = b""
                while data := client.recv(4096):
                    received += data
        assert f"C{sqlstate}\0".encode() in received
        wait_until(lambda: server.server.connections == 0)


def test_an_upstream_that_is_stopped_and_goes_on(stage: Stage) -> None:
    """kill -STOP of a backend holds up its own session alone, and loses nothing."""
    with stage.client(stage.port) as client:
        worker = stage.backend_of(client)
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            client.send(FIRST * 3000)
            undisturbed(stage)
            client.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        client.socket.settimeout(20)
        assert sum("D first" in client.read_until_ready() for _ in range(3000)) == 3000


def test_the_client_of_a_stopped_upstream_goes(stage: Stage) -> None:
    with stage.client(stage.port) as client:
        worker = stage.backend_of(client)
        os.kill(worker.pid, signal.SIGSTOP)
        client.send(FIRST)
        reset_on_close(client.socket)
    try:
        wait_until(lambda: stage.server.server.connections == 1, 20)
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    wait_until(lambda: not worker.is_running())


def test_full_buffers_both_ways(stage: Stage) -> None:
    """A client that sends and does not read, an upstream that answers: neither waits for ever once somebody reads."""
    with stage.client(stage.port) as client:
        client.socket.settimeout(0.5)
        statement = simple(f"SELECT repeat('x', 20000) -- {'y' * 10000}")
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 100 << 20:
                sent += client.socket.send(statement[sent % len(statement) :])
        client.socket.settimeout(20)
        answered = sent // len(statement)
        assert all(client.read_until_ready()[-1] == "Z I" for _ in range(answered))


# --- the whole server -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fragile(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A server that may be broken."""
    with EmbeddedPostgres(version=request.config.getoption("--postgres")) as server:
        yield server


ENDINGS = {"fast": {TERMINATED}, "immediate": {LOST}, "crash": {LOST}}


@pytest.mark.parametrize("how", ENDINGS)
def test_the_upstream_is_restarted(
    start_server: Callable[..., RunningServer], fragile: EmbeddedPostgres, how: str
) -> None:
    server = start_server(upstream=Address(fragile.host, fragile.port))
    with (
        RawClient("127.0.0.1", server.port, "postgres") as idle,
        RawClient("127.0.0.1", server.port, "postgres") as busy,
    ):
        victim = int(next(line for line in busy.query("SELECT pg_backend_pid()") if line[0] == "D")[2:])
        busy.send(simple("SELECT pg_sleep(60)"))
        time.sleep(0.2)
        if how == "crash":
            os.kill(victim, signal.SIGKILL)
        else:
            fragile.restart(how)
        for client in (idle, busy):
            lines = [line for line in client.read_until_ready() if not line.startswith(("N WARNING", "T"))]
            assert lines[-1] == "closed"
            assert set(lines[:-1]) <= {TERMINATED, LOST}
            assert set(lines[:-1]) == ENDINGS[how]
    wait_until(lambda: logs_in(server))


def logs_in(server: RunningServer) -> bool:
    with RawClient("127.0.0.1", server.port, "postgres") as client:
        return client.greeting[-1] == "Z I" and "D 1" in client.query("SELECT 1")
