"""Two consentry behind HAProxy, by the configuration that `deploy/` ships."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from bench.routes import free_port
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

ROOT = Path(__file__).parents[2]
SESSIONS = 12
POLICY = """
version: 1
name: replicas
roles: {'*': {purposes: []}}
purposes: {none: {basis: contract, categories: ['*'], accounts: any}}
"""


class Cluster(NamedTuple):
    """Two replicas and the port that stands for both."""

    dsn: str
    replicas: tuple[Proxy, Proxy]


@pytest.fixture
def cluster(module_database: Database, tmp_path: Path) -> Iterator[Cluster]:
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None:
        pytest.skip("HAProxy is not installed (on Debian: apt-get install haproxy)")
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with ExitStack() as stack:
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        one, two = (
            stack.enter_context(Proxy(folder, "--policy", str(policy), "--upstream", module_database.dsn()))
            for folder in folders
        )
        port = free_port()
        process = subprocess.Popen(
            [haproxy, "-db", "-f", str(ROOT / "deploy" / "compose" / "haproxy.cfg")],
            env={
                **os.environ,
                "LISTEN": f"127.0.0.1:{port}",
                "REPLICA_ONE": one.ready(),
                "REPLICA_TWO": two.ready(),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        dsn = module_database.through("127.0.0.1", port)
        _await(dsn)
        yield Cluster(dsn, (one, two))


def _await(dsn: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def _started(proxy: Proxy) -> int:
    return sum(event["event"] == "session_start" for event in proxy.events())


def test_sessions_are_spread_and_a_cancel_finds_its_statement_by_either_way(cluster: Cluster) -> None:
    before = [_started(replica) for replica in cluster.replicas]
    sessions = [psycopg.connect(cluster.dsn, autocommit=True) for _ in range(SESSIONS)]
    try:
        after = [_started(replica) for replica in cluster.replicas]
        assert [more > less for more, less in zip(after, before, strict=True)] == [True, True]
        for number, session in enumerate(sessions):
            timer = threading.Timer(0.2, session.cancel)
            timer.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                session.execute("SELECT pg_sleep(30)")
            timer.join()
            # Nobody else's statement was hit, and the session goes on.
            others = [other.execute("SELECT 1").fetchone() for other in sessions]
            assert others == [(1,)] * SESSIONS, number
    finally:
        for session in sessions:
            session.close()


def test_a_replica_that_dies_takes_its_own_sessions_only(cluster: Cluster) -> None:
    stop = threading.Event()
    outcomes: list[str] = []

    def work() -> None:
        try:
            with psycopg.connect(cluster.dsn, autocommit=True) as session:
                while not stop.is_set():
                    assert session.execute("SELECT 41 + 1").fetchone() == (42,)
        except psycopg.OperationalError:
            outcomes.append("lost")
        else:
            outcomes.append("served")

    before = [_started(replica) for replica in cluster.replicas]
    threads = [threading.Thread(target=work) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while sum(map(_started, cluster.replicas)) < sum(before) + SESSIONS:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    on_the_second = _started(cluster.replicas[1]) - before[1]
    cluster.replicas[0].process.send_signal(signal.SIGKILL)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert (outcomes.count("served"), outcomes.count("lost")) == (on_the_second, SESSIONS - on_the_second)
    assert 0 < on_the_second < SESSIONS
    _await(cluster.dsn)
