"""``python -m bench.memory``: what the proxy holds while clients are slow, and what each connection costs it.

A result of 500 MB goes to a client that reads 1 MB a second (``--seconds`` of that, then the rest at full speed), and
idle and busy connections are opened. Memory is the process's resident set (proc(5)), at its highest; what of it is
no part of a program's or library's file is called its own.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console

from bench.routes import consentry
from proxy.demo.postgres import HOST, SUPERUSER, EmbeddedPostgres
from proxy.wire import frontend, startup

MEGABYTE = 1 << 20
RESULT_MEGABYTES = 500
BOUND_MEGABYTES = 60


def main() -> None:
    """Measures, prints, and ends with 1 if the slow client cost more than it may."""
    parser = argparse.ArgumentParser(prog="bench.memory", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long the slow client is slow (%(default)s)")
    parser.add_argument("--idle", type=int, default=500, help="connections that do nothing (%(default)s)")
    parser.add_argument("--busy", type=int, default=50, help="connections that ask all the time (%(default)s)")
    options = parser.parse_args()
    settings = {"max_connections": str(options.idle + options.busy + 20)}
    console = Console()
    with (
        EmbeddedPostgres(settings=settings) as postgres,
        tempfile.TemporaryDirectory(prefix="consentry-bench-") as name,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        with consentry(postgres, folder) as route:
            assert route.pid is not None  # noqa: S101 - it is a process
            before = resident(route.pid)
            console.print(f"started: {before / MEGABYTE:.0f} MB, {own(route.pid) / MEGABYTE:.0f} MB its own")
            with closing(logged_in(route.port)) as client:
                client.sendall(frontend.query(b"SELECT 1"))
                until_ready(client)
            console.print(f"after one session, for which the catalog was read: {resident(route.pid) / MEGABYTE:.0f} MB")
            highest = slow_reader(route.port, route.pid, options.seconds)
            console.print(
                f"{RESULT_MEGABYTES} MB to a client that reads 1 MB/s for {options.seconds} s: "
                f"{highest / MEGABYTE:.0f} MB at most"
            )
            connections(console, route.port, route.pid, options.idle, options.busy)
    if highest - before > BOUND_MEGABYTES * MEGABYTE:
        raise SystemExit(f"more than {BOUND_MEGABYTES} MB")


def resident(pid: int) -> int:
    """Bytes of memory that the process has now (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def own(pid: int) -> int:
    """Bytes of memory that no file holds: the resident set without programs, libraries and what is shared."""
    resident_pages, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
    return (int(resident_pages) - int(shared)) * 4096


def slow_reader(port: int, pid: int, seconds: int) -> int:
    """The most memory that the proxy had while a client read a large result slowly, and then the rest of it."""
    rows = RESULT_MEGABYTES * 10
    with closing(logged_in(port)) as client, watching(pid) as highest:
        # As COPY would, the server sends it as it is made, and waits when nobody takes it.
        statement = f"SELECT repeat('x', 104857) FROM generate_series(1, {rows})"  # noqa: S608 - a number
        client.sendall(frontend.query(statement.encode()))
        began, received = time.monotonic(), 0
        while received < RESULT_MEGABYTES * MEGABYTE * 0.99:
            elapsed = time.monotonic() - began
            if elapsed < seconds and received > elapsed * MEGABYTE:
                time.sleep(0.05)
                continue
            data = client.recv(1 << 16)
            if not data:
                raise SystemExit("the connection was lost")
            received += len(data)
        return highest()


def connections(console: Console, port: int, pid: int, idle: int, busy: int) -> None:
    """What idle and busy clients cost."""
    before = resident(pid)
    clients = [logged_in(port) for _ in range(idle)]
    console.print(f"{idle} idle connections: {(resident(pid) - before) / idle / 1024:.0f} kB each")
    before, stop = resident(pid), threading.Event()
    asking = [threading.Thread(target=ask, args=(port, stop)) for _ in range(busy)]
    with watching(pid) as highest:
        for one in asking:
            one.start()
        time.sleep(5)
        stop.set()
        for one in asking:
            one.join()
        console.print(f"{busy} busy connections: {(highest() - before) / busy / 1024:.0f} kB each")
    for client in clients:
        client.close()


def ask(port: int, stop: threading.Event) -> None:
    """Statements one after the other."""
    with closing(logged_in(port)) as client:
        while not stop.is_set():
            client.sendall(frontend.query(b"SELECT repeat('x', 1000)"))
            until_ready(client)


@contextmanager
def watching(pid: int) -> Iterator[Callable[[], int]]:
    """Gives the most memory that the process had since."""
    seen, over = [resident(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen[0] = max(seen[0], resident(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: seen[0]
    finally:
        over.set()
        thread.join()


def logged_in(port: int) -> socket.socket:
    """A connection that is ready for statements."""
    client = socket.create_connection((HOST, port), 60)
    client.sendall(startup.startup_message({"user": SUPERUSER, "database": "postgres"}))
    until_ready(client)
    return client


def until_ready(client: socket.socket) -> None:
    """Reads up to a ReadyForQuery; nothing may follow it."""
    data = b""
    while not data.endswith((b"Z\0\0\0\5I",)):
        part = client.recv(1 << 16)
        if not part:
            raise SystemExit("the connection was lost")
        data = data[-6:] + part


if __name__ == "__main__":
    main()
