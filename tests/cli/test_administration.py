"""The admin address as a probe, Prometheus and a person see it."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.server import Address, AdminServer, Page
from tests.cli.test_serve import POLICY, connect
from tests.fix_postgres import Database
from tests.fix_proxy import STARTED, Proxy


@pytest.fixture(scope="module", params=["one process", "workers"])
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, module_database: Database) -> Any:
    folder = tmp_path_factory.mktemp("admin")
    (folder / "policy.yaml").write_text(POLICY)
    module_database.execute("CREATE TABLE IF NOT EXISTS patients (id int PRIMARY KEY, phone varchar(20))")
    arguments = ["--policy", str(folder / "policy.yaml"), "--upstream", module_database.dsn()]
    arguments += ["--admin", "127.0.0.1:0", "--workers", "1" if request.param == "one process" else "2"]
    with Proxy(folder, *arguments) as proxy:
        proxy.ready()
        yield proxy


def get(proxy: Proxy, path: str, method: str = "GET") -> tuple[int, str]:
    match = re.search(r"consentry admin on 127\.0\.0\.1:(\d+)\n", proxy.said)
    assert match is not None
    connection = HTTPConnection("127.0.0.1", int(match[1]), timeout=STARTED)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def samples(proxy: Proxy) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels without the worker, over all workers."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(get(proxy, "/metrics")[1]):
        for sample in family.samples:
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "worker"))
            found[sample.name, labels] = found.get((sample.name, labels), 0) + sample.value
    return found


def test_health_and_readiness(serving: Proxy) -> None:
    assert get(serving, "/healthz") == (200, "ok\n")
    assert get(serving, "/readyz") == (200, "ready\n")
    assert get(serving, "/elsewhere")[0] == 404
    assert get(serving, "/healthz", "POST")[0] == 405
    assert get(serving, "/healthz", "HEAD") == (200, "")


def test_metrics_count_what_was_decided(serving: Proxy, module_database: Database) -> None:
    before = samples(serving)
    with connect(serving, module_database, **{"consentry.purpose": "research"}) as connection:
        connection.execute("SELECT phone FROM patients")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT pg_read_file('/etc/passwd')")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        now = samples(serving)
        assert now["consentry_sessions", (("state", "idle"),)] == 1
        assert any(name == "consentry_catalog_age_seconds" for name, _ in now)

    def more(name: str, **labels: str) -> float:
        key = name, tuple(labels.items())
        return now.get(key, 0) - before.get(key, 0)

    assert more("consentry_statements_total", verdict="mask") == 1
    assert more("consentry_statements_total", verdict="reject") == 1
    assert more("consentry_refusals_total", sqlstate="42501") == 1
    assert more("consentry_statement_errors_total", **{"class": "22"}) == 1
    assert more("consentry_connections_total") == 1
    assert more("consentry_audit_events_total", event="session_start") == 1
    assert more("consentry_statement_seconds_count") >= 3


def test_the_console_shows_who_is_there_and_no_value(serving: Proxy, module_database: Database) -> None:
    module_database.execute("INSERT INTO patients VALUES (1, '13812345678') ON CONFLICT DO NOTHING")
    with connect(serving, module_database, **{"consentry.purpose": "care"}) as connection:
        connection.execute("SET application_name = '<script>alert(1)</script>'")
        connection.execute("SELECT phone FROM patients WHERE phone = '13812345678'")
        status, page = get(serving, "/")
    assert status == 200
    assert "clinic" in page
    assert module_database.name in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "13812345678" not in page


def test_it_is_not_ready_while_it_drains(tmp_path: Path, database: Database) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    arguments = ["--policy", str(tmp_path / "policy.yaml"), "--upstream", database.dsn(), "--admin", "127.0.0.1:0"]
    with Proxy(tmp_path, *arguments) as proxy:
        connection = connect(proxy, database)
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        time.sleep(0.3)
        proxy.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STARTED
        while get(proxy, "/readyz") != (503, "no worker accepts connections\n"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert get(proxy, "/healthz")[0] == 200
        assert proxy.stop() == 0
        connection.close()


def test_it_is_not_ready_without_an_upstream(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        upstream = f"postgresql://127.0.0.1:{unused.getsockname()[1]}"
    policy = str(tmp_path / "policy.yaml")
    with Proxy(tmp_path, "--policy", policy, "--upstream", upstream, "--admin", "127.0.0.1:0") as proxy:
        proxy.ready()
        assert get(proxy, "/readyz") == (503, "the upstream accepts no connections\n")


GARBAGE = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "another version": b"GET / SPDY/3\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "an endless head": b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000,
}


@pytest.fixture
def ask() -> Iterator[Callable[[bytes], Any]]:
    async def exchange(data: bytes) -> bytes:
        async def page() -> Page:
            return Page("here\n")

        server = AdminServer(Address("127.0.0.1", 0), {"/": page})
        address = await server.start()
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(data)
        if b"\r\n\r\n" not in data:
            writer.write_eof()
        answer = await reader.read()
        writer.close()
        await server.close()
        return answer

    yield exchange


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage(ask: Callable[[bytes], Any], what: str) -> None:
    assert (await ask(GARBAGE[what])).startswith(b"HTTP/1.1 400 ")
    assert (await ask(b"GET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"\r\n\r\nhere\n")
