"""``consentry serve --workers N``: one address, one audit, and processes that may die."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from proxy.audit import verify
from tests.cli.test_serve import POLICY, policy, refused
from tests.fix_postgres import Database
from tests.fix_proxy import STARTED, Proxy

__all__ = ["policy"]

WORKERS = 2


def arguments_for(folder: Path, database: Database) -> list[str]:
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    database.execute("CREATE TABLE patients (id int PRIMARY KEY, phone varchar(20));"
                     "INSERT INTO patients VALUES (1, '13812345678')")  # fmt: skip
    return ["--policy", str(policy), "--upstream", database.dsn(), "--workers", str(WORKERS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def lasting(folder: Path, module_database: Database) -> Iterator[Proxy]:
    """One for all tests that leave it as it was."""
    with Proxy(folder, *arguments_for(folder, module_database)) as proxy:
        proxy.ready()
        yield proxy
        assert proxy.stop() == 0
        assert proxy.said.count("consentry ready on ") == 1
        assert whole(proxy)


@pytest.fixture
def arguments(tmp_path: Path, database: Database) -> list[str]:
    return arguments_for(tmp_path, database)


@pytest.fixture
def serving(tmp_path: Path, arguments: list[str]) -> Iterator[Proxy]:
    with Proxy(tmp_path, *arguments) as proxy:
        proxy.ready()
        yield proxy


def wait_until(condition: Callable[[], Any], what: str = "it never happened") -> None:
    deadline = time.monotonic() + STARTED
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def connect(proxy: Proxy, database: Database, options: str = "") -> psycopg.Connection[tuple[Any, ...]]:
    host, _, port = proxy.ready().rpartition(":")
    return psycopg.connect(database.through(host, int(port)), autocommit=True, options=options)


def processes(proxy: Proxy) -> list[psutil.Process]:
    return psutil.Process(proxy.process.pid).children()


def worker_of(connection: psycopg.Connection[Any], proxy: Proxy) -> psutil.Process:
    """The worker at the other end of the client's socket."""
    own = connection.pgconn.socket
    with socket.socket(fileno=os.dup(own)) as client:
        port = client.getsockname()[1]
    for process in processes(proxy):
        if any(found.raddr and found.raddr.port == port for found in process.net_connections("tcp")):
            return process
    raise AssertionError("nobody serves this connection")


def on_each_worker(proxy: Proxy, database: Database, stack: ExitStack) -> dict[int, psycopg.Connection[Any]]:
    """One connection to each worker: the kernel deals them out by a hash, so try until all have one."""
    found: dict[int, psycopg.Connection[Any]] = {}
    for _ in range(200):
        connection = stack.enter_context(closing(connect(proxy, database, "-c consentry.purpose=research")))
        found.setdefault(worker_of(connection, proxy).pid, connection)
        if len(found) == WORKERS:
            return found
    raise AssertionError("some worker never gets a connection")


def chains(proxy: Proxy) -> Counter[str]:
    return Counter(event["chain"] for event in proxy.events())


def whole(proxy: Proxy) -> bool:
    with proxy.audit.open("rb") as lines:
        return list(verify(lines)) == []


def test_one_address_one_audit_a_chain_for_each(lasting: Proxy, module_database: Database) -> None:
    with ExitStack() as stack:
        for connection in on_each_worker(lasting, module_database, stack).values():
            assert connection.execute("SELECT phone FROM patients").fetchone() == ("138****5678",)
    events = lasting.events()
    assert len({event["chain"] for event in events}) == WORKERS
    assert Counter(event["event"] for event in events)["start"] == WORKERS
    assert whole(lasting)
    assert any("beside" in event for event in events)


