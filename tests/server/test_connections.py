"""How connections begin, end, break and wait."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import psutil
import psycopg
import pytest

from proxy.server import Address
from proxy.wire import frontend, startup
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, extended, simple

SYNC = frontend.SYNC_MESSAGE


def connect(server: RunningServer, database: Database, **parameters: str) -> RawClient:
    return RawClient("127.0.0.1", server.port, database.name, **parameters)


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


# --- the beginning ----------------------------------------------------------------------------------------------------


def test_the_greeting_is_the_upstreams(server: RunningServer, module_database: Database) -> None:
    postgres = module_database.postgres
    with RawClient(postgres.host, postgres.port, module_database.name, application_name="me") as direct:
        expected = direct.greeting
    with connect(server, module_database, application_name="me") as client:
        assert client.greeting == expected
    assert ("session_start", "postgres", module_database.name) in server.journal.events


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"replication": "database"}, "E FATAL 0A000 consentry: replication is refused"),
        ({"client_encoding": "LATIN1"}, "E FATAL 42501 consentry: client_encoding must be UTF8"),
        (
            {"options": "-c standard_conforming_strings=off"},
            "E FATAL 42501 consentry: standard_conforming_strings must be on",
        ),
        ({"options": "-c consentry.purpose=forbidden"}, "E FATAL 42501 consentry: purpose not granted"),
        ({"no_such_setting": "1"}, 'E FATAL 42704 unrecognized configuration parameter "no_such_setting"'),
    ],
)
def test_refused_at_the_start(
    server: RunningServer, module_database: Database, parameters: dict[str, str], error: str
) -> None:
    with connect(server, module_database, **parameters) as client:
        assert client.greeting[-2:] == [error, "closed"]
    if "consentry:" not in error:
        return
    [(_, role, name, sqlstate, reason, purpose)] = [
        event[1:] for event in server.journal.events if event[0] == "refusal"
    ]
    assert (role, name, f"E FATAL {sqlstate} {reason}") == ("postgres", module_database.name, error)
    assert purpose == ("forbidden" if "forbidden" in str(parameters) else None)


def test_a_setting_that_somebody_else_declared(server: RunningServer, module_database: Database) -> None:
    module_database.execute("CREATE ROLE altered LOGIN; ALTER ROLE altered SET consentry.purpose = 'p'")
    refusal = "E FATAL 42501 consentry: a consentry setting of this session was not declared by the client"
    for options in ("", "-c consentry.purpose=q"):
        with RawClient("127.0.0.1", server.port, module_database.name, "altered", options=options) as client:
            assert client.greeting[-2:] == [refusal, "closed"]


def test_what_the_server_logs_is_for_operators(server: RunningServer, module_database: Database) -> None:
    """Settings of the role make it speak of plans, texts and times; the client gets notices and no such thing."""
    settings = ("client_min_messages = log", "debug_print_plan = on", "log_statement = 'all'", "log_duration = on")
    module_database.execute("CREATE ROLE talkative LOGIN")
    for setting in settings:
        module_database.execute(f"ALTER ROLE talkative SET {setting}")
    with RawClient("127.0.0.1", server.port, module_database.name, "talkative") as client:
        answer = client.query("DO $$ BEGIN RAISE NOTICE 'heard'; RAISE LOG 'logged'; END $$")
    assert [line for line in answer if line.startswith("N ")] == ["N NOTICE 00000 heard"]


def test_a_purpose_declared_at_the_start(server: RunningServer, module_database: Database) -> None:
    with connect(server, module_database, options="-c consentry.purpose=p") as client:
        assert "D GUARDED" in client.query("SELECT 'GUARDED'")
    assert server.engine.contexts[-1].purpose_source == "startup"


def test_encryption_is_answered_properly(server: RunningServer, module_database: Database) -> None:
    for sslmode, gssencmode in (("prefer", "prefer"), ("disable", "disable")):
        dsn = module_database.through("127.0.0.1", server.port)
        psycopg.connect(dsn, sslmode=sslmode, gssencmode=gssencmode).close()
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
        psycopg.connect(dsn, sslmode="require")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert connection.recv(100) == startup.TLS_HANDSHAKE_FAILURE
        assert connection.recv(100) == b""


def test_protocol_3_2_is_negotiated_by_the_upstream(server: RunningServer, module_database: Database) -> None:
    parameters = {"user": "postgres", "database": module_database.name}
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(startup.startup_message(parameters, (3, 2)) + simple("SELECT 'through'"))
        received = b""
        while b"through" not in received:
            received += connection.recv(4096)
        # 18 speaks 3.2; older ones say which they speak.
        assert received[:1] in (b"R", b"v")


@pytest.mark.parametrize(
    ("garbage", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),  # of no length that a startup packet has: PostgreSQL closes without a word
        (b"\xff" * 100, b""),
        (b"\0\0\0\x08\0\2\0\0", b"C0A000"),
        (b"\0\0\0\x09\0\3\0\0x", b"C08P01"),
    ],
    ids=repr,
)
def test_garbage_before_login(server: RunningServer, garbage: bytes, answer: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(garbage)
        received = b""
        while data := connection.recv(4096):
            received += data
        assert answer in received and bool(answer) is bool(received)


@pytest.mark.parametrize("garbage", [b"?\0\0\0\4", b"Q\0\0\0\1", frontend.query(b"a\0b"), b"p\0\0\0\4"], ids=repr)
def test_garbage_after_login(server: RunningServer, module_database: Database, garbage: bytes) -> None:
    with connect(server, module_database) as other, connect(server, module_database) as client:
        lines = client.ask(garbage)
        assert lines[-2].startswith("E FATAL 08P01")
        assert lines[-1] == "closed"
        assert "D 1" in other.query("SELECT 1")


def test_a_client_that_does_not_log_in(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(startup_timeout=0.1)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        assert connection.recv(100) == b""


def test_as_many_connections_as_there_may_be(
    start_server: Callable[..., RunningServer], module_database: Database
) -> None:
    server = start_server(connections=1)
    with connect(server, module_database) as client:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            psycopg.connect(module_database.through("127.0.0.1", server.port))
        assert "D 1" in client.query("SELECT 1")


def test_as_many_connections_of_one_role_as_there_may_be(
    start_server: Callable[..., RunningServer], module_database: Database
) -> None:
    module_database.execute("CREATE ROLE other LOGIN")
    server = start_server(connections_per_role=1)
    dsn = module_database.through("127.0.0.1", server.port)
    with connect(server, module_database) as client:
        with pytest.raises(psycopg.OperationalError, match='too many connections for role "postgres"') as refused:
            psycopg.connect(dsn)
        assert "FATAL" in str(refused.value)
        psycopg.connect(module_database.through("127.0.0.1", server.port, "other")).close()
        assert "D 1" in client.query("SELECT 1")
    wait_until(lambda: server.server.connections == 0)
    psycopg.connect(dsn).close()


def test_a_session_that_does_nothing(start_server: Callable[..., RunningServer], module_database: Database) -> None:
    server = start_server(idle_timeout=0.3)
    with connect(server, module_database) as idle, connect(server, module_database) as busy:
        busy.query("BEGIN")
        assert idle.read_until_ready() == [
            "E FATAL 57P05 terminating connection due to idle-session timeout",
            "closed",
        ]
        assert "D " in busy.query("SELECT pg_sleep(0.6)")
        time.sleep(0.5)
        assert busy.query("COMMIT") == ["C COMMIT", "Z I"]
        assert busy.read() == "E FATAL 57P05 terminating connection due to idle-session timeout"
    assert ("session_end", "57P05") in server.journal.events


def test_no_upstream(start_server: Callable[..., RunningServer], module_database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    server = start_server(upstream=Address("127.0.0.1", port))
    with connect(server, module_database) as client:
        assert client.greeting == ["E FATAL 08006 consentry: cannot connect to the upstream", "closed"]


# --- in the middle ----------------------------------------------------------------------------------------------------


def test_settings_that_change_how_text_is_read_end_the_session(
    server: RunningServer, module_database: Database
) -> None:
    with connect(server, module_database) as client:
        lines = client.query("SET client_encoding = 'LATIN1'")
        assert lines[-2:] == ["E FATAL 42501 consentry: client_encoding must stay UTF8", "closed"]


def test_cancel(server: RunningServer, module_database: Database) -> None:
    with psycopg.connect(module_database.through("127.0.0.1", server.port)) as connection:
        threading.Timer(0.3, connection.cancel_safe).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")
    wait_until(lambda: server.server.connections == 0)


def test_notifications(server: RunningServer, module_database: Database) -> None:
    dsn = module_database.through("127.0.0.1", server.port)
    with psycopg.connect(dsn, autocommit=True) as listener, psycopg.connect(dsn, autocommit=True) as sender:
        listener.execute("LISTEN news")
        sender.execute("NOTIFY news, 'first'")
        assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == ["first"]


def test_a_slow_reader_costs_little_memory(server: RunningServer, module_database: Database) -> None:
    """400 MB are asked for and left unread: what the proxy holds stays small, and all arrives in the end."""
    process = psutil.Process(os.getpid())
    with connect(server, module_database) as client:
        before = process.memory_info().rss
        client.send(simple("SELECT repeat('x', 100000) FROM generate_series(1, 4000)"))
        time.sleep(1.5)
        assert process.memory_info().rss - before < 40 << 20
        received = 0
        client.socket.settimeout(20)
        while received < 4000 * 100_000:
            received += len(client.socket.recv(1 << 20))


def test_a_slow_upstream_is_not_drowned(server: RunningServer, module_database: Database) -> None:
    """A client that sends more than the upstream reads is not read either."""
    with connect(server, module_database) as client:
        client.send(simple("SELECT pg_sleep(1.5)"))
        client.socket.settimeout(0.3)
        process = psutil.Process(os.getpid())
        before = process.memory_info().rss
        statement = simple("SELECT '" + "x" * 100_000 + "'")
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200 << 20:
                sent += client.socket.send(statement * 10)
        assert process.memory_info().rss - before < 60 << 20


def test_a_huge_value_passes(server: RunningServer, module_database: Database) -> None:
    with psycopg.connect(module_database.through("127.0.0.1", server.port)) as connection:
        row = connection.execute("SELECT repeat('y', 50000000)").fetchone()
        assert row is not None
        assert len(row[0]) == 50_000_000


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_client_that_goes_takes_its_upstream_connection_along(
    server: RunningServer, module_database: Database
) -> None:
    client = connect(server, module_database)
    pid = next(line for line in client.query("SELECT pg_backend_pid()") if line.startswith("D"))[2:]
    client.socket.close()
    wait_until(lambda: module_database.execute(f"SELECT FROM pg_stat_activity WHERE pid = {pid}") == [])
    wait_until(lambda: server.journal.events[-1] == ("session_end", None))


def test_a_client_that_only_stops_sending_is_still_answered(server: RunningServer, module_database: Database) -> None:
    with connect(server, module_database) as client:
        client.send(simple("SELECT pg_sleep(0.2)") + simple("SELECT 'GUARDED'") + simple("SELECT 'late'"))
        client.socket.shutdown(socket.SHUT_WR)
        lines = [line for _ in range(3) for line in client.read_until_ready()]
        assert "D late" in lines
        assert client.read() == "closed"


LONG_BIND = frontend.bind(b"", b"s", b"\0\0\0\1" + (1 << 20).to_bytes(4, "big") + bytes(1 << 20) + b"\0\0")


@pytest.mark.parametrize("before", [simple("SELECT 1"), extended("SELECT 1"), extended("SELECT 1") + SYNC, b""])
def test_what_stands_before_a_malformed_message_is_answered(
    server: RunningServer, module_database: Database, before: bytes
) -> None:
    postgres, name = module_database.postgres, module_database.name
    seen = []
    for port in (postgres.port, server.port):
        with RawClient("127.0.0.1", port, name) as client:
            client.send(before + b"y\0\0\0\4" + simple("SELECT 2"))
            seen.append(read_to_the_end(client))
    assert seen[0] == seen[1]
    assert seen[0][-1] == "E FATAL 08P01 invalid frontend message type 121"


def read_to_the_end(client: RawClient) -> list[str]:
    lines = []
    while (line := client.read()) != "closed":
        lines.append(line)
    return lines


HALVES = {
    "of a CopyData": simple("COPY t FROM STDIN") + frontend.message(frontend.COPY_DATA, b"1\n" * 512)[:8],
    "of a CopyData that nobody asked for": frontend.message(frontend.COPY_DATA, b"1\n" * 512)[:8],
    "of a long Bind": frontend.parse(b"s", b"SELECT $1") + LONG_BIND[:100_000],
    "of COPY data": simple("COPY t FROM STDIN") + frontend.message(frontend.COPY_DATA, b"1\n"),
    "of a query": simple("SELECT 1")[:8],
}


@pytest.mark.parametrize("case", HALVES)
def test_a_client_that_ends_its_stream_within_a_message(
    server: RunningServer, module_database: Database, case: str
) -> None:
    before = server.server.connections
    with connect(server, module_database) as client:
        client.query("CREATE TEMP TABLE t (n int)")
        client.send(HALVES[case])
        client.socket.shutdown(socket.SHUT_WR)
        while client.read() != "closed":
            pass
        wait_until(lambda: server.server.connections == before)


def test_the_upstream_ends_a_session(server: RunningServer, module_database: Database) -> None:
    with connect(server, module_database) as client:
        pid = next(line for line in client.query("SELECT pg_backend_pid()") if line.startswith("D"))[2:]
        module_database.execute(f"SELECT pg_terminate_backend({pid})")
        assert client.read_until_ready() == [
            "E FATAL 57P01 terminating connection due to administrator command",
            "closed",
        ]


def test_draining_lets_statements_finish(start_server: Callable[..., RunningServer], module_database: Database) -> None:
    server = start_server(grace_seconds=10.0)
    shutdown = "E FATAL 57P01 terminating connection due to administrator command"
    with connect(server, module_database) as idle, connect(server, module_database) as busy:
        busy.send(simple("SELECT pg_sleep(0.5)"))
        time.sleep(0.1)
        port = server.port
        drained = server.submit(server.server.drain())
        assert idle.read_until_ready() == [shutdown, "closed"]
        assert busy.read_until_ready() == ["T", "D ", "C SELECT 1", "Z I"]
        assert busy.read_until_ready() == [shutdown, "closed"]
        drained.result(5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_draining_ends_the_rest_after_the_grace_period(
    start_server: Callable[..., RunningServer], module_database: Database
) -> None:
    server = start_server(grace_seconds=0.3)
    with connect(server, module_database) as busy:
        busy.send(simple("SELECT pg_sleep(30)"))
        time.sleep(0.1)
        server.run(server.server.drain())
        assert busy.read_until_ready()[-2:] == [
            "E FATAL 57P01 terminating connection due to administrator command",
            "closed",
        ]
