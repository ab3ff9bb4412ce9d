"""pgbench over every route in the same run: throughput, latency, and the CPU that the process in between takes a query.

Select-only statements that a policy does not touch (``-S``) in the three query modes; then a statement on personal
information, masked by the policy on the way through consentry and by hand-written SQL on the other ways.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.routes import NotMeasured, Route, consentry, direct, pgbouncer
from proxy.demo.postgres import HOST, SUPERUSER, EmbeddedPostgres, server_version

HERE = Path(__file__).parent
MODES = ("simple", "extended", "prepared")
ROUTES: tuple[Callable[[EmbeddedPostgres, Path], AbstractContextManager[Route]], ...] = (direct, pgbouncer, consentry)


@dataclass(frozen=True, slots=True)
class Options:
    seconds: int
    clients: int
    scale: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of pgbench: transactions a second, mean latency in ms, CPU of the process in between in µs a query."""

    route: str
    tps: float
    latency: float
    cpu: float | None


def main() -> None:
    """Measures everything and prints one table for each workload."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="length of each run of pgbench (%(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="connections at once (%(default)s)")
    parser.add_argument("--scale", type=int, default=5, help="pgbench's scale factor (%(default)s)")
    options = Options(**vars(parser.parse_args()))
    console = Console()
    with EmbeddedPostgres() as postgres, tempfile.TemporaryDirectory(prefix="consentry-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        console.print(
            f"PostgreSQL {server_version()}, Python {platform.python_version()}, {os.cpu_count()} cores, "
            f"{options.clients} connections, {options.seconds} s a run"
        )
        run(postgres, "-i", "-q", "-s", str(options.scale), port=postgres.port)
        load(postgres, HERE / "people.sql")
        for mode in MODES:
            console.print(table(f"pgbench -S, {mode} protocol", measure(postgres, folder, console, options, mode)))
        for mode in MODES:
            title = f"personal information by key, {mode} protocol: consentry masks, the others run hand-written SQL"
            console.print(table(title, measure(postgres, folder, console, options, mode, masked=True)))


def measure(
    postgres: EmbeddedPostgres, folder: Path, console: Console, options: Options, mode: str, *, masked: bool = False
) -> list[Measured]:
    """One workload over every route there is."""
    found = []
    for open_route in ROUTES:
        try:
            with open_route(postgres, folder) as route:
                script = "policy.sql" if route.name == "consentry" else "by_hand.sql"
                workload = ["-f", str(HERE / script)] if masked else ["-S"]
                found.append(pgbench(postgres, route, options, ["-M", mode, *workload]))
        except NotMeasured as why:
            console.print(f"skipped: {why}", style="yellow")
    return found


def pgbench(postgres: EmbeddedPostgres, route: Route, options: Options, workload: list[str]) -> Measured:
    """One run, after a short one that fills caches and pools."""
    load = ["-n", "-c", str(options.clients), "-j", "2", *workload]
    run(postgres, *load, "-T", "1", port=route.port)
    before = route.cpu_seconds()
    output = run(postgres, *load, "-T", str(options.seconds), port=route.port)
    used = route.cpu_seconds() - before
    count = int(figure(r"transactions actually processed: (\d+)", output))
    failed = int(figure(r"failed transactions: (\d+)", output))
    if failed or not count:
        raise NotMeasured(f"{route.name}: {failed} of {count + failed} transactions failed")
    tps, latency = figure(r"tps = ([\d.]+)", output), figure(r"latency average = ([\d.]+)", output)
    return Measured(route.name, tps, latency, None if route.pid is None else used / count * 1e6)


def run(postgres: EmbeddedPostgres, *arguments: str, port: int) -> str:
    """pgbench's output. Raises NotMeasured with its last words if it fails."""
    command = [postgres.binaries / "pgbench", "-h", HOST, "-p", str(port), "-U", SUPERUSER, *arguments, "postgres"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise NotMeasured(f"pgbench on port {port}: {done.stderr.strip()[-500:]}")
    return done.stdout


def load(postgres: EmbeddedPostgres, script: Path) -> None:
    """Runs a file of SQL directly on the server."""
    command = [postgres.binaries / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", script, postgres.dsn()]
    subprocess.run(command, check=True, timeout=300)  # noqa: S603 - our own


def figure(pattern: str, output: str) -> float:
    """A number that pgbench prints."""
    match = re.search(pattern, output)
    if match is None:
        raise NotMeasured(f"pgbench printed no {pattern!r}")
    return float(match[1])


def table(title: str, found: list[Measured]) -> Table:
    """Figures beside their ratios to the direct connection and, for CPU, to PgBouncer."""
    result = Table(title=title, title_justify="left")
    result.add_column("route")
    for heading in ("queries/s", "of direct", "latency ms", "CPU µs/query", "of PgBouncer"):
        result.add_column(heading, justify="right")
    base = next((one.tps for one in found if one.route == "direct"), None)
    pool = next((one.cpu for one in found if one.route == "PgBouncer"), None)
    for one in found:
        cpu = "" if one.cpu is None else f"{one.cpu:.1f}"
        share = f"{one.tps / base:.0%}" if base else ""
        ratio = f"{one.cpu / pool:.2f}" if one.cpu and pool else ""
        result.add_row(one.route, f"{one.tps:,.0f}", share, f"{one.latency:.3f}", cpu, ratio)
    return result
