"""The ways from pgbench to PostgreSQL: directly, through PgBouncer, through consentry. Each is a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.demo.postgres import ACCOUNT, HOST, SUPERUSER, EmbeddedPostgres

START_TIMEOUT = 120.0
_CLOCK_TICK = os.sysconf("SC_CLK_TCK")


class NotMeasured(Exception):
    """A route that does not exist on this machine, or that did not start; says why."""


@dataclass(frozen=True, slots=True)
class Route:
    """A way to the server. ``pid`` is the process in between, None on the direct way."""

    name: str
    port: int
    pid: int | None = None

    def cpu_seconds(self) -> float:
        """CPU time that the process in between has used so far (proc(5), stat: utime and stime)."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICK


@contextmanager
def direct(postgres: EmbeddedPostgres, _folder: Path) -> Iterator[Route]:
    yield Route("direct", postgres.port)


@contextmanager
def pgbouncer(postgres: EmbeddedPostgres, folder: Path) -> Iterator[Route]:
    """Session pooling: what consentry does too, one server connection for each client."""
    command = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if command is None:
        raise NotMeasured("PgBouncer is not installed (on Debian: apt-get install pgbouncer)")
    port = free_port()
    users, ini = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{SUPERUSER}" ""\n')
    ini.write_text(
        f"[databases]\n* = host={HOST} port={postgres.port}\n[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = session\nmax_client_conn = 100\n"
        "default_pool_size = 100\nignore_startup_parameters = extra_float_digits\nlog_connections = 0\n"
        "log_disconnections = 0\nlog_stats = 0\n"
    )
    # It refuses to run as root, and the server's account is there if we are root.
    account = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}
    log = folder / "pgbouncer.log"
    with running([command, str(ini)], log, **account) as process:
        _wait_for(port, process, log)
        yield Route("PgBouncer", port, process.pid)


@contextmanager
def consentry(postgres: EmbeddedPostgres, folder: Path) -> Iterator[Route]:
    """One worker, under the benchmark's policy, with its audit in a file."""
    log = folder / "consentry.log"
    command = [
        *(sys.executable, "-m", "proxy", "serve", "--listen", f"{HOST}:0", "--upstream", postgres.dsn()),
        *("--policy", str(Path(__file__).with_name("policy.yaml")), "--audit", str(folder / "audit.jsonl")),
    ]
    with running(command, log) as process:
        deadline = time.monotonic() + START_TIMEOUT
        while "consentry ready on " not in (said := log.read_text()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotMeasured(f"consentry did not start: {said.strip()[-500:]}")
            time.sleep(0.05)
        address = said.partition("consentry ready on ")[2].split()[0]
        yield Route("consentry", int(address.rpartition(":")[2]), process.pid)


@contextmanager
def running(command: list[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the time of the block; what it says goes to ``log``."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)  # type: ignore[call-overload]  # noqa: S603 - options are Popen's own; our own command
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotMeasured(f"PgBouncer did not start: {log.read_text().strip()[-500:]}")
        time.sleep(0.05)