def test_a_worker_that_dies_is_started_again_and_takes_only_its_own_sessions_along(
    lasting: Proxy, module_database: Database
) -> None:
    with ExitStack() as stack:
        (dying, first), (_, second) = on_each_worker(lasting, module_database, stack).items()
        os.kill(dying, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            first.execute("SELECT 1")
        assert second.execute("SELECT 1").fetchone() == (1,)
        lasting.await_said("a worker ended and is started again")
        wait_until(lambda: len(chains(lasting)) == WORKERS + 1)
        on_each_worker(lasting, module_database, stack)
    assert whole(lasting)


def test_what_a_dying_worker_leaves_of_a_line_is_set_aside(lasting: Proxy, module_database: Database) -> None:
    with ExitStack() as stack:
        (dying, _), (_, second) = on_each_worker(lasting, module_database, stack).items()
        os.kill(dying, signal.SIGSTOP)
        with lasting.audit.open("ab") as audit:
            audit.write(b'{"ts":"2026')
        assert second.execute("SELECT 2").fetchone() == (2,)
        os.kill(dying, signal.SIGCONT)
    assert whole(lasting)
    assert lasting.audit.with_name("audit.jsonl.torn").read_bytes() == b'{"ts":"2026\n'
    (torn,) = (event for event in lasting.events() if event["event"] == "torn_line")
    assert torn["torn"]["bytes"] == 11


def test_sighup_reloads_all(lasting: Proxy, folder: Path, module_database: Database) -> None:
    with ExitStack() as stack:
        connections = on_each_worker(lasting, module_database, stack).values()
        (folder / "policy.yaml").write_text(POLICY.replace("categories: [], ", "categories: [telephone_number], "))
        lasting.process.send_signal(signal.SIGHUP)
        wait_until(lambda: [event["event"] for event in lasting.events()].count("reload") == WORKERS)
        for connection in connections:
            assert connection.execute("SELECT phone FROM patients").fetchone() == ("13812345678",)


def test_sigterm_drains_all_and_a_second_one_ends_at_once(serving: Proxy, database: Database) -> None:
    with ExitStack() as stack:
        connections = list(on_each_worker(serving, database, stack).values())
        running = [connection.pgconn for connection in connections]
        for one in running:
            one.send_query(b"SELECT pg_sleep(60)")
        time.sleep(0.3)
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert serving.process.poll() is None
        with pytest.raises(psycopg.OperationalError):
            connect(serving, database)
        began = time.monotonic()
        assert serving.stop() == 0
        assert time.monotonic() - began < 10
        for one in running:
            with suppress(psycopg.OperationalError):
                result = one.get_result()
                assert result is not None
                assert b"terminating connection due to administrator command" in result.error_message
    assert [event["sqlstate"] for event in serving.events() if event["event"] == "session_end"].count("57P01") >= 2


def test_a_cancel_works_whoever_gets_it(lasting: Proxy, module_database: Database) -> None:
    """The kernel deals cancel requests out as it does clients, so among many some reach the other worker."""
    with connect(lasting, module_database) as connection:
        for _ in range(8):
            connection.pgconn.send_query(b"SELECT pg_sleep(30)")
            time.sleep(0.05)
            connection.cancel_safe()
            result = connection.pgconn.get_result()
            assert result is not None
            assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
            while connection.pgconn.get_result():
                pass


def test_limits_hold_for_all_workers_together(tmp_path: Path, arguments: list[str], database: Database) -> None:
    file = tmp_path / "consentry.yaml"
    file.write_text("limits: {connections: 3, connections_per_role: 2}\n")
    with Proxy(tmp_path, "--config", str(file), *arguments) as proxy, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connect(proxy, database))
        for _ in range(4):
            with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
                connect(proxy, database)


def test_workers_end_in_order_when_their_supervisor_dies(serving: Proxy, database: Database) -> None:
    workers = processes(serving)
    with connect(serving, database) as connection:
        connection.execute("SELECT 1")
        serving.process.kill()
        psutil.wait_procs(workers, STARTED)
        assert [worker for worker in workers if worker.is_running()] == []
    assert whole(serving)


def test_a_unix_socket(tmp_path: Path, arguments: list[str], database: Database) -> None:
    path = tmp_path / ".s.PGSQL.6432"
    with Proxy(tmp_path, *arguments, "--listen", str(path)) as proxy:
        assert proxy.ready() == str(path)
        for _ in range(4):
            with psycopg.connect(f"postgresql://postgres@/{database.name}?host={tmp_path}&port=6432") as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert proxy.stop() == 0
    assert not path.exists()


def test_what_keeps_them_from_running(tmp_path: Path, policy: Path) -> None:
    arguments = ("--policy", str(policy), "--upstream", "postgresql://127.0.0.1:1", "--workers", "2")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = refused(tmp_path, *arguments, "--listen", listen)
        assert code == 1
        assert "in use" in said
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text("hello\n")
    code, said = refused(tmp_path, *arguments, "--audit", str(damaged))
    assert code == 1
    assert said.startswith(f"consentry: {damaged}: the last line is not JSON")
